"""How long an epoch of a training takes, and whether its method refuses the network: by taking a few steps of it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from bench import plan
from bench.context import TrainingContext, build_network
from bench.fast import wait
from bench.progress import Monitor
from bench.runner import Runner
from bench.spec import Training
from devices._base import Device

STEPS = 2  # the first one warms up, so that it is never the fastest


class TimedContext(TrainingContext):
    """A real training context that times steps, and starts from untrained networks. It scores nothing."""

    def __init__(self, training: Training, **services: Any) -> None:
        services |= {"work": Monitor(quiet=True).work("", 1), "train_other": self._fresh, "variant": plan.variant}
        super().__init__(training, **services)
        self.step_s: list[float] = []

    def _fresh(self, other: Training) -> nn.Module:
        return plan.framed(other, build_network(self.task, other, self.processor))

    def score(self, network: nn.Module, levels: tuple[float, ...]) -> list[float]:
        return [0.0] * len(levels)  # once an epoch, not part of a step

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        wait(self.processor)
        began = time.perf_counter()
        for batch in super().batches():  # so that making the batch is part of the step
            yield batch
            wait(self.processor)
            self.step_s.append(time.perf_counter() - began)
            self.stepped()
            began = time.perf_counter()

    def stepped(self) -> None:
        """Called after each step, off the clock."""


class _Enough(Exception):
    """All steps were taken that are timed."""


class _Rehearsal(TimedContext):
    """A training that ends in its first epoch. It keeps nothing, and calibrates on a batch."""

    def epochs(self, n: float, state: Mapping[str, Any]) -> Iterator[int]:
        self._steps = min(round(n * self.steps_per_epoch()), STEPS)
        if self._steps:
            yield 0

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from super().batches()
        raise _Enough

    def example(self, n: int) -> Tensor:
        return super().example(min(n, self.batch_size))


def epoch_s(training: Training, device: Device, runner: Runner) -> float:
    """Seconds of an epoch at its fastest step: passes, lessons, chips, the optimizer. 0 of a training without steps.

    `device`: the training's. What it rests on is fresh networks in place of trained ones. MethodError if the method
    can't train this network, TaskError if the data can't be had.
    """
    task, splits = runner.task(training)
    context = _Rehearsal(
        training,
        task=task,
        device=device,
        splits=splits,
        processor=runner.processor,
        checkpoints=runner.checkpoints,
    )
    with suppress(_Enough):
        plan.method_of(training.method, training.settings).fit(context)
    return context.steps_per_epoch() * min(context.step_s, default=0.0)
