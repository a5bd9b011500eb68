"""Figures of error over read power: lines through the sweep, or for many methods panels with numbered marks."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from bench.figures import STYLE, canvas, caption, literal, save
from bench.groups import Group, Row
from bench.labels import point_label
from bench.look import Look, looks
from bench.plots import FEW, LEGEND, group_caption, handles, height, hollow, is_wide, legend, opened, title, wrapped

__all__ = ["error_over_power", "power_points", "save"]
PANEL = 2.05  # inches
MARK, TEXT = 5.0, 6.5  # points


def error_over_power(group: Group) -> Figure:
    """Error over read power, means over seeds with 95% intervals over chips and seeds, which matplotlib draws: seaborn
    has no mark for bars of given ends.
    """
    rows = [row for row in group.rows if row.read_powers]
    with mpl.rc_context(STYLE):
        return _lines(group, rows) if len(rows) <= FEW else _panels(group, rows)


def _lines(group: Group, rows: list[Row]) -> Figure:
    """A line a method variant through the points of the sweep, with a large mark at the first."""
    frame, found = power_points(group), looks([row.label for row in rows])
    look: dict[str, Any] = {"hue": "method", "style": "method", "estimator": None, "sort": False}
    look |= {"palette": {name: one.light for name, one in found.items()}, "linewidth": 0.8, "alpha": 0.8}
    look |= {"markers": {name: one.marker for name, one in found.items()}, "dashes": False, "markersize": 6}
    figure, axes = canvas(height=height(rows))
    axes.set_xscale("log")
    _intervals(axes, frame, found)
    sns.lineplot(frame, x="power_mw", y="error", ax=axes, legend=False, **look)
    opened(axes.lines, frame["method"], found)
    _marks(axes, frame[frame["point"] == min(group.points)], found, 70)
    _log_ticks(axes, frame["power_mw"])
    axes.set(xlabel="read power of all cells (mW)", ylabel=literal(group.error), title=title(group))
    if not group.higher_is_better and is_wide(list(frame["error"])):
        axes.set_yscale("log")
    legend(axes, rows, found)
    through = f"{'times' if group.over_time else 'levels'}, large at {point_label(group.sweep, min(group.points))}"
    caption(figure, f"{group_caption(group, rows)}; a line through the {through}")
    return figure


def _panels(group: Group, rows: list[Row]) -> Figure:
    """A mark a method variant in a panel for each of three points of the sweep; the legend says whose its number is."""
    frame, found = power_points(group), looks([row.label for row in rows])
    numbers = {row.label: i for i, row in enumerate(rows, 1)}
    shown = [point for point in _telling(group.points) if (frame["point"] == point).any()]
    figure = Figure(figsize=(6.0, max(PANEL * len(shown) + 0.7, height(rows))), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(len(shown), 1, sharex=True, squeeze=False).flat)
    for axes, point in zip(panels, shown, strict=True):
        part = frame[frame["point"] == point]
        axes.set_xscale("log")
        _intervals(axes, part, found)
        _marks(axes, part, found, MARK**2)
        if not group.higher_is_better and is_wide(list(part["error"])):
            axes.set_yscale("log")
        axes.set(xlabel="", ylabel="")
        axes.margins(0.06, 0.12)
        said = point_label(group.sweep, point) if group.over_time else f"{group.axis}: {point_label('level', point)}"
        axes.set_title(literal(said), fontsize=8, color="0.35")
    _log_ticks(panels[-1], frame["power_mw"])
    panels[-1].set_xlabel("read power of all cells (mW)")
    figure.supylabel(literal(group.error), fontsize=mpl.rcParams["axes.labelsize"])
    figure.suptitle(title(group), x=0.01, ha="left", fontsize=mpl.rcParams["axes.titlesize"])
    names = [wrapped(f"{numbers[row.label]}  {row.label}") for row in rows]
    figure.legend(handles(rows, found), names, loc="outside right upper", **LEGEND)
    caption(figure, f"{group_caption(group, rows)}\nnumbers: methods in the order of their rank")
    figure.draw_without_rendering()  # now places are final
    for axes, point in zip(panels, shown, strict=True):
        part = frame[frame["point"] == point]
        words = [(str(numbers[name]), found[name].light) for name in part["method"]]
        _number(axes, part[["power_mw", "error"]].to_numpy(), words)
    return figure


def _telling(points: Sequence[float]) -> list[float]:
    """First, middle and last point; the middle one is the device as measured, 1, where that is a level between."""
    middle = 1.0 if 1.0 in points[1:-1] else points[len(points) // 2]
    return sorted({points[0], middle, points[-1]})


def _number(axes: Axes, places: np.ndarray, words: Sequence[tuple[str, str]]) -> None:
    """The number of each mark, (n, 2), in its colour beside it, where it covers least of others and of marks."""
    scale = axes.figure.dpi / 72
    marks = axes.transData.transform(places) / scale  # points
    frame = np.array(axes.get_window_extent().get_points()).ravel() / scale  # left, bottom, right, top
    taken = [_box(spot, MARK, MARK) for spot in marks]
    beside = [
        (radius * math.cos(turn), radius * math.sin(turn))
        for radius in (7.5, 11, 15, 20, 26)
        for turn in np.linspace(0, 2 * math.pi, 16, endpoint=False)
    ]
    for i in sorted(range(len(marks)), key=lambda i: (-_crowd(marks, i), i)):
        width = 0.66 * TEXT * len(words[i][0])
        boxes = [_box(marks[i] + np.array(step), width, TEXT) for step in beside]
        costs = [
            sum(_shared(box, other) for other in taken) + 50 * _outside(box, frame) + 0.4 * math.hypot(*step)
            for box, step in zip(boxes, beside, strict=True)
        ]
        best = int(np.argmin(costs))
        taken.append(boxes[best])
        text = axes.annotate(
            words[i][0],
            places[i],
            beside[best],
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=TEXT,
            color=words[i][1],
            bbox={"facecolor": "w", "edgecolor": "none", "pad": 0.2, "alpha": 0.7},  # bars are paler behind it
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 2},
        )
        text.set_in_layout(False)


def _box(middle: np.ndarray, width: float, height: float) -> np.ndarray:
    half = np.array([width, height]) / 2
    return np.concatenate([middle - half, middle + half])


def _crowd(marks: np.ndarray, i: int) -> int:
    """How many marks are near this one."""
    return int((np.abs(marks - marks[i]).max(1) < 15).sum())


def _shared(a: np.ndarray, b: np.ndarray) -> float:
    """Area that two boxes have in common; a little of it counts as much."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return 20.0 + float(sides[0] * sides[1]) if (sides > 0).all() else 0.0


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    """How far a box sticks out."""
    return float(np.clip(frame[:2] - box[:2], 0, None).sum() + np.clip(box[2:] - frame[2:], 0, None).sum())


def _intervals(axes: Axes, frame: pd.DataFrame, found: dict[str, Look]) -> None:
    colours = [found[name].light for name in frame["method"]]
    axes.vlines(frame["power_mw"], frame["low"], frame["high"], colors=colours, linewidth=1, alpha=0.6)


def _marks(axes: Axes, frame: pd.DataFrame, found: dict[str, Look], size: float) -> None:
    """A mark a row of the frame."""
    look: dict[str, Any] = {"hue": "method", "palette": {name: one.light for name, one in found.items()}, "s": size}
    look |= {"style": "method", "markers": {name: one.marker for name, one in found.items()}}
    sns.scatterplot(frame, x="power_mw", y="error", ax=axes, legend=False, zorder=3, **look)
    hollow(axes.collections[-1], [found[name] for name in frame["method"]])


def power_points(group: Group) -> pd.DataFrame:
    """A row a method variant and point of the sweep.

    Columns method, level (or time) as printed, point, power_mw; error, low, high in the metric's unit.
    """
    made = []
    for row in group.rows:
        for point, power_w in row.read_powers.items():
            error = group.as_error(row.points[point])
            made.append((row.label, point_label(group.sweep, point), point, 1e3 * power_w, *error))
    sweep = "time" if group.over_time else "level"
    return pd.DataFrame(made, columns=["method", sweep, "point", "power_mw", "error", "low", "high"])


def _log_ticks(axes: Axes, powers: pd.Series) -> None:
    """Few round numbers along a logarithmic x axis."""
    few = powers.max() / powers.min() < 4
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]) if few else LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
