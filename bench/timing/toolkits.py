"""aihwkit and aihwkit-lightning on the same network, where they are installed (docs/performance.md says how).

Their noise model: additive Gaussian on the weights in training, PCM programming noise in the sweep.
"""

import copy
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from bench.timing.turns import Turn
from tasks._base import Split, Task

STD = 0.1  # of the additive noise, relative to max|w|


@dataclass(frozen=True)
class Toolkit:
    """A toolkit that can be imported: makes a training step, and a chip over a split, to be timed."""

    name: str
    version: str
    trainer: Callable[[nn.Module, Task, Split], Turn]
    sweeper: Callable[[nn.Module, Task, Split], Turn]


def available() -> tuple[list[Toolkit], dict[str, str]]:
    """(the toolkits that can be imported, name -> why not of the others)."""
    found, missing = [], {}
    for name, module, trainer, sweeper in (
        ("aihwkit", "aihwkit", _aihwkit_trainer, _aihwkit_sweeper),
        ("aihwkit-lightning", "aihwkit_lightning", _lightning_trainer, _lightning_sweeper),
    ):
        try:
            importlib.import_module(module)
            found.append(Toolkit(name, version(name), trainer, sweeper))
        except Exception as error:  # a toolkit that is there but broken is not there
            missing[name] = " ".join(str(error).split())[:120]
    return found, missing


def _loop(network: nn.Module, optimizer: torch.optim.Optimizer, task: Task, split: Split) -> Turn:
    inputs, targets = task.prepare(split.inputs).contiguous(), split.targets

    def step() -> None:
        loss = task.loss(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _aihwkit_network(network: nn.Module) -> Any:
    from aihwkit.inference import PCMLikeNoiseModel  # type: ignore[import-not-found]
    from aihwkit.nn.conversion import convert_to_analog  # type: ignore[import-not-found]
    from aihwkit.simulator.configs import TorchInferenceRPUConfig  # type: ignore[import-not-found]
    from aihwkit.simulator.parameters import WeightModifierType  # type: ignore[import-not-found]

    config = TorchInferenceRPUConfig()
    config.modifier.type = WeightModifierType.ADD_NORMAL
    config.modifier.std_dev = STD
    config.noise_model = PCMLikeNoiseModel(g_max=25.0)
    config.forward.is_perfect = True  # no converters: neither side has them
    return convert_to_analog(copy.deepcopy(network).to(memory_format=torch.contiguous_format), config)


def _aihwkit_trainer(network: nn.Module, task: Task, split: Split) -> Turn:
    from aihwkit.optim import AnalogSGD  # type: ignore[import-not-found]

    analog = _aihwkit_network(network).train()
    optimizer = AnalogSGD(analog.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    optimizer.regroup_param_groups(analog)
    return _loop(analog, optimizer, task, split)


def _aihwkit_sweeper(network: nn.Module, task: Task, split: Split) -> Turn:
    analog = _aihwkit_network(network).eval()
    batches = [task.prepare(x).contiguous() for x in split.inputs.split(128)]

    def chip() -> None:
        with torch.no_grad():
            analog.drift_analog_weights(1.0)  # programs with noise, then drifts
            for inputs in batches:
                analog(inputs)

    return chip


def _lightning_network(network: nn.Module) -> nn.Module:
    from aihwkit_lightning.nn.conversion import convert_to_analog  # type: ignore[import-not-found]
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig  # type: ignore[import-not-found]
    from aihwkit_lightning.simulator.parameters import WeightNoiseInjectionType  # type: ignore[import-not-found]

    config = TorchInferenceRPUConfig()
    config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL
    config.modifier.std_dev = STD
    return convert_to_analog(copy.deepcopy(network).to(memory_format=torch.contiguous_format), config)


def _lightning_trainer(network: nn.Module, task: Task, split: Split) -> Turn:
    analog = _lightning_network(network).train()
    return _loop(analog, torch.optim.SGD(analog.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4), task, split)


def _lightning_sweeper(network: nn.Module, task: Task, split: Split) -> Turn:
    """It has no chips of its own: weights are perturbed by the PCM programming polynomial, as its users do."""
    analog = _lightning_network(network).eval()
    clean = copy.deepcopy(analog.state_dict())
    batches = [task.prepare(x).contiguous() for x in split.inputs.split(128)]

    def chip() -> None:
        with torch.no_grad():
            for name, weight in analog.state_dict().items():
                if weight.dim() < 2:
                    continue
                peak = clean[name].abs().max().clamp_min(1e-12)
                x = clean[name].abs() / peak
                std = (0.26348 + 1.9650 * x - 1.1731 * x**2) / 25  # Joshi et al. 2020
                weight.copy_(clean[name] + torch.randn_like(weight) * std * peak)
            for inputs in batches:
                analog(inputs)

    return chip
