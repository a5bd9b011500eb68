"""A disk that is full, a folder that is read-only, a clock that is set back."""

import datetime
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import bench.environment
import bench.runner
from bench import leaderboard
from bench.errors import BenchError
from bench.store import Records

SMALL = {"network": "mlp", "train_samples": 200, "test_samples": 100, "chips": 2}
WORDS = "run --method nominal --device rram --task mnist --network mlp --preset smoke --precision fp32 --on cpu".split()
WORDS += "--train-samples 200 --test-samples 100 --chips 2".split()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here, which takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk to its last byte; the file that does."""
    filler = folder / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(folder).free))
    return filler


@contextmanager
def quota(size: int) -> Iterator[None]:
    """No file may become larger than so many bytes."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def right(one_cell, cpu_runner, other_home, tmp_path) -> dict[str, Any]:
    """The record of an undisturbed run."""
    return cpu_runner(other_home, tmp_path / "right").run(one_cell("nominal", "rram", "mnist", **SMALL), "")


def agree(found: dict[str, Any], right: dict[str, Any]) -> bool:
    return (found["levels"], found["clean"]) == (right["levels"], right["clean"])


@pytest.mark.parametrize("full", ["results", "home"])
def test_a_full_disk_costs_nothing_but_what_did_not_fit(full, disk, home, cache, right, one_cell, cpu_runner, tmp_path):
    cell = one_cell("nominal", "rram", "mnist", **SMALL)
    folders = {"home": home, "results": tmp_path / "results"} | {full: disk}
    if full == "home":
        (disk / "data").symlink_to(cache)
    runner = cpu_runner(folders["home"], folders["results"])
    if full == "results":
        leaderboard.remake(folders["results"])
        before = {path.name: path.read_bytes() for path in disk.glob("*.md")}
        assert before
    filler = fill(disk)
    with pytest.raises((BenchError, OSError), match="No space left on device") as error:
        runner.run(cell, "")
    assert str(disk) in str(getattr(error.value, "filename", None) or error.value)
    if full == "results":
        with pytest.raises(BenchError, match=f"can't write to {disk}: No space left on device; choose another"):
            leaderboard.remake(disk)
        assert {path.name: path.read_bytes() for path in disk.glob("*.md")} == before
    assert not [path for path in disk.rglob(".*tmp*") if path.is_file()], "half-written files"
    filler.unlink()
    assert agree(runner.run(cell, ""), right)
    assert Records(folders["results"]).load_all() == ([runner.run(cell, "")], [])


def test_a_quota_costs_nothing_but_what_did_not_fit(home, right, one_cell, cpu_runner, tmp_path):
    cell = one_cell("nominal", "rram", "mnist", **SMALL)
    runner = cpu_runner(home, tmp_path / "results")
    with quota(2000), pytest.raises(BenchError, match="can't write .*safetensors: File too large; make room"):
        runner.run(cell, "")
    assert agree(runner.run(cell, ""), right)
    assert not list(home.rglob(".*tmp*"))


def test_read_only_results_can_be_read_and_are_told(disk, home, right, cli, tmp_path):
    (path,) = (tmp_path / "right" / "records").iterdir()
    Records(disk).save(right)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in ([*WORDS], ["report"]):
        ended = cli(*command, "--results", disk)
        said = f"bench: can't write to {disk}: Read-only file system; choose another folder\n"
        assert (ended.code, ended.err) == (2, said)
    shown = cli("show", right["key"], "--results", disk)
    assert shown.code == 0 and right["key"] in shown.out
    assert [p.name for p in (disk / "records").iterdir()] == [path.name]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the clock that records are dated by to the first of January of a year."""

    def set_to(year: int) -> None:
        class Clock(datetime.datetime):
            @classmethod
            def now(cls, zone: Any = None) -> Any:
                return datetime.datetime(year, 1, 1, tzinfo=zone)

        monkeypatch.setattr(bench.environment, "datetime", Clock)
        monkeypatch.setattr("time.time", lambda: datetime.datetime(year, 1, 1).timestamp())

    return set_to


def test_a_clock_that_is_set_back_loses_and_mixes_nothing(
    clock, home, right, one_cell, cpu_runner, tmp_path, monkeypatch
):
    """Swept in 2030, swept again and interrupted in 2020, then in 2010: each level once, none of an older sweep."""
    cell, runner = one_cell("nominal", "rram", "mnist", **SMALL), cpu_runner(home, tmp_path / "results")
    swept: list[float] = []
    real = bench.runner.sweep_level

    def watched(*args: Any, **kwargs: Any) -> Any:
        if len(swept) == 2 and year == 2020:
            raise KeyboardInterrupt
        swept.append(kwargs["level"])
        return real(*args, **kwargs)

    monkeypatch.setattr(bench.runner, "sweep_level", watched)
    for year in (2030, 2020, 2010):
        clock(year)
        before, swept[:] = list(swept), []
        if year == 2020:
            with pytest.raises(KeyboardInterrupt):
                runner.run(cell, "", force=True)
            os.utime(next((home / "sweeps").iterdir()), (0, 0))
            assert Records(tmp_path / "results").load_all()[0][0]["environment"]["created"].startswith("2030")
        else:
            found = runner.run(cell, "", force=year == 2010)
            assert agree(found, right) and found["environment"]["created"].startswith(str(year))
            assert found["sweep_seconds"] >= 0 and found["cost"]["seconds"] >= 0
    assert before == [0.0, 0.1] and swept == [0.2, 0.3, 0.4, 0.5]
    assert runner.run(cell, "")["environment"]["created"].startswith("2010"), "done, whatever the clock says"
