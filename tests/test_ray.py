"""Ray itself: `--workers 2` as a user types it, and a cluster of two machines, which are raylets on this one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from bench import cluster, engine, status, tune
from bench.board import Board
from bench.cluster import RayTeam
from bench.grid import Job
from bench.worker import Place, Result

pytest.importorskip("ray", reason="needs Ray: pip install 'cim-bench[cluster]'")

LINE = "--device rram --task mnist --network mlp --preset smoke --precision fp32 --test-samples 100 --chips 2".split()
FEW = ["--train-samples", 200]
FOUR_EPOCHS = ["run", "--method", "nominal", *LINE, *FEW, "--epochs", 4, "--batch-size", 50]


def measured(results: Path) -> dict[str, Any]:
    """Key -> what a record measured, and what it cost, but for seconds."""
    records = [json.loads(path.read_text()) for path in (results / "records").glob("*.json")]
    costs = ({k: v for k, v in r["cost"].items() if "seconds" not in k} for r in records)
    return {r["key"]: (r["status"], r["clean"], r["levels"], cost) for r, cost in zip(records, costs, strict=True)}


def same_networks(one: Path, other: Path) -> bool:
    """Have two BENCH_HOMEs the same trained networks, bit for bit?"""
    ours, theirs = map(weights, (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def weights(home: Path) -> dict[tuple[str, str], torch.Tensor]:
    """(file, name of the tensor) -> tensor of each trained network."""
    files = (home / "checkpoints").glob("*.safetensors")
    return {(path.name, name): tensor for path in files for name, tensor in load_file(path).items()}


def test_two_workers_of_this_machine_make_the_records_of_one_process(home, other_home, cli, tmp_path, monkeypatch):
    """In a process of its own, as a user types it: `bench run --workers 2`, then `bench status`."""
    line = ["run", "--method", "nominal,noise_injection", *LINE, *FEW]
    command = [sys.executable, "-m", "bench", *map(str, line), "--workers", "2", "--results", str(tmp_path / "a")]
    ended = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (told,) = status.read(home / "runs")
    assert {(row.state, row.attempts) for row in told.rows} == {("done", 1)}
    assert not any(row.where.endswith(f" {told.place.split()[1]}") for row in told.rows), "none was the command's own"
    shown = cli("status").out
    assert "2 workers" in shown and "2 of 2 cells done" in shown and "2 of 2 trainings done" in shown
    monkeypatch.setenv("BENCH_HOME", str(other_home))
    assert cli(*line, "--threads", 1, "--results", tmp_path / "b").code == 0
    assert measured(tmp_path / "a") == measured(tmp_path / "b") and len(measured(tmp_path / "a")) == 2
    assert same_networks(home, other_home)


# A head and two machines that work, which are three raylets on this one


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A Ray cluster of two machines with a CPU each, and a head that has none."""
    made = new_cluster(2)
    yield made
    made.shutdown()


def new_cluster(count: int) -> Any:
    """A head, and so many machines with a CPU each."""
    cluster._ray()
    from ray.cluster_utils import Cluster

    size = {"object_store_memory": cluster.OBJECTS_BYTES, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=size | {"num_cpus": 0})
    for _ in range(count):
        made.add_node(**size, num_cpus=1)
    return made


def test_the_board_is_where_the_command_is(machines, home, tmp_path, monkeypatch):
    """The machine whose death ends the command anyhow; on another one's death it would be lost, and go on empty."""
    import ray

    class Located(Board):
        def where(self) -> str:
            import ray

            return ray.get_runtime_context().get_node_id()

    monkeypatch.setattr(cluster, "Board", Located)
    cluster._init(ray, machines.address)
    try:
        teams = [RayTeam(ray, Place(home, tmp_path, None, "cpu", 1), 0.0) for _ in range(3)]
        where = ray.get([team.board.where.remote() for team in teams])
    finally:
        ray.shutdown()
    assert set(where) == {machines.head_node.node_id}


def test_no_more_jobs_run_at_once_than_there_are_cpus_though_they_ask_the_board(machines, home, tmp_path, monkeypatch):
    """A worker that waits in ray.get gives its CPU to the next job meanwhile."""
    import ray

    class Slow(Board):
        def report(self, key: str, seen: dict[str, Any]) -> bool:
            time.sleep(0.05)
            return super().report(key, seen)

    def asks(key: str, board: Any) -> tuple[float, float]:
        import time

        import ray

        from bench.cluster import BoardReports

        began = time.monotonic()
        reports = BoardReports(ray, board, key)
        for _ in range(10):
            reports.report({}, wait=True)
        return began, time.monotonic()

    monkeypatch.setattr(cluster, "Board", Slow)
    cluster._init(ray, machines.address)
    try:
        board = RayTeam(ray, Place(home, tmp_path, None, "cpu", 1), 0.0).board
        spans = ray.get([ray.remote(num_cpus=1)(asks).remote(str(n), board) for n in range(8)])
    finally:
        ray.shutdown()
    at_once = [sum(began <= start < ended for began, ended in spans) for start, _ in spans]
    assert max(at_once) <= 2, at_once


def test_cells_of_half_a_gpu_share_one_and_no_third_joins_them(machines, home, tmp_path, monkeypatch):
    """Of a GPU that Ray counts and nobody has: who gets it when is Ray's affair, what asks for it is ours."""
    import ray

    def shares(job: Job, place: Place, board: Any) -> Result:
        import time

        import ray

        began = time.monotonic()
        time.sleep(0.5)
        return Result("done", (ray.get_gpu_ids(), began, time.monotonic()))

    monkeypatch.setattr(cluster, "_work", shares)
    with_gpu = machines.add_node(object_store_memory=cluster.OBJECTS_BYTES, num_cpus=8, num_gpus=1)
    cluster._init(ray, machines.address)
    try:
        team = RayTeam(ray, Place(home, tmp_path, None, "cuda", 1), 0.5)
        handles = [team.submit(Job(str(n), "", training=None, source="rram")) for n in range(5)]
        found = [team.result(handle).value for handle in handles]
    finally:
        ray.shutdown()
        machines.remove_node(with_gpu)
    at_once = [sum(began <= start < ended for _, began, ended in found) for _, start, _ in found]
    assert max(at_once) == 2 and {tuple(map(str, gpus)) for gpus, _, _ in found} == {("0",)}


def test_a_cluster_makes_the_records_of_one_process_and_trains_what_is_shared_once(
    machines, home, other_home, cli, tmp_path, monkeypatch
):
    line = ["run", "--method", "nominal,noise_injection,mixed_noise", *LINE, *FEW]
    ended = cli(*line, "--cluster", machines.address, "--results", tmp_path / "a")
    assert ended.code == 0, ended.err
    (told,) = status.read(home / "runs")
    assert sorted(row.kind for row in told.rows) == ["cell"] * 3 + ["training"] * 3
    assert {(row.state, row.attempts) for row in told.rows} == {("done", 1)}
    assert sum(row.title.startswith("train nominal") for row in told.rows) == 1
    assert f"cluster {machines.address}" in cli("status").out
    monkeypatch.setenv("BENCH_HOME", str(other_home))
    assert cli(*line, "--threads", 1, "--results", tmp_path / "b").code == 0
    assert measured(tmp_path / "a") == measured(tmp_path / "b")
    assert same_networks(home, other_home)


@pytest.fixture
def outside(machines) -> Iterator[str]:
    """The cluster's address for Ray Client: that of its server, without the proxy that a head has before it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"-m ray.util.client.server --mode legacy --host 127.0.0.1 --port {port} --address {machines.address}"
    with subprocess.Popen([sys.executable, *command.split()], stderr=subprocess.DEVNULL) as server:
        until(lambda: listens(port))
        yield f"ray://127.0.0.1:{port}"
        server.kill()


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def until(truth: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_cluster_is_reached_from_outside(outside, home, other_home, cli, tmp_path, monkeypatch):
    """By Ray Client, in a process of its own, as a user types it."""
    line = list(map(str, ["run", "--method", "nominal", *LINE, *FEW]))
    command = [sys.executable, "-m", "bench", *line, "--cluster", outside, "--results", str(tmp_path / "a")]
    ended = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (told,) = status.read(home / "runs")
    assert {(row.state, row.attempts) for row in told.rows} == {("done", 1)} and len(told.rows) == 2
    assert not any(row.where.endswith(f" {told.place.split()[1]}") for row in told.rows), "none was the command's own"
    monkeypatch.setenv("BENCH_HOME", str(other_home))
    assert cli(*line, "--threads", 1, "--results", tmp_path / "b").code == 0
    assert measured(tmp_path / "a") == measured(tmp_path / "b") and len(measured(tmp_path / "a")) == 1
    assert same_networks(home, other_home)


def test_tune_runs_its_trials_on_the_cluster_of_ray_address(machines, home, cli, tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "CONFIRM", 2)
    small = [*LINE, *FEW, "--val-chips", 1, "--trials", 2, "--results", tmp_path]
    monkeypatch.setenv("RAY_ADDRESS", machines.address)
    ended = cli("tune", "--method", "trice", *small, "--cluster", "auto")
    assert ended.code == 0, ended.err
    (path,) = (tmp_path / "tuned").glob("mnist-mlp-rram-trice-*.json")
    assert len(json.loads(path.read_text())["trials"]) == 2
    (told,) = status.read(home / "runs")
    kinds = [row.kind for row in told.rows]
    assert (kinds.count("study"), kinds.count("trial"), kinds.count("check")) == (1, 2, 2)
    assert all(row.where for row in told.rows if row.kind in ("trial", "check")), "none was this process's"
    assert "trice" in ended.out and "gain" in ended.out


# Trainings that are held at a resume point, so that what befalls them there befalls them in the middle


class Met(NamedTuple):
    """A resume point that a training came to: which attempt at it, how many epochs are kept, whose process."""

    attempt: int
    epoch: int
    process: int


class Gate:
    """Where trainings on the cluster are held. `folder`: what came to a resume point is noted in it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.has_ended = False

    def hold(self, held: int, deaf: bool = False) -> None:
        """Hold so many attempts at a training, each at its first resume point, until it is killed or asked to stop.

        `deaf`: they don't hear that they are asked.
        """
        for path in self.folder.iterdir():
            path.unlink()
        self.patch.setattr(cluster, "_work", _gated(self.folder, held, deaf))

    def met(self) -> list[Met]:
        """All that came, in order."""
        return sorted(Met(*map(int, path.name.split("-"))) for path in self.folder.iterdir())

    def wait_for(self, attempt: int) -> Met:
        """The resume point at which an attempt is held, once `bench status` knows of this command's attempt, too."""
        home, until = Path(os.environ["BENCH_HOME"]), time.monotonic() + 120
        while time.monotonic() < until and not self.has_ended:
            living = [one for one in status.read(home / "runs") if one.is_alive]
            told = {row.attempts for one in living for row in one.rows if row.kind == "training"}
            if attempt in told and (found := [one for one in self.met() if one.attempt == attempt]):
                return found[0]
            time.sleep(0.05)
        raise AssertionError(f"attempt {attempt} did not come")

    def beside(self, act: Callable[[], None], command: Callable[[], Any]) -> Any:
        """How the command ended, while something was done to it."""
        failures: list[BaseException] = []

        def caught() -> None:
            try:
                act()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=caught)
        thread.start()
        ended = command()
        self.has_ended = True
        thread.join()
        assert not failures, (failures, ended.code, ended.err)
        return ended


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate for the workers of the commands that come."""
    folder = tmp_path / "met"
    folder.mkdir()
    monkeypatch.setattr(status.Status, "EVERY_S", 0.1)
    monkeypatch.setattr(engine, "POLL_S", 0.1)
    return Gate(folder, monkeypatch)


def _gated(folder: Path, held: int, deaf: bool) -> Callable[[Job, Place, Any], Result]:
    """In place of cluster._work. Ray sends a function in a function by value: workers need not find this file."""

    def work(job: Job, place: Place, board: Any) -> Result:
        import os
        import time

        import ray

        from bench import worker
        from bench.cluster import BoardReports
        from bench.store import Checkpoints

        class Gated(BoardReports):
            def report(self, seen: dict, wait: bool) -> bool:
                asked = super().report(seen, wait)
                if not wait or job.kind != "training":
                    return asked
                epoch = Checkpoints(place.home / "checkpoints").load_partial(job.key)["epoch"]
                others = {path.name.split("-")[2] for path in folder.iterdir()} - {str(os.getpid())}
                attempt = len(others) + 1
                (folder / f"{attempt}-{epoch}-{os.getpid()}").touch()
                until = time.monotonic() + 120  # the test has failed, and waits for the command
                while attempt <= held and (deaf or not asked) and time.monotonic() < until:
                    time.sleep(0.05)
                    asked = super().report(seen, wait)
                return asked

        return worker.work(job, place, Gated(ray, board, job.key))

    return work


def undisturbed(cli: Any, home: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command measures in one process, with nothing in its way."""
    monkeypatch.setenv("BENCH_HOME", str(home))
    assert cli(*FOUR_EPOCHS, "--threads", 1, "--results", results).code == 0
    return measured(results)


def test_ctrl_c_drains_a_cluster_and_the_same_command_goes_on(
    machines, gate, home, other_home, cli, tmp_path, monkeypatch
):
    line = [*FOUR_EPOCHS, "--cluster", machines.address, "--results", tmp_path / "a"]

    def press() -> None:
        gate.wait_for(1)
        os.kill(os.getpid(), signal.SIGINT)

    gate.hold(1)
    ended = gate.beside(press, lambda: cli(*line))
    assert ended.code == 130 and "what runs goes on to its next resume point" in ended.err
    assert [one[:2] for one in gate.met()] == [(1, 1)], "it stopped at the resume point that it was at"
    gate.hold(0)
    assert cli(*line).code == 0
    assert [one[:2] for one in gate.met()] == [(1, 2), (1, 3)], "it went on from there"
    found = measured(tmp_path / "a")
    assert found == undisturbed(cli, other_home, tmp_path / "b", monkeypatch) and len(found) == 1


def test_a_second_ctrl_c_ends_what_runs_at_once_and_the_same_command_goes_on(
    machines, gate, home, other_home, cli, tmp_path, monkeypatch
):
    line, pressed = [*FOUR_EPOCHS, "--cluster", machines.address, "--results", tmp_path / "a"], []

    def press() -> None:
        gate.wait_for(1)
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: signal.getsignal(signal.SIGINT) is signal.default_int_handler)  # the first one was heard
        time.sleep(3 * engine.POLL_S)
        assert not gate.has_ended
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    gate.hold(1, deaf=True)
    ended = gate.beside(press, lambda: cli(*line))
    assert time.monotonic() - pressed[0] < 60 and ended.code == 130, ended.err
    ((attempt, epoch, process),) = gate.met()
    assert (attempt, epoch) == (1, 1) and not list(tmp_path.glob("a/records/*"))
    until(lambda: not Path(f"/proc/{process}").exists(), 60)  # the worker is no longer at it
    gate.hold(0)
    assert cli(*line).code == 0
    assert [one[:2] for one in gate.met()] == [(1, 2), (1, 3)], "it went on from the last resume point"
    found = measured(tmp_path / "a")
    assert found == undisturbed(cli, other_home, tmp_path / "b", monkeypatch) and len(found) == 1


COMMAND = """
import sys
import ray.cloudpickle
from bench import cluster
from bench.cli import main
cluster._work = ray.cloudpickle.loads({work!r})
sys.argv = {argv!r}
main()
"""


def in_a_process(*arguments: object) -> subprocess.Popen[bytes]:
    """A `bench` command that can be killed, whose workers come to the gate, too."""
    import ray.cloudpickle

    argv = ["bench", *map(str, arguments)]
    program = COMMAND.format(work=ray.cloudpickle.dumps(cluster._work), argv=argv)
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)


@pytest.fixture
def doomed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of one machine, and a head that will die: the other one misses it after 3 s, not after a minute."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "3")
    made = new_cluster(1)
    yield made
    for node in made.list_all_nodes():
        node.kill_all_processes(check_alive=False, allow_graceful=False)


def test_the_command_is_killed_then_dies_with_its_machine_and_goes_on_from_there(
    machines, doomed, gate, home, other_home, cli, tmp_path, monkeypatch
):
    results = tmp_path / "a"

    def kill(address: str, machine: Any) -> None:
        """Kill the command in mid-training, with the head that it is on if there is one."""
        gate.hold(1)
        with in_a_process(*FOUR_EPOCHS, "--cluster", address, "--results", results) as command:
            worker = gate.wait_for(1).process
            command.send_signal(signal.SIGSTOP)
            if machine is not None:
                machine.kill_all_processes(check_alive=False, allow_graceful=False)
            command.kill()
        told = cli("status").out
        assert "killed" in told and "0 of 1 cells done" in told and "running" not in told
        if machine is None:
            until(lambda: not Path(f"/proc/{worker}").exists(), 60)

    kill(machines.address, None)
    assert [one[:2] for one in gate.met()] == [(1, 1)]
    kill(doomed.address, doomed.head_node)
    assert [one[:2] for one in gate.met()] == [(1, 2)]
    gate.hold(0)  # while the worker that was left on the other machine may be there yet, with its lock
    ended = cli(*FOUR_EPOCHS, "--cluster", machines.address, "--results", results)
    assert ended.code == 0, ended.err
    assert [one[:2] for one in gate.met()] == [(1, 3)], "it went on from the last resume point"
    assert "1 of 1 cells done" in cli("status").out
    found = measured(results)
    assert found == undisturbed(cli, other_home, tmp_path / "b", monkeypatch) and len(found) == 1
    assert same_networks(home, other_home)
    locks = [*home.rglob("*.lock"), *results.rglob("*.lock")]
    assert locks
    for path in locks:
        with FileLock(path, timeout=0):
            pass


def test_a_machine_dies_then_a_worker_and_the_cell_gets_done_from_where_it_was(
    machines, gate, home, other_home, cli, tmp_path, monkeypatch
):
    """The last of this file: a machine is gone after it."""

    def kill() -> None:
        first = gate.wait_for(1).process
        os.kill(first, signal.SIGSTOP)  # a machine dies with all that runs on it, at one moment
        parent = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
        (machine,) = (node for node in machines.list_all_nodes() if raylet(node) == parent)
        machines.remove_node(machine, allow_graceful=False)
        os.kill(first, signal.SIGKILL)
        os.kill(gate.wait_for(2).process, signal.SIGKILL)

    gate.hold(2)
    ended = gate.beside(kill, lambda: cli(*FOUR_EPOCHS, "--cluster", machines.address, "--results", tmp_path / "a"))
    assert ended.code == 0, ended.err
    assert ended.err.count("is gone; goes on with") == 2
    assert [one[:2] for one in gate.met()] == [(1, 1), (2, 2), (3, 3)], "each went on where the last one was"
    assert len({one.process for one in gate.met()}) == 3
    found = measured(tmp_path / "a")
    assert found == undisturbed(cli, other_home, tmp_path / "b", monkeypatch) and len(found) == 1
    assert same_networks(home, other_home)


def raylet(node: Any) -> int:
    """The process from which a machine's workers come."""
    return node.all_processes["raylet"][0].process.pid
