"""Cells as a graph of jobs: a student waits for its teachers, which are trained once however many ask for them.

Nothing here runs anything: who does (bench/cluster.py) asks what is ready and says what became of it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench import plan
from bench.labels import title
from bench.plan import Cell
from bench.spec import Training


class Run(NamedTuple):
    """A training, and the keys of those whose networks it asks for."""

    training: Training
    needs: tuple[str, ...]


def lineage(training: Training, levels: tuple[float, ...]) -> dict[str, Run]:
    """Key -> a training and each that it rests on, itself first; `levels`: of the training device's axis."""
    found: dict[str, Run] = {}
    waiting = [plan.normalise(training)]
    while waiting:
        one = waiting.pop()
        if one.key in found:
            continue
        method = plan.method_of(one.method, one.settings)
        others = []
        for need in method.needs(one.level, one.seed, levels):
            own = one if need.seed is None else dataclasses.replace(one, seed=need.seed)
            others.append(plan.variant(own, need.method, need.level, need.settings))
        found[one.key] = Run(one, tuple(dict.fromkeys(other.key for other in others)))
        waiting.extend(others)
    return found


@dataclass(frozen=True)
class Sweep:
    """A cell to sweep, once its network is there."""

    cell: Cell
    command: str
    force: bool = False


@dataclass(frozen=True)
class Look:
    """A network to measure on validation chips of a device; `watched`: also while it trains, epoch by epoch."""

    cell: Cell
    chips: range
    watched: bool = False


@dataclass(frozen=True)
class Job:
    """What one worker does in one go. `source`: where the training device comes from, a name or a table's path.

    `task` None: only the training. `needs`: keys of the jobs that must be done first.
    """

    key: str
    title: str
    training: Training
    source: str
    task: Sweep | Look | None = None
    needs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """In a word, for people."""
        if isinstance(self.task, Look):
            return "trial" if self.task.watched else "check"
        return "training" if self.task is None else "cell"


def jobs_of(cells: Sequence[tuple[Cell, str]], is_trained: Callable[[str], bool], force: bool = False) -> list[Job]:
    """The jobs of cells and their commands, trainings before what waits for them; `is_trained`: by key."""
    made: dict[str, Job] = {}
    for cell, command in cells:
        training, evaluation = cell.evaluation.training, cell.evaluation
        needs = _trainings(made, training, cell.train_device, is_trained)
        name = title(training, evaluation.device)
        task = Sweep(cell, command, force)
        made[evaluation.key] = Job(evaluation.key, name, training, cell.train_device, task, needs)
    return list(made.values())


def resting_on(training: Training, source: str, is_trained: Callable[[str], bool]) -> tuple[list[Job], tuple[str, ...]]:
    """The jobs of what a training still rests on, itself left out, and the keys that it waits for."""
    made: dict[str, Job] = {}
    if is_trained(training.key):
        return [], ()
    _trainings(made, training, source, is_trained)
    own = made.pop(plan.normalise(training).key)
    return list(made.values()), own.needs


def _trainings(
    made: dict[str, Job], training: Training, source: str, is_trained: Callable[[str], bool]
) -> tuple[str, ...]:
    """Add the jobs of a training that is not there, and of what it rests on; the keys to wait for."""
    levels = plan.device_of(source, training.device_settings).axis.levels
    runs = lineage(training, levels)
    first = next(iter(runs))

    def add(key: str) -> bool:
        if key not in made and not is_trained(key):
            one, others = runs[key]
            needs = tuple(other for other in others if add(other))
            made[key] = Job(
                key, f"train {title(one)}", one, source if one.device == training.device else one.device, None, needs
            )
        return key in made

    return (first,) if add(first) else ()


class Graph:
    """What has become of each job: waiting, begun, done or failed."""

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        self.jobs: dict[str, Job] = {}
        self.waiting: dict[str, set[str]] = {}  # key -> what it still waits for
        self.begun: set[str] = set()
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}  # key -> title of the job that failed first
        self.add(jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """More jobs; one whose key is known is the same job. Who needs a failed one fails; ValueError in a ring."""
        new = [job for job in jobs if job.key not in self.jobs]
        self.jobs |= {job.key: job for job in new}
        for job in new:
            self.waiting[job.key] = {key for key in job.needs if key not in self.done}
        for key in [key for job in new for key in job.needs]:
            if key not in self.jobs:
                raise ValueError(f"a job needs {key}, which is no job")
        self._refuse_rings()
        for key, root in list(self.failed.items()):
            self._fail_after(key, root)

    def ready(self) -> list[Job]:
        """Jobs that can begin, those that most others wait for first."""
        free = [key for key, needs in self.waiting.items() if not needs]
        awaited = {key: sum(1 for _ in self._after(key)) for key in free}
        return [self.jobs[key] for key in sorted(free, key=lambda key: -awaited[key])]

    def begin(self, key: str) -> None:
        """It is in somebody's hands."""
        del self.waiting[key]
        self.begun.add(key)

    def end(self, key: str) -> None:
        """It is done: what waited for it alone is ready."""
        self.begun.remove(key)
        self.done.add(key)
        for needs in self.waiting.values():
            needs.discard(key)

    def fail(self, key: str) -> list[Job]:
        """It failed, and with it all that waits for it: those others, which were never begun."""
        self.begun.discard(key)
        self.failed[key] = self.jobs[key].title
        return self._fail_after(key, self.jobs[key].title)

    def put_back(self, key: str) -> None:
        """It was stopped before its end, and can begin again."""
        self.begun.remove(key)
        self.waiting[key] = set()

    @property
    def is_over(self) -> bool:
        """Is nothing left to begin or to wait for?"""
        return not self.waiting and not self.begun

    def _fail_after(self, key: str, root: str) -> list[Job]:
        lost = [other for other in self._after(key) if other in self.waiting]
        for other in lost:
            del self.waiting[other]
            self.failed[other] = root
        return [self.jobs[other] for other in lost]

    def _after(self, key: str) -> Iterator[str]:
        """What waits for a job, straight or by others."""
        seen, keys = set(), [key]
        while keys:
            one = keys.pop()
            for other, needs in self.waiting.items():
                if one in needs and other not in seen:
                    seen.add(other)
                    keys.append(other)
                    yield other

    def _refuse_rings(self) -> None:
        left = {key: set(needs) & set(self.waiting) for key, needs in self.waiting.items()}
        while free := [key for key, needs in left.items() if not needs]:
            left = {key: needs - set(free) for key, needs in left.items() if needs}
        if left:
            raise ValueError(f"jobs wait for each other: {', '.join(sorted(left))}")
