"""Published figures beside ours: what each paper prints (papers.py), and the records that ask the same question."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench import registry
from bench.labels import MISSING, all_settings, escape, number, plain, point_label, swept, trained_elsewhere
from bench.papers import TABLES, WITHOUT, Published
from bench.provenance import apart
from bench.summary import group_key, one_a_seed

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
        """The method, and the level that it was trained at where the paper says; of a difference both."""
        return " minus ".join(map(_trained, filter(None, (self.row, self.row.minus))))


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """Rows of one paper, task and network without any of ours: which, why, and what measures them."""

    what: str
    why: str
    commands: tuple[str, ...]


def compare(records: Sequence[Record]) -> list[Comparison]:
    """Every published row, in the order of the papers; ours of several data apart."""
    made = []
    for row in TABLES:
        points = tuple(sorted({point for r in TABLES if r.where == row.where for point in r.values}))
        ours = []
        for data, part in apart([r for r in records if r["evaluation"]["training"]["task"] == row.task]).items():
            taken = {} if row.minus is None else _alike(row.minus, part)
            for place, by_setting in _alike(row, part).items():
                off_by_setting = taken.get(place, {"": []}).values()
                both = itertools.product(by_setting.values(), off_by_setting)
                ours += [_ours(row, found, off, points, data) for found, off in both]
        ours = [one for one in ours if any(mean is not None for mean in one.means)]
        made.append(Comparison(row=row, points=points, ours=tuple(ours)))
    return made


def _trained(row: Published) -> str:
    if row.each:
        return f"{row.method} at each level"
    return f"{row.method} at {row.train_level:g}" if row.train_level else row.method


def unmeasured(table: Sequence[Comparison]) -> list[Unmeasured]:
    """What the rows without any of ours lack; those with the same reason together."""
    alike: defaultdict[tuple[str, str, str], list[Comparison]] = defaultdict(list)
    for c in table:
        if not c.ours:
            alike[c.row.task, c.row.network, c.row.unrun].append(c)
    return [
        Unmeasured(
            what=f"{', '.join(c.trained for c in found)} on {task} {network}",
            why=why or "nobody ran it so far",
            commands=tuple(_commands([c.row for c in found])),
        )
        for (task, network, why), found in alike.items()
    ]


def _commands(rows: Sequence[Published]) -> list[str]:
    """Of rows of one task and network, as few as there can be; none where the network is none of ours."""
    methods: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        task = f"{row.task}{registry.asks(row.task)}"
        asked = f"--device {row.device} --task {task} --network {row.network} --preset standard"
        asked += " --sweep time" * (row.sweep == "time_s")
        levels = " ".join(f"{level:g}" for level in row.values if level) if row.each else ""
        if levels:
            asked += f" --level $level{' --levels $level' * (row.minus is not None)}; done"
        elif row.train_level:
            asked += f" --level {row.train_level:g}"
        wanted = [side.method for side in (row, row.minus) if side is not None]
        methods[f"for level in {levels}; do " * bool(levels) + "bench run --method", asked] += wanted * row.here
    return [f"{run} {','.join(wanted)} {asked}" for (run, asked), wanted in methods.items() if wanted]


def _answers(row: Published, record: Record) -> bool:
    """Is this record the same question: task, network at full width, device, sweep, method and training level?

    A preset may have a star, as any that isn't on the task's first network has, but not that of fewer samples.
    """
    evaluation = record["evaluation"]
    training, preset = evaluation["training"], evaluation["preset"]
    ours = (training["task"], training["network"], evaluation["device"], training["method"])
    theirs = (row.task, row.network, row.device, row.method)
    fewer = (evaluation["test_samples"], training["budget"].get("train_samples")) != (None, None)
    usual = training["width"] == 1 and not all_settings(record) and preset.rstrip("*") in ("paper", "standard")
    own = swept(evaluation)[0] == row.sweep and not trained_elsewhere(evaluation)
    level = row.train_level is None or row.train_level == training["level"]
    whole = not (fewer and preset.endswith("*"))
    return record["status"] == "done" and ours == theirs and usual and whole and own and level


def _alike(row: Published, records: Sequence[Record]) -> dict[tuple, dict[str, list[Record]]]:
    """Records that answer a row: by all that two methods have to have in common, then by setting."""
    found: defaultdict[tuple, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if _answers(row, record):
            training = record["evaluation"]["training"]
            start = [str(training["budget"].get(name)) for name in ("epochs", "batch_size", "lr")]
            found[*group_key(record), training["precision"], *start][_setting(record)].append(record)
    return dict(sorted(found.items()))


def _ours(
    row: Published, records: Sequence[Record], taken: Sequence[Record], points: Sequence[float], data: str
) -> Ours:
    """`taken`: records of the row that is taken off this one, if any; `data`: of these, if others are of others."""
    means = tuple(_mean(row, records, point) for point in points)
    if row.minus is not None:
        off = [_mean(row.minus, taken, point) for point in points]
        means = tuple(None if a is None or b is None else a - b for a, b in zip(means, off, strict=True))
    gaps = tuple(
        None if mean is None or point not in row.values else mean - row.values[point]
        for mean, point in zip(means, points, strict=True)
    )
    newer = "".join(f"; minus {plain(one)}" for r in taken[:1] for one in _newer(r))
    return Ours(
        preset=plain(records[0]["evaluation"]["preset"]),
        seeds=len({r["evaluation"]["training"]["seed"] for r in records}),
        setting=_setting(records[0]) + newer + (f"; data {data}" if data else ""),
        keys=tuple(plain(r["key"]) for r in (*records, *taken)),
        means=means,
        gaps=gaps,
    )


def _setting(record: Record) -> str:
    """'10 + 3 epochs, batch 128, rate 0.1; 10 to 20 chips; bf16', and methods that are not of their first version."""
    training, chips = record["evaluation"]["training"], record["evaluation"]["chips"]
    budget = training["budget"]
    epochs = " + ".join(f"{n}" for n in (budget.get("epochs"), budget.get("finetune_epochs")) if n)
    numbers = sorted({n for n in (chips["minimum"], chips.get("maximum")) if n is not None})
    counted = " to ".join(map(str, numbers))
    trained = f"{epochs} epochs, batch {budget.get('batch_size')}, rate {budget.get('lr')}"
    return plain("; ".join([trained, f"{counted} chips", training["precision"], *_newer(record)]))


def _newer(record: Record) -> list[str]:
    """['noise_back v2']: the method, and those that it rests on, where they are not of their first version."""
    training = record["evaluation"]["training"]
    versions = f"{training['method']}={training['method_version']}".split("+")
    return [part.replace("=", " v") for part in versions if not part.endswith("=1")]


def _mean(row: Published, records: Sequence[Record], point: float) -> float | None:
    """Mean over seeds of the mean over chips; None if a seed lacks the point."""
    if row.each:
        records = [r for r in records if r["evaluation"]["training"]["level"] == point]
    means = []
    for record in one_a_seed(records):
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
        lines += ["", "| task, network | trained | | " + " | ".join(heads) + " |"]
        lines.append("|:--|:--|:--|" + "--:|" * len(heads))
        for comparison in table:
            lines += _lines(comparison)
        for lacking in unmeasured(table):
            lines += ["", f"Not measured: {escape(lacking.what)}: {lacking.why}."]
            lines += ["" for _ in lacking.commands[:1]] + [f"    {command}" for command in lacking.commands]
    lines += ["", "## Without a figure here", "", "Papers that methods and devices are from, and no row is of.", ""]
    lines += [f"- {paper}: {why}." for paper, why in WITHOUT.items()]
    return "\n".join(lines) + "\n"


def _lines(comparison: Comparison) -> list[str]:
    row, points = comparison.row, comparison.points
    shown = [("published", [number(row.values.get(point)) for point in points])]
    for ours in comparison.ours:
        seeds = f"{ours.seeds} seed" + "s" * (ours.seeds > 1)
        shown.append((f"ours, {ours.preset}, {seeds}; {ours.setting}", [number(mean) for mean in ours.means]))
        shown.append(("difference", [MISSING if gap is None else f"{gap:+.2f}" for gap in ours.gaps]))
    if len(shown) == 1:
        shown.append(("ours: not measured", [MISSING] * len(points)))
    names = f"| {row.task} {row.network} | {escape(comparison.trained)} |"
    return [f"{names} {what} | {' | '.join(cells)} |" for what, cells in shown]
