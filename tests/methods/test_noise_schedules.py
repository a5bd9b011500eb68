"""Methods that inject noise: which level, when, and of which distribution."""

from collections import Counter

import pytest
import torch

from bench import plan
from bench.keys import seed_of
from methods._dice import Dice
from methods.trice import right_censored

LONG = {"samples": 64, "batch_size": 2, "finetune_epochs": 8}  # 256 steps


@pytest.mark.parametrize("method", ["mixed_noise", "noise_back", "vant", "trice", "sam"])
def test_they_start_from_the_nominal_network_and_train_for_the_noisy_epochs(watch, method):
    context = watch(method, finetune_epochs=2, epochs=5)
    context.fit()
    assert [other.method for other in context.asked] == ["nominal"]
    assert context.cost["epochs"] == 2


def test_mixed_noise_meets_all_levels_above_0_equally_often(watch):
    context = watch("mixed_noise", **LONG)
    context.fit()
    seen = Counter(context.levels)
    assert set(seen) == {0.1, 0.2, 0.3, 0.4, 0.5}
    assert all(abs(n - 256 / 5) < 4 * (256 * 0.2 * 0.8) ** 0.5 for n in seen.values())


def test_mixed_noise_may_draw_between_the_levels(watch):
    context = watch("mixed_noise", settings={"draw": "uniform"}, **LONG)
    context.fit()
    drawn = torch.tensor(context.levels)
    assert drawn.min() >= 0 and drawn.max() < 0.5
    assert drawn.mean() == pytest.approx(0.25, abs=4 * 0.5 / 12**0.5 / 16)
    assert drawn.std() == pytest.approx(0.5 / 12**0.5, rel=0.15)


def test_mixed_noise_has_no_level_of_its_own(one_cell):
    """So runs that differ in a level that it does not use are one run."""
    keys = {one_cell("mixed_noise", "rram", "mnist", level=level).evaluation.key for level in (None, 0.1, 0.5)}
    assert len(keys) == 1
    assert one_cell("noise_injection", "rram", "mnist", level=0.1).evaluation.training.level == 0.1


def test_choices_follow_the_epoch(watch):
    """A resumed run makes the choices of an undisturbed one."""
    context = watch("vant")
    dice = Dice(context)
    drawn = {}
    for epoch in (0, 1, 0):
        context.generator.manual_seed(seed_of("epoch", epoch))
        drawn.setdefault(epoch, []).append([dice.uniform(), dice.normal(), dice.uniform()])
        context.generator.manual_seed(0)
        dice.uniform()
    assert drawn[0][0] == drawn[0][1] != drawn[1][0]


def test_noise_back_makes_the_weights_those_of_a_chip_every_k_batches(watch):
    context = watch("noise_back", settings={"every": "3", "until": "0.8"}, finetune_epochs=4)  # 16 steps
    context.fit()
    assert context.levels == [0.3] * 4, "after 3, 6, 9 and 12 of 16 steps; 15 is beyond 0.8"
    assert all(p.chip is None for p in context.passes), "forward passes are clean"
    noisy = [context.passes[step - 1].weights for step in (3, 6, 9, 12)]
    for weights, chip in zip(noisy, context.chips, strict=True):
        assert all(torch.equal(weights[name], w) for name, w in chip.items())
    before = context.passes[1].weights["fc1.weight"]
    assert (context.chips[0]["fc1.weight"] / before).std() > 0.2, "lognormal at .3, on top of one step"


def test_noise_back_adds_noise_twice_in_a_run_that_is_too_short_for_its_pace(watch):
    context = watch("noise_back", finetune_epochs=4)  # 16 steps, noise every 400 and until .8
    context.fit()
    noisy = [context.passes[step - 1].weights for step in (6, 12)]
    assert len(context.chips) == 2
    for weights, chip in zip(noisy, context.chips, strict=True):
        assert all(torch.equal(weights[name], w) for name, w in chip.items())


def test_vant_ramps_up_to_the_level(watch):
    context = watch("vant", settings={"spread": "0", "ramp": "0.5"}, finetune_epochs=2)  # 8 steps
    context.fit()
    assert context.levels == pytest.approx([0.075, 0.15, 0.225, *[0.3] * 5])


def test_vant_scatters_around_the_level(watch):
    context = watch("vant", settings={"spread": "0.4", "ramp": "0"}, **LONG)
    context.fit()
    drawn = torch.tensor(context.levels)
    assert drawn.mean() == pytest.approx(0.3, abs=4 * 0.12 / 16)
    assert drawn.std() == pytest.approx(0.12, rel=0.15)
    assert drawn.min() >= 0


def test_vant_stays_on_the_axis(watch, loss_of):
    context = watch("vant", "stuck", settings={"spread": "2", "ramp": "0"}, level=0.9)
    loss = loss_of(context)
    inputs, targets = next(context.batches())
    for _ in range(50):
        loss(inputs, targets)
    assert min(context.levels) == 0 and max(context.levels) == context.device.axis.maximum == 1


@pytest.mark.parametrize("cutoff", [0.0, 1.0, 2.0])
def test_trice_noise_is_a_right_censored_gaussian(cutoff):
    """Below the cutoff as wide as ever; all that is above sits on it."""
    w = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    device = plan.device_of("gaussian")
    chip = device.training_chip({"w": w}, torch.Generator().manual_seed(1), level=0.05)
    z = (right_censored(chip, {"w": w}, cutoff)["w"] - w) / (0.05 * w.abs().max())
    assert z.max().item() == pytest.approx(cutoff, abs=0.01)
    normal = torch.distributions.Normal(0.0, 1.0)
    at_cutoff = (z > z.max() - 1e-3).float().mean().item()
    assert at_cutoff == pytest.approx(1 - normal.cdf(torch.tensor(cutoff)).item(), abs=0.005)
    for below in (-2.0, -1.0, -0.5):
        share = (z < below).float().mean().item()
        assert share == pytest.approx(normal.cdf(torch.tensor(below)).item(), abs=0.005)


def test_trice_leaves_a_gradient_to_every_weight():
    w = torch.randn(1000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    chip = plan.device_of("rram").training_chip({"w": w}, torch.Generator().manual_seed(1), level=0.5)
    shown = right_censored(chip, {"w": w}, 0.5)["w"]
    (grad,) = torch.autograd.grad(shown.sum(), w)
    censored = shown < chip["w"]
    assert 0.05 < censored.float().mean() < 0.5
    assert torch.equal(grad[censored], torch.ones_like(grad[censored]))
    assert torch.allclose(grad[~censored], (chip["w"] / w)[~censored])


def test_trice_trains_on_the_censored_chip(watch):
    context = watch("trice", "gaussian", settings={"cutoff": "0.5"}, finetune_epochs=1)
    context.fit()
    for p in context.passes:
        up = p.chip["fc1.weight"].detach() - p.weights["fc1.weight"]
        std = 0.06 * p.weights["fc1.weight"].abs().max()
        assert up.max().item() == pytest.approx(0.5 * std.item(), rel=0.05)
        assert up.min() < -2 * std


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_descends_by_the_gradient_of_its_worst_neighbour(watch, loss_of, adaptive):
    context = watch("sam", settings={"rho": "0.2", "adaptive": str(adaptive)})
    loss = loss_of(context)
    inputs, targets = next(context.batches())
    network = context.network()  # equal to the one that trains
    weights = dict(network.named_parameters())

    def at(move):
        moved = {name: (w + move[name]).detach().requires_grad_() for name, w in weights.items()}
        value = context.task.loss(torch.func.functional_call(network, moved, (inputs,)), targets)
        return value, dict(zip(moved, torch.autograd.grad(value, list(moved.values())), strict=True))

    _, g = at({name: torch.zeros_like(w) for name, w in weights.items()})
    scale = {name: w.abs() if adaptive else torch.ones_like(w) for name, w in weights.items()}
    norm = sum((scale[name] * g[name]).square().sum() for name in g).sqrt()
    expected, gradient = at({name: 0.2 * scale[name] ** 2 * g[name] / norm for name in g})
    value = loss(inputs, targets)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    first, second = context.passes
    assert first.update_statistics and not second.update_statistics
    own = dict(zip(weights, torch.autograd.grad(value, list(context.others[0].parameters())), strict=True))
    for name in weights:
        assert torch.allclose(own[name], gradient[name], atol=1e-6)


def test_sam_does_not_see_the_device(one_cell):
    keys = {one_cell("sam", device, "mnist").evaluation.training.key for device in ("rram", "pcm")}
    assert len(keys) == 1
