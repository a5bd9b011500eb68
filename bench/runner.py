"""One cell: train (or load), sweep, record. A failed cell is recorded and the rest go on."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import nn

from bench import networks, pictures, plan, recording
from bench.context import TrainingContext, Watch, build_network, input_ranges
from bench.environment import environment
from bench.errors import BenchError
from bench.files import write_text
from bench.labels import title
from bench.montecarlo import PILOT_SAMPLES, best_samples, sweep_level, validate_each
from bench.progress import Monitor
from bench.rig import Rig
from bench.spec import Evaluation, Training, canonical
from bench.store import Checkpoints, Records, misfit
from bench.tuning import saved
from devices._base import Device
from devices._ranges import LearnedRanges
from methods._base import Adaptation
from tasks._base import Split, Splits, Task


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
        self.home, self.data_dir = home, data_dir
        self.processor, self.monitor = processor, monitor
        self.checkpoints = Checkpoints(home / "checkpoints")
        self.records = Records(results)
        self._splits: dict[str, Splits] = {}
        self._devices: dict[str, Device] = {}
        self._sources: dict[str, str] = {}

    def run(self, cell: plan.Cell, command: str, force: bool = False) -> dict[str, Any]:
        """The record of a cell: from the store if it is done, else trained, swept and stored."""
        evaluation = cell.evaluation
        self.made_of({evaluation.training.device: cell.train_device, evaluation.device: cell.device})
        if force:
            self._drop_older_sweep(evaluation.key)
        elif (known := self.records.load(evaluation.key)) is not None and known["status"] == "done":
            self.monitor.say(f"{title(evaluation.training, evaluation.device)}: already done, {evaluation.key}")
            return self._with_trials(known, evaluation)

        try:
            measured = self._measure(evaluation)
        except Exception as error:
            self.fail(cell, command, f"{type(error).__name__}: {error}")
            raise
        done = self._record(evaluation, command, **measured)
        self.records.save(done)
        self._partial_sweep(evaluation.key).unlink(missing_ok=True)
        return done

    def fail(self, cell: plan.Cell, command: str, reason: str) -> None:
        """Record that a cell failed. If even this can't be saved, the first error is the one to tell."""
        with suppress(BenchError, OSError):
            self.made_of({cell.evaluation.device: cell.device})
            reason = reason.replace("\n", " ")
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

    def task(self, training: Training) -> tuple[Task, Splits]:
        """The task and its data, loaded once."""
        task = plan.task_of(training.task)
        if training.task not in self._splits:
            self._splits[training.task] = task.splits(self.home / "data", self.data_dir)
        return task, self._splits[training.task]

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
        return {level: sum(values) / len(values) for level, values in each.items()}

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
        rig = _rig(network, about, task, splits.val, adaptation=self._adaptation(training))
        return dict(zip(levels, validate_each(rig, device, levels, chips=chips, time_s=time_s), strict=True))

    def _trained(self, training: Training, watch: Watch | None = None) -> tuple[nn.Module, dict[str, Any]]:
        task, _ = self.task(training)
        with self._alone(training):
            found = self.checkpoints.load(training.key)
            if found is None:
                self._fit(training, watch)
                found = self.checkpoints.load(training.key)
        assert found is not None
        tensors, about = found
        network = plan.framed(training, build_network(task, training, self.processor))
        try:
            network.load_state_dict(tensors)
            for name in about["analog"]:
                network.get_parameter(name)
        except (RuntimeError, AttributeError) as error:
            raise misfit(self.checkpoints.path(training.key), error) from None
        if about.get("input_ranges"):
            network.input_ranges = LearnedRanges(about["input_ranges"])  # type: ignore[assignment]
        return network, about

    @contextmanager
    def _alone(self, training: Training) -> Iterator[None]:
        """No other process trains this meanwhile; if one does, say so and wait."""
        lock = self.checkpoints.lock(training.key)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.monitor.say(f"{title(training)}: another process trains it; waiting")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _fit(self, training: Training, watch: Watch | None) -> None:
        """Train and store. The costs of all trainings that this one rests on are kept beside its own."""
        task, splits = self.task(training)
        method = plan.method_of(training.method, training.settings)
        lineage: dict[str, Any] = {}

        def train_other(other: Training) -> nn.Module:
            network, about = self._trained(other)
            lineage.update(about["lineage"], **{other.key: about["cost"]})
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
                cache=self.home / "data",
            )
            deployable = method.fit(context)
            work.ending = f", {context.cost['seconds']:.0f} s of it in its own training steps"
            about = {
                "training": training.as_dict(),
                "cost": context.cost,
                "lineage": lineage,
                "analog": list(deployable.analog),
                "environment": environment(self.processor),
            }
            if (adapts := self._adaptation(training)) is not None:
                about["adaptation"] = {"samples_a_chip": len(adapts[1])}
            if deployable.found:
                about["found"] = dict(deployable.found)
            if ranges := input_ranges(deployable.network):
                about["input_ranges"] = ranges
            self.checkpoints.save(training.key, deployable.network.state_dict(), about)

    def _device(self, of: Training | Evaluation) -> Device:
        """The training device of a Training, the test device of an Evaluation; each made once."""
        key = canonical([of.device, of.device_version, of.device_settings])
        if key not in self._devices:
            self._devices[key] = plan.device_of(self._sources.get(of.device, of.device), of.device_settings)
        return self._devices[key]

    def _measure(self, evaluation: Evaluation) -> dict[str, Any]:
        """Train or load, then sweep the test set. Levels that an interrupted sweep finished are kept."""
        training = evaluation.training
        task, splits = self.task(training)
        test = splits.test.head(evaluation.test_samples, "test-samples")
        network, about = self._trained(training)
        device = self._device(evaluation)
        began = time.perf_counter()
        adaptation = self._adaptation(training)
        rig = _rig(network, about, task, test, splits.val, adaptation)
        wanted, pilot = evaluation.chips.samples, None
        if isinstance(wanted, str):  # auto: chosen on the validation split, level by level
            val = splits.val.head(min(PILOT_SAMPLES, len(splits.val)))
            wanted, pilot = None, _rig(network, about, task, val, adaptation=adaptation)
        clean = rig.measure()
        born = about["environment"]["created"]
        levels, before_s = self._finished_levels(evaluation.key, born)
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
                work.note(**(over_time or {"level": level}), mean=sum(done["chips"]) / len(done["chips"]))
                kept = {"levels": levels, "seconds": before_s + time.perf_counter() - began, "trained": born}
                write_text(self._partial_sweep(evaluation.key), json.dumps(kept))
                work.kept()
        results = self.records.folder.parent
        pictures.keep(results, evaluation, rig, device, test)
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
            | {name: about[name] for name in ("found",) if name in about}
            | ({"clean_details": clean.details} if clean.details else {})
        )

    def _adaptation(self, training: Training) -> tuple[Adaptation, Split] | None:
        """What each of its chips does before it is measured, and the training samples that it gets for that."""
        adaptation = plan.method_of(training.method, training.settings).adaptation()
        if adaptation is None:
            return None
        _, splits = self.task(training)
        own = splits.train.head(training.budget.train_samples, "train-samples")
        return adaptation, own.head(min(adaptation.samples, len(own)))

    def _partial_sweep(self, key: str) -> Path:
        return self.home / "sweeps" / f"{key}.json"

    def _drop_older_sweep(self, key: str) -> None:
        """Forget levels that are older than the record, so not of an interrupted attempt at replacing it."""
        partial, record = self._partial_sweep(key), self.records.find(key)
        if record is not None and partial.exists() and partial.stat().st_mtime_ns < record.stat().st_mtime_ns:
            partial.unlink()

    def _finished_levels(self, key: str, born: str) -> tuple[list[dict[str, Any]], float]:
        """Levels and seconds of an interrupted sweep of this very network (`born`: when it was trained)."""
        path = self._partial_sweep(key)
        if not path.exists():
            return [], 0.0
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return (list(kept["levels"]), float(kept["seconds"])) if kept["trained"] == born else ([], 0.0)
        except (ValueError, KeyError, TypeError):
            raise BenchError(f"half-finished sweep {path} is broken; delete it to sweep again") from None


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
