"""Hardware-aware training: each ingredient alone."""

import pytest
import torch
from torch import Tensor

from devices._ranges import learned_ranges
from methods.hwa import DigitalScales, dropped


@pytest.fixture
def weights() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {"conv.weight": torch.randn(8, 4, 3, 3) * 0.1, "fc.weight": torch.randn(5, 20) * 2}


@pytest.mark.parametrize("by", ["layer", "column"])
@pytest.mark.parametrize("caws", [True, False])
def test_remap_keeps_the_function_and_fills_the_range(weights, by, caws):
    scales = DigitalScales(weights, by, caws, None)
    before = {name: w.clone() for name, w in weights.items()}
    assert all(torch.allclose(w, before[name]) for name, w in scales(weights).items()), "at the start too"
    with torch.no_grad():
        for gain in scales.gains:
            gain.mul_(torch.rand_like(gain) + 0.5)
    shown = {name: w.clone() for name, w in scales(weights).items()}
    assert not torch.allclose(shown["fc.weight"], before["fc.weight"])
    scales.remap(weights)
    for i, (name, w) in enumerate(scales(weights).items()):
        assert torch.allclose(w, shown[name], rtol=1e-5)
        u = weights[name] / scales.get_buffer(f"bound{i}")
        peaks = u.abs().amax() if by == "layer" else u.abs().flatten(1).amax(1)
        assert torch.allclose(peaks, torch.ones_like(peaks))
        assert scales.gains[i].shape == (() if by == "layer" else (len(w), *[1] * (w.dim() - 1)))


def test_scales_are_in_units_of_the_crossbar_aware_weight_scaling(weights):
    scales = DigitalScales(weights, "layer", True, None)
    assert scales.units == pytest.approx([(3 / 36) ** 0.5, (3 / 20) ** 0.5])
    for gain, unit, w in zip(scales.gains, scales.units, weights.values(), strict=True):
        assert gain.item() * unit == pytest.approx(w.abs().max().item())


def test_remap_narrows_the_weights_to_clip_w_std(weights):
    limits = {name: 1.5 * w.std() for name, w in weights.items()}
    DigitalScales(weights, "layer", True, 1.5)
    assert all(w.abs().max() == pytest.approx(limits[name].item(), rel=1e-5) for name, w in weights.items())


def test_clip_holds_the_crossbar_within_its_range(weights):
    scales = DigitalScales(weights, "layer", True, None)
    bounds = {name: w.abs().max().item() for name, w in weights.items()}
    for w in weights.values():
        w.mul_(3)
    scales.clip(weights)
    assert all(w.abs().max().item() == pytest.approx(bounds[name]) for name, w in weights.items())


def test_a_share_of_the_weights_is_dropped():
    w = {"w": torch.ones(100_000, requires_grad=True)}
    shown = dropped(w, 0.01, torch.Generator().manual_seed(0))["w"]
    assert (shown == 0).float().mean().item() == pytest.approx(0.01, abs=4 * (0.01 * 0.99 / 1e5) ** 0.5)
    (grad,) = torch.autograd.grad(shown.sum(), w["w"])
    assert torch.equal(grad, shown.detach()), "what is dropped learns nothing; what stays, as before"


@pytest.mark.parametrize("soft, temperature", [(0.9, 4.0), (0.3, 2.0)])
def test_hwa_minimises_the_papers_loss(watch, loss_of, soft, temperature):
    context = watch("hwa", settings={"soft": str(soft), "temperature": str(temperature)})
    loss = loss_of(context)
    inputs, targets = next(context.batches())
    value = loss(inputs, targets)
    noisy, lesson = (p.output for p in context.passes)
    assert context.passes[1].chip is None and not lesson.requires_grad
    p, q = (lesson / temperature).softmax(1), (noisy / temperature).softmax(1)
    kl = (p * (p / q).log()).sum(1).mean()
    hard = -noisy.log_softmax(1)[range(len(targets)), targets].mean()
    expected = soft * temperature**2 * kl + (1 - soft) * hard
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_noise_ramps_up_to_its_peak_and_weights_are_dropped(watch):
    asked = {"ramp": "0.5", "peak": "1.5", "drop_connect": "0.1", "clip_w": "none"}
    context = watch("hwa", settings=asked, finetune_epochs=2)  # 8 steps
    context.fit()
    assert context.levels == pytest.approx([0.45 * step / 4 for step in (1, 2, 3, 4, 4, 4, 4, 4)])
    zeros = torch.stack([(w["fc1.weight"] == 0).float().mean() for w in context.programmed])
    assert zeros.mean().item() == pytest.approx(0.1, abs=0.005)


def test_hwa_trains_within_bounds_and_leaves_a_plain_network(watch):
    context = watch("hwa", settings={"clip_w": "2"}, finetune_epochs=3)
    made = context.fit()
    plain = context.network()
    assert made.network.state_dict().keys() == plain.state_dict().keys()
    passes = [p for p in context.passes if p.chip is not None]  # the student's
    assert len(passes) == 12, "three epochs of four steps"
    gains = [p.weights["fc1.digital_scales.gains.0"].item() for p in passes]
    assert len(set(gains)) == 12, "digital scales are learned"
    for first in (0, 4, 8):
        own = [p.weights["fc1.weight"] for p in passes[first : first + 4]]
        bound = own[0].abs().max()  # remapped: max|u| = 1
        assert all(w.abs().max() <= bound * 1.000001 for w in own)
    last = made.network.get_parameter("fc1.weight")
    assert not torch.equal(last, plain.get_parameter("fc1.weight"))


def test_input_ranges_are_learned_where_the_device_has_a_dac(watch):
    for asked in ({"dac_bits": "8"}, {"dac_bits": "8", "input_range": "learned"}):
        made = watch("hwa", "gaussian", device_settings=asked).fit()
        ranges = learned_ranges(made.network, make=False)
        assert ranges is not None and set(ranges.logarithms()) == {"fc1.weight", "fc2.weight"}
    for method, without in (
        ("hwa", {}),
        ("hwa", {"dac_bits": "8", "input_range": "static"}),
        ("vant", {"dac_bits": "8"}),
    ):
        assert learned_ranges(watch(method, "gaussian", device_settings=without).fit().network, make=False) is None
