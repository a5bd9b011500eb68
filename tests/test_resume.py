"""A run that is killed goes on where it was, and ends with the weights of one that was not."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench import fast, plan
from bench.errors import BenchError
from bench.progress import Work
from bench.store import Checkpoints

ARGUMENTS = (
    "run --method noise_injection --device rram --task mnist --network mlp --preset smoke --precision fp32 "
    "--epochs 1 --finetune-epochs 4 --train-samples 8000 --batch-size 10 --test-samples 200 --chips 2 --threads 1"
).split()


@pytest.fixture
def cell(one_cell) -> plan.Cell:
    """The cell of ARGUMENTS."""
    small = {"network": "mlp", "epochs": 1, "finetune_epochs": 4, "train_samples": 8000, "batch_size": 10}
    return one_cell("noise_injection", "rram", "mnist", **small, test_samples=200, chips=2)


def bench(home: Path, results: Path) -> subprocess.Popen:
    environment = os.environ | {"BENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench", *ARGUMENTS, "--results", str(results)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, f"ended too early: {process.stderr.read().decode()}"
        assert time.monotonic() < end, f"{path.name} did not appear"
        time.sleep(0.01)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_sigkill_in_mid_training_then_resume(home, other_home, tmp_path, one_thread, cpu_runner, cell):
    key = cell.evaluation.training.key
    runner = cpu_runner(other_home, other_home / "results")
    expected = runner.run(cell, "undisturbed")

    results = tmp_path / "results"
    checkpoints = Checkpoints(home / "checkpoints")
    process = bench(home, results)
    wait_for(checkpoints.partial_path(key), process)
    time.sleep(0.2)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not checkpoints.path(key).exists() and not list(results.glob("records/*"))
    assert checkpoints.load_partial(key)["epoch"] >= 1

    process = bench(home, results)
    assert process.wait(timeout=300) == 0, process.stderr.read().decode()
    ours, theirs = load_file(checkpoints.path(key)), load_file(runner.checkpoints.path(key))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert not checkpoints.partial_path(key).exists()
    found = cpu_runner(home, results).run(cell, "again")
    assert found["levels"] == expected["levels"] and found["clean"] == expected["clean"]
    assert found["cost"]["samples"] == expected["cost"]["samples"], "work is counted once"


@pytest.fixture
def swept(monkeypatch) -> Callable[..., list[float]]:
    """Call something and return the levels it swept; Ctrl-C comes as it begins the one of number `stop`."""
    import bench.runner

    real = bench.runner.sweep_level

    def watch(run: Callable[[], object], stop: int | None = None) -> list[float]:
        done: list[float] = []

        def noted(*args: Any, **kwargs: Any) -> Any:
            if len(done) == stop:
                raise KeyboardInterrupt
            done.append(kwargs["level"])
            return real(*args, **kwargs)

        monkeypatch.setattr(bench.runner, "sweep_level", noted)
        with pytest.raises(KeyboardInterrupt) if stop is not None else nullcontext():
            run()
        return done

    return watch


def test_a_sweep_goes_on_after_the_levels_it_has(home, tmp_path, one_thread, swept, cpu_runner, cell):
    def run() -> None:
        cpu_runner(home, tmp_path).run(cell, "")

    assert swept(run, stop=2) == [0.0, 0.1]
    assert not list(tmp_path.glob("records/*")), "an interrupted cell is neither done nor failed"
    assert swept(run) == [0.2, 0.3, 0.4, 0.5]
    assert not list((home / "sweeps").glob("*"))


def test_a_forced_sweep_goes_on_too_but_not_from_levels_older_than_the_record(
    home, tmp_path, one_thread, swept, cpu_runner, cell
):
    def run(force: bool = True) -> None:
        cpu_runner(home, tmp_path).run(cell, "", force)

    assert swept(run, stop=2) == [0.0, 0.1]
    (partial,) = (home / "sweeps").glob("*")
    old = partial.read_bytes()
    assert swept(run) == [0.2, 0.3, 0.4, 0.5], "there was no record yet to sweep again"

    partial.write_bytes(old)  # as if the record had come from elsewhere since, and the clock been set back
    os.utime(partial, (2**32, 2**32))
    assert swept(run, stop=3) == [0.0, 0.1, 0.2]
    assert swept(lambda: run(force=False)) == [], "without --force the finished record stands"
    assert swept(run) == [0.3, 0.4, 0.5]
    assert swept(run) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_student_stopped_between_epochs_ends_with_the_weights_of_one_that_was_not(
    home, other_home, monkeypatch, cpu_runner, one_cell
):
    """MTRD carries teacher weights and scores from epoch to epoch, its network running statistics."""
    small = {"width": 0.0625, "finetune_epochs": 3, "batch_size": 32, "train_samples": 96}
    precision = fast.precision_for(torch.device("cpu"))
    cell = one_cell("mtrd", "rram", "cifar10", network="vgg8_mtrd", precision=precision, **small)
    training = cell.evaluation.training
    expected = cpu_runner(other_home, other_home).train(training).state_dict()

    real = Checkpoints.save_partial

    def saved_and_stopped(self: Checkpoints, key: str, state: Any) -> None:
        real(self, key, state)
        if key == training.key:
            raise KeyboardInterrupt

    stops = 0
    while True:
        try:
            with monkeypatch.context() as patch:
                patch.setattr(Checkpoints, "save_partial", saved_and_stopped)
                found = cpu_runner(home, home).train(training).state_dict()
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops == 2
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.fixture
def small(one_cell) -> plan.Cell:
    """A second or two of training in three epochs."""
    few = {"network": "mlp", "epochs": 3, "train_samples": 320, "batch_size": 32}
    return one_cell("nominal", "rram", "mnist", **few, test_samples=50, chips=2)


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda point: point | {"epoch": "x"}, "epoch is 'x', must be int"),
        (lambda point: point | {"epoch": 1.5}, "epoch is 1.5, must be int"),
        (lambda point: point | {"epoch": True}, "epoch is True, must be int"),
        (lambda point: point | {"epoch": 10**9}, "epoch is 1000000000, must be 0 to 2"),
        (lambda point: point | {"epoch": 3}, "epoch is 3, must be 0 to 2"),
        (lambda point: point | {"epoch": -1}, "epoch is -1, must be 0 to 2"),
        (lambda point: point | {"cost": {}}, "no 'cost.epochs'"),
        (lambda point: point | {"cost": "x"}, "cost is 'x', must be dict"),
        (lambda point: point | {"cost": []}, r"cost is \[\], must be dict"),
        (lambda point: point | {"cost": point["cost"] | {"backward_passes": "x"}}, "cost.backward_passes is 'x'"),
        (lambda point: point | {"cost": point["cost"] | {"seconds": -1}}, "must be at least 0"),
        (lambda point: point | {"input_ranges": {"network": "x"}}, "input_ranges.network is 'x', must be dict"),
        (lambda point: point | {"state": {}}, "its state has"),
        (lambda point: point | {"state": point["state"] | {"schedule": "x"}}, "a part of its state is 'x'"),
        (lambda point: point | {"state": point["state"] | {"optimizer": {}}}, "no 'param_groups'|no"),
        (lambda point: [point], "no 'epoch'"),
        (lambda point: "x", "no 'epoch'"),
    ],
)
def test_a_resume_point_of_no_use_is_told_and_training_begins_anew(
    change: Change, why: str, small, home, other_home, tmp_path, monkeypatch, cpu_runner
):
    training = small.evaluation.training
    expected = cpu_runner(other_home, tmp_path).train(training).state_dict()
    runner, said = after_a_stop(training, lambda: cpu_runner(home, tmp_path), monkeypatch)
    point = runner.checkpoints.load_partial(training.key)
    runner.checkpoints.save_partial(training.key, change(point))
    found = runner.train(training).state_dict()
    path = runner.checkpoints.partial_path(training.key)
    (told,) = (line for line in said if "resume point" in line)
    assert re.fullmatch(rf"resume point {path} .*\(.*({why}).*\); dropped, training begins anew", told)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert runner.checkpoints.load(training.key)[1]["cost"]["epochs"] == 3


def stopped(self: Work) -> None:
    raise KeyboardInterrupt


def after_a_stop(training, make: Callable[[], Any], monkeypatch) -> tuple[Any, list[str]]:
    """A new runner, and all that it says, once a training was stopped at its first resume point."""
    with monkeypatch.context() as patch:
        patch.setattr(Work, "kept", stopped)
        with pytest.raises(KeyboardInterrupt):
            make().train(training)
    runner, said = make(), []
    monkeypatch.setattr(runner.monitor, "say", said.append)
    return runner, said


def test_a_resume_point_of_another_training_is_dropped(small, one_cell, home, tmp_path, monkeypatch, cpu_runner):
    training = small.evaluation.training
    other = dataclasses.replace(training, seed=1)
    runner, said = after_a_stop(other, lambda: cpu_runner(home, tmp_path), monkeypatch)
    runner.checkpoints.partial_path(other.key).rename(runner.checkpoints.partial_path(training.key))
    runner.train(training)
    assert any(f"it is of training '{other.key}'" in line for line in said)
    assert runner.checkpoints.load(training.key)[1]["cost"]["epochs"] == 3


def test_a_checkpoint_that_names_other_weights_than_the_network_has_does_not_fit(small, home, tmp_path, cpu_runner):
    training, runner = small.evaluation.training, cpu_runner(home, tmp_path)
    runner.train(training)
    tensors, about = runner.checkpoints.load(training.key)
    first = about["analog"][0]
    for analog in ([], about["analog"][::-1], [first]):
        runner.checkpoints.save(training.key, tensors, about | {"analog": analog})
        with pytest.raises(BenchError, match=r"does not fit \(its analog weights .*\); delete it to train again"):
            runner.train(training)
    runner.checkpoints.save(training.key, tensors | {first: tensors[first].double()}, about)
    with pytest.raises(BenchError, match=rf"does not fit \('{first}' is of torch.float64, must be of torch.float32"):
        runner.train(training)
