"""Figures of a leaderboard group. No pyplot state, no dates in the files: same records, same bytes."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator

from bench.files import write_with
from bench.groups import Group, Row
from bench.labels import in_unit, number, point_label

if TYPE_CHECKING:
    from bench.comparison import Comparison
    from bench.matrix import Matrix

# Ten colours that colour-blind readers can tell apart, and eleven markers: coprime, so 110 pairs.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text in a paper
}


def canvas(width: float = 6.0, height: float = 3.5) -> tuple[Figure, Axes]:
    """A figure of this size in inches, and its axes; call it, and draw, within mpl.rc_context(STYLE)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def literal(text: str) -> str:
    """A dollar sign in a name is not mathematics."""
    return text.replace("$", r"\$")


def metric_over_sweep(group: Group) -> Figure:
    """Mean metric over levels, or over time, a line a method variant, with 95% bands; the legend is in rank order."""
    rows = [row for row in group.rows if row.points]
    with mpl.rc_context(STYLE):
        figure, axes = canvas()
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
    """Error over read power, a point a method variant, seed and point of the sweep, with 95% intervals over chips."""
    rows = [row for row in group.rows if row.readings]
    frame, (_, label) = power_points(group), _error(group)
    palette, sweep = _palette(rows), frame.columns[2]
    points = list(dict.fromkeys(frame.sort_values("point")[sweep]))
    markers = {point: MARKERS[i % 11] for i, point in enumerate(points)}
    look: dict[str, Any] = {"palette": palette, "markers": markers, "style_order": points, "s": 36}
    look["hue_order"] = [row.label for row in rows]
    with mpl.rc_context(STYLE):
        figure, axes = canvas()
        axes.set_xscale("log")
        for name, colour in palette.items():
            part = frame[frame["method"] == name]
            axes.vlines(part["power_mw"], part["low"], part["high"], color=colour, linewidth=1)
        sns.scatterplot(frame, x="power_mw", y="error", hue="method", style=sweep, ax=axes, **look)
        within_a_decade = frame["power_mw"].max() < 10 * frame["power_mw"].min()
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:.4g}" if within_a_decade else NullFormatter())
        axes.set(xlabel="read power of all cells (mW)", ylabel=literal(label), title=_title(group))
        if not group.higher_is_better and _wide(list(frame["error"])):
            axes.set_yscale("log")
        sns.move_legend(axes, "upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        legend = axes.get_legend()
        assert legend is not None
        for text in legend.get_texts():
            text.set_text(_wrapped(text.get_text()))
        figure.supxlabel(
            literal(f"{_caption(group, rows)}; a point a seed"), fontsize=7, color="0.35", x=0.01, ha="left"
        )
    return figure


def power_points(group: Group) -> pd.DataFrame:
    """A row a method variant, seed and point of the sweep.

    Columns method, seed, level (or time) as printed, point, power_mw; error, low, high in the metric's unit.
    """
    turned, _ = _error(group)
    made = []
    for row in group.rows:
        for seed, point, (mean, low, high), power_w in row.readings:
            error = (100 - mean, 100 - high, 100 - low) if turned else (mean, low, high)
            made.append((row.label, seed, point_label(group.sweep, point), point, 1e3 * power_w, *error))
    sweep = "time" if group.over_time else "level"
    return pd.DataFrame(made, columns=["method", "seed", sweep, "point", "power_mw", "error", "low", "high"])


def _error(group: Group) -> tuple[bool, str]:
    """Is the error what is missing to 100 %? Otherwise it is the metric itself. With the name of an axis."""
    turned = group.higher_is_better and group.unit == "%"
    return turned, f"{'100 - ' if turned else ''}{in_unit(group.metric, group.unit, '{} ({})')}"


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
    palette = _palette(rows)
    with mpl.rc_context(STYLE):
        figure, axes = canvas(6.0, 1.1 + 0.24 * len(rows))
        for i, row in enumerate(rows):
            assert row.score is not None
            half = row.score.high - row.score.mean
            half = half if math.isfinite(half) else 0.0
            axes.errorbar(row.score.mean, i, xerr=half, color=palette[row.label], marker="o", markersize=5, capsize=2)
        left, right = axes.get_xlim()
        step = 0.03 * (right - left)
        for n, (first, last) in enumerate(group.tied):
            ends = [place[id(group.rows[i])] for i in (first, last)]
            axes.plot([right + step * (n + 1)] * 2, [ends[0] - 0.25, ends[1] + 0.25], color="0.25", linewidth=2.5)
        axes.set_yticks(range(len(rows)), [literal(row.label) for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel(literal(f"score: {in_unit(group.metric, group.unit, '{} ({})')}, mean over {group.axis}"))
        axes.set_title(_title(group))
        note = "a bar joins scores no two of which are apart (paired differences, Holm's correction)"
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
            colour = sns.color_palette("colorblind", 1)[0]
            axes.errorbar(points, [d.mean for d in found], halves, color=colour, marker="o", markersize=4, capsize=2)
            if one.sweep == "time_s":
                _log_time(axes, points)
            axes.set_xticks(points, [point_label(one.sweep, point) for point in points], fontsize=7)
            axes.set_xlabel(literal(one.axis), fontsize=7)
            axes.set_ylabel(literal(in_unit(one.metric, one.unit, "{} ({})")), fontsize=7)
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
    palette = _palette(rows)
    markers = {name: MARKERS[i % 11] for i, name in enumerate(palette)}
    frame = pd.DataFrame([(r.label, x, found.mean) for r in rows for x, found in r.points.items()])
    frame.columns = ["method", "level", "mean"]
    look: dict[str, Any] = {"palette": palette, "markers": markers, "dashes": False, "markersize": 6, "linewidth": 1.4}
    sns.lineplot(frame, x="level", y="mean", hue="method", style="method", errorbar=None, legend=False, ax=axes, **look)
    for row in rows:
        x, bounds = list(row.points), list(row.points.values())
        low, high = [b.low for b in bounds], [b.high for b in bounds]
        axes.fill_between(x, low, high, color=palette[row.label], alpha=0.2, linewidth=0)
    handles = [
        mpl.lines.Line2D(
            [],
            [],
            color=palette[r.label],
            marker=markers[r.label],
            markersize=6,
            markeredgecolor="w",
            markeredgewidth=0.6,
        )
        for r in rows
    ]
    axes.legend(handles, [_wrapped(r.label) for r in rows], fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _palette(rows: list[Row]) -> dict[str, Any]:
    """Colours go by name, not by rank: a method keeps its own from plot to plot."""
    colours = sns.color_palette("colorblind", 10)
    return {name: colours[i % 10] for i, name in enumerate(sorted(row.label for row in rows))}


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


def _wrapped(label: str) -> str:
    """A legend entry of at most 26 characters a line: settings must not crowd out the plot."""
    return literal("\n".join(textwrap.wrap(label, 26)))


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.png (200 dpi) and <stem>.pdf."""
    dated = {".png": {"Software": None}, ".pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    paths = []
    for suffix, metadata in dated.items():
        # Not with_suffix: a width of 0.5 has a dot in the stem.
        path = stem.with_name(stem.name + suffix)
        with mpl.rc_context(STYLE):
            write_with(path, lambda temporary: figure.savefig(temporary, dpi=200, metadata=metadata))  # noqa: B023
        paths.append(path)
    return paths
