"""SAM: sharpness-aware minimisation, which looks for weights whose whole neighbourhood has a low loss.

Source: Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization": each step
takes its gradient at w + e with e = rho g / |g|, g the gradient at w, over all parameters. With `adaptive`,
e = rho w^2 g / |(|w| g)| (Kwon et al. 2021, ASAM), a neighbourhood in relative terms.
It does not see the device: a comparator for what flat minima alone are worth, and one run serves all devices.
Deviations: it starts from the nominal network and trains for the budget's noisy epochs, like all methods here
(a step is two forward and backward passes); BatchNorm's statistics follow the first pass alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods._base import Context, Deployable, Method, Settings, setting
from methods._loop import finetune


@dataclass(frozen=True, kw_only=True)
class SamSettings(Settings):
    """Settings of SAM."""

    rho: float = setting(
        0.05, "radius of the neighbourhood, in the weights' own units", low=0.0, high=10.0, tune=(0.005, 2.0)
    )
    adaptive: bool = setting(False, "radius relative to each weight's size (ASAM, whose usual rho is 0.5)")


class Sam(Method):
    """Minimises the loss at the worst point near the weights; no noise."""

    name = "sam"
    source = "Foret et al. 2021, SAM; Kwon et al. 2021, ASAM"
    uses_device = False
    rests_on = ("nominal",)
    Settings = SamSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`."""
        task, settings = context.task, self.settings
        network = context.train("nominal")

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            here = task.loss(context.forward(network, inputs), targets)
            near = worst_neighbour(network, here, settings.rho, settings.adaptive)
            return task.loss(context.forward(network, inputs, near, update_statistics=False), targets)

        finetune(context, network, loss)
        return Deployable(network, task.analog(network))

    def passes(self, levels: tuple[float, ...]) -> float:
        """One here and one at the worst neighbour."""
        return 2.0


def worst_neighbour(network: nn.Module, loss: Tensor, rho: float, adaptive: bool) -> dict[str, Tensor]:
    """Trained parameters by name, moved by rho up the gradient of `loss`; their gradient is the unmoved ones'."""
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters.values(), found, strict=True)]
    with torch.no_grad():
        sizes = [p.abs() if adaptive else torch.ones_like(p) for p in parameters.values()]
        norm = torch.stack([(t * g).square().sum() for t, g in zip(sizes, gradients, strict=True)]).sum().sqrt()
        moves = [rho * t * t * g / norm.clamp(min=1e-12) for t, g in zip(sizes, gradients, strict=True)]
    return {name: p + move for (name, p), move in zip(parameters.items(), moves, strict=True)}
