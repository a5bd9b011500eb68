"""QAT: quantisation-aware training of the crossbar's weights, with or without device noise on top.

Source: Moro et al., Memristor-Aware Training (MAT), its QAT variants: in the forward pass each tensor's weights are
rounded to `levels` uniform levels from its 1% to its 99% quantile, values beyond them clipped; the gradient
goes straight through to a float copy, which the optimiser moves. What is deployed are the rounded weights.
Deviations: quantiles of tensors of more than 65,536 weights are those of evenly spaced ones among them;
it starts from the nominal network and trains for the budget's noisy epochs, like all methods here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods._base import Context, Deployable, Method, Settings, analog_weights, setting
from methods._loop import finetune

SAMPLE = 2**16  # weights from which quantiles are taken
TAIL = 0.01


@dataclass(frozen=True, kw_only=True)
class QatSettings(Settings):
    """Settings of QAT; with noise, the training level is the run's own (`--level`)."""

    levels: int = setting(16, "values that a weight of one tensor can have", low=2, high=256)
    noise: bool = setting(True, "train on a noisy chip of the rounded weights; if not, on the rounded weights")


class Qat(Method):
    """Trains weights that are rounded to a few levels."""

    name = "qat"
    source = "Moro et al., MAT"
    rests_on = ("nominal",)
    shows_progress = False  # the float copy in training is not rounded
    Settings = QatSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`, and round its weights for good."""
        task, settings = context.task, self.settings
        network = context.train("nominal")
        names = task.analog(network)

        def rounded() -> dict[str, Tensor]:
            return {name: quantised(w, settings.levels) for name, w in analog_weights(network, names).items()}

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            weights = rounded()
            if settings.noise:
                weights = context.program(weights)
            return task.loss(context.forward(network, inputs, weights), targets)

        finetune(context, network, loss)
        with torch.no_grad():
            for name, w in rounded().items():
                network.get_parameter(name).copy_(w)
        return Deployable(network, names)


def quantised(w: Tensor, levels: int) -> Tensor:
    """w of any shape on `levels` uniform levels between its outer quantiles; the gradient is that of w."""
    with torch.no_grad():
        some = w.detach().reshape(-1)
        some = some[:: -(-len(some) // SAMPLE)].float()
        low, high = torch.quantile(some, torch.tensor([TAIL, 1 - TAIL], device=w.device))
        step = ((high - low) / (levels - 1)).clamp(min=1e-12)
        shown = low + step * ((w.clamp(low, high) - low) / step).round()
    return shown + (w - w.detach())  # plus 0, for the gradient
