"""BN recalibrate: every chip estimates its BatchNorm statistics anew, from training samples without their labels.

Source: Joshi et al. 2020, "Accurate deep neural network inference using computational phase-change memory" (adaptive
BatchNorm statistics); Li et al. 2017, "Revisiting Batch Normalization for Practical Domain Adaptation" (AdaBN).
Weights that deviate shift the mean and the variance of what a layer gives; BatchNorm is digital, so a chip can
measure both after programming and take its own:

    m = mean of the batches' means, v = mean of the batches' variances, layer after layer, of a chip's own outputs.

A wrapper: it deploys the run of another method as it is. No sample of the test set is looked at.
Deviations: statistics of equal batches are averaged, where Joshi et al. let them follow with a momentum; the first
samples of the training set, without augmentation, the same for every chip; the deployed network's own statistics
are estimated in the same way, without noise, so that a chip without deviation is that network.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods._base import Budget, Context, Deployable, Method, Needed, Refusal, Settings, setting

BATCH = 500  # at most: samples whose statistics are taken together


@dataclass(frozen=True, kw_only=True)
class BnRecalibrateSettings(Settings):
    """Settings of BN recalibrate; the training level is that of the method that it wraps."""

    method: str = setting(
        "noise_injection", "whose network is deployed, trained with that method's usual settings", tune=False
    )
    samples: int = setting(
        1000, "training samples that a chip runs, without their labels", low=2, high=100_000, tune=False
    )


class Statistics:
    """An adaptation: the statistics of all BatchNorms of a network, over some inputs."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, network: nn.Module, run: Callable[[Tensor], object], inputs: Tensor) -> dict[str, Tensor]:
        """Means and variances by name; the network keeps its own."""
        norms = batch_norms(network)
        with _estimating(list(norms.values())):
            for some in inputs.tensor_split(-(-len(inputs) // BATCH)):
                run(some)
            return {
                f"{name}.{kind}": getattr(norm, kind).clone()
                for name, norm in norms.items()
                for kind in ("running_mean", "running_var")
            }


class BnRecalibrate(Method):
    """Re-estimates BatchNorm statistics on every chip, from unlabelled training samples, for any other method."""

    name = "bn_recalibrate"
    source = "Joshi et al. 2020; Li et al. 2017, AdaBN"
    wraps = "method"
    Settings = BnRecalibrateSettings

    def fit(self, context: Context) -> Deployable:
        """The wrapped method's network, its statistics estimated as a chip's will be."""
        if not batch_norms(context.network()):
            raise Refusal("bn_recalibrate: the network has no BatchNorm whose statistics could be estimated anew")
        network = context.train(self.settings.method).eval()
        samples = context.example(self.settings.samples)
        with torch.no_grad():
            estimated = self.adaptation()(network, lambda x: context.forward(network, x), samples)
        network.load_state_dict(estimated, strict=False)
        return Deployable(network, context.task.analog(network))

    def own_epochs(self, budget: Budget) -> float:
        """None: the training is another run's."""
        return 0

    def needs(self, level: float, seed: int, levels: tuple[float, ...]) -> tuple[Needed, ...]:
        """The run that is deployed."""
        return (Needed(self.settings.method, level=level),)

    def adaptation(self) -> Statistics:
        """Of every chip."""
        return Statistics(self.settings.samples)


def batch_norms(network: nn.Module) -> dict[str, Any]:
    """The BatchNorms that keep statistics, by name."""
    kept = ((name, m) for name, m in network.named_modules() if isinstance(m, _BatchNorm))
    return {name: norm for name, norm in kept if norm.running_mean is not None}


@contextmanager
def _estimating(norms: list[Any]) -> Iterator[None]:
    """BatchNorms average the statistics of the batches that they meet, from none on; afterwards they are as before."""
    before = [(norm.training, norm.momentum, dict(norm.named_buffers(recurse=False))) for norm in norms]
    try:
        for norm in norms:
            for name, buffer in norm.named_buffers(recurse=False):
                setattr(norm, name, torch.zeros_like(buffer))
            norm.momentum = None  # a plain mean over the batches
            norm.training = True
        yield
    finally:
        for norm, (training, momentum, buffers) in zip(norms, before, strict=True):
            norm.training, norm.momentum = training, momentum
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
