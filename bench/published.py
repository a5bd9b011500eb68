"""Published figures beside ours: what each paper prints (papers.py), and the records that ask the same question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.labels import MISSING, all_settings, escape, number, plain, point_label, swept, trained_elsewhere
from bench.papers import TABLES, Published
from bench.summary import PRESET_ORDER

Record = Mapping[str, Any]
__all__ = ["TABLES", "Comparison", "Ours", "Published", "compare", "markdown"]


@dataclass(frozen=True, kw_only=True)
class Ours:
    """What we measured for one row of a paper, of one preset: means and gaps to theirs by point, None where unknown."""

    preset: str
    seeds: int
    setting: str
    keys: tuple[str, ...]
    means: tuple[float | None, ...]
    gaps: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A row of a paper, the points of its table, and ours by preset; none where nothing was measured."""

    row: Published
    points: tuple[float, ...]
    ours: tuple[Ours, ...]

    @property
    def trained(self) -> str:
        """The method, and the level that it was trained at where the paper says."""
        if self.row.each:
            return f"{self.row.method} at each level"
        return f"{self.row.method} at {self.row.train_level:g}" if self.row.train_level else self.row.method


def compare(records: Sequence[Record]) -> list[Comparison]:
    """Every published row, in the order of the papers."""
    made = []
    for row in TABLES:
        points = tuple(sorted({point for r in TABLES if r.where == row.where for point in r.values}))
        same = [record for record in records if _answers(row, record)]
        by_preset = [[r for r in same if r["evaluation"]["preset"] == preset] for preset in PRESET_ORDER]
        ours = tuple(_ours(row, chosen, points) for chosen in by_preset if chosen)
        made.append(Comparison(row=row, points=points, ours=ours))
    return made


def _answers(row: Published, record: Record) -> bool:
    """Is this record the same question: task, network at full width, device, sweep, method and training level?"""
    evaluation = record["evaluation"]
    training = evaluation["training"]
    ours = (training["task"], training["network"], evaluation["device"], training["method"])
    theirs = (row.task, row.network, row.device, row.method)
    usual = training["width"] == 1 and not all_settings(record) and evaluation["preset"] in ("paper", "standard")
    own = swept(evaluation)[0] == row.sweep and not trained_elsewhere(evaluation)
    level = row.train_level is None or row.train_level == training["level"]
    return record["status"] == "done" and ours == theirs and usual and own and level


def _ours(row: Published, records: Sequence[Record], points: Sequence[float]) -> Ours:
    means = tuple(_mean(row, records, point) for point in points)
    gaps = tuple(
        None if mean is None or point not in row.values else mean - row.values[point]
        for mean, point in zip(means, points, strict=True)
    )
    return Ours(
        preset=records[0]["evaluation"]["preset"],
        seeds=len({r["evaluation"]["training"]["seed"] for r in records}),
        setting=_setting(records[0]),
        keys=tuple(plain(r["key"]) for r in records),
        means=means,
        gaps=gaps,
    )


def _setting(record: Record) -> str:
    """'10 + 3 epochs, batch 128, rate 0.1; 10 to 20 chips'."""
    budget, chips = record["evaluation"]["training"]["budget"], record["evaluation"]["chips"]
    epochs = " + ".join(f"{n}" for n in (budget.get("epochs"), budget.get("finetune_epochs")) if n)
    numbers = sorted({n for n in (chips["minimum"], chips.get("maximum")) if n is not None})
    counted = " to ".join(map(str, numbers))
    return plain(f"{epochs} epochs, batch {budget.get('batch_size')}, rate {budget.get('lr')}; {counted} chips")


def _mean(row: Published, records: Sequence[Record], point: float) -> float | None:
    """Mean over seeds of the mean over chips; None if a seed lacks the point."""
    if row.each:
        records = [r for r in records if r["evaluation"]["training"]["level"] == point]
    means = []
    for record in records:
        chips = next((found["chips"] for found in record["levels"] if found[row.sweep] == point), None)
        if chips is None:
            return None
        means.append(fmean(chips))
    return fmean(means) if means else None


def markdown(records: Sequence[Record]) -> str:
    """PUBLISHED.md: for each row of each paper theirs, ours and the difference, point by point."""
    lines = ["# Published and measured", "", "Made by `bench report`. Ours: mean over seeds of the mean over chips."]
    found = compare(records)
    for where in dict.fromkeys(c.row.where for c in found):
        table = [c for c in found if c.row.where == where]
        heads = [point_label(table[0].row.sweep, point) for point in table[0].points]
        settings = dict.fromkeys(c.row.setting for c in table)
        lines += ["", f"## {where}", "", *(f"Theirs: {setting}.  " for setting in settings)]
        lines += [f"Ours: {setting}." for setting in dict.fromkeys(o.setting for c in table for o in c.ours)]
        lines += ["", "| task, network | trained | | " + " | ".join(heads) + " |"]
        lines.append("|:--|:--|:--|" + "--:|" * len(heads))
        for comparison in table:
            lines += _lines(comparison)
    return "\n".join(lines) + "\n"


def _lines(comparison: Comparison) -> list[str]:
    row, points = comparison.row, comparison.points
    shown = [("published", [number(row.values.get(point)) for point in points])]
    for ours in comparison.ours:
        seeds = f"{ours.seeds} seed" + "s" * (ours.seeds > 1)
        shown.append((f"ours, {ours.preset}, {seeds}", [number(mean) for mean in ours.means]))
        shown.append(("difference", [MISSING if gap is None else f"{gap:+.2f}" for gap in ours.gaps]))
    if len(shown) == 1:
        shown.append(("ours", [MISSING] * len(points)))
    names = f"| {row.task} {row.network} | {escape(comparison.trained)} |"
    return [f"{names} {what} | {' | '.join(cells)} |" for what, cells in shown]
