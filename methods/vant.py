"""VANT: variance-aware noisy training, noise injection whose level is itself scheduled and scattered.

Source: Wang et al. 2025, "Variance-Aware Noisy Training", arXiv 2503.16183: hardware noise is not one fixed
level, so that of training follows a schedule and a spread. Here, at step t,

    level_t = clamp(m_t (1 + spread z_t), 0, the axis's maximum),  z_t ~ N(0, 1),

with m_t rising linearly from 0 to the run's level over the first `ramp` of the steps.
Deviations: the paper's text was not at hand, so the form of the schedule, that the spread is relative to
the mean level, and the defaults are ours; gradients are kept short, since a step far above the mean level can
throw a network without BatchNorm off; it starts from the nominal network and trains for the budget's noisy
epochs, like all methods here.
"""

from dataclasses import dataclass

from torch import Tensor

from methods._base import Context, Deployable, Method, Settings, setting
from methods._dice import Dice
from methods._loop import finetune, finetune_steps, ramped


@dataclass(frozen=True, kw_only=True)
class VantSettings(Settings):
    """Settings of VANT; the mean level after the ramp is the run's own (`--level`)."""

    spread: float = setting(0.5, "std of the level / its mean", low=0.0, high=2.0)
    ramp: float = setting(0.25, "share of the steps in which the mean level rises from 0", low=0.0, high=1.0)
    max_norm: float | None = setting(
        0.5, "longer gradients are shortened to this norm", low=0.01, high=1000.0, tune=(0.05, 50.0)
    )


class Vant(Method):
    """Trains under device noise whose level follows a schedule and is scattered around it."""

    name = "vant"
    source = "Wang et al. 2025, arXiv 2503.16183"
    rests_on = ("nominal",)
    Settings = VantSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`."""
        task, dice = context.task, Dice(context)
        network = context.train("nominal")
        names = task.analog(network)
        steps, maximum = finetune_steps(context), context.device.axis.maximum
        progress = {"step": 0}

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            progress["step"] += 1
            mean = context.level * ramped(progress["step"] / steps, self.settings.ramp)
            level = min(max(mean * (1 + self.settings.spread * dice.normal()), 0.0), maximum)
            chip = context.chip(network, names, level=level)
            return task.loss(context.forward(network, inputs, chip), targets)

        finetune(context, network, loss, state={"progress": progress}, max_norm=self.settings.max_norm)
        return Deployable(network, names)
