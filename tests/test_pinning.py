"""`python -m bench.timing.cluster`: each process that computes has a core of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.timing import cluster

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no process to a core")
TAKE = "import os, sys, pathlib; from bench.timing import cluster as c; held = c.a_core(pathlib.Path(sys.argv[1]))"


@pytest.fixture(autouse=True)
def as_before():
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_a_job_takes_a_core_that_no_other_has_and_gives_it_back(tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    command = [sys.executable, "-c", f"{TAKE}; held.__enter__(); print(*os.sched_getaffinity(0))", str(tmp_path)]
    with cluster.a_core(tmp_path):
        assert os.sched_getaffinity(0) == {max(cores)}
        other = subprocess.run(
            command, capture_output=True, text=True, timeout=120, preexec_fn=lambda: os.sched_setaffinity(0, cores)
        )
        if len(cores) > 1:
            assert other.stdout.split() == [str(sorted(cores)[-2])], other.stderr
        else:
            assert "more workers than cores" in other.stderr
    assert os.sched_getaffinity(0) == cores
    with cluster.a_core(tmp_path):
        assert os.sched_getaffinity(0) == {max(cores)}, "it was given back, though this process was kept to it"


def test_this_process_has_all_its_cores_again_after_a_cell() -> None:
    cores = os.sched_getaffinity(0)
    with cluster.on_one_core():
        assert os.sched_getaffinity(0) == {max(cores)}
    assert os.sched_getaffinity(0) == cores
