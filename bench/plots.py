"""Figures of a leaderboard group over its sweep, and of a matrix; score_plots.py and power_plots.py have others."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator

from bench.figures import STYLE, canvas, caption, literal, save, size_text
from bench.groups import Group, Row
from bench.labels import in_unit, number, point_label
from bench.look import BASELINE, Look, looks

if TYPE_CHECKING:
    from bench.matrix import Matrix

__all__ = ["heat_map", "metric_over_sweep", "save"]
LETTER = 0.085  # inches of a name beside or below an axis
LEGEND_LINE = 0.19  # inches
FEW = 8  # lines whose courses the eye can follow where they run close together
PANELS = 4  # side by side, of more lines
LEGEND: dict[str, Any] = {"fontsize": 8, "labelspacing": 0.35}


def metric_over_sweep(group: Group) -> Figure:
    """Mean metric over levels, or over time, with 95% bands: a line a method variant, of many a panel each."""
    rows = [row for row in group.rows if row.points]
    with mpl.rc_context(STYLE):
        return _together(group, rows) if len(rows) <= FEW else _panels(group, rows)


def _together(group: Group, rows: list[Row]) -> Figure:
    """One pair of axes; the legend is in rank order."""
    found = looks([row.label for row in rows])
    figure, axes = canvas(height=height(rows))
    _draw(axes, rows, found)
    _scale(axes, group, rows)
    axes.set_xlabel(literal(group.axis))
    axes.set_ylabel(_metric(group))
    axes.set_title(title(group))
    legend(axes, rows, found)
    caption(figure, group_caption(group, rows))
    return figure


def _panels(group: Group, rows: list[Row]) -> Figure:
    """A panel a method variant, in rank order: its line and band, the baseline's line, and all others in grey."""
    found, deep = looks([row.label for row in rows]), -(-len(rows) // PANELS)
    names = [wrapped(f"{i}  {row.label}", 24) for i, row in enumerate(rows, 1)]
    tallest = [max(name.count("\n") + 1 for name in names[k * PANELS : (k + 1) * PANELS]) for k in range(deep)]
    figure = Figure(figsize=(6.0, 1.1 + sum(1.05 + 0.12 * lines for lines in tallest)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(deep, PANELS, sharex=True, sharey=True, squeeze=False).flat)
    frame, baseline = _means(rows), [row for row in rows if row.label == BASELINE]
    for axes, row, name in zip(panels, rows, names, strict=False):
        others = frame[(frame["method"] != row.label) & (frame["method"] != BASELINE)]
        look: dict[str, Any] = {"units": "method", "estimator": None, "legend": False, "ax": axes}
        sns.lineplot(others, x="level", y="mean", color="0.8", linewidth=0.6, **look)
        for one in baseline:
            own = frame[frame["method"] == one.label]
            sns.lineplot(own, x="level", y="mean", color=found[one.label].light, linewidth=0.9, **look)
        _draw(axes, [row], found, markersize=4)
        axes.set(xlabel="", ylabel="")
        axes.set_title(name, fontsize=7.5, pad=3)
        axes.tick_params(labelsize=7)
    for i, axes in enumerate(panels):
        axes.set_visible(i < len(rows))
        axes.tick_params(labelbottom=i + PANELS >= len(rows))  # nothing is below it
    _scale(panels[0], group, rows)
    ticks, last = panels[0].get_xticks(), len(panels[0].get_xticks()) - 1
    said = [i == last or (i % 2 == 0 and i != last - 1) for i in range(last + 1)]  # first and last have room
    panels[0].set_xticks(ticks, [point_label(group.sweep, x) * here for x, here in zip(ticks, said, strict=True)])
    panels[-PANELS].set_xlabel(literal(group.axis), loc="left", fontsize=8)
    figure.supylabel(_metric(group), fontsize=mpl.rcParams["axes.labelsize"])
    figure.suptitle(title(group), x=0.01, ha="left", fontsize=mpl.rcParams["axes.titlesize"])
    black = f"; thin line in each: {BASELINE}" if baseline else ""
    order = "numbers: methods in the order of their rank; grey: all others"
    caption(figure, f"{group_caption(group, rows)}\n{order}{black}")
    return figure


def _metric(group: Group) -> str:
    return literal(in_unit(group.metric, group.unit, "{} ({})"))


def _scale(axes: Axes, group: Group, rows: list[Row]) -> None:
    """Ticks at the points of the sweep, at some of very many, and logarithms where they are needed."""
    if not group.higher_is_better and is_wide([found.mean for row in rows for found in row.points.values()]):
        axes.set_yscale("log")  # a perplexity grows by the exponential
    ticks = group.points if len(group.points) <= 12 else group.points[:: len(group.points) // 8]
    if group.over_time:
        log_time(axes, group.points)
    axes.set_xticks(ticks, [point_label(group.sweep, point) for point in ticks])


def height(rows: list[Row]) -> float:
    """Inches that the legend needs, at least those of a usual figure."""
    return max(3.5, 0.9 + LEGEND_LINE * sum(len(wrapped(row.label).split("\n")) for row in rows))


def heat_map(matrix: "Matrix") -> Figure:
    """A row a training device, a column a test device; frames where a device meets itself, a dash for the missing."""
    means = {place: entry.found.mean for place, entry in matrix.entries.items() if entry.found is not None}
    values = pd.DataFrame(
        [[means.get((row, column), math.nan) for column in matrix.columns] for row in matrix.rows],
        index=[literal(row) for row in matrix.rows],
        columns=[literal(column) for column in matrix.columns],
        dtype=float,
    )
    with mpl.rc_context(STYLE):
        beside, below = (min(24, max(map(len, names), default=0)) * LETTER for names in (values.index, values.columns))
        width = 2.0 + beside + max(0.62, below) * len(matrix.columns)
        figure, axes = canvas(width, 1.9 + 0.42 * len(matrix.rows))
        colours = "viridis" if matrix.higher_is_better else "viridis_r"
        scale = LogNorm() if not matrix.higher_is_better and is_wide(list(means.values())) else None
        look: dict[str, Any] = {
            "annot_kws": {"size": 7},
            "cmap": colours,
            "cbar_kws": {"label": literal(matrix.metric)},
        }
        shown = values.map(lambda mean: number(mean, 1))
        sns.heatmap(values, annot=shown, fmt="", norm=scale, ax=axes, **look)
        for y, row in enumerate(matrix.rows):
            for x, column in enumerate(matrix.columns):
                if (row, column) not in means:
                    axes.text(x + 0.5, y + 0.5, "—", ha="center", va="center", color="0.4")
                elif row == column:
                    axes.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="w", linewidth=1.6))
        axes.tick_params(axis="y", labelrotation=0)  # seaborn turns long names, which then run into each other
        axes.set(xlabel="tested on", ylabel="trained on")
        figure.suptitle(literal(matrix.title), x=0.01, ha="left", fontsize=mpl.rcParams["axes.titlesize"])
        axes.grid(False)
        caption(figure, f"mean over {matrix.size}; framed: tested on the device trained for")
    return figure


def is_wide(values: Sequence[float]) -> bool:
    """Do they differ so much that the small ones need a logarithmic scale?"""
    return bool(values) and 0 < 10 * min(values) < max(values)


def log_time(axes: Axes, times_s: Sequence[float]) -> None:
    """An axis of times: logarithmic in seconds; linear below the first time above 0, where 0 itself is among them."""
    if min(times_s) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=min((t for t in times_s if t > 0), default=1.0))
    axes.xaxis.set_minor_locator(NullLocator())


def _means(rows: list[Row]) -> pd.DataFrame:
    """A row a method variant and point: method, level (or time), mean."""
    made = [(row.label, x, at.mean) for row in rows for x, at in row.points.items()]
    return pd.DataFrame(made, columns=["method", "level", "mean"])


def _draw(axes: Axes, rows: list[Row], found: dict[str, Look], markersize: float = 6) -> None:
    frame, some = _means(rows), {row.label: found[row.label] for row in rows}
    look: dict[str, Any] = {"palette": {name: one.light for name, one in some.items()}, "hue": "method"}
    look |= {"style": "method", "markers": {name: one.marker for name, one in some.items()}, "dashes": False}
    look |= {"markersize": markersize, "linewidth": 1.4}
    before = len(axes.lines)
    sns.lineplot(frame, x="level", y="mean", errorbar=None, legend=False, ax=axes, **look)
    opened(axes.lines[before:], frame["method"], found)
    for row in rows:
        x, bounds = list(row.points), list(row.points.values())
        low, high = [b.low for b in bounds], [b.high for b in bounds]
        axes.fill_between(x, low, high, color=found[row.label].light, alpha=0.16, linewidth=0)


def opened(lines: Sequence[Line2D], methods: Iterable[str], found: Mapping[str, Look]) -> None:
    """Dashes, which seaborn would scale, as on the page; variants have open markers. A line a method, in this order."""
    for line, label in zip(lines, dict.fromkeys(methods), strict=False):
        line.set(linestyle=found[label].line, **edges(found[label]))


def edges(one: Look) -> dict[str, Any]:
    """Face and edge of a line's markers."""
    shown = {"markerfacecolor": one.light, "markeredgecolor": "w", "markeredgewidth": 0.6}
    return shown if one.filled else {"markerfacecolor": "w", "markeredgecolor": one.light, "markeredgewidth": 1.2}


def hollow(marks: Collection, each: Sequence[Look]) -> None:
    """Of marks that were drawn at once those of variants are open."""
    shown = [edges(one) for one in each]
    marks.set_edgecolor([one["markeredgecolor"] for one in shown])
    marks.set_facecolor([one["markerfacecolor"] for one in shown])
    marks.set_linewidth([one["markeredgewidth"] for one in shown])


def legend(axes: Axes, rows: list[Row], found: dict[str, Look]) -> None:
    """Beside the axes, in the order of rank."""
    names = [wrapped(row.label) for row in rows]
    axes.legend(handles(rows, found), names, loc="upper left", bbox_to_anchor=(1.0, 1.0), **LEGEND)


def handles(rows: list[Row], found: dict[str, Look]) -> list[Line2D]:
    """What a legend shows of each row: its line with its marker."""
    made = []
    for row in rows:
        one = found[row.label]
        look: dict[str, Any] = {"color": one.light, "marker": one.marker, "linestyle": one.line} | edges(one)
        made.append(Line2D([], [], markersize=6, **look))
    return made


def title(group: Group) -> str:
    """Task, network and device."""
    elsewhere = ", trained on other devices" if group.elsewhere else ""
    return literal(f"{group.task} · {group.network} · {group.device}{elsewhere}")


def group_caption(group: Group, rows: list[Row]) -> str:
    """Preset, what bands and bars are, chips and seeds."""
    size = size_text([n for row in rows for n in row.chips or ()], [row.seeds for row in rows])
    subset = f", {group.test_samples} test samples" if group.test_samples is not None else ""
    return f"{group.preset} preset; mean and 95% interval over {size}{subset}"


def wrapped(label: str, width: int = 26) -> str:
    """A name of at most so many characters a line: settings must not crowd out the plot."""
    return literal("\n".join(textwrap.wrap(label, width)))
