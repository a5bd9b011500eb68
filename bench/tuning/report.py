"""Tuning a cell from its study to its test, and what is told of it at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd
from optuna.trial import TrialState
from rich.console import Console

from bench import plan, registry, request, stats, terminal
from bench.errors import BenchError
from bench.labels import MISSING, number, spread
from bench.runner import Runner
from bench.stats import Difference, Interval
from bench.summary import chip_samples, record_score
from bench.tune import Job, Search
from bench.tuning import saved, space
from bench.tuning.remote import Remote
from bench.tuning.workers import Workers

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A method after tuning: what it was tuned to, and how the default and the tuned settings do.

    `validation`: mean metrics on fresh validation chips, default and tuned, with their paired difference; None where
    there was nothing to tune. `records`: the tests, default and tuned.
    """

    cell: plan.Cell
    records: tuple[Record, Record]
    settings: Mapping[str, Any]
    level: float
    trials: int = 0
    pruned: int = 0
    best: float | None = None
    validation: tuple[float, float, Difference] | None = None
    written: tuple[str, ...] = ()


def check(cells: Sequence[plan.Cell]) -> None:
    """BenchError where no cell has anything to tune."""
    methods = sorted({cell.evaluation.training.method for cell in cells})
    if all(_space(cell).is_empty for cell in cells):
        raise BenchError(f"tune: {', '.join(methods)} has no settings to tune")


def tuned(runner: Runner, job: Job, workers: Workers | Remote, words: list[str]) -> Tuned:
    """Tune one cell and save what was found; then, and not before, read the test set: default and tuned."""
    (cell,) = plan.cells(job.request)
    command = request.command(cell, job.request, words)
    training = cell.evaluation.training
    if _space(cell).is_empty:
        runner.monitor.say(f"{training.method}: nothing to tune")
        (record,) = workers.records(runner, [(cell, command)])
        return Tuned(cell=cell, records=(record, record), settings={}, level=training.level)
    search = Search(runner, job)
    found = workers.tune(search, runner.monitor)
    chosen, usual = (_chip_scores(levels) for levels in zip(*workers.confirm(search, found), strict=True))
    written = search.write(found)
    best, best_command = saved.cell_with(job.request, cell, found.settings, found.level, words)
    default_record, best_record = workers.records(runner, [(cell, command), (best, best_command)])
    means = [fmean(sample.values) for sample in (usual, chosen)]
    return Tuned(
        cell=cell,
        records=(default_record, best_record),
        settings=found.settings,
        level=found.level,
        trials=len(found.trials),
        pruned=sum(t.state == TrialState.PRUNED for t in found.trials),
        best=found.best.value,
        validation=(means[0], means[1], stats.paired({0: chosen}, {0: usual})),
        written=tuple(map(str, written)),
    )


def _space(cell: plan.Cell) -> space.Space:
    method = registry.get("methods", cell.evaluation.training.method)
    return space.of(method, plan.device_of(cell.device))


def _chip_scores(levels: Sequence[Sequence[float]]) -> stats.Sample:
    return stats.chip_scores(levels, [len(chips) for chips in levels])


def frames(found: Sequence[Tuned]) -> dict[str, pd.DataFrame]:
    """Title -> a row a method: default beside tuned settings, on fresh validation chips, and on the test set."""
    places = {(e.device, e.training.task) for e in (one.cell.evaluation for one in found)}
    (device, task), several = next(iter(places)), len(places) > 1
    where = "" if several else f", {task} on {device}"
    validation, test = [], []
    for one in found:
        e = one.cell.evaluation
        name = {"method": e.training.method} | ({"device": e.device, "task": e.training.task} if several else {})
        before, after, gain = one.validation or (None, None, None)
        usual, chosen = (record_score(record) for record in one.records)
        default, tuned = map(chip_samples, one.records)
        paired = stats.paired(tuned, default)
        counts = {"trials": one.trials or MISSING, "pruned": one.pruned if one.trials else MISSING}
        validation.append(name | counts | {"default": number(before), "tuned": number(after), "gain": _gain(gain)})
        shown = (spread(chosen), _gain(paired)) if one.validation else (MISSING, MISSING)
        test.append(name | {"default": spread(usual)} | dict(zip(("tuned", "gain"), shown, strict=True)))
    return {
        f"validation{where}: mean over the sweep on chips that no trial saw": pd.DataFrame(validation),
        f"test{where}: mean over the sweep": pd.DataFrame(test),
    }


def _gain(found: Difference | None) -> str:
    return MISSING if found is None else spread(Interval(found.mean, found.low, found.high))


def show(found: Sequence[Tuned], console: Console) -> None:
    """Print the table, what was chosen, and where it lies."""
    if not found:
        return
    for title, frame in frames(found).items():
        terminal.frame(frame, title, keys=("method",) if "method" in frame else ())
    console.print("Gains with 95% intervals over paired chips, at this training seed.", highlight=False)
    for one in found:
        if one.validation is None:
            continue
        method = one.cell.evaluation.training.method
        names = " ".join(f"{name}={value}" for name, value in sorted(one.settings.items()))
        level = f" level {one.level:g}" if one.level else ""
        console.print(f"{method}:{level} {names or 'default settings'}", highlight=False, markup=False, soft_wrap=True)
        for path in one.written:
            console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"  {one.records[1]['command']}", highlight=False, markup=False, soft_wrap=True)
