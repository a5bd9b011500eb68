"""CIFAR-100: colour photographs of a hundred kinds of things, 32 x 32 pixels.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; 50,000 training
and 10,000 test images with their fine labels, here the Python version. 2,500 training images, drawn by
class, are kept for validation. Augmentation and smoothed labels are those of cifar10.
Pictures are brought into an order of their own, by label and then by their bytes, before the checksum, so that
copies of the set that are sorted otherwise give the same bits.
Deviations: those of cifar10.
"""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from tasks._cifar import batches
from tasks._data import Dataset, Source, Tensors
from tasks._images import ImageClassification
from tasks._sources import torchvision_download

FOLDER, ARCHIVE, PARTS = "cifar-100-python", "cifar-100-python.tar.gz", ("train", "test")
# Of the fine labels, as published: in the order of the alphabet
NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


def read(root: Path) -> Tensors:
    """The two pickled files, from their folder or from the archive as published; pictures in our order."""
    tensors = {}
    found = batches(root, FOLDER, ARCHIVE, PARTS, "fine_labels")
    for part, (x, y) in zip(PARTS, found, strict=True):
        order = in_order(x, y)
        tensors[f"{part}_x"], tensors[f"{part}_y"] = x[order], y[order].to(torch.uint8)
    return tensors


def in_order(x: Tensor, y: Tensor) -> Tensor:
    """Indices (n,) of pictures x (n, ...) uint8 by label y (n,), then by their bytes."""
    keys = [(label, picture.tobytes()) for label, picture in zip(y.tolist(), x.numpy(), strict=True)]
    return torch.tensor(sorted(range(len(keys)), key=keys.__getitem__))


def from_torchvision(folder: Path) -> Tensors:
    """torchvision's download, then `read`."""
    torchvision_download("CIFAR100", folder)
    return read(folder)


class Cifar100(ImageClassification):
    """CIFAR-100, colour photographs 32 x 32 in a hundred classes: accuracy."""

    name = "cifar100"
    dataset = "CIFAR-100"
    source = "Krizhevsky 2009"
    networks = ("vgg8_mtrd", "vgg8", "vgg16", "resnet18", "wrn16_4", "mobilenetv2")
    classes = 100
    names = tuple(NAMES.split())
    in_shape = (3, 32, 32)
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    shift_px = 2
    flip = True
    smoothing = 0.2
    validation = 2_500
    presets: ClassVar = {"smoke": {"train_samples": 8000}}  # 2,000 are too few to learn anything of a hundred classes
    data = Dataset(
        title="CIFAR-100",
        stem="cifar100",
        sha256="1352eb996a0200d5d0915270c81bb05cbec3d4795be3b1081ab23b23774a20f5",
        expected=f"{FOLDER}/ ({PARTS[0]}, {PARTS[1]}) or {ARCHIVE}",
        read=read,
        sources=(Source(label="torchvision's download", size_mb=169, get=from_torchvision),),
    )
