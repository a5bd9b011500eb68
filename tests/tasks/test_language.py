"""Language: windows that predict every word once, a softmax over a part that estimates the whole, bad files."""

import math
import os
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call

from bench import plan
from tasks import language
from tasks._base import TaskError
from tasks._models._candidates import COMB, FREQUENT, NEVER, columns, sampled_logits
from tasks._models.lstm_lm import LstmLm
from tasks._texts import END, UNKNOWN, numbered, vocabulary, words_of
from tasks.language import CONTEXT, LENGTH, PREDICTED, Brown, WikiText2

NAMES = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")


def text(words: int, seed: int, extra: str = "") -> str:
    """Lines of ten random words of a hundred."""
    draw = torch.randint(100, (words,), generator=torch.Generator().manual_seed(seed)).tolist()
    lines = [" ".join(f"w{i}" for i in draw[at : at + 10]) for at in range(0, words, 10)]
    return f" \n{extra}\n" + "\n".join(lines) + "\n"


@pytest.fixture
def wikitext(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as of WikiText-2 with little in it."""
    monkeypatch.setattr(WikiText2, "published", ())
    folder = tmp_path / "data" / "wikitext-2"
    folder.mkdir(parents=True)
    for name, words, seed in zip(NAMES, (3000, 400, 600), range(3), strict=True):
        (folder / name).write_text(text(words, seed, f"a {UNKNOWN} = 日本"))
    return folder.parent


def test_every_word_but_the_first_ones_is_predicted_once_from_what_is_before_it() -> None:
    numbers = torch.arange(1000, dtype=torch.int32)
    windows = language._windows(numbers)
    predicted = windows[:, -PREDICTED:].flatten().sort().values
    assert torch.equal(predicted, numbers[-len(predicted) :])
    assert CONTEXT + 1 <= 1000 - len(predicted) < CONTEXT + 1 + PREDICTED
    assert (windows.diff() == 1).all() and windows.shape[1] == LENGTH + 1
    assert not torch.equal(windows[:, 0], windows[:, 0].sort().values), "in a shuffled order"
    assert torch.equal(windows, language._windows(numbers)), "but a fixed one"


def test_only_training_inputs_hold_the_last_word(wikitext: Path, tmp_path: Path) -> None:
    splits = WikiText2().splits(tmp_path, wikitext)
    assert splits.train.inputs.shape == (46, LENGTH + 1) and splits.test.inputs.shape[1] == LENGTH
    for split in (splits.train, splits.val, splits.test):
        assert torch.equal(split.inputs[:, CONTEXT + 1 : LENGTH].long(), split.targets[:, :-1])


def test_words_are_numbered_by_frequency_and_rare_ones_are_unknown() -> None:
    known = vocabulary("a b b c c c d d d d".split(), 3)
    assert known == {UNKNOWN: 0, "d": 1, "c": 2}
    assert numbered(["d", "a", "x"], known, "t").tolist() == [1, 0, 0]
    assert vocabulary(f"{UNKNOWN} b b".split(), 3) == {"b": 0, UNKNOWN: 1}, "where there is one, it is a word"
    with pytest.raises(TaskError, match=r"t: 'x' is not in the training text, nor is <unk>"):
        numbered(["b", "x"], vocabulary(["b"], 3), "t")
    assert words_of(" a b \n\nc\n") == ["a", "b", END, END, "c", END]


def test_the_folder_and_the_archive_hold_the_same(wikitext: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    with zipfile.ZipFile(folder / "wikitext-2-v1.zip", "w") as archive:
        for name in NAMES:
            archive.write(wikitext / "wikitext-2" / name, f"wikitext-2/{name}")
    splits = [WikiText2().splits(tmp_path, root) for root in (wikitext, wikitext / "wikitext-2", folder)]
    for split in splits[1:]:
        assert torch.equal(split.test.inputs, splits[0].test.inputs)
    data = (folder / "wikitext-2-v1.zip").read_bytes()
    (folder / "wikitext-2-v1.zip").write_bytes(data[:-100])
    with pytest.raises(TaskError, match=r"WikiText-2: .*wikitext-2-v1.zip can't be read"):
        WikiText2().splits(tmp_path, folder)


def test_an_unknown_word_of_the_test_text_is_unknown(wikitext: Path, tmp_path: Path) -> None:
    path = wikitext / "wikitext-2" / NAMES[2]
    path.write_text(path.read_text().replace("w7 ", "never-seen "))
    known = vocabulary(words_of((wikitext / "wikitext-2" / NAMES[0]).read_text()), WikiText2.words)
    targets = WikiText2().splits(tmp_path, wikitext).test.targets
    assert (targets == known[UNKNOWN]).sum() > 1 and not (targets == known["w7"]).sum() > 1


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


BAD = {
    "pipe": (pipe, "wiki.valid.tokens not found in .*; expected there: wiki.train.tokens"),
    "missing": (lambda p: p.unlink(), "wiki.valid.tokens not found in .*; expected there: wiki.train.tokens"),
    "empty": (lambda p: p.write_text(""), "wiki.valid.tokens has 1 words, must have more than 105"),
    "no text": (lambda p: p.write_bytes(b"\xff\xfe\x00"), "wiki.valid.tokens can't be read"),
    "cut": (lambda p: p.write_text(p.read_text()[:1000]), "words in .*, must be .*: cut short, or another text"),
    "foreign": (
        lambda p: (
            [f.write_text(f.read_text().replace(UNKNOWN, "w1")) for f in p.parent.iterdir()]
            and p.write_text(p.read_text() + "odd\n")
        ),
        "wiki.valid.tokens: 'odd' is not in the training text, nor is <unk>",
    ),
}


@pytest.mark.parametrize("damage", BAD)
def test_bad_files_are_told_in_one_line(damage: str, wikitext: Path, monkeypatch, cli) -> None:
    monkeypatch.setattr(
        WikiText2,
        "published",
        tuple(len(words_of(p.read_text())) for p in map(wikitext.joinpath, [f"wikitext-2/{n}" for n in NAMES])),
    )
    spoil, message = BAD[damage]
    spoil(wikitext / "wikitext-2" / NAMES[1])
    with pytest.raises(TaskError, match=f"WikiText-2: .*{message}") as caught:
        WikiText2().splits(wikitext, wikitext)
    assert "\n" not in str(caught.value)


def test_without_a_directory_it_is_asked_for(cli, home, tmp_path) -> None:
    line = "run --method nominal --device ideal --task language:wikitext2 --preset smoke".split()
    ended = cli(*line, "--results", tmp_path)
    assert ended.code == 2 and "WikiText-2: name a directory with --data DIR that holds wiki.train.tokens" in ended.err
    assert ended.err.count("\n") == 1


# --- the metric


def test_perplexity_of_a_guess_is_the_size_of_the_vocabulary() -> None:
    task = Brown()
    target = torch.randint(task.words, (3, PREDICTED))
    contributions = task.correct(torch.zeros(3, PREDICTED, task.words), target)
    assert contributions.shape == (3,)
    assert task.overall(contributions.double()) == pytest.approx(task.words, rel=1e-4)
    assert task.overall(torch.tensor([1.0, 3.0])) == pytest.approx(math.exp(2))
    assert math.isfinite(task.overall(torch.tensor([1e6]).double())), "a chip that is all wrong still has a record"
    assert not task.metric.higher_is_better


def test_ekl_is_of_the_most_frequent_words_and_the_rest() -> None:
    p = Brown().probabilities(torch.randn(2, 3, 5000))
    assert p.shape == (2, 1001) and torch.allclose(p.sum(1), torch.ones(2))


def test_distillation_is_zero_at_the_teacher_and_has_the_gradient_of_the_divergence() -> None:
    student, teacher = torch.randn(2, 3, 50, requires_grad=True), torch.randn(2, 3, 50)
    assert Brown().distill(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-6)
    Brown().distill(student, teacher, 2.0).backward()
    expected = 2.0 * ((student / 2).softmax(-1) - (teacher / 2).softmax(-1)) / 6
    assert student.grad is not None and torch.allclose(student.grad, expected, atol=1e-6)


# --- the softmax of training


def test_candidates_estimate_the_whole_sum_without_bias() -> None:
    """Averaged over all combs, the sum over the candidates is that over the vocabulary, for rare and frequent words."""
    x, decoder = torch.randn(1, 3, 8), nn.Linear(8, FREQUENT + 50 * COMB)
    full = decoder(x)[0, :2].exp().sum(-1)
    found = []
    for shift in range(COMB):
        targets = torch.tensor([[FREQUENT + 77, 5, shift]])
        y = sampled_logits(x, decoder.weight, decoder.bias, targets)
        assert y.shape == (1, 3, FREQUENT + 1 + 50)
        found.append(y[0, :2].exp().sum(-1))
    assert torch.allclose(torch.stack(found).mean(0), full, rtol=1e-4)


def test_columns_are_those_of_the_targets() -> None:
    x, decoder = torch.randn(2, 9, 8), nn.Linear(8, 10_000)
    targets = torch.randint(FREQUENT - 20, FREQUENT + 20, (2, 9))
    y = sampled_logits(x, decoder.weight, decoder.bias, targets)
    own = y.gather(2, columns(targets).unsqueeze(-1))
    assert torch.allclose(own, decoder(x).gather(2, targets.unsqueeze(-1)), atol=1e-5)
    rare = y[..., FREQUENT : FREQUENT + len(targets[targets >= FREQUENT].unique())]
    assert ((rare > NEVER).sum(-1) == (targets >= FREQUENT)).all(), "a rare target is no other token's candidate"
    task = Brown()
    sampled, whole = task.loss(y, targets).item(), task.loss(decoder(x), targets).item()
    assert sampled == pytest.approx(task.correct(y, targets).mean().item()) == pytest.approx(whole, rel=0.02)


# --- the network


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_and_what_is_on_the_crossbar(tied: bool) -> None:
    network = WikiText2().network(f"lstm_lm?tied={tied}")
    lstm, table = 2 * (4 * 200 * 400 + 8 * 200), 33_278 * 200
    assert sum(p.numel() for p in network.parameters()) == lstm + 33_278 + table * (1 if tied else 2)
    assert WikiText2().analog(network) == (
        *(f"lstm{i}.weight_{kind}_l0" for i in (1, 2) for kind in ("ih", "hh")),
        "decoder.weight",
    )


def test_a_chip_of_the_decoder_leaves_the_tied_embedding_alone() -> None:
    network = LstmLm(2, 3, 50, 8, tied=True, dropout=0.0)
    words = torch.randint(50, (4, 5))
    chip = {"decoder.weight": torch.zeros(50, 8)}
    seen: list[torch.Tensor] = []
    network.drop.register_forward_hook(lambda m, x, y: seen.append(y))
    y = functional_call(network, chip, (words,))
    assert torch.allclose(y, network.decoder.bias.expand_as(y))
    assert torch.equal(seen[0], network.decoder.weight[words])
    network(words).sum().backward()
    assert network.decoder.weight.grad is not None


def test_a_word_depends_on_those_before_it_alone() -> None:
    network = LstmLm(4, 6, 50, 8, tied=False, dropout=0.0).eval()
    words = torch.randint(50, (1, 10))
    other = words.clone()
    other[0, 7] = (other[0, 7] + 1) % 50
    same = (network(words) == network(other)).all(-1)[0]
    assert same.tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize(("device", "level"), [("rram", 0.3), ("siox_low", 1.0)])
def test_what_surrounds_products_surrounds_those_of_candidates_too(device: str, level: float) -> None:
    torch.manual_seed(0)
    network = LstmLm(2, 3, FREQUENT + 500, 8, tied=True, dropout=0.0).eval()
    made = plan.device_of(device, {"adc_bits": 12, "dac_bits": 12})
    weights = {name: network.get_parameter(name) for name in Brown().analog(network)}
    chip = made.training_chip(weights, torch.Generator().manual_seed(1), level=level)
    words = torch.randint(FREQUENT + 500, (2, 6))
    with made.periphery(chip, clean=weights, generator=torch.Generator()):
        y = functional_call(network, chip, (words,))
        whole = functional_call(network, chip, (words[:, :-1],))
    own = y.gather(2, columns(words[:, -3:]).unsqueeze(-1))
    assert torch.allclose(own, whole.gather(2, words[:, -3:].unsqueeze(-1)), atol=0.02 * whole.std().item())
    own.sum().backward()
    touched = network.decoder.weight.grad.abs().sum(1) > 0
    assert set(touched.nonzero().flatten().tolist()) >= set(words[:, -3:].flatten().tolist())


def test_brown_is_the_corpus_by_document(cache: Path) -> None:
    try:
        texts = Brown().texts(cache, None)
    except TaskError as error:
        if "wrong checksum" in str(error):
            raise
        pytest.skip(str(error))
    counts = {part: len(words_of(text)) for part, text in texts.items()}
    assert counts == {"train": 975_114, "val": 121_973, "test": 121_445}
    assert sum(counts.values()) - sum(text.count("\n") for text in texts.values()) == 1_161_192  # words of the corpus
    assert texts["test"].startswith("vincent g. ierulli has been appointed temporary assistant district attorney , it")


def test_made_up_samples_have_the_form_of_real_ones() -> None:
    task, random = Brown(), torch.Generator().manual_seed(0)
    made = task.synthetic(200, random)
    assert made.inputs.shape == (200, LENGTH) and made.inputs.dtype == torch.int32
    assert made.targets.shape == (200, PREDICTED) and made.targets.dtype == torch.int64
    assert torch.equal(made.inputs[:, CONTEXT + 1 :].long(), made.targets[:, :-1])
    assert made.inputs.min() == 0 and FREQUENT < made.inputs.max() < task.words
