"""`bench export`, `import` and `verify`: whole or nothing, and never trusted."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from bench import limits, seal, sharing, verify
from bench.errors import BenchError
from bench.keys import key_of
from bench.store import Checkpoints, Records
from bench.summary import record_score

COMMITTED = Path(__file__).parents[1] / "results" / "records"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Six committed records."""
    folder = tmp_path / "mine" / "records"
    folder.mkdir(parents=True)
    for path in sorted(COMMITTED.glob("fashion_mnist-rram-*-s0-*.json"))[:6]:
        shutil.copy(path, folder)
    return folder.parent


@pytest.fixture
def archive(results: Path, tmp_path: Path) -> Path:
    records, _ = Records(results).load_all()
    sharing.export(records, results, None, tmp_path / "a.zip")
    return tmp_path / "a.zip"


def rewritten(archive: Path, change) -> Path:
    """The archive with its members changed by `change(dict of name -> bytes)`, sums made anew unless it made them."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    out = archive.with_name("changed.zip")
    with zipfile.ZipFile(out, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    return out


def resummed(members: dict[str, bytes]) -> None:
    about = json.loads(members["manifest.json"])
    about["files"] = {n: hashlib.sha256(d).hexdigest() for n, d in members.items() if n != "manifest.json"}
    members["manifest.json"] = json.dumps(about).encode()


def merge(archive: Path, tmp_path: Path, force: bool = False) -> sharing.Merged:
    return sharing.merge(archive, tmp_path / "theirs", Checkpoints(tmp_path / "home" / "checkpoints"), force=force)


def test_all_records_arrive_byte_for_byte_and_again_adds_nothing(archive, results, tmp_path):
    assert merge(archive, tmp_path) == sharing.Merged(added=6)
    for path in (results / "records").iterdir():
        assert (tmp_path / "theirs" / "records" / path.name).read_bytes() == path.read_bytes()
    assert merge(archive, tmp_path) == sharing.Merged(same=6)
    first = archive.read_bytes()
    records, _ = Records(results).load_all()
    sharing.export(records, results, None, archive)
    assert archive.read_bytes() == first


def first_record(members: dict[str, bytes]) -> tuple[str, dict]:
    name = min(name for name in members if name.startswith("records/"))
    return name, seal.opened(members[name])[0]


def changed_numbers(members):
    name, record = first_record(members)
    record["clean"] += 1
    members[name] = json.dumps(record).encode()


def other_cell(members):
    name, record = first_record(members)
    record["evaluation"]["training"]["seed"] = 7
    members[name] = seal.sealed(record)
    resummed(members)


def newer_record(members):
    name, record = first_record(members)
    members[name] = seal.sealed(record | {"schema": 99})
    resummed(members)


def newer_archive(members):
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | {"archive": 3}).encode()


def renamed(name: str):
    def change(members):
        old, _ = first_record(members)
        members[name] = members.pop(old)
        resummed(members)

    return change


def unlisted(members):
    members["records/x-0000000000000000.json"] = b"{}"


def missing(members):
    members.pop(first_record(members)[0])


def nothing_listed(members):
    members["manifest.json"] = b"[1, 2"


def broken_network(members):
    members["checkpoints/0123456789abcdef.safetensors"] = b"\x08\0\0\0\0\0\0\0{}      "
    resummed(members)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed_numbers, "is not what its checksum says"),
        (other_cell, "not the record that its key and its name say"),
        (newer_record, "schema 99, newer than 2"),
        (newer_archive, "form 3, newer than 2"),
        (renamed("records/../../evil-0123456789abcdef.json"), "no name that"),
        (renamed("/tmp/evil-0123456789abcdef.json"), "no name that"),
        (renamed("records/other-0123456789abcdef.json"), "its key and its name"),
        (renamed("evil.py"), "no name that"),
        (unlisted, "but not in both"),
        (missing, "but not in both"),
        (nothing_listed, "is not one of `bench export`"),
        (broken_network, "checkpoints/0123456789abcdef.safetensors is broken"),
    ],
)
def test_what_is_wrong_in_one_place_is_refused_as_a_whole(change, said, archive, tmp_path):
    with pytest.raises(BenchError, match=said) as caught:
        merge(rewritten(archive, change), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "theirs").exists()
    assert not list((tmp_path / "home" / "checkpoints").iterdir())


def test_an_archive_that_was_cut_anywhere_is_refused(archive, tmp_path):
    whole = archive.read_bytes()
    for cut in range(0, len(whole), len(whole) // 40):
        archive.write_bytes(whole[:cut])
        with pytest.raises(BenchError, match="no whole archive"):
            merge(archive, tmp_path)
    assert not (tmp_path / "theirs").exists()
    with pytest.raises(BenchError, match="no such file"):
        merge(tmp_path / "none.zip", tmp_path)
    for odd in (tmp_path, Path("/dev/zero")):
        with pytest.raises(BenchError, match="is no file"):
            merge(odd, tmp_path / "theirs")


def test_what_unpacks_to_too_much_is_refused(archive, tmp_path, monkeypatch):
    for name, said in (
        ("RECORD", "is larger than 0 MiB"),
        ("RECORDS", "its records take"),
        ("ARCHIVE_FILES", "is no archive"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(limits, name, 3)
            with pytest.raises(BenchError, match=said):
                merge(archive, tmp_path)
    assert not (tmp_path / "theirs").exists()


def test_my_record_stays_unless_it_failed_or_i_say_so(archive, results, tmp_path):
    merge(archive, tmp_path)
    mine = Records(tmp_path / "theirs")
    one, other, *_ = (r for r in mine.load_all()[0] if r["status"] == "done")
    changed = one | {"clean": one["clean"] + 1}
    mine.save(changed)
    broken = other | {"status": "failed", "error": "power cut", "levels": [], "clean": None}
    mine.path(other).unlink()  # a failure never replaces a record
    mine.save(broken)
    done = merge(archive, tmp_path)
    assert (done.added, done.same, done.kept) == (1, 4, [one["key"]])
    assert mine.load(one["key"]) == changed
    assert mine.load(other["key"]) == other
    assert merge(archive, tmp_path, force=True).added == 1
    assert mine.load(one["key"]) == one


@pytest.fixture
def cell(one_cell):
    return one_cell("noise_injection", "rram", "fashion_mnist", test_samples=200, train_samples=200, chips=3)


@pytest.fixture
def run(home, tmp_path, cpu_runner, cell):
    """A trained network and its record: (record, results)."""
    results = tmp_path / "mine"
    command = "bench run --method noise_injection --device rram --task fashion_mnist"
    return cpu_runner(home, results).run(cell, command), results


def test_networks_travel_and_a_record_is_verified_from_them(run, home, tmp_path, cli, monkeypatch, cpu_runner, cell):
    record, results = run
    assert cli("export", tmp_path / "a.zip", "--results", results, "--checkpoints").code == 0
    other, there = tmp_path / "elsewhere", tmp_path / "theirs"
    other.mkdir()
    (other / "data").symlink_to(home / "data")
    monkeypatch.setenv("BENCH_HOME", str(other))
    done = cli("verify", record["key"], "--results", results)
    assert done.code == 2 and "its network is not in" in done.err and "--retrain" in done.err
    done = cli("import", tmp_path / "a.zip", "--results", there)
    assert done.code == 0 and "1 records added" in done.out and "1 networks added" in done.out
    tensors, about = Checkpoints(home / "checkpoints").load(record["training_key"])
    theirs, imported = Checkpoints(other / "checkpoints").load(record["training_key"])
    assert tensors.keys() == theirs.keys() and all(torch.equal(theirs[name], t) for name, t in tensors.items())
    when = imported["environment"].pop("imported")
    assert imported == about
    done = cli("verify", record["key"], "--results", there, "--threads", "1")
    assert (done.code, "the same numbers, chip by chip" in done.out) == (0, True), done.err
    assert f"its network was imported on {when}" in done.out
    done = cli("verify", record["key"], "--results", there, "--threads", "1", "--retrain")
    assert (done.code, "the same numbers, chip by chip" in done.out) == (0, True), done.err
    assert "imported" not in done.out
    # A record that is made from it says so
    for path in (there / "records").iterdir():
        path.unlink()
    made = cpu_runner(other, there).run(cell, record["command"])
    assert made["levels"] == record["levels"] and made["training_environment"]["imported"] == when
    shown = cli("show", record["key"], "--results", there).out
    assert f"imported the network, on {when}" in " ".join(shown.split())
    # A claim that is not so
    path = Records(there).path(record)
    for level in record["levels"]:
        level["chips"] = [chip + 20 for chip in level["chips"]]
    Records(there).save(record)
    claim = path.read_bytes()
    done = cli("verify", record["key"], "--results", there, "--threads", "1")
    assert (done.code, "does NOT reproduce" in done.out) == (1, True)
    assert path.read_bytes() == claim, "the record stays as it is"


def nudged(record: dict, by: float) -> dict:
    """The record as another machine might have made it: the chips of its levels a little off, half up, half down."""
    levels = [level | {"chips": [chip + by * (-1) ** i for i, chip in enumerate(level["chips"])]}
              for level in record["levels"]]  # fmt: skip
    return record | {"levels": levels}


def test_trained_again_other_numbers_reproduce_where_they_lie_in_the_interval(run, cli):
    record, results = run
    spread = min(max(level["chips"]) - min(level["chips"]) for level in record["levels"] if len(level["chips"]) > 1)
    assert spread > 0
    Records(results).save(nudged(record, spread / 20))
    done = cli("verify", record["key"], "--results", results, "--threads", "1", "--retrain")
    assert (done.code, "reproduces: the new score lies within the record's interval" in done.out) == (0, True), done.err
    assert "trained and swept again" in done.out and "0 of " in done.out and "the same numbers" not in done.out


def test_where_chips_cannot_differ_only_the_same_number_reproduces(home, tmp_path, cpu_runner, one_cell, cli):
    cell = one_cell("nominal", "ideal", "fashion_mnist", test_samples=200, train_samples=200)
    record = cpu_runner(home, tmp_path).run(cell, "bench run --method nominal --device ideal --task fashion_mnist")
    score = record_score(record)
    assert score.low == score.high, "its interval has no width"
    again = ("verify", record["key"], "--results", tmp_path, "--threads", "1", "--retrain")
    done = cli(*again)
    assert (done.code, "the same numbers, chip by chip" in done.out) == (0, True), done.err
    Records(tmp_path).save(nudged(record, 0.5))
    done = cli(*again)
    assert (done.code, "so that the record's interval has no width" in done.out) == (1, True), done.err


def test_of_one_chip_by_wish_nothing_is_said_but_that_numbers_differ(run):
    record, _ = run
    alone = record | {"levels": [level | {"chips": level["chips"][:1], "first_stage": 1} for level in record["levels"]]}
    alone["evaluation"] = record["evaluation"] | {"chips": record["evaluation"]["chips"] | {"minimum": 1}}
    assert verify.verdict(alone, alone).said == "the same numbers, chip by chip"
    assert verify.verdict(alone, nudged(alone, 1.0)).said.startswith("other numbers; of one chip a level nobody knows")


def test_a_record_of_another_version_is_not_verified(run, cli):
    record, results = run
    record["evaluation"]["device_version"] = "77"
    record["key"] = key_of(record["evaluation"])
    for path in (results / "records").iterdir():
        path.unlink()
    Records(results).save(record)
    with pytest.raises(BenchError, match="device rram has version 1 here, the record is of version 77"):
        verify.cell_of(record)
    assert cli("verify", record["key"], "--results", results).code == 2
    assert cli("verify", "abcd", "--results", results).code == 2


def test_bad_options_of_export_are_told(results, tmp_path, cli):
    for arguments in (["a.tar"], ["a.zip", "--method", "none"], ["a.zip", "abcdef0123456789"]):
        ended = cli("export", tmp_path / arguments[0], *arguments[1:], "--results", results)
        assert ended.code == 2 and len(ended.err.splitlines()) == 1
    assert not list(tmp_path.glob("a.*"))
    ended = cli("export", tmp_path / "b.zip", "--method", "mtrd,hwa", "--device", "rram", "--results", results)
    assert ended.code == 0 and " records, " in ended.out


def test_every_committed_record_is_of_its_key():
    for path in COMMITTED.glob("*.json"):
        record = json.loads(path.read_text())
        assert key_of(record["evaluation"]) == record["key"]
        assert key_of(record["evaluation"]["training"]) == record["training_key"]
