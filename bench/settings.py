"""Settings of methods and devices: from the words of the command line to the classes that declare them."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from bench.errors import BenchError
from bench.registry import suggestion
from devices._settings import Settings

SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def make(
    owner: str, cls: type[Settings], values: Mapping[str, Any], senseless: Mapping[str, str] | None = None
) -> Settings:
    """Settings with these values; BenchError names one that there is not, SettingError a value out of range.

    `senseless`: reasons why the owner has no setting of that name, though others have.
    """
    _check_names(owner, cls, values, senseless or {})
    return cls(**values)


def _check_names(owner: str, cls: type[Settings], names: Iterable[str], senseless: Mapping[str, str]) -> None:
    known = {f.name: f for f in dataclasses.fields(cls)}
    for name in names:
        if name in senseless:
            raise BenchError(f"{owner} has no setting '{name}': {senseless[name]}")
        if name not in known:
            there = suggestion(name, known) if known else "; it has no settings"
            raise BenchError(f"{owner} has no setting '{name}'{there}")


def parse(
    owner: str, cls: type[Settings], given: Mapping[str, str], senseless: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Turn `key=text` into the types that a Settings class declares; drop what equals the default."""
    hints = typing.get_type_hints(cls)
    _check_names(owner, cls, given, senseless or {})
    values = {key: read(key, text, hints[key]) for key, text in given.items()}
    make(owner, cls, values)  # refuses what is out of range
    defaults = cls()
    return {key: value for key, value in sorted(values.items()) if value != getattr(defaults, key)}


def own(method: str, given: Mapping[str, str]) -> dict[str, str]:
    """Of `{"name": ...}`, meant for every method, and `{"METHOD.name": ...}`, those that are this method's."""
    owned = {key.removeprefix(f"{method}."): text for key, text in given.items() if key.startswith(f"{method}.")}
    return {key: text for key, text in given.items() if "." not in key} | owned


def kind_of(hint: Any) -> tuple[Any, bool]:
    """The type that a setting declares, and whether it may be None: `float | None` -> (float, True)."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    return next(o for o in options if o is not type(None)), type(None) in options


def read(key: str, text: str, hint: Any) -> Any:
    """`text` as the type that the setting `key` declares. BenchError if it can't be."""
    kind, optional = kind_of(hint)
    if optional and text.lower() in ("none", ""):
        return None
    try:
        if kind is bool:
            return SWITCH[text.lower()]
        value = kind(text)
    except (ValueError, KeyError):
        right = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, f"a {kind.__name__}")
        raise BenchError(f"setting {key}={text}: must be {right}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise BenchError(f"setting {key}={text}: must be a finite number")
    return value
