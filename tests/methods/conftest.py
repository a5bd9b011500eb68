"""A real TrainingContext on a few random pictures, or what a test has, which writes down what a method does with it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import plan
from bench.context import TrainingContext, build_network
from bench.progress import Monitor
from bench.spec import Training
from bench.store import Checkpoints
from methods._base import Deployable
from tasks._base import Split, Splits

CPU = torch.device("cpu")


@dataclass
class Pass:
    """A forward pass: what it was given and what came out."""

    inputs: Tensor
    chip: Mapping[str, Tensor] | None
    weights: dict[str, Tensor]  # the network's own at that moment
    update_statistics: bool
    output: Tensor


class Watched(TrainingContext):
    """Keeps chips' levels and forward passes, in order; other runs' networks are untrained ones."""

    def __init__(self, training: Training, tmp_path: Any, split: Split) -> None:
        self.levels: list[float] = []
        self.programmed: list[dict[str, Tensor]] = []
        self.chips: list[dict[str, Tensor]] = []
        self.passes: list[Pass] = []
        self.asked: list[Training] = []
        self.others: list[nn.Module] = []
        super().__init__(
            training,
            task=plan.task_of(training.task),
            device=plan.device_of(training.device, training.device_settings),
            splits=Splits(train=split, val=split, test=split),
            processor=CPU,
            checkpoints=Checkpoints(tmp_path / "checkpoints"),
            work=Monitor(quiet=True).work("test", 1),
            train_other=self._untrained,
            variant=plan.variant,
        )

    def _untrained(self, other: Training) -> nn.Module:
        self.asked.append(other)
        self.others.append(build_network(self.task, other, CPU))
        return self.others[-1]

    def program(self, weights, *, level=None, straight_through=False):
        self.levels.append(self.level if level is None else level)
        self.programmed.append({name: w.detach().clone() for name, w in weights.items()})
        chip = super().program(weights, level=level, straight_through=straight_through)
        self.chips.append({name: w.detach().clone() for name, w in chip.items()})
        return chip

    def forward(self, network, inputs, chip=None, *, update_statistics=True):
        output = super().forward(network, inputs, chip, update_statistics=update_statistics)
        weights = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.passes.append(Pass(inputs, chip, weights, update_statistics, output))
        return output

    def fit(self) -> Deployable:
        """What the run's method makes of it."""
        return plan.method_of(self.training.method, self.training.settings).fit(self)


def pictures(n: int, shape: tuple[int, ...]) -> Split:
    """Random pixels, labels 0 to 9."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=draw)
    return Split(images, torch.randint(0, 10, (n,), generator=draw))


@pytest.fixture
def watch(tmp_path, one_cell) -> Callable[..., Watched]:
    """The context of a method's run on a device: a small MLP on MNIST unless told otherwise."""

    def make(
        method: str,
        device: str = "rram",
        *,
        samples: int = 64,
        task: str = "mnist",
        shape: tuple[int, ...] = (1, 28, 28),
        seed: int = 0,
        split: Split | None = None,
        **asked: Any,
    ) -> Watched:
        small = {"network": "mlp", "width": 0.25, "train_samples": samples, "batch_size": 16}
        cell = one_cell(method, device, task, **small | asked)
        training = dataclasses.replace(cell.evaluation.training, seed=seed)
        return Watched(training, tmp_path, split or pictures(samples, shape))

    return make


@pytest.fixture
def loss_of(monkeypatch) -> Callable[[Watched], Callable[[Tensor, Tensor], Tensor]]:
    """The loss that a run's method minimises, and nothing trained."""

    class Caught(BaseException):
        pass

    def catch(context: Watched) -> Callable[[Tensor, Tensor], Tensor]:
        caught: list[Any] = []

        def stop(context: Watched, network: nn.Module, loss: Any, **rest: Any) -> None:
            caught.append(loss)
            raise Caught  # before the method tidies up

        monkeypatch.setattr(f"methods.{context.training.method}.finetune", stop)
        with pytest.raises(Caught):
            context.fit()
        return caught[0]

    return catch
