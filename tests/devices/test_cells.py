"""Devices of cells: each against its source's formula, the order of what happens to a cell, and whose luck is whose."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch import Tensor

from bench import plan
from devices._base import Axis, Chip, DeviceError, SettingError
from devices._cells import Cells, ReadNoise
from devices.reram_cmo import ACCEPTANCE, YEAR_S, ReramCmo
from devices.rram_wan2022 import DAY_S, RramWan2022

CELLS = 200_000
AT = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)  # g / g_max that weights are programmed to, where g_min is 0
NAMES = ("pcm", "rram_wan2022", "reram_cmo", "stuck", "tahfo2", "d2d_lognormal")
QUADRATURE = np.linspace(-8, 8, 4001)
GAUSS = np.exp(-(QUADRATURE**2) / 2) / math.sqrt(2 * math.pi) * (QUADRATURE[1] - QUADRATURE[0])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cells_of(device: Any, u: float, *, level: float, time_s: float | None = None, read: bool = False) -> Tensor:
    """(2, CELLS) conductances in uS of plus and minus cells of weights u in [-1, 1], doubles."""
    w = {"w": torch.cat([torch.full((CELLS,), u), torch.ones(1)])}
    chip = device.program(w, seeded(), level=level, time_s=time_s)
    if read:
        chip = device.read(chip, seeded(1))
    return chip.cells["w"][:, :CELLS].double()


def check(found: Tensor, mean: float, std: float) -> None:
    """Mean within five standard errors, std within 1 %."""
    n = found.numel()
    assert found.mean().item() == pytest.approx(mean, abs=5 * std / n**0.5 + 1e-5 * abs(mean))
    assert found.std().item() == pytest.approx(std, rel=0.01, abs=1e-4)


def rectified(mean: float, std: float) -> tuple[float, float]:
    """Mean and std of max(0, N(mean, std^2))."""
    if std == 0:
        return mean, 0.0
    a = mean / std
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    first = mean * ndtr(a) + std * density
    return first, math.sqrt((mean**2 + std**2) * ndtr(a) + mean * std * density - first**2)


def cut(mean: float, std: float, low: float, high: float) -> tuple[float, float]:
    """Mean and std of N(mean, std^2) cut to low..high."""
    values = np.clip(mean + std * QUADRATURE, low, high)
    first = float((values * GAUSS).sum())
    return first, math.sqrt(max(float((values**2 * GAUSS).sum()) - first**2, 0))


# Each against its source. Pcm has a file of its own.

WAN = {
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    86_400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
    172_800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
}


@pytest.mark.parametrize("time_s", WAN)
@pytest.mark.parametrize("x", AT)
def test_wan2022_is_a_gaussian_about_the_target(x, time_s):
    std = sum(c * x**power for power, c in enumerate(WAN[time_s]))
    plus, minus = cells_of(RramWan2022(), x, level=1.0, time_s=time_s)
    check(plus, *rectified(40 * x, std))
    check(minus, *rectified(0, WAN[time_s][0]))
    half, _ = cells_of(RramWan2022(), x, level=0.5, time_s=time_s)
    check(half, *rectified(40 * x, std / 2))


def test_wan2022_has_three_times():
    assert RramWan2022().default_time_s == DAY_S
    with pytest.raises(DeviceError, match="time 3600 s was not measured; its source has 1, 86400, 172800 s"):
        RramWan2022().check(1.0, 3600.0)
    with pytest.raises(DeviceError, match="out of range"):
        RramWan2022().program({"w": torch.ones(2)}, seeded(), level=1.0, time_s=1e6)


@pytest.mark.parametrize("acceptance", ACCEPTANCE)
@pytest.mark.parametrize("time_s", [1.0, 3600.0, 86_400.0, YEAR_S, 10 * YEAR_S])
@pytest.mark.parametrize("x", AT)
def test_reram_cmo_relaxes_from_where_it_was_programmed(x, time_s, acceptance):
    c0, c1 = {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}[acceptance]
    device = plan.device_of("reram_cmo", {"acceptance": acceptance})
    g = 9 + 79.2 * x
    mean = g - 0.08900206 * math.log(time_s)
    std = math.hypot(c0 + c1 * g, 0.04201137 * math.log(time_s) + 0.41183342)
    used, unused = cells_of(device, x, level=1.0, time_s=time_s)
    check(used, *cut(mean, std, 9.0, 88.2))
    check(unused, *cut(9 + mean - g, math.hypot(c0 + c1 * 9, 0.04201137 * math.log(time_s) + 0.41183342), 9.0, 88.2))


@pytest.mark.parametrize("time_s", [1.0, 3600.0, 86_400.0, YEAR_S, 10 * YEAR_S])
@pytest.mark.parametrize("x", AT)
def test_reram_cmo_reads_with_noise(x, time_s):
    """As wide as the formula says of where a cell is; reads are not held within 9 to 88.2 uS."""
    device, level = ReramCmo(), 4.0
    w = {"w": torch.cat([torch.full((CELLS,), x), torch.ones(1)])}
    chip = device.program(w, seeded(), level=level, time_s=time_s)
    now = chip.cells["w"].double()
    seen = device.read(chip, seeded(1)).cells["w"].double()
    std = level * 0.0277316483 * now.log10() * math.sqrt(math.log((time_s + 1e-6) / 2e-6))
    for side in (0, 1):
        xi = (seen[side] - now[side]) / std[side]
        assert xi.mean().item() == pytest.approx(0, abs=5 / xi.numel() ** 0.5)
        assert xi.std().item() == pytest.approx(1, rel=0.01)
    assert seen[1].min() < 9, "an unused cell is read below the range to which it is programmed"
    again = device.read(chip, seeded(2))
    assert not torch.equal(again["w"], device.read(chip, seeded(1))["w"]), "new noise at every read"


@pytest.mark.parametrize("s_on, s_off", [(0.25, 0.25), (0.05, 0.5), (0.5, 0.5)])
@pytest.mark.parametrize("x", AT)
def test_d2d_keeps_the_mean_resistance(x, s_on, s_off):
    g = 0.525 + (2.62 - 0.525) * x
    r, r_on, r_off = 1 / g, 1 / 2.62, 1 / 0.525
    s = s_on + (s_off - s_on) * (r - r_on) / (r_off - r_on)
    device = plan.device_of("d2d_lognormal", {"on_ratio": s_on / s_off})
    used, _ = cells_of(device, x, level=s_off)
    resistance = 1 / used
    std = r * math.sqrt(math.exp(s * s) - 1)
    assert resistance.mean().item() == pytest.approx(r, abs=5 * std / CELLS**0.5)
    assert resistance.log().std().item() == pytest.approx(s, rel=0.01)
    assert used.log().mean().item() == pytest.approx(math.log(g) + s * s / 2, abs=5 * s / CELLS**0.5)


SPREAD = (510.8, math.sqrt((978 - 43.6) ** 2 / 12 + 17.7**2))  # uniform, smoothed with a Gaussian kernel


@pytest.mark.parametrize(
    "state, mean, std", [("on", 978.0, 0.0), ("off", 43.6, 0.0), ("both", 510.8, 467.2), ("spread", *SPREAD)]
)
@pytest.mark.parametrize("name", ["stuck", "tahfo2"])
@pytest.mark.parametrize("x", AT)
def test_a_share_of_the_cells_is_stuck(x, name, state, mean, std):
    asked = 43.6 + (978 - 43.6) * x
    used, unused = cells_of(plan.device_of(name, {"state": state}), x, level=0.1)
    for cells, target in ((used, asked), (unused, 43.6)):
        first = 0.9 * target + 0.1 * mean
        second = 0.9 * target**2 + 0.1 * (mean**2 + std**2)
        expected = math.sqrt(max(second - first**2, 0))
        assert cells.mean().item() == pytest.approx(first, abs=5 * expected / CELLS**0.5 + 1e-5 * first)
        # A share of a tenth is met within a few per mille of 200,000 cells: that is the spread's own Monte-Carlo error
        fourth = 0.9 * (target - first) ** 4 + 0.1 * moment_4(state, first)
        error = math.sqrt(max(fourth - expected**4, 0) / CELLS) / (2 * expected) if expected > 1e-3 else 0.0
        assert cells.std().item() == pytest.approx(expected, abs=5 * error + 1e-2)
    moved = (used - asked).abs() > 1e-3
    sits_there = {"on": x == 1, "off": x == 0, "both": x in (0, 1)}.get(state, False)
    share = 0.1 * (0.5 if state == "both" else 0.0) if sits_there else 0.1
    assert moved.double().mean().item() == pytest.approx(share, abs=5 * 0.3 / CELLS**0.5)
    if state != "spread":
        assert set(used[moved].float().unique().tolist()) <= {torch.tensor(978.0).item(), torch.tensor(43.6).item()}


def moment_4(state: str, about: float) -> float:
    """E (g - about)^4 of a stuck cell's conductance g."""
    if state == "spread":
        return float(((np.linspace(43.6, 978, 10_001) - about) ** 4).mean())
    values = {"on": [978.0], "off": [43.6], "both": [43.6, 978.0]}[state]
    return sum((g - about) ** 4 for g in values) / len(values)


def test_stuck_values_of_tahfo2_are_uniform_and_smoothed():
    used, _ = cells_of(plan.device_of("tahfo2"), 1.0, level=1.0)
    check(used, 510.8, math.sqrt((978 - 43.6) ** 2 / 12 + 17.7**2))
    assert ((used > 300) & (used < 700)).double().mean().item() == pytest.approx(400 / 934.4, abs=0.01)
    assert (used > 978).double().mean().item() == pytest.approx(17.7 / math.sqrt(2 * math.pi) / 934.4, rel=0.1)
    assert used.min() >= 0
    assert plan.device_of("tahfo2").settings.state == "spread" and plan.device_of("stuck").settings.state == "both"


def test_cells_that_are_stuck_stay_stuck_at_a_larger_share():
    device = plan.device_of("stuck")
    small, large = (cells_of(device, 0.5, level=level) for level in (0.05, 0.2))
    clean = cells_of(device, 0.5, level=0.0)
    assert torch.equal(small[small != clean], large[small != clean])


# Order


class Steps(Cells):
    """Programming adds 1, drift halves, a read adds noise of std 1; each step is easy to see."""

    name = "steps"
    g_min_us = 2.0
    g_max_us = 10.0
    axis = Axis(name="level", unit="", levels=(0.0, 1.0), train_level=1.0, maximum=1.0)

    def programmed(self, target_us: Tensor, generator: torch.Generator, level: float) -> Tensor:
        return target_us + 1

    def drifted(
        self, g_us: Tensor, target_us: Tensor, generator: torch.Generator, level: float, time_s: float | None
    ) -> Tensor:
        return g_us / 2 + 100 * (target_us == self.g_max_us)

    def read_noise(self, programmed_us: Tensor, level: float) -> ReadNoise:
        return lambda g_us, time_s: torch.where(programmed_us == self.g_max_us, 1.0, 0.0) * g_us


def test_programming_then_stuck_then_drift_then_read():
    w = {"w": torch.tensor([1.0, 0.5, -0.25])}
    plain = Steps().program(w, seeded(), level=1.0).cells["w"]
    # Used cells 10, 6, 4 and unused ones at 2, each plus 1, then halved; the first one's target was g_max
    torch.testing.assert_close(plain, torch.tensor([[105.5, 3.5, 1.5], [1.5, 1.5, 2.5]]))
    device = Steps(Steps.Settings(stuck_on=1.0))
    chip = device.program(w, seeded(), level=1.0)
    # Stuck after programming (no 1 is added) and before drift (halved, from a target of g_max)
    torch.testing.assert_close(chip.cells["w"], torch.full((2, 3), 105.0))
    # Read last: as wide as what drifted, and by the state after sticking
    seen = torch.stack([device.read(chip, seeded(k)).cells["w"] for k in range(2000)])
    assert seen.std().item() == pytest.approx(rectified(105.0, 105.0)[1], rel=0.05)
    off = Steps(Steps.Settings(stuck_off=1.0)).program(w, seeded(), level=1.0)
    torch.testing.assert_close(off.cells["w"], torch.full((2, 3), 1.0))
    assert torch.equal(off["w"], torch.zeros(3))


@pytest.mark.parametrize("name", ["pcm", "rram_wan2022", "reram_cmo", "d2d_lognormal"])
def test_stuck_shares_are_met_and_other_cells_keep_their_luck(name):
    level = plan.device_of(name).axis.train_level
    clean = cells_of(plan.device_of(name), 0.5, level=level)
    faulty = plan.device_of(name, {"stuck_on": 0.03, "stuck_off": 0.02})
    moved = (cells_of(faulty, 0.5, level=level) != clean)[0]  # an unused cell may be where stuck_off would put it
    assert moved.double().mean().item() == pytest.approx(0.05, abs=5 * (0.05 / CELLS) ** 0.5)
    assert faulty.is_random(0.0) and not plan.device_of(name).is_random(0.0)
    on = cells_of(plan.device_of(name, {"stuck_on": 0.03}), 0.0, level=0.0)
    top = cells_of(plan.device_of(name), 1.0, level=0.0)[0, 0]
    assert (on == top).double().mean().item() == pytest.approx(0.03, abs=5 * (0.03 / on.numel()) ** 0.5)


def test_stuck_shares_may_fill_a_chip_but_not_more():
    for share in ({"stuck_on": 1.0}, {"stuck_off": 1.0}, {"stuck_on": 0.5, "stuck_off": 0.5}):
        cells = cells_of(plan.device_of("rram_wan2022", share), 0.5, level=0.0)
        assert not (cells == 20.0).any()
    with pytest.raises(SettingError, match="stuck_on=0.7 and stuck_off=0.6: the shares must add up to at most 1"):
        plan.device_of("pcm", {"stuck_on": 0.7, "stuck_off": 0.6})
    with pytest.raises(SettingError, match="slices take one pair"):
        plan.device_of("pcm", {"cell_bits": 2, "pairs": 2})


# Luck


@pytest.mark.parametrize("name", NAMES)
def test_plus_and_minus_cells_layers_and_chips_are_independent(name):
    device = plan.device_of(name)
    level = device.axis.train_level
    w = {"a": torch.full((100_000,), 0.5), "b": torch.full((100_000,), 0.5)}
    w["a"][0] = w["b"][0] = 1.0
    rows = []
    for seed in (0, 1):
        chip = device.program(w, seeded(seed), level=level)
        rows += [chip.cells[layer][side, 1:] for layer in w for side in (0, 1)]
    off_diagonal = torch.corrcoef(torch.stack(rows).double()) - torch.eye(8)
    assert off_diagonal.abs().max() < 5 / 100_000**0.5


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_depends_on_neither_level_nor_time_nor_settings(name):
    device = plan.device_of(name)
    states = []
    for level, settings in ((0.0, {}), (device.axis.train_level, {}), (device.axis.maximum, {"scale": "column"})):
        generator = seeded(3)
        plan.device_of(name, settings).program({"w": torch.ones(10, 2)}, generator, level=level)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


@pytest.mark.parametrize("name", ["rram_wan2022", "reram_cmo"])
def test_level_scales_the_deviation_of_the_same_cells(name):
    # Used cells alone, in the middle of the range, where none meets its end
    none, one, two = (cells_of(plan.device_of(name), 0.5, level=level)[0] for level in (0.0, 0.5, 1.0))
    torch.testing.assert_close(two - none, 2 * (one - none), atol=1e-4, rtol=1e-4)
    assert (two - none).std() > 0.1


# Chips


MAPPINGS = [
    {},
    {"scale": "column", "pairs": 2},
    {"rule": "average"},
    {"cell_bits": 2},
    {"scale": "tile", "tile_rows": 5, "tile_columns": 2},
]


@pytest.mark.parametrize("settings", MAPPINGS)
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_what_cells_and_scales_say(name, settings):
    device: Any = plan.device_of(name, settings)
    w = {"a": torch.randn(6, 3, 2, 2).contiguous(memory_format=torch.channels_last), "b": torch.randn(5, 4).T}
    chip = device.program(w, seeded(), level=device.axis.train_level)
    seen = device.read(chip, seeded(1))
    assert isinstance(seen, Chip)
    for name_, tensor in w.items():
        for some in (chip, seen):
            again = device.cell_mapping.join(some.cells[name_]) * some.scales[name_]
            torch.testing.assert_close(again, some[name_], rtol=1e-5, atol=1e-6)
        assert chip[name_].stride() == tensor.stride()
        assert chip.cells[name_].shape[-tensor.dim() :] == tensor.shape
    assert not torch.equal(chip["a"], w["a"])


@pytest.mark.parametrize("settings", [mapping for mapping in MAPPINGS if "cell_bits" not in mapping])
@pytest.mark.parametrize("name", NAMES)
def test_level_zero_without_time_is_the_mapping_alone(name, settings):
    """Tiles, scales, rules and pairs change nothing where nothing deviates."""
    device = plan.device_of(name, settings)
    first = None if device.times_s is None else device.times_s[0]
    w = {"w": torch.randn(50, 20)}
    chip = device.program(w, seeded(), level=0.0, time_s=first)
    torch.testing.assert_close(chip["w"], w["w"], rtol=1e-5, atol=2e-6 * w["w"].abs().max().item())


@pytest.mark.parametrize("settings", [{}, {"cell_bits": 4}])
@pytest.mark.parametrize("name", NAMES)
def test_cells_at_zero_and_layers_of_zeros_make_nothing_nan(name, settings):
    device = plan.device_of(name, settings)
    w = {"zeros": torch.zeros(4, 3), "some": torch.tensor([[0.0, 1.0, -1e-8]])}
    for tensor in w.values():
        tensor.requires_grad_()
    for level in (0.0, device.axis.train_level, device.axis.maximum):
        chip = device.training_chip(w, seeded(), level=level)
        sum((part * part.detach()).sum() for part in chip.values()).backward()
        assert isinstance(chip, Chip) and chip.cells is not None
        for name_, tensor in w.items():
            assert chip[name_].isfinite().all()
            assert torch.equal(tensor.grad, chip[name_].detach()), "straight-through"
            tensor.grad = None
        assert torch.equal(chip["zeros"], torch.zeros(4, 3)), "a layer of zeros has no scale"
