"""Settings of devices and methods: one frozen dataclass each, whose fields state meaning and range."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any


class SettingError(ValueError):
    """A value that a setting can't have, told in one line."""


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    tune: bool | tuple[float, float] = True,
    each_level: bool = False,
    unless: str = "",
) -> Any:
    """A field of a Settings class with its meaning and range; command line and tuner read them.

    `tune`: False if it only buys more budget, or repeats what another setting does, so that the tuner leaves it alone;
    or the part of the range in which the tuner searches, where most of it is not worth a trial.
    `each_level`: text with a number from `low` to `high` for each level of the device's axis, as '1,.5,2'.
    `unless`: another setting of the class; where that one is given, this one means nothing.
    """
    meta = {"doc": doc, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=meta | {"tune": tune, "each_level": each_level, "unless": unless})


def numbers(text: str) -> tuple[float, ...]:
    """What a setting of `each_level` says: '1,.5,2' -> (1.0, 0.5, 2.0). ValueError if it says something else."""
    return tuple(float(part) for part in text.split(","))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings. Each field is made with `setting`. Raises SettingError."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value, meta = getattr(self, f.name), f.metadata
            if value is None:
                continue
            if meta["unless"] and value != f.default and getattr(self, meta["unless"]) is not None:
                raise SettingError(f"setting {f.name}={value}: means nothing where {meta['unless']} is given")
            if meta["choices"] and value not in meta["choices"]:
                raise SettingError(f"setting {f.name}={value}: must be one of {', '.join(map(str, meta['choices']))}")
            _check_range(f.name, value, meta)


def _check_range(name: str, value: Any, meta: Any) -> None:
    low, high = meta["low"], meta["high"]
    if low is None and high is None:
        return
    span = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
    try:
        given = numbers(value) if meta["each_level"] else (value,)
    except ValueError:
        raise SettingError(f"setting {name}={value}: must be numbers with commas, one for each level") from None
    # Said so that what is no number at all is out of range too
    if not all((low is None or v >= low) and (high is None or v <= high) for v in given):
        shown = value if meta["each_level"] else f"{value:g}"
        raise SettingError(f"setting {name}={shown}: must be {span}")
