"""Who waits for a lock in an object store sees at once that its holder is gone, if both are of one machine."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from filelock import Timeout

from bench import holder, lease
from bench.files import lock, place
from bench.lease import FREE, Lease

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="says nothing where there is no /proc")

HOLD = """
import sys, time
from bench.files import lock, place
held = lock(place(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(600)
"""
TOLD = "import json; from bench import holder; print(json.dumps([holder.this(), holder.is_gone({body!r})]))"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives."""
    with subprocess.Popen(["sleep", "600"]) as made:
        yield made
        made.kill()


def told_by(number: int) -> dict[str, Any]:
    """What the process with this number would tell of itself."""
    found = holder._state_and_start(number)
    assert found is not None
    return holder.this() | {"process": number, "started": found[1]}


def is_gone(told: Any) -> bool:
    return holder.is_gone(json.dumps(told).encode())


def test_a_process_is_gone_from_its_death_on(process):
    told = told_by(process.pid)
    assert not is_gone(told) and not is_gone(holder.this())
    process.kill()
    while holder._state_and_start(process.pid)[0] != "Z":  # dead, and its parent has not asked yet
        time.sleep(0.01)
    assert is_gone(told)
    process.wait()
    assert is_gone(told)


def test_a_process_is_gone_where_another_one_has_its_number(process):
    told = told_by(process.pid)
    assert is_gone(told | {"started": told["started"] - 1})


@pytest.mark.parametrize("part", ["host", "boot", "pid namespace", "time namespace"])
def test_of_another_machine_or_container_nothing_is_said(part, process):
    """Host and boot are those of all containers of a machine that are told to have one name, numbers start at 1."""
    told = told_by(process.pid)
    process.kill()
    process.wait()
    assert is_gone(told) and len(told["world"]) == 4
    told["world"][["host", "boot", "pid namespace", "time namespace"].index(part)] += "0"
    assert not is_gone(told)


def test_of_who_did_not_tell_enough_nothing_is_said(process, monkeypatch, tmp_path):
    told = told_by(process.pid)
    process.kill()
    process.wait()
    for name in ("process", "started", "world"):
        assert not is_gone({n: value for n, value in told.items() if n != name})
        assert not is_gone(told | {name: None}) and not is_gone(told | {name: "x"})
    assert not any(map(holder.is_gone, (FREE, b"", b"[" * 100_000, b"[1]", b"\xff")))
    assert not is_gone(told | {"process": 0}) and not is_gone(told | {"process": -1})
    assert not is_gone(told | {"process": 10**30})
    monkeypatch.setattr(holder, "PROC", tmp_path)  # as on a system without it
    assert holder.this().keys() == {"host", "process"} and not is_gone(told) and not is_gone(told | {"world": []})


@pytest.mark.parametrize("own_proc", [True, False])
def test_a_container_and_its_machine_are_not_mistaken(own_proc, process):
    """For real: a process in a pid namespace of its own, with a /proc of its own or with that of the machine."""
    options = ["--pid", "--fork", *(["--mount-proc"] if own_proc else [])]
    if os.geteuid() != 0 or not shutil.which("unshare") or subprocess.run(["unshare", *options, "true"]).returncode:
        pytest.skip("no pid namespace can be made here, which takes root")
    ours = told_by(process.pid)
    process.kill()
    process.wait()
    program = TOLD.format(body=json.dumps(ours).encode())
    ended = subprocess.run(["unshare", *options, sys.executable, "-c", program], capture_output=True, text=True)
    theirs, found = json.loads(ended.stdout)
    assert found is False and is_gone(ours)
    assert theirs["host"] == ours["host"] and theirs["process"] < 10, "names and numbers say nothing"
    assert not is_gone(theirs) and ("world" in theirs) == own_proc


def test_a_killed_holder_of_this_machine_costs_no_wait(s3):
    url = f"{s3}/k.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "held\n"
            waiting = lock(place(url))
            assert isinstance(waiting, Lease)
            with pytest.raises(Timeout):
                waiting.acquire(timeout=2)
        finally:
            other.kill()
        began = time.monotonic()
        with waiting:
            assert time.monotonic() - began < lease.EXPIRY_S / 4
