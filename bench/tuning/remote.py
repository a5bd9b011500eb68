"""`bench tune` on a cluster: the study stays with the command, its trials, checks and tests are jobs."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import TrialState

from bench import engine
from bench.errors import BenchError
from bench.grid import Graph, Job, Look, resting_on
from bench.labels import title
from bench.live import View
from bench.progress import Monitor
from bench.runner import Runner
from bench.spec import Training
from bench.status import Status
from bench.tune import HEARTBEAT_S, Outcome, Search, quiet
from bench.work import Cells, by_team, is_there, known, records
from methods._base import MethodError, Refusal


@dataclass(frozen=True)
class Remote:
    """Tunes with a team; `slots`: trials at once."""

    team: engine.Team
    slots: int
    status: Status

    def tune(self, search: Search, monitor: Monitor) -> Outcome:
        """Trials until the study has enough of them; what it found."""
        boss = TrialBoss(search, self.slots)
        try:
            with search.stored():
                self._drive([], boss)
        finally:
            with search.stored():
                boss.hand_on()
        if boss.error is not None:
            raise boss.error
        return search.outcome()

    def confirm(self, search: Search, found: Outcome) -> list[tuple[list[float], list[float]]]:
        """As `Search.confirm`."""
        chosen, usual = search.finalists(found)
        look = Look(search.cell, search.fresh_chips)
        boss = LookBoss()
        self._drive(_looks({"best": chosen, "default": usual}, search, look), boss)
        values = [boss.value(f"{name} {search.study.study_name}") for name in ("best", "default")]
        return list(zip(*(one.values() for one in values), strict=True))

    def records(self, runner: Runner, cells: Cells) -> list[dict[str, Any]]:
        """Their records, in this order. The first error, if one has failed."""
        found, left = known(cells, runner)
        found |= by_team(left, runner, self.team, self.status)
        for done in found.values():
            if isinstance(done, Exception):
                raise done
        made = records(found)
        return [made[cell.evaluation.key] for cell, _ in cells]

    def _drive(self, jobs: Iterable[Job], boss: engine.Boss) -> None:
        engine.Engine(self.team, Graph(jobs), boss, View(), self.status).run()


def _looks(trainings: Mapping[str, Training], search: Search, look: Look) -> list[Job]:
    made: dict[str, Job] = {}
    for name, training in trainings.items():
        others, needs = _rests(search, training)
        key = f"{name} {search.study.study_name}"
        made |= {job.key: job for job in others}
        made[key] = Job(key, f"{name}: {title(training)}", training, search.cell.train_device, look, needs)
    return list(made.values())


def _rests(search: Search, training: Training) -> tuple[list[Job], tuple[str, ...]]:
    """What a training still rests on."""
    return resting_on(training, search.cell.train_device, search.runner.checkpoints.has)


class LookBoss(engine.Boss):
    """Wants what looks give."""

    def __init__(self) -> None:
        self.found: dict[str, dict[float, list[float]]] = {}
        self.error: Exception | None = None

    def done(self, job: Job, value: Any) -> None:
        """Keep it."""
        self.found[job.key] = value

    def failed(self, job: Job, error: Exception) -> None:
        """Keep the first error."""
        self.error = self.error or error

    def value(self, key: str) -> dict[float, list[float]]:
        """What a look gave, or the error that there was."""
        if key not in self.found:
            raise self.error or BenchError(f"{key}: was not measured")
        return self.found[key]


class TrialBoss(engine.Boss):
    """Asks the study for trials, as many at once as there are slots, and tells it what became of them.

    A worker hears that its trial is pruned at the end of its next epoch.
    """

    def __init__(self, search: Search, slots: int) -> None:
        self.search, self.slots = search, slots
        timeout_s = search.job.timeout_s
        self.ends = None if timeout_s is None else time.monotonic() + timeout_s
        self.trials: dict[str, tuple[optuna.Trial, Training]] = {}
        self.reported: dict[str, set[int]] = {}
        self.pruned: set[str] = set()
        self.error: Exception | None = None
        self.beat = 0.0

    def more(self) -> Sequence[Job]:
        """As many new trials as there are free slots, unless those in hand may be the last ones."""
        self._beat()
        if self.error is not None or (self.ends is not None and time.monotonic() >= self.ends):
            return ()
        made: list[Job] = []
        left = self.search.job.trials - len(self.search.ended())
        while len(self.trials) < min(self.slots, left):
            made += self._ask()
        return made

    def _ask(self) -> list[Job]:
        search = self.search
        with quiet():
            trial = search.study.ask()
        training = search.suggested(trial)
        key = f"trial {trial.number} {search.study.study_name}"
        self.trials[key], self.reported[key] = (trial, training), set()
        others, needs = _rests(search, training)
        look = Look(search.cell, range(search.job.chips), watched=True)
        name = f"trial {trial.number}: {title(training)}"
        return [*others, Job(key, name, training, search.cell.train_device, look, needs)]

    def _beat(self) -> None:
        """The study's other workers learn that these trials are alive; those of a command that was killed are found."""
        if time.monotonic() - self.beat > HEARTBEAT_S:
            self.beat = time.monotonic()
            for trial, _ in self.trials.values():
                self.search.storage.record_heartbeat(trial._trial_id)
            with quiet():
                optuna.storages.fail_stale_trials(self.search.study)

    def seen(self, job: Job, told: Mapping[str, Any]) -> bool:
        """Tell the study what a trial was worth after each epoch; should it end?"""
        if job.key not in self.trials:
            return False
        trial, _ = self.trials[job.key]
        for epoch, metric in sorted(told.get("means", {}).items()):
            if epoch not in self.reported[job.key]:
                self.reported[job.key].add(epoch)
                trial.report(metric, epoch)
                if trial.should_prune():
                    self.pruned.add(job.key)
        return job.key in self.pruned

    def done(self, job: Job, value: Any) -> None:
        """A trial's metric is the mean over levels and chips, as in one process."""
        if job.key not in self.trials:
            is_there(self.search.runner, job)
            return
        trial, _ = self.trials.pop(job.key)
        means = [fmean(chips) for chips in value.values()]
        self.search.study.tell(trial, fmean(means))
        self.search.discard()

    def failed(self, job: Job, error: Exception) -> None:
        """Training that diverged is a pruned trial; anything else, as a method that refuses, ends the search."""
        diverged = isinstance(error, MethodError) and not isinstance(error, Refusal)
        if job.key in self.trials:
            trial, training = self.trials.pop(job.key)
            if diverged:
                self._prune(trial, training, str(error))
            else:
                self.search.study.tell(trial, state=TrialState.FAIL)
        if not diverged:
            self.error = self.error or error

    def lost(self, job: Job, root: Job, error: Exception) -> None:
        """So is one whose teachers failed."""
        self.failed(job, error)

    def stopped(self, job: Job) -> bool:
        """It was pruned, unless all are drained."""
        if job.key not in self.pruned:
            return False
        self._prune(*self.trials.pop(job.key), "")
        return True

    def _prune(self, trial: optuna.Trial, training: Training, reason: str) -> None:
        self.search.given_up(trial, training, reason)
        self.search.study.tell(trial, state=TrialState.PRUNED)

    def hand_on(self) -> None:
        """Trials that were interrupted are done again by whoever goes on, from their last epoch."""
        for trial, _ in self.trials.values():
            self.search.study.enqueue_trial(trial.params)
            self.search.study.tell(trial, state=TrialState.FAIL)
        self.trials.clear()
