"""What a record must hold, so that no reader stumbles over a file, and how such a list is checked."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from types import UnionType
from typing import Any

from bench import limits

NUMBER = int | float
# (part, type, names of its fields of that type); * stands for every entry of a list or a mapping.
Shape = tuple[tuple[str, type | UnionType, str], ...]
RECORD: Shape = (
    ("", int, "schema"),
    ("", str, "key status training_key command"),
    ("", str | None, "error"),
    ("", NUMBER | None, "clean"),
    ("", list, "levels"),
    ("", dict, "environment"),
    ("evaluation", str, "device device_version preset"),
    ("evaluation", NUMBER | None, "time_s"),
    ("evaluation", int | None, "test_samples"),
    ("evaluation", list, "levels"),
    ("evaluation.levels", NUMBER, "*"),
    ("evaluation.chips", int, "minimum"),
    ("evaluation.training", str, "task task_version network method method_version device device_version"),
    ("evaluation.training", str, "precision recipe"),
    ("evaluation.training", NUMBER, "width level"),
    ("evaluation.training", NUMBER | None, "time_s"),
    ("evaluation.training", int, "seed"),
    ("evaluation.training", dict, "settings budget"),
    ("task", str, "dataset metric unit"),
    ("task", bool, "higher_is_better"),
    ("axis", str, "name unit"),
    ("levels.*", NUMBER, "level"),
    ("levels.*", list, "chips"),
    ("levels.*.chips", NUMBER, "*"),
    ("levels.*", int, "first_stage"),
    ("levels.*", NUMBER | None, "ekl"),
    ("levels.*", int | None, "samples"),
    ("cost", NUMBER, "epochs samples seconds teacher_samples teacher_seconds"),
)
# The same, of fields that older records lack.
OPTIONAL: Shape = (
    ("", NUMBER, "sweep_seconds"),
    ("", dict, "training_environment"),
    ("evaluation.chips", NUMBER | None, "maximum half_width"),
    ("evaluation.training.budget", NUMBER | None, "epochs finetune_epochs batch_size lr train_samples"),
)
LATER_COSTS = (
    "forward_passes backward_passes trials teacher_epochs teacher_forward_passes teacher_backward_passes".split()
)  # of records that were made since they are counted


def check_record(record: Any) -> None:
    """Raise ValueError, in one line, unless every table can be made with the record."""
    check(record, RECORD)
    check(record, OPTIONAL, may_lack=True)
    for name in ("key", "training_key"):  # both become names of files
        if not re.fullmatch(r"[0-9a-f]{16}", record[name]):
            raise ValueError(f"{name} is {record[name]!r:.40}, must be 16 of 0-9a-f")
    for part in (record["evaluation"], record["evaluation"]["training"], record["task"], record["axis"]):
        for name, value in part.items():
            if isinstance(value, str) and len(value) > limits.NAME:
                raise ValueError(f"{name:.40} has {len(value):,} letters, must have at most {limits.NAME:,}")
    if not _fits(record["task"].get("yield_loss", 0.0), NUMBER):
        raise ValueError("task.yield_loss must be a number")
    for part in (record["evaluation"], record["evaluation"]["training"]):
        if not isinstance(part.get("device_settings", {}), dict):
            raise ValueError(f"device_settings is {part['device_settings']!r:.40}, must be dict")
    planned, measured = record["evaluation"]["levels"], record["levels"]
    times = record["evaluation"].get("times_s")
    if times is not None and not (isinstance(times, list) and times and all(_fits(t, NUMBER) for t in times)):
        raise ValueError(f"evaluation.times_s is {times!r:.40}, must be a list of times")
    if times is not None and (len(planned) != 1 or len(set(times)) != len(times)):
        raise ValueError("a sweep of times, must be of times that differ at one level")
    if not planned or len(set(planned)) != len(planned):
        raise ValueError(f"evaluation.levels is {planned!r:.40}, must be levels that differ")
    if record["status"] not in ("done", "failed"):
        raise ValueError(f"status is {record['status']!r}, must be done or failed")
    if record["status"] == "failed" and measured:
        raise ValueError("levels of a failed run, must be none")
    if record["status"] == "done" and record["clean"] is None:
        raise ValueError("clean is None, must be a number")
    points = [(level, None) for level in planned] if times is None else [(planned[0], time_s) for time_s in times]
    if record["status"] == "done" and [(level["level"], level.get("time_s")) for level in measured] != points:
        raise ValueError(f"levels are not those of the evaluation{'' if times is None else ', or its times'}")
    if any(not _fits(level.get("read_power_w", 0.0), NUMBER) for level in measured):
        raise ValueError("read_power_w of a level must be a number")
    for name in LATER_COSTS:
        if not _fits(record["cost"].get(name, 0), NUMBER):
            raise ValueError(f"cost.{name} is {record['cost'][name]!r:.40}, must be a number")
    if (adaptation := record.get("adaptation")) is not None:
        check(adaptation, (("", NUMBER, "samples_a_chip forward_passes"),))
    if not _fits(record.get("analog_weights", 0), int):
        raise ValueError(f"analog_weights is {record['analog_weights']!r:.40}, must be int")
    if "found" in record:
        check(record, (("found", NUMBER, "*"),))
    details = record.get("clean_details", {})
    if not isinstance(details, dict) or any(level.get("details", {}).keys() != details.keys() for level in measured):
        raise ValueError("details of a level must be those of the clean network")
    check([level.get("details", {}) for level in measured], (("*", list, "*"), ("*.*", NUMBER, "*")))
    if any(not level["chips"] or level["first_stage"] < 1 for level in measured):
        raise ValueError("a level has no chips or a first_stage below 1")


def check(data: Any, shape: Shape, may_lack: bool = False) -> None:
    """Raise ValueError that names the first field that is of another type or, unless it `may_lack`, missing."""
    for part, kind, names in shape:
        if _holds(data, part, kind, names):
            continue
        for name in names.split():
            for path, value in _at(data, f"{part}.{name}".strip(".").split("."), "", may_lack):
                if not _fits(value, kind):
                    right = kind.__name__ if isinstance(kind, type) else kind
                    raise ValueError(f"{path} is {value!r:.40}, must be {right}")


def _holds(data: Any, part: str, kind: type | UnionType, names: str) -> bool:
    """Is a rule of a shape kept, beyond doubt? Much faster than finding out where it isn't."""
    steps, last, kinds = _rule(part, kind, names)
    found = [data]
    try:
        for step in steps:
            found = [value for one in found for value in (_entries(one) if step == "*" else (one[step],))]
        for one in found:
            for name in last:
                for value in _entries(one) if name == "*" else (one[name],):
                    of = type(value)
                    if of not in kinds or (of in (int, float) and not -1e100 < value < 1e100):
                        return False
    except (KeyError, TypeError, IndexError):
        return False
    return True


@cache
def _rule(part: str, kind: type | UnionType, names: str) -> tuple[list[str], list[str], frozenset[type]]:
    kinds = kind.__args__ if isinstance(kind, UnionType) else (kind,)
    return [step for step in part.split(".") if step], names.split(), frozenset(kinds)


def _entries(value: Any) -> Iterable[Any]:
    if type(value) is dict:
        return value.values()
    if type(value) is list:
        return value
    raise TypeError


def _at(data: Any, steps: list[str], path: str, may_lack: bool) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that the steps lead to."""
    if not steps:
        yield path.strip("."), data
        return
    step, *rest = steps
    if step == "*" and isinstance(data, list):
        found: Iterable[tuple[Any, Any]] = enumerate(data)
    elif step == "*" and isinstance(data, dict):
        found = data.items()
    elif isinstance(data, dict) and step in data:
        found = [(step, data[step])]
    elif may_lack:
        return
    else:
        raise ValueError(f"no '{path}{step}'")
    for name, value in found:
        yield from _at(value, rest, f"{path}{name}.", may_lack)


def _fits(value: Any, kind: type | UnionType) -> bool:
    # Python takes True for 1; and sums of squares must stay finite.
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) and (not isinstance(value, int | float) or abs(value) < 1e100)
