"""MTRD: multi-teacher robust distillation, in the manuscript's form.

Source: Wu et al., "Robust distillation for compute-in-memory", loss and dynamic teacher weights:
L = alpha T^2 sum_i beta_i KL(softmax(z_i/T) || softmax(z_clean/T)) + (1 - alpha) CE(z_noisy, y).
Teacher i is a noise-injection network at level i of the device's axis (and the nominal one, clean),
frozen, with fresh noise at its own level; the student starts from the teacher at its own level, which is the run's
(`--level`): z_noisy is its output at that level, whatever the teachers' levels, all of the axis.
Deviations: teacher weights follow two validation chips a level on 1,000 validation images, never the
test set; the student's clean pass leaves BatchNorm's running statistics to the noisy pass; the first
improvement is measured against the student's start, so weights are dynamic from the second epoch on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from methods._base import Budget, Context, Deployable, Method, MethodError, Needed, Settings, numbers, setting
from methods._loop import sgd


@dataclass(frozen=True, kw_only=True)
class MtrdSettings(Settings):
    """Settings of MTRD; the student's level is the run's own (`--level`)."""

    temperature: float = setting(
        5.0, "softmax temperature T of the distillation", low=0.1, high=100.0, tune=(1.0, 20.0)
    )
    alpha: float = setting(0.7, "share of the distillation term in the loss", low=0.0, high=1.0)
    weighting: str = setting(
        "rank",
        "how teacher weights follow the student's progress",
        choices=("rank", "softmax", "uniform"),
        unless="betas",
    )
    betas: str | None = setting(
        None,
        "fixed weight of each teacher, by level from the lowest (clean) up, as 1,.5,2; their sum is set to 1",
        low=0.0,
        high=1000.0,
        tune=(0.0, 1.0),
        each_level=True,
    )
    student_epochs: int = setting(
        0, "epochs of distillation; 0: as many as the budget gives to noise", low=0, tune=False
    )


class Mtrd(Method):
    """Distils one noise-injection teacher per device level, and a clean one, into one student."""

    name = "mtrd"
    source = "Wu et al., MTRD"
    rests_on = ("nominal", "noise_injection")
    Settings = MtrdSettings

    def fit(self, context: Context) -> Deployable:
        """Train the missing teachers, then the student for `finetune_epochs`, or its own."""
        task, budget, settings = context.task, context.budget, self.settings
        levels = teacher_levels(context.device.axis.levels)
        fixed = None if settings.betas is None else fixed_weights(settings.betas, levels)
        student = context.train("noise_injection", level=context.level)
        teachers = [
            context.train("noise_injection", level=level) if level > 0 else context.train("nominal") for level in levels
        ]
        for teacher in teachers:
            teacher.eval()
        names = task.analog(student)
        progress = {"betas": fixed or [1 / len(levels)] * len(levels), "scores": []}

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            clean = context.forward(student, inputs, update_statistics=False)
            distillation = torch.zeros((), device=clean.device)
            for beta, level, teacher in zip(progress["betas"], levels, teachers, strict=True):
                with torch.no_grad():
                    lesson = context.forward(teacher, inputs, context.chip(teacher, names, level=level))
                distillation = distillation + beta * task.distill(clean, lesson, settings.temperature)
            noisy = context.forward(student, inputs, context.chip(student, names))
            return settings.alpha * distillation + (1 - settings.alpha) * task.loss(noisy, targets)

        def reweigh() -> None:
            scores = context.score(student, levels)
            better = 1 if task.metric.higher_is_better else -1
            gains = [better * (now - before) for now, before in zip(scores, progress["scores"], strict=True)]
            progress.update(betas=teacher_weights(gains, settings.weighting), scores=scores)

        dynamic = fixed is None and settings.weighting != "uniform"
        if dynamic:
            progress["scores"] = context.score(student, levels)
        sgd(
            context,
            student,
            loss,
            epochs=self.own_epochs(budget),
            lr=budget.finetune_lr,
            state={"progress": progress},
            between_epochs=reweigh if dynamic else None,
        )
        return Deployable(student, names)

    def own_epochs(self, budget: Budget) -> float:
        """Those of the second phase, unless the setting says another number."""
        return self.settings.student_epochs or budget.finetune_epochs

    def passes(self, levels: tuple[float, ...]) -> float:
        """The student's clean and noisy pass, and a forward pass of each teacher."""
        return 2 + len(teacher_levels(levels)) / 3

    def needs(self, level: float, seed: int, levels: tuple[float, ...]) -> tuple[Needed, ...]:
        """The student's start and the teachers."""
        teachers = [Needed("noise_injection", level=each) for each in teacher_levels(levels) if each > 0]
        return Needed("noise_injection", level=level), Needed("nominal"), *teachers


def teacher_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Levels of the teachers, from the clean one up, on a device whose axis has these."""
    return tuple(sorted({0.0, *levels}))


def fixed_weights(betas: str, levels: tuple[float, ...]) -> list[float]:
    """Weights of the teachers at `levels` as the setting says them, their sum 1. MethodError if they don't fit."""
    raw = numbers(betas)
    if len(raw) != len(levels):
        teachers = ", ".join(f"{level:g}" for level in levels)
        raise MethodError(f"setting betas={betas}: must be {len(levels)} numbers, for the teachers at {teachers}")
    if sum(raw) == 0:
        raise MethodError(f"setting betas={betas}: one must be above 0")
    return _shares(raw)


def teacher_weights(gains: list[float], weighting: str) -> list[float]:
    """Normalised weights of the teachers from the student's gain at each teacher's level (points).

    'rank': evenly spaced from 2.5 (least improved) to 1 (most), as in the released code;
    'softmax': softmax(-gain), the manuscript's, with the sign of its prose; 'uniform': equal.
    """
    n = len(gains)
    if weighting == "uniform" or n == 1:
        return [1 / n] * n
    if weighting == "softmax":
        return torch.softmax(-torch.tensor(gains, dtype=torch.float64), 0).tolist()
    order = sorted(range(n), key=lambda i: (gains[i], i))
    raw = [0.0] * n
    for place, i in enumerate(order):
        raw[i] = 2.5 - 1.5 * place / (n - 1)
    return _shares(raw)


def _shares(raw: Sequence[float]) -> list[float]:
    """The same in proportion, their sum 1."""
    whole = math.fsum(raw)
    return [r / whole for r in raw]
