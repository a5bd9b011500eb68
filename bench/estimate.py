"""What a grid of cells still costs: which trainings and sweeps are to be done, and about how long they take.

Trainings are counted in forward-backward passes, as `--budget matched` counts them, each once however many cells rest
on it. A pass is timed on a few batches of the network and data in question. Programming of chips is left out.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from bench import plan, recording
from bench.context import build_network
from bench.errors import in_one_line
from bench.fast import compute
from bench.labels import title
from bench.matched import passes
from bench.plan import Cell
from bench.provenance import OtherData
from bench.runner import Runner
from bench.spec import Training
from tasks._base import Splits, Task, TaskError

TURNS = 3
SWEEP_SAMPLES = 250


class Pace(NamedTuple):
    """Seconds of a forward-backward pass of a sample in training, and of a forward pass in a sweep."""

    training_s: float
    sweep_s: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One cell. `state`: done, refused (its method can't work on its network, or its record is of other data), no data
    (or not so many samples), failed, begun (a partial training is there) or to do; seconds left. `reason`: why nothing
    can be done.
    """

    title: str
    key: str
    state: str
    training_s: float = 0.0
    sweep_s: float = 0.0
    reason: str = ""


def estimate(cells: Sequence[Cell], runner: Runner) -> list[Estimate]:
    """Each cell in the order in which it would run; trainings are counted where they would happen."""
    ahead = _Ahead(runner)
    return [ahead.of(cell) for cell in cells]


class _Ahead:
    """A grid's cells, one after the other. What was timed is not timed again; what was counted costs no second time;
    data that can't be had are not looked for again, which may take minutes of fetching.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.paces: dict[tuple, Pace] = {}
        self.counted: set[str] = set()
        self.lacking: dict[str, TaskError] = {}

    def of(self, cell: Cell) -> Estimate:
        """One whose data can't be had is one of many: the others are told."""
        evaluation = cell.evaluation
        name, key = title(evaluation.training, evaluation.device), evaluation.key
        record = self.runner.records.load(key)
        try:
            if refused := _refusal(record, self.runner, evaluation.training):
                return Estimate(title=name, key=key, state="refused", reason=in_one_line(refused))
            if record is not None and record["status"] == "done":
                return Estimate(title=name, key=key, state="done")
            pace = self._pace(evaluation.training)
            samples, has_begun = self._to_train(cell)
            tested = self._to_sweep(cell)
        except TaskError as error:
            self.lacking[evaluation.training.task] = error
            return Estimate(title=name, key=key, state="no data", reason=in_one_line(error))
        to_do = "begun" if has_begun else "to do"
        return Estimate(
            title=name,
            key=key,
            state=to_do if record is None else record["status"],
            training_s=samples * pace.training_s,
            sweep_s=tested * pace.sweep_s,
        )

    def _pace(self, training: Training) -> Pace:
        if training.task in self.lacking:
            raise self.lacking[training.task]
        task, splits = self.runner.task(training)
        place = training.task, training.network, training.width, training.precision, training.budget.batch_size
        if place not in self.paces:
            self.paces[place] = pace(task, splits, training, self.runner.processor)
        return self.paces[place]

    def _to_train(self, cell: Cell) -> tuple[float, bool]:
        """Samples of the trainings that are still to be done, as often as each is seen; is one of them begun?"""
        training = cell.evaluation.training
        levels = plan.device_of(cell.train_device, training.device_settings).axis.levels
        epochs, has_begun = 0.0, False
        for key, needed in passes(training, levels).items():
            if key not in self.counted and not self.runner.checkpoints.has(key):
                epochs += needed
                has_begun |= self.runner.checkpoints.partial_path(key).exists()
            self.counted.add(key)
        _, splits = self.runner.task(training)
        return epochs * len(splits.train.head(training.budget.train_samples, "train-samples")), has_begun

    def _to_sweep(self, cell: Cell) -> int:
        """Samples that chips meet, at the fewest chips."""
        evaluation = cell.evaluation
        device = plan.device_of(cell.device, evaluation.device_settings)
        chips = sum(evaluation.chips.minimum if device.is_random(level) else 1 for level, _ in evaluation.points)
        _, splits = self.runner.task(evaluation.training)
        return chips * len(splits.test.head(evaluation.test_samples, "test-samples"))


def _refusal(record: dict[str, Any] | None, runner: Runner, training: Training) -> Exception | None:
    """Why a run would refuse the cell."""
    try:
        if record is not None and record["status"] == "done":
            runner.datasets.check_done(record, training)
    except OtherData as error:
        return error
    return recording.refusal(record)


def pace(task: Task, splits: Splits, training: Training, processor: torch.device) -> Pace:
    """Time a few batches, since test samples may be larger: the fastest of some turns; others only make one slower."""
    network = build_network(task, training, processor)
    batch = splits.train.head(min(training.budget.batch_size, len(splits.train))).to(processor)
    few = splits.test.head(min(SWEEP_SAMPLES, task.batch, len(splits.test))).to(processor)

    def train() -> None:
        network.train()
        with compute(processor, training.precision):
            loss = task.loss(network(task.prepare(batch.inputs)), batch.targets)
        loss.backward()
        network.zero_grad()

    def sweep() -> None:
        network.eval()
        with torch.inference_mode(), compute(processor, training.precision):
            network(task.prepare(few.inputs))

    return Pace(_fastest(train, processor) / len(batch), _fastest(sweep, processor) / len(few))


def _fastest(work: Callable[[], None], processor: torch.device) -> float:
    best = float("inf")
    for _ in range(TURNS + 1):  # the first one warms up, and is never the fastest
        began = time.perf_counter()
        work()
        if processor.type == "cuda":
            torch.cuda.synchronize(processor)
        best = min(best, time.perf_counter() - began)
    return best
