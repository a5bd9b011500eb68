"""What a method is offered while it trains: one object per training run."""

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench import provenance, registry
from bench.fast import compute
from bench.keys import seed_of
from bench.montecarlo import validate
from bench.progress import Work
from bench.restore import input_ranges, set_state, state_of
from bench.rig import Rig
from bench.search import BayesSearch
from bench.spec import Training
from bench.store import Checkpoints, Damaged, misfit
from bench.trained import check_resume
from devices._base import Device, programmable
from devices._ranges import Ranges, learned_ranges
from methods._base import Search, analog_weights
from tasks._base import Splits, Task

# Validation for choices inside training: enough for a trend, cheap beside an epoch.
SCORE_SAMPLES = 1000
SCORE_CHIPS = 2


def new_cost() -> dict[str, float]:
    """What a run has spent: epochs, training samples, samples times forward and times backward passes, seconds."""
    return {"epochs": 0, "samples": 0, "forward_passes": 0, "backward_passes": 0, "seconds": 0.0}


@dataclass(frozen=True)
class Watch:
    """Somebody who looks at a network while it trains: after each epoch but the last, on validation chips of `device`.

    `seen(epoch, metric)`: epochs counted from the nominal run's first, mean metric over `levels`; it may stop the
    training by raising. Looking changes nothing about the training.
    """

    device: Device
    levels: tuple[float, ...]
    time_s: float | None
    seen: Callable[[int, float], None]


class TrainingContext:
    """Implements methods._base.Context for one Training."""

    def __init__(
        self,
        training: Training,
        *,
        task: Task,
        device: Device,
        splits: Splits,
        processor: torch.device,
        checkpoints: Checkpoints,
        work: Work,
        train_other: Callable[[Training], nn.Module],
        variant: Callable[..., Training],
        watch: Watch | None = None,
        cache: Path | None = None,
    ) -> None:
        """`cache`: where the task keeps what networks start from; None: they start from chance."""
        self._cache = cache
        self.training, self.task, self.device, self.seed = training, task, device, training.seed
        self.learns_ranges = registry.get("methods", training.method).learns_ranges
        self.level, self.time_s, self.budget = training.level, training.time_s, training.budget
        self.processor, self.checkpoints, self.work = processor, checkpoints, work
        self._train_other, self._variant, self._watch = train_other, variant, watch
        self._train = splits.train.head(training.budget.train_samples, "train-samples").to(processor)
        self._val = splits.val.head(min(SCORE_SAMPLES, len(splits.val)))
        self.data: dict[str, Any] | None = splits.fingerprint  # None: it began where nobody knows of which data it was
        self.generator = torch.Generator(device=processor)  # noise
        self._order = torch.Generator()  # order and augmentation, on the CPU
        turns = torch.Generator().manual_seed(seed_of(training.key, "turns"))
        self._turns = torch.randint(2, (len(self._train),), generator=turns).to(processor)
        self.batch_size = min(self.budget.batch_size, len(self._train))
        self._epoch, self._steps = 0, self.steps_per_epoch()
        self.cost = new_cost()

    def network(self) -> nn.Module:
        """The run's network, initialised from seed, architecture and task alone: all methods start alike."""
        network = build_network(self.task, self.training, self.processor)
        if self._cache is not None:
            self.task.pretrained(network, self._cache)
        return network

    def fresh(self, build: Callable[[], nn.Module]) -> nn.Module:
        """A part of the method's own, initialised from the run's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of("part", self.training.seed, self.training.task, self.training.network))
            part = build()
        return part.to(self.processor)

    def example(self, n: int) -> Tensor:
        """The first n training samples, prepared."""
        return self.task.prepare(self._train.inputs[:n])

    def forward(
        self,
        network: nn.Module,
        inputs: Tensor,
        chip: Mapping[str, Tensor] | None = None,
        *,
        update_statistics: bool = True,
    ) -> Tensor:
        """Run the network at the run's precision; float32 output."""
        state: dict[str, Tensor] = dict(chip or {})
        if network.training and not update_statistics:
            # functional_call would let BatchNorm write to the module's own buffers: give it clones.
            state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
        self.cost["forward_passes"] += len(inputs)
        around = nullcontext() if chip is None or not self.device.surrounds(chip) else self._periphery(network, chip)
        with compute(self.processor, self.training.precision), around:
            output = functional_call(network, state, (inputs,)).float()
        if output.requires_grad:
            output.register_hook(lambda _: self._went_back(len(inputs)))
        return output

    def _went_back(self, samples: int) -> None:
        """Count a backward pass; not in a run whose first half, made by an older version, didn't."""
        if "backward_passes" in self.cost:
            self.cost["backward_passes"] += samples

    def _periphery(self, network: nn.Module, chip: Mapping[str, Tensor]) -> AbstractContextManager[Any]:
        """What surrounds the chip's products; full scales are those of the batch, or learned with the network."""
        learned = None
        settings = self.device.settings
        own = self.learns_ranges and settings.dac_bits is not None
        if settings.input_range == "learned" or (settings.input_range == "auto" and own):
            learned = learned_ranges(network, make=network.training)
            if learned is not None and torch.is_grad_enabled():
                learned.step()
        clean = programmable(network, tuple(chip))
        return self.device.periphery(chip, clean=clean, ranges=Ranges(learned), generator=self.generator)

    def chip(
        self,
        network: nn.Module,
        names: tuple[str, ...],
        *,
        level: float | None = None,
        straight_through: bool = False,
    ) -> dict[str, Tensor]:
        """A fresh chip of the training device."""
        return self.program(analog_weights(network, names), level=level, straight_through=straight_through)

    def program(
        self, weights: Mapping[str, Tensor], *, level: float | None = None, straight_through: bool = False
    ) -> dict[str, Tensor]:
        """A fresh chip of the training device that holds these weights."""
        return self.device.training_chip(
            weights,
            self.generator,
            level=self.level if level is None else level,
            time_s=self.time_s,
            straight_through=straight_through,
        )

    def steps_per_epoch(self) -> int:
        """Mini-batches an epoch; an incomplete last one is left out."""
        return len(self._train) // self.batch_size

    def epochs(self, n: float, state: Mapping[str, Any]) -> Iterator[int]:
        """Yield the epochs still to do, of which the last may be a part of one; keep a resume point after each.

        All random streams are seeded anew each epoch from the run's key, so a resumed run needs no
        generator state to end with the weights of an uninterrupted one.
        """
        whole = self.steps_per_epoch()
        steps = round(n * whole)
        last = math.ceil(steps / whole) - 1
        first = self._resume(state, last)
        self.work.total(steps)
        self.work.advance(first * whole)
        for epoch in range(first, last + 1):
            seed = seed_of(self.training.key, "epoch", epoch)
            torch.manual_seed(seed)  # for dropout inside networks
            self.generator.manual_seed(seed_of(seed, "noise"))
            self._order.manual_seed(seed_of(seed, "order"))
            self._epoch, self._steps = epoch, min(whole, steps - epoch * whole)
            began = time.perf_counter()
            yield epoch
            self.cost["seconds"] += time.perf_counter() - began
            self.cost["epochs"] += 1 if self._steps == whole else self._steps / whole
            if epoch < last:
                kept = {name: state_of(part) for name, part in state.items()}
                ranges = {name: numbers for name, part in state.items() if (numbers := input_ranges(part))}
                point = {"epoch": epoch + 1, "cost": self.cost, "state": kept, "input_ranges": ranges}
                self.checkpoints.save_partial(self.training.key, point | ({"data": self.data} if self.data else {}))
                if self._watch is not None and isinstance(network := state.get("network"), nn.Module):
                    # A run from scratch and one that fine-tunes are compared where both have had as many epochs
                    before = max(round(self.budget.epochs + self.budget.finetune_epochs - n), 0)
                    self._watch.seen(before + epoch + 1, self._seen(network, self._watch))
                self.work.kept()

    def _resume(self, state: Mapping[str, Any], last: int) -> int:
        """The epoch to go on with, all parts being as they were then. A resume point that is of no use is dropped."""
        try:
            return self._resumed(state, last)
        except Damaged as error:
            path = self.checkpoints.partial_path(self.training.key)
            self.work.monitor.say(f"resume point {path} {error.how}; dropped, training begins anew")
            path.unlink(missing_ok=True)
            return 0

    def _resumed(self, state: Mapping[str, Any], last: int) -> int:
        """The same. Damaged if it can't be, OtherData if it is of other data, with all parts as before."""
        point = self.checkpoints.load_partial(self.training.key)
        if point is None:
            return 0
        fresh = {name: (copy.deepcopy(state_of(part)), input_ranges(part)) for name, part in state.items()}
        path = self.checkpoints.partial_path(self.training.key)
        try:
            check_resume(point, last, state)
            if self.data is not None:
                provenance.check(f"resume point {path}", point.get("data"), self.data)
            for name, part in state.items():
                set_state(part, point["state"][name], point.get("input_ranges", {}).get(name, {}))
        except provenance.OtherData:
            raise
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            for name, part in state.items():
                set_state(part, *fresh[name])
            raise misfit(path, error) from None
        self.cost, self.data = point["cost"], point.get("data")
        return point["epoch"]

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of shuffled, augmented, prepared batches."""
        order = torch.randperm(len(self._train), generator=self._order).to(self.processor)
        for chosen in order.split(self.batch_size)[: self._steps]:
            turns = (self._turns[chosen] + self._epoch) % 2
            kept = self._train.inputs[chosen], self._train.targets[chosen]
            inputs, targets = self.task.augment(*kept, turns, self._order)
            yield self.task.prepare(inputs), targets
            self.cost["samples"] += len(chosen)
            self.work.advance()

    def score(self, network: nn.Module, levels: tuple[float, ...]) -> list[float]:
        """Mean metric at each level on fixed validation chips."""
        return self._score(network, self.device, levels, self.time_s)

    def _score(
        self, network: nn.Module, device: Device, levels: tuple[float, ...], time_s: float | None
    ) -> list[float]:
        was_training = network.training
        names = self.task.analog(network)
        rig = Rig(network, names, self.task, self._val, self.training.precision)
        means = validate(rig, device, levels, chips=SCORE_CHIPS, time_s=time_s)
        network.train(was_training)
        return means

    def _seen(self, network: nn.Module, watch: Watch) -> float:
        return sum(self._score(network, watch.device, watch.levels, watch.time_s)) / len(watch.levels)

    def search(self, space: Mapping[str, tuple[float, float]], *, maximise: bool) -> Search:
        """A search of this run's own."""
        return BayesSearch(space, maximise=maximise, seed=seed_of(self.training.key, "search"))

    def report(self, **figures: float) -> None:
        """Figures for the display."""
        self.work.note(epoch=int(self.cost["epochs"]) + 1, **figures)

    def train(self, method: str, *, level: float | None = None, seed: int | None = None, **settings: Any) -> nn.Module:
        """Another run's network, from the store or trained now."""
        own = self.training if seed is None else dataclasses.replace(self.training, seed=seed)
        return self._train_other(self._variant(own, method, level, settings))


def build_network(task: Task, training: Training, processor: torch.device) -> nn.Module:
    """A network initialised from (seed, network, width) on the CPU, then moved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("init", training.seed, training.task, training.network, training.width))
        network = task.network(training.network, training.width)
    return network.to(processor).to(memory_format=torch.channels_last)
