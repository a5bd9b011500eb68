"""How long a step of a training takes, and whether its method refuses the network: by taking a few steps of it."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from bench import plan
from bench.context import TrainingContext, build_network
from bench.fast import wait
from bench.progress import Monitor, Work
from bench.runner import Runner
from bench.spec import Training
from devices._base import Device

STEPS = 2  # the first one warms up, so that it is never the fastest


class _Enough(Exception):
    """All steps were taken that are timed."""


class _Rehearsal(TrainingContext):
    """A training that ends in its first epoch. It keeps nothing, asks no validation chips, calibrates on a batch."""

    step_s = math.inf  # of the fastest step

    def epochs(self, n: float, state: Mapping[str, Any]) -> Iterator[int]:
        self._steps = min(round(n * self.steps_per_epoch()), STEPS)
        if self._steps:
            yield 0

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        began = time.perf_counter()
        for batch in super().batches():
            yield batch
            wait(self.processor)
            now = time.perf_counter()
            self.step_s, began = min(self.step_s, now - began), now
        raise _Enough

    def example(self, n: int) -> Tensor:
        return super().example(min(n, self.batch_size))

    def score(self, network: nn.Module, levels: tuple[float, ...]) -> list[float]:
        return [0.0] * len(levels)


def step_s(training: Training, device: Device, runner: Runner) -> float:
    """Seconds of a step: forward and backward passes, lessons, chips, the optimizer. 0 of a training without steps.

    `device`: the training's. What it rests on is fresh networks in place of trained ones. MethodError if the method
    can't train this network, TaskError if the data can't be had.
    """
    task, splits = runner.task(training)

    def fresh(other: Training) -> nn.Module:
        return plan.framed(other, build_network(task, other, runner.processor))

    context = _Rehearsal(
        training,
        task=task,
        device=device,
        splits=splits,
        processor=runner.processor,
        checkpoints=runner.checkpoints,
        work=Work(Monitor(quiet=True), "", STEPS),
        train_other=fresh,
        variant=plan.variant,
    )
    with suppress(_Enough):
        plan.method_of(training.method, training.settings).fit(context)
    return context.step_s if math.isfinite(context.step_s) else 0.0
