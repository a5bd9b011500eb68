"""`bench tune --storage postgresql+psycopg://...` on a server that the tests start; skipped where there is none."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from bench import tune
from bench.tuning import workers

TINY = "--task mnist --network mlp --preset smoke --train-samples 200 --test-samples 100 --chips 2 --on cpu".split()


def program(name: str) -> str | None:
    """The path of a program of PostgreSQL, which Debian doesn't put on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of an empty database, of a server that lasts as long as the tests."""
    initdb, server = program("initdb"), program("pg_ctl")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL here: on Debian, apt-get install postgresql")
    as_owner: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        if shutil.which("runuser") is None or not _is_user("postgres"):
            pytest.skip("no PostgreSQL here: it takes the user postgres and runuser")
        as_owner = ["runuser", "-u", "postgres", "--"]
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if as_owner:
            shutil.chown(folder, "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        data = folder / "data"

        def do(*command: object) -> None:
            words = [*as_owner, *map(str, command)]
            log = folder / "server.log"
            done = subprocess.run(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")

        do(initdb, "-D", data, "-U", "bench", "--auth=trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        do(server, "-D", data, "-l", folder / "server.log", "-o", options, "-w", "start")
        try:
            yield f"postgresql+psycopg://bench:secret@127.0.0.1:{port}/postgres"
        finally:
            do(server, "-D", data, "-m", "immediate", "-w", "stop")


def _is_user(name: str) -> bool:
    import pwd

    return any(user.pw_name == name for user in pwd.getpwall())


def test_two_workers_share_a_study_on_a_server(postgres, home, tmp_path, cli, monkeypatch):
    start = workers.start

    def started(job: Any, *given: Any) -> Any:
        """The other process imports for a while: this one begins when that one has a trial."""
        helpers, ends = start(job, *given), time.monotonic() + 600
        while not any(s.n_trials > 1 for s in optuna.get_all_study_summaries(postgres)):
            assert time.monotonic() < ends and helpers[0].exitcode in (None, 0)
            time.sleep(0.1)
        return helpers

    monkeypatch.setattr(workers, "start", started)
    command = ["tune", "--method", "noise_injection", "--device", "rram", *TINY, "--trials", "4", "--val-chips", "1"]
    command += ["--storage", postgres, "--workers", "2", "--results", tmp_path]
    done = cli(*command)
    assert done.code == 0, done.err
    (found,) = [json.loads(path.read_text()) for path in (tmp_path / "tuned").glob("*.json")]
    assert len(found["trials"]) == 4
    study = optuna.load_study(study_name=found["study"], storage=postgres)
    assert len({trial.user_attrs["process"] for trial in study.trials if trial.state in tune.ENDED}) == 2
    assert not (home / "tuning" / "studies.sqlite3").exists()


def test_a_server_that_refuses_is_told_without_the_password(postgres, home, tmp_path, cli):
    away = postgres.replace("/postgres", "/elsewhere")
    ended = cli(
        *["tune", "--method", "noise_injection", "--device", "rram", *TINY, "--trials", "1"],
        *["--storage", away, "--results", tmp_path],
    )
    assert ended.code == 2 and "storage postgresql+psycopg://bench:***@" in ended.err and "secret" not in ended.err
    assert len(ended.err.splitlines()) == 1, ended.err
