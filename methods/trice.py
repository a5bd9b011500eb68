"""TRICE: noise injection with right-censored noise, for the worst chips rather than the mean.

Source: Yan et al. 2023, "Improving Realistic Worst-Case Performance of NVCiM DNN Accelerators through Training
with Right-Censored Gaussian Noise", arXiv 2307.15853: noise above a threshold is set to the threshold,

    w' = w + min(d, cutoff s),

where d is Gaussian with deviation s. It raises the k-th percentile of a chip's accuracy, which records show.
Deviations: d is the device's own deviation from the weight and s its root mean square over a tensor, so that on
`gaussian` this is the paper's noise, and on other devices the same right tail is cut; the paper searches its
threshold automatically, here it is a setting, 1 by default, for the tuner; it starts from the nominal
network and trains for the budget's noisy epochs, like all methods here. Where cells don't obey Ohm's law
(`Device.curve`), products are computed from the cells, which are not censored: there it is noise injection.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._base import Chip
from methods._base import Context, Deployable, Method, Settings, analog_weights, setting
from methods._loop import finetune


@dataclass(frozen=True, kw_only=True)
class TriceSettings(Settings):
    """Settings of TRICE; the training level is the run's own (`--level`)."""

    cutoff: float = setting(1.0, "largest deviation upwards / its root mean square", low=-1.0, high=5.0)


class Trice(Method):
    """Trains under device noise whose right tail is set to a threshold."""

    name = "trice"
    source = "Yan et al. 2023, arXiv 2307.15853"
    rests_on = ("nominal",)
    Settings = TriceSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`."""
        task = context.task
        network = context.train("nominal")
        names = task.analog(network)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            chip = context.chip(network, names)
            shown = right_censored(chip, analog_weights(network, names), self.settings.cutoff)
            return task.loss(context.forward(network, inputs, shown), targets)

        finetune(context, network, loss)
        return Deployable(network, names)


def right_censored(chip: Mapping[str, Tensor], clean: Mapping[str, Tensor], cutoff: float) -> Mapping[str, Tensor]:
    """The chip, deviations above `cutoff` times their rms set to that; the gradient of those is the clean weight's."""
    shown = {}
    for name, weight in clean.items():
        deviation = chip[name].detach() - weight.detach()
        shown[name] = torch.minimum(chip[name], weight + cutoff * deviation.square().mean().sqrt())
    return chip.showing(shown) if isinstance(chip, Chip) else shown
