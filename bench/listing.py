"""What `bench list NAME` says of one method, device or task: everything that can be chosen."""

import dataclasses
from typing import Any

from bench import plan, registry, sweep
from bench.errors import BenchError
from bench.labels import in_unit, plain, time_text
from bench.registry import suggestion
from devices._base import Device
from devices._settings import Settings
from methods._base import Method
from tasks._base import Task


def about(name: str) -> list[str]:
    """Lines about every entry of that name, of whatever kind; a .json file is a device. BenchError if unknown."""
    kinds = [kind for kind in registry.KINDS if name in registry.entries(kind)]
    if name.endswith(".json"):
        kinds = ["devices"]
    if not kinds:
        known = {entry: None for kind in registry.KINDS for entry in registry.entries(kind)}
        raise BenchError(f"unknown name '{name}'{suggestion(name, known)}")
    lines = []
    for kind in kinds:
        entry = registry.entries(kind).get(name)
        lines.append(f"{kind[:-1]} {name}: {entry.summary}" if entry else f"{kind[:-1]} {name}")
        make: Any = {"devices": plan.device_of, "methods": plan.method_of, "tasks": plan.task_of}[kind]
        thing = make(name)
        lines += [f"  source: {plain(thing.source)}"] if thing.source else []
        lines.append(f"  version: {plan.version_of(type(thing)) if kind == 'methods' else thing.version}")
        tell: Any = {"devices": _device, "methods": _method, "tasks": _task}[kind]
        lines += tell(thing)
    return lines


def _device(device: Device) -> list[str]:
    axis = device.axis
    levels = ", ".join(f"{level:g}" for level in axis.levels)
    unit = f" ({axis.unit})" if axis.unit else ""
    lines = [
        f"  axis: {axis.name}{unit}, at most {axis.maximum:g}",
        f"  levels: {levels}",
        f"  training level: {axis.train_level:g}"
        if axis.train_level > 0
        else "  training level: none, nothing deviates",
        f"  mapping: {device.mapping}",
    ]
    if device.conductances_us is not None:
        lines.append("  conductances: {:g} to {:g} uS".format(*device.conductances_us))
    if device.times_s is None or device.default_time_s is None:
        lines.append("  times: none")
    else:
        first, last = device.times_s
        covered = f"{first:g} to {last:g} s since programming" if device.only_times_s is None else "only those"
        swept = ", ".join(map(time_text, sweep.usual_times(device)))
        lines.append(f"  times: {covered}, default {time_text(device.default_time_s)}; --sweep time: {swept}")
    return [*lines, *_settings(device.settings, "device")]


def _method(method: Method) -> list[str]:
    level = "of the device's training level, unless --level says otherwise"
    if not method.uses_device:
        level = "without a device, one run for all; --level means nothing"
    elif not method.uses_level:
        level = "over the device's whole axis; --level means nothing"
    lines = [f"  trains: {level}"]
    lines += [f"  rests on runs of: {', '.join(method.rests_on)}"] if method.rests_on else []
    return [*lines, *_settings(method.settings, method.name)]


def _task(task: Task) -> list[str]:
    return [
        f"  data: {task.dataset}",
        f"  metric: {in_unit(task.metric.name, task.metric.unit)}",
        f"  networks: {', '.join(task.networks)}, timm:NAME; the first unless --network says otherwise",
    ]


def _settings(settings: Settings, owner: str) -> list[str]:
    """A line a setting, as `--set` takes it, with its default."""
    fields = dataclasses.fields(settings)
    lines = ["  settings:" if fields else "  settings: none"]
    for f in fields:
        choices = f.metadata["choices"]
        among = f" (one of {', '.join(map(str, choices))})" if choices else ""
        lines.append(f"    --set {owner}.{f.name}={getattr(settings, f.name)}  {f.metadata['doc']}{among}")
    return lines
