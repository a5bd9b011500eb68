"""Several processes of this machine on one study of `bench tune`.

They meet in the study's database, so they need no Ray; the workers of a cluster, which don't reach it, are those of
bench/tuning/remote.py.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from bench import interrupt
from bench.errors import in_one_line
from bench.progress import Monitor
from bench.runner import Runner
from bench.store import home
from bench.tune import Job, Outcome, Search
from bench.work import Cells
from methods._base import Refusal


@dataclass(frozen=True, kw_only=True)
class Workers:
    """So many processes, the first of which is this one, and how the others set themselves up."""

    count: int
    processor: str
    data: Path | None
    results: Path

    def tune(self, search: Search, monitor: Monitor) -> Outcome:
        """Trials until the study has enough of them, with helpers in processes of their own; what it found."""
        others = start(search.job, self)
        try:
            title = f"tune {search.method.name} on {search.evaluation.device}, {search.evaluation.training.task}"
            with monitor.work(title, search.job.trials) as watch:
                search.work(watch)
                for other in others:
                    other.join()
        finally:
            stop(others)
        if any(other.exitcode for other in others):
            monitor.say(f"{sum(bool(other.exitcode) for other in others)} of {self.count} workers ended with an error")
        return search.outcome()

    def confirm(self, search: Search, found: Outcome) -> list[tuple[list[float], list[float]]]:
        """In this process."""
        return search.confirm(found)

    def records(self, runner: Runner, cells: Cells) -> list[dict[str, Any]]:
        """In this process, one after the other."""
        return [runner.run(cell, command) for cell, command in cells]


def start(job: Job, workers: Workers) -> list[BaseProcess]:
    """Start all workers but this process, which gets its share of the threads."""
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // workers.count)
    if workers.count > 1:
        torch.set_num_threads(threads)
    others = [spawn.Process(target=_help, args=(job, workers, threads)) for _ in range(workers.count - 1)]
    for other in others:
        other.start()
    return list(others)


def stop(others: Sequence[BaseProcess]) -> None:
    """As Ctrl-C would, so that their trials are handed on; then less gently."""
    for other in others:
        if other.is_alive() and other.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(other.pid, signal.SIGINT)
    for other in others:
        other.join(20)
        if other.is_alive():
            other.terminate()


def _help(job: Job, workers: Workers, threads: int) -> None:
    """A further worker, in a process of its own: silent but for what goes wrong."""
    torch.set_num_threads(threads)
    monitor = Monitor(quiet=True)
    try:
        processor = torch.device(workers.processor)
        runner = Runner(
            home=home(), results=workers.results, data_dir=workers.data, processor=processor, monitor=monitor
        )
        with monitor.work("", job.trials) as watch:
            Search(runner, job).work(watch)
    except KeyboardInterrupt:
        sys.exit(interrupt.EXIT_CODE)
    except Refusal:  # which the command meets, too, and tells
        sys.exit(2)
    except Exception as error:
        print(f"bench: a worker ended: {in_one_line(error)}", file=sys.stderr)
        sys.exit(2)
