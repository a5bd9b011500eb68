"""A cluster as `ray start` makes one, which asks for a token: a user has the right one, another one or none."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bench import status

pytest.importorskip("ray", reason="needs Ray: pip install 'cim-bench[cluster]'")

LINE = "run --method nominal --device rram --task mnist --network mlp --preset smoke --precision fp32".split()
LINE += "--train-samples 200 --test-samples 100 --chips 2".split()


class Head(NamedTuple):
    """`around`: what a process needs in its environment to find the cluster on this machine and be let in."""

    address: str
    around: dict[str, str]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """The head of docs/cluster.md's Slurm script: `ray start --head --block` with a token in a file."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it, whose paths may have 107 letters
    around = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": folder}
    around |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    port, client = free_port(), free_port()
    command = f"-m ray.scripts.scripts start --head --port={port} --ray-client-server-port={client}"
    command += " --include-dashboard=false --num-cpus=1 --object-store-memory=104857600 --block"
    with subprocess.Popen(
        [sys.executable, *command.split()],
        env=os.environ | around,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as started:
        assert started.stdout is not None
        said = [next(started.stdout)]
        while "Ray runtime started" not in said[-1]:
            said.append(next(started.stdout))
        yield Head(f"{socket.gethostname()}:{port}", around)
        started.terminate()
        started.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def ended(home: Path, results: Path, cluster: str, around: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`bench run --cluster` in a process of its own, as a user types it. Ray would knock 20 times, once a second."""
    command = [sys.executable, "-m", "bench", *LINE, "--cluster", cluster, "--results", str(results)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_A", "RAY_TMP"))}
    around = kept | {"BENCH_HOME": str(home), "RAY_NUM_REDIS_GET_RETRIES": "2"} | around
    return subprocess.run(command, env=around, capture_output=True, text=True)


@pytest.mark.parametrize("cluster", ["HOST:PORT", "auto"])
def test_with_its_token_a_cluster_does_a_cell(cluster, head, home, tmp_path):
    """auto: of this machine's clusters the one that was started last with this RAY_TMPDIR; others have other tokens."""
    address = cluster.replace("HOST:PORT", head.address)
    done = ended(home, tmp_path / "results", address, head.around)
    assert done.returncode == 0, done.stderr
    (told,) = status.read(home / "runs")
    assert {(row.state, row.attempts) for row in told.rows} == {("done", 1)} and told.workers == f"cluster {address}"
    assert all(row.where for row in told.rows), "none was the command's own"


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("another", "it asks for another token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"),
        (None, "it asks for another token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"),
        ("", "RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty"),
    ],
)
def test_without_its_token_one_line_says_what_a_cluster_asks_for(token, said, head, home, tmp_path):
    path = tmp_path / "token"
    path.write_text(token or "")
    around = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)} if token is not None else {}
    done = ended(home, tmp_path / "results", head.address, around | {"HOME": str(tmp_path)})
    assert done.returncode == 2 and done.stderr.startswith(f"bench: cluster {head.address}: can't be joined ({said}")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "results" / "records").exists()
