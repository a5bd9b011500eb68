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
from bench.fast import compute
from bench.labels import title
from bench.matched import passes
from bench.plan import Cell
from bench.provenance import OtherData
from bench.runner import Runner
from bench.spec import Training
from tasks._base import Splits, Task

TURNS = 3
SWEEP_SAMPLES = 250


class Pace(NamedTuple):
    """Seconds of a forward-backward pass of a sample in training, and of a forward pass in a sweep."""

    training_s: float
    sweep_s: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One cell. `state`: done, refused (its method can't work on its network, or its record is of other data), failed,
    begun (a partial sweep or training is there) or to do; seconds left.
    """

    title: str
    key: str
    state: str
    training_s: float
    sweep_s: float


def estimate(cells: Sequence[Cell], runner: Runner) -> list[Estimate]:
    """Each cell in the order in which it would run; trainings are counted where they would happen."""
    paces: dict[tuple, Pace] = {}
    counted: set[str] = set()
    made = []
    for cell in cells:
        evaluation, training = cell.evaluation, cell.evaluation.training
        record = runner.records.load(evaluation.key)
        state = "to do" if record is None else record["status"]
        name = title(training, evaluation.device)
        state = "refused" if _refused(record, runner, training) else state
        if state in ("done", "refused"):
            made.append(Estimate(title=name, key=evaluation.key, state=state, training_s=0.0, sweep_s=0.0))
            continue
        task, splits = runner.task(training)
        place = training.task, training.network, training.width, training.precision, training.budget.batch_size
        if place not in paces:
            paces[place] = pace(task, splits, training, runner.processor)
        device = plan.device_of(cell.device, evaluation.device_settings)
        levels = plan.device_of(cell.train_device, training.device_settings).axis.levels
        samples = len(splits.train) if training.budget.train_samples is None else training.budget.train_samples
        epochs = 0.0
        for key, needed in passes(training, levels).items():
            if key not in counted and not runner.checkpoints.has(key):
                epochs += needed
                begun = runner.checkpoints.partial_path(key).exists()
                state = "begun" if begun and state == "to do" else state
            counted.add(key)
        chips = sum(evaluation.chips.minimum if device.is_random(level) else 1 for level, _ in evaluation.points)
        tested = evaluation.test_samples or len(splits.test)
        made.append(
            Estimate(
                title=name,
                key=evaluation.key,
                state=state,
                training_s=epochs * samples * paces[place].training_s,
                sweep_s=chips * tested * paces[place].sweep_s,
            )
        )
    return made


def _refused(record: dict[str, Any] | None, runner: Runner, training: Training) -> bool:
    """Would a run refuse the cell?"""
    try:
        if record is not None and record["status"] == "done":
            runner.datasets.check_done(record, training)
    except OtherData:
        return True
    return recording.refusal(record) is not None


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
