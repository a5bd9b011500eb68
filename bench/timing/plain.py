"""The yardstick of `bench speed`: noisy training and sweeps the way published code writes them.

Noisy layers that draw their own noise in every forward pass, fp32, one network copied for each chip,
a DataLoader. Nothing else in the bench uses it.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tasks._base import Split, Task


class NoisyConv2d(nn.Conv2d):
    """A convolution whose weights get fresh lognormal factors in every forward pass."""

    sigma = 0.0

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight * torch.exp(torch.randn_like(self.weight) * self.sigma) if self.sigma else self.weight
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]


class NoisyLinear(nn.Linear):
    """A linear layer whose weights get fresh lognormal factors in every forward pass."""

    sigma = 0.0

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight * torch.exp(torch.randn_like(self.weight) * self.sigma) if self.sigma else self.weight
        return F.linear(input, weight, self.bias)


def noisy(network: nn.Module, sigma: float) -> nn.Module:
    """A copy whose convolutions and linear layers draw their own noise."""
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = NoisyConv2d
        elif type(module) is nn.Linear:
            module.__class__ = NoisyLinear
        if isinstance(module, NoisyConv2d | NoisyLinear):
            module.sigma = sigma
    return network


class Trainer:
    """SGD steps on ready-made fp32 batches (so without the cost of loading and augmenting them)."""

    def __init__(self, network: nn.Module, task: Task, split: Split, sigma: float) -> None:
        """`split`: the one batch that every step sees."""
        self.network, self.task = noisy(network, sigma).train(), task
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.inputs, self.targets = task.prepare(split.inputs).contiguous(), split.targets

    def step(self) -> None:
        """One step."""
        loss = self.task.loss(self.network(self.inputs), self.targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class _Images(Dataset):
    """Prepares one sample at a time, as a torchvision data set with transforms does."""

    def __init__(self, task: Task, split: Split) -> None:
        self.task, self.split = task, split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.task.prepare(self.split.inputs[i : i + 1])[0].contiguous(), self.split.targets[i]


class Sweeper:
    """Chips one after the other, each a perturbed copy of the network."""

    def __init__(self, network: nn.Module, task: Task, split: Split, sigma: float, batch_size: int = 128) -> None:
        self.network = copy.deepcopy(network).to(memory_format=torch.contiguous_format).eval()
        self.task, self.sigma = task, sigma
        self.loader = DataLoader(_Images(task, split), batch_size=batch_size)
        self.ready = [(x.clone(), y) for x, y in self.loader]

    def chip(self, loading: bool) -> float:
        """The metric of a fresh chip; `loading`: through the DataLoader, else on batches held in memory."""
        chip = copy.deepcopy(self.network)
        batches: Any = self.loader if loading else self.ready
        total, count = 0.0, 0
        with torch.no_grad():
            for weight in _crossbars(chip):
                weight.mul_(torch.exp(torch.randn_like(weight) * self.sigma))
            for inputs, targets in batches:
                total += self.task.correct(chip(inputs), targets).sum().item()
                count += len(targets)
        return total / count


def _crossbars(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield module.weight
