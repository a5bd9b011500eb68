"""The pickled files of CIFAR-10 and CIFAR-100: from their folder or from the archive as published."""

import pickle
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

PICKLED = ("numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype", "_codecs.encode")


def batches(root: Path, folder: str, archive: str, names: Iterable[str], labels: str) -> list[tuple[Tensor, Tensor]]:
    """Pictures uint8 (n, 3, 32, 32) and labels (n,) of each file, from root/folder, root or root/archive.

    `labels`: what the files call them. FileNotFoundError if there is neither; ValueError for broken files.
    """
    names = tuple(names)
    with ExitStack() as stack:
        found = next((f for f in (root / folder, root) if (f / names[0]).is_file()), None)
        if found is not None:
            return [_unpickle((found / name).open("rb"), labels) for name in names]
        packed = stack.enter_context(tarfile.open(root / archive))
        return [_unpickle(member(packed, f"{folder}/{name}"), labels) for name in names]


def member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """A file in an archive, read by name: nothing is unpacked, so no path in it matters."""
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} in the archive is no file")
    return file


class _Unpickler(pickle.Unpickler):
    """Reads lists, bytes and numpy arrays; a pickle that asks for anything else is refused, not run."""

    def find_class(self, module: str, name: str) -> object:
        module = module.replace("numpy.core", "numpy._core")  # the published files are older than numpy 2
        if f"{module}.{name}" not in PICKLED:
            raise ValueError(f"unexpected {module}.{name} in a CIFAR batch")
        return super().find_class(module, name)


def _unpickle(file: IO[bytes], labels: str) -> tuple[Tensor, Tensor]:
    with file:
        batch = _Unpickler(file, encoding="bytes").load()
    missing = {b"data", labels.encode()} - batch.keys()
    if missing:
        raise ValueError(f"no {missing.pop().decode()} in a CIFAR batch")
    if not len(batch[labels.encode()]):
        raise ValueError("no pictures in a CIFAR batch")
    return torch.from_numpy(batch[b"data"]).view(-1, 3, 32, 32), torch.tensor(batch[labels.encode()])
