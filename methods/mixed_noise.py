"""Mixed noise: noise injection at a level drawn anew each step from the whole axis of the device.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD), the comparator trained on mixed
noise of sigma .1 to .5. One network that has met all levels, without teachers.
Deviations: it starts from the nominal network and trains for the budget's noisy epochs, like all methods
here; the levels are those of the device's axis above 0, all equally likely, since the source does not say
how it draws; gradients are kept short, since the axis's last level can throw a network without BatchNorm off.
"""

from dataclasses import dataclass

from torch import Tensor

from methods._base import Context, Deployable, Method, Settings, setting
from methods._dice import Dice
from methods._loop import finetune


@dataclass(frozen=True, kw_only=True)
class MixedNoiseSettings(Settings):
    """Settings of mixed noise, which has no one training level."""

    draw: str = setting(
        "levels", "a step's level: one of the axis above 0, or uniform up to its largest", choices=("levels", "uniform")
    )
    max_norm: float | None = setting(
        0.5, "longer gradients are shortened to this norm", low=0.01, high=1000.0, tune=(0.05, 50.0)
    )


class MixedNoise(Method):
    """Trains under device noise whose level is drawn from the whole axis each mini-batch."""

    name = "mixed_noise"
    source = "Wu et al., MTRD (comparator)"
    uses_level = False
    rests_on = ("nominal",)
    Settings = MixedNoiseSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`."""
        task, dice = context.task, Dice(context)
        network = context.train("nominal")
        names = task.analog(network)
        levels = [level for level in context.device.axis.levels if level > 0]

        def level() -> float:
            share = dice.uniform()
            if not levels:  # a device without any deviation
                return 0.0
            return levels[int(share * len(levels))] if self.settings.draw == "levels" else share * max(levels)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            chip = context.chip(network, names, level=level())
            return task.loss(context.forward(network, inputs, chip), targets)

        finetune(context, network, loss, max_norm=self.settings.max_norm)
        return Deployable(network, names)
