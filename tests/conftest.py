"""Real data from the cache, everything else in a folder of the test's own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from bench import store
from bench.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Sums are split by thread: one thread gives the same bits on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """No test depends on which tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cache() -> Path:
    """The folder of the data sets; a test that needs one fetches it there if it is missing."""
    folder = store.home().absolute() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def home(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh BENCH_HOME without checkpoints, with the data at hand."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "data").symlink_to(cache)
    monkeypatch.setenv("BENCH_HOME", str(folder))
    return folder


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a `bench` command in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capsys.readouterr())

    return run
