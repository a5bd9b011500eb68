"""Fashion-MNIST: pictures of clothes, 28 x 28 grey pixels.

Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", arXiv 1708.07747; 60,000 training and 10,000 test images. 5,000 training
images, drawn by class, are kept for validation. Augmentation: shifts of up to 2 pixels, mirroring.
Deviations: none known.
"""

from pathlib import Path

from tasks._data import Dataset, Source, Tensors
from tasks._images import ImageClassification
from tasks._sources import IDX_FILES, debian_package, idx_reader, torchvision_download

PACKAGE = "dataset-fashion-mnist"
read = idx_reader("FashionMNIST")


def from_torchvision(folder: Path) -> Tensors:
    """torchvision's download, then `read`."""
    torchvision_download("FashionMNIST", folder)
    return read(folder)


def from_debian(folder: Path) -> Tensors:
    """The Debian package, which holds the idx files as published."""
    return read(debian_package(PACKAGE, folder) / "usr/share/datasets/fashion-mnist")


class FashionMnist(ImageClassification):
    """Fashion-MNIST, pictures of clothes 28 x 28 in ten classes: accuracy."""

    name = "fashion_mnist"
    dataset = "Fashion-MNIST"
    source = "Xiao et al. 2017"
    networks = ("lenet", "mlp", "vgg8_mtrd", "vgg8", "resnet18")
    names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    in_shape = (1, 28, 28)
    mean = (0.2860,)
    std = (0.3530,)
    shift_px = 2
    flip = True
    data = Dataset(
        title="Fashion-MNIST",
        stem="fashion_mnist",
        sha256="ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
        expected=f"{IDX_FILES['train_x']}[.gz] and its three companions, there or in FashionMNIST/raw/",
        read=read,
        sources=(
            Source(label="torchvision's download", size_mb=31, get=from_torchvision),
            Source(label=f"the Debian package {PACKAGE}", size_mb=31, get=from_debian),
        ),
    )
