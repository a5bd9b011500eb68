"""From what a user asked for to Trainings and Evaluations, with everything left unsaid filled in."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from bench import networks, presets, registry, sweep
from bench import settings as settings_
from bench.errors import BenchError
from bench.spec import ChipPolicy, Evaluation, Training
from devices._base import Device
from devices._measured import Measured
from methods._base import RECIPE, Budget, Method, MethodError
from tasks._base import Task


def method_of(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """A method with its settings; BenchError names an unknown or unusable one."""
    cls: type[Method] = registry.get("methods", name)
    return cls(settings_.make(f"method {name}", cls.Settings, settings or {}))


def device_of(name: str, settings: Mapping[str, Any] | None = None) -> Device:
    """A registered device, or one fitted to a lab's measurements if `name` is a .json file; with its settings."""
    cls = _device_class(name)
    chosen = settings_.make(f"device {name}", cls.Settings, settings or {}, cls.senseless)
    return Measured.from_file(Path(name), chosen) if name.endswith(".json") else cls(chosen)


def _device_class(name: str) -> type[Device]:
    if name.endswith(".csv"):
        raise BenchError(
            f"device {name}: cells are fitted first, `bench device fit {name}`, then name the .json it makes"
        )
    if not name.endswith(".json"):
        return registry.get("devices", name)
    if Path(name).stem in registry.entries("devices"):
        raise BenchError(f"device {name}: '{Path(name).stem}' is the name of another device; rename the file")
    return Measured


def task_of(name: str) -> Task:
    """A registered task."""
    return registry.get("tasks", name)()


def parse_settings(method: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Turn `key=text` into the types that the method's settings declare; drop what equals the default."""
    return settings_.parse(f"method {method}", registry.get("methods", method).Settings, given)


def parse_device_settings(device: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The same for a device's settings."""
    cls = _device_class(device)
    return settings_.parse(f"device {device}", cls.Settings, given, cls.senseless)


def trained_by(name: str, settings: Mapping[str, Any]) -> type[Method]:
    """The method that trains the weights: the one of that name, or the one that it wraps. BenchError if it can't."""
    cls: type[Method] = registry.get("methods", name)
    if not cls.wraps:
        return cls
    wrapped = getattr(method_of(name, settings).settings, cls.wraps)
    inner: type[Method] = registry.get("methods", wrapped)
    if inner.wraps:
        raise BenchError(f"setting {cls.wraps}={wrapped}: wraps another method itself; must be one that trains")
    return inner


def framed(training: Training, network: nn.Module) -> nn.Module:
    """The module that a training's weights are loaded into, made of a fresh network."""
    own = trained_by(training.method, training.settings)
    settings = training.settings if own.name == training.method else {}
    return method_of(own.name, settings).frame(network, task_of(training.task).analog(network))


def normalise(training: Training) -> Training:
    """The Training that really happens: what the method doesn't use is set to one value, so runs are shared."""
    cls = trained_by(training.method, training.settings)
    if not cls.uses_device:
        ideal = device_of("ideal")
        training = dataclasses.replace(
            training, device=ideal.name, device_version=ideal.version, device_settings={}, level=0.0, time_s=None
        )
    if not cls.uses_level:
        training = dataclasses.replace(training, level=0.0)
    if not cls.finetunes:
        budget = dataclasses.replace(training.budget, finetune_epochs=0, finetune_lr=0.0)
        training = dataclasses.replace(training, budget=budget)
    return training


def uses_level(method: str, settings: Mapping[str, Any] | None = None) -> bool:
    """Does a method, or the one that it wraps, train at one level of a device?"""
    cls = trained_by(method, settings or {})
    return cls.uses_device and cls.uses_level


def version_of(cls: type[Method], settings: Mapping[str, Any] | None = None) -> str:
    """A method's version, and those of all that it rests on: '1', or '1+nominal=1'."""
    names = _rests_on(cls, settings or {})
    return "+".join([cls.version, *(f"{name}={registry.get('methods', name).version}" for name in names)])


def _rests_on(cls: type[Method], settings: Mapping[str, Any]) -> list[str]:
    """Names of the methods whose runs a method asks for, theirs included, sorted."""
    found: set[str] = set()
    waiting = [*cls.rests_on, *([trained_by(cls.name, settings).name] if cls.wraps else [])]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting.extend(registry.get("methods", name).rests_on)
    return sorted(found)


def variant(training: Training, method: str, level: float | None, settings: Mapping[str, Any]) -> Training:
    """The same task, network, device, seed and budget with another method, level or settings."""
    if method not in _rests_on(registry.get("methods", training.method), training.settings):
        raise MethodError(f"method {training.method} asks for a run of {method}, which its rests_on does not name")
    cls: type[Method] = registry.get("methods", method)
    return normalise(
        dataclasses.replace(
            training,
            method=method,
            method_version=version_of(cls, settings),
            settings=dict(settings),
            level=training.level if level is None else level,
        )
    )


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asked for; None means: what the preset, the task or the device says.

    `train_on`: the device to train on, the test device if None; `sweep`: level, or time, at `times`; `budget`: preset,
    or matched (bench/matched.py).
    """

    methods: tuple[str, ...]
    devices: tuple[str, ...]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    preset: str
    precision: str
    network: str | None = None
    width: float | None = None
    level: float | None = None
    levels: tuple[float, ...] | None = None
    time_s: float | None = None
    train_on: str | None = None
    sweep: str = "level"
    budget: str = "preset"
    times: tuple[float, ...] | None = None
    epochs: int | None = None
    finetune_epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    chips: int | None = None
    half_width: float | None = None
    samples_per_chip: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    device_settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One Evaluation and where its devices come from (names, or paths of fitted tables)."""

    evaluation: Evaluation
    device: str
    train_device: str


def cells(request: Request) -> list[Cell]:
    """The cross product at the preset's budget, in the order asked for, each cell once. Raises for bad input."""
    _check_numbers(request)
    product = itertools.product(request.tasks, request.seeds, request.devices, request.methods)
    made = [_cell(request, *names) for names in product]
    return list({cell.evaluation.key: cell for cell in made}.values())


def _cell(request: Request, task: str, seed: int, device: str, method: str) -> Cell:
    evaluation = _evaluation(request, task, seed, device, method)
    normalised = evaluation.training.device == "ideal"  # whatever device was named
    return Cell(evaluation, device, "ideal" if normalised else request.train_on or device)


def _evaluation(request: Request, task_name: str, seed: int, device_name: str, method: str) -> Evaluation:
    task, (device, device_settings) = task_of(task_name), _set_device(device_name, request)
    preset = presets.get(request.preset, task.presets)
    cls: type[Method] = registry.get("methods", method)
    settings = parse_settings(method, settings_.own(method, request.settings))
    swept, usually = sweep.of(device, request.sweep, request.levels, request.times, request.time_s)
    network = request.network or preset.network or task.networks[0]
    width = preset.width if request.width is None else request.width
    if network.startswith("timm:") and request.width is None:
        width = 1.0  # timm's networks carry their width in their name
    networks.check(task_name, network, width, device.scales_by_tile)
    budget, policy = budget_of(request, task), _policy(request, preset, task)
    sweep.check_room(swept, policy, task)
    test_samples = preset.test_samples if request.test_samples is None else request.test_samples
    training = Training(
        task=task.name,
        task_version=task.version,
        network=network,
        width=width,
        method=cls.name,
        method_version=version_of(cls, settings),
        settings=settings,
        budget=budget,
        precision=request.precision,
        seed=seed,
        recipe=RECIPE,
        **_trained_at(request, device_name, trained_by(method, settings)),
    )
    # Does the preset still say what was done? If not, its name gets a star on every table.
    usual = (preset.network or task.networks[0], preset.width, preset.budget, preset.chips, preset.test_samples)
    as_preset = (network, width, budget, policy, test_samples) == usual and usually
    return Evaluation(
        training=normalise(training),
        device=device.name,
        device_version=device.version,
        device_settings=device_settings,
        chips=policy,
        preset=preset.name if as_preset else f"{preset.name}*",
        test_samples=test_samples,
        **swept,
    )


def _set_device(name: str, request: Request) -> tuple[Device, dict[str, Any]]:
    """A device and its settings, as the request sets it."""
    settings = parse_device_settings(name, request.device_settings)
    return device_of(name, settings), settings


def _trained_at(request: Request, test_device: str, method: type[Method]) -> dict[str, Any]:
    """The fields of a Training that say where it trains."""
    if request.train_on == "ideal" != test_device and method.uses_device:
        raise BenchError("train-on ideal: has no deviation to train for; method nominal is what trains without any")
    device, settings = _set_device(request.train_on or test_device, request)
    level = device.axis.train_level if request.level is None else request.level
    # One time holds for both devices; but of two devices, or where time is swept, only one can be meant
    meant = request.time_s is not None and (request.train_on in (None, test_device) or request.sweep == "time")
    time_s = request.time_s if meant else device.default_time_s
    device.check(level, time_s)
    return {
        "device": device.name,
        "device_version": device.version,
        "device_settings": settings,
        "level": level,
        "time_s": time_s,
    }


_BUDGET = ("epochs", "finetune_epochs", "batch_size", "lr", "train_samples")


def budget_of(request: Request, task: Task) -> Budget:
    """The budget that the preset has for a task, with what the request says of it."""
    chosen = {name: getattr(request, name) for name in _BUDGET if getattr(request, name) is not None}
    return dataclasses.replace(presets.get(request.preset, task.presets).budget, **chosen)


def _check_numbers(request: Request) -> None:
    """Raise BenchError for what no run can have; the rest is checked where it is used."""
    if request.sweep not in ("level", "time"):
        raise BenchError(f"sweep '{request.sweep}': must be level or time")
    if request.times is not None and request.sweep != "time":
        raise BenchError("times: they are for --sweep time; --time is the one time of a sweep of levels")
    for name in (*_BUDGET, "width", "test_samples", "half_width"):
        value = getattr(request, name)
        if value is None or (name == "finetune_epochs" and value == 0):
            continue
        if not (math.isfinite(value) and value > 0):
            raise BenchError(f"{name.replace('_', '-')} {value:g}: must be above 0")
        if name in ("batch_size", "train_samples") and value < 2:
            raise BenchError(f"{name.replace('_', '-')} {value:g}: must be at least 2, for the statistics of a batch")


def _policy(request: Request, preset: presets.Preset, task: Task) -> ChipPolicy:
    policy = preset.chips
    if request.chips is not None:
        policy = ChipPolicy(minimum=request.chips, maximum=request.chips, half_width=None)
    if request.half_width is not None:
        maximum = max(policy.maximum, 200) if request.chips is None else request.chips
        policy = ChipPolicy(minimum=min(10, maximum), maximum=maximum, half_width=request.half_width)
    given = request.samples_per_chip
    if given is not None:
        if given != "all" and type(task).overall is not Task.overall:
            raise BenchError(f"samples-per-chip {given}: {task.name}'s {task.metric.name} is not a mean over samples")
        samples = int(given) if given.isdecimal() else given
        policy = dataclasses.replace(policy, samples=None if samples == "all" else samples)
    return policy
