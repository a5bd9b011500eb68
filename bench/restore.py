"""How what a checkpoint or a resume point keeps becomes a network, or the parts of a training, again."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from devices._ranges import LearnedRanges, learned_ranges
from tasks._base import Task


def fill(network: nn.Module, task: Task, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Load a checkpoint into a network made for it. RuntimeError or ValueError, in one line, if it is another's."""
    wanted = list(task.analog(network))
    if about["analog"] != wanted:
        odd = sorted(set(about["analog"]) ^ set(wanted)) or ["in another order"]
        raise ValueError(f"its analog weights are not those of the network: {odd[0]!r:.40}")
    for name, own in network.state_dict().items():
        if name in tensors and tensors[name].dtype != own.dtype:
            raise ValueError(f"{name!r:.40} is of {tensors[name].dtype}, must be of {own.dtype}")
    network.load_state_dict(dict(tensors))
    if about.get("input_ranges"):
        network.input_ranges = LearnedRanges(about["input_ranges"])  # type: ignore[assignment]


def input_ranges(part: Any) -> dict[str, float]:
    """Learned input ranges of a network, ln of the full scales; {} if it has none, or is no network."""
    learned = learned_ranges(part, make=False) if isinstance(part, nn.Module) else None
    return {} if learned is None else learned.logarithms()


def state_of(part: Any) -> Any:
    """What a part of a training, a module, an optimizer or a dict, has to be given to go on as it was."""
    return dict(part) if isinstance(part, dict) else part.state_dict()


def set_state(part: Any, kept: Any, ranges: Mapping[str, float]) -> None:
    """Give a part of a training the state that it once had."""
    if not isinstance(kept, dict):
        raise ValueError(f"a part of its state is {kept!r:.40}, must be dict")
    if isinstance(part, dict):
        part.update(kept)
    else:
        part.load_state_dict(kept)
    if ranges or input_ranges(part):
        part.input_ranges = LearnedRanges(ranges)
