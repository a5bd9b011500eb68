"""The method interface: what a training method is, and what the bench offers it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from devices._base import (
    Device,
    Settings,
    WeightPairs,
    carry_pairs,
    numbers,
    programmable,
    setting,
    weight_peaks,
)
from tasks._base import Task

__all__ = [
    "Adaptation",
    "Budget",
    "Context",
    "Deployable",
    "Method",
    "MethodError",
    "Needed",
    "Refusal",
    "Search",
    "Settings",
    "WeightPairs",
    "analog_weights",
    "carry_pairs",
    "clip_to_std",
    "numbers",
    "programmable",
    "setting",
    "weight_peaks",
]


class MethodError(ValueError):
    """A user's mistake about a method, told in one line."""


class Refusal(MethodError):
    """The method can't work on this network, whatever its settings: no use in trying again."""


@dataclass(frozen=True)
class Deployable:
    """What training yields: a network and the names of its weights that go on the crossbar."""

    network: nn.Module
    analog: tuple[str, ...]
    # Numbers that the method chose for itself, by name, to be read in checkpoint and record.
    found: Mapping[str, float] = field(default_factory=dict)


class Adaptation(Protocol):
    """What each chip does once, by itself, before it is used: with training samples, whose labels it is not given."""

    samples: int  # that each chip runs, at most: the run's training samples may be fewer

    def __call__(self, network: nn.Module, run: Callable[[Tensor], object], inputs: Tensor) -> dict[str, Tensor]:
        """Digital tensors of the network by name, for this chip to take in place of the network's own.

        `run(x)` passes x, some of the prepared `inputs`, through `network` with the chip's weights in it. The network,
        which is in evaluation mode, is as before afterwards.
        """
        ...


# Part of every Training's key. Raise it when the training loop, a score inside training or a shared
# network changes what a run yields: old checkpoints and records are then no longer this recipe's.
RECIPE = "2"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long and how a run trains. One-cycle learning rate in both phases.

    `epochs` train from scratch without noise; `finetune_epochs` continue with noise, or distil. Fractions of an
    epoch are taken to the nearest step.
    `optimizer`: SGD with Nesterov momentum, or AdamW, whose first beta is `momentum`.
    `anneal`: how the rate falls from its peak, 'cos' or 'linear'.
    `train_samples`: size of the training subset, None for all.
    """

    epochs: float
    finetune_epochs: float
    batch_size: int = 128
    lr: float = 0.1
    finetune_lr: float = 0.05
    weight_decay: float = 5e-4
    momentum: float = 0.9
    anneal: Literal["cos", "linear"] = "cos"
    train_samples: int | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"


class Needed(NamedTuple):
    """Another run that a method rests on: level and seed None are the run's own, settings differ from the defaults."""

    method: str
    level: float | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = {}


class Search(Protocol):
    """A search that the bench carries out: sets of numbers, each chosen by what those before it were worth."""

    history: dict[str, Any]  # all that it knows: for the state that a run resumes from

    def ask(self) -> dict[str, float]:
        """The next set to try."""
        ...

    def tell(self, score: float) -> None:
        """What the set asked for last was worth; a score that is not finite says nothing."""
        ...

    def best(self) -> dict[str, float]:
        """The best set so far. MethodError if no score was finite."""
        ...


class Context(Protocol):
    """What the bench offers a method while it trains. Implemented in bench/context.py."""

    task: Task
    seed: int
    device: Device
    level: float
    time_s: float | None
    budget: Budget
    generator: torch.Generator  # for noise; lives where the network lives; reseeded each epoch

    def network(self) -> nn.Module:
        """The run's network, freshly initialised from the run's seed, on the right processor."""
        ...

    def fresh(self, build: Callable[[], nn.Module]) -> nn.Module:
        """A part of the method's own, initialised from the run's seed, on the right processor."""
        ...

    def example(self, n: int) -> Tensor:
        """The first n training samples, prepared, without augmentation: to see shapes and to calibrate with."""
        ...

    def forward(
        self,
        network: nn.Module,
        inputs: Tensor,
        chip: Mapping[str, Tensor] | None = None,
        *,
        update_statistics: bool = True,
    ) -> Tensor:
        """Run the network, with `chip` in place of its weights if given; float32 output.

        `update_statistics=False`: a pass in training mode leaves BatchNorm's running statistics alone.
        """
        ...

    def chip(
        self,
        network: nn.Module,
        names: tuple[str, ...],
        *,
        level: float | None = None,
        straight_through: bool = False,
    ) -> dict[str, Tensor]:
        """A fresh chip of the training device, at the run's level or another; gradients to the network."""
        ...

    def program(
        self, weights: Mapping[str, Tensor], *, level: float | None = None, straight_through: bool = False
    ) -> dict[str, Tensor]:
        """A fresh chip that holds these weights in place of the network's own; gradients to `weights`."""
        ...

    def epochs(self, n: float, state: Mapping[str, Any]) -> Iterator[int]:
        """Yield 0, 1, ... of n epochs, the last of which may be a part of one, to the nearest step.

        After each, checkpoint `state` (objects with state_dict); resume where it stopped.
        """
        ...

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch, or the last part of one, of shuffled, augmented, prepared training batches; counts samples."""
        ...

    def steps_per_epoch(self) -> int: ...

    def score(self, network: nn.Module, levels: tuple[float, ...]) -> list[float]:
        """Mean metric at each level on fixed validation chips (never the test set)."""
        ...

    def search(self, space: Mapping[str, tuple[float, float]], *, maximise: bool) -> Search:
        """A Bayesian search over numbers by name, each from least to largest; seeded by the run."""
        ...

    def report(self, **figures: float) -> None:
        """Figures for the progress display."""
        ...

    def train(self, method: str, *, level: float | None = None, seed: int | None = None, **settings: Any) -> nn.Module:
        """The network of another run of this task and budget, and of this seed unless told, from the store or trained.

        MethodError if the method does not name `method` in its `rests_on`.
        """
        ...


class Method(ABC):
    """A way of training a network so that its chips work."""

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    source: ClassVar[str] = ""
    # False: the result does not depend on the device, so it is trained once for all (on `ideal`).
    uses_device: ClassVar[bool] = True
    # False: the run makes no use of one training level, but may of the device's axis (the level is set to 0).
    uses_level: ClassVar[bool] = True
    # False: the run makes no use of finetune_epochs (its budget is normalised, so that it is shared).
    finetunes: ClassVar[bool] = True
    # False: the network in mid-training isn't what would be deployed, so the tuner doesn't stop a run halfway.
    shows_progress: ClassVar[bool] = True
    # True: where the device has a DAC, its input ranges are learned along with the weights, unless it says otherwise.
    learns_ranges: ClassVar[bool] = False
    # Methods whose runs `fit` asks for: their versions are part of this method's, so that none is corrected unseen.
    rests_on: ClassVar[tuple[str, ...]] = ()
    # A wrapper's setting that names another method, whose run `fit` asks for as well: what that run makes use of, and
    # the frame of its network, are the wrapper's too.
    wraps: ClassVar[str] = ""
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, settings: Any = None) -> None:
        self.settings: Any = self.Settings() if settings is None else settings

    @abstractmethod
    def fit(self, context: Context) -> Deployable:
        """Train and return the network to deploy."""

    def own_epochs(self, budget: Budget) -> float:
        """Epochs of the run's own steps. Default: the second phase's, or the first's of what rests on no other run."""
        return budget.finetune_epochs if self.rests_on else budget.epochs

    def passes(self, levels: tuple[float, ...]) -> float:
        """Forward-backward passes of a sample in an own step, a forward pass alone being a third; default 1.

        `levels`: of the training device's axis.
        """
        return 1.0

    def needs(self, level: float, seed: int, levels: tuple[float, ...]) -> tuple[Needed, ...]:
        """The runs that `fit` asks for. Default: one of each in `rests_on`. `levels`: as in `passes`."""
        return tuple(Needed(name) for name in self.rests_on)

    def frame(self, network: nn.Module, analog: tuple[str, ...]) -> nn.Module:
        """The module that what `fit` returned is loaded into, made of a fresh network. Default: that network.

        `analog`: names of the fresh network's weights on the crossbar.
        """
        return network

    def adaptation(self) -> Adaptation | None:
        """What every chip does before it is used. Default: nothing."""
        return None


def analog_weights(network: nn.Module, names: tuple[str, ...]) -> dict[str, Tensor]:
    """The network's crossbar weights by name, as parameters (gradients flow)."""
    parameters = dict(network.named_parameters())
    return {name: parameters[name] for name in names}


@torch.no_grad()
def clip_to_std(weight: Tensor, clip_w: float) -> None:
    """Clip a tensor, in place, to +-clip_w times its standard deviation."""
    limit = clip_w * weight.std()
    weight.clamp_(-limit, limit)
