"""The table and the figure of a device, for devices with and without time, levels and measurements."""

import math
from pathlib import Path

import pytest

from bench import plan, registry
from bench.device_show import DRAWS, describe, plot
from devices._base import Device, DeviceError
from devices.ideal import Ideal
from devices.pcm import Pcm
from devices.reram_cmo import ReramCmo
from devices.rram import Rram
from devices.rram1t1r import Rram1t1r


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


@pytest.mark.parametrize("device", [Ideal(), Rram(), Rram1t1r(), Pcm()], ids=lambda d: d.name)
def test_draws_a_figure(device: Device, tmp_path: Path) -> None:
    plot(device, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
