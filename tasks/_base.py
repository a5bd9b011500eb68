"""The task interface: data, networks, loss and metric."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tasks._digest import digest

RECURRENT = re.compile(r"weight_(ih|hh|hr)(_l\d+)?(_reverse)?")  # hr: the projection of an LSTM


class TaskError(ValueError):
    """A user's mistake about a task (unknown network, data that can't be had), told in one line."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a record counts. `yield_loss`: a chip yields that is at most so much worse than the digital network."""

    name: str
    unit: str
    higher_is_better: bool = True
    yield_loss: float = 5.0


@dataclass(frozen=True)
class Split:
    """Samples in memory. `inputs`: (n, ...) as stored, e.g. uint8 (n, 3, 32, 32); `targets`: (n, ...).

    `words`: what the numbers stand for, of texts; reports show them.
    """

    inputs: Tensor
    targets: Tensor
    words: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device) -> "Split":
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))

    def head(self, n: int | None, what: str = "samples") -> "Split":
        """The first n samples (splits are stored in a fixed shuffled order); all if None. TaskError if too few."""
        if n is not None and n > len(self):
            raise TaskError(f"{what} {n}: there are {len(self)}; --{what} {len(self)} takes all")
        return self if n is None else replace(self, inputs=self.inputs[:n], targets=self.targets[:n])


@dataclass(frozen=True)
class Splits:
    """Disjoint training, validation and test samples. Test is read only by the sweep; `--dry-run` times its inputs, and
    `fingerprint` is of all three.

    `made_of`: what the samples were computed from, if their own last bits may differ between machines, as those of
    means and of noise do; () if they don't.
    """

    train: Split
    val: Split
    test: Split
    made_of: tuple[Tensor, ...] = field(default=(), kw_only=True)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Which data these are: numbers of samples, and the SHA-256 of all of them, whatever machine loaded them."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        own = {f"{name} {what}": getattr(part, what) for name, part in parts.items() for what in ("inputs", "targets")}
        tensors = {str(i): t for i, t in enumerate(self.made_of)} or own
        return {name: len(part) for name, part in parts.items()} | {"sha256": digest(tensors)}


class Task(ABC):
    """Something a network must do, with everything that is fixed about it.

    A name with a colon, `task:variant`, is of other settings, or of data that not everybody has: 'all' leaves it out.
    """

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    dataset: ClassVar[str] = ""
    source: ClassVar[str] = ""
    metric: ClassVar[Metric]
    networks: ClassVar[tuple[str, ...]] = ()
    # What a command must be given beside its name, a literal, such as --data DIR where the data can't be fetched.
    asks: ClassVar[str] = ""
    # What presets say otherwise for this task: by preset, fields of the preset, of its budget and of its chips.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    picture_note: ClassVar[str] = ""  # what the colours of its pictures say, printed below them
    batch: ClassVar[int] = 2000  # at most so many samples in a forward pass without gradient
    # Are outputs logits, whose scale is free? If not they are estimates of the target, which no method may scale.
    logits: ClassVar[bool] = True

    @abstractmethod
    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """Load the data, fetching them into `cache` if they are neither in `data_dir` nor there."""

    def synthetic(self, n: int, generator: torch.Generator) -> Split | None:
        """n made-up samples in the form that `splits` has: tests run on them where the data can't be had.

        Default: none, so that tests need the data.
        """
        return None

    @abstractmethod
    def network(self, name: str, width: float = 1.0) -> nn.Module:
        """A freshly initialised network (from torch's global random state). TaskError if unknown."""

    def pretrained(self, network: nn.Module, cache: Path) -> None:
        """Give a fresh network what it starts from, if that isn't chance, fetched into `cache`. Default: nothing.

        TaskError if it can't be had.
        """
        return

    @abstractmethod
    def prepare(self, inputs: Tensor) -> Tensor:
        """Stored inputs (n, ...) -> what the network takes, float32 and normalised."""

    def augment(
        self, inputs: Tensor, targets: Tensor, turns: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Random augmentation of stored inputs (n, ...) and their targets, before `prepare`. Default: none.

        Targets go to `loss` alone, so they may change their form, as labels do where samples are mixed.
        `turns`: (n,) 0 or 1, a sample's first at random, the other one in its next epoch, and so on:
        for choices of two that are better taken in turns than drawn.
        """
        return inputs, targets

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Training loss, mean over the batch."""

    @abstractmethod
    def distill(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Distance of the student's output to a teacher's at a temperature, T^2 included; mean over the batch.

        Where outputs are no logits there is nothing for a temperature to soften.
        """

    @abstractmethod
    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """Per-sample contribution to the metric, float (n,); `overall` of a split's is the metric."""

    def overall(self, contributions: Tensor) -> float:
        """The metric from the contributions of many samples, float64 (n,). Default: their mean."""
        return contributions.mean().item()

    def details(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Further metrics to be kept in records, by name, float (n,) each; NaN where a sample has none.

        Their means over samples are kept; nothing is ranked by them.
        """
        return {}

    def derived(self, contributions: Tensor) -> dict[str, float]:
        """Further metrics to be kept in records, made, as `overall`, of many samples' contributions, float64 (n,)."""
        return {}

    def picture(self, inputs: Tensor, targets: Tensor, output: Tensor | None = None) -> Tensor | None:
        """What samples look like, uint8 RGB (n, 3, h, w), at most 128 pixels high; None where there is nothing to see.

        `inputs` (n, ...), `targets`: as stored; `output`: what the network made of them. Without it: what it is given,
        and to the right of that what is wanted, (n, 3, h, 2 w).
        """
        return None

    def samples(self, split: Split) -> list[tuple[str, str]] | None:
        """Of each sample in words: what is given, and what is wanted. None where words say little, as of pictures.

        A report shows them beside `answers`, cut to one line of 120 letters.
        """
        return None

    def answers(self, split: Split, output: Tensor) -> list[tuple[str, bool]]:
        """Of each sample in words what the network made of it, and whether that is right; where there are `samples`."""
        raise NotImplementedError

    def probabilities(self, output: Tensor) -> Tensor | None:
        """(n, classes, ...) predictive distributions for EKL, or None where there are none."""
        return None

    def analog(self, network: nn.Module) -> tuple[str, ...]:
        """Names of the weights that sit on the crossbar: of all Conv, Linear and recurrent layers, biases digital.

        But for modules, and all within them, that the network names in an attribute `digital`.
        """
        digital = tuple(f"{name}." for name in getattr(network, "digital", ()))
        seen: set[int] = set()
        names = []
        for place, module in network.named_modules():
            if f"{place}.".startswith(digital):
                continue
            for own in matrices(module):
                if id(weight := module.get_parameter(own)) not in seen:
                    seen.add(id(weight))
                    names.append(f"{place}.{own}" if place else own)
        return tuple(names)


def matrices(module: nn.Module) -> tuple[str, ...]:
    """Names of a layer's own weights that are matrices of products; () if it is no layer that is known to have some.

    Of recurrent layers weight_ih_l0, weight_hh_l0 and so on, in the order of layers: one chip holds for all time steps.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        return ("weight",)
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):  # a network may carry more parameters there than its own
        return tuple(name for name, _ in module.named_parameters(recurse=False) if RECURRENT.fullmatch(name))
    return ()


def stratified_split(targets: Tensor, held_out: int, seed: int = 2024) -> tuple[Tensor, Tensor]:
    """Indices of (train, validation), each class in proportion, both in a fixed fair order.

    `targets`: (n,) class labels; `held_out`: size of validation, rounded down per class.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(targets), generator=generator)
    held = torch.zeros(len(targets), dtype=torch.bool)
    for label in targets.unique():
        members = order[targets[order] == label]
        held[members[: held_out * len(members) // len(targets)]] = True
    # Shuffled again: validation was taken from the front of `order`, where the rest of it is not fair.
    train, val = order[~held[order]], order[held[order]]
    return (
        train[torch.randperm(len(train), generator=generator)],
        val[torch.randperm(len(val), generator=generator)],
    )
