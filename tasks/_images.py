"""What image classification tasks share: splits, augmentation and how networks are found."""

from abc import ABC
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from tasks._base import Metric, Split, Splits, stratified_split
from tasks._classification import Classification
from tasks._data import Dataset, load
from tasks._networks import find_network


class ImageClassification(Classification, ABC):
    """One label an image, scored by accuracy. A leaf states the data set and the constants below."""

    metric = Metric(name="accuracy", unit="%")
    data: ClassVar[Dataset]
    classes: ClassVar[int] = 10
    in_shape: ClassVar[tuple[int, int, int]]
    mean: ClassVar[tuple[float, ...]]  # of each channel, pixels from 0 to 1
    std: ClassVar[tuple[float, ...]]
    validation: ClassVar[int] = 5_000
    shift_px: ClassVar[int] = 0  # largest random shift in each direction
    flip: ClassVar[bool] = False  # mirror left and right every other epoch

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

    def synthetic(self, n: int, generator: torch.Generator) -> Split:
        """Random pixels, the classes in turn."""
        inputs = torch.randint(256, (n, *self.in_shape), generator=generator, dtype=torch.uint8)
        return Split(inputs, torch.arange(n) % self.classes)

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

    def augment(
        self, inputs: Tensor, targets: Tensor, turns: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """uint8 (n, c, h, w), shifted by up to `shift_px` at random, mirrored in the epochs whose turn is 1.

        What moves in is the image's own edge, reflected. Taking mirror images in turns instead of
        drawing them shows each image both ways in any two epochs (Jordan 2024, "94% on CIFAR-10 in 3.29
        seconds", alternating flip). One number is drawn for each image, on the generator's device.
        """
        n, _, height, width = inputs.shape
        mirrored = turns == 1 if self.flip else None
        return moved(inputs, window((n, height, width), self.shift_px, mirrored, generator, inputs.device)), targets


def window(
    shape: tuple[int, int, int],
    shift_px: int,
    mirrored: Tensor | None,
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """Which pixel of each of n pictures to show where: (n, h, w) = `shape`, numbers from 0 to h w - 1.

    One number is drawn for each picture, on the generator's device. `mirrored`: (n,), those seen in a mirror.
    """
    n, height, width = shape
    side = 2 * shift_px + 1
    draw = torch.randint(side * side, (n,), generator=generator, device=generator.device).to(device)
    down, right = draw % side - shift_px, draw // side - shift_px
    rows = _reflect(torch.arange(height, device=device) + down[:, None], height)
    columns = _reflect(torch.arange(width, device=device) + right[:, None], width)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    return rows[:, :, None] * width + columns[:, None, :]


def moved(images: Tensor, index: Tensor) -> Tensor:
    """The pixels (n, h, w) that `window` names, of images (n, c, h, w)."""
    return images.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, images.shape[1], -1)).view_as(images)


def _reflect(index: Tensor, n: int) -> Tensor:
    """Indices from -n + 1 to 2 n - 2 brought into 0 to n - 1, as in a mirror on the first and the last."""
    index = index.abs()
    return torch.where(index < n, index, 2 * (n - 1) - index)
