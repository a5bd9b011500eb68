"""What a grid of cells still costs: which trainings and sweeps are to be done, and about how long they take.

Trainings are counted in epochs, each once however many cells rest on it. A few steps of each kind of training are taken
(bench/rehearsal.py), and a few batches tested. Left out are what a method does before, between and after its epochs,
and all that the chips of a sweep do beyond a pass of the digital network.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench import plan, recording
from bench.context import build_network
from bench.endings import one_line
from bench.errors import in_one_line
from bench.fast import compute, wait
from bench.grid import lineage
from bench.keys import canonical
from bench.labels import title
from bench.plan import Cell
from bench.provenance import OtherData
from bench.rehearsal import epoch_s
from bench.runner import Runner
from bench.spec import Evaluation, Training
from methods._base import Method
from tasks._base import Splits, Task, TaskError

log = logging.getLogger("bench")

TURNS = 3
SWEEP_SAMPLES = 250
UNLIKE = ("seed", "level", "time_s")  # what trainings of one kind may differ in


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One cell. `state`: done, refused (its training fails at once, or its record is of other data), no data
    (or not so many samples), failed, begun (a partial training is there) or to do; seconds left. `reason`: why nothing
    can be done.
    """

    title: str
    key: str
    state: str
    training_s: float = 0.0
    sweep_s: float = 0.0
    reason: str = ""


def estimate(cells: Sequence[Cell], runner: Runner, force: bool = False) -> list[Estimate]:
    """Each cell in the order in which it would run; trainings are counted where they would happen.

    `force`: also those whose records are there, as a run with it would.
    """
    ahead = _Ahead(runner, force)
    return [ahead.of(cell) for cell in cells]


class _Ahead:
    """A grid's cells, one after the other. What was timed is not timed again; what was counted costs no second time;
    data that can't be had are not looked for again, which may take minutes of fetching.
    """

    def __init__(self, runner: Runner, force: bool) -> None:
        self.runner, self.force = runner, force
        self.epochs_s: dict[str, float] = {}
        self.paces: dict[tuple, float] = {}
        self.counted: set[str] = set()
        self.lacking: dict[str, TaskError] = {}

    def of(self, cell: Cell) -> Estimate:
        """One whose data can't be had is one of many: the others are told."""
        evaluation = cell.evaluation
        name, key = title(evaluation.training, evaluation.device), evaluation.key
        record = None if self.force else self.runner.records.load(key)
        try:
            if refused := _refusal(record, self.runner, evaluation.training):
                return Estimate(title=name, key=key, state="refused", reason=in_one_line(refused))
            if record is not None and record["status"] == "done":
                return Estimate(title=name, key=key, state="done")
            self._check_data(evaluation)
            training_s, has_begun = self._to_train(cell)
            sweep_s = self._to_sweep(cell)
        except TaskError as error:
            self.lacking[evaluation.training.task] = error
            return Estimate(title=name, key=key, state="no data", reason=in_one_line(error))
        except Exception as error:  # however it fails, a run goes on with the others
            log.debug("", exc_info=True)
            return Estimate(title=name, key=key, state="refused", reason=one_line(error)[0])
        to_do = "begun" if has_begun else "to do"
        return Estimate(
            title=name,
            key=key,
            state=to_do if record is None else record["status"],
            training_s=training_s,
            sweep_s=sweep_s,
        )

    def _check_data(self, evaluation: Evaluation) -> None:
        """TaskError if they can't be had, or not so many samples."""
        training = evaluation.training
        if training.task in self.lacking:
            raise self.lacking[training.task]
        _, splits = self.runner.task(training)
        splits.train.head(training.budget.train_samples, "train-samples")
        splits.test.head(evaluation.test_samples, "test-samples")

    def _to_train(self, cell: Cell) -> tuple[float, bool]:
        """Seconds of the trainings that are still to be done; is one of them begun?"""
        training = cell.evaluation.training
        levels = plan.device_of(cell.train_device, training.device_settings).axis.levels
        seconds, has_begun = 0.0, False
        for key, (one, _) in lineage(training, levels).items():
            if key not in self.counted and not self.runner.checkpoints.has(key):
                epochs = plan.method_of(one.method, one.settings).own_epochs(one.budget)
                seconds += epochs * self._epoch_s(one, cell)
                has_begun |= self.runner.checkpoints.partial_path(key).exists()
            self.counted.add(key)
        return seconds, has_begun

    def _epoch_s(self, training: Training, cell: Cell) -> float:
        """Of one of its kind: devices, too, take unlike times, and may be what a method refuses."""
        kind = canonical({name: value for name, value in training.as_dict().items() if name not in UNLIKE})
        if kind not in self.epochs_s:
            source = cell.train_device if training.device == cell.evaluation.training.device else training.device
            self.epochs_s[kind] = epoch_s(training, plan.device_of(source, training.device_settings), self.runner)
        return self.epochs_s[kind]

    def _to_sweep(self, cell: Cell) -> float:
        """Seconds of the sweep, at the fewest chips."""
        evaluation = cell.evaluation
        device, training = plan.device_of(cell.device, evaluation.device_settings), evaluation.training
        chips = sum(evaluation.chips.minimum if device.is_random(level) else 1 for level, _ in evaluation.points)
        task, splits = self.runner.task(training)
        own = plan.trained_by(training.method, training.settings)
        frame = "" if own.frame is Method.frame else canonical([training.method, training.settings])
        place = training.task, training.network, training.width, training.precision, frame
        if place not in self.paces:
            self.paces[place] = pace(task, splits, training, self.runner.processor)
        samples = len(splits.test.head(evaluation.test_samples))
        if adaptation := self.runner.adaptation(training):
            samples += len(adaptation[1])
        return chips * samples * self.paces[place]


def _refusal(record: dict[str, Any] | None, runner: Runner, training: Training) -> Exception | None:
    """Why a run would refuse the cell."""
    try:
        if record is not None and record["status"] == "done":
            runner.datasets.check_done(record, training)
    except OtherData as error:
        return error
    return recording.refusal(record)


def pace(task: Task, splits: Splits, training: Training, processor: torch.device) -> float:
    """Seconds a test sample, which may be larger than those to train on: the fastest of some turns on a few."""
    network = plan.framed(training, build_network(task, training, processor)).eval()
    few = splits.test.head(min(SWEEP_SAMPLES, task.batch, len(splits.test))).to(processor)
    best = float("inf")
    for _ in range(TURNS + 1):  # the first one warms up, and is never the fastest
        began = time.perf_counter()
        with torch.inference_mode(), compute(processor, training.precision):
            network(task.prepare(few.inputs))
        wait(processor)
        best = min(best, time.perf_counter() - began)
    return best / len(few)
