"""What a device does to a weight, as a table and as a figure, by programming synthetic chips."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.files import write_with
from devices._base import Device
from devices._measured import Measured

WEIGHTS = (-1.0, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DRAWS = 4_000
MOST_COLUMNS = 3


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


def plot(device: Device, path: Path, time_s: float | None = None) -> None:
    """Write a figure to `path` (.png, .pdf or .svg): chip weight over programmed weight, a panel a level.

    For a `Measured` device also the deviation of a cell over its conductance, a panel a measured time.
    """
    table = describe(device, time_s, weights=np.linspace(-1, 1, 41).round(6).tolist())
    levels = [level for level in device.axis.levels if level > 0] or list(device.axis.levels)
    times = list(device.table["times_s"]) if isinstance(device, Measured) else []
    columns = min(MOST_COLUMNS, max(len(levels), len(times)))
    rows_of_levels, rows_of_times = -(-len(levels) // columns), -(-len(times) // columns)
    rows = rows_of_levels + rows_of_times
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.15):
        figure = Figure(figsize=(3.8 * columns, 3.1 * rows + 0.5), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        _level_panels(grid[:rows_of_levels].ravel(), device, table, levels)
        if isinstance(device, Measured):
            _time_panels(grid[rows_of_levels:].ravel(), device, times)
        at = device.default_time_s if time_s is None else time_s
        when = "" if at is None else f", chips {_seconds(at)} after programming"
        figure.suptitle(f"{device.name} (version {device.version}){when}")
        write_with(path, lambda temporary: figure.savefig(temporary, dpi=150))


def _level_panels(panels: np.ndarray, device: Device, table: pd.DataFrame, levels: Sequence[float]) -> None:
    """One panel a level, all on the scale of the widest band."""
    shown = table[table.level.isin(levels)]
    low, high = min(shown.q05.min(), -1.0), max(shown.q95.max(), 1.0)
    margin = 0.04 * (high - low)
    for axes, level in zip(panels, levels, strict=False):
        part = shown[shown.level == level]
        axes.axline((0, 0), slope=1, color="0.4", linestyle=":", label="programmed")
        bands = [part[f"q{q * 100:02.0f}"] for q in QUANTILES]
        _bands(axes, part.weight.to_numpy(), np.stack(bands))
        axes.set(xlim=(-1, 1), ylim=(low - margin, high + margin))
        axes.set(xlabel="programmed weight / max|w|", ylabel="chip weight / max|w|")
        unit = f" ({device.axis.unit})" if device.axis.unit else ""
        axes.set_title(f"{device.axis.name} {level:g}{unit}", fontsize="medium")
    _finish(panels, len(levels))


def _time_panels(panels: np.ndarray, device: Measured, times: Sequence[float]) -> None:
    """One panel a measured time: quantiles of a cell's deviation at multiplier 1."""
    probabilities = np.array(device.table["probabilities"])
    g_us = np.array(device.table["g_us"])
    for axes, time in zip(panels, times, strict=False):
        deviation_us = device.deviation_us(time).numpy()
        bands = np.stack([[np.interp(q, probabilities, row) for row in deviation_us] for q in QUANTILES])
        axes.axhline(0, color="0.4", linestyle=":", label="programmed")
        _bands(axes, g_us, bands)
        axes.set_title(f"one cell, {_seconds(time)} after programming", fontsize="medium")
        axes.set(xlim=(0, device.table["g_max_us"]), xlabel="conductance at programming (uS)", ylabel="deviation (uS)")
    widest = max(abs(limit) for axes in panels[: len(times)] for limit in axes.get_ylim())
    for axes in panels[: len(times)]:
        axes.set_ylim(-widest, widest)
    _finish(panels, len(times))


def _bands(axes: Axes, x: np.ndarray, quantiles: np.ndarray) -> None:
    """Median, middle half and middle 90 %: quantiles (5, len(x))."""
    colour = sns.color_palette("deep")[0]
    axes.fill_between(x, quantiles[0], quantiles[4], color=colour, alpha=0.2, linewidth=0, label="5 to 95 %")
    axes.fill_between(x, quantiles[1], quantiles[3], color=colour, alpha=0.4, linewidth=0, label="25 to 75 %")
    sns.lineplot(x=x, y=quantiles[2], color=colour, ax=axes, label="median", legend=False)


def _finish(panels: np.ndarray, used: int) -> None:
    """Legend in the first panel; no frame where there is nothing to show."""
    panels[0].legend(loc="upper left", fontsize="small")
    for axes in panels[used:]:
        axes.set_axis_off()


def _seconds(time_s: float) -> str:
    return f"{time_s:,.0f} s" if time_s >= 1000 else f"{time_s:g} s"
