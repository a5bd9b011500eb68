"""The plain tables of smoke, quick, standard and paper. What was used is in every record.

`paper` has the epochs, batch size and learning rate of Wu et al. (MTRD); schedule and augmentation stay ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.errors import BenchError
from bench.registry import suggestion
from bench.spec import ChipPolicy
from methods._base import Budget


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that a user may leave unsaid. `network` None: the task's own first network."""

    name: str
    budget: Budget
    chips: ChipPolicy
    width: float = 1.0
    network: str | None = None
    test_samples: int | None = None


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="smoke",
            budget=Budget(epochs=1, finetune_epochs=1, batch_size=32, train_samples=2000),
            chips=ChipPolicy(minimum=3, maximum=3, half_width=None),
            width=0.25,
            test_samples=500,
        ),
        Preset(
            name="quick",
            budget=Budget(epochs=5, finetune_epochs=2),
            chips=ChipPolicy(minimum=10, maximum=20, half_width=1.0),
            width=0.25,
            test_samples=2000,
        ),
        Preset(
            name="standard",
            budget=Budget(epochs=10, finetune_epochs=3),
            chips=ChipPolicy(minimum=10, maximum=20, half_width=0.5),
        ),
        Preset(
            name="paper",
            budget=Budget(epochs=200, finetune_epochs=200, batch_size=64, lr=0.01, finetune_lr=0.01),
            chips=ChipPolicy(minimum=20, maximum=20, half_width=None),
        ),
    )
}


def get(name: str, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Preset:
    """The preset of that name. BenchError with the nearest match if there is none.

    `changes`: by preset, what a task has otherwise (`Task.presets`): fields of the preset, its budget or its chips.
    """
    if name not in PRESETS:
        raise BenchError(f"unknown preset '{name}'{suggestion(name, PRESETS)}")
    preset, own = PRESETS[name], (changes or {}).get(name, {})
    budget, chips = ({f.name for f in fields(part)} & own.keys() for part in (Budget, ChipPolicy))
    return replace(
        preset,
        budget=replace(preset.budget, **{field: own[field] for field in budget}),
        chips=replace(preset.chips, **{field: own[field] for field in chips}),
        **{field: value for field, value in own.items() if field not in budget | chips},
    )
