"""What of a method can be tuned on a device, read from its settings: the search space of `bench tune`.

Optuna's trials are passed in; importing this takes no Optuna, since `bench run --tuned` asks it too.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.settings import kind_of
from devices._base import Device
from methods._base import Method

LOG_SPAN = 20  # a range above 0 whose ends differ by more than this factor is searched by its logarithm
LEVEL = "level"


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One setting: of `values`, or from `low` to `high`; for each of `levels` where there are any.

    `optional`: None is a value too. `unless`: another setting; where that one is given, this one means nothing.
    """

    name: str
    default: Any
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    optional: bool = False
    levels: tuple[float, ...] = ()
    unless: str = ""

    def suggest(self, trial: Any) -> Any:
        """What the trial is to try; not None."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        if self.levels:
            raw = [trial.suggest_float(f"{self.name} at {level:g}", self.low, self.high) for level in self.levels]
            return ",".join(f"{value:.3g}" for value in raw)
        log = self.low > 0 and self.high / self.low > LOG_SPAN
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=log)
        # Four digits, so that the settings can be read and typed
        return float(f"{trial.suggest_float(self.name, self.low, self.high, log=log):.4g}")


@dataclass(frozen=True)
class Space:
    """All knobs of a method, those with `unless` last, and the training levels to choose from."""

    knobs: tuple[Knob, ...]
    levels: tuple[float, ...]
    level: float

    @property
    def is_empty(self) -> bool:
        """Is there nothing to tune?"""
        return not self.knobs and len(self.levels) < 2

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, for the name of a study."""
        return dataclasses.asdict(self)

    def defaults(self) -> dict[str, Any]:
        """The first trial: what is run without tuning, as Optuna's parameters."""
        found: dict[str, Any] = {LEVEL: self.level} if len(self.levels) > 1 else {}
        for knob in self.knobs:
            if knob.optional:
                found[f"{knob.name} given"] = knob.default is not None
            if knob.default is not None:
                found[knob.name] = knob.default
        return found

    def suggest(self, trial: Any) -> tuple[dict[str, Any], float]:
        """(settings that differ from the default, training level) for a trial to try."""
        level = trial.suggest_categorical(LEVEL, self.levels) if len(self.levels) > 1 else self.level
        chosen: dict[str, Any] = {}
        for knob in self.knobs:
            if knob.unless and chosen.get(knob.unless) is not None:
                continue
            given = not knob.optional or trial.suggest_categorical(f"{knob.name} given", (False, True))
            chosen[knob.name] = knob.suggest(trial) if given else None
        defaults = {knob.name: knob.default for knob in self.knobs}
        return {name: value for name, value in sorted(chosen.items()) if value != defaults[name]}, level


def of(method: type[Method], device: Device) -> Space:
    """Settings that have a range, choices or a switch and don't just buy budget; and the training level."""
    axis = device.axis
    hints = typing.get_type_hints(method.Settings)
    levels = tuple(sorted({0.0, *axis.levels}))
    knobs = [_knob(f, hints[f.name], levels) for f in dataclasses.fields(method.Settings)]
    own = sorted((knob for knob in knobs if knob is not None), key=lambda knob: knob.unless != "")
    trained = {axis.train_level, *(level for level in axis.levels if level > 0)}
    used = method.uses_device and method.uses_level
    return Space(tuple(own), tuple(sorted(trained)) if used else (), axis.train_level if used else 0.0)


def _knob(field: "dataclasses.Field[Any]", hint: Any, levels: tuple[float, ...]) -> Knob | None:
    """The knob of a setting; None if it is not to be tuned, or has no range to be tuned in."""
    meta: Mapping[str, Any] = field.metadata
    if meta["tune"] is False:
        return None
    kind, optional = kind_of(hint)
    common: dict[str, Any] = {"name": field.name, "default": field.default, "unless": meta["unless"]}
    common["optional"] = optional
    if meta["choices"] or kind is bool:
        return Knob(**common, values=meta["choices"] or (False, True))
    low, high = meta["tune"] if isinstance(meta["tune"], tuple) else (meta["low"], meta["high"])
    if low is None or high is None or not math.isfinite(high):
        return None
    each = levels if meta["each_level"] else ()
    return Knob(**common, low=float(low), high=float(high), whole=kind is int, levels=each)


def texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as words of the command line."""
    return {name: str(value).lower() if value is None else str(value) for name, value in settings.items()}
