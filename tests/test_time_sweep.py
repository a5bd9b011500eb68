"""Sweeps of time and training elsewhere, run small: the same chips as a sweep of levels, seen later."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from bench import plan, runner
from devices.rram1t1r import Rram1t1r

SMALL = {"network": "mlp", "epochs": 1, "train_samples": 100, "test_samples": 50, "chips": 2}


@pytest.fixture
def timed(one_cell) -> plan.Cell:
    """A small network on pcm at two times."""
    return one_cell("nominal", "pcm", "mnist", **SMALL, sweep="time", times=(1.0, 86_400.0))


def test_a_time_is_the_point_of_a_sweep_of_levels_at_that_time(home, tmp_path, cpu_runner, timed):
    ours = cpu_runner(home, tmp_path)
    record = ours.run(timed, "")
    assert record["axis"] == {"name": "time", "unit": "s since programming"}
    assert [(level["level"], level["time_s"]) for level in record["levels"]] == [(1.0, 1.0), (1.0, 86_400.0)]
    for point, time_s in zip(record["levels"], (1.0, 86_400.0), strict=True):
        at_one = dataclasses.replace(timed.evaluation, time_s=time_s, times_s=())
        (level,) = ours.run(dataclasses.replace(timed, evaluation=at_one), "")["levels"]
        assert point == level | {"time_s": time_s}
    assert record["levels"][0]["chips"] != record["levels"][1]["chips"]


def test_an_interrupted_sweep_of_times_goes_on(home, tmp_path, cpu_runner, timed, monkeypatch):
    seen, sweep_level = [], runner.sweep_level

    def interrupted(*args, **asked):
        seen.append(asked["time_s"])
        if len(seen) == 2:
            raise KeyboardInterrupt
        return sweep_level(*args, **asked)

    monkeypatch.setattr(runner, "sweep_level", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cpu_runner(home, tmp_path).run(timed, "")
    record = cpu_runner(home, tmp_path).run(timed, "")
    assert seen == [1.0, 86_400.0, 86_400.0]
    assert [level["time_s"] for level in record["levels"]] == [1.0, 86_400.0]


@pytest.mark.parametrize("method, source", [("noise_injection", "mylab.json"), ("nominal", "ideal")])
def test_a_network_may_be_trained_on_a_fitted_table(home, tmp_path, cpu_runner, one_cell, method, source):
    table = tmp_path / "mylab.json"
    shutil.copy(Rram1t1r.table_file, table)
    cell = one_cell(method, "rram", "mnist", **SMALL, finetune_epochs=1, levels=(0.3,), train_on=str(table))
    assert Path(cell.train_device).name == source
    record = cpu_runner(home, tmp_path).run(cell, "")
    assert record["evaluation"]["training"]["device"] == source.removesuffix(".json")


def test_with_and_without_compensation_from_the_command_line(cli, home, tmp_path):
    tiny = "--preset smoke --network mlp --epochs 1 --train-samples 100 --test-samples 50 --chips 2 --on cpu"
    command = f"run --method nominal --device pcm --task mnist --sweep time --times 1,3600 {tiny}".split()
    first = cli(*command, "--results", tmp_path)
    assert first.code == 0 and "over time at level 1" in first.out and "1 h" in first.out
    assert cli(*command, "--set", "device.compensation=off", "--results", tmp_path).code == 0
    plot, power = sorted((tmp_path / "plots").glob("*side_by_side*.png"), key=lambda path: len(path.name))
    assert power.stem == f"{plot.stem}-power"
    assert plot.name in (tmp_path / "LEADERBOARD.md").read_text()
    for path in Path(tmp_path / "records").glob("*.json"):
        record = json.loads(path.read_text())
        again = cli(*record["command"].split()[1:], "--results", tmp_path)
        assert again.code == 0 and f"already done, {record['key']}" in again.err
