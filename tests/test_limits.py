"""Files from somebody else that are larger than any of ours are refused, in one line, before they fill the memory."""

import gzip
import json
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import fit, limits
from bench.errors import BenchError
from bench.keys import key_of
from bench.reading import RECORD_SCHEMA, parse_record, read_record
from bench.store import Checkpoints, Records
from bench.sweeps import HalfSweep
from devices import _measured
from devices._base import DeviceError

SECURITY = Path(__file__).parents[1] / "SECURITY.md"
SHIPPED = Path(_measured.__file__).parent / "data" / "rram1t1r.json"
HEADERS = {
    "longer than any file": struct.pack("<Q", 1 << 60) + b"{}",
    "longer than this file": struct.pack("<Q", 1 << 20) + b"{}",
    "deep": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "outside the file": b'{"x":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}',
    "shape and size differ": b'{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}' + b"\0" * 4,
    "overlapping": b'{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
    b'"y":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
    "negative": b'{"x":{"dtype":"U8","shape":[4],"data_offsets":[-4,0]}}',
    "a deep description": json.dumps({"__metadata__": {"about": "[" * 100_000}}).encode(),
}


@pytest.fixture
def committed_record() -> dict[str, Any]:
    """A committed record of a run that is done."""
    paths = sorted((SECURITY.parent / "results" / "records").glob("fashion_mnist-rram-nominal-s0-*.json"))
    return read_record(paths[0])


@pytest.mark.parametrize("name", HEADERS)
def test_a_checkpoint_with_a_hostile_header_is_broken(name: str, tmp_path: Path) -> None:
    store, data = Checkpoints(tmp_path), HEADERS[name]
    if data.startswith(b"{"):
        end = data.rindex(b"}") + 1
        data = struct.pack("<Q", end) + data
    for path, load in ((store.path("k"), store.load), (store.partial_path("k"), store.load_partial)):
        path.write_bytes(data)
        with pytest.raises(BenchError, match="is broken .*delete it to train again") as caught:
            load("k")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("junk", "said"),
    [
        ("[],", "objects, lists and names, must be at most 200,000"),
        ("[[]],", "objects, lists and names, must be at most 200,000"),
        ('{"a":1},', "objects, lists and names, must be at most 200,000"),
        ('"ab",', "entries, must be at most 1,000,000"),
        ("1.5,", "entries, must be at most 1,000,000"),
    ],
)
def test_a_record_of_junk_is_refused_before_it_is_parsed(junk: str, said: str) -> None:
    data = f'{{"a":[{junk * (limits.RECORD // len(junk) - 3)}1]}}'.encode()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=said):
            parse_record(data, "junk")
        assert tracemalloc.get_traced_memory()[1] < limits.MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("first", ["1.5", '"\U0001f600"', '"\\ud83d\\ude00"'])
def test_a_record_of_as_many_parts_as_may_be_takes_little_memory(first: str) -> None:
    data = f'{{"a":[{first},{"[]," * (limits.PARTS - 3)}{",".join(["9.75"] * (limits.ENTRIES - limits.PARTS))}]}}'
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="no 'schema'"):
            parse_record(data.encode(), "junk")
        assert tracemalloc.get_traced_memory()[1] < 100 * limits.MIB
    finally:
        tracemalloc.stop()


# What a run may make is never more than what is read


@pytest.mark.parametrize("further", [0, limits.FURTHER])
def test_as_many_chips_as_may_be_planned_make_a_record_that_is_read(
    further: int, committed_record: dict[str, Any], tmp_path: Path
) -> None:
    """Of as many levels as there may be, each number as long as one can be."""
    chips = limits.NUMBERS // limits.LEVELS // (1 + further)
    longest, names = -1.2345678901234567e-100, [f"recall of class number {i} of them all" for i in range(further)]
    levels = [float(f"0.{10**12 + i}") for i in range(limits.LEVELS)]
    more = {"first_stage": chips, "ekl": longest, "samples": 10**9, "read_power_w": longest, "read_energy_j": longest}
    details = {"details": {name: [longest] * chips for name in names}} if further else {}
    measured = [{"level": level, "chips": [longest] * chips, **more, **details} for level in levels]
    record = committed_record | {"levels": measured, "clean_details": dict.fromkeys(names, longest)}
    record["evaluation"] = record["evaluation"] | {"levels": levels}
    record["key"] = key_of(record["evaluation"])
    Records(tmp_path).save(record)
    assert Records(tmp_path).load(record["key"]) == record | {"schema": RECORD_SCHEMA}


@pytest.mark.parametrize(
    ("task", "chips", "said"),
    [
        ("mnist", 75_001, "chips 75,001 at each of 6 levels: 450,006 numbers, for the metric; a record holds at most"),
        ("ecg", 4688, "chips 4,688 at each of 6 levels: 450,048 numbers, for the metric and up to 15 further metrics"),
    ],
)
def test_more_chips_than_a_record_holds_are_refused_when_they_are_planned(
    task: str, chips: int, said: str, one_cell: Callable[..., Any]
) -> None:
    with pytest.raises(BenchError, match=said):
        one_cell("nominal", "rram", task, chips=chips)
    with pytest.raises(BenchError, match=said):
        one_cell("nominal", "rram", task, chips=chips, half_width=0.1)
    assert one_cell("nominal", "rram", task, chips=chips - 1).evaluation.chips.maximum == chips - 1
    with pytest.raises(BenchError, match="chips 100,000 at each of 5 times: 500,000 numbers"):
        one_cell("nominal", "pcm", "mnist", chips=100_000, sweep="time")


def test_no_committed_record_has_more_further_metrics_than_room_is_kept_for() -> None:
    committed, _ = Records(SECURITY.parent / "results").load_all()
    assert 0 < max(len(record.get("clean_details", {})) for record in committed) <= limits.FURTHER


@pytest.mark.parametrize(("limit", "value"), [("RECORD", 2000), ("ENTRIES", 20), ("PARTS", 20), ("CHIPS", 1)])
def test_a_record_that_would_not_be_read_is_not_written(
    limit: str, value: int, committed_record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, limit, value)
    with pytest.raises(BenchError, match="is not written, since it could not be read again .*are kept") as told:
        Records(tmp_path).save(committed_record)
    assert "\n" not in str(told.value) and not list(tmp_path.iterdir())


def test_a_cell_whose_record_is_not_written_keeps_its_network_and_its_levels(
    home: Path, tmp_path: Path, one_cell: Callable[..., Any], cpu_runner: Callable[..., Any], monkeypatch: Any
) -> None:
    cell = one_cell("nominal", "rram", "mnist", network="mlp", train_samples=200, test_samples=50, chips=60)
    runner = cpu_runner(home, tmp_path / "results")
    with monkeypatch.context() as patch:
        patch.setattr(limits, "ENTRIES", 200)
        with pytest.raises(BenchError, match="is not written"):
            runner.run(cell, "")
        assert "is not written" in runner.records.load(cell.evaluation.key)["error"]
    for name in ("bench.runner.sweep_level", "bench.runner.Runner._fit"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("it was done already"))
    assert runner.run(cell, "")["status"] == "done"


def test_a_half_sweep_that_would_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = HalfSweep(tmp_path, "k")
    half.save(levels := [{"level": 0.0, "chips": [1.0]}], 1.0)
    monkeypatch.setattr(limits, "RECORD", 2000)
    with pytest.raises(BenchError, match="2 levels take .* MiB, a record at most .* are kept, but take fewer chips"):
        half.save([*levels, {"level": 0.1, "chips": [1.0] * 2000}], 2.0)
    assert half.load() == (levels, 1.0)


def test_a_reason_of_any_length_is_recorded(tmp_path: Path, one_cell: Callable[..., Any], cpu_runner: Any) -> None:
    cell, runner = one_cell("nominal", "rram", "mnist"), cpu_runner(tmp_path / "home", tmp_path)
    runner.fail(cell, "", ValueError("[" * (limits.PARTS + 1)))
    assert runner.records.load(cell.evaluation.key)["error"] == f"ValueError: {'[' * limits.ERROR}"[: limits.ERROR]


def test_a_checkpoint_that_would_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path)
    store.save_partial("k", {"w": torch.ones(1000)})
    monkeypatch.setattr(limits, "CHECKPOINT", 2000)
    with pytest.raises(BenchError, match=r"k\.partial\.safetensors: 0 MiB, at most 0 MiB are read; take a small"):
        store.save_partial("k", {"w": torch.ones(1001)})
    with pytest.raises(BenchError, match=r"can't read checkpoint .*: larger than 0 MiB, the most that is read"):
        store.load_partial("k")
    monkeypatch.undo()
    assert len(store.load_partial("k")["w"]) == 1000


# Files of other kinds


def test_cells_that_unpack_to_far_more_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CELLS", limits.MIB)
    for path, data in (
        (tmp_path / "a.csv.gz", gzip.compress(bytes(9 * limits.MIB))),
        (tmp_path / "a.csv", bytes(limits.MIB + 1)),
    ):
        path.write_bytes(data)
        with pytest.raises(fit.FitError, match="it unpacks to more than 1 MiB"):
            fit.read_cells(path)


def test_a_table_that_is_larger_than_any_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_measured, "MOST_MIB", 0)
    with pytest.raises(DeviceError, match=r"rram1t1r\.json: larger than 0 MiB"):
        _measured.Measured.from_file(SHIPPED)


def test_a_source_in_a_table_is_a_line_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    table = json.loads(SHIPPED.read_text())
    table["provenance"]["source"] = "a lab\x1b]0;x\x07\n\u202ein town"
    (tmp_path / "lab.json").write_text(json.dumps(table))
    assert _measured.Measured.from_file(tmp_path / "lab.json").source == "a lab ]0;x in town"


def test_the_limits_are_those_of_the_document() -> None:
    text = " ".join(SECURITY.read_text().split())
    sizes = {
        "a record": limits.RECORD, "measured cells": limits.CELLS, "a fitted table": _measured.MOST_MIB * limits.MIB,
        "an archive's manifest": limits.MANIFEST, "all its records": limits.RECORDS, "a checkpoint": limits.CHECKPOINT,
        "all its pictures": limits.PICTURES,
    }  # fmt: skip
    for what, size in sizes.items():
        assert re.search(rf"\| {what}[^|]*\| {limits.shown(size)} \|", text), what
    assert f"| {limits.PARTS:,}; {limits.ENTRIES:,} |" in text
    assert f"further metrics included | {limits.NUMBERS:,} |" in text
    assert f"{limits.NAME:,} letters" in text and f"{limits.ARCHIVE_FILES:,} files" in text
