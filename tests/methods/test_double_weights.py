"""Double weights: what is trained, what a chip is given, and what it saves."""

import pytest
import torch

from bench import plan
from bench.rig import Rig
from devices._base import WeightPairs, programmable
from methods.double_weights import DoubleWeights, DoubleWeightsSettings, size

SMALL = {"network": "lenet", "train_samples": 512, "test_samples": 100, "chips": 2}


def both_of(network, names):
    pairs = programmable(network, names)
    assert isinstance(pairs, WeightPairs)
    return pairs


def test_it_starts_from_the_nominal_network_by_the_minimum_rule(watch):
    context = watch("double_weights", "pcm")
    given = []
    program = context.program

    def note(weights, **rest):
        given.append(
            WeightPairs(*({n: w.detach().clone() for n, w in h.items()} for h in (weights.plus, weights.minus)))
        )
        return program(weights, **rest)

    context.program = note
    made = context.fit()
    (start,) = context.others
    fresh = plan.task_of("mnist").network("mlp", 0.25)
    assert start is made.network and len(given) == len(context.passes) == context.steps_per_epoch()
    first = given[0]
    assert all(torch.equal(first.plus[n] * first.minus[n], torch.zeros_like(first[n])) for n in first)
    assert {n: w.shape for n, w in first.items()} == {n: fresh.get_parameter(n).shape for n in made.analog}
    assert context.levels == [context.level] * len(given)


def test_halves_stay_above_0_and_the_weight_is_their_difference(watch):
    context = watch("double_weights", "siox_high", finetune_epochs=2)
    made = context.fit()
    pairs = both_of(made.network, made.analog)
    for name in made.analog:
        assert pairs.plus[name].min() >= 0 and pairs.minus[name].min() >= 0
        assert torch.equal(made.network.get_parameter(name), pairs[name])
        assert (torch.minimum(pairs.plus[name], pairs.minus[name]) > 0).any(), "both cells of a pair take part"


@pytest.mark.parametrize("device", ["stuck", "rram"])
def test_the_loss_has_the_sum_of_both_halves(watch, loss_of, device):
    """By the minimum rule, that of all magnitudes."""
    contexts = [watch("double_weights", device, settings={"l1": l1}) for l1 in ("0", "0.01")]
    inputs, targets = next(contexts[0].batches())
    values = []
    for context in contexts:
        loss = loss_of(context)
        context.generator.manual_seed(0)
        values.append(loss(inputs, targets).item())
    (start,) = contexts[1].others
    names = contexts[1].task.analog(start)
    by_hand = sum(start.get_parameter(name).abs().sum().item() for name in names)
    assert values[1] - values[0] == pytest.approx(0.01 * by_hand, rel=1e-4)
    assert size(programmable(start, names)).item() == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("device", ["rram", "gaussian"])
def test_without_cells_it_is_noise_injection_with_l1(watch, device):
    """Without L1 the very same weights, given the same random numbers: those of noise injection's own run."""
    usual, same, drawn = (watch("noise_injection", device, finetune_epochs=2) for _ in range(3))
    expected = usual.fit().network.state_dict()

    def fit(context, l1):
        context.checkpoints.partial_path(context.training.key).unlink(missing_ok=True)
        return DoubleWeights(DoubleWeightsSettings(l1=l1)).fit(context)

    made = fit(same, 0.0)
    found = made.network.state_dict()
    assert all(torch.equal(found[name], w) for name, w in expected.items())
    pairs = both_of(made.network, made.analog)
    for name in made.analog:
        w = expected[name]
        assert torch.equal(pairs[name], w)
        assert torch.equal(pairs.plus[name], w.clamp(min=0)) and torch.equal(pairs.minus[name], (-w).clamp(min=0))
    smaller = fit(drawn, 0.1).network
    assert all(smaller.get_parameter(name).abs().sum() < 0.97 * expected[name].abs().sum() for name in made.analog)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_sweep_programs_what_was_trained(home, tmp_path, cpu_runner, one_cell, precision):
    cell = one_cell("double_weights", "stuck", "mnist", levels=(0.0,), precision=precision, **SMALL)
    runner = cpu_runner(home, tmp_path / "results")
    record = runner.run(cell, "test")
    network = runner.train(cell.evaluation.training)
    task, splits = runner.task(cell.evaluation.training)
    names = task.analog(network)
    pairs = both_of(network, names)
    rig = Rig(network, names, task, splits.val.head(20), precision)
    chip = rig.program(plan.device_of("stuck"), torch.Generator(), 0.0, None)
    for name in names:
        both = torch.stack([pairs.plus[name], pairs.minus[name]]).detach()
        expected = 43.6 + (978.0 - 43.6) * both / both.max()
        assert torch.allclose(chip.cells[name], expected, rtol=1e-4)
    assert record["levels"][0]["chips"][0] == pytest.approx(record["clean"], abs=1.0)


@pytest.mark.parametrize("device, level", [("pcm", 1.0), ("siox_high", 1.0)])
def test_power_in_the_record_falls_with_l1_below_that_of_noise_injection(
    home, tmp_path, cpu_runner, one_cell, device, level
):
    runner = cpu_runner(home, tmp_path / "results")
    asked = {**SMALL, "network": "mlp", "train_samples": 3000, "finetune_epochs": 2, "levels": (level,)}

    def power(method: str, **settings: str) -> float:
        cell = one_cell(method, device, "mnist", settings=settings, **asked)
        return runner.run(cell, "test")["levels"][0]["read_power_w"]

    none, some, much = (power("double_weights", l1=l1) for l1 in ("0", "3e-3", "1e-2"))
    assert much < 0.97 * some < 0.95 * none
    assert much < 0.9 * power("noise_injection")


def test_two_runs_are_alike(watch, tmp_path):
    first, second = (watch("double_weights", "pcm", finetune_epochs=2) for _ in range(2))
    one = first.fit().network.state_dict()
    first.checkpoints.partial_path(first.training.key).unlink(missing_ok=True)
    two = second.fit().network.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_another_methods_wrapper_keeps_the_halves(home, tmp_path, cpu_runner, one_cell):
    asked = {**SMALL, "network": "vgg8_mtrd", "width": 0.0625, "train_samples": 128}
    settings = {"bn_recalibrate.method": "double_weights", "bn_recalibrate.samples": "100"}
    cell = one_cell("bn_recalibrate", "siox_high", "cifar10", levels=(1.0,), settings=settings, **asked)
    runner = cpu_runner(home, tmp_path / "results")
    record = runner.run(cell, "test")
    network = runner.train(cell.evaluation.training)
    assert isinstance(programmable(network, plan.task_of("cifar10").analog(network)), WeightPairs)
    assert record["status"] == "done" and record["levels"][0]["read_power_w"] > 0
