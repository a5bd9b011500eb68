"""`python -m bench.timing.cluster`: what two workers gain over one, and what Ray costs; both are ratios of one run.

Cells are nominal ones of a small network, a training and a sweep each, on one CPU thread. Workers are warm: each has
imported all and read the data in a cell that is not timed. Each process that computes is kept to a core of its own,
where the system can do that (Linux). Each figure is the fastest of its rounds.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from bench import cluster, engine, plan
from bench.cluster import RayTeam, crew
from bench.files import write_text
from bench.grid import Graph, Job, jobs_of
from bench.live import View
from bench.progress import Monitor
from bench.runner import Runner
from bench.status import Status
from bench.store import home, lend_data
from bench.work import CellBoss, records
from bench.worker import Place, Result

BATCH, SAMPLES, TEST_SAMPLES = 16, 2000, 1000


class Timing:
    """Cells by number, each but once: in this process, or with a team."""

    def __init__(self, folder: Path, data: Path | None) -> None:
        place, results = folder / "home", folder / "results"
        lend_data(home(), place)
        cpu = torch.device("cpu")
        quiet = Monitor(quiet=True)
        self.runner = Runner(home=place, results=results, data_dir=data, processor=cpu, monitor=quiet)
        self.folder, self.number = folder, 0

    def cells(self, n: int, epochs: int) -> list[tuple[plan.Cell, str]]:
        """The next n cells."""
        seeds = tuple(range(self.number, self.number + n))
        self.number += n
        budget: dict[str, Any] = {"epochs": epochs, "batch_size": BATCH, "train_samples": SAMPLES}
        names: dict[str, Any] = {"methods": ("nominal",), "devices": ("rram",), "tasks": ("mnist",), "seeds": seeds}
        tested: dict[str, Any] = {"network": "mlp", "test_samples": TEST_SAMPLES, "chips": 10}
        asked = plan.Request(**names, preset="smoke", precision="fp32", **budget, **tested)
        return [(cell, "") for cell in plan.cells(asked)]

    def here(self, n: int, epochs: int) -> float:
        """Seconds of n cells in this process."""
        cells = self.cells(n, epochs)
        with on_one_core():
            return seconds(lambda: [self.runner.run(cell, command) for cell, command in cells])

    def by(self, team: engine.Team, n: int, epochs: int) -> float:
        """Seconds of n cells with a team. RuntimeError if one fails."""
        cells = self.cells(n, epochs)
        boss = CellBoss(self.runner)
        view, status = View(Console(quiet=True)), Status(self.folder / "runs", "timing", "")
        spent = seconds(lambda: engine.Engine(team, Graph(jobs_of(cells, lambda key: False)), boss, view, status).run())
        if len(records(boss.found)) < n:
            raise RuntimeError(f"cells failed: {[str(done) for done in boss.found.values()]}")
        return spent

    def epochs_of(self, wanted_s: float) -> int:
        """Epochs that make a cell last about so long."""
        few, more = self.here(1, 2), self.here(1, 6)
        each = max((more - few) / 4, 1e-3)
        return max(1, round((wanted_s - few) / each) + 2)


def seconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


@contextmanager
def kept_to(core: int) -> Iterator[None]:
    """Meanwhile this process computes on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Meanwhile this process computes on one core, the last that it has, as a worker does."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    with kept_to(max(os.sched_getaffinity(0))):
        yield


@contextmanager
def a_core(folder: Path) -> Iterator[None]:
    """Meanwhile this worker is kept to the last core that no other worker with this folder has.

    For a job, not for a worker's life: Ray may have more processes than it gives jobs at once.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    core, lock = _free_core(folder)
    try:
        with kept_to(core):
            yield
    finally:
        lock.release()


def _free_core(folder: Path) -> tuple[int, FileLock]:
    for core in sorted(os.sched_getaffinity(0), reverse=True):
        lock = FileLock(folder / f"core-{core}.lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            return core, lock
    raise RuntimeError("more workers than cores; give fewer")


def pinned(job: Job, place: Place, board: Any) -> Result:
    """What a worker does, on a core of its own."""
    with a_core(place.home):
        return cluster._work(job, place, board)


def on_cores(team: RayTeam) -> RayTeam:
    """The team, each of whose workers takes a core."""
    from bench.timing.cluster import pinned  # not of __main__, so that each worker has one module and one core

    team.task = team.ray.remote(num_cpus=team.place.threads, max_retries=0)(pinned)
    return team


def measure(cells: int, cell_s: float, long_s: float, rounds: int, data: Path | None) -> dict[str, Any]:
    """Both ratios, and the seconds that they are made of."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-timing-") as name:
        timing = Timing(Path(name), data)
        timing.here(1, 1)  # warm, as the workers are
        short, long = timing.epochs_of(cell_s), timing.epochs_of(long_s)
        spent: dict[str, list[float]] = {"one": [], "two": [], "plain": [], "ray": []}
        for _ in range(rounds):
            for workers, grid in ((1, "one"), (2, "two")):
                with crew(workers, None, None, "cpu", 1).team(timing.runner.home, Path(name) / "results", data) as team:
                    on_cores(team)
                    timing.by(team, 2 * workers, 3)  # warm
                    if workers == 1:
                        spent["plain"].append(timing.here(1, long))
                        spent["ray"].append(timing.by(team, 1, long))
                    spent[grid].append(timing.by(team, cells, short))
    best = {key: min(values) for key, values in spent.items()}
    return {
        "two_workers_over_one": best["two"] / best["one"],
        "ray_over_plain": best["ray"] / best["plain"],
        "cells": cells,
        "rounds": rounds,
        "seconds": {"one_worker": best["one"], "two_workers": best["two"], "plain": best["plain"], "ray": best["ray"]},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--cells", type=int, default=8, help="cells of the grid (8)")
    parser.add_argument("--cell-seconds", type=float, default=15.0, help="about so long takes each of them (15)")
    parser.add_argument("--seconds", type=float, default=60.0, help="about so long takes the cell for Ray's cost (60)")
    parser.add_argument("--rounds", type=int, default=1, help="of all of it; the fastest counts (1)")
    parser.add_argument("--data", type=Path, help="folder that holds the data set already")
    parser.add_argument("--out", type=Path, help="JSON file to write, too")
    given = parser.parse_args()
    found = measure(given.cells, given.cell_seconds, given.seconds, given.rounds, given.data)
    s = found["seconds"]
    print(
        f"{found['cells']} cells: two workers {s['two_workers']:.1f} s, one {s['one_worker']:.1f} s: "
        f"{found['two_workers_over_one']:.2f} of the time (0.6 or less is wanted)\n"
        f"one cell: by Ray {s['ray']:.1f} s, in one process {s['plain']:.1f} s: "
        f"{100 * (found['ray_over_plain'] - 1):+.1f}% (5% or less is wanted)"
    )
    if given.out:
        write_text(given.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
