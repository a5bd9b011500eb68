"""Double weights: W+ and W-, each at least 0, are trained separately and are what both cells of a pair are given.

Source: Joksas, Wang et al. 2022, Advanced Science (nonideality-aware training), double weights:

    G+- = G_off + k_G W+-,  k_G = (G_on - G_off) / max(W+, W-),    L = CE(f(C(W+, W-))) + l1 sum (W+ + W-)

on a fresh chip each step. The minimum rule leaves one cell of a pair at G_off whatever the weight; here both are free,
and the L1 term draws both to low conductances, which take little power to read: less than after noise injection where
l1 is large enough, mostly a little more at the source's 1e-4 (docs/methods.md). A device without cells has no
pairs: there w itself is trained, which is noise injection with l1 sum |w|, and then split by the minimum rule.
Deviations: it starts from the nominal network, split by the minimum rule, and trains for the budget's noisy epochs,
like all methods here, with the budget's weight decay on both halves; after each step halves below 0 are set to 0; l1
is that of the source's option and counts crossbar weights alone; but for siox_*, whose gradients are those of each
cell's current, training is straight-through: gradients to W+ and W- are exactly opposite, so that only L1, weight decay
and the clamp at 0 move what the two have in common.
"""

from collections.abc import Mapping
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
    """Trains both cells of every pair, W+ and W-, under device noise, with an L1 term on both."""

    name = "double_weights"
    source = "Joksas et al. 2022, nonideality-aware training"
    rests_on = ("nominal",)
    Settings = DoubleWeightsSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network, its weights split in two, for `finetune_epochs`."""
        task = context.task
        network = context.train("nominal")
        names = task.analog(network)
        has_cells = context.device.conductances_us is not None
        if has_cells:
            self.frame(network, names)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            weights = programmable(network, names)
            noisy = context.forward(network, inputs, context.program(weights))
            return task.loss(noisy, targets) + self.settings.l1 * size(weights)

        finetune(context, network, loss, after_step=(lambda: join(network, names)) if has_cells else None)
        if not has_cells:
            self.frame(network, names)
        return Deployable(network, names)

    def frame(self, network: nn.Module, analog: tuple[str, ...]) -> nn.Module:
        """The network with both halves beside each crossbar weight, which the optimiser leaves to them."""
        carry_pairs(network, analog)
        for name in analog:
            network.get_parameter(name).requires_grad_(False)
        return network


@torch.no_grad()
def join(network: nn.Module, names: tuple[str, ...]) -> None:
    """Set halves below 0 to 0, and each weight to the difference of its halves."""
    pairs = programmable(network, names)
    assert isinstance(pairs, WeightPairs)
    for name in names:
        plus, minus = pairs.plus[name].clamp_(min=0), pairs.minus[name].clamp_(min=0)
        network.get_parameter(name).copy_(plus - minus)


def size(weights: Mapping[str, Tensor]) -> Tensor:
    """Sum of all W+ and W-, which are at least 0, or of all |w| where weights are no pairs; ()."""
    if isinstance(weights, WeightPairs):
        return torch.stack([half.sum() for side in (weights.plus, weights.minus) for half in side.values()]).sum()
    return torch.stack([w.abs().sum() for w in weights.values()]).sum()
