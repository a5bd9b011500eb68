"""The table and the figure of a device, for devices with and without time, levels and measurements."""

import json
import math
from pathlib import Path

import pytest
import torch
from scipy.stats import norm

from bench import device_plot, plan, registry, tabular
from bench.device_plot import plot
from bench.device_show import AT, DRAWS, cells, curves, describe
from bench.errors import BenchError
from devices._base import Device, DeviceError
from devices.d2d_lognormal import D2dLognormal
from devices.ideal import Ideal
from devices.pcm import Pcm
from devices.reram_cmo import ReramCmo
from devices.rram import Rram
from devices.rram1t1r import Rram1t1r
from devices.rram_wan2022 import QUARTICS, RramWan2022


def test_describes_the_lognormal_device_in_closed_form() -> None:
    table = describe(Rram()).set_index(["level", "weight"])
    for sigma in (0.1, 0.3):
        row = table.loc[(sigma, 0.5)]
        mean = 0.5 * math.exp(sigma**2 / 2)
        std = mean * math.sqrt(math.exp(sigma**2) - 1)
        assert row["mean"] == pytest.approx(mean, abs=5 * std / DRAWS**0.5)
        assert row["q50"] == pytest.approx(0.5, rel=0.02)
        assert row["q95"] == pytest.approx(0.5 * math.exp(1.645 * sigma), rel=0.05)
        assert table.loc[(sigma, 0.0)]["std"] == 0
    assert (table.loc[0.0]["std"] < 1e-9).all()


def test_measured_device_depends_on_time() -> None:
    early, late = (describe(Rram1t1r(), t).set_index(["level", "weight"]) for t in (0.01, 1e5))
    assert late.loc[(1.0, 0.5)]["std"] > 2 * early.loc[(1.0, 0.5)]["std"]
    assert late.equals(describe(Rram1t1r()).set_index(["level", "weight"]))
    with pytest.raises(DeviceError, match="out of range"):
        describe(Rram1t1r(), 1e6)
    with pytest.raises(DeviceError, match="no time axis"):
        describe(Rram(), 1.0)


def test_describes_a_device_as_it_is_read() -> None:
    """CMO/HfOx at w = M: programming, relaxation and read noise of the used cell, and half a cut of the unused one."""
    row = describe(ReramCmo()).set_index(["level", "weight"]).loc[(1.0, 0.5)]
    used = math.hypot(0.00081107 + 0.00106879 * 48.6, 0.04201137 * math.log(3600) + 0.41183342)
    now = 48.6 - 0.08900206 * math.log(3600)
    read = 0.0277316483 * math.sqrt(math.log((3600 + 1e-6) / 2e-6))
    noise_us = math.hypot(used, read * math.log10(now), read * math.log10(9), 0.205)  # .205: a relaxation cut at g_min
    assert row["std"] * 79.2 == pytest.approx(noise_us, rel=0.03)


@pytest.mark.parametrize("name", registry.entries("devices"))
def test_every_device_can_be_shown(name: str) -> None:
    device = plan.device_of(name)
    table = describe(device).set_index(["level", "weight"])
    assert set(table.index.get_level_values(0)) == set(device.axis.levels)
    last = table.loc[max(device.axis.levels)]
    assert (last["q05"] <= last["q50"]).all() and (last["q50"] <= last["q95"]).all()
    assert (last["q05"] < last["q95"]).any() == device.is_random(max(device.axis.levels))


@pytest.mark.parametrize("device", [Ideal(), Rram(), Rram1t1r(), RramWan2022()], ids=lambda d: d.name)
def test_draws_a_figure(device: Device, tmp_path: Path) -> None:
    plot(device, tmp_path / "figure.png", level=device.axis.usual_level)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


# Single cells

WITH_CELLS = [name for name in registry.entries("devices") if plan.device_of(name).conductances_us is not None]


def test_which_devices_have_conductances() -> None:
    assert {"pcm", "rram1t1r", "rram_wan2022", "reram_cmo", "stuck", "tahfo2", "d2d_lognormal"} <= set(WITH_CELLS)
    assert not {"ideal", "rram", "gaussian", "rram1", "fefet6"} & set(WITH_CELLS)


def test_single_cells_of_a_gaussian_are_those_of_the_formula() -> None:
    """Wan et al.: N(g, s(x, t)^2) cut at 0, at each published time."""
    n = 100_000
    for row in cells(RramWan2022(), level=1.0, times_s=tuple(QUARTICS), n=n):
        x = row["g_over_gmax"]
        std = sum(c * x**power for power, c in enumerate(QUARTICS[row["time_s"]]))
        a = 40 * x / std
        mean = 40 * x * norm.cdf(a) + std * norm.pdf(a)
        spread = math.sqrt(((40 * x) ** 2 + std**2) * norm.cdf(a) + 40 * x * std * norm.pdf(a) - mean**2)
        assert row["mean_us"] == pytest.approx(mean, abs=5 * spread / n**0.5)
        assert row["std_us"] == pytest.approx(spread, rel=0.015)


def test_single_cells_are_read_with_noise_and_without_compensation() -> None:
    """Pcm right after programming: programming noise and one read; a day later it has drifted, uncompensated."""
    x, n = 0.75, 100_000
    fresh, late = cells(Pcm(), level=1.0, times_s=(0.0, 86_400.0), at=(x,), n=n)
    programmed = 0.26348 + 1.9650 * x - 1.1731 * x**2
    read = 25 * x * 0.0088 / x**0.65 * math.sqrt(math.log((20 + 250e-9) / 500e-9))
    assert fresh["mean_us"] == pytest.approx(25 * x, abs=5 * 1.5 / n**0.5)
    assert fresh["std_us"] == pytest.approx(math.hypot(programmed, read), rel=0.015)
    drifted = 25 * x * ((86_400 + 20) / 20) ** -0.049  # of nu's mean; its spread lifts the mean a little
    assert drifted < late["mean_us"] < 1.03 * drifted


def test_single_cells_of_a_measured_device_are_those_of_its_table() -> None:
    device, n = Rram1t1r(), 50_000
    p = torch.tensor(device.table["probabilities"], dtype=torch.float64)
    for row in cells(device, level=1.0, times_s=(1.0, 1e5), at=(0.0, 0.5, 1.0), n=n):
        knot = device.table["g_us"].index(40 * row["g_over_gmax"])
        quantiles = device.deviation_us(row["time_s"])[knot]
        low, high = quantiles[:-1], quantiles[1:]
        mean = ((low + high) / 2 * p.diff()).sum().item()
        std = (((low**2 + low * high + high**2) / 3 * p.diff()).sum().item() - mean**2) ** 0.5
        # .2 uS: conductances are looked up at 128 places, none of them 20 uS
        assert row["mean_us"] == pytest.approx(40 * row["g_over_gmax"] + mean, abs=5 * std / n**0.5 + 0.02)
        assert row["std_us"] == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("name", WITH_CELLS)
def test_every_device_shows_its_cells(name: str) -> None:
    device = plan.device_of(name)
    least, greatest = device.conductances_us
    still = cells(device, level=0.0, times_s=(device.times_s[0] if device.times_s else None,), n=200)
    assert [row["g_over_gmax"] for row in still] == list(AT)
    for row in still:  # without deviation, and as early as can be: where it was asked to be
        asked = max(row["g_over_gmax"] * greatest, least)
        assert row["mean_us"] == pytest.approx(asked, abs=1e-6 * greatest) and row["std_us"] < 1e-5 * greatest
    level = device.axis.usual_level
    moved = cells(device, level=level, times_s=(device.default_time_s,), n=2_000)
    assert all(math.isfinite(row["mean_us"]) and row["mean_us"] >= 0 for row in moved)
    assert any(row["std_us"] > 0 for row in moved) == device.is_random(level)


def test_stuck_cells_are_among_those_that_are_shown() -> None:
    half = plan.device_of("d2d_lognormal", {"stuck_off": 0.5})
    (row,) = cells(half, level=0.0, times_s=(None,), at=(1.0,), n=20_000)
    assert row["mean_us"] == pytest.approx((0.525 + 2.62) / 2, rel=0.02)
    assert row["std_us"] == pytest.approx((2.62 - 0.525) / 2, rel=0.01)


def test_cells_are_not_asked_for_less_than_there_is() -> None:
    below, least = cells(D2dLognormal(), level=0.0, times_s=(None,), at=(0.0, 0.525 / 2.62), n=2)
    assert below["mean_us"] == pytest.approx(least["mean_us"])


@pytest.mark.parametrize(
    "asked, error, words",
    [
        ({"at": (0.5, 1.5)}, BenchError, "at 1.5: must be between 0 and 1"),
        ({"n": 1}, BenchError, "cells 1: must be between 2 and 10000000"),
        ({"times_s": (1.0, 5.0)}, DeviceError, "time 5 s was not measured"),
        ({"level": 9.0}, DeviceError, "level 9 is out of range"),
    ],
)
def test_cells_that_there_are_not(asked: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        cells(RramWan2022(), **{"level": 1.0, "times_s": (1.0,)} | asked)
    with pytest.raises(DeviceError, match="rram: varies weights and has no conductances"):
        cells(Rram(), level=0.1, times_s=(None,))


def test_json_is_all_that_is_printed(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cli(*"device show reram_cmo --at 0,.5 --time 1,3600 --cells 500 --json".split())
    assert ended.code == 0
    assert ended.err == "reram_cmo: cells go from 9 to 88.2 uS; those asked for less are asked for 9 uS\n"
    found = json.loads(ended.out)
    assert [(row["g_over_gmax"], row["time_s"]) for row in found] == [(0, 1), (0.5, 1), (0, 3600), (0.5, 3600)]
    assert {tuple(row) for row in found} == {("g_over_gmax", "time_s", "mean_us", "std_us")}
    assert found == cells(ReramCmo(), level=1.0, times_s=(1.0, 3600.0), at=(0.0, 0.5), n=500)
    assert list(tmp_path.iterdir()) == []
    again = cli(*"device show stuck --cells 50 --json --level .5 --out a.svg".split())
    assert json.loads(again.out)[0]["time_s"] is None and (tmp_path / "a.svg").exists()


def test_without_json_cells_are_a_table(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = cli(*"device show stuck --at .25,1 --cells 50".split())
    assert (shown.code, shown.err) == (0, "")
    assert "single cells at share 0.1" in shown.out and "mean_us" in shown.out and "time_s" not in shown.out
    assert (tmp_path / "stuck.png").exists()


# I-V curves


@pytest.mark.parametrize("name, published", [("siox_low", [1.001, 1.032, 1.069]), ("siox_high", [0.939, 1.311, 1.910])])
def test_the_published_ratios_to_ohms_law_are_shown(
    name: str, published: list[float], cli, tmp_path, monkeypatch
) -> None:
    device = plan.device_of(name)
    table = curves(device, 1.0)
    assert {row["g_us"] for row in table} == {device.g_min_us, (device.g_min_us + device.g_max_us) / 2, device.g_max_us}
    top = [row for row in table if row["g_us"] == device.g_max_us]
    assert [row["v"] for row in top] == pytest.approx([0.1, 0.25, 0.5])
    assert [row["i_over_gv"] for row in top] == pytest.approx(published, abs=5e-4)
    assert curves(device, 0.0) == [] and curves(Pcm(), 1.0) == [] and curves(Rram(), 0.3) == []
    monkeypatch.chdir(tmp_path)
    shown = cli(*f"device show {name} --cells 20".split())
    assert shown.code == 0 and "i_over_gv" in shown.out and f"{published[1]:.3f}" in shown.out


def test_curves_have_a_panel_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    real = device_plot._currents
    monkeypatch.setattr(device_plot, "_currents", lambda axes, *a: (real(axes, *a), drawn.append(axes)))
    plot(plan.device_of("siox_high"), tmp_path / "a.png", level=1.0)
    assert len(drawn) == 4, "a panel a level above 0: weights stay as they are"
    solid = [line for line in drawn[1].lines if line.get_linestyle() == "-"]
    assert len(solid) == 3 and solid[2].get_ydata()[-1] == pytest.approx(1.910 * 2.62 * 0.5, rel=1e-3)
    plot(Rram(), tmp_path / "b.png", level=0.3)
    assert len(drawn) == 4
    plot(plan.device_of("siox_high", {"stuck_on": 0.1}), tmp_path / "c.png", level=1.0)
    assert len(drawn) == 5, "where weights change too, one panel beside theirs"


# On a terminal of 80 columns


def in_80_columns(command: str, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    ended = cli(*command.split())
    assert ended.code == 0 and "…" not in ended.out
    assert max(map(len, (line.rstrip() for line in ended.out.splitlines()))) <= 80
    return ended.out


def test_tables_of_several_times_fit_and_hold_the_numbers(cli, tmp_path: Path, monkeypatch) -> None:
    out = in_80_columns("device show pcm --time 1,3600,86400 --cells 50 --at .5", cli, tmp_path, monkeypatch)
    for when, time_s in (("1 s", 1.0), ("1 h", 3600.0), ("1 d", 86_400.0)):
        part = out.partition(f"chip weight relative to max|w|, {when} after programming")[2].partition("pcm:")[0]
        table = describe(Pcm(), time_s)
        row = table[(table.level == 4) & (table.weight == 0.5)].iloc[0]
        assert part and all(f"{row[name]:.3g}" in part.split() for name in ("mean", "std", "q05", "q95"))
        (cell,) = cells(Pcm(), level=1.0, times_s=(time_s,), at=(0.5,), n=50)
        ends = [line.split() for line in out.splitlines() if line.startswith(f"{when:>4} ") or f" {when}  " in line]
        deviation = f"{cell['mean_us'] - 12.5:.4g}"
        assert any({"12.5", f"{cell['mean_us']:.4g}", deviation} <= set(words) for words in ends)


def test_numbers_that_are_nothing_beside_others_are_0() -> None:
    assert [tabular.significant(v, 2.0, 3) for v in (-6.288e-5, 1.01e-4, 0.02835, -1.23456)] == [
        "0",
        "0.000101",
        "0.0284",
        "-1.23",
    ]
    assert tabular.significant(-6.288e-5, 1.0, 3) == "-6.29e-05" and tabular.significant(math.nan, 1.0, 3) == "nan"


def test_where_weights_stay_as_they_are_currents_are_shown(cli, tmp_path: Path, monkeypatch) -> None:
    out = in_80_columns("device show siox_high", cli, tmp_path, monkeypatch)
    assert "weights do not change; see currents" in out and "q05" not in out and "deviation_us" not in out
    assert all(f"at {level:g}" in out for level in (0, 0.5, 1, 1.5, 2))
    (top,) = [line.split() for line in out.splitlines() if line.split()[:2] == ["2.62", "0.5"]]
    assert list(map(float, top[3:])) == pytest.approx([1.91**level for level in (0, 0.5, 1, 1.5, 2)], rel=1e-3)
    assert "weights do not change\n" in in_80_columns("device show ideal", cli, tmp_path, monkeypatch)
    assert "asked_us" in in_80_columns("device show siox_high --at .5 --cells 5", cli, tmp_path, monkeypatch)
