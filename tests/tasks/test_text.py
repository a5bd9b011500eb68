"""Text: sentences and their classes from every form of file, word pieces, an encoder with its published weights."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.store import Checkpoints
from tasks import _minilm, text
from tasks._base import Splits, TaskError, stratified_split
from tasks._texts import as_text
from tasks.text import ARCHIVE, HELD_OUT, LENGTH, SNIPPETS, Snippets, Sst2, read_snippets

ROWS = [("1", "2.3", "a fine film"), ("2", "-0.6", "tepid , and long"), ("3", "0.4", "neither"), ("4", "-3", "no fun")]


def test_snippets_are_those_with_a_clear_rating(tmp_path: Path) -> None:
    lines = "".join("\t".join(row) + "\r\n" for row in ROWS)
    (tmp_path / SNIPPETS).write_bytes(lines.encode())
    found = read_snippets(tmp_path)
    assert as_text(found["texts"]).split("\n") == ["a fine film", "tepid , and long", "no fun"]
    assert found["labels"].tolist() == [1, 0, 0]
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / f"{ARCHIVE}.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(f"{ARCHIVE}/{SNIPPETS}")
        member.size = len(lines)
        archive.addfile(member, io.BytesIO(lines.encode()))
    again = read_snippets(packed)
    assert all(torch.equal(again[key], found[key]) for key in found)
    data = (packed / f"{ARCHIVE}.tar.gz").read_bytes()
    (packed / f"{ARCHIVE}.tar.gz").write_bytes(data[:-20])
    with pytest.raises(TaskError, match="movie-review snippets: the files in .* can't be used"):
        Snippets().sentences(tmp_path, packed)


def write_sst2(folder: Path, head: str, row: str, n: int = 3000) -> None:
    folder.mkdir(parents=True)
    for name, count in (("train.tsv", n), ("dev.tsv", 100)):
        rows = [row.format(sentence=f'{name} {i} "quote ', label=i % 3 % 2) for i in range(count)]
        (folder / name).write_text("\n".join([head, *rows]) + "\n")


@pytest.fixture
def sst2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Sst2, "published", (3000, 100))
    write_sst2(tmp_path / "glue" / "SST-2", "sentence\tlabel", "{sentence}\t{label}")
    return tmp_path / "glue"


def test_sst2_is_read_in_any_order_of_columns_and_from_the_archive(sst2: Path, tmp_path: Path) -> None:
    train, val, test = Sst2().sentences(tmp_path, sst2)
    assert [len(texts) for texts, _ in (train, val, test)] == [1001, 1999, 100]
    assert test[0][:2] == ['dev.tsv 0 "quote ', 'dev.tsv 1 "quote '] and test[1][:4].tolist() == [0, 1, 0, 0]
    assert set(train[0]).isdisjoint(val[0])
    assert train[1].float().mean().item() == pytest.approx(1 / 3, abs=0.01)
    write_sst2(tmp_path / "turned", "label\tsentence", "{label}\t{sentence}")
    with zipfile.ZipFile(tmp_path / "SST-2.zip", "w") as archive:
        for name in ("train.tsv", "dev.tsv"):
            archive.write(sst2 / "SST-2" / name, f"SST-2/{name}")
    for root in (tmp_path / "turned", tmp_path):
        for (texts, labels), (others, theirs) in zip(Sst2().sentences(tmp_path, root), (train, val, test), strict=True):
            assert texts == others and torch.equal(labels, theirs)


def test_sst2_is_split_as_the_documents_say() -> None:
    labels = torch.tensor([0] * 29_780 + [1] * 37_569)  # as published
    train, val = (len(part) for part in stratified_split(labels, HELD_OUT))
    root = Path(__file__).parents[2]
    for name in ("README.md", "docs/tasks.md"):
        assert f"{train:,} / {val:,} / {Sst2.published[1]} |" in (root / name).read_text(encoding="utf-8")


BAD = {
    "missing": (lambda p: p.unlink(), "dev.tsv not found in .*; expected there: train.tsv, dev.tsv"),
    "empty": (lambda p: p.write_text(""), "3,000 and 0 sentences in .*, must be 3,000 and 100"),
    "cut": (lambda p: p.write_text("\n".join(p.read_text().split("\n")[:50])), "and 49 sentences in"),
    "labels": (lambda p: p.write_text("sentence\tlabel\na\t2\n"), "dev.tsv must have columns sentence and label"),
    "columns": (lambda p: p.write_text("index\tsentence\n0\ta\n"), "dev.tsv must have columns sentence and label"),
    "cut in a row": (lambda p: p.write_text("sentence\tlabel\na"), "dev.tsv must have columns sentence and label"),
    "no rows": (lambda p: p.write_text("sentence\tlabel\n" + 200_000 * "a"), "dev.tsv must have columns"),
    "no text": (lambda p: p.write_bytes(b"\xff\xfe"), "dev.tsv can't be read"),
}


@pytest.mark.parametrize("damage", BAD)
def test_bad_files_are_told_in_one_line(damage: str, sst2: Path, tmp_path: Path) -> None:
    spoil, message = BAD[damage]
    spoil(sst2 / "SST-2" / "dev.tsv")
    with pytest.raises(TaskError, match=f"SST-2: .*{message}") as caught:
        Sst2().sentences(tmp_path, sst2)
    assert "\n" not in str(caught.value)


def test_without_the_extra_one_line_says_so(home, tmp_path, cli, monkeypatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, found=_minilm.importlib.util.find_spec: None if name == "transformers" else found(name),
    )
    line = "run --method nominal --device ideal --task text --preset smoke".split()
    ended = cli(*line, "--results", tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "text: needs the package transformers; install it with pip install 'cim-bench[text]'" in ended.err


# --- the network


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Snippets().network("minilm?layers=2")


def test_all_linear_layers_are_on_the_crossbar(network: nn.Module) -> None:
    linear = [f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    assert list(Snippets().analog(network)) == linear and len(linear) == 2 * 6 + 1
    layer = 4 * 384**2 + 2 * 384 * 1536
    assert sum(network.get_parameter(name).numel() for name in linear) == 2 * layer + 2 * 384


def test_padding_changes_nothing(network: nn.Module) -> None:
    pieces = torch.randint(1000, 2000, (3, 20))
    padded = torch.cat([pieces, torch.zeros(3, LENGTH - 20, dtype=torch.int64)], dim=1)
    both = torch.cat([padded, torch.randint(1000, 2000, (1, LENGTH))])
    with torch.no_grad():
        alone = network.eval()(padded)
        assert torch.allclose(network(both)[:3], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "width", "message"),
    [
        ("minilm", 0.5, "its weights have one width"),
        ("minilm?layers=7", 1, "layers=7 must be 1 to 6"),
        ("lenet", 1, "64 word pieces"),
        ("minilmm", 1, "did you mean minilm"),
    ],
)
def test_misfits_are_told_in_one_line(name: str, width: float, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        Snippets().network(name, width)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def published(cache: Path) -> Path:
    """The cache, with the published weights."""
    try:
        _minilm.tokenizer(cache, None, LENGTH)
    except TaskError as error:
        if "wrong checksum" in str(error):
            raise
        pytest.skip(str(error))
    return cache


def test_published_weights_know_which_sentences_are_alike(published: Path) -> None:
    task, network = Snippets(), Snippets().network("minilm")
    task.pretrained(network, published)
    encoded = text._encoded(
        _minilm.tokenizer(published, None, LENGTH), ["A dull film.", "the movie is boring", "I ate fish"]
    )
    assert encoded.shape == (3, LENGTH) and encoded[0, :6].tolist() == [101, 1037, 10634, 2143, 1012, 102]
    seen: list[torch.Tensor] = []
    network.get_submodule("head").register_forward_hook(lambda m, x, y: seen.append(x[0]))
    with torch.no_grad():
        network.eval()(task.prepare(encoded))
    alike = nn.functional.cosine_similarity(seen[0][:1], seen[0][1:])
    assert alike[0] > 0.5 > 0.3 > alike[1]


def test_the_first_layers_are_the_whole_networks(published: Path) -> None:
    small, whole = (Snippets().network(name) for name in ("minilm?layers=2", "minilm"))
    for network in (small, whole):
        Snippets().pretrained(network, published)
    theirs = dict(whole.named_parameters())
    assert all(torch.equal(p, theirs[name]) for name, p in small.named_parameters() if not name.startswith("head"))


def test_snippets_are_split_by_class(published: Path) -> None:
    try:
        splits = Snippets().splits(published)
    except TaskError as error:
        pytest.skip(str(error))
    assert [len(split) for split in (splits.train, splits.val, splits.test)] == [8074, 999, 999]
    for split in (splits.train, splits.val, splits.test):
        assert split.targets.float().mean().item() == pytest.approx(4996 / 10072, abs=0.002)
        assert (split.inputs[:, 0] == 101).all() and split.inputs.shape[1] == LENGTH


def test_made_up_samples_have_the_form_of_real_ones(network: nn.Module) -> None:
    made = Snippets().synthetic(50, torch.Generator().manual_seed(0))
    assert made.inputs.shape == (50, LENGTH) and made.inputs.dtype == torch.int16
    present = made.inputs != 0
    assert (present[:, 1:] <= present[:, :-1]).all() and present[:, 0].all(), "padding is at the end"
    with torch.no_grad():
        assert network(Snippets().prepare(made.inputs[:4])).shape == (4, 2)


def test_training_begins_with_the_published_weights(home, tmp_path, cpu_runner, one_cell, monkeypatch) -> None:
    made = Snippets().synthetic(32, torch.Generator().manual_seed(0))
    monkeypatch.setattr(Snippets, "splits", lambda self, cache, data_dir=None: Splits(made, made, made.head(4)))
    begun = []

    def pretrained(self: Snippets, network: nn.Module, cache: Path) -> None:
        begun.append(cache)
        for p in network.parameters():
            nn.init.zeros_(p)

    monkeypatch.setattr(Snippets, "pretrained", pretrained)
    cell = one_cell("nominal", "ideal", "text", train_samples=32, test_samples=4, batch_size=16, lr=1e-9)
    record = cpu_runner(home, tmp_path / "results").run(cell, "test")
    assert begun == [home / "data"] and record["evaluation"]["training"]["budget"]["optimizer"] == "adamw"
    tensors, _ = Checkpoints(home / "checkpoints").load(record["training_key"])
    assert all(t.abs().max() < 1e-6 for t in tensors.values() if t.is_floating_point())
