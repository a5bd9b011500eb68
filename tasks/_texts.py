"""Texts: read from a user's folder or archive, kept as bytes, turned into words and numbers."""

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tasks._base import TaskError
from tasks._data import short

UNKNOWN, END = "<unk>", "<eos>"


def user_files(title: str, root: Path | None, names: Sequence[str], folder: str, archive: str) -> list[str]:
    """The texts of these files: in `root`, in `folder` there, or in the zip file `archive` as published.

    TaskError, in one line, if they aren't there or can't be read as UTF-8.
    """
    expected = f"{', '.join(names)}, in it, in {folder}/ or in {archive}"
    if root is None:
        raise TaskError(f"{title}: name a directory with --data DIR that holds {expected}")
    place = next((place for place in (root / folder, root) if (place / names[0]).is_file()), None)
    packed = root / archive
    made = []
    for name in names:
        try:
            if not (packed if place is None else place / name).is_file():  # a pipe would be waited for
                raise FileNotFoundError
            if place is None:
                with zipfile.ZipFile(packed) as files:
                    data = files.read(f"{folder}/{name}")
            else:
                data = (place / name).read_bytes()
            made.append(data.decode())
        except FileNotFoundError as error:
            where = f"{name} not found" if place else "not found"
            raise TaskError(f"{title}: {where} in {place or root}; expected there: {expected}") from error
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            what = packed if place is None else place / name
            raise TaskError(f"{title}: {what} can't be read ({short(error)})") from error
    return made


def as_bytes(text: str) -> Tensor:
    """uint8 (bytes,), UTF-8."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def as_text(data: Tensor) -> str:
    """Inverse of `as_bytes`."""
    return data.numpy().tobytes().decode()


def words_of(text: str) -> list[str]:
    """The words of a text, separated by blanks, with END after every line."""
    return [word for line in text.removesuffix("\n").split("\n") for word in (*line.split(), END)]


def vocabulary(words: Iterable[str], size: int) -> dict[str, int]:
    """The `size` most frequent words, numbered by falling frequency; UNKNOWN among them if not all have a place."""
    counts = Counter(words)
    if len(counts) > size and UNKNOWN not in counts:
        kept = [word for word, _ in counts.most_common(size - 1)]
        return {word: i for i, word in enumerate([UNKNOWN, *kept])}
    return {word: i for i, (word, _) in enumerate(counts.most_common(size))}


def numbered(words: Sequence[str], known: dict[str, int], title: str) -> Tensor:
    """int32 (n,): numbers of words; of those that are not `known`, UNKNOWN's. TaskError if there is no UNKNOWN."""
    unknown = known.get(UNKNOWN)
    numbers = [known.get(word, unknown) for word in words]
    if None in numbers:
        odd = words[numbers.index(None)]
        raise TaskError(f"{title}: '{odd}' is not in the training text, nor is {UNKNOWN} for words that aren't")
    return torch.tensor(numbers, dtype=torch.int32)
