"""W+ and W- are what the two cells of a pair get, and not what the minimum rule would make of their difference."""

import pytest
import torch
from torch import Tensor, nn

from bench import plan
from devices._base import DeviceError, SettingError, WeightPairs, carry_pairs, programmable
from devices._pairs import cell_scaled, detached

WITH_CELLS = (
    "pcm",
    "rram_wan2022",
    "reram_cmo",
    "stuck",
    "tahfo2",
    "d2d_lognormal",
    "siox_low",
    "siox_high",
    "rram1t1r",
)
WITHOUT = ("ideal", "rram", "gaussian", "rram1", "fefet6")
EXACT = tuple(name for name in WITH_CELLS if name not in ("pcm", "reram_cmo"))  # the others drift, at level 0 too


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def halves(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return torch.rand(shape, generator=seeded(seed)), torch.rand(shape, generator=seeded(seed + 1)) / 2


def pairs_of(*shape: int) -> WeightPairs:
    plus, minus = halves(*shape)
    return WeightPairs({"w": plus}, {"w": minus})


def range_us(device) -> tuple[float, float]:
    low, high = device.conductances_us
    return low, high - low


@pytest.mark.parametrize("name", EXACT)
def test_cells_are_at_w_plus_and_w_minus(name):
    """G+- = G_off + k_G W+-, k_G = (G_on - G_off) / max(W+, W-), by hand."""
    device, pairs = plan.device_of(name), pairs_of(6, 5)
    chip = device.program(pairs, seeded(), level=0.0)
    low, span = range_us(device)
    both = torch.stack([pairs.plus["w"], pairs.minus["w"]])
    assert torch.allclose(chip.cells["w"], low + span * both / both.max(), rtol=1e-5, atol=1e-5 * span)
    assert torch.allclose(chip["w"], pairs["w"], atol=1e-5)
    usual = device.program(dict(pairs), seeded(), level=0.0)
    assert torch.allclose(usual["w"], chip["w"], atol=1e-5)
    assert usual.cells["w"].amin(0).max() < low + 1e-4 * span < chip.cells["w"].amin(0).median(), "no cell is left out"


@pytest.mark.parametrize("name", WITH_CELLS)
def test_halves_by_the_minimum_rule_are_the_signed_weights(name):
    """The same chip, draw by draw."""
    device, w = plan.device_of(name), torch.randn(300, 40, generator=seeded())
    level, time_s = device.axis.train_level, device.default_time_s
    pairs = WeightPairs({"w": w.clamp(min=0)}, {"w": (-w).clamp(min=0)})
    usual, split = (device.program(x, seeded(), level=level, time_s=time_s) for x in ({"w": w}, pairs))
    assert torch.allclose(usual["w"], split["w"], atol=1e-5)
    assert torch.allclose(usual.cells["w"], split.cells["w"], rtol=1e-5, atol=1e-5 * device.conductances_us[1])


@pytest.mark.parametrize("name", ["rram1t1r", "pcm"])
def test_stuck_cells_of_halves_are_those_of_the_signed_weights(name):
    device, w = plan.device_of(name, {"stuck_on": 0.1, "stuck_off": 0.2}), torch.randn(60, 40, generator=seeded())
    pairs = WeightPairs({"w": w.clamp(min=0)}, {"w": (-w).clamp(min=0)})
    level = device.axis.levels[1]
    usual, split = (device.program(x, seeded(), level=level, time_s=device.default_time_s) for x in ({"w": w}, pairs))
    assert torch.allclose(usual["w"], split["w"], atol=1e-5)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_device_without_cells_takes_the_difference(name):
    device, pairs = plan.device_of(name), pairs_of(6, 5)
    level = device.axis.train_level
    signed, split = (device.program(x, seeded(), level=level) for x in (dict(pairs), pairs))
    assert torch.equal(signed["w"], split["w"])


@pytest.mark.parametrize(
    "chosen", [{"pairs": 2}, {"cell_bits": 2}, {"scale": "column"}, {"scale": "tile", "tile_rows": 2}]
)
def test_slices_pairs_and_scales(chosen):
    device, pairs = plan.device_of("stuck", chosen), pairs_of(6, 5)
    chip = device.program(pairs, seeded(), level=0.0)
    step = 1 / 255 if "cell_bits" in chosen else 1e-5
    assert torch.allclose(chip["w"], pairs["w"], atol=1.01 * step)
    cells = chip.cells["w"]
    if "scale" not in chosen:
        assert cells.shape == (2, 4 if "cell_bits" in chosen else 2, 6, 5)
        return
    larger, (low, span) = pairs.larger()["w"], range_us(device)
    expected = larger.amax(1, keepdim=True) if chosen["scale"] == "column" else device.cell_mapping.peaks(larger)
    assert torch.allclose(cells[0], low + span * pairs.plus["w"] / expected, rtol=1e-4)


def test_a_rule_that_says_otherwise_is_refused():
    device = plan.device_of("pcm", {"rule": "average"})
    with pytest.raises(DeviceError, match=r"rule=average: these weights come as W\+ and W-"):
        device.program(pairs_of(3, 3), seeded(), level=0.0)


def test_channels_last_halves_are_programmed_in_the_order_of_the_weight():
    plus, minus = (half.to(memory_format=torch.channels_last) for half in halves(4, 3, 3, 3))
    pairs = WeightPairs({"w": plus}, {"w": minus})
    chip = plan.device_of("stuck").program(pairs, seeded(), level=0.0)
    assert torch.allclose(chip["w"], plus - minus, atol=1e-5)
    with pytest.raises(ValueError, match="one shape and memory format"):
        WeightPairs({"w": plus}, {"w": minus.contiguous()})


def test_stuck_cells_are_the_same_share_and_drawn_alike():
    device = plan.device_of("rram1t1r", {"stuck_on": 0.25})
    pairs = pairs_of(300, 100)
    cells = device.program(pairs, seeded(), level=0.0).cells["w"]
    clean = plan.device_of("rram1t1r").program(pairs, seeded(), level=0.0).cells["w"]
    stuck = cells != clean
    assert stuck.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert cells[stuck].min().item() == pytest.approx(40.0)


@pytest.mark.parametrize("name, level", [("siox_high", 1.0), ("pcm", 2.0), ("rram", 0.3)])
def test_gradients_of_a_training_chip_reach_both_halves(name, level):
    """Straight through, W+ and W- get opposite ones; through curved cells each its own cell's."""
    device, x = plan.device_of(name), torch.rand(8, 5)
    plus, minus = (half.requires_grad_() for half in halves(6, 5))
    pairs = WeightPairs({"weight": plus}, {"weight": minus})
    chip = device.training_chip(pairs, seeded(), level=level, time_s=device.default_time_s)
    layer = nn.Linear(5, 6, bias=False)
    with device.periphery(chip, clean=pairs):
        torch.func.functional_call(layer, chip, (x,)).sum().backward()
    assert plus.grad.abs().min() > 0 and minus.grad.abs().min() > 0
    opposite = torch.allclose(plus.grad, -minus.grad, rtol=1e-4)
    assert opposite == (name != "siox_high")
    assert torch.allclose(plus.grad, -minus.grad, rtol=0.6)


def test_curved_gradients_are_those_of_the_cells_currents():
    """Against finite differences of the whole way from W+ to the output, at level 1."""
    device, x = plan.device_of("siox_high"), torch.rand(4, 5)
    plus, minus = halves(6, 5)
    plus[0, 0] = 1.0  # the scale stays while others move
    layer = nn.Linear(5, 6, bias=False)

    def out(plus: Tensor) -> Tensor:
        pairs = WeightPairs({"weight": plus}, {"weight": minus})
        chip = device.training_chip(pairs, seeded(), level=1.0)
        with device.periphery(chip, clean=pairs):
            return torch.func.functional_call(layer, chip, (x,)).square().sum()

    moved = plus.clone().requires_grad_()
    out(moved).backward()
    for place in ((1, 2), (5, 4)):
        step = torch.zeros_like(plus)
        step[place] = 0.02
        slope = ((out(plus + step) - out(plus - step)) / 0.04).item()
        assert moved.grad[place].item() == pytest.approx(slope, rel=0.03)


def test_a_network_carries_halves_and_says_them():
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    names = ("0.weight", "2.weight")
    assert type(programmable(network, names)) is dict
    carry_pairs(network, names)
    pairs = programmable(network, names)
    assert isinstance(pairs, WeightPairs) and set(pairs.plus) == set(names)
    for name in names:
        w = network.get_parameter(name)
        assert torch.equal(pairs[name], w) and torch.equal(pairs.plus[name] * pairs.minus[name], torch.zeros_like(w))
    free = detached(pairs)
    assert isinstance(free, WeightPairs) and not free["0.weight"].requires_grad and pairs["0.weight"].requires_grad
    assert torch.equal(cell_scaled(pairs)["0.weight"], network[0].weight.abs())
    assert type(programmable(network, ())) is dict


def test_settings_are_refused_as_of_other_weights():
    with pytest.raises(SettingError):
        plan.device_of("stuck", {"cell_bits": 2, "pairs": 2})
