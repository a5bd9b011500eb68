"""Figures of a study: the metric trial by trial, and which settings it hung on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.figures import STYLE, canvas, caption, literal, save
from bench.look import COLOURS

__all__ = ["Point", "history", "importance", "save"]


@dataclass(frozen=True)
class Point:
    """A finished trial: its order, metric (of a pruned one the last that was seen, or None), whether it was pruned."""

    number: int
    metric: float | None
    pruned: bool


def size_of(chips: int, levels: int, seed: int) -> str:
    """What a trial's metric is a mean of: 'n = 3 validation chips at each of 6 levels, seed 0'."""
    at = f" at each of {levels} levels" if levels > 1 else ""
    return f"n = {chips} validation chip{'' if chips == 1 else 's'}{at}, seed {seed}"


def history(points: Sequence[Point], *, title: str, metric: str, higher_is_better: bool, size: str) -> Figure:
    """Validation metric of each trial, and the best so far; the first trial has the default settings.

    `size`: what a trial's metric is a mean of, in words. The line at the default settings is matplotlib's: seaborn has
    no mark for one.
    """
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
        so_far: dict[str, Any] = {"drawstyle": "steps-post", "color": colours[1], "linewidth": 1.4, "estimator": None}
        sns.lineplot(x=trials, y=[*best, *best.tail(1)], label="best so far", ax=axes, **so_far)
        default = frame[(frame["trial"] == 0) & (frame["end"] == "finished")]["metric"]
        if len(default):
            axes.axhline(default.iloc[0], color="0.4", linewidth=1, linestyle=":", label="default settings")
        axes.set(xlabel="trial", ylabel=literal(metric), title=literal(title))
        axes.locator_params(axis="x", integer=True)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        pruned = sum(p.pruned for p in points)
        ended = f"n = {len(points)} trials, {pruned} of them pruned, shown with the last metric that was seen"
        caption(figure, f"{ended}\na mark: mean over {size}")
    return figure


def importance(shares: Mapping[str, float], points: Sequence[Point], *, title: str, size: str) -> Figure:
    """Share of each parameter in the metric's variance over those that weren't pruned, by Optuna's PED-ANOVA."""
    frame = pd.DataFrame({"parameter": [literal(name) for name in shares], "importance": list(shares.values())})
    with mpl.rc_context(STYLE):
        figure, axes = canvas(height=1.2 + 0.24 * len(frame))
        sns.barplot(frame, x="importance", y="parameter", color=COLOURS[0][0], ax=axes)
        axes.set(xlabel="importance (PED-ANOVA, sum 1)", ylabel="", title=literal(title))
        caption(figure, f"of n = {sum(not p.pruned for p in points)} finished trials, each the mean over {size}")
    return figure
