"""docs/cluster.md: the Slurm script is run, with `srun`, `ray` and `bench` that only take down how they are called."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import cluster
from bench.cluster import Crew

PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()
# In place of Slurm's programs: those of three nodes, on this one.
FAKES = {
    "scontrol": "printf 'node1\\nnode2\\nnode3\\n'",
    "sleep": "exec /bin/sleep 0.2",
    "srun": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] || [ "$1" = -x ] && shift; shift; done; exec "$@"',
    "ray": 'echo "$(stat -c %a "$RAY_AUTH_TOKEN_PATH")" "$RAY_AUTH_MODE" "$@" >> "$HOME/ray"',
    "bench": 'trap \'echo drained >> "$HOME/drained"; exit 130\' INT; echo "$@" > "$HOME/new"; '
    'mv "$HOME/new" "$HOME/bench"; while :; do /bin/sleep 0.05; done',
}


def block(language: str) -> str:
    """The fenced block of that language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return text


@pytest.fixture
def planned(cli: Callable[..., Any], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The cells that a `bench run` would do on a cluster of GPUs."""

    def crew(workers: None, address: str, gpu_share: float, on: str, threads: None) -> Crew:
        return Crew(None, address, 1, gpu_share, "cpu", "bf16")

    monkeypatch.setattr(cluster, "crew", crew)

    def plan(words: list[str]) -> str:
        assert "--cluster" in words and "--results" in words
        words[words.index("--results") + 1] = str(tmp_path / "results")
        told = cli(*words, "--dry-run")
        assert told.code == 0, told.err
        return told.out

    return plan


def test_the_slurm_script_starts_a_cluster_drains_before_its_time_is_up_and_leaves_no_token(planned, tmp_path):
    home = tmp_path / "user"
    activate = home / "cim-bench" / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    (home / "bin").mkdir()
    for name, text in FAKES.items():
        (home / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (home / "bin" / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": "node[1-3]", "SLURM_NNODES": "3", "SLURM_CPUS_PER_TASK": "16"}
    around = os.environ | job | {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    script = home / "job.sh"
    script.write_text(block("bash"))
    with subprocess.Popen(["bash", str(script)], env=around, stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + 60
        while not (home / "bench").exists():
            assert running.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        running.send_signal(signal.SIGUSR1)  # Slurm's, ten minutes before the end
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 0 and not said
    assert (home / "drained").read_text() == "drained\n" and not list(home.glob("cim-bench-home/ray-token-*"))
    head, worker = map(
        shlex.split, sorted((home / "ray").read_text().splitlines(), key=lambda line: "--head" not in line)
    )
    for words in (head, worker):
        assert words[:3] == ["600", "token", "start"] and "--num-cpus=16" in words
        pytest.importorskip("ray.scripts.scripts").start.make_context("start", words[3:])  # as `ray start` reads it
    assert {"--head", "--port=22345", "--block"} <= set(head) and "--address=node1:22345" in worker
    words = (home / "bench").read_text().split()
    assert words[words.index("--cluster") + 1] == "node1:22345"
    assert planned(words).count("seed 4") > 20


def test_the_kubernetes_manifest_runs_a_command_that_there_is_on_one_volume(planned):
    job = yaml.safe_load(block("yaml"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    program, *words = shlex.split(job["spec"]["entrypoint"])
    assert program == "bench" and planned(list(words)).count("seed 4") > 20
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    seen = []
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
        assert mount["name"] == volume["name"] and words[words.index("--results") + 1].startswith(mount["mountPath"])
        around = {each["name"]: each["value"] for each in container["env"]}
        assert around["BENCH_HOME"].startswith(mount["mountPath"])
        seen.append((container["image"], around, volume))
    assert seen[0] == seen[1]
