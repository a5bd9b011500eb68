"""Make a record once more, from its trained network or from nothing, and hold both side by side."""

import math
import shlex
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench import plan, registry, stats
from bench.errors import BenchError
from bench.labels import Record, plain, swept
from bench.plan import Cell
from bench.progress import Monitor
from bench.runner import Runner
from bench.spec import Evaluation
from bench.stats import Interval
from bench.store import Checkpoints, lend_data
from bench.summary import level_interval, record_score
from methods._base import RECIPE


class Point(NamedTuple):
    """A level (or time) of the record and again: mean and interval, the new mean, chips of equal metric, chips."""

    label: float
    record: Interval
    again: float
    equal: int
    chips: int


class Verdict(NamedTuple):
    """`score`: of all points. `reproduces`: does the new score lie within the record's interval?"""

    points: tuple[Point, ...]
    score: Point
    reproduces: bool

    @property
    def same(self) -> bool:
        """Is every chip's metric the same?"""
        return all(point.equal == point.chips for point in self.points)

    @property
    def said(self) -> str:
        """The outcome, for a reader."""
        _, low, high = self.score.record
        if self.same:
            return "the same numbers, chip by chip"
        if self.reproduces:
            return "reproduces: the new score lies within the record's interval"
        if math.isnan(low):
            return "other numbers; of one chip a level nobody knows how much chips differ, so more can't be said"
        if low == high:
            return "does NOT reproduce: chips can't differ here, so that the record's interval has no width"
        return "does NOT reproduce: the new score lies outside the record's interval"


def cell_of(record: Record) -> Cell:
    """The cell that a record is of. BenchError if this version of the bench would make another one."""
    evaluation = Evaluation.from_dict(record["evaluation"])
    training = evaluation.training
    try:
        words = shlex.split(record["command"])
    except ValueError as error:
        raise BenchError(f"record {record['key']}: its command is none ({error}): {plain(record['command'])}") from None
    given = dict(zip(words, words[1:], strict=False))
    device = _device_name(evaluation.device, given.get("--device", ""))
    trained = _device_name(training.device, given.get("--train-on", given.get("--device", "")))
    method = registry.get("methods", training.method)
    versions = (
        (f"task {training.task}", training.task_version, plan.task_of(training.task).version),
        (f"method {training.method}", training.method_version, plan.version_of(method, training.settings)),
        (f"device {evaluation.device}", evaluation.device_version, plan.device_of(device).version),
        (f"device {training.device}", training.device_version, plan.device_of(trained).version),
        ("the training recipe", training.recipe, RECIPE),
    )
    for what, was, is_ in versions:
        if was != is_:
            commit = plain(record["environment"].get("commit"))
            raise BenchError(
                f"record {record['key']}: {what} has version {is_} here, the record is of version {plain(was)}; "
                f"it was made at commit {commit}"
            )
    return Cell(evaluation, device, trained)


def _device_name(name: str, given: str) -> str:
    """A registered device, or the fitted table of that name that the record's command was given."""
    if name in registry.entries("devices"):
        return name
    paths = [part for part in given.split(",") if Path(part).stem == name]
    if not paths or not Path(paths[0]).exists():
        raise BenchError(f"device {plain(name)}: not registered, and its fitted table {plain(given)} is not here")
    return paths[0]


def again(
    record: Record, *, home: Path, data: Path | None, processor: torch.device, monitor: Monitor, retrain: bool
) -> dict[str, Any]:
    """The record made once more: swept again, with `retrain` also trained again, teachers included.

    BenchError if it is to be swept alone, and its network is not in `home`; OtherData, before any work, if the data
    here are not those that it was made of.
    """
    cell = cell_of(record)
    if not retrain and not Checkpoints(home / "checkpoints").has(cell.evaluation.training.key):
        raise BenchError(
            f"record {record['key']}: its network is not in {home / 'checkpoints'}; --retrain trains it again from "
            "nothing, `bench import` brings it from where it is"
        )
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as name:
        scratch, fresh = Path(name) / "results", Path(name) / "home"
        if retrain:
            lend_data(home, fresh)
        runner = Runner(
            home=fresh if retrain else home, results=scratch, data_dir=data, processor=processor, monitor=monitor
        )
        runner.datasets.check(f"record {record['key']}", record, cell.evaluation.training)
        return runner.run(cell, record["command"], force=True)


def verdict(record: Record, new: Record) -> Verdict:
    """Hold the new record against the old one."""
    sweep, _ = swept(record["evaluation"])
    points = []
    for old in record["levels"]:
        (found,) = (level for level in new["levels"] if level[sweep] == old[sweep])
        equal = sum(a == b for a, b in zip(old["chips"], found["chips"], strict=False))
        mean = stats.interval(found["chips"]).mean
        points.append(Point(old[sweep], level_interval(record, old), mean, equal, len(old["chips"])))
    was, is_ = record_score(record), record_score(new).mean
    score = Point(float("nan"), was, is_, sum(p.equal for p in points), sum(p.chips for p in points))
    return Verdict(tuple(points), score, was.low - 1e-9 <= is_ <= was.high + 1e-9)
