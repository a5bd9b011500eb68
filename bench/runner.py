"""One cell: train (or load), sweep, record. A failed cell is recorded and the rest go on."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from bench import missing, networks, pictures, plan, recording, samples
from bench.claims import alone
from bench.context import TrainingContext, Watch, build_network
from bench.datasets import Datasets
from bench.errors import BenchError, in_one_line
from bench.keys import canonical, key_of
from bench.labels import title
from bench.montecarlo import PILOT_SAMPLES, best_samples, sweep_level, validate_each
from bench.progress import Monitor
from bench.restore import fill
from bench.rig import Rig
from bench.spec import Evaluation, Training
from bench.store import Checkpoints, Records, local, misfit
from bench.sweeps import HalfSweep
from bench.trained import not_finite
from bench.tuning import saved
from devices._base import Device
from methods._base import Adaptation, MethodError
from tasks._base import Split, Splits, Task, TaskError


class Runner:
    """Trains and sweeps on one machine, with a store behind it."""

    def __init__(
        self,
        *,
        home: Path,
        results: Path,
        data_dir: Path | None,
        processor: torch.device,
        monitor: Monitor,
    ) -> None:
        self.home, self.cache, self.data_dir = home, local(home) / "data", data_dir
        self.processor, self.monitor = processor, monitor
        self.checkpoints = Checkpoints(home / "checkpoints")
        self.records = Records(results)
        self.datasets = Datasets(self.cache, data_dir)
        self._devices: dict[str, Device] = {}
        self._sources: dict[str, str] = {}

    def run(self, cell: plan.Cell, command: str, force: bool = False, wait: bool = True) -> dict[str, Any]:
        """The record of a cell: from the store if it is done, else trained, swept and stored.

        Of several processes one does it; the others wait, or without `wait` raise Busy.
        """
        evaluation = cell.evaluation
        self.made_of({evaluation.training.device: cell.train_device, evaluation.device: cell.device})
        known = self._finished(evaluation, force)
        if known is None or force:
            name = title(evaluation.training, evaluation.device)
            with alone(self.records.lock(evaluation.key), name, "does it", self.monitor, wait):
                known = self._finished(evaluation, force)  # it may be now
                if known is None or force:
                    return self._do(cell, command, None if known is None else key_of(known))
        self.monitor.say(f"{title(evaluation.training, evaluation.device)}: already done, {evaluation.key}")
        return self._with_samples(self._with_trials(known, evaluation), evaluation)

    def _finished(self, evaluation: Evaluation, force: bool) -> dict[str, Any] | None:
        try:
            known = self.records.load(evaluation.key)
        except BenchError:
            if not force:
                raise
            return None  # it is broken, and made again
        if not force and (refused := recording.refusal(known)):
            raise refused
        if known is None or known["status"] != "done":
            return None
        if not force:
            self.datasets.check_done(known, evaluation.training)
        return known

    def _do(self, cell: plan.Cell, command: str, replaces: str | None) -> dict[str, Any]:
        """Train, sweep, store; what goes wrong is stored too. `replaces`: names the record that was there."""
        evaluation = cell.evaluation
        try:
            done = self._record(evaluation, command, **self._measure(evaluation, replaces))
            self.records.save(done)
        except Exception as error:
            self.fail(cell, command, error)
            raise
        HalfSweep(self.home, evaluation.key).drop()
        if told := missing.told(done):
            self.monitor.say(told)
        return done

    def fail(self, cell: plan.Cell, command: str, error: Exception, root: str = "") -> None:
        """Record that a cell failed; `root`: the title of what failed and it rests on, if it could not begin.

        If even this can't be saved, the first error is the one to tell.

        Not of data that can't be had, or not so many samples: nothing was tried, and a mistyped folder would be in the
        leaderboard.
        """
        if isinstance(error, TaskError):
            return
        with suppress(BenchError, OSError):
            self.made_of({cell.evaluation.device: cell.device})
            reason = recording.why(error, root)
            self.records.save(self._record(cell.evaluation, command, status="failed", error=reason))

    def _record(self, evaluation: Evaluation, command: str, **measured: Any) -> dict[str, Any]:
        return recording.frame(evaluation, self._device(evaluation).axis, command, self.processor) | measured

    def made_of(self, sources: Mapping[str, str]) -> None:
        """Names of devices, and what makes each: its name, or the path of a fitted table."""
        self._sources |= sources

    def _with_trials(self, known: dict[str, Any], evaluation: Evaluation) -> dict[str, Any]:
        """A record that is done; one that was made before its settings were tuned now says by how many trials."""
        trials = saved.trials(self.records.folder.parent, evaluation)
        if trials > known["cost"].get("trials", 0):
            known["cost"]["trials"] = trials
            self.records.save(known)
        return known

    def _with_samples(self, known: dict[str, Any], evaluation: Evaluation) -> dict[str, Any]:
        """A record that is done; one from before records had samples gets them, if its network is still here."""

        def make() -> list[dict[str, Any]] | None:
            network, about = self._trained(evaluation.training)
            task, splits = self.task(evaluation.training)
            test = splits.test.head(min(samples.SAMPLES, evaluation.test_samples or len(splits.test)))
            rig = _rig(network, about, task, test, splits.val, self.adaptation(evaluation.training))
            return samples.table(evaluation, rig, self._device(evaluation), test)

        if self.data_dir is not None and "data" not in known:
            return known  # it may be of other data than those of this folder
        try:
            return samples.add(known, self.records, self.checkpoints, make)
        except (ValueError, RuntimeError, OSError) as error:
            self.monitor.say(f"record {evaluation.key} stays without samples: {in_one_line(error)}")
            return known

    def task(self, training: Training) -> tuple[Task, Splits]:
        """The task and its data, loaded once."""
        return self.datasets.of(training)

    def train(self, training: Training) -> nn.Module:
        """The trained network, from the checkpoint store if it is there."""
        network, _ = self._trained(training)
        return network

    def validate(
        self,
        training: Training,
        device: Device,
        levels: tuple[float, ...] | None,
        time_s: float | None,
        chips: int,
        watch: Watch | None = None,
    ) -> dict[float, float]:
        """Level -> mean metric over validation chips and the whole validation split; `watch`: of the training."""
        each = self.validate_each(training, device, levels, time_s, range(chips), watch)
        return {level: fmean(values) for level, values in each.items()}

    def validate_each(
        self,
        training: Training,
        device: Device,
        levels: tuple[float, ...] | None,
        time_s: float | None,
        chips: range,
        watch: Watch | None = None,
    ) -> dict[float, list[float]]:
        """The same for each of the validation chips with these numbers."""
        levels = device.axis.levels if levels is None else levels
        time_s = device.default_time_s if time_s is None else time_s
        for level in levels:
            device.check(level, time_s)
        network, about = self._trained(training, watch)
        task, splits = self.task(training)
        networks.check_groups(task, network, device.scales_by_tile)
        rig = _rig(network, about, task, splits.val, adaptation=self.adaptation(training))
        return dict(zip(levels, validate_each(rig, device, levels, chips=chips, time_s=time_s), strict=True))

    def _trained(self, training: Training, watch: Watch | None = None) -> tuple[nn.Module, dict[str, Any]]:
        task, _ = self.task(training)
        with alone(self.checkpoints.lock(training.key), title(training), "trains it", self.monitor):
            self.checkpoints.clear_leftovers(training.key)
            found = self.checkpoints.load(training.key)
            if found is None:
                self._fit(training, watch)
                found = self.checkpoints.load(training.key)
        assert found is not None
        tensors, about = found
        self.datasets.check(f"checkpoint {self.checkpoints.path(training.key)}", about, training)
        network = plan.framed(training, build_network(task, training, self.processor))
        try:
            fill(network, task, tensors, about)
        except (RuntimeError, ValueError) as error:
            raise misfit(self.checkpoints.path(training.key), error) from None
        return network, about

    def _fit(self, training: Training, watch: Watch | None) -> None:
        """Train and store. The costs of all trainings that this one rests on are kept beside its own."""
        task, splits = self.task(training)
        method = plan.method_of(training.method, training.settings)
        lineage: dict[str, Any] = {}
        of: list[Any] = []  # of what data the others are

        def train_other(other: Training) -> nn.Module:
            network, about = self._trained(other)
            lineage.update(about["lineage"], **{other.key: about["cost"]})
            of.append(about.get("data"))
            return network

        with self.monitor.work(title(training), 1) as work:
            context = TrainingContext(
                training,
                task=task,
                device=self._device(training),
                splits=splits,
                processor=self.processor,
                checkpoints=self.checkpoints,
                work=work,
                train_other=train_other,
                variant=plan.variant,
                watch=watch if method.shows_progress else None,
                cache=self.cache,
            )
            deployable = method.fit(context)
            tensors = deployable.network.state_dict()
            if name := not_finite(tensors):
                raise MethodError(f"training diverged: {name} is not finite; try a smaller --lr")
            work.ending = f", {context.cost['seconds']:.0f} s of it in its own training steps"
            data = None if None in of else context.data
            about = recording.trained(
                training, context.cost, lineage, deployable, self.adaptation(training), data, self.processor
            )
            self.checkpoints.save(training.key, tensors, about)

    def _device(self, of: Training | Evaluation) -> Device:
        """The training device of a Training, the test device of an Evaluation; each made once."""
        key = canonical([of.device, of.device_version, of.device_settings])
        if key not in self._devices:
            self._devices[key] = plan.device_of(self._sources.get(of.device, of.device), of.device_settings)
        return self._devices[key]

    def _measure(self, evaluation: Evaluation, replaces: str | None) -> dict[str, Any]:
        """Train or load, then sweep the test set. Levels that an interrupted sweep finished are kept."""
        training = evaluation.training
        task, splits = self.task(training)
        test = splits.test.head(evaluation.test_samples, "test-samples")
        network, about = self._trained(training)
        device = self._device(evaluation)
        began = time.perf_counter()
        adaptation = self.adaptation(training)
        rig = _rig(network, about, task, test, splits.val, adaptation)
        wanted, pilot = evaluation.chips.samples, None
        if isinstance(wanted, str):  # auto: chosen on the validation split, level by level
            val = splits.val.head(min(PILOT_SAMPLES, len(splits.val)))
            wanted, pilot = None, _rig(network, about, task, val, adaptation=adaptation)
        clean = rig.measure().checked("in the digital network")
        half = HalfSweep(self.home, evaluation.key, about["environment"]["created"], replaces, splits.fingerprint)
        levels, before_s = half.load()
        chips = evaluation.chips.minimum
        with self.monitor.work(f"sweep {title(training, evaluation.device)}", len(evaluation.points) * chips) as work:
            work.advance(len(levels) * chips)
            for level, time_s in evaluation.points[len(levels) :]:
                if pilot is not None:
                    wanted = best_samples(pilot, device, level=level, time_s=time_s)
                seen, policy = work.following(chips), evaluation.chips
                done = sweep_level(rig, device, level=level, time_s=time_s, policy=policy, samples=wanted, on_chip=seen)
                over_time = {"time_s": time_s} if evaluation.times_s else {}
                levels.append(done | over_time)
                work.note(**(over_time or {"level": level}), mean=fmean(done["chips"]))
                half.save(levels, before_s + time.perf_counter() - began)
                work.kept()
        results = self.records.folder.parent
        pictures.keep(results, evaluation, rig, device, test)
        shown = samples.table(evaluation, rig, device, test)
        return (
            {
                "status": "done",
                "clean": clean.metric,
                "levels": levels,
                "analog_weights": rig.analog_weights,
                "cost": recording.with_teachers(about) | {"trials": saved.trials(results, evaluation)},
                "training_environment": about["environment"],
                "sweep_seconds": before_s + time.perf_counter() - began,
            }
            | recording.adapting(adaptation, levels)
            | {name: about[name] for name in ("found", "data") if name in about}
            | ({"clean_details": clean.details} if clean.details else {})
            | ({"samples": shown} if shown else {})
        )

    def adaptation(self, training: Training) -> tuple[Adaptation, Split] | None:
        """What each of its chips does before it is measured, and the training samples that it gets for that."""
        adaptation = plan.method_of(training.method, training.settings).adaptation()
        if adaptation is None:
            return None
        _, splits = self.task(training)
        own = splits.train.head(training.budget.train_samples, "train-samples")
        return adaptation, own.head(min(adaptation.samples, len(own)))


def _rig(
    network: nn.Module,
    about: dict[str, Any],
    task: Task,
    split: Split,
    calibration: Split | None = None,
    adaptation: tuple[Adaptation, Split] | None = None,
) -> Rig:
    """A trained network, as its checkpoint says it was trained, on a split; `calibration`, `adaptation`: as for Rig."""
    return Rig(network, tuple(about["analog"]), task, split, about["training"]["precision"], calibration, adaptation)
