"""The table and the figure of a device, for devices with and without time, levels and measurements."""

import math
from pathlib import Path

import pytest

from bench.device_show import DRAWS, describe, plot
from devices._base import Device, DeviceError
from devices.ideal import Ideal
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


@pytest.mark.parametrize("device", [Ideal(), Rram(), Rram1t1r()], ids=lambda d: d.name)
def test_draws_a_figure(device: Device, tmp_path: Path) -> None:
    plot(device, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
