"""Real data from the cache, everything else in a folder of the test's own."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
import torch

from bench import plan, store
from bench.cli import main
from bench.progress import Monitor
from bench.runner import Runner

# Tests run side by side, a process a core: neither they nor the commands that they start take more than one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples everywhere and every time, on machines of any speed
hypothesis.settings.register_profile("bench", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("bench")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="write the table of combinations in README.md anew")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Sums are split by thread: one thread gives the same bits on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Processes that run tests side by side ignore it, and so would the commands that they start."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def alone() -> None:
    """No test depends on which tests ran before it: random numbers, and the log level that a command leaves."""
    torch.manual_seed(0)
    logging.getLogger("bench").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def cache() -> Path:
    """The folder of the data sets; a test that needs one fetches it there if it is missing."""
    folder = store.home().absolute() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def fresh_home(tmp_path: Path, cache: Path) -> Callable[[str], Path]:
    """Makes a folder of that name a BENCH_HOME without checkpoints, with the data at hand."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "data").symlink_to(cache)
        return folder

    return make


@pytest.fixture
def home(fresh_home: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh BENCH_HOME without checkpoints, with the data at hand, in use."""
    folder = fresh_home("home")
    monkeypatch.setenv("BENCH_HOME", str(folder))
    return folder


@pytest.fixture
def cpu_runner() -> Callable[[Path, Path], Runner]:
    """A quiet runner on the CPU with a BENCH_HOME and a results folder."""

    def make(home: Path, results: Path) -> Runner:
        cpu = torch.device("cpu")
        return Runner(home=home, results=results, data_dir=None, processor=cpu, monitor=Monitor(quiet=True))

    return make


@pytest.fixture
def one_cell() -> Callable[..., plan.Cell]:
    """The cell of a smoke run in fp32, and whatever else is asked for."""

    def make(method: str, device: str, task: str, **asked: Any) -> plan.Cell:
        names: dict[str, Any] = {"methods": (method,), "devices": (device,), "tasks": (task,), "seeds": (0,)}
        (cell,) = plan.cells(plan.Request(**names, **{"preset": "smoke", "precision": "fp32"} | asked))
        return cell

    return make


@pytest.fixture
def other_home(fresh_home: Callable[[str], Path]) -> Path:
    """A second fresh BENCH_HOME with the data at hand, for what `home` is held against."""
    return fresh_home("undisturbed")


SERVER = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
# One request after the other: S3 makes an object that must not be there atomically, moto looks first and then writes.
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
"""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """What a process needs in its environment to reach an S3 server with the bucket `bench`: moto's, over HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    access = {name: "testing" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    access |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    program = [sys.executable, "-c", SERVER, str(port)]
    with (
        subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        try:
            for name, value in access.items():
                patch.setenv(name, value)
            import s3fs

            end = time.monotonic() + 120
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert server.poll() is None and time.monotonic() < end, "the S3 server did not start"
                    time.sleep(0.1)
            s3fs.S3FileSystem().mkdir("bench")
            yield access
        finally:
            server.terminate()


@pytest.fixture
def s3(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of an empty folder in the bucket, which this process can reach."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return "s3://bench/" + re.sub(r"\W", "_", request.node.name)


@pytest.fixture
def imported() -> Callable[..., tuple[int, str]]:
    """(exit code, errors and those of `modules` that were imported) of a `bench` command in its own process."""

    def run(modules: set[str], *arguments: object) -> tuple[int, str]:
        program = (
            f"import sys; sys.argv = {['bench', *map(str, arguments)]}\nfrom bench.cli import main\ntry:\n    main()\n"
            f"finally:\n    print(*{modules} & set(sys.modules), end='', file=sys.stderr)"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        return ended.returncode, ended.stderr

    return run


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
