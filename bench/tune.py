"""Optuna over a method's settings: train, validate on chips of the device, prune by epoch. Test data are not read.

A study is named by everything that its trials depend on, so the same command goes on where it was, and several
processes with the same command share its trials. It ends when so many trials are finished or pruned.
"""

import dataclasses
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from bench import plan, registry
from bench.context import Watch
from bench.errors import BenchError
from bench.keys import key_of, seed_of
from bench.labels import in_unit
from bench.progress import Work
from bench.runner import Runner
from bench.spec import Training
from bench.store import home, local
from bench.tuning import plots, saved, space
from methods._base import MethodError, Refusal

HEARTBEAT_S, GRACE_S = 20, 60  # a worker that was killed is noticed after the second
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
CONFIRM = 10  # fresh validation chips on which the best settings meet the default ones


@dataclass(frozen=True, kw_only=True)
class Job:
    """One method to tune: a request of one cell, and how. `chips`: validation chips a level."""

    request: plan.Request
    trials: int
    timeout_s: float | None
    chips: int
    storage: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a study found. `best` and `default`: settings and level of trials; metrics over validation chips."""

    study: str
    settings: Mapping[str, Any]
    level: float
    trials: tuple[FrozenTrial, ...]
    best: FrozenTrial


def default_storage() -> str:
    """A SQLite file beside the checkpoints: it changes with every trial, and what it found is in results/tuned."""
    return f"sqlite:///{local(home()).absolute() / 'tuning' / 'studies.sqlite3'}"


class Search:
    """One study, with all that a trial needs."""

    def __init__(self, runner: Runner, job: Job) -> None:
        (self.cell,) = plan.cells(job.request)
        self.runner, self.job, self.evaluation = runner, job, self.cell.evaluation
        self.device = plan.device_of(self.cell.device, self.evaluation.device_settings)
        runner.made_of({self.evaluation.training.device: self.cell.train_device})
        self.method = registry.get("methods", self.evaluation.training.method)
        self.space = space.of(self.method, self.device)
        self.better = max if plan.task_of(self.evaluation.training.task).metric.higher_is_better else min
        self.study, self.is_new = self._open()

    def _open(self) -> tuple[optuna.Study, bool]:
        """The study, and whether it was made just now; one process at a time, since tables are made too."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder = local(home()) / "tuning"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"), quiet():
            try:
                self.storage = _storage(self.job.storage)
                study = optuna.create_study(
                    storage=self.storage,
                    study_name=self._name(),
                    direction="maximize" if self.better is max else "minimize",
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
                    load_if_exists=True,
                )
                trials = study.get_trials(deepcopy=False)
                if not trials:
                    study.enqueue_trial(self.space.defaults())
            except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError, OSError) as error:
                reason = " ".join(str(error).partition("\n")[0].split())
                raise BenchError(f"storage {_shown(self.job.storage)}: {reason}") from None
            # A lone worker that is not cut off tries the same settings every time
            seed = (study.study_name,) if not trials else (study.study_name, len(trials), os.getpid())
            startup = max(4, min(10, self.job.trials // 3))
            study.sampler = optuna.samplers.TPESampler(
                seed=seed_of(*seed) % 2**32, n_startup_trials=startup, constant_liar=True
            )
            return study, not trials

    def _name(self) -> str:
        """Readable, and with a key of everything that a trial's metric or the search depends on."""
        training = dataclasses.replace(self.evaluation.training, settings={}, level=0.0)
        about = [training.as_dict(), self.space.as_dict(), self.evaluation.as_dict()["levels"], self.job.chips]
        if self.runner.data_dir is not None:  # else they are those that everybody has
            about.append(self.runner.task(training)[1].fingerprint)
        return f"{saved.name_of(self.evaluation)}-{key_of(about)[:8]}"

    def work(self, watch: Work) -> None:
        """Try settings until enough trials are done, by this and other workers, or time is up."""
        ends = None if self.job.timeout_s is None else time.monotonic() + self.job.timeout_s
        with self.stored():
            while (left := self.job.trials - len(self.ended())) > 0 and (ends is None or time.monotonic() < ends):
                self._show(watch)
                if left > len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))):
                    self.study.optimize(self._trial, n_trials=1)
                    self.discard()
                else:  # the others' trials may be the last ones, unless one was killed
                    time.sleep(0.5)
                    optuna.storages.fail_stale_trials(self.study)
            self._show(watch)

    @contextmanager
    def stored(self) -> Iterator[None]:
        """Inside, a database that fails is a user's one line."""
        try:
            with quiet():
                yield
        except optuna.exceptions.StorageInternalError as error:
            reason = " ".join(str(error.__cause__ or error).partition("\n")[0].split())
            raise BenchError(f"storage {_shown(self.job.storage)}: {reason}") from None

    def ended(self) -> list[FrozenTrial]:
        """Trials that count, in the order in which they ended: no more than the job's."""
        done = self.study.get_trials(deepcopy=False, states=ENDED)
        return sorted(done, key=lambda t: (t.datetime_complete, t.number))[: self.job.trials]

    def _show(self, watch: Work) -> None:
        ended = self.ended()
        if len(ended) > watch.done:
            watch.advance(len(ended) - watch.done)
        if (best := self._best(ended)) is not None:
            pruned = sum(t.state == TrialState.PRUNED for t in ended)
            watch.note(best=best.value, trial=best.number, pruned=pruned)

    def _best(self, ended: Sequence[FrozenTrial]) -> FrozenTrial | None:
        whole = [t for t in ended if t.state == TrialState.COMPLETE]
        return self.better(whole, key=lambda t: t.values[0]) if whole else None

    def _trial(self, trial: optuna.Trial) -> float:
        """Mean metric over the device's sweep on validation chips, with the settings that the trial suggests."""
        training = self.suggested(trial)

        def seen(epoch: int, metric: float) -> None:
            trial.report(metric, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        watch = Watch(self.device, self.evaluation.levels, self.evaluation.time_s, seen)
        try:
            means = self.runner.validate(
                training, self.device, self.evaluation.levels, self.evaluation.time_s, self.job.chips, watch
            )
        except (KeyboardInterrupt, Refusal):  # of a method that refuses the network no trial counts
            self.study.enqueue_trial(trial.params)  # the next worker goes on with it, from its last epoch
            raise
        except (MethodError, optuna.TrialPruned) as error:
            # Training that diverged is as bad as can be: no reason to end the search
            self.given_up(trial, training, str(error))
            raise optuna.TrialPruned from None
        return sum(means.values()) / len(means)

    def suggested(self, trial: optuna.Trial) -> Training:
        """What the trial trains, which it keeps."""
        settings, level = self.space.suggest(trial)
        training = self.training(settings, level)
        is_new = not self.runner.checkpoints.has(training.key)
        about = {"settings": settings, "level": level, "training": training.key, "new": is_new, "process": os.getpid()}
        for name, value in about.items():
            trial.set_user_attr(name, value)
        return training

    def given_up(self, trial: optuna.Trial, training: Training, reason: str) -> None:
        """Its training is not gone on with."""
        trial.set_user_attr("reason", reason)
        self.runner.checkpoints.partial_path(training.key).unlink(missing_ok=True)

    def training(self, settings: Mapping[str, Any], level: float) -> Training:
        """What a trial trains."""
        return plan.normalise(dataclasses.replace(self.evaluation.training, settings=dict(settings), level=level))

    def discard(self) -> None:
        """Delete the networks of trials that aren't the best, except where others may rest on them."""
        best = self._best(self.ended())
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            about = trial.user_attrs
            ours = about.get("new") and about.get("settings")
            if ours and best is not None and about["training"] != best.user_attrs["training"]:
                self.runner.checkpoints.path(about["training"]).unlink(missing_ok=True)

    def outcome(self) -> Outcome:
        """The best of the trials that count. BenchError if none was finished."""
        ended = self.ended()
        best = self._best(ended)
        if best is None:
            reasons = [t.user_attrs["reason"] for t in ended if t.user_attrs.get("reason")]
            said = f"; the last: {reasons[-1]}" if reasons else "; give it more time or trials"
            raise BenchError(f"tune {self.method.name}: none of {len(ended)} trials was finished{said}")
        settings, level = best.user_attrs["settings"], best.user_attrs["level"]
        return Outcome(study=self.study.study_name, settings=settings, level=level, trials=tuple(ended), best=best)

    def finalists(self, found: Outcome) -> tuple[Training, Training]:
        """The training with the best settings, and the default one."""
        return self.training(found.settings, found.level), self.evaluation.training

    @property
    def fresh_chips(self) -> range:
        """Validation chips that no trial saw."""
        return range(self.job.chips, self.job.chips + CONFIRM)

    def confirm(self, found: Outcome) -> list[tuple[list[float], list[float]]]:
        """For each level: metrics of fresh validation chips with the best settings, and with the default ones."""
        chosen, usual = (
            self.runner.validate_each(
                training, self.device, self.evaluation.levels, self.evaluation.time_s, self.fresh_chips
            )
            for training in self.finalists(found)
        )
        return list(zip(chosen.values(), usual.values(), strict=True))

    def write(self, found: Outcome) -> list[Path]:
        """Save the settings, and plots of history and importance; the paths."""
        path = saved.path_of(self.runner.records.folder.parent, self.evaluation)
        saved.save(path, self._about(found))
        task = plan.task_of(self.evaluation.training.task)
        title = f"{self.method.name} · {task.name} · {self.evaluation.training.network} · {self.evaluation.device}"
        points = [plots.Point(t.number, _metric(t), t.state == TrialState.PRUNED) for t in found.trials]
        metric = in_unit(f"validation {task.metric.name}", task.metric.unit, "{} ({})")
        up = task.metric.higher_is_better
        size = plots.size_of(self.job.chips, len(self.evaluation.levels), self.evaluation.training.seed)
        figures = {"history": plots.history(points, title=title, metric=metric, higher_is_better=up, size=size)}
        if shares := self.importances():
            figures["importance"] = plots.importance(shares, points, title=title, size=size)
        written = [path]
        for name, figure in figures.items():
            written += plots.save(figure, path.parent.parent / "plots" / f"tuned-{path.stem}-{name}")
        return written

    def importances(self) -> dict[str, float]:
        """Share of each parameter, largest first; {} where two trials that differ are not at hand."""
        whole = [t for t in self.ended() if t.state == TrialState.COMPLETE]
        if len({t.value for t in whole}) < 2:
            return {}
        best = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, min(0.5, 5 / len(whole))))
        with quiet():
            return optuna.importance.get_param_importances(self.study, evaluator=best)

    def _about(self, found: Outcome) -> dict[str, Any]:
        keys = {"state": lambda t: t.state.name.lower(), "metric": _metric, "reason": lambda t: t.user_attrs["reason"]}
        trials = []
        for t in found.trials:
            about = {"number": t.number} | {name: t.user_attrs[name] for name in ("settings", "level")}
            about |= {name: read(t) for name, read in keys.items() if name != "reason" or t.user_attrs.get("reason")}
            trials.append(about | {"seconds": round(t.duration.total_seconds(), 1) if t.duration else None})
        return {
            "settings": dict(found.settings),
            "level": found.level,
            "validation": {"metric": found.best.value, "chips": self.job.chips, "levels": list(self.evaluation.levels)},
            "study": found.study,
            "evaluation": self.evaluation.as_dict(),
            "trials": trials,
        }


def _storage(url: str) -> optuna.storages.RDBStorage:
    """Any database that Optuna can use; workers that were killed are noticed, and their trials done again."""
    return optuna.storages.RDBStorage(
        url,
        # Several workers wait for each other rather than fail
        engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
        heartbeat_interval=HEARTBEAT_S,
        grace_period=GRACE_S,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3),
    )


def _shown(url: str) -> str:
    """A URL without its password."""
    from sqlalchemy.engine import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "URL"


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings that parts of Optuna are experimental, nor of few trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _metric(trial: FrozenTrial) -> float | None:
    """Of a pruned trial the last that was seen."""
    seen = trial.intermediate_values
    return trial.value if trial.state == TrialState.COMPLETE else seen[max(seen)] if seen else None
