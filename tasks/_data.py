"""Getting a data set: a directory the user names, the cache, then the sources in turn.

A data set is tensors, most often train_x, train_y, test_x and test_y, in the publisher's order: uint8, or
samples of another type where the set says so.
Their SHA-256 is stated by the task and checked whatever the source, so that all sources give the
same bits. The cache is one safetensors file, written to a temporary name and renamed when whole.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tasks._base import TaskError
from tasks._digest import bytes_of

log = logging.getLogger("bench")

Tensors = dict[str, Tensor]
KEYS = ("train_x", "train_y", "test_x", "test_y")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place to fetch from. `get` is given an empty folder to work in; it raises if it fails."""

    label: str
    size_mb: int
    get: Callable[[Path], Tensors]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What there is to know about the files of a data set.

    `read` takes the tensors out of a directory in torchvision's layout: FileNotFoundError if the
    directory does not hold the set, another exception if a file is broken. `expected` says in
    words what it looks for. `sha256` is over the bytes of the tensors in the order of `keys`; None where their bits
    depend on what decodes them.
    """

    title: str
    stem: str
    sha256: str | None
    expected: str
    read: Callable[[Path], Tensors]
    sources: tuple[Source, ...]
    keys: tuple[str, ...] = KEYS
    x_dtype: torch.dtype = torch.uint8  # of the keys that end in _x


def load(dataset: Dataset, cache: Path, data_dir: Path | None = None) -> Tensors:
    """The tensors by name: of pictures `_x` (n, channels, height, width), of signals (n, channels, time); `_y` (n,).

    A `data_dir` that does not hold the set is an error: falling back would use other files than
    the user meant. Raises TaskError, one line, if the set cannot be had.
    """
    if data_dir is not None:
        return _from_user(dataset, data_dir)
    path = cache / f"{dataset.stem}.safetensors"
    try:
        return _cached(dataset, path)
    except Exception:  # missing or broken: looked at again under the lock, where it is said
        pass
    from filelock import FileLock

    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            try:
                return _cached(dataset, path)  # another process may have fetched it meanwhile
            except FileNotFoundError:
                pass
            except Exception as error:
                log.warning("%s: %s is broken (%s); fetching it again", dataset.title, path, short(error))
            tensors = _fetch(dataset, cache)
            write(tensors, path)
            return tensors
    except OSError as error:
        raise TaskError(
            f"{dataset.title}: can't write to the cache {cache} ({short(error)}); free it, or {_advice(dataset)}"
        ) from error


def checksum(tensors: Tensors, keys: tuple[str, ...] = KEYS) -> str:
    """SHA-256 of the bytes of the tensors, in the order of `keys`."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(bytes_of(tensors[key]))
    return digest.hexdigest()


def _checked(dataset: Dataset, tensors: Tensors) -> Tensors:
    for key in dataset.keys:
        dtype = dataset.x_dtype if key.endswith("_x") else torch.uint8
        if key not in tensors or tensors[key].dtype != dtype:
            raise ValueError(f"no {str(dtype).removeprefix('torch.')} tensor {key}")
    if dataset.sha256 is not None and (found := checksum(tensors, dataset.keys)) != dataset.sha256:
        raise ValueError(f"wrong checksum {found[:12]}..., expected {dataset.sha256[:12]}...")
    return tensors


def _from_user(dataset: Dataset, data_dir: Path) -> Tensors:
    try:
        return _checked(dataset, dataset.read(data_dir))
    except FileNotFoundError as error:
        raise TaskError(f"{dataset.title}: not found in {data_dir}; expected there: {dataset.expected}") from error
    except Exception as error:
        raise TaskError(
            f"{dataset.title}: the files in {data_dir} can't be used ({short(error)}); "
            f"expected there: {dataset.expected}"
        ) from error


def _cached(dataset: Dataset, path: Path) -> Tensors:
    from safetensors.torch import load_file

    if not path.exists():
        raise FileNotFoundError(path)
    return _checked(dataset, load_file(path))


def _fetch(dataset: Dataset, cache: Path) -> Tensors:
    failures = []
    for source in dataset.sources:
        log.info("fetching %s from %s (%d MB)", dataset.title, source.label, source.size_mb)
        try:
            with tempfile.TemporaryDirectory(dir=cache, prefix=f".{dataset.stem}-") as folder:
                return _checked(dataset, source.get(Path(folder)))
        except Exception as error:  # however a source fails, the next one gets its turn
            failures.append(f"{source.label}: {short(error)}")
    raise TaskError(f"{dataset.title} can't be fetched ({'; '.join(failures)}); {_advice(dataset)}")


def write(tensors: Tensors, path: Path) -> None:
    """Write the cache file under a temporary name beside it, then rename: it is whole or not there."""
    from safetensors.torch import save

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Not save_file, which makes the file readable by its owner alone; a lab may share a cache.
        with temporary.open("wb") as file:
            file.write(save(tensors))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _advice(dataset: Dataset) -> str:
    return f"name a directory with --data DIR that holds {dataset.expected}"


def short(error: Exception) -> str:
    """The exception in at most 160 characters, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
