"""The state of a training, any nesting of dicts, lists, numbers, strings and tensors, as JSON and tensors apart."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def pack(value: Any, tensors: dict[str, "Tensor"]) -> Any:
    """As JSON can say it; tensors go into `tensors`, and what is returned names them. TypeError for other objects."""
    from torch import Tensor

    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        # As pairs, since optimizers use integer keys.
        return {"pairs": [[k, pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [pack(v, tensors) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a training state may not hold a {type(value).__name__}")


def unpack(value: Any, tensors: Mapping[str, "Tensor"]) -> Any:
    """Inverse of `pack`; lists for tuples. KeyError, TypeError or ValueError where that is not what it was given."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "pairs" in value:
        return {k: unpack(v, tensors) for k, v in value["pairs"]}
    return [unpack(v, tensors) for v in value["list"]]
