"""Double weights: W+ and W-, each at least 0, are trained separately and are what both cells of a pair are given.

Source: Joksas, Wang et al. 2022, Advanced Science (nonideality-aware training), double weights:

    G+- = G_off + k_G W+-,  k_G = (G_on - G_off) / max(W+, W-),    L = CE(f(C(W+, W-))) + l1 sum (W+ + W-)

on a fresh chip each step. The minimum rule leaves one cell of a pair at G_off whatever the weight; here training
chooses where both lie, and the L1 term draws both to low conductances, so that reading takes less power. A device
without cells is given W+ - W-: there it is noise injection with an L1 term, and no power is known.
Deviations: it starts from the nominal network, split by the minimum rule, and trains for the budget's noisy epochs,
like all methods here, with the budget's weight decay on both halves; after each step halves below 0 are set to 0; l1
is that of the source's option and counts crossbar weights alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods._base import Context, Deployable, Method, Settings, WeightPairs, carry_pairs, programmable, setting
from methods._loop import finetune


@dataclass(frozen=True, kw_only=True)
class DoubleWeightsSettings(Settings):
    """Settings of double weights; the training level is the run's own (`--level`)."""

    l1: float = setting(1e-4, "strength of the pull of W+ and W- towards 0", low=0.0, high=1.0, tune=(1e-6, 1e-2))


class DoubleWeights(Method):
    """Trains both cells of every pair, W+ and W-, under device noise, with an L1 term that saves power."""

    name = "double_weights"
    source = "Joksas et al. 2022, nonideality-aware training"
    rests_on = ("nominal",)
    Settings = DoubleWeightsSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network, its weights split in two, for `finetune_epochs`."""
        task = context.task
        network = context.train("nominal")
        names = task.analog(network)
        self.frame(network, names)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            pairs = _pairs(network, names)
            noisy = context.forward(network, inputs, context.program(pairs))
            return task.loss(noisy, targets) + self.settings.l1 * size(pairs)

        def join() -> None:
            with torch.no_grad():
                pairs = _pairs(network, names)
                for name in names:
                    plus, minus = pairs.plus[name].clamp_(min=0), pairs.minus[name].clamp_(min=0)
                    network.get_parameter(name).copy_(plus - minus)

        finetune(context, network, loss, after_step=join)
        return Deployable(network, names)

    def frame(self, network: nn.Module, analog: tuple[str, ...]) -> nn.Module:
        """The network with both halves beside each crossbar weight, which the optimiser leaves to them."""
        carry_pairs(network, analog)
        for name in analog:
            network.get_parameter(name).requires_grad_(False)
        return network


def _pairs(network: nn.Module, names: tuple[str, ...]) -> WeightPairs:
    pairs = programmable(network, names)
    assert isinstance(pairs, WeightPairs)
    return pairs


def size(pairs: WeightPairs) -> Tensor:
    """Sum of all W+ and W-, (); they are at least 0."""
    return torch.stack([half.sum() for side in (pairs.plus, pairs.minus) for half in side.values()]).sum()
