"""What a record holds beside the measurements: of what run they are, what that cost, what its chips were given."""

from collections.abc import Mapping
from typing import Any

import torch

from bench import limits, plan
from bench.context import new_cost
from bench.environment import environment
from bench.labels import plain
from bench.provenance import Data
from bench.reading import RECORD_SCHEMA
from bench.restore import input_ranges
from bench.spec import Evaluation, Training
from devices._base import Axis
from methods._base import Adaptation, Deployable, Refusal
from tasks._base import Split


def frame(evaluation: Evaluation, axis: Axis, command: str, processor: torch.device) -> dict[str, Any]:
    """Everything in a record but what was measured; `axis`: the test device's."""
    task = plan.task_of(evaluation.training.task)
    metric = task.metric
    name, unit = ("time", "s since programming") if evaluation.times_s else (axis.name, axis.unit)
    return {
        "schema": RECORD_SCHEMA,
        "key": evaluation.key,
        "status": "failed",
        "error": None,
        "evaluation": evaluation.as_dict(),
        "training_key": evaluation.training.key,
        "task": {
            "name": task.name,
            "dataset": task.dataset,
            "metric": metric.name,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
            "yield_loss": metric.yield_loss,
        },
        "axis": {"name": name, "unit": unit},
        "clean": None,
        "levels": [],
        "cost": new_cost() | {"teacher_samples": 0, "teacher_seconds": 0.0},
        "sweep_seconds": 0.0,
        "environment": environment(processor),
        "command": command,
    }


def trained(
    training: Training,
    cost: Mapping[str, float],
    lineage: Mapping[str, Any],
    deployable: Deployable,
    adaptation: tuple[Adaptation, Split] | None,
    data: Data | None,
    processor: torch.device,
) -> dict[str, Any]:
    """What a checkpoint holds beside the weights (bench/trained.py checks it). `data`: None if nobody knows."""
    about = {
        "training": training.as_dict(),
        "cost": cost,
        "lineage": lineage,
        "analog": list(deployable.analog),
        "environment": environment(processor),
    }
    if data is not None:
        about["data"] = data
    if adaptation is not None:
        about["adaptation"] = {"samples_a_chip": len(adaptation[1])}
    if deployable.found:
        about["found"] = dict(deployable.found)
    if ranges := input_ranges(deployable.network):
        about["input_ranges"] = ranges
    return about


def refusal(record: dict[str, Any] | None) -> Refusal | None:
    """Why a cell needs no second try: its method can't work on its network, its record says."""
    if record is None or record["status"] != "failed":
        return None
    kind, _, reason = record["error"].partition(": ")
    # Before refusals had a kind of their own, they alone began with the method's name
    older = kind == "MethodError" and reason.startswith(f"{record['evaluation']['training']['method']}: ")
    if not (older or kind == "Refusal"):
        return None
    return Refusal(f"{plain(reason)} (seen before; `bench run --force` tries again)")


def why(error: Exception, root: str = "") -> str:
    """Why a cell failed, on one line that a record may hold; `root`: what failed that it rests on."""
    rests_on = f"{root}: " if root else ""
    return f"{rests_on}{type(error).__name__}: {error}".replace("\n", " ")[: limits.ERROR]


def with_teachers(about: dict[str, Any]) -> dict[str, Any]:
    """A run's own cost, with the cost of every other training it rests on, each counted once."""
    own, others = about["cost"], list(about["lineage"].values())
    # What one of them, made by an older version, did not count is not known of all together.
    known = [name for name in new_cost() if all(name in cost for cost in (own, *others))]
    return own | {f"teacher_{name}": sum(other[name] for other in others) for name in known}


def adapting(adaptation: tuple[Adaptation, Split] | None, levels: list[dict[str, Any]]) -> dict[str, Any]:
    """What a record says of chips that adapted: what each was given, and what that cost the sweep."""
    if adaptation is None:
        return {}
    samples = len(adaptation[1])
    chips = sum(len(level["chips"]) for level in levels)
    return {"adaptation": {"samples_a_chip": samples, "forward_passes": samples * chips}}
