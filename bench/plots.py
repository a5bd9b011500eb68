"""Figures of a leaderboard group."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from bench.figures import STYLE, canvas, literal, save
from bench.groups import Group, Row
from bench.labels import in_unit, number, point_label
from bench.look import COLOURS, Look, looks

if TYPE_CHECKING:
    from bench.comparison import Comparison
    from bench.matrix import Matrix

__all__ = ["differences", "error_over_power", "heat_map", "metric_over_sweep", "power_points", "save", "ties"]
LEGEND_LINE = 0.19  # inches


def metric_over_sweep(group: Group) -> Figure:
    """Mean metric over levels, or over time, a line a method variant, with 95% bands; the legend is in rank order."""
    rows = [row for row in group.rows if row.points]
    with mpl.rc_context(STYLE):
        figure, axes = canvas(height=_height(rows))
        _draw(axes, rows)
        axes.set_xlabel(literal(group.axis))
        axes.set_ylabel(literal(in_unit(group.metric, group.unit, "{} ({})")))
        if not group.higher_is_better and _wide([found.mean for row in rows for found in row.points.values()]):
            axes.set_yscale("log")  # a perplexity grows by the exponential
        axes.set_title(_title(group))
        ticks = group.points if len(group.points) <= 12 else group.points[:: len(group.points) // 8]
        if group.over_time:
            _log_time(axes, group.points)
        axes.set_xticks(ticks, [point_label(group.sweep, point) for point in ticks])
        figure.supxlabel(literal(_caption(group, rows)), fontsize=7, color="0.35", x=0.01, ha="left")
    return figure


def error_over_power(group: Group) -> Figure:
    """Error over read power, a line a method variant through the points of the sweep, hollow at the first.

    Both are means over seeds; intervals are 95%, over chips and seeds.
    """
    rows = [row for row in group.rows if row.read_powers]
    frame, found = power_points(group), looks([row.label for row in rows])
    look: dict[str, Any] = {"hue": "method", "style": "method", "estimator": None, "sort": False}
    look |= {"palette": {name: one.light for name, one in found.items()}, "linewidth": 0.8, "alpha": 0.8}
    look |= {"markers": {name: one.marker for name, one in found.items()}, "dashes": False, "markersize": 6}
    with mpl.rc_context(STYLE):
        figure, axes = canvas(height=_height(rows))
        axes.set_xscale("log")
        axes.vlines(
            frame["power_mw"],
            frame["low"],
            frame["high"],
            colors=[found[name].light for name in frame["method"]],
            linewidth=1,
            alpha=0.6,
        )
        sns.lineplot(frame, x="power_mw", y="error", ax=axes, legend=False, **look)
        for name, part in frame[frame["point"] == min(group.points)].groupby("method"):
            hollow: dict[str, Any] = {
                "facecolor": "w",
                "edgecolor": found[str(name)].light,
                "marker": found[str(name)].marker,
            }
            axes.scatter(part["power_mw"], part["error"], s=30, zorder=3, linewidth=1.1, **hollow)
        _log_ticks(axes, frame["power_mw"].max() / frame["power_mw"].min())
        axes.set(xlabel="read power of all cells (mW)", ylabel=literal(group.error), title=_title(group))
        if not group.higher_is_better and _wide(list(frame["error"])):
            axes.set_yscale("log")
        _legend(axes, rows, found)
        through = f"{'times' if group.over_time else 'levels'}, hollow at {point_label(group.sweep, min(group.points))}"
        said = f"{_caption(group, rows)}; a line through the {through}"
        figure.supxlabel(literal(said), fontsize=7, color="0.35", x=0.01, ha="left")
    return figure


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


def _height(rows: list[Row]) -> float:
    """Inches that the legend needs, at least those of a usual figure."""
    return max(3.5, 0.9 + LEGEND_LINE * sum(len(_wrapped(row.label).split("\n")) for row in rows))


def _log_ticks(axes: Axes, ratio: float) -> None:
    """Few round numbers along a logarithmic x axis, whose ends are this factor apart."""
    few = ratio < 4
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]) if few else LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


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
        figure, axes = canvas(2.6 + 0.62 * len(matrix.columns), 1.9 + 0.42 * len(matrix.rows))
        colours = "viridis" if matrix.higher_is_better else "viridis_r"
        scale = LogNorm() if not matrix.higher_is_better and _wide(list(means.values())) else None
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
        axes.set(xlabel="tested on", ylabel="trained on", title=literal(matrix.title))
        axes.grid(False)
    return figure


def ties(group: Group) -> Figure:
    """Scores with their intervals, best first, and a bar beside each run of scores that can't be told apart.

    After the critical-difference diagram (Demsar 2006); told apart by paired differences and Holm's correction, so
    that intervals may overlap where a pair is apart, and the other way round.
    """
    rows = [row for row in group.rows if row.rank is not None and row.score is not None]
    rows.sort(key=lambda row: row.score.mean if row.score else 0.0, reverse=group.higher_is_better)
    place = {id(row): i for i, row in enumerate(rows)}
    palette = looks([row.label for row in rows])
    names = [_wrapped(row.label, 44) for row in rows]
    lines = max(name.count("\n") + 1 for name in names)
    with mpl.rc_context(STYLE):
        figure, axes = canvas(6.0, 1.1 + max(0.24, 0.17 * lines) * len(rows))
        for i, row in enumerate(rows):
            assert row.score is not None
            half = row.score.high - row.score.mean
            half = half if math.isfinite(half) else 0.0
            look: dict[str, Any] = {"color": palette[row.label].light, "marker": palette[row.label].marker}
            axes.errorbar(row.score.mean, i, xerr=half, markersize=5, capsize=2, **look)
        left, right = axes.get_xlim()
        step = 0.03 * (right - left)
        for n, (first, last) in enumerate(group.tied):
            ends = [place[id(group.rows[i])] for i in (first, last)]
            axes.plot([right + step * (n + 1)] * 2, [ends[0] - 0.25, ends[1] + 0.25], color="0.25", linewidth=2.5)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        score = f"score: {in_unit(group.metric, group.unit, '{} ({})')}, mean over {group.axis}"
        axes.set_xlabel(literal(score), loc="right")  # long names leave it too little room in the middle
        axes.set_title(_title(group))
        note = "a bar joins neighbouring scores no two of which are apart (paired differences, Holm's correction)"
        caption = f"{_caption(group, rows)}\n{note}"
        figure.supxlabel(literal(caption), fontsize=7, color="0.35", x=0.01, ha="left")
    return figure


def differences(comparisons: Sequence["Comparison"], a: str, b: str) -> Figure:
    """A - B over the levels, or over time, with 95% intervals; a panel for each place where both were run."""
    columns = min(3, len(comparisons))
    rows = -(-len(comparisons) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(3.2 * columns, 4.5), 2.7 * rows + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, one in zip(panels, comparisons, strict=False):
            points, found = list(one.points), [paired.difference for paired in one.points.values()]
            halves = [d.high - d.mean if math.isfinite(d.high) else 0.0 for d in found]
            axes.axhline(0, color="0.4", linewidth=0.8)
            colour = COLOURS[0][0]
            axes.errorbar(points, [d.mean for d in found], halves, color=colour, marker="o", markersize=4, capsize=2)
            if one.sweep == "time_s":
                _log_time(axes, points)
            axes.set_xticks(points, [point_label(one.sweep, point) for point in points], fontsize=7)
            axes.set_xlabel(literal(one.axis), fontsize=7)
            unit = "points" if one.unit == "%" else one.unit
            axes.set_ylabel(literal(in_unit(f"difference of {one.metric}", unit, "{} ({})")), fontsize=7)
            axes.set_title(literal("\n".join(textwrap.wrap(one.title, 44))), fontsize=7)
        for axes in panels[len(comparisons) :]:
            axes.set_axis_off()
        figure.suptitle(literal(f"{a} - {b}, chip by chip"), fontsize=9, x=0.01, ha="left")
        chips, seeds = max(one.chips for one in comparisons), {seed for one in comparisons for seed in one.seeds}
        caption = (
            f"mean and 95% interval over up to n = {chips} chips, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
        )
        figure.supxlabel(caption, fontsize=7, color="0.35", x=0.01, ha="left")
    return figure


def _wide(values: Sequence[float]) -> bool:
    """Do they differ so much that the small ones need a logarithmic scale?"""
    return bool(values) and 0 < 10 * min(values) < max(values)


def _log_time(axes: Axes, times_s: Sequence[float]) -> None:
    """Logarithmic in seconds; linear below the first time above 0, where 0 itself is among them."""
    if min(times_s) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=min((t for t in times_s if t > 0), default=1.0))
    axes.xaxis.set_minor_locator(NullLocator())


def _draw(axes: Axes, rows: list[Row]) -> None:
    found = looks([row.label for row in rows])
    frame = pd.DataFrame([(r.label, x, at.mean) for r in rows for x, at in r.points.items()])
    frame.columns = ["method", "level", "mean"]
    look: dict[str, Any] = {"palette": {name: one.light for name, one in found.items()}, "hue": "method"}
    look |= {"style": "method", "markers": {name: one.marker for name, one in found.items()}, "dashes": False}
    sns.lineplot(frame, x="level", y="mean", errorbar=None, legend=False, ax=axes, markersize=6, linewidth=1.4, **look)
    # seaborn draws a line a method in this order: dashes that it would scale are set as they are on the page.
    for line, label in zip(axes.lines, dict.fromkeys(frame["method"]), strict=False):
        line.set(linestyle=found[label].line)
    for row in rows:
        x, bounds = list(row.points), list(row.points.values())
        low, high = [b.low for b in bounds], [b.high for b in bounds]
        axes.fill_between(x, low, high, color=found[row.label].light, alpha=0.16, linewidth=0)
    _legend(axes, rows, found)


def _legend(axes: Axes, rows: list[Row], found: dict[str, Look]) -> None:
    """Beside the axes, in the order of rank."""
    handles = []
    for row in rows:
        one = found[row.label]
        look: dict[str, Any] = {"color": one.light, "marker": one.marker, "linestyle": one.line}
        handles.append(Line2D([], [], markersize=6, markeredgecolor="w", markeredgewidth=0.6, **look))
    names = [_wrapped(row.label) for row in rows]
    axes.legend(handles, names, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelspacing=0.35)


def _title(group: Group) -> str:
    elsewhere = ", trained on other devices" if group.elsewhere else ""
    return literal(f"{group.task} · {group.network} · {group.device}{elsewhere}")


def _caption(group: Group, rows: list[Row]) -> str:
    counts = [n for row in rows if row.chips for n in row.chips]
    chips = "-".join(map(str, sorted({min(counts), max(counts)})))
    seeds = sorted({len(row.seeds) for row in rows})
    one = {row.seeds for row in rows}
    stated = f"seed {rows[0].seeds[0]}" if seeds == [1] and len(one) == 1 else f"{'-'.join(map(str, seeds))} seeds"
    subset = f", {group.test_samples} test samples" if group.test_samples is not None else ""
    return f"{group.preset} preset; mean and 95% interval over n = {chips} chips, {stated}{subset}"


def _wrapped(label: str, width: int = 26) -> str:
    """A name of at most so many characters a line: settings must not crowd out the plot."""
    return literal("\n".join(textwrap.wrap(label, width)))
