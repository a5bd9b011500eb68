"""Train on each device, test on all: what it costs to meet another device than the one trained for.

Every cell is an ordinary Training and Evaluation of the store: each row is trained once, and records are shared with
`bench run`. A network trains at its device's training level and is tested at that of the test device.
"""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench import plan, plots, registry
from bench import settings as settings_
from bench.errors import BenchError
from bench.figures import size_text
from bench.files import write_text, write_with
from bench.keys import key_of
from bench.labels import MISSING, escape, in_unit, network_label, number, plain, settings_label, spread
from bench.provenance import check_alike
from bench.spec import Evaluation
from bench.stats import Interval
from bench.summary import over_seeds

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """Mean metric of one training device on one test device over chips and seeds; None if a seed is missing."""

    found: Interval | None
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """Entries by (row, column): training device and level, test device and level; `metric` with its unit.

    `size`: how many chips and seeds each mean is of, in words.
    """

    title: str
    slug: str
    metric: str
    higher_is_better: bool
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    entries: Mapping[tuple[str, str], Entry]
    size: str

    @property
    def missing(self) -> list[tuple[str, str]]:
        """Where nothing was measured."""
        return [place for place, entry in self.entries.items() if entry.found is None]


def parts(request: plan.Request) -> list[tuple[plan.Request, plan.Cell]]:
    """Cells in the order of rows, each with the request for it alone. Raises for bad input.

    `ideal` is only tested on; a method that uses no device has one row. Seeds of a place follow each other.
    """
    method = request.methods[0]
    settings = plan.parse_settings(method, settings_.own(method, request.settings))
    uses_device = plan.trained_by(method, settings).uses_device
    trained_on = [name for name in request.devices if name != "ideal"] if uses_device else request.devices[:1]
    if not trained_on:
        raise BenchError("devices ideal: has no deviation to train for; name others too")
    made = []
    for train, test in itertools.product(trained_on, request.devices):
        level = plan.device_of(test).axis.train_level
        train_on = None if train == test else train
        part = dataclasses.replace(request, devices=(test,), train_on=train_on, levels=(level,))
        made += [(part, cell) for cell in plan.cells(part)]
    return made


def measured(request: plan.Request, cells: Sequence[plan.Cell], records: Mapping[str, Record]) -> Matrix:
    """The matrix of `cells`, from those records, by key, that there are. OtherData if they are of several data."""
    check_alike(records.values())
    seeds: dict[tuple[str, str], list[Evaluation]] = {}
    for cell in cells:
        seeds.setdefault(_place(cell.evaluation), []).append(cell.evaluation)
    first = cells[0].evaluation.as_dict()
    t, task = first["training"], plan.task_of(cells[0].evaluation.training.task)
    method = " ".join([t["method"], *(f"{k}={v}" for k, v in sorted(t["settings"].items()))])
    preset = first["preset"].rstrip("*")
    names = [preset, t["task"], network_label(t).replace(" ", "_"), t["method"]]
    if _is_touched(request):
        preset += ", changed"
        names.append(key_of(sorted(cell.evaluation.key for cell in cells))[:8])
    rows, columns = (tuple(dict.fromkeys(place[i] for place in seeds)) for i in (0, 1))
    return Matrix(
        title=plain(f"{method} · {t['task']} · {network_label(t)}{settings_label(first)} · {preset} preset"),
        slug=re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(names)),
        metric=in_unit(task.metric.name, task.metric.unit, "{} ({})"),
        higher_is_better=task.metric.higher_is_better,
        rows=rows,
        columns=columns,
        entries={place: _entry(evaluations, records) for place, evaluations in seeds.items()},
        size=_size(seeds, records),
    )


def _size(seeds: Mapping[tuple[str, str], Sequence[Evaluation]], records: Mapping[str, Record]) -> str:
    """'n = 10-20 chips, seed 0': of the places that are whole; where no chip can differ there is one chip."""
    whole = [evaluations for evaluations in seeds.values() if all(e.key in records for e in evaluations)]
    chips = [len(records[e.key]["levels"][0]["chips"]) for evaluations in whole for e in evaluations]
    return size_text([n for n in chips if n > 1] or chips, [[e.training.seed for e in some] for some in whole])


def _place(evaluation: Evaluation) -> tuple[str, str]:
    """Row and column of a cell."""
    t = evaluation.training
    return (
        "ideal" if t.device == "ideal" else f"{t.device} {t.level:g}",
        f"{evaluation.device} {evaluation.levels[0]:g}",
    )


def _entry(evaluations: Sequence[Evaluation], records: Mapping[str, Record]) -> Entry:
    keys = tuple(evaluation.key for evaluation in evaluations)
    if any(key not in records for key in keys):
        return Entry(None, keys)
    return Entry(over_seeds([(records[key], records[key]["levels"][0]) for key in keys]), keys)


def _is_touched(request: plan.Request) -> bool:
    """Was anything but method, task and preset asked for, so that another matrix may have the same names?"""
    always = {"methods", "tasks", "preset", "precision", "devices", "seeds"}
    free = [field.name for field in dataclasses.fields(request) if field.name not in always]
    defaults = plan.Request(methods=(), devices=(), tasks=(), seeds=(), preset="", precision="")
    usual = set(request.devices) == set(registry.entries("devices")) and request.seeds == (0,)
    return not usual or any(getattr(request, name) != getattr(defaults, name) for name in free)


def notes(matrix: Matrix) -> list[str]:
    """What a reader must know to read the numbers."""
    better = "higher" if matrix.higher_is_better else "lower"
    axes = "Rows: device and level trained on; columns: device and level tested on"
    lines = [f"{axes}; {matrix.metric}, {better} is better; mean and 95% interval over {matrix.size}."]
    return lines + [f"missing: trained on {row}, tested on {column}" for row, column in matrix.missing]


def frame(matrix: Matrix) -> pd.DataFrame:
    """As shown in a terminal: a row a training device, means to one digit."""
    heads = ("trained on", *matrix.columns)
    rows = [[row, *(_mean(matrix.entries[row, column]) for column in matrix.columns)] for row in matrix.rows]
    return pd.DataFrame(rows, columns=list(heads))


def _mean(entry: Entry) -> str:
    return MISSING if entry.found is None else number(entry.found.mean, 1)


def markdown(matrix: Matrix) -> str:
    """A page: title, picture, table with intervals."""
    lines = [f"# {escape(matrix.title)}", "", *map(escape, notes(matrix)), "", f"![heat map]({matrix.slug}.png)", ""]
    lines.append("| trained on | " + " | ".join(map(escape, matrix.columns)) + " |")
    lines.append("|:--|" + "--:|" * len(matrix.columns))
    for row in matrix.rows:
        shown = [spread(matrix.entries[row, column].found) for column in matrix.columns]
        lines.append(f"| {escape(row)} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def table(matrix: Matrix) -> pd.DataFrame:
    """One row a place: trained_on, tested_on, mean, ci_low, ci_high, keys."""
    rows = []
    for (row, column), entry in matrix.entries.items():
        found = entry.found
        numbers = (None,) * 3 if found is None else (found.mean, found.low, found.high)
        rows.append((row, column, *numbers, " ".join(entry.keys)))
    return pd.DataFrame(rows, columns=["trained_on", "tested_on", "mean", "ci_low", "ci_high", "keys"])


def write(matrix: Matrix, folder: Path) -> list[Path]:
    """Write <slug>.md, .csv, .png and .pdf; their paths. OSError if it can't."""
    stem = folder / matrix.slug
    page, rows = (stem.with_name(stem.name + suffix) for suffix in (".md", ".csv"))
    write_text(page, markdown(matrix))
    made = table(matrix)
    write_with(rows, lambda path: made.to_csv(path, index=False, float_format="%.8g", lineterminator="\n"))
    return [page, rows, *plots.save(plots.heat_map(matrix), stem)]
