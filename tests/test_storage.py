"""Results and checkpoints in an object store: a real S3 server over HTTP, and fsspec's own in memory."""

import errno
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec.registry  # noqa: F401
import pytest
import torch
from filelock import Timeout

from bench import files, lease, limits
from bench.errors import BenchError
from bench.files import AT_ONCE, at_hand, check_writable, is_remote, lock, place, read_each, write_bytes, write_with
from bench.keys import key_of
from bench.lease import FREE, Lease
from bench.reading import parse_record
from bench.store import Checkpoints, Records, home, local
from bench.sweeps import HalfSweep


@pytest.fixture(params=["s3", "memory"])
def folder(request: pytest.FixtureRequest) -> Any:
    """An empty folder in an object store."""
    if request.param == "s3":
        return place(request.getfixturevalue("s3"))
    return place("memory://" + re.sub(r"\W", "_", request.node.name))


@pytest.fixture
def record() -> dict[str, Any]:
    """A committed record."""
    path = sorted((Path(__file__).parent.parent / "results" / "records").glob("*.json"))[0]
    (data,) = read_each([path], 1 << 20)
    return parse_record(data, "committed")


def test_a_path_is_a_path_and_a_url_is_not(tmp_path, monkeypatch):
    assert place(str(tmp_path)) == place(f"file://{tmp_path}") == tmp_path
    assert place("results") == Path("results") and not is_remote(place("a:b"))
    there = place("memory://x/y")
    assert is_remote(there) and str(there / "z") == "memory://x/y/z"
    monkeypatch.setenv("BENCH_HOME", "memory://x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert is_remote(home()) and local(home()) == tmp_path / "cim-bench", "data sets stay on this machine"


@pytest.mark.parametrize("module", ["upath", "s3fs"])
def test_what_is_not_installed_is_named(module, monkeypatch, cli):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(BenchError, match=r"s3://b/x: object stores need pip install 'cim-bench\[cloud\]' \(.*\)"):
        place("s3://b/x")
    ended = cli("report", "--results", "s3://b/x")
    assert ended.code == 2 and len(ended.err.splitlines()) == 1 and "cim-bench[cloud]" in ended.err


@pytest.mark.parametrize(
    "url, words",
    [
        ("nonsense://b/x", "no URL that fsspec knows"),
        ("data://x", "no URL that fsspec knows"),  # there are no folders in one
        ("reference://x", "no URL that fsspec knows"),  # takes more than a name
        ("file://results", "must be a folder of this machine, from its root: file:///folder"),
        ("s3://b/x*", "'*' stands for other names"),
    ],
)
def test_a_url_of_no_store_is_named(url, words, cli):
    ended = cli("report", "--results", url)
    assert ended.code == 2 and len(ended.err.splitlines()) == 1 and words in ended.err


def test_a_bucket_that_is_not_there_is_told(s3):
    with pytest.raises(BenchError, match="can't write to s3://no-such-bucket/x: .*; choose another folder"):
        check_writable(place("s3://no-such-bucket/x"))


def test_a_store_that_cannot_be_reached_is_told(s3, cli, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    type(place(s3).fs).clear_instance_cache()
    try:
        with pytest.raises(BenchError, match=f"can't write to {s3}: .*; choose another folder"):
            check_writable(place(s3))
        ended = cli("show", "abcd", "--results", s3)
        assert ended.code == 2 and len(ended.err.splitlines()) == 1 and "127.0.0.1:9" in ended.err, ended.err
    finally:
        type(place(s3).fs).clear_instance_cache()


def test_objects_are_whole_or_not_there(folder):
    path = folder / "deep" / "x.json"
    assert not path.exists()
    write_bytes(path, b"old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_with(path, half)
    assert path.read_bytes() == b"old"
    write_with(path, lambda temporary: temporary.write_bytes(b"new"))
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]
    with at_hand(path, 3) as here:
        assert here.read_bytes() == b"new"
    assert list(read_each([path], 1 << 20))[0] == b"new"
    check_writable(folder)
    assert [p.name for p in folder.iterdir()] == ["deep"]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes came of each object, in order."""
    real, found = files._fetched, []

    def counted(path: Any, most: int) -> bytes:
        data = real(path, most)
        found.append(len(data))
        return data

    monkeypatch.setattr(files, "_fetched", counted)
    return found


def test_an_object_that_is_too_large_is_told_and_never_fetched_whole(folder, record, fetched):
    records, half = Records(folder), HalfSweep(folder, "k")
    records.save(record)
    large = folder / "records" / "large.json"
    for path in (large, half.path):
        write_bytes(path, b" " * (limits.RECORD + limits.MIB))
    found, (warning,) = records.load_all()
    assert found == [record] and warning == f"can't read record {large}: larger than 16 MiB, the most that is read"
    with pytest.raises(OSError, match="larger than 16 MiB, the most that is read"):
        half.load()
    assert len(fetched) == 3 and max(fetched) == limits.RECORD + 1


def test_an_object_is_read_in_one_request(s3, monkeypatch):
    import s3fs

    folder, asked, real = place(s3), [], s3fs.S3FileSystem._call_s3
    for name, data in (("a", b"abc"), ("empty", b"")):
        write_bytes(folder / name, data)

    async def counted(self: Any, method: str, *given: Any, **named: Any) -> Any:
        asked.append(method)
        return await real(self, method, *given, **named)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    assert list(read_each([folder / "a"], 3)) == [b"abc"] and asked == ["get_object"]
    empty, none, large = (next(read_each([folder / n], most)) for n, most in (("empty", 9), ("none", 9), ("a", 2)))
    assert empty == b"" and isinstance(none, FileNotFoundError) and getattr(large, "errno", 0) == errno.EFBIG


def test_a_checkpoint_that_is_too_large_is_told_and_not_copied(folder, monkeypatch):
    checkpoints = Checkpoints(folder)
    checkpoints.save_partial("k", {"x": torch.ones(1000)})
    assert len(checkpoints.load_partial("k")["x"]) == 1000
    monkeypatch.setattr(limits, "CHECKPOINT", 2000)
    monkeypatch.setattr(folder.fs, "get_file", lambda *_, **__: pytest.fail("it was copied"))
    with pytest.raises(BenchError, match=r"can't read checkpoint .*k\.partial.*: larger than 0 MiB, the most"):
        checkpoints.load_partial("k")


def test_of_many_objects_few_are_in_memory_at_once(fetched):
    folder = place("memory://many")
    paths = [folder / f"{i:03}" for i in range(100)]
    for path in paths:
        write_bytes(path, path.name.encode())
    for done, (path, data) in enumerate(zip(paths, read_each(paths, 10), strict=True)):
        assert data == path.name.encode() and len(fetched) <= done + AT_ONCE + 1


def test_records_checkpoints_and_half_sweeps_come_back(folder, record):
    records, checkpoints = Records(folder), Checkpoints(folder / "checkpoints")
    assert records.load_all() == ([], []) and records.load(record["key"]) is None
    path = records.save(record)
    evaluation = record["evaluation"] | {"preset": "another"}
    other = record | {"evaluation": evaluation, "key": key_of(evaluation)}
    records.save(other)
    (folder / "records" / "bad.json").write_bytes(b"{")
    found, (warning,) = records.load_all()
    assert (
        sorted(found, key=str) == sorted([record, other], key=str)
        and f"record {folder}/records/bad.json is broken" in warning
    )
    assert records.find(record["key"]) == path and records.load(record["key"]) == record

    assert checkpoints.load_partial("k") is None
    checkpoints.save_partial("k", {"x": torch.arange(3), "epoch": 2})
    assert checkpoints.load_partial("k")["x"].tolist() == [0, 1, 2]
    checkpoints.partial_path("k").unlink()
    assert checkpoints.load_partial("k") is None

    half = HalfSweep(folder, "k", "today", None)
    half.save([{"level": 0.0}], 1.5)
    assert half.load() == ([{"level": 0.0}], 1.5)
    assert HalfSweep(folder, "k", "yesterday", None).load() == ([], 0.0)
    half.drop()
    assert half.load() == ([], 0.0)


# Leases


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that expire within a second."""
    for name, seconds in (("BEAT_S", 0.1), ("EXPIRY_S", 0.8), ("POLL_S", 0.02)):
        monkeypatch.setattr(lease, name, seconds)


def killed(held: Lease) -> None:
    """From now on the holder says nothing more."""
    held._ended.set()
    assert held._thread is not None
    held._thread.join()


def test_one_holds_a_lease_until_it_gives_it_up(folder, quick):
    first, second = Lease(folder / "k.lock"), Lease(folder / "k.lock")
    with first:
        began = time.monotonic()
        with pytest.raises(Timeout):
            second.acquire(timeout=1.5)  # longer than an expiry: the holder's beat keeps it
        assert time.monotonic() - began >= 1.5
        with Lease(folder / "other.lock"):
            pass
    with second, pytest.raises(Timeout):
        first.acquire(timeout=0)
    assert isinstance(lock(folder / "k.lock"), Lease)


def test_a_lease_of_a_killed_process_expires_however_often_it_is_asked_for(folder, quick, monkeypatch):
    monkeypatch.setattr(lease.holder, "is_gone", lambda body: False)  # it was on another machine
    gone, waiting = Lease(folder / "k.lock"), Lease(folder / "k.lock")
    gone.acquire()
    killed(gone)
    began = time.monotonic()
    while time.monotonic() - began < 10:
        with suppress(Timeout):
            waiting.acquire(timeout=0.05)
            break
    assert 0.8 <= time.monotonic() - began < 10
    waiting.release()


def test_a_lease_of_a_killed_process_goes_to_one_of_those_who_wait(folder, quick):
    gone = Lease(folder / "k.lock")
    gone.acquire()
    killed(gone)
    with pytest.raises(Timeout):
        Lease(folder / "k.lock").acquire(timeout=0)
    held, most, won = 0, 0, []

    def want() -> None:
        nonlocal held, most
        with Lease(folder / "k.lock"):
            held += 1
            most = max(most, held)
            won.append(1)
            time.sleep(0.05)
            held -= 1

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, len(won)) == (1, 4)
    gone.release()  # it slept: nothing that it says counts any more
    with Lease(folder / "k.lock") as held_now, pytest.raises(Timeout):
        Lease(folder / "k.lock").acquire(timeout=0)
    assert held_now.path == folder / "k.lock"


def test_who_comes_late_to_a_turn_does_not_hold_the_lease(folder, quick):
    """It read turn 1 as free, and was slow: others have had turns 2 and 3 meanwhile."""
    late = Lease(folder / "k.lock")
    for _ in range(3):
        with Lease(folder / "k.lock"):
            pass
    assert late._take(2) is False and late._take(3) is False
    assert late._top() == (3, FREE) and late._numbers() == [3]


def test_a_lease_reads_no_clock_that_can_be_set(folder, quick, monkeypatch):
    with Lease(folder / "k.lock"):
        monkeypatch.setattr(time, "time", lambda: 0.0)
        with pytest.raises(Timeout):
            Lease(folder / "k.lock").acquire(timeout=1.2)


def test_a_store_without_exclusive_creation_is_refused(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda self, path, value, **_: self.pipe({path: value}))
    monkeypatch.setattr(MemoryFileSystem, "pipe", lambda self, values: None)
    with pytest.raises(BenchError, match="so two runs can't be kept apart"):
        check_writable(place("memory://ignores"))
