"""What tasks with a mask for each picture share: augmentation, loss, metrics."""

from abc import ABC
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks._base import Metric, Split, Splits, Task, TaskError
from tasks._images import moved, window
from tasks._networks import find_network

# What was found, what was missed, what isn't there: apart for colour-blind readers too (tests/test_look.py).
MARKS = ((60, 200, 60), (204, 121, 167), (0, 0, 254))
GRID = 4  # of every so many pixels in each direction one is asked for its probabilities: neighbours agree


class Masks(Task, ABC):
    """One mask a picture, scored by intersection over union, mean over pictures."""

    metric = Metric(name="IoU", unit="%")
    networks = ("unet",)
    batch = 50
    picture_note = "green: found; pink: missed; blue: not there"
    in_shape: ClassVar[tuple[int, int, int]]
    shift_px: ClassVar[int] = 8
    turned: ClassVar[bool] = False  # has a picture no up and down, so that it may be turned any way?

    def parted(self, x: Tensor, y: Tensor, train: Tensor, val: Tensor, test: Tensor) -> Splits:
        """uint8 pictures (n, c, h, w) and masks of 0 and 1 (n, 1, h, w), by the indices of each part."""
        for name, members in (("training", train), ("validation", val), ("test", test)):
            if not len(members):
                raise TaskError(f"{self.dataset}: {len(x)} pictures leave none for {name}")
        return Splits(*(Split(x[members], y[members]) for members in (train, val, test)))

    def network(self, name: str, width: float = 1.0) -> nn.Module:
        """The network of tasks/_models/<name>.py, (n, *in_shape) -> logits (n, 1, h, w). TaskError if unknown."""
        return find_network(name, self.in_shape, 1, width, out_shape=(1, *self.in_shape[1:]))

    def prepare(self, inputs: Tensor) -> Tensor:
        """uint8 (n, c, h, w) -> float32 (n, c, h, w), about -2 to 2, channels last in memory."""
        return inputs.to(torch.float32, copy=True, memory_format=torch.channels_last).sub_(127.5).div_(64)

    def augment(
        self, inputs: Tensor, targets: Tensor, turns: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pictures with their masks, shifted by up to `shift_px` and mirrored in the epochs whose turn is 1.

        Where pictures may be turned, half are upside down and half have rows and columns exchanged, at random.
        """
        n, _, height, width = inputs.shape
        index = window((n, height, width), self.shift_px, turns == 1, generator, inputs.device)
        if self.turned:
            draw = torch.randint(2, (2, n, 1, 1), generator=generator, device=generator.device).to(index.device)
            index = torch.where(draw[0] == 1, index.flip(1), index)
            index = torch.where(draw[1] == 1, index.transpose(1, 2), index)
        return moved(inputs, index), moved(targets, index)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy in nats, mean over pixels, plus 1 - soft Dice, mean over pictures; logits."""
        wanted = target.to(output.dtype)
        p = output.sigmoid()
        both, either = (x.flatten(1).sum(1) for x in (p * wanted, p + wanted))
        dice = (2 * both + 1) / (either + 1)
        return F.binary_cross_entropy_with_logits(output, wanted) + 1 - dice.mean()

    def distill(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T^2 BCE(student / T, sigmoid(teacher / T)), mean over pixels: MTRD's form for masks."""
        soft = (teacher.float() / temperature).sigmoid()
        return temperature**2 * F.binary_cross_entropy_with_logits(student.float() / temperature, soft)

    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """(n,): intersection over union in %; 100 where neither the mask nor the answer has a pixel."""
        both, either, _ = _counts(output, target)
        return torch.where(either > 0, 100 * both / either.clamp(min=1), 100.0)

    def details(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Dice and the share of right pixels, both in %."""
        both, either, right = _counts(output, target)
        dice = torch.where(either > 0, 200 * both / (both + either).clamp(min=1), 100.0)
        return {"Dice": dice, "pixel accuracy": 100 * right}

    def picture(self, inputs: Tensor, targets: Tensor, output: Tensor | None = None) -> Tensor:
        """The picture, dimmed, marked where something was rightly found, missed, or isn't there."""
        shown = inputs.expand(-1, 3, -1, -1)
        wanted = targets > 0
        found = wanted if output is None else (output > 0).to(wanted.device)
        marked = shown // 2
        for where, mark in zip((wanted & found, wanted & ~found, found & ~wanted), MARKS, strict=True):
            marked = marked + where * torch.tensor(mark, dtype=torch.uint8, device=marked.device).view(3, 1, 1) // 2
        return marked if output is not None else torch.cat([shown, marked], dim=3)

    def probabilities(self, output: Tensor) -> Tensor:
        """(n, 2, h / GRID, w / GRID): of background and foreground, at one pixel of each GRID x GRID."""
        p = output[:, 0, ::GRID, ::GRID].float().sigmoid()
        return torch.stack([1 - p, p], dim=1)


def _counts(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n,) each: pixels in both, pixels in either, share of right pixels."""
    found, wanted = (output > 0).flatten(1), (target > 0).flatten(1)
    return (found & wanted).sum(1).float(), (found | wanted).sum(1).float(), (found == wanted).float().mean(1)
