"""NeFT-OVF: negative feedback training with the oriented variational forward.

Source: Qin et al., "Negative Feedback Training", arXiv 2305.14561. Beside the output o at the training level,
three more forward passes of the same weights with independent chips at raised levels, fed back with a minus:
L = CE([o - beta (o_0 + .1 o_1 + .01 o_2)] / 4, y); on the paper's axis the raises are .15, .10 and .05.
Deviations: a raise is stated relative to the device's largest level, .375, .25 and .125 of it, which is the
paper's on its own devices and has a meaning on others (and never goes beyond the axis's maximum); gradients
are the device's, straight-through on NeFT's as there; the raised passes leave BatchNorm's statistics alone;
it starts from the nominal network and trains for the budget's noisy epochs, the paper from scratch.
The paper's beta is .001 for VGG8, the default here, and .1 for ResNet18: tune it elsewhere.
"""

from dataclasses import dataclass

from torch import Tensor

from devices._base import Axis
from methods._base import Context, Deployable, Method, Settings, setting
from methods._feedback import with_feedback
from methods._loop import finetune


@dataclass(frozen=True, kw_only=True)
class NeftOvfSettings(Settings):
    """Settings of OVF; the training level is the run's own (`--level`)."""

    beta: float = setting(1e-3, "strength of the feedback", low=0.0, high=1.0, tune=(1e-5, 1.0))
    rise: float = setting(0.375, "largest raise of the level / largest level of the axis", low=0.0, high=1.0)
    feedbacks: int = setting(3, "passes at raised levels, in even steps from the largest raise down", low=1, high=8)


class NeftOvf(Method):
    """Feeds back, with a minus, what the network says under more noise than it is trained for."""

    name = "neft_ovf"
    source = "Qin et al., NeFT, arXiv 2305.14561"
    rests_on = ("nominal",)
    Settings = NeftOvfSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`."""
        task, settings = context.task, self.settings
        network = context.train("nominal")
        names = task.analog(network)
        levels = raised(context.level, context.device.axis, settings.rise, settings.feedbacks)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            output = context.forward(network, inputs, context.chip(network, names))
            feedbacks = [
                context.forward(network, inputs, context.chip(network, names, level=level), update_statistics=False)
                for level in levels
            ]
            return task.loss(with_feedback(output, feedbacks, settings.beta, task.logits), targets)

        finetune(context, network, loss)
        return Deployable(network, names)

    def passes(self, levels: tuple[float, ...]) -> float:
        """One at the training level, and the raised ones."""
        return 1.0 + self.settings.feedbacks


def raised(level: float, axis: Axis, largest: float, n: int) -> list[float]:
    """n levels above `level`, the highest first: (n, n - 1, ... 1) / n of `largest` times the axis's top level."""
    step = largest * max(axis.levels) / n
    return [min(level + step * (n - i), axis.maximum) for i in range(n)]
