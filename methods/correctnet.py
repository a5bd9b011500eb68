"""CorrectNet: noise injection with weights held near orthogonal, so that errors don't grow from layer to layer.

Source: Eldebiky et al. 2022, "CorrectNet", in the form in which Qin et al. (NeFT, arXiv 2305.14561) compare with it:
L = CE + beta sum over the crossbar's layers of |W^T W - I|^2, beta = 5e-4, with a noisy forward pass.
Deviations: error compensation by extra digital layers is left out, as by Qin et al.; a convolution's W is
(in k k, out); it starts from the nominal network and trains for the budget's noisy epochs, like all methods here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods._base import Context, Deployable, Method, Settings, analog_weights, setting
from methods._loop import finetune


@dataclass(frozen=True, kw_only=True)
class CorrectNetSettings(Settings):
    """Settings of CorrectNet; the training level is the run's own (`--level`)."""

    beta: float = setting(5e-4, "strength of the pull towards orthogonal weights", low=0.0, high=1.0, tune=(1e-6, 0.1))


class CorrectNet(Method):
    """Trains under device noise with a penalty on weights that are far from orthogonal."""

    name = "correctnet"
    source = "Eldebiky et al. 2022; Qin et al., NeFT, arXiv 2305.14561"
    rests_on = ("nominal",)
    Settings = CorrectNetSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`."""
        task = context.task
        network = context.train("nominal")
        names = task.analog(network)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            noisy = context.forward(network, inputs, context.chip(network, names))
            far = torch.stack([distance(w) for w in analog_weights(network, names).values()]).sum()
            return task.loss(noisy, targets) + self.settings.beta * far

        finetune(context, network, loss)
        return Deployable(network, names)


def distance(w: Tensor) -> Tensor:
    """|W^T W - I|^2 (Frobenius) of a layer with weight w: (out, in, ...), W its transpose as a matrix.

    From the smaller of the two Gram matrices: |A A^T - I_out|^2 - out = |A^T A - I_in|^2 - in for A = (out, in).
    """
    matrix = w.flatten(1)
    out, into = matrix.shape
    gram = matrix @ matrix.T if out <= into else matrix.T @ matrix
    return (gram - torch.eye(len(gram), device=w.device, dtype=w.dtype)).square().sum() + (out - len(gram))
