"""What a worker of a cluster does with a job: it trains, sweeps or looks, and says on a board what it is at."""

import functools
import os
import pickle
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from bench import fast, plan
from bench.context import Watch
from bench.grid import Job, Look, Sweep
from bench.progress import Monitor, Work
from bench.runner import Runner


@dataclass(frozen=True)
class Place:
    """What all workers share: folders that each of them must see, and what to compute on."""

    home: Path
    results: Path
    data: Path | None
    processor: str
    threads: int


class Result(NamedTuple):
    """How a job ended: done, failed or stopped; with what it gave, or why it failed."""

    state: str
    value: Any = None
    error: Exception | None = None


class Reports(Protocol):
    """A board, as a worker sees it: each call says whether to stop, if that is known at once."""

    def begin(self, where: str) -> bool: ...

    def report(self, seen: Mapping[str, Any], wait: bool) -> bool: ...


class Stopped(BaseException):
    """The worker was asked to stop, and all that it did is kept. No Exception: the cell has not failed."""


EVERY_S = 0.5  # between two reports


def work(job: Job, place: Place, reports: Reports) -> Result:
    """Do a job. Whatever goes wrong in it is a result: only a worker's death is a reason to try elsewhere."""
    try:
        if reports.begin(f"{socket.gethostname()} {os.getpid()}"):
            return Result("stopped")
        runner = _runner(place)
        runner.monitor = _reporting(reports)
        return Result("done", _do(job, runner, reports))
    except (Stopped, KeyboardInterrupt):
        return Result("stopped")
    except Exception as error:
        return Result("failed", error=portable(error))


@functools.cache
def _runner(place: Place) -> Runner:
    """One for all jobs that this process is given: data are loaded once."""
    os.environ["BENCH_HOME"] = str(place.home)
    processor = fast.processor(place.processor, place.threads)
    return Runner(
        home=place.home,
        results=place.results,
        data_dir=place.data,
        processor=processor,
        monitor=Monitor(quiet=True),
    )


def _do(job: Job, runner: Runner, reports: Reports) -> Any:
    runner.made_of({job.training.device: job.source})
    if isinstance(job.task, Sweep):
        runner.run(job.task.cell, job.task.command, job.task.force)
    elif isinstance(job.task, Look):
        return _look(job, job.task, runner, reports)
    else:
        runner.train(job.training)
    return None


def _look(job: Job, look: Look, runner: Runner, reports: Reports) -> dict[float, list[float]]:
    """Level -> metric of each validation chip; the mean after each epoch is reported if the training is watched."""
    evaluation = look.cell.evaluation
    device = plan.device_of(look.cell.device, evaluation.device_settings)
    means: dict[int, float] = {}

    def seen(epoch: int, metric: float) -> None:
        means[epoch] = metric
        reports.report({"means": dict(means)}, wait=True)

    watch = Watch(device, evaluation.levels, evaluation.time_s, seen) if look.watched else None
    return runner.validate_each(job.training, device, evaluation.levels, evaluation.time_s, look.chips, watch)


def _reporting(reports: Reports) -> Monitor:
    """A silent display that reports what it would have shown, and stops where it was asked to."""
    last = 0.0

    def seen(work: Work) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY_S:
            last = time.monotonic()
            figures = {"doing": work.title, "done": work.done, "steps": work.steps, "figures": work.figures}
            reports.report(figures, wait=False)

    def kept() -> None:
        if reports.report({}, wait=True):
            raise Stopped

    return Monitor(quiet=True, seen=seen, kept=kept)


def portable(error: Exception) -> Exception:
    """The error as another process can read it, with its traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:  # some can't be taken apart, or not put together again
        return RuntimeError(f"{type(error).__name__}: {error}")


def can(on: str, threads: int) -> tuple[str, str]:
    """(type of processor, precision) of a worker."""
    processor = fast.processor(on, threads)
    return processor.type, fast.precision_for(processor)


def threads_for(workers: int) -> int:
    """CPU threads of each of so many workers of this machine."""
    return max(1, torch.get_num_threads() // workers)
