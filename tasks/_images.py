"""What image classification tasks share: splits, augmentation, loss, accuracy and how networks are found."""

from abc import ABC
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks._base import Metric, Split, Splits, Task, stratified_split
from tasks._data import Dataset, load
from tasks._networks import find_network


class ImageClassification(Task, ABC):
    """One label an image, scored by accuracy. A leaf states the data set and the constants below."""

    metric = Metric(name="accuracy", unit="%")
    data: ClassVar[Dataset]
    classes: ClassVar[int] = 10
    in_shape: ClassVar[tuple[int, int, int]]
    mean: ClassVar[tuple[float, ...]]  # of each channel, pixels from 0 to 1
    std: ClassVar[tuple[float, ...]]
    validation: ClassVar[int] = 5_000
    shift_px: ClassVar[int] = 0  # largest random shift in each direction
    flip: ClassVar[bool] = False  # mirror left and right at random

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """uint8 images (n, *in_shape), int64 labels (n,), in a fixed shuffled order; validation by class.

        Raises TaskError if the data can't be had.
        """
        raw = load(self.data, cache, data_dir)
        train, val = stratified_split(raw["train_y"], self.validation)
        test = torch.randperm(len(raw["test_y"]), generator=torch.Generator().manual_seed(2024))

        def pick(part: str, members: Tensor) -> Split:
            return Split(raw[f"{part}_x"][members], raw[f"{part}_y"][members].long())

        return Splits(train=pick("train", train), val=pick("train", val), test=pick("test", test))

    def network(self, name: str, width: float = 1.0) -> nn.Module:
        """The network of tasks/_models/<name>.py, or `timm:NAME?key=value,...`, freshly initialised.

        Raises TaskError for an unknown name (with the nearest one) and for a network that does not
        take images of this size.
        """
        return find_network(name, self.in_shape, self.classes, width)

    def prepare(self, inputs: Tensor) -> Tensor:
        """uint8 (n, c, h, w) -> float32 (n, c, h, w), zero mean and unit deviation, channels last in memory."""

        def constant(values: tuple[float, ...]) -> Tensor:
            # non_blocking: a copy that waits would stall a GPU at every batch.
            return torch.tensor(values).mul_(255).view(1, -1, 1, 1).to(inputs.device, non_blocking=True)

        x = inputs.to(torch.float32, copy=True, memory_format=torch.channels_last)
        return x.sub_(constant(self.mean)).div_(constant(self.std))

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 (n, c, h, w), each image shifted by up to `shift_px` (black moves in) and perhaps mirrored.

        One number is drawn for each image, on the generator's device.
        """
        n, channels, height, width = inputs.shape
        side = 2 * self.shift_px + 1
        outcomes = side * side * (2 if self.flip else 1)
        draw = torch.randint(outcomes, (n,), generator=generator, device=generator.device).to(inputs.device)
        top, left, mirror = draw % side, draw // side % side, draw // (side * side)
        rows = torch.arange(height, device=inputs.device) + top[:, None]
        columns = torch.arange(width, device=inputs.device).expand(n, width)
        columns = torch.where(mirror[:, None] == 1, width - 1 - columns, columns) + left[:, None]
        padded = F.pad(inputs, [self.shift_px] * 4)
        index = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
        flat = index.view(n, 1, height * width).expand(n, channels, height * width)
        return padded.flatten(2).gather(2, flat).view_as(inputs)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats, mean over the batch. `output`: (n, classes) logits; `target`: (n,)."""
        return F.cross_entropy(output, target)

    def distill(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T^2 KL(teacher || student) of the softened distributions, mean over the batch; logits (n, classes)."""
        of_student = F.log_softmax(student.float() / temperature, dim=1)
        of_teacher = F.log_softmax(teacher.float() / temperature, dim=1)
        return temperature**2 * F.kl_div(of_student, of_teacher, reduction="batchmean", log_target=True)

    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """(n,): 100 where the largest logit is the label's, else 0, so that the mean is the accuracy in %."""
        return 100.0 * (output.argmax(dim=1) == target).float()

    def probabilities(self, output: Tensor) -> Tensor:
        """(n, classes): softmax of the logits, in float32."""
        return F.softmax(output.float(), dim=1)
