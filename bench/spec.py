"""The two values that name everything: a Training names weights, an Evaluation names a record.

Both are frozen, have canonical JSON, and hash to keys. Seeds derive from them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import limits
from bench.errors import BenchError
from bench.keys import key_of
from methods._base import Budget


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training run: task, network, method, training device and level, budget, precision, seed.

    `settings` holds only what differs from the method's defaults, `device_settings` what differs from
    the training device's. `level` is in units of the
    device's axis, `time_s` in seconds since programming (None where the device has no time).
    `recipe`: version of what all methods share (methods/_base.py).
    """

    task: str
    task_version: str
    network: str
    width: float
    method: str
    method_version: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str
    device_version: str
    level: float
    time_s: float | None
    budget: Budget
    precision: str
    seed: int
    recipe: str
    device_settings: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        made = _without_defaults(dataclasses.asdict(self))
        if self.budget.optimizer == Budget.optimizer:  # it came after the first records, too
            del made["budget"]["optimizer"]
        return made

    @property
    def key(self) -> str:
        """Names the trained weights."""
        return key_of(self.as_dict())

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Training":
        """Inverse of `as_dict`. BenchError if a field is missing or unknown."""
        return _from_dict(Training, {**data, "budget": _from_dict(Budget, data.get("budget", {}))})


@dataclass(frozen=True, kw_only=True)
class ChipPolicy:
    """How many chips a level gets, and how many test samples a chip.

    `minimum` chips first; with a `half_width` (in the metric's unit) as many more as Stein's
    two-stage rule asks for, up to `maximum`; without one, exactly `minimum`. Each chip meets the
    whole test set, or `samples` of it, drawn at random for each chip; 'auto': as many as shorten the
    interval fastest.
    """

    minimum: int
    maximum: int
    half_width: float | None
    samples: int | str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.samples, str) and self.samples != "auto":
            raise BenchError(f"samples-per-chip {self.samples}: must be a whole number or auto")
        if isinstance(self.samples, int) and self.samples < 1:
            raise BenchError(f"samples-per-chip {self.samples}: must be at least 1")
        if self.minimum < 1 or self.maximum < self.minimum:
            raise BenchError(f"chips {self.minimum} to {self.maximum}: need 1 <= minimum <= maximum")
        if self.maximum > limits.CHIPS:
            raise BenchError(f"chips {self.maximum:,}: must be at most {limits.CHIPS:,} a level")
        if self.half_width is not None and (self.half_width <= 0 or self.minimum < 2):
            raise BenchError(f"half-width {self.half_width:g}: must be above 0, with at least 2 chips")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A sweep of one Training's network over a test device; `device_settings` as in Training.

    Over `levels` at `time_s`; or, with `times_s`, over those times at the one level in `levels`, `time_s` None.
    """

    training: Training
    device: str
    device_version: str
    time_s: float | None
    levels: tuple[float, ...]
    chips: ChipPolicy
    preset: str
    test_samples: int | None
    device_settings: Mapping[str, Any] = field(default_factory=dict)
    times_s: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        rows = {"levels": list(self.levels), "times_s": list(self.times_s)}
        return _without_defaults({**dataclasses.asdict(self), **rows, "training": self.training.as_dict()})

    @property
    def points(self) -> tuple[tuple[float, float | None], ...]:
        """(level, time in s) of each point of the sweep, in order."""
        if self.times_s:
            return tuple((self.levels[0], time_s) for time_s in self.times_s)
        return tuple((level, self.time_s) for level in self.levels)

    @property
    def key(self) -> str:
        """Names the record."""
        return key_of(self.as_dict())

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Evaluation":
        """Inverse of `as_dict`. BenchError if a field is missing or unknown."""
        parts = {
            "training": Training.from_dict(data.get("training", {})),
            "chips": _from_dict(ChipPolicy, data.get("chips", {})),
            "levels": tuple(data.get("levels", ())),
            "times_s": tuple(data.get("times_s", ())),
        }
        return _from_dict(Evaluation, {**data, **parts})


def _without_defaults(made: dict[str, Any]) -> dict[str, Any]:
    """Device settings and time sweeps came after the first records: without them, keys stay what they were."""
    return {name: value for name, value in made.items() if name not in ("device_settings", "times_s") or value}


def _from_dict(cls: type, data: Mapping[str, Any]) -> Any:
    try:
        return cls(**data)
    except TypeError as error:
        raise BenchError(f"not a {cls.__name__} of this version: {error}") from None
