"""What an Evaluation sweeps: a device's levels at one time, or its times at one level."""

from typing import Any

from bench import limits, registry
from bench.errors import BenchError
from bench.spec import ChipPolicy
from devices._base import Device
from tasks._base import Task

HOUR_S, DAY_S = 3600.0, 86_400.0
TIMES_S = (1.0, HOUR_S, DAY_S, 30 * DAY_S, 365 * DAY_S)


def usual_times(device: Device) -> tuple[float, ...]:
    """The times of a device's time sweep, ascending: TIMES_S as far as its source reaches, or the only ones it has.

    The ends of what was measured where fewer than two of TIMES_S lie within. BenchError for a device without time.
    """
    if device.times_s is None:
        timed = (name for name in registry.entries("devices") if registry.get("devices", name).times_s is not None)
        raise BenchError(
            f"device {device.name} has no time axis: --sweep time is for {', '.join(timed)} and fitted tables"
        )
    if device.only_times_s is not None:
        return device.only_times_s
    first, last = device.times_s
    within = tuple(time_s for time_s in TIMES_S if first <= time_s <= last)
    return within if len(within) > 1 else tuple(sorted({first, last}))


def of(
    device: Device,
    sweep: str,
    levels: tuple[float, ...] | None,
    times: tuple[float, ...] | None,
    time_s: float | None,
) -> tuple[dict[str, Any], bool]:
    """The fields of an Evaluation that say what it sweeps, and whether that is what the device usually gets.

    None: what the device says. Raises for levels and times that the device hasn't, or more than a record may hold.
    """
    for name, values in (("levels", levels), ("times", times)):
        if values is not None and len(values) > limits.LEVELS:
            raise BenchError(f"{name}: {len(values):,} of them, must be at most {limits.LEVELS:,}")
    if sweep == "time":
        return _over_time(device, levels, times)
    time_s = device.default_time_s if time_s is None else time_s
    chosen = tuple(sorted(set(device.axis.levels if levels is None else levels)))
    for level in chosen:
        device.check(level, time_s)
    return {"levels": chosen, "time_s": time_s}, chosen == tuple(sorted(device.axis.levels))


def _over_time(
    device: Device, levels: tuple[float, ...] | None, times: tuple[float, ...] | None
) -> tuple[dict[str, Any], bool]:
    usual, usual_level = usual_times(device), device.axis.usual_level
    if levels is not None and len(levels) != 1:
        raise BenchError(f"levels {','.join(f'{level:g}' for level in levels)}: a time sweep is at one level; give one")
    level = usual_level if levels is None else levels[0]
    chosen = tuple(sorted(set(usual if times is None else times)))
    for time_s in chosen:
        device.check(level, time_s)
    return {"levels": (level,), "time_s": None, "times_s": chosen}, (chosen, level) == (usual, usual_level)


def check_room(swept: dict[str, Any], policy: ChipPolicy, task: Task) -> None:
    """BenchError, before anything is trained, if the chips may become more than a record has room for."""
    what = "times" if "times_s" in swept else "levels"
    points = len(swept.get("times_s", swept["levels"]))
    has_further = type(task).details is not Task.details or type(task).derived is not Task.derived
    each = 1 + limits.FURTHER if has_further else 1
    if (numbers := points * policy.maximum * each) > limits.NUMBERS:
        further = f" and up to {limits.FURTHER} further metrics of {task.name}" if has_further else ""
        raise BenchError(
            f"chips {policy.maximum:,} at each of {points:,} {what}: {numbers:,} numbers, for the metric{further}; "
            f"a record holds at most {limits.NUMBERS:,}, so take fewer chips or {what}"
        )
