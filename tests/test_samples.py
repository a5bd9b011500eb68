"""Test samples in words: what each task says of them, the right chip in a record, records from before, bad ones."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench import plan, samples, seal, sharing
from bench.errors import BenchError
from bench.rig import Rig, numbered_chip
from bench.runner import Runner
from bench.store import Checkpoints, Records
from tasks._base import Split
from tasks.language import LENGTH, PREDICTED

Record = dict[str, Any]


def logits(wanted: Tensor, p: float, classes: int) -> Tensor:
    """Of the `wanted` class of each sample the probability p, of the others the same each."""
    rest = torch.full((len(wanted), classes), (1 - p) / (classes - 1))
    return rest.scatter(1, wanted[:, None], p).log()


@pytest.mark.parametrize(
    "name, given, first, second",
    [
        ("mnist", "test sample 0", "0", "1"),
        ("fashion_mnist", "test sample 0", "T-shirt/top", "Trouser"),
        ("cifar10", "test sample 0", "airplane", "automobile"),
        ("cifar100", "test sample 0", "apple", "aquarium_fish"),
        ("ecg", None, "normal", "R-on-T"),
        ("ecg:mitbih", None, "N", "S"),
    ],
)
def test_classes_in_words(name: str, given: str | None, first: str, second: str) -> None:
    task = plan.task_of(name)
    split = task.synthetic(2, torch.Generator().manual_seed(0))
    assert split is not None
    classes = task.network(task.networks[0], 0.125)(task.prepare(split.inputs)).shape[1]
    assert len(task.names or range(10)) == classes  # type: ignore[attr-defined]
    shown = task.samples(split)
    assert shown is not None and [wanted for _, wanted in shown] == [first, second]
    assert given is None or shown[0][0] == given
    found = task.answers(split, logits(torch.zeros(2, dtype=torch.int64), 0.75, classes))
    assert found == [(f"{first} 0.75", True), (f"{first} 0.75", False)]


def test_a_beat_is_drawn_from_its_lowest_to_its_highest() -> None:
    task = plan.task_of("ecg")
    rising = torch.arange(140.0)
    beats = torch.stack([rising, -rising, torch.zeros(140)])[:, None]
    up, down, flat = (given for given, _ in task.samples(Split(beats, torch.zeros(3, dtype=torch.int64))) or ())
    assert len(up) == 35 and up[0] == "▁" and up[-1] == "█" and list(up) == sorted(up)
    assert down == up[::-1] and set(flat) == {"▁"}


def test_a_sentence_is_put_together_from_its_pieces() -> None:
    pytest.importorskip("tokenizers")
    task = plan.task_of("text")
    words = ["[PAD]", "[CLS]", "[SEP]", "a", "fun", "##ny", "film", "."]
    pieces = torch.tensor([[1, 3, 4, 5, 6, 7, 2, 0], [1, 6, 2, 0, 0, 0, 0, 0]], dtype=torch.int16)
    split = Split(pieces, torch.tensor([1, 0]), words)
    assert task.samples(split) == [("a funny film.", "favourable"), ("film", "unfavourable")]
    assert task.samples(Split(pieces, torch.tensor([1, 0]))) == [
        ("1 3 4 5 6 7 2", "favourable"),
        ("1 6 2", "unfavourable"),
    ]
    assert task.answers(split, torch.tensor([[0.0, 0.0], [5.0, 0.0]]))[1] == ("unfavourable 0.99", True)


def test_the_next_word_its_rival_and_the_probabilities_of_both() -> None:
    task = plan.task_of("language")
    words = [f"w{i}" for i in range(20)]
    inputs = torch.arange(LENGTH).repeat(2, 1).int() % 20
    targets = torch.full((2, PREDICTED), 7)
    split = Split(inputs, targets, words).head(2)
    shown = task.samples(split)
    assert shown is not None and shown[0] == ("… " + " ".join(words[(LENGTH - 12 + i) % 20] for i in range(12)), "w7")
    p = torch.full((2, PREDICTED, 20), 0.01)
    p[0, -1, 7], p[1, -1, 3], p[1, -1, 7] = 0.81, 0.5, 0.32
    assert task.answers(split, p.log()) == [("w7 0.81", True), ("w3 0.50 (true 0.32)", False)]
    beyond = dataclasses.replace(split, words=words[:5])
    assert task.answers(beyond, p.log())[0] == ("7 0.81", True), "an output that no word of the text has"


def test_names_of_clothes_are_those_of_torchvision() -> None:
    from torchvision.datasets import FashionMNIST

    assert list(plan.task_of("fashion_mnist").names) == FashionMNIST.classes  # type: ignore[attr-defined]


# --- in a record


@pytest.fixture
def cell(one_cell: Callable[..., plan.Cell], monkeypatch: pytest.MonkeyPatch) -> plan.Cell:
    """Of few made-up digits, that no data are needed for."""
    task = type(plan.task_of("mnist"))
    random = torch.Generator().manual_seed(0)
    made = [plan.task_of("mnist").synthetic(40, random) for _ in range(3)]
    from tasks._base import Splits

    monkeypatch.setattr(task, "splits", lambda self, cache, data_dir=None: Splits(*made))  # type: ignore[arg-type]
    return one_cell("nominal", "rram", "mnist", network="mlp", train_samples=40, test_samples=30, levels=(0.0, 0.5))


@pytest.fixture
def runner(cell: plan.Cell, home: Path, tmp_path: Path, cpu_runner: Callable[..., Runner]) -> Runner:
    return cpu_runner(home, tmp_path / "results")


def stripped(runner: Runner, record: Record, without: tuple[str, ...] = ("samples",), **changes: Any) -> bytes:
    """Put the record back as it was before records had samples; returns its bytes."""
    old = {name: value for name, value in record.items() if name not in without} | changes
    runner.records.path(record).write_bytes(seal.sealed(old))
    return runner.records.path(record).read_bytes()


def test_a_record_has_the_first_samples_on_chip_0_at_every_level(runner: Runner, cell: plan.Cell) -> None:
    record = runner.run(cell, "test")
    task, splits = runner.task(cell.evaluation.training)
    network, device = runner.train(cell.evaluation.training), plan.device_of("rram")
    rig = Rig(network, task.analog(network), task, splits.test.head(30), "fp32")
    assert len(record["samples"]) == samples.SAMPLES
    for column, level in enumerate((None, 0.0, 0.5)):
        chip = () if level is None else numbered_chip(rig, device, "test chip", 0, level, None)
        p, found = F.softmax(rig.outputs(6, *chip), dim=1).max(1)
        for i, sample in enumerate(record["samples"]):
            assert (sample["given"], sample["wanted"]) == (f"test sample {i}", str(i))
            assert sample["answers"][column] == f"{found[i].item()} {p[i].item():.2f}"
            assert sample["right"][column] == (found[i].item() == i)
    assert runner.records.load(record["key"]) == record


def test_an_older_record_gets_samples_and_nothing_else(runner: Runner, cell: plan.Cell, monkeypatch) -> None:
    record = runner.run(cell, "test")
    whole = runner.records.path(record).read_bytes()
    stripped(runner, record)
    monkeypatch.setattr(Runner, "_fit", None)
    monkeypatch.setattr(Runner, "_measure", None)
    assert runner.run(cell, "another command") == record
    assert runner.records.path(record).read_bytes() == whole
    monkeypatch.setattr(Checkpoints, "load", None)
    assert runner.run(cell, "test") == record, "and is left alone from then on"


def test_a_record_whose_network_is_gone_or_another_stays_as_it_is(runner: Runner, cell: plan.Cell, monkeypatch) -> None:
    record = runner.run(cell, "test")
    monkeypatch.setattr(Checkpoints, "load", lambda *_: pytest.fail("its head says that it is another"))
    other = {"training_environment": record["training_environment"] | {"created": "2026-01-01T00:00:00+00:00"}}
    for changes in (other, {}):
        old = stripped(runner, record, **changes)
        if not changes:
            runner.checkpoints.path(record["training_key"]).unlink()
        assert "samples" not in runner.run(cell, "test")
        assert runner.records.path(record).read_bytes() == old


def test_a_record_that_names_no_data_gets_no_samples_of_a_folder(runner: Runner, cell: plan.Cell, tmp_path) -> None:
    record = runner.run(cell, "test")
    old = stripped(runner, record, without=("samples", "data"))
    runner.datasets.folder = runner.data_dir = tmp_path
    assert "samples" not in runner.run(cell, "test") and runner.records.path(record).read_bytes() == old
    stripped(runner, record)
    assert runner.run(cell, "test") == record, "these are its data"


def test_a_network_that_cannot_be_read_is_told_and_the_record_stays_done(
    runner: Runner, cell: plan.Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = runner.run(cell, "test")
    old = stripped(runner, record)
    runner.checkpoints.path(record["training_key"]).write_bytes(b"junk")
    said: list[str] = []
    monkeypatch.setattr(runner.monitor, "say", said.append)
    assert runner.run(cell, "test")["status"] == "done"
    assert runner.records.path(record).read_bytes() == old
    assert said[-1].startswith(f"record {record['key']} stays without samples: checkpoint ") and "\n" not in said[-1]


def test_of_a_task_that_has_no_words_for_these_samples_nothing_is_said(
    runner: Runner, cell: plan.Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = stripped(runner, record := runner.run(cell, "test"))
    monkeypatch.setattr(type(plan.task_of("mnist")), "samples", lambda self, split: None)
    said: list[str] = []
    monkeypatch.setattr(runner.monitor, "say", said.append)
    assert runner.run(cell, "test")["status"] == "done" and runner.records.path(record).read_bytes() == old
    assert not any("stays without samples" in line for line in said), said


def test_a_record_that_another_process_has_in_hand_is_left_to_it(runner: Runner, cell: plan.Cell) -> None:
    record = runner.run(cell, "test")
    old = stripped(runner, record)
    with runner.records.lock(record["key"]):
        assert "samples" not in runner.run(cell, "test")
    assert runner.records.path(record).read_bytes() == old


def test_a_hostile_text_becomes_one_short_line(runner: Runner, cell: plan.Cell, monkeypatch) -> None:
    text = "<script>alert(1)</script>\x1b[31m\u202e\0\n" + "x" * 500
    monkeypatch.setattr(type(plan.task_of("mnist")), "given", lambda self, split: [text] * len(split))
    for sample in runner.run(cell, "test")["samples"]:
        assert sample["given"].isprintable() and len(sample["given"]) == samples.LETTERS
        assert sample["given"].startswith("<script>alert(1)</script> [31m x") and sample["given"].endswith("x…")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"given": 3}, "samples.0.given is 3, must be str"),
        ({"wanted": None}, "samples.0.wanted is None, must be str"),
        ({"answers": "7"}, "samples.0.answers is '7', must be list"),
        ({"answers": ["7", 7, "7"]}, "samples.0.answers.1 is 7, must be str"),
        ({"right": [True, 1, True]}, "samples.0.right.1 is 1, must be bool"),
        ({"answers": ["7", "7"]}, "samples.0.answers has 2 entries, must have 3"),
        ({"right": [True] * 4}, "samples.0.right has 4 entries, must have 3"),
        ({"given": "x" * 1001}, "samples.0 has a text of 1,001 letters, must have at most 1,000"),
    ],
)
def test_samples_of_another_form_are_refused_in_one_line(
    change: Record, words: str, runner: Runner, cell: plan.Cell
) -> None:
    record = runner.run(cell, "test")
    first, *rest = record["samples"]
    for found in ([first | change, *rest], [first] * 21, {"0": first}, "seven", [None]):
        path = runner.records.path(record)
        path.write_bytes(seal.sealed(record | {"samples": found}))
        with pytest.raises(BenchError) as caught:
            runner.records.load(record["key"])
        assert str(caught.value).startswith(f"record {path} is broken (") and "\n" not in str(caught.value)
        if isinstance(found, list) and found[0] not in (None, first):
            assert words in str(caught.value)


def test_samples_arrive_with_an_import_and_are_no_other_numbers(
    runner: Runner, cell: plan.Cell, tmp_path: Path
) -> None:
    record = runner.run(cell, "test")
    bare = {name: value for name, value in record.items() if name != "samples"}
    results, store = tmp_path / "theirs", Checkpoints(tmp_path / "checkpoints")
    whole, lacking = tmp_path / "whole.zip", tmp_path / "lacking.zip"
    sharing.export([record], runner.records.folder.parent, None, whole)
    stripped(runner, record)
    sharing.export([bare], runner.records.folder.parent, None, lacking)
    assert sharing.merge(lacking, results, store) == sharing.Merged(added=1)
    assert sharing.merge(whole, results, store) == sharing.Merged(added=1)
    assert Records(results).load(record["key"]) == record
    assert sharing.merge(lacking, results, store) == sharing.Merged(same=1)
    assert Records(results).load(record["key"]) == record
    first, *rest = record["samples"]
    mine = record | {"samples": [first | {"wanted": "made elsewhere"}, *rest]}
    Records(results).save(mine)
    assert sharing.merge(whole, results, store) == sharing.Merged(same=1), "they differ in samples alone"
    assert Records(results).load(record["key"]) == mine


def test_show_prints_samples_with_a_cross_at_wrong_answers(runner: Runner, cell: plan.Cell, cli) -> None:
    record = runner.run(cell, "test")
    record["samples"][0] |= {"answers": ["0 0.51", "0 0.52", "8 0.53"], "right": [True, True, False]}
    runner.records.save(record)
    results = runner.records.folder.parent
    shown = cli("show", record["key"], "--results", results).out
    assert "test samples on chip 0" in shown
    table = shown[shown.index("test samples on chip 0") :]
    assert table.count("given") == table.count("digital"), "what is given stands there once"
    rows = [line.split()[:4] for line in table.splitlines()]
    assert any(row[:3] == ["digital", "0", "0.51"] for row in rows)
    assert any(row[:4] == ["0.5", "✗", "8", "0.53"] for row in rows)
    assert json.loads(cli("show", record["key"], "--json", "--results", results).out)["samples"] == record["samples"]
