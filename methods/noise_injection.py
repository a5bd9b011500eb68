"""Noise injection: a fresh chip at one training level in every forward pass, in two phases.

Source: Moro et al., Memristor-Aware Training (two phases, straight-through, clip_w); Wu et al.,
MTRD (single-level teachers, gradient through the lognormal factor); Joshi et al. 2020.
Deviations: phase one is the shared nominal run, so that it is trained once; one-cycle SGD in both
phases instead of each paper's own schedule.
"""

from dataclasses import dataclass

from torch import Tensor

from methods._base import Budget, Context, Deployable, Method, Needed, Settings, analog_weights, clip_to_std, setting
from methods._loop import sgd


@dataclass(frozen=True, kw_only=True)
class NoiseInjectionSettings(Settings):
    """Settings of noise injection; the training level is the run's own (`--level`)."""

    warm_start: bool = setting(True, "start from the clean run (phase one); if not, noise from the first step")
    straight_through: bool = setting(False, "pass gradients straight through even where the device has its own")
    clip_w: float | None = setting(
        None, "after each step clip every crossbar tensor to +-clip_w std(w)", low=0.1, tune=(1.0, 5.0)
    )


class NoiseInjection(Method):
    """Trains under one level of device noise, a fresh chip each mini-batch."""

    name = "noise_injection"
    source = "Joshi et al. 2020; Moro et al. (MAT); Wu et al. (MTRD)"
    rests_on = ("nominal",)
    Settings = NoiseInjectionSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`, or train from scratch for all epochs."""
        task, budget, settings = context.task, context.budget, self.settings
        network = context.train("nominal") if settings.warm_start else context.network()
        names = task.analog(network)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            chip = context.chip(network, names, straight_through=settings.straight_through)
            return task.loss(context.forward(network, inputs, chip), targets)

        def clip() -> None:
            for weight in analog_weights(network, names).values():
                clip_to_std(weight, settings.clip_w)

        sgd(
            context,
            network,
            loss,
            epochs=self.own_epochs(budget),
            lr=budget.finetune_lr if settings.warm_start else budget.lr,
            after_step=clip if settings.clip_w is not None else None,
        )
        return Deployable(network, names)

    def own_epochs(self, budget: Budget) -> float:
        """Those of the second phase, or of both."""
        return budget.finetune_epochs if self.settings.warm_start else budget.epochs + budget.finetune_epochs

    def needs(self, level: float, seed: int, levels: tuple[float, ...]) -> tuple[Needed, ...]:
        """The nominal run, where it starts from that."""
        return (Needed("nominal"),) if self.settings.warm_start else ()
