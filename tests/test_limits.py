"""Files from somebody else that are larger than any of ours are refused, in one line, before they fill the memory."""

import gzip
import json
import re
import struct
import tracemalloc
from pathlib import Path

import pytest

from bench import fit, limits
from bench.errors import BenchError
from bench.reading import parse_record
from bench.store import Checkpoints
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
    }  # fmt: skip
    for what, size in sizes.items():
        shown = f"{size >> 30} GiB" if size >= limits.GIB else f"{size >> 20} MiB"
        assert re.search(rf"\| {what}[^|]*\| {shown} \|", text), what
    assert f"| {limits.PARTS:,}; {limits.ENTRIES:,} |" in text
    assert f"{limits.NAME:,} letters" in text and f"{limits.ARCHIVE_FILES:,} files" in text
