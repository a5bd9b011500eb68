"""Figures of scores that can or can't be told apart, and of paired differences."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.figures import STYLE, canvas, caption, literal, save, size_text
from bench.groups import Group, Row
from bench.labels import in_unit, point_label
from bench.look import COLOURS, looks
from bench.plots import group_caption, hollow, log_time, title, wrapped
from bench.stats import Difference

if TYPE_CHECKING:
    from bench.comparison import Comparison

__all__ = ["differences", "save", "ties"]


def ties(group: Group) -> Figure:
    """Scores with their intervals, best first, and a bar beside each run of scores that can't be told apart.

    After the critical-difference diagram (Demsar 2006); told apart by paired differences and Holm's correction, so
    that intervals may overlap where a pair is apart, and the other way round. Intervals of given ends and the bars are
    matplotlib's: seaborn has no mark for them.
    """
    rows = [row for row in group.rows if row.rank is not None and row.score is not None]
    rows.sort(key=lambda row: row.score.mean if row.score else 0.0, reverse=group.higher_is_better)
    place = {id(row): i for i, row in enumerate(rows)}
    names = [wrapped(row.label, 44) for row in rows]
    lines = max(name.count("\n") + 1 for name in names)
    with mpl.rc_context(STYLE):
        figure, axes = canvas(6.0, 1.1 + max(0.24, 0.17 * lines) * len(rows))
        _scores(axes, rows)
        left, right = axes.get_xlim()
        step = 0.03 * (right - left)
        for n, (first, last) in enumerate(group.tied):
            ends = [place[id(group.rows[i])] for i in (first, last)]
            axes.plot([right + step * (n + 1)] * 2, [ends[0] - 0.25, ends[1] + 0.25], color="0.25", linewidth=2.5)
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        score = f"score: {in_unit(group.metric, group.unit, '{} ({})')}, mean over {group.axis}"
        axes.set_xlabel(literal(score), loc="right")  # long names leave it too little room in the middle
        axes.set(ylabel="", title=title(group))
        note = "a bar joins neighbouring scores no two of which are apart (paired differences, Holm's correction)"
        caption(figure, f"{group_caption(group, rows)}\n{note}")
    return figure


def _scores(axes: Axes, rows: Sequence[Row]) -> None:
    """A mark and an interval a row, from the top."""
    found = looks([row.label for row in rows])
    scores = [row.score for row in rows if row.score is not None]
    frame = pd.DataFrame({"method": [row.label for row in rows], "score": [score.mean for score in scores]})
    frame["place"] = range(len(rows))
    halves = [s.high - s.mean if math.isfinite(s.high) else 0.0 for s in scores]
    for i, (half, one) in enumerate(zip(halves, [found[row.label] for row in rows], strict=True)):
        axes.errorbar(scores[i].mean, i, xerr=half, fmt="none", capsize=2, ecolor=one.light, zorder=1)
    look: dict[str, Any] = {"palette": {name: one.light for name, one in found.items()}, "hue": "method"}
    look |= {"style": "method", "markers": {name: one.marker for name, one in found.items()}, "s": 36}
    sns.scatterplot(frame, x="score", y="place", ax=axes, legend=False, zorder=3, **look)
    hollow(axes.collections[-1], [found[row.label] for row in rows])


def differences(comparisons: Sequence["Comparison"], a: str, b: str) -> Figure:
    """A - B over the levels, or over time, with 95% intervals; a panel for each place where both were run.

    Intervals of given ends are matplotlib's: seaborn has no mark for them.
    """
    columns = min(3, len(comparisons))
    rows = -(-len(comparisons) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(3.2 * columns, 4.5), 2.7 * rows + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, one in zip(panels, comparisons, strict=False):
            _panel(axes, one)
        for axes in panels[len(comparisons) :]:
            axes.set_axis_off()
        figure.suptitle(literal(f"{a} - {b}, chip by chip"), fontsize=9, x=0.01, ha="left")
        size = size_text([one.chips for one in comparisons], [one.seeds for one in comparisons])
        caption(figure, f"mean and 95% interval over up to {size}")
    return figure


def _panel(axes: Axes, one: "Comparison") -> None:
    """Differences over one sweep."""
    found: list[Difference] = [paired.difference for paired in one.points.values()]
    frame = pd.DataFrame({"point": list(one.points), "difference": [d.mean for d in found]})
    halves = [d.high - d.mean if math.isfinite(d.high) else 0.0 for d in found]
    colour = COLOURS[0][0]
    axes.axhline(0, color="0.4", linewidth=0.8)
    sns.lineplot(frame, x="point", y="difference", errorbar=None, color=colour, marker="o", markersize=5, ax=axes)
    axes.errorbar(frame["point"], frame["difference"], halves, fmt="none", ecolor=colour, capsize=2)
    if one.sweep == "time_s":
        log_time(axes, list(one.points))
    axes.set_xticks(list(one.points), [point_label(one.sweep, point) for point in one.points], fontsize=7)
    axes.set_xlabel(literal(one.axis), fontsize=7)
    unit = "points" if one.unit == "%" else one.unit
    axes.set_ylabel(literal(in_unit(f"difference of {one.metric}", unit, "{} ({})")), fontsize=7)
    axes.set_title(literal("\n".join(textwrap.wrap(one.title, 44))), fontsize=7)
