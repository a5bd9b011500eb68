"""Labelled pieces of long recordings in one .npz file that a user makes, split by record and never at random.

Arrays: `beats` (n, points), numbers of any kind and unit; `labels` (n,), integers from 0; `records` (n,), each piece's
record by number. Every mistake is told in one line that names the file, what is wrong and what would be right.
"""

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks._base import Split, Splits, TaskError

ARRAYS = ("beats", "labels", "records")
LARGEST = 1e15  # its square is still a float32


class Beats(NamedTuple):
    """float32 (n, channels, points), as read one channel of mean 0 and deviation 1; int64 labels and records, (n,).

    `raw`: float32 (n, points), the beats as the file has them.
    """

    inputs: Tensor
    labels: Tensor
    records: Tensor
    raw: Tensor


def read_beats(path: Path, points: int, classes: int) -> Beats:
    """The file's beats. TaskError if it can't be used."""
    try:
        with np.load(path, allow_pickle=False) as file:
            beats, labels, records = (file[name] for name in ARRAYS)
    except FileNotFoundError:
        raise TaskError(f"{path.name}: not found in {path.parent}; docs/tasks.md says how to make it") from None
    except KeyError as error:
        raise TaskError(f"{path}: has no array {error.args[0].split()[0]}; must have {', '.join(ARRAYS)}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TaskError(f"{path}: can't be read ({_short(error)}); make it again as docs/tasks.md says") from None
    except (AttributeError, TypeError):  # `file` is an array
        raise TaskError(f"{path}: holds one array without a name; must have {', '.join(ARRAYS)}") from None
    if wrong := _wrong(beats, labels, records, points, classes):
        raise TaskError(f"{path}: {wrong}")
    raw = torch.from_numpy(beats.astype(np.float32))
    x = (raw - raw.mean(1, keepdim=True)) / raw.std(1, keepdim=True).clamp(min=1e-6)
    of, by = (torch.from_numpy(a.astype(np.int64)) for a in (labels, records))
    return Beats(inputs=x.unsqueeze(1), labels=of, records=by, raw=raw)


def _wrong(beats: np.ndarray, labels: np.ndarray, records: np.ndarray, points: int, classes: int) -> str:
    """What is wrong about the arrays, and what would be right; empty if nothing is."""
    if beats.ndim != 2 or beats.shape[1] != points or beats.dtype.kind not in "iuf":
        return f"beats are {beats.dtype} {beats.shape}; must be numbers (n, {points})"
    for name, array in (("labels", labels), ("records", records)):
        if array.shape != beats.shape[:1] or array.dtype.kind not in "iu":
            return f"{name} are {array.dtype} {array.shape}; must be one integer a beat, ({len(beats)},)"
    usable = (np.isfinite(beats) & (np.abs(beats) < LARGEST)).all(1)
    if not usable.all():
        return f"beat {int(np.argmin(usable))} holds a value that is not finite or above {LARGEST:g}; leave it out"
    if not len(beats):
        return "holds no beats"
    if labels.min() < 0 or labels.max() >= classes:
        return f"labels go from {labels.min()} to {labels.max()}; must be 0 to {classes - 1}"
    return ""


def median_beats(found: Beats) -> Tensor:
    """(n, channels, points): for each beat, the median of all beats of its record, point by point."""
    medians = torch.empty_like(found.inputs)
    for record in found.records.unique():
        members = found.records == record
        medians[members] = found.inputs[members].median(0).values
    return medians


def by_record(found: Beats, *, val: Collection[int], test: Collection[int], where: Path) -> Splits:
    """Beats of the records `val` and `test`, and all others for training, each in a fixed shuffled order.

    TaskError if one of the three has none; `where`: the file, to be named.
    """
    held, tested = (torch.isin(found.records, torch.tensor(sorted(part))) for part in (val, test))
    members = {"training": ~(held | tested), "validation": held, "test": tested}
    generator = torch.Generator().manual_seed(2024)
    parts = []
    for name, chosen in members.items():
        index = chosen.nonzero().squeeze(1)
        if not len(index):
            whose = {"validation": sorted(val), "test": sorted(test)}.get(name, "any other")
            raise TaskError(f"{where}: no beats for {name}, which takes records {str(whose).strip('[]')}")
        index = index[torch.randperm(len(index), generator=generator)]
        parts.append(Split(found.inputs[index], found.labels[index]))
    return Splits(*parts, made_of=(found.raw, found.labels, found.records))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
