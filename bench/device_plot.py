"""What a device does to a weight and to a single cell, as a figure."""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from bench.device_show import (
    DRAWS,
    NORMAL_WEIGHTS,
    QUANTILES,
    conductances_us,
    curve_of,
    describe,
    normal_weights,
    shown_cells,
    unchanged,
)
from bench.figures import STYLE, UNDATED
from bench.files import write_with
from bench.labels import time_text
from bench.sweep import TIMES_S, usual_times
from devices._base import Device
from devices._curve import Curve, current_ua

MOST_COLUMNS = 3
CELLS = 2_000  # a point of a curve
SHARES = np.linspace(0, 1, 31)  # of g_max, along a curve
FOLLOWED = (0.25, 0.5, 1.0)  # shares of g_max whose cells are followed through time
DPI, SMALL_DPI, SMALL_COLOURS = 150, 75, 48


def plot(device: Device, *paths: Path, level: float, times_s: Sequence[float] = (), small: bool = False) -> None:
    """Write a figure to `paths` (.png, .pdf or .svg), without `times_s` at the device's usual times.

    Chip weight over programmed weight, a panel a level, at the first of `times_s` or the default time; at `level`
    the deviation of a cell over its conductance, a panel a time, and over time; normal weights before and after; and
    currents over voltage where the cells don't obey Ohm's law; those alone, a panel a level, if nothing else changes.
    `small`: a .png has few pixels and colours, for a page.
    """
    at = times_s[0] if times_s else device.default_time_s
    levels = [some for some in device.axis.levels if some > 0] or list(device.axis.levels)
    times: Sequence[float | None] = times_s or (usual_times(device) if device.times_s else (None,))
    if device.conductances_us is None:
        times = ()
    curve = curve_of(device, level)
    if any(curve_of(device, some) for some in levels) and unchanged(describe(device, at)):
        _plot_currents(device, paths, levels, small)
        return
    last = 1 + bool(times and _span(device)) + (curve is not None)
    rows = [-(-n // MOST_COLUMNS) for n in (len(levels), len(times), last)]
    columns = min(MOST_COLUMNS, max(len(levels), len(times), last))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.8 * columns, 3.1 * sum(rows) + 0.5), layout="constrained")
        panels = [
            part.ravel() for part in np.split(figure.subplots(sum(rows), columns, squeeze=False), np.cumsum(rows))
        ]
        _level_panels(panels[0], device, levels, at)
        if times:
            _cell_panels(panels[1], device, level, times)
        if times and _span(device):
            _course(panels[2][1], device, level)
        if curve is not None:
            _currents(panels[2][last - 1], device, level, curve)
        _histogram(panels[2][0], device, level, at)
        for axes in panels[2][last:]:
            axes.set_axis_off()
        when = "" if at is None else f", chips {time_text(at)} after programming"
        figure.suptitle(f"{device.name} (version {device.version}){when}")
        cells = f"{CELLS:,} cells a conductance, " if times else ""
        size = f"n = {DRAWS:,} reads of a weight, {cells}{NORMAL_WEIGHTS:,} normal weights"
        figure.supxlabel(size, fontsize=8, color="0.35", x=0.01, ha="left")
        _save_all(figure, paths, small)


def _plot_currents(device: Device, paths: Sequence[Path], levels: Sequence[float], small: bool) -> None:
    """The figure of a device that leaves weights alone: currents over voltage, a panel a level."""
    columns = min(MOST_COLUMNS, len(levels))
    rows = -(-len(levels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.8 * columns, 3.1 * rows + 0.5), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, level in zip(panels, levels, strict=False):
            if (curve := curve_of(device, level)) is not None:
                _currents(axes, device, level, curve)
        for axes in panels[len(levels) :]:
            axes.set_axis_off()
        figure.suptitle(f"{device.name} (version {device.version}): weights do not change, currents do")
        _save_all(figure, paths, small)


def _save_all(figure: Figure, paths: Sequence[Path], small: bool) -> None:
    for path in paths:
        save = _save_small if small and path.suffix == ".png" else _save
        write_with(path, partial(save, figure))


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, metadata=UNDATED.get(path.suffix))


def _save_small(figure: Figure, path: Path) -> None:
    rendered = io.BytesIO()
    figure.savefig(rendered, dpi=SMALL_DPI)
    Image.open(rendered).convert("RGB").quantize(SMALL_COLOURS).save(path, optimize=True)


def _level_panels(panels: np.ndarray, device: Device, levels: Sequence[float], time_s: float | None) -> None:
    """One panel a level, all on the scale of the widest band."""
    table = describe(device, time_s, weights=np.linspace(-1, 1, 41).round(6).tolist())
    shown: pd.DataFrame = table[table.level.isin(levels)]
    low, high = min(shown.q05.min(), -1.0), max(shown.q95.max(), 1.0)
    margin = 0.04 * (high - low)
    for axes, level in zip(panels, levels, strict=False):
        part = shown[shown.level == level]
        axes.axline((0, 0), slope=1, color="0.4", linestyle=":", label="programmed")
        bands = [part[f"q{q * 100:02.0f}"] for q in QUANTILES]
        _bands(axes, part.weight.to_numpy(), np.stack(bands), part["mean"].to_numpy())
        axes.set(xlim=(-1, 1), ylim=(low - margin, high + margin))
        axes.set(xlabel="programmed weight / max|w|", ylabel="chip weight / max|w|")
        unit = f" ({device.axis.unit})" if device.axis.unit else ""
        axes.set_title(f"{device.axis.name} {level:g}{unit}", fontsize="medium")
    _finish(panels, len(levels))


def _cell_panels(panels: np.ndarray, device: Device, level: float, times: Sequence[float | None]) -> None:
    """One panel a time: how far a cell is from the conductance that it was asked for."""
    low_us, high_us = conductances_us(device)
    g_us = np.maximum(SHARES * high_us, low_us)
    for axes, time_s in zip(panels, times, strict=False):
        seen = [shown_cells(device, x, CELLS, level=level, time_s=time_s).numpy() for x in SHARES]
        deviation_us = np.stack(seen) - g_us[:, None]
        axes.axhline(0, color="0.4", linestyle=":", label="asked for")
        _bands(axes, g_us, np.quantile(deviation_us, QUANTILES, axis=1), deviation_us.mean(1))
        when = "" if time_s is None else f" after {time_text(time_s)}"
        axes.set_title(f"cells at {device.axis.name} {level:g}{when}", fontsize="medium")
        axes.set(xlim=(low_us, high_us), xlabel="conductance asked for (uS)", ylabel="deviation (uS)")
    widest = max(abs(limit) for axes in panels[: len(times)] for limit in axes.get_ylim())
    for axes in panels[: len(times)]:
        axes.set_ylim(-widest, widest)
    _finish(panels, len(times))


def _span(device: Device) -> tuple[float, ...]:
    """Times in s along which cells are followed; none where there are not two."""
    if device.times_s is None or device.only_times_s is not None:
        return device.only_times_s or ()
    first, last = device.times_s[0] or TIMES_S[0], min(device.times_s[1], TIMES_S[-1])
    return tuple(np.geomspace(first, last, 13).clip(first, last).tolist()) if first < last else ()


def _course(axes: Axes, device: Device, level: float) -> None:
    """Mean and standard deviation of cells over time, a line a conductance."""
    times, (_, high_us) = _span(device), conductances_us(device)
    for colour, x in zip(sns.color_palette("deep"), FOLLOWED, strict=False):
        seen = [shown_cells(device, x, CELLS, level=level, time_s=t).numpy() for t in times]
        mean, std = np.mean(seen, axis=1), np.std(seen, axis=1)
        axes.fill_between(times, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0)
        sns.lineplot(x=times, y=mean, color=colour, ax=axes, label=f"{x * high_us:.3g} uS asked for")
    axes.set_xscale("log")
    axes.set(xlabel="time since programming (s)", ylabel="conductance (uS)")
    axes.set_title(f"cells at {device.axis.name} {level:g}: mean ± std", fontsize="medium")
    axes.legend(fontsize="small")


def _currents(axes: Axes, device: Device, level: float, curve: Curve) -> None:
    """Current over voltage, a line a conductance; dotted: Ohm's law."""
    assert curve.law is not None
    low_us, high_us = conductances_us(device)
    v = torch.linspace(0, device.settings.read_v, 61, dtype=torch.float64)
    for colour, g_us in zip(sns.color_palette("deep"), (low_us, (low_us + high_us) / 2, high_us), strict=False):
        i_ua = current_ua(torch.tensor(g_us).double(), v, curve.law, curve.level)
        sns.lineplot(x=v.numpy(), y=i_ua.numpy(), color=colour, ax=axes, label=f"{g_us:.3g} uS")
        axes.plot(v.numpy(), g_us * v.numpy(), color=colour, linestyle=":")
    axes.set(xlabel="voltage (V)", ylabel="current (uA)")
    axes.set_title(f"I-V curves at {device.axis.name} {level:g}; dotted: Ohm", fontsize="medium")
    axes.legend(fontsize="small")


def _histogram(axes: Axes, device: Device, level: float, time_s: float | None) -> None:
    """Weights before and after programming. Normal ones: no trained network is at hand."""
    before, after = normal_weights(device, level=level, time_s=time_s)
    peak = before.abs().max()
    bins = np.linspace(-1.1, 1.1, 111)
    blue, grey = sns.color_palette("deep")[0], "0.15"
    for weights, label, filled, colour in ((after, "after", True, blue), (before, "before", False, grey)):
        shares = (weights / peak).clamp(-1.1, 1.1).numpy()
        look = {"bins": bins, "element": "step", "fill": filled, "stat": "density", "color": colour}
        sns.histplot(x=shares, ax=axes, label=label, **look)
    axes.set(xlabel="weight / max|w|", ylabel="density")
    axes.set_title(f"normal weights, {device.axis.name} {level:g}", fontsize="medium")
    axes.legend(fontsize="small")


def _bands(axes: Axes, x: np.ndarray, quantiles: np.ndarray, mean: np.ndarray) -> None:
    """Mean, median, middle half and middle 90 %: quantiles (5, len(x)), mean (len(x),)."""
    colour = sns.color_palette("deep")[0]
    axes.fill_between(x, quantiles[0], quantiles[4], color=colour, alpha=0.2, linewidth=0, label="5 to 95 %")
    axes.fill_between(x, quantiles[1], quantiles[3], color=colour, alpha=0.4, linewidth=0, label="25 to 75 %")
    sns.lineplot(x=x, y=quantiles[2], color=colour, ax=axes, label="median", legend=False)
    sns.lineplot(x=x, y=mean, color="0.15", linestyle="--", ax=axes, label="mean", legend=False)


def _finish(panels: np.ndarray, used: int) -> None:
    """Legend in the first panel; no frame where there is nothing to show."""
    panels[0].legend(loc="upper left", fontsize="small")
    for axes in panels[used:]:
        axes.set_axis_off()
