"""Measured cells: chips against the table they are drawn from, and the shipped table against its data."""

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from devices import _measured
from devices._base import DeviceError
from devices._measured import Measured
from devices.rram1t1r import Rram1t1r

DRAWS = 200_000
DEVICE = Rram1t1r()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moments_us(device: Measured, time_s: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the deviation at each knot: integrals of a piecewise linear quantile function."""
    q = device.deviation_us(time_s)
    share = torch.tensor(device.table["probabilities"], dtype=torch.float64).diff()
    low, high = q[:, :-1], q[:, 1:]
    mean = ((low + high) / 2 * share).sum(1)
    square = ((low**2 + low * high + high**2) / 3 * share).sum(1)
    return mean, (square - mean**2).sqrt()


def knot(g_us: float) -> int:
    return DEVICE.table["g_us"].index(g_us)


def write(path: Path, table: Any) -> Path:
    path.write_text(json.dumps(table))
    return path


def test_class_states_what_the_table_says() -> None:
    assert DEVICE.times_s == (DEVICE.table["times_s"][0], DEVICE.table["times_s"][-1])
    assert DEVICE.default_time_s == DEVICE.table["times_s"][-1] == 1e5
    assert (DEVICE.table["name"], DEVICE.table["g_max_us"]) == ("rram1t1r", 40.0)
    assert 1.0 in DEVICE.axis.levels
    assert not DEVICE.differentiable


def test_shipped_table_has_the_statistics_of_the_cells() -> None:
    # Sample mean and standard deviation (uS) at 1e5 s of the cells within 1 uS, worked out apart from the fit
    mean, std = moments_us(DEVICE, 1e5)
    for g, mean_us, std_us in ((6.0, -0.15, 3.26), (10.0, -0.76, 3.71), (20.0, -1.96, 3.83), (30.0, -2.11, 3.59)):
        assert mean[knot(g)].item() == pytest.approx(mean_us, abs=0.05)
        assert std[knot(g)].item() == pytest.approx(std_us, rel=0.03)
    assert (mean[knot(12.0) :] < -1).all()
    assert DEVICE.table["provenance"]["cells"] == 16_292
    assert "/" not in DEVICE.table["provenance"]["file"]


def test_chip_moments_match_the_table_at_every_measured_time() -> None:
    knots = (4.0, 12.0, 20.0, 30.0, 40.0)
    weights = {"w": torch.tensor(knots).div(40).repeat_interleave(DRAWS).view(len(knots), -1)}
    for time in DEVICE.table["times_s"]:
        mean, std = moments_us(DEVICE, time)
        deviation = 40 * (DEVICE.program(weights, seeded(), level=1, time_s=time)["w"] - weights["w"]).double()
        for row, g in zip(deviation, knots, strict=True):
            # The pair's deviation is the used cell's less the unused one's, and the two are independent
            std_us = math.hypot(std[knot(g)].item(), std[0].item())
            assert row.mean().item() == pytest.approx(
                (mean[knot(g)] - mean[0]).item(), abs=5 * std_us / DRAWS**0.5 + 0.02
            )
            assert row.std().item() == pytest.approx(std_us, rel=0.04)


def at_conductance(g_us: float, time_s: float) -> tuple[float, float]:
    """Mean and standard deviation of a cell's conductance: integrals over the quantiles, linear between knots of g."""
    knots = torch.tensor(DEVICE.table["g_us"], dtype=torch.float64)
    above = int(torch.searchsorted(knots, torch.tensor(g_us, dtype=torch.float64)).clamp(1, len(knots) - 1))
    share = (g_us - knots[above - 1]) / (knots[above] - knots[above - 1])
    table = DEVICE.deviation_us(time_s)
    q = (g_us + (1 - share) * table[above - 1] + share * table[above]).clamp(min=0)
    p = torch.tensor(DEVICE.table["probabilities"], dtype=torch.float64).diff()
    low, high = q[:-1], q[1:]
    mean = ((low + high) / 2 * p).sum()
    return mean.item(), (((low**2 + low * high + high**2) / 3 * p).sum() - mean**2).sqrt().item()


@pytest.mark.parametrize("time_s", DEVICE.table["times_s"])
@pytest.mark.parametrize("row", [0, 6, 13, 32, 64, 95, 127])
def test_single_cells_have_the_tables_mean_and_spread(row: int, time_s: float) -> None:
    """At those conductances of the lookup that are nearest to 0, .05, .1, .25, .5, .75 and 1 of g_max."""
    g_us = 40 * row / 127
    mean, std = at_conductance(g_us, time_s)
    seen = DEVICE.cells_us(torch.full((DRAWS,), g_us), seeded(row), level=1.0, time_s=time_s).double()
    error = std / DRAWS**0.5
    assert seen.mean().item() == pytest.approx(mean, abs=5 * error + 2e-3)
    spread_error = ((seen - seen.mean()).pow(4).mean() - seen.var() ** 2).clamp(min=0).sqrt() / (2 * std * DRAWS**0.5)
    assert seen.std().item() == pytest.approx(std, abs=5 * spread_error.item() + 0.01 * std)


def test_level_zero_is_the_mapping_alone() -> None:
    weights = {"a": torch.randn(40, 30, generator=seeded(1)), "b": torch.randn(7, generator=seeded(2)) * 1e-4}
    chip = DEVICE.program(weights, seeded(), level=0)
    for name, w in weights.items():
        torch.testing.assert_close(chip[name], w, rtol=1e-5, atol=1e-6 * w.abs().max().item())


def test_level_scales_the_deviation_of_the_same_chip() -> None:
    weights = {"w": torch.cat([torch.randn(20_000, generator=seeded(1)), torch.tensor([5.0])])}
    none, half, full = (DEVICE.program(weights, seeded(3), level=level)["w"] for level in (0.0, 0.5, 1.0))
    error = (full - none - 2 * (half - none)).abs()
    # Exact but for the few cells cut at zero conductance, because a row of the lookup is up to half a row off
    assert (error > 1e-5).float().mean() < 0.005
    assert error.max() <= 5.0 * 0.5 / 127 + 1e-5
    assert (full - none).std() > 0.1


def test_draws_do_not_depend_on_level_or_time() -> None:
    states = []
    for level, time in ((0.0, 1.0), (1.0, 1e5), (4.0, 0.01)):
        generator = seeded(3)
        DEVICE.program({"w": torch.ones(10)}, generator, level=level, time_s=time)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


def test_no_conductance_is_negative() -> None:
    # With both cells at least 0, no weight passes the largest used conductance in the other direction
    g_max_us, worst = 40.0, DEVICE.deviation_us(1e5)[0, -1].item() * 4
    chip = DEVICE.program({"w": torch.ones(DRAWS)}, seeded(), level=4)["w"]
    assert chip.min() >= -worst / g_max_us and chip.min() < 0.05


def test_spread_grows_with_time() -> None:
    spread = torch.stack([moments_us(DEVICE, t)[1] for t in (0.01, 0.03, 0.1, 0.5, 1.0, 30.0, 1e3, 1e5)])
    middle = spread[:, knot(4.0) :]
    assert (middle.diff(dim=0) > 0).all()


def test_time_is_interpolated_in_its_logarithm() -> None:
    between = DEVICE.deviation_us(10**2.5)
    at_1, at_4, at_last = (DEVICE.deviation_us(t) for t in (1.0, 4.0, 1e5))
    share = (2.5 - math.log10(4)) / (5 - math.log10(4))
    torch.testing.assert_close(between, at_4 + share * (at_last - at_4))
    assert not torch.equal(at_1, at_4)


@pytest.mark.parametrize("time", [0.0, 0.005, 1.1e5, float("nan")])
def test_time_out_of_range_is_refused(time: float) -> None:
    with pytest.raises(DeviceError, match="out of range"):
        DEVICE.program({"w": torch.ones(3)}, seeded(), level=1, time_s=time)


def test_dtype_shape_zeros_and_nan() -> None:
    weights = {"half": torch.randn(3, 4).half(), "zero": torch.zeros(5), "nan": torch.tensor([1.0, float("nan")])}
    chip = DEVICE.program(weights, seeded(), level=1)
    assert chip["half"].dtype == torch.float16 and chip["half"].shape == (3, 4)
    assert torch.equal(chip["zero"], torch.zeros(5))
    assert chip["nan"].isnan().any()
    single = torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True)
    DEVICE.training_chip({"w": single}, seeded(), level=1)["w"].sum().backward()
    assert single.grad is not None and torch.equal(single.grad, torch.ones(1, 3))


def test_a_users_table_is_a_device(tmp_path: Path) -> None:
    table = {**DEVICE.table, "name": "other", "times_s": [2.0, 3.0], "deviation_us": DEVICE.table["deviation_us"][:2]}
    device = Measured.from_file(write(tmp_path / "mylab.json", table))
    assert device.name == "mylab" and device.version.startswith("fit-") and len(device.version) == 12
    assert (device.times_s, device.default_time_s) == ((2.0, 3.0), 3.0)
    assert DEVICE.times_s == (0.01, 1e5)
    weights = {"w": torch.linspace(-1, 1, 50)}
    ours = DEVICE.program(weights, seeded(), level=1, time_s=0.1)["w"]
    assert torch.equal(device.program(weights, seeded(), level=1)["w"], ours)
    with pytest.raises(DeviceError, match="mylab: time 10 s"):
        device.check(1.0, 10.0)


def broken(change: str) -> Any:
    table = copy.deepcopy(DEVICE.table)
    if change == "schema":
        table["schema"] = 2
    elif change == "missing":
        del table["g_us"]
    elif change == "nan":
        table["deviation_us"][0][0][0] = float("nan")
    elif change == "falling":
        table["deviation_us"][4][5][10] += 50
    elif change == "ragged":
        table["deviation_us"][0][0].pop()
    elif change == "short":
        table["times_s"].pop()
    elif change == "order":
        table["g_us"][3] = 0.1
    elif change == "reach":
        table["g_max_us"] = 50
    elif change == "true":
        table["g_max_us"] = True
    elif change in ("largest", "lowest"):
        table["deviation_us"][0][5][-1 if change == "largest" else 0] = 1e308 if change == "largest" else -1e308
    elif change == "far":
        table["deviation_us"][0][5][-1] = 1.01e3 * table["g_max_us"]
    elif change == "denormal":
        table["g_max_us"] = 5e-324
    elif change == "tiny":
        table["g_max_us"] = 9e-7
    elif change == "huge":
        table |= {"g_max_us": 2e6, "g_us": [g * 5e4 for g in table["g_us"]]}
    elif change == "late":
        table["times_s"][-1] = 1.1e12
    elif change == "reaches far":
        table["g_us"][-1] = 1e308
    elif change == "one time twice":
        table["times_s"][-2] = math.nextafter(table["times_s"][-1], 0)
    elif change == "null sum":
        table["sha256"] = None
    elif change == "odd sum":
        table["sha256"] = 7
    elif change == "renamed sum":
        table["sha_256"] = "0" * 64
    return table if change != "list" else []


@pytest.mark.parametrize(
    "change",
    [
        *"schema missing nan falling ragged short order reach true list".split(),
        *"largest lowest far denormal tiny huge late".split(),
        *("reaches far", "one time twice", "null sum", "odd sum", "renamed sum"),
    ],
)
def test_a_broken_table_is_told_in_one_line(tmp_path: Path, change: str) -> None:
    with pytest.raises(DeviceError, match="^broken.json: .*bench device fit") as error:
        Measured.from_file(write(tmp_path / "broken.json", broken(change)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("g_max_us", _measured.G_MAX_US)
@pytest.mark.parametrize("sign", [-1, 1])
def test_chips_of_the_farthest_table_are_finite(tmp_path: Path, g_max_us: float, sign: int) -> None:
    table = copy.deepcopy(DEVICE.table)
    far = sign * _measured.MOST_TIMES_G_MAX * g_max_us
    table |= {"g_max_us": g_max_us, "g_us": [g_max_us * i for i in (0, 0.5, 1)], "times_s": [5e-324, _measured.MOST_S]}
    table |= {"probabilities": [0, 5e-324, 1], "deviation_us": [[sorted([0, far, far])] * 3] * 2}
    device = Measured.from_file(write(tmp_path / "far.json", table))
    weights = {"w": torch.linspace(-1, 1, 1000) * 1e4, "pair": torch.tensor([1e-4, -1e-4])}
    for time_s in (5e-324, 1.0, _measured.MOST_S):
        chip = device.program(weights, seeded(), level=4.0, time_s=time_s)
        assert chip.cells is not None and chip.scales is not None
        for part in (chip, chip.cells, chip.scales):
            assert all(t.isfinite().all() for t in part.values())
        asked = torch.linspace(0, g_max_us, 1000)
        assert device.cells_us(asked, seeded(), level=4.0, time_s=time_s).isfinite().all()


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", Path("/dev/zero"), tmp_path):
        with pytest.raises(DeviceError, match=f"^{path.name}: no regular file; make one with bench device fit$"):
            Measured.from_file(path)


def test_an_absent_or_unreadable_table_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"schema": 1, "g_us": [0.0')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    told = {"cut": "not a readable table", "deep": "not a readable table", "absent": "there is no such table"}
    for name, why in told.items():
        path = tmp_path / f"{name}.json"
        with pytest.raises(DeviceError, match=rf"^\S*{path.name}: {why}[^\n]*; make one with bench device fit$"):
            Measured.from_file(path)


def test_stuck_cells_deviate_from_where_they_are_stuck() -> None:
    w = {"w": torch.cat([torch.full((DRAWS,), 0.5), torch.ones(1)])}
    clean = DEVICE.program(w, seeded(), level=1.0)
    assert clean.cells is not None and clean.scales is not None
    chip = Rram1t1r(Rram1t1r.Settings(stuck_on=0.1, stuck_off=0.1)).program(w, seeded(), level=1.0)
    assert chip.cells is not None
    torch.testing.assert_close((chip.cells["w"][0] - chip.cells["w"][1]) * clean.scales["w"], chip["w"])
    mean, std = moments_us(DEVICE, 1e5)
    targets = ((0.8, 20.0), (0.1, 40.0), (0.1, 0.0)), ((0.1, 40.0), (0.9, 0.0))
    for side, parts in zip(chip.cells["w"].double(), targets, strict=True):
        at = [(share, g + mean[knot(g)].item(), std[knot(g)].item()) for share, g in parts]
        first = sum(share * m for share, m, _ in at)
        second = sum(share * (m**2 + s**2) for share, m, s in at)
        spread = math.sqrt(second - first**2)
        assert side.mean().item() == pytest.approx(first, abs=5 * spread / DRAWS**0.5 + 0.05)
        assert side.std().item() == pytest.approx(spread, rel=0.02)
    same = (chip.cells["w"] == clean.cells["w"]).double().mean(1)
    assert same[0].item() == pytest.approx(0.8, abs=0.01), "other cells keep their luck"


def test_a_chip_with_stuck_cells_is_random_at_level_zero() -> None:
    stuck = Rram1t1r(Rram1t1r.Settings(stuck_on=0.5))
    assert stuck.is_random(0.0) and not DEVICE.is_random(0.0)
    shown = stuck.program({"w": torch.ones(10_000)}, seeded(), level=0.0)["w"]
    # The used cell is at g_max anyway; the unused one takes its current away where it is stuck
    assert shown.unique().tolist() == [0.0, 1.0]
    assert shown.mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_chip_makes_its_cells_when_they_are_asked_for() -> None:
    w = {"a": torch.randn(5, 2, 3, 3).contiguous(memory_format=torch.channels_last), "b": torch.randn(4, 3).half()}
    chip = DEVICE.program(w, seeded(), level=1.0)
    assert chip.cells is not None and chip.scales is not None
    for name, tensor in w.items():
        plus, minus = chip.cells[name]
        assert plus.shape == tensor.shape and (plus >= 0).all() and (minus >= 0).all()
        again = (plus - minus) * chip.scales[name]
        torch.testing.assert_close(again.to(tensor.dtype), chip[name])
    large = w["a"].abs() > w["a"].abs().max() / 2
    assert ((chip.cells["a"][0] > chip.cells["a"][1]) == (w["a"] > 0))[large].all()
