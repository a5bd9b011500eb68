"""What a device does to a weight and to a single cell, as tables, by programming synthetic chips."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from bench.errors import BenchError
from bench.keys import seed_of
from devices._base import Device, DeviceError
from devices._curve import Curve, current_ua

WEIGHTS = (-1.0, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
AT = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
VOLTAGES = (0.2, 0.5, 1.0)  # shares of the read voltage
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DRAWS, CELLS, NORMAL_WEIGHTS = 4_000, 20_000, 50_000
MOST_CELLS = 10_000_000
ROUNDING = 1e-5  # of max|w|


def describe(device: Device, time_s: float | None = None, weights: Sequence[float] = WEIGHTS) -> pd.DataFrame:
    """The chip weight as one read shows it, relative to max|w|, over DRAWS cells: a row a level and weight.

    weights: programmed weights relative to max|w|; one of them must be 1 or -1.
    Columns level, weight, mean, std, q05, q25, q50, q75, q95; random numbers are the same at
    every level, as on one chip. Raises DeviceError for a time that the device does not cover.
    """
    rows = []
    for level in device.axis.levels:
        device.check(level, time_s)
        programmed = {"weight": torch.tensor(weights, dtype=torch.float32).repeat_interleave(DRAWS).view(-1, DRAWS)}
        generator = torch.Generator().manual_seed(0)
        chip = device.read(device.program(programmed, generator, level=level, time_s=time_s), generator)
        shown = chip["weight"].detach().double().cpu().numpy()
        quantiles = np.quantile(shown, QUANTILES, axis=1).T
        for weight, draws, values in zip(weights, shown, quantiles, strict=True):
            named = {f"q{q * 100:02.0f}": float(value) for q, value in zip(QUANTILES, values, strict=True)}
            rows.append({"level": level, "weight": weight, "mean": draws.mean(), "std": draws.std(ddof=1), **named})
    return pd.DataFrame(rows)


def unchanged(table: pd.DataFrame) -> bool:
    """Are the weights of `describe`'s table at every level what was programmed, but for rounding?"""
    return bool((table["std"] < ROUNDING).all() and ((table["mean"] - table["weight"]).abs() < ROUNDING).all())


def normal_weights(device: Device, *, level: float, time_s: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """NORMAL_WEIGHTS weights of one layer, mean 0 and std 1, and what one read of a chip shows in their place."""
    before = torch.randn(NORMAL_WEIGHTS, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        chip = device.program({"weight": before}, generator, level=level, time_s=time_s)
        return before, device.read(chip, generator)["weight"]


def gain_and_std(before: torch.Tensor, after: torch.Tensor) -> tuple[float, float]:
    """The gain that `after` is best described by as `gain * before`, and the std of what is left."""
    x, y = before.double(), after.double()
    gain = (x @ y / (x @ x)).item()
    return gain, (y - gain * x).std().item()


def conductances_us(device: Device) -> tuple[float, float]:
    """Least and greatest conductance of the device's cells. DeviceError if it has none."""
    if device.conductances_us is None:
        raise DeviceError(f"{device.name}: varies weights and has no conductances, so there are no cells to show")
    return device.conductances_us


def cells(
    device: Device,
    *,
    level: float,
    times_s: Sequence[float | None],
    at: Sequence[float] = AT,
    n: int = CELLS,
) -> list[dict[str, float | None]]:
    """Mean and std of n single cells for each time and each conductance `at` g / g_max, as one read shows them.

    A dict each: g_over_gmax, time_s (None: a device without time), mean_us, std_us. Cells can't be asked for less
    than the device's least conductance: below it they are asked for that. A time's cells are those of every other.
    BenchError for a conductance out of range or a number of cells without a spread.
    """
    conductances_us(device)
    if wrong := [x for x in at if not 0 <= x <= 1]:
        raise BenchError(f"at {wrong[0]:g}: must be between 0 and 1, in shares of the greatest conductance")
    if not 2 <= n <= MOST_CELLS:
        raise BenchError(f"cells {n}: must be between 2 and {MOST_CELLS}")
    for time_s in times_s:
        device.check(level, time_s)
    found: list[dict[str, float | None]] = []
    for time_s in times_s:
        for x in at:
            g_us = shown_cells(device, x, n, level=level, time_s=time_s).double()
            moments = {"mean_us": g_us.mean().item(), "std_us": g_us.std().item()}
            found.append({"g_over_gmax": x, "time_s": time_s, **moments})
    return found


def shown_cells(device: Device, x: float, n: int, *, level: float, time_s: float | None) -> torch.Tensor:
    """n single cells asked for x g_max, in uS; other cells for each x, the same for each level and time."""
    low_us, high_us = conductances_us(device)
    asked = torch.full((n,), max(x * high_us, low_us))
    generator = torch.Generator().manual_seed(seed_of("shown cells", x))
    return device.cells_us(asked, generator, level=level, time_s=time_s)


def curve_of(device: Device, level: float) -> Curve | None:
    """How the device's cells conduct at a level, None where they do by Ohm's law or have no conductance."""
    generator = torch.Generator().manual_seed(0)
    curve = device.curve(device.program({"weight": torch.ones(1, 1)}, generator, level=level))
    return None if curve is None or curve.is_ohmic else curve


def curves(device: Device, level: float) -> list[dict[str, float]]:
    """I / (G V) of cells without residuals, from least to greatest G and up to the read voltage; [] by Ohm's law."""
    if (curve := curve_of(device, level)) is None or curve.law is None:
        return []
    low_us, high_us = conductances_us(device)
    found = []
    for g_us in (low_us, (low_us + high_us) / 2, high_us):
        for share in VOLTAGES:
            v = share * device.settings.read_v
            i_ua = current_ua(torch.tensor(g_us).double(), torch.tensor(v).double(), curve.law, curve.level).item()
            found.append({"g_us": g_us, "v": v, "i_ua": i_ua, "i_over_gv": i_ua / (g_us * v)})
    return found
