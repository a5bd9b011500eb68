"""HWA: hardware-aware training as for analog in-memory computing, all its ingredients together.

Source: Rasch et al. 2023, "Hardware-aware training for large-scale and diverse deep learning inference workloads
using in-memory computing-based accelerators", arXiv 2302.08469. Starts from the float network, which is also
the teacher: L = .9 T^2 KL(teacher, noisy) + .1 CE(noisy), T = 4. Noise passes gradients straight through and ramps
up over the first eighth of the epochs (there 10 of 80); 1% of the weights are dropped at each step. A weight is a
digital scale times what is on the crossbar, w = a g u, with |u| <= 1 clipped after each step, g learned, one a layer
or a column, and a = sqrt(3 / fan_in) fixed (crossbar-aware weight scaling). Between epochs u is stretched to max|u| = 1
and g made smaller by as much (remap), which leaves the function as it is.
Deviations: noise ramps up to the run's level, not to three times the device's (`peak` says how far); u is stepped
as w would be, so that the budget's learning rate fits it, and a scale's own part in that is g's; weights beyond
`clip_w` std are clipped at the start and at each remap, with MAT's 2.5, since no value is known to us; scales
are folded into the weights at the end, as every device here scales by the largest weight itself (by column
with `device.scale=column`). Converters are the device's; where it has a DAC its input ranges are learned along with the
weights, unless it says `input_range=static`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods._base import Context, Deployable, Method, Settings, analog_weights, clip_to_std, setting, weight_peaks
from methods._carry import carry, drop
from methods._loop import finetune, finetune_steps, ramped


@dataclass(frozen=True, kw_only=True)
class HwaSettings(Settings):
    """Settings of HWA; the noise after the ramp is at the run's own level (`--level`)."""

    ramp: float = setting(0.125, "share of the steps in which the noise rises from 0", low=0.0, high=1.0)
    peak: float = setting(1.0, "level after the ramp / the run's level", low=0.0, high=5.0, tune=False)
    drop_connect: float = setting(0.01, "share of the weights that are 0 in a step", low=0.0, high=0.5, tune=(0.0, 0.1))
    clip_w: float | None = setting(
        2.5, "clip crossbar tensors to +-clip_w std(w) at each remap", low=0.1, high=20.0, tune=(1.0, 5.0)
    )
    remap: str = setting("layer", "what shares a digital scale", choices=("layer", "column"))
    caws: bool = setting(True, "learn digital scales in units of sqrt(3 / fan_in)")
    temperature: float = setting(
        4.0, "softmax temperature T of the distillation", low=0.1, high=100.0, tune=(1.0, 20.0)
    )
    soft: float = setting(0.9, "share of the distillation in the loss", low=0.0, high=1.0)
    straight_through: bool = setting(True, "pass gradients straight through even where the device has its own")


class Hwa(Method):
    """Distils the clean network into a noisy one, with clipped, remapped and dropped weights."""

    name = "hwa"
    source = "Rasch et al. 2023, arXiv 2302.08469"
    rests_on = ("nominal",)
    learns_ranges = True
    Settings = HwaSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`."""
        task, settings = context.task, self.settings
        network, teacher = context.train("nominal"), context.train("nominal").eval()
        names = task.analog(network)
        scales = DigitalScales(analog_weights(network, names), settings.remap, settings.caws, settings.clip_w)
        carry(network, names, "digital_scales", scales)  # so that optimizer and checkpoints have them
        steps, progress = finetune_steps(context), {"step": 0}

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            progress["step"] += 1
            level = settings.peak * context.level * ramped(progress["step"] / steps, settings.ramp)
            weights = dropped(scales(analog_weights(network, names)), settings.drop_connect, context.generator)
            level = min(level, context.device.axis.maximum)
            chip = context.program(weights, level=level, straight_through=settings.straight_through)
            noisy = context.forward(network, inputs, chip)
            with torch.no_grad():
                lesson = context.forward(teacher, inputs)
            soft = task.distill(noisy, lesson, settings.temperature)
            return settings.soft * soft + (1 - settings.soft) * task.loss(noisy, targets)

        finetune(
            context,
            network,
            loss,
            state={"progress": progress},
            after_step=lambda: scales.clip(analog_weights(network, names)),
            between_epochs=lambda: scales.remap(analog_weights(network, names)),
        )
        scales.fold(analog_weights(network, names))
        drop(network, names, "digital_scales")
        return Deployable(network, names)

    def passes(self, levels: tuple[float, ...]) -> float:
        """The network's, and a forward pass of the teacher."""
        return 1 + 1 / 3


class DigitalScales(nn.Module):
    """What is digital beside each crossbar weight: its scale, as w = unit g (stored / bound), |stored| <= bound.

    The stored weight is u in the network's own units, so that it is what the network's parameter holds; `bound` is
    where |u| = 1. After `remap`, unit g = bound and the stored weight is w itself.
    """

    def __init__(self, weights: Mapping[str, Tensor], by: str, caws: bool, clip_w: float | None) -> None:
        super().__init__()
        self.names, self.by, self.clip_w = tuple(weights), by, clip_w
        # w: (out, in, ...); fan_in = in times the kernel's size
        self.units = [(3 / w[0].numel()) ** 0.5 if caws else 1.0 for w in weights.values()]
        peaks = [self._peaks(w.detach()) for w in weights.values()]
        self.gains = nn.ParameterList([p / unit for p, unit in zip(peaks, self.units, strict=True)])
        for i, peak in enumerate(peaks):
            self.register_buffer(f"bound{i}", peak)
        self.remap(weights)

    def forward(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights by name, with gradients to the stored ones and to the gains."""
        return {name: stored[name] * self._factor(i) for i, name in enumerate(self.names)}

    @torch.no_grad()
    def clip(self, stored: Mapping[str, Tensor]) -> None:
        """Nothing on the crossbar beyond what a cell can hold: |u| <= 1."""
        for i, name in enumerate(self.names):
            stored[name].clamp_(-self._bound(i), self._bound(i))

    @torch.no_grad()
    def fold(self, stored: Mapping[str, Tensor]) -> None:
        """The stored weights become the weights themselves."""
        for i, name in enumerate(self.names):
            stored[name].mul_(self._factor(i))

    @torch.no_grad()
    def remap(self, stored: Mapping[str, Tensor]) -> None:
        """Stretch every crossbar to max|u| = 1, with the scale that keeps its weights; `clip_w` first narrows them."""
        self.fold(stored)
        for i, name in enumerate(self.names):
            if self.clip_w is not None:
                clip_to_std(stored[name], self.clip_w)
            self._bound(i).copy_(self._peaks(stored[name]))
            self.gains[i].copy_(self._bound(i) / self.units[i])

    def _bound(self, i: int) -> Tensor:
        return self.get_buffer(f"bound{i}")

    def _factor(self, i: int) -> Tensor:
        return self.units[i] * self.gains[i] / self._bound(i)

    def _peaks(self, w: Tensor) -> Tensor:
        """Largest |w| of a scale, () or (out, 1, ...); never 0."""
        return weight_peaks(w, self.by).clamp(min=1e-12)


def dropped(weights: Mapping[str, Tensor], share: float, generator: torch.Generator) -> dict[str, Tensor]:
    """The weights, a random `share` of each tensor 0."""
    if share == 0:
        return dict(weights)
    return {name: w * torch.empty_like(w).bernoulli_(1 - share, generator=generator) for name, w in weights.items()}
