"""Files cut anywhere and changed at random: told in one line, or the same content; never run, never a traceback."""

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import fit, plan
from bench.errors import BenchError
from bench.keys import key_of
from bench.reading import RECORD_SCHEMA, read_record
from bench.store import Checkpoints, Records
from bench.sweeps import HalfSweep
from devices._base import DeviceError
from devices.rram1t1r import Rram1t1r

ABOUT: dict[str, Any] = {
    "training": {"seed": 0},
    "cost": {"epochs": 1, "samples": 2000, "forward_passes": 2000, "seconds": 1.5},
    "lineage": {},
    "analog": ["weight"],
    "environment": {"created": "2026-01-01T00:00:00+00:00"},
}
Load = Callable[[], Any]


def mutated(data: bytes, luck: random.Random) -> bytes:
    """Other bytes: a bit or a byte changed, a part cut out, doubled, zeroed, moved or put in, the end cut off."""
    at = luck.randrange(len(data))
    span = slice(at, at + luck.choice((1, 2, 8, 64, 512)))
    part = data[span]
    digits = [i for i, byte in enumerate(data) if chr(byte).isdigit()]
    changed = {
        "bit": lambda: data[:at] + bytes([data[at] ^ 1 << luck.randrange(8)]) + data[at + 1 :],
        "byte": lambda: data[:at] + bytes([luck.randrange(256)]) + data[at + 1 :],
        "digit": lambda: data[: (i := luck.choice(digits))] + luck.choice("0123456789").encode() + data[i + 1 :],
        "cut out": lambda: data[:at] + data[span.stop :],
        "doubled": lambda: data[: span.stop] + part + data[span.stop :],
        "zeroed": lambda: data[:at] + bytes(len(part)) + data[span.stop :],
        "reversed": lambda: data[:at] + part[::-1] + data[span.stop :],
        "put in": lambda: data[:at] + luck.choice((b"NaN", b"-1", b"[", b'"', b"\\ud800", b"1e999")) + data[at:],
        "cut off": lambda: data[:at],
    }
    return changed[luck.choice(sorted(changed))]()


def a_record(folder: Path, committed: tuple[str, dict[str, Any]]) -> tuple[Path, Load]:
    path = Records(folder).save(committed[1])
    return path, lambda: read_record(path)


def a_checkpoint(folder: Path, _: Any) -> tuple[Path, Load]:
    store, key = Checkpoints(folder), key_of(ABOUT["training"])
    store.save(key, {"weight": torch.randn(4, 3), "bias": torch.randn(4), "n": torch.tensor(7)}, ABOUT)
    return store.path(key), lambda: store.load(key)


def a_resume_point(folder: Path, _: Any) -> tuple[Path, Load]:
    store = Checkpoints(folder)
    store.save_partial("k", {"epoch": 3, "cost": ABOUT["cost"], "state": {"w": torch.randn(3, 2).bfloat16()}})
    return store.partial_path("k"), lambda: store.load_partial("k")


def a_half_sweep(folder: Path, _: Any) -> tuple[Path, Load]:
    half = HalfSweep(folder, "k", "2026-01-01T00:00:00+00:00")
    half.save([{"level": 0.1, "chips": [90.5, 91.0], "first_stage": 2, "ekl": 0.01, "samples": None}], 3.5)
    return half.path, half.load


def a_device_file(folder: Path, _: Any) -> tuple[Path, Load]:
    table = json.loads(Rram1t1r.table_file.read_text())
    table["deviation_us"] = [[row[:] for row in time[::8]] for time in table["deviation_us"][:2]]
    table |= {"times_s": table["times_s"][:2], "g_us": table["g_us"][::8]}
    if table["g_us"][-1] < table["g_max_us"]:
        table["g_max_us"] = table["g_us"][-1]
    path = folder / "lab.json"
    fit.write_table(table, path)
    return path, lambda: plan.device_of(str(path)).table


KINDS = {a_record: 500, a_checkpoint: 200, a_resume_point: 100, a_half_sweep: 100, a_device_file: 200}


def same(a: Any, b: Any) -> bool:
    """Equal nestings, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_changed_file_is_told_or_as_it_was(make, tmp_path, committed):
    path, load = make(tmp_path, committed)
    data, content, luck, told = path.read_bytes(), load(), random.Random(make.__name__), 0
    assert content
    for _ in range(KINDS[make]):
        path.write_bytes(changed := mutated(data, luck))
        try:
            found = load()
        except (BenchError, DeviceError) as error:
            assert path.stem in str(error) and "\n" not in str(error)
            told += 1
            continue
        assert same(found, content), f"accepted: {changed!r}"
    assert told > KINDS[make] / 2


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_file_cut_anywhere_is_told(make, tmp_path, committed):
    path, load = make(tmp_path, committed)
    data = path.read_bytes()
    end = len(data.rstrip())
    for cut in range(0, end, max(1, end // 300)):
        path.write_bytes(data[:cut])
        with pytest.raises((BenchError, DeviceError)):
            load()


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_nothing_in_a_file_is_run(make, tmp_path, committed):
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    path, load = make(tmp_path, committed)
    whole = path.read_bytes()
    for data in (pickle.dumps(Trap()), whole + pickle.dumps(Trap()), b"__import__('os').system('touch executed')"):
        path.write_bytes(data)
        with pytest.raises((BenchError, DeviceError)):
            load()
    torch.save({"weight": Trap()}, path)
    with pytest.raises((BenchError, DeviceError)):
        load()
    assert not (tmp_path / "executed").exists()


def test_files_from_before_checksums_are_read(tmp_path, committed):
    """Records of schema 1, checkpoints and tables without a sum: they came from older versions, and stay of use."""
    text, record = committed
    assert "sha256" not in json.loads(text) and json.loads(text)["schema"] == 1
    (tmp_path / "old.json").write_text(text)
    assert read_record(tmp_path / "old.json") == json.loads(text) | {"schema": RECORD_SCHEMA}
    path, load = a_device_file(tmp_path, None)
    table = json.loads(path.read_text())
    del table["sha256"]
    path.write_text(json.dumps(table))
    assert load() == table


def test_a_record_that_lost_its_checksum_is_told(tmp_path, committed):
    path, _ = a_record(tmp_path, committed)
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"is broken \(no 'sha256'\)"):
        read_record(path)
    whole = Records(tmp_path).save(committed[1]).read_bytes()
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert read_record(path) == committed[1], "checked out by git on another system"
