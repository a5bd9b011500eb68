"""Settings of devices and methods: one frozen dataclass each, whose fields state meaning and range."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any


class SettingError(ValueError):
    """A value that a setting can't have, told in one line."""


def setting(
    default: Any, doc: str, *, low: float | None = None, high: float | None = None, choices: tuple[Any, ...] = ()
) -> Any:
    """A field of a Settings class with its meaning and range; command line and tuner read them."""
    return field(default=default, metadata={"doc": doc, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings. Each field is made with `setting`. Raises SettingError."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value, meta = getattr(self, f.name), f.metadata
            if value is None:
                continue
            if meta["choices"] and value not in meta["choices"]:
                raise SettingError(f"setting {f.name}={value}: must be one of {', '.join(map(str, meta['choices']))}")
            low, high = meta["low"], meta["high"]
            if (low is not None and value < low) or (high is not None and value > high):
                span = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
                raise SettingError(f"setting {f.name}={value:g}: must be {span}")
