"""Noise back: every few batches the weights themselves become those of a noisy chip, and training goes on from there.

Source: Moro et al., Memristor-Aware Training (MAT), the comparator that adds noise to the weights for good
every k batches instead of injecting it in the forward pass.
Deviations: it starts from the nominal network and trains for the budget's noisy epochs, like all methods
here; the source's k is not known to us, and 400 is ours (docs/log.md: noise that comes more often than it heals
ruins the network); the last noise comes `until` of the way, so that what is deployed had time to heal (with a
learning rate that falls to 0, noise at the very end would stay). Runs too short for two noises at that pace have two.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods._base import Context, Deployable, Method, Settings, analog_weights, setting
from methods._loop import finetune, finetune_steps


@dataclass(frozen=True, kw_only=True)
class NoiseBackSettings(Settings):
    """Settings of noise back; the level of the noise is the run's own (`--level`)."""

    every: int = setting(
        400, "batches from one noise to the next; fewer where a run is short", low=1, high=10_000, tune=(1, 1000)
    )
    until: float = setting(0.8, "share of the steps after which no more noise comes", low=0.0, high=1.0)


class NoiseBack(Method):
    """Adds device noise to the weights for good every few batches; forward passes are clean."""

    name = "noise_back"
    version = "2"
    source = "Moro et al., MAT (comparator)"
    rests_on = ("nominal",)
    Settings = NoiseBackSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`."""
        task, settings = context.task, self.settings
        network = context.train("nominal")
        names = task.analog(network)
        last = int(settings.until * finetune_steps(context))
        every = min(settings.every, max(1, last // 2))
        progress = {"step": 0}

        @torch.no_grad()
        def disturb() -> None:
            chip = context.chip(network, names)
            for name, weight in analog_weights(network, names).items():
                weight.copy_(chip[name])

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            progress["step"] += 1
            if progress["step"] % every == 0 and progress["step"] <= last:
                disturb()
            return task.loss(context.forward(network, inputs), targets)

        finetune(context, network, loss, state={"progress": progress})
        return Deployable(network, names)
