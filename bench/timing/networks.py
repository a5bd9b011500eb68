"""Training steps and chips of one network: ours, the published way (plain.py), toolkits (toolkits.py).

Contenders take turns, so that a machine that drifts drifts for all; figures are medians.
"""

import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import plan
from bench.fast import precision_for
from bench.rehearsal import TimedContext
from bench.rig import Rig, flops
from bench.spec import Training
from bench.store import Checkpoints
from bench.timing.plain import Sweeper, Trainer
from bench.timing.toolkits import Toolkit
from bench.timing.turns import METHODS, SIGMA, Turn, ceiling, seconds, speed_chip
from methods._base import Search
from tasks._base import Split, Splits, Task

STEPS = 4  # a turn; the first, which warms caches, is not counted


@dataclass(frozen=True)
class Case:
    """A network to time. `images`: what a chip of the sweep meets in one turn."""

    task: str
    network: str
    width: float
    batch_size: int
    images: int

    @property
    def title(self) -> str:
        return f"{self.network} x{self.width:g}, {self.task}"


CASES = (
    Case("cifar10", "vgg8_mtrd", 1.0, 256, 2000),
    Case("cifar10", "vgg8", 0.25, 256, 2000),
    Case("cifar10", "vgg8", 1.0, 256, 500),
    Case("cifar10", "resnet18", 0.25, 256, 1000),
    Case("mnist", "mlp", 1.0, 1024, 10_000),
)


class _Found:
    """Stands for a search: the middle of every range, at once."""

    def __init__(self, space: Mapping[str, tuple[float, float]]) -> None:
        self.history: dict[str, Any] = {}
        self._middle = {name: (low + high) / 2 for name, (low, high) in space.items()}

    def ask(self) -> dict[str, float]:
        return dict(self._middle)

    def tell(self, score: float) -> None:
        pass

    def best(self) -> dict[str, float]:
        return dict(self._middle)


class _ClockedContext(TimedContext):
    """It searches nothing either. `clock` is entered after the first step, and left after the last of an epoch."""

    def __init__(self, training: Training, *, clock: AbstractContextManager[Any] | None, **services: Any) -> None:
        super().__init__(training, **services)
        self._clock = nullcontext() if clock is None else clock
        self._clocked = ExitStack()
        self.searches = False

    def search(self, space: Mapping[str, tuple[float, float]], *, maximise: bool) -> Search:
        self.searches = True
        return _Found(space)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        with self._clocked:
            yield from super().batches()

    def stepped(self) -> None:
        if len(self.step_s) == 1:
            self._clocked.enter_context(self._clock)


def network_figures(
    case: Case,
    task: Task,
    splits: Splits,
    processor: torch.device,
    rounds: int,
    toolkits: list[Toolkit],
) -> dict[str, Any]:
    """Training and sweep rates of one network, all contenders taking turns."""
    torch.manual_seed(0)
    network = task.network(case.network, case.width).to(processor)
    forward_mflop = flops(network.eval(), task.prepare(splits.test.inputs[:1].to(processor))) / 1e6

    ours = {method: OurSteps(method, case, task, splits, processor) for method in METHODS}
    part = splits.train.head(case.batch_size).to(processor)
    theirs: dict[str, Turn] = {
        "plain nominal": Trainer(network, task, part, 0.0).step,
        "plain noise_injection": Trainer(network, task, part, SIGMA).step,
    }
    for kit in toolkits:
        theirs[f"{kit.name} noise_injection"] = kit.trainer(network, task, part)
    train: dict[str, list[float]] = {name: [] for name in (*ours, *theirs)}
    ceilings: dict[str, list[float]] = {"train": [], "sweep": []}  # takes turns too: a busy machine is so for all
    for _ in range(rounds):
        ceilings["train"].append(ceiling(processor, precision_for(processor)))
        for name, steps in ours.items():
            train[name] += steps()
        for name, step in theirs.items():
            step()
            train[name] += [seconds(step, processor) for _ in range(2)]

    test = splits.test.head(min(case.images, len(splits.test)))
    sweeps = _sweeps(network, task, test, processor, toolkits)
    sweep: dict[str, list[float]] = {name: [] for name in sweeps}
    for _ in range(rounds):
        ceilings["sweep"].append(ceiling(processor, precision_for(processor)))
        for name, chip in sweeps.items():
            if not sweep[name]:
                chip()
            sweep[name].append(seconds(chip, processor))
    return {
        "task": case.task,
        "network": case.network,
        "width": case.width,
        "batch_size": case.batch_size,
        "forward_mflop": forward_mflop,
        "ceiling_gflops": {name: statistics.median(found) for name, found in ceilings.items()},
        "train_img_s": {n: case.batch_size / statistics.median(s) for n, s in train.items()},
        "epoch_s": {n: statistics.median(s) * len(splits.train) / case.batch_size for n, s in train.items()},
        "sweep_img_chips_s": {n: len(test) / statistics.median(s) for n, s in sweep.items()},
    }


class OurSteps:
    """Turns of our own training loop: the seconds of its steps, batches and augmentation included.

    The first step of a turn, which warms caches, is left out.
    """

    def __init__(self, method: str, case: Case, task: Task, splits: Splits, processor: torch.device) -> None:
        request = plan.Request(
            methods=(method,),
            devices=("rram",),
            tasks=(case.task,),
            seeds=(0,),
            preset="standard",
            precision=precision_for(processor),
            network=case.network,
            width=case.width,
            level=SIGMA,
            epochs=1,
            finetune_epochs=1,
            batch_size=case.batch_size,
            train_samples=STEPS * case.batch_size,
        )
        (cell,) = plan.cells(request)
        self.training = cell.evaluation.training
        self.task, self.splits, self.processor = task, splits, processor
        self.searches = False  # does it search between steps? Known after a turn.

    def __call__(self, clock: AbstractContextManager[Any] | None = None) -> list[float]:
        """One turn; [] of a method that trains nothing itself. `clock`: entered for all steps but the first."""
        training = self.training
        with tempfile.TemporaryDirectory() as scratch:
            context = _ClockedContext(
                training,
                clock=clock,
                task=self.task,
                device=plan.device_of(training.device),
                splits=self.splits,
                processor=self.processor,
                checkpoints=Checkpoints(Path(scratch)),
            )
            plan.method_of(training.method).fit(context)
        self.searches = context.searches
        return context.step_s[1:]


def _sweeps(
    network: nn.Module, task: Task, test: Split, processor: torch.device, toolkits: list[Toolkit]
) -> dict[str, Turn]:
    """One chip over the test samples, by contender; '+ loading' also makes the samples ready."""
    device, names, precision = plan.device_of("rram"), task.analog(network), precision_for(processor)
    network = network.to(memory_format=torch.channels_last)
    rig = Rig(network, names, task, test, precision)
    plain = Sweeper(network, task, test.to(processor), SIGMA)

    turns: dict[str, Turn] = {
        "ours": lambda: speed_chip(rig, device),
        "ours + loading": lambda: speed_chip(Rig(network, names, task, test, precision), device),
        "plain": lambda: plain.chip(loading=False),
        "plain + loading": lambda: plain.chip(loading=True),
    }
    for kit in toolkits:
        turns[kit.name] = kit.sweeper(network, task, test)
    return turns
