"""Figures of a study: the metric trial by trial, and which settings it hung on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.figures import STYLE, canvas, literal, save
from bench.look import COLOURS

__all__ = ["Point", "history", "importance", "save"]


@dataclass(frozen=True)
class Point:
    """A finished trial: its order, metric (of a pruned one the last that was seen, or None), whether it was pruned."""

    number: int
    metric: float | None
    pruned: bool


def history(points: Sequence[Point], *, title: str, metric: str, higher_is_better: bool) -> Figure:
    """Validation metric of each trial, and the best so far; the first trial has the default settings."""
    rows = [(p.number, p.metric, "pruned" if p.pruned else "finished") for p in points if p.metric is not None]
    frame = pd.DataFrame(rows, columns=["trial", "metric", "end"])
    whole = frame[frame["end"] == "finished"].sort_values("trial")
    best = whole["metric"].cummax() if higher_is_better else whole["metric"].cummin()
    ends = max((p.number for p in points), default=0)  # the best stays so to the last trial, pruned or not
    colours = [light for light, _ in COLOURS]
    with mpl.rc_context(STYLE):
        figure, axes = canvas(height=3.0)
        look: dict[str, Any] = {"palette": {"finished": colours[0], "pruned": "0.6"}, "s": 32}
        markers = {"finished": "o", "pruned": "X"}
        sns.scatterplot(frame, x="trial", y="metric", hue="end", style="end", markers=markers, ax=axes, **look)
        trials = [*whole["trial"], *whole["trial"].tail(1).clip(lower=ends)]
        axes.step(trials, [*best, *best.tail(1)], where="post", color=colours[1], linewidth=1.4, label="best so far")
        default = frame[(frame["trial"] == 0) & (frame["end"] == "finished")]["metric"]
        if len(default):
            axes.axhline(default.iloc[0], color="0.4", linewidth=1, linestyle=":", label="default settings")
        axes.set(xlabel="trial", ylabel=literal(metric), title=literal(title))
        axes.locator_params(axis="x", integer=True)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure


def importance(shares: Mapping[str, float], *, title: str) -> Figure:
    """Share of each parameter in the metric's variance over trials, by Optuna's PED-ANOVA."""
    frame = pd.DataFrame({"parameter": [literal(name) for name in shares], "importance": list(shares.values())})
    with mpl.rc_context(STYLE):
        figure, axes = canvas(height=1.2 + 0.24 * len(frame))
        sns.barplot(frame, x="importance", y="parameter", color=COLOURS[0][0], ax=axes)
        axes.set(xlabel="importance (PED-ANOVA, sum 1)", ylabel="", title=literal(title))
    return figure
