"""Pictures that lie in a user's folders: found by name, read, cut in parts, kept in the cache."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tasks._base import TaskError
from tasks._data import Tensors, short, write

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger("bench")

FEWEST = 10  # pictures of a folder
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
Pair = tuple[Path, Path]


def pictures(folder: Path, title: str) -> list[Path]:
    """The picture files of a folder, by name. TaskError if something else, such as a broken link, has such a name."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if odd := next((path.name for path in found if not path.is_file()), None):
        raise TaskError(f"{title}: {odd} in {folder} is no file; must be a picture")
    return found


def _by_stem(folder: Path, title: str, ending: str = "") -> dict[str, Path]:
    """The pictures of a folder by name, without suffix and `ending`. TaskError if two have one name."""
    found: dict[str, Path] = {}
    for path in pictures(folder, title):
        other = found.setdefault(path.stem.removesuffix(ending), path)
        if other != path:
            raise TaskError(f"{title}: {other.name} and {path.name} in {folder} have one name; keep one")
    return found


def pairs(root: Path, folders: Sequence[tuple[str, str]], title: str) -> list[Pair]:
    """Pictures and their masks, by name, from the first two `folders` (of pictures, of masks) that are in `root`.

    A mask has its picture's name, with _mask after it or not. TaskError if there are too few, if one lacks its mask, or
    if two pictures or masks have one name.
    """
    found = next(((root / a, root / b) for a, b in folders if (root / a).is_dir() and (root / b).is_dir()), None)
    if found is None:
        raise TaskError(f"{title}: not found in {root}; expected there: {either(folders)}")
    images, masks = _by_stem(found[0], title), _by_stem(found[1], title, ending="_mask")
    if missing := [path.name for stem, path in images.items() if stem not in masks]:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise TaskError(f"{title}: {missing[0]}{others} in {found[0]} without a mask in {found[1].name}/")
    if len(images) < FEWEST:
        raise TaskError(f"{title}: {len(images)} pictures in {found[0]}, must be at least {FEWEST}")
    return [(path, masks[stem]) for stem, path in images.items()]


def either(folders: Sequence[tuple[str, str]]) -> str:
    """In words, which folders may hold pictures and masks."""
    return " or ".join(f"{a}/ and {b}/" for a, b in folders)


def opened(path: Path, title: str) -> "Image.Image":
    """A picture in memory. TaskError, in one line, if the file is cut short or no picture; FileNotFoundError."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise
    except Exception as error:  # PIL raises half a dozen kinds, by file format
        raise TaskError(f"{title}: {path.name} can't be read ({short(error)})") from error


def grey(path: Path, title: str) -> Tensor:
    """uint8 (h, w). TaskError as of `opened`."""
    image = opened(path, title).convert("L")
    return _bytes(image).view(image.height, image.width)


def decoded(
    found: Sequence[Pair], shape: tuple[int, int, int], title: str, background: int | None = None
) -> tuple[Tensor, Tensor]:
    """uint8 pictures (n, *shape) and masks (n, 1, h, w) of 0 and 1, both brought to that size.

    `background`: value of a mask that is none of the object; None: up to half its largest. TaskError names a bad file.
    """
    from PIL import Image

    channels, height, width = shape
    x = torch.empty(len(found), *shape, dtype=torch.uint8)
    y = torch.empty(len(found), 1, height, width, dtype=torch.uint8)
    for i, paths in enumerate(found):
        image, mask = (opened(path, title) for path in paths)
        if image.size != mask.size:
            sizes = " and ".join(f"{w} x {h}" for w, h in (image.size, mask.size))
            raise TaskError(f"{title}: {paths[0].name} and its mask have unequal sizes, {sizes} pixels")
        image = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
        if background is None or mask.mode not in ("L", "P"):  # else its numbers are labels, not shades
            mask = mask.convert("L")
        x[i] = _bytes(image).view(height, width, channels).permute(2, 0, 1)
        values = _bytes(mask.resize((width, height), Image.Resampling.NEAREST)).view(height, width)
        y[i, 0] = values > int(values.max()) // 2 if background is None else values != background
    return x, y


def _bytes(image: "Image.Image") -> Tensor:
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)


def kept(cache: Path, stem: str, files: Sequence[Path], make: Callable[[], Tensors]) -> Tensors:
    """What `make` makes of a user's files, from the cache while they are as they were."""
    from safetensors.torch import load_file

    about = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    path = cache / f"{stem}-{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}.safetensors"
    try:
        return load_file(path)
    except Exception:  # missing or broken: made again
        pass
    tensors = make()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write(tensors, path)
    except OSError as error:
        log.warning("can't keep the decoded pictures in %s (%s)", cache, short(error))
    return tensors


def shuffled(n: int) -> Tensor:
    """0 to n - 1 in a fixed fair order."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(2024))


def tenths(groups: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of seven tenths to train on, one for validation, two for test, each in a fixed fair order.

    `groups`: of each picture what it shows; all pictures of a group come into the same part.
    """
    names = sorted(set(groups))
    place = dict(zip(names, shuffled(len(names)).tolist(), strict=True))
    order = shuffled(len(groups))
    tenth = torch.tensor([place[group] * 10 // len(names) for group in groups])[order]
    return order[tenth > 2], order[tenth == 2], order[tenth < 2]
