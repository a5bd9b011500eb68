"""What a finished checkpoint and a resume point must hold. Imports no torch."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.keys import key_of
from bench.shape import NUMBER, Shape, check, check_data

if TYPE_CHECKING:
    from torch import Tensor

SPENT = "epochs samples forward_passes seconds"  # backward_passes are counted since later
CHECKPOINT: Shape = (
    ("", dict, "training cost lineage environment"),
    ("", list, "analog"),
    ("analog", str, "*"),
    ("cost", NUMBER, SPENT),
    ("cost", NUMBER, "*"),
    ("lineage.*", NUMBER, SPENT),
    ("lineage.*", NUMBER, "*"),
    ("environment", str, "created"),
    ("environment", NUMBER | str | None, "*"),
)
RESUME: Shape = (("", int, "epoch"), ("", dict, "cost state"), ("cost", NUMBER, SPENT), ("cost", NUMBER, "*"))
# The same, of fields that only some have.
OF_SOME: Shape = (
    ("", dict, "found adaptation"),
    ("found", NUMBER, "*"),
    ("adaptation", int, "samples_a_chip"),
    ("", dict, "input_ranges"),
)


def check_finished(key: str, tensors: "Mapping[str, Tensor]", about: Any) -> None:
    """ValueError, in one line, unless a checkpoint is of that training, whole, and a network's."""
    check(about, CHECKPOINT)
    check(about, OF_SOME, may_lack=True)
    check(about, (("input_ranges", NUMBER, "*"),), may_lack=True)
    check_data(about)
    _check_costs({"cost": about["cost"], **about["lineage"]})
    if (other := key_of(about["training"])) != key:
        raise ValueError(f"it holds training {other}")
    if odd := next((name for name in about["lineage"] if not re.fullmatch(r"[0-9a-f]{16}", name)), None):
        raise ValueError(f"lineage names {odd!r:.40}, must be 16 of 0-9a-f")
    if lacking := sorted(set(about["analog"]) - set(tensors)):
        raise ValueError(f"analog {lacking[0]!r:.40} is none of its tensors")
    for name in about["analog"]:
        if not tensors[name].is_floating_point():
            raise ValueError(f"analog {name!r:.40} is of {tensors[name].dtype}, must be floating point")
    if name := not_finite(tensors):
        raise ValueError(f"tensor {name!r:.40} is not finite or not real")


def not_finite(tensors: "Mapping[str, Tensor]") -> str | None:
    """The name of a tensor that holds NaN, an infinity or complex numbers."""
    return next((name for name, t in tensors.items() if t.is_complex() or not bool(t.isfinite().all())), None)


def check_resume(point: Any, last: int, parts: Mapping[str, Any]) -> None:
    """ValueError unless a resume point is one of these parts, before epoch `last` (counted from 0) or an earlier."""
    check(point, RESUME)
    check(point, OF_SOME, may_lack=True)
    check(point, (("input_ranges", dict, "*"), ("input_ranges.*", NUMBER, "*")), may_lack=True)
    check_data(point)
    _check_costs({"cost": point["cost"]})
    if not 0 <= point["epoch"] <= last:
        raise ValueError(f"epoch is {point['epoch']!r:.40}, must be 0 to {last}")
    if odd := sorted(set(point["state"]) ^ set(parts)):
        raise ValueError(f"its state has {odd[0]!r:.40}, or should have")


def _check_costs(costs: Mapping[str, Mapping[str, float]]) -> None:
    for of, cost in costs.items():
        for name, value in cost.items():
            if value < 0:
                raise ValueError(f"{name!r:.40} of {of:.40} is {value:g}, must be at least 0")
