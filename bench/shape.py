"""What a record must hold, so that no reader stumbles over a file, and how such a list is checked."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Any

from bench import limits

NUMBER = int | float
NUMBERS = frozenset((int, float))
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
    ("", dict, "training_environment found clean_details adaptation"),
    ("", int, "analog_weights"),
    ("adaptation", NUMBER, "samples_a_chip forward_passes"),
    ("found", NUMBER, "*"),
    ("clean_details", NUMBER, "*"),
    ("environment", NUMBER | None, "peak_memory_mib"),
    ("training_environment", NUMBER | None, "peak_memory_mib"),
    ("task", NUMBER, "yield_loss"),
    ("cost", NUMBER, "forward_passes backward_passes trials"),
    ("cost", NUMBER, "teacher_epochs teacher_forward_passes teacher_backward_passes"),
    ("evaluation", dict, "device_settings"),
    ("evaluation", list, "times_s"),
    ("evaluation.times_s", NUMBER, "*"),
    ("evaluation.chips", NUMBER | None, "maximum half_width"),
    ("evaluation.chips", int | str | None, "samples"),
    ("evaluation.training", dict, "device_settings"),
    ("evaluation.training.budget", NUMBER | None, "epochs finetune_epochs batch_size lr train_samples"),
    ("evaluation.training.budget", NUMBER | None, "finetune_lr weight_decay momentum"),
    ("evaluation.training.budget", str, "anneal optimizer"),
)
# Of which data something was made (bench/provenance.py)
DATA: Shape = (("", dict, "data"), ("data", int, "train val test"), ("data", str, "sha256"))
# Of entries of `levels`, which differ in what they have.
MEASURED: Shape = (
    ("*", dict, "details"),
    ("*.details", list, "*"),
    ("*.details.*", NUMBER, "*"),
    ("*", NUMBER, "read_power_w read_energy_j"),
)
# Of test samples that a record shows: `right` says of each of the answers, the digital network's first, if it is.
SAMPLES: Shape = (
    ("", list, "samples"),
    ("samples.*", str, "given wanted"),
    ("samples.*", list, "answers right"),
    ("samples.*.answers", str, "*"),
    ("samples.*.right", bool, "*"),
)


def check_record(record: Any) -> None:
    """Raise ValueError, in one line, unless every table can be made with the record."""
    check(record, RECORD)
    check(record, OPTIONAL, may_lack=True)
    check_data(record)
    for name in ("key", "training_key"):  # both become names of files
        if not re.fullmatch(r"[0-9a-f]{16}", record[name]):
            raise ValueError(f"{name} is {record[name]!r:.40}, must be 16 of 0-9a-f")
    for part in (record["evaluation"], record["evaluation"]["training"], record["task"], record["axis"]):
        for name, value in part.items():
            if isinstance(value, str) and len(value) > limits.NAME:
                raise ValueError(f"{name:.40} has {len(value):,} letters, must have at most {limits.NAME:,}")
    planned, measured = record["evaluation"]["levels"], record["levels"]
    times = record["evaluation"].get("times_s")
    if (most := max(len(planned), len(measured), len(times or ()))) > limits.LEVELS:
        raise ValueError(f"{most:,} levels or times, must be at most {limits.LEVELS:,}")
    if times is not None and not times:
        raise ValueError("evaluation.times_s is empty, must be a list of times")
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
    _check_measured(measured, record.get("clean_details", {}))
    if "samples" in record:
        _check_samples(record, 1 + len(points))


def _check_samples(record: dict[str, Any], answers: int) -> None:
    """The test samples that a record shows, each with so many answers."""
    check(record, SAMPLES)
    if len(found := record["samples"]) > limits.SAMPLES:
        raise ValueError(f"samples are {len(found):,}, must be at most {limits.SAMPLES}")
    for i, sample in enumerate(found):
        for name in ("answers", "right"):
            if len(sample[name]) != answers:
                raise ValueError(f"samples.{i}.{name} has {len(sample[name]):,} entries, must have {answers:,}")
        if (most := max(map(len, (sample["given"], sample["wanted"], *sample["answers"])))) > limits.NAME:
            raise ValueError(f"samples.{i} has a text of {most:,} letters, must have at most {limits.NAME:,}")


def check_data(owner: Mapping[str, Any]) -> None:
    """Raise ValueError unless the fingerprint of its data is one, if it has any."""
    if "data" not in owner:
        return
    check(owner, DATA)
    if not re.fullmatch(r"[0-9a-f]{64}", found := owner["data"]["sha256"]):
        raise ValueError(f"data.sha256 is {found!r:.40}, must be 64 of 0-9a-f")


def _check_measured(levels: list[dict[str, Any]], clean_details: dict[str, Any]) -> None:
    """What the levels hold, beyond the types of what each must have."""
    check(levels, MEASURED, may_lack=True)
    if any(level.get("details", {}).keys() != clean_details.keys() for level in levels):
        raise ValueError("details of a level must be those of the clean network")
    if any(not values for level in levels for values in level.get("details", {}).values()):
        raise ValueError("details of a level must be of at least one chip")
    if any(not level["chips"] or level["first_stage"] < 1 for level in levels):
        raise ValueError("a level has no chips or a first_stage below 1")
    if (most := max((len(level["chips"]) for level in levels), default=0)) > limits.CHIPS:
        raise ValueError(f"a level has {most:,} chips, must have at most {limits.CHIPS:,}")


def check(data: Any, shape: Shape, may_lack: bool = False) -> None:
    """Raise ValueError that names the first field that is of another type or, unless it `may_lack`, missing."""
    if _holds(data, shape, may_lack):
        return
    for part, kind, names in shape:
        for name in names.split():
            for path, value in _at(data, f"{part}.{name}".strip(".").split("."), "", may_lack):
                if not _fits(value, kind):
                    right = kind.__name__ if isinstance(kind, type) else kind
                    raise ValueError(f"{path} is {value!r:.40}, must be {right}")


def _holds(data: Any, shape: Shape, may_lack: bool) -> bool:
    """Is a shape kept, beyond doubt? Much faster than finding out where it isn't."""
    most = limits.NUMBER
    try:
        for steps, rules in _rules(shape):
            found = [data]
            for step in steps:
                if step == "*":
                    found = [value for one in found for value in _entries(one)]
                else:
                    found = [one[step] for one in found if not may_lack or step in one]
            for one in found:
                for name, kinds in rules:
                    if name == "*":
                        values = _entries(one)
                        if not kinds.issuperset(map(type, values)):
                            return False
                        if kinds == NUMBERS and values and not (-most < min(values) and max(values) < most):
                            return False
                    elif not may_lack or name in one:
                        value = one[name]
                        of = type(value)
                        if of not in kinds or (of in NUMBERS and not -most < value < most):
                            return False
    except (KeyError, TypeError, IndexError):
        return False
    return True


@cache
def _rules(shape: Shape) -> list[tuple[list[str], list[tuple[str, frozenset[type]]]]]:
    """(steps to a part, [(name, its types)]) of each part of a shape."""
    parts: dict[str, list[tuple[str, frozenset[type]]]] = {}
    for part, kind, names in shape:
        kinds = frozenset(kind.__args__ if isinstance(kind, UnionType) else (kind,))
        parts.setdefault(part, []).extend((name, kinds) for name in names.split())
    return [([step for step in part.split(".") if step], rules) for part, rules in parts.items()]


def _entries(value: Any) -> Collection[Any]:
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
    # Python takes True for 1; and squares of sums of squares must stay finite.
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) and (not isinstance(value, int | float) or abs(value) < limits.NUMBER)


def check_depth(content: Any) -> None:
    """Raise ValueError if objects and lists lie in one another deeper than whatever walks over them can stand."""
    depth, inner = 0, [content]
    while inner := [
        value
        for one in inner
        for value in (one.values() if type(one) is dict else one)
        if type(value) is dict or type(value) is list
    ]:
        if (depth := depth + 1) >= limits.DEPTH:
            raise ValueError(f"objects and lists lie in one another more than {limits.DEPTH} deep")
