"""What a row says that its training took: counted, shown, and read from older records."""

from pathlib import Path

import pytest

from bench import columns, markdown, seal, terminal
from bench.cost import COSTS, costs, passes
from bench.frame import table
from bench.reading import read_record
from bench.store import Records
from bench.summary import summary
from bench.tuning import saved

RECORD = next((Path(__file__).parent.parent / "results" / "records").glob("cifar10-rram-mtrd-*.json"))
SMALL = {"network": "mlp", "train_samples": 256, "test_samples": 100, "chips": 2, "batch_size": 64}


def older(**cost) -> dict:
    """A record of before backward passes and trials were counted."""
    record = read_record(RECORD)
    return record | {"cost": record["cost"] | cost}


def test_a_pass_alone_is_a_third():
    assert passes(30, 30) == 30 and passes(30, 0) == 10 and passes(None, 3) is None
    found = costs(older(forward_passes=80, backward_passes=20, teacher_forward_passes=10, teacher_backward_passes=10))
    assert (found["passes"], found["total_passes"], found["total_forward_passes"]) == (40, 50, 90)


def test_an_older_record_has_no_trials_and_unknown_passes():
    found = costs(older())
    assert found["trials"] == 0 and found["passes"] is None and found["total_passes"] is None
    assert found["total_epochs"] == 28 and found["total_samples"] == 142_464 + 1_187_200


def test_the_terminal_says_why_an_older_record_has_no_passes():
    said = dict((text.partition(":")[0], text) for _, text in terminal._about(older()))
    assert "recorded before backward passes were counted; the command with --force" in said["passes"]
    counted = older(backward_passes=284_928, teacher_backward_passes=1_187_200)
    assert not any(text.startswith("passes: none") for _, text in terminal._about(counted))


def test_every_row_says_what_it_took_alone_and_with_what_it_rests_on():
    (group,) = summary([older(trials=30)])
    shown = {name: show(group.rows[0]) for name, show in columns.tables(group, " ")[2]}
    assert shown == {
        "method": "mtrd",
        "own epochs": "3",
        "own samples": "142,464",
        "own forward passes": "1,139,712",
        "own seconds": "1,497",
        "total epochs": "28",
        "total samples": "1,329,664",
        "total forward passes": "2,326,912",
        "total seconds": "5,159",
        "tuning trials": "30",
    }
    (counted,) = summary([older(backward_passes=284_928, teacher_backward_passes=1_187_200)])
    shown = {name: show(counted.rows[0]) for name, show in columns.tables(counted, " ")[2]}
    assert shown["own passes"] == "569,856" and shown["total passes"] == "1,757,056"
    assert "own passes" in markdown.leaderboard([counted])


def test_the_csv_has_all_costs_after_the_columns_that_were_there():
    frame = table([older(trials=30)])
    assert list(frame.columns).index("sweep") < list(frame.columns).index("epochs")
    assert set(frame["total_samples_seen"]) == {1_329_664} and set(frame["tuning_trials"]) == {30}


def test_a_run_counts_its_passes(home, tmp_path, cpu_runner, one_cell):
    """Each step of SAM goes forward and back twice; MTRD's six lessons go forward alone."""
    runner = cpu_runner(home, tmp_path)
    record = runner.run(one_cell("sam", "rram", "mnist", **SMALL), "sam")
    assert {name: record["cost"][name] for name in ("samples", "forward_passes", "backward_passes", "trials")} == {
        "samples": 256,
        "forward_passes": 512,
        "backward_passes": 512,
        "trials": 0,
    }
    assert record["cost"]["teacher_backward_passes"] == record["cost"]["teacher_forward_passes"] == 256
    student = runner.run(one_cell("mtrd", "rram", "mnist", **SMALL), "mtrd")
    assert (student["cost"]["forward_passes"], student["cost"]["backward_passes"]) == (8 * 256, 2 * 256)
    assert costs(student)["total_passes"] == pytest.approx(256 * (1 + 5 + 4))
    assert all(value is not None for value in costs(student).values()) and set(COSTS) <= set(costs(student))


def test_a_cost_that_is_no_number_is_a_broken_record(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / RECORD.name).write_bytes(seal.sealed(older(trials="many")))
    records, (warning,) = Records(tmp_path).load_all()
    assert not records and "cost.trials is 'many', must be int | float" in warning


def test_trials_are_those_of_the_file_that_has_these_settings(home, tmp_path, cpu_runner, one_cell):
    usual = one_cell("trice", "rram", "mnist", **SMALL)
    chosen = one_cell("trice", "rram", "mnist", **SMALL, settings={"cutoff": "2"})
    path = saved.path_of(tmp_path, usual.evaluation)
    runner = cpu_runner(home, tmp_path)
    assert runner.run(chosen, "by hand")["cost"]["trials"] == 0
    key = chosen.evaluation.training.as_dict()
    found = {"settings": {"cutoff": 2.0}, "level": key["level"], "trials": [{}] * 12}
    saved.save(path, found | {"evaluation": usual.evaluation.as_dict()})
    assert runner.run(chosen, "again")["cost"]["trials"] == 12, "the record that was there says so from now on"
    assert runner.records.load(chosen.evaluation.key)["cost"]["trials"] == 12
    assert runner.run(usual, "default settings")["cost"]["trials"] == 0
    other = one_cell("trice", "rram", "mnist", **SMALL, settings={"cutoff": "3"})
    assert saved.trials(tmp_path, other.evaluation) == 0
    path.write_text("{")
    assert saved.trials(tmp_path, chosen.evaluation) == 0


def test_force_with_an_older_network_names_the_command_that_counts_its_passes(
    home, other_home, tmp_path, cpu_runner, one_cell, monkeypatch
):
    """A sweep anew doesn't train anew: the record lacks what its network's training didn't count, and says so."""
    runner, said = cpu_runner(home, tmp_path), []
    monkeypatch.setattr(runner.monitor, "say", said.append)
    cell, command = one_cell("noise_injection", "rram", "mnist", **SMALL), "bench run --method noise_injection"
    assert costs(runner.run(cell, command))["total_passes"] == 512 and not any("anew" in line for line in said)
    key = cell.evaluation.training.key
    tensors, about = runner.checkpoints.load(key)
    del about["cost"]["backward_passes"]
    runner.checkpoints.save(key, tensors, about)
    assert costs(runner.run(cell, command, force=True))["total_passes"] is None
    (told,) = [line for line in said if "anew" in line]
    assert told.endswith(f"this trains anew: BENCH_HOME=$HOME/anew {command} --force")
    anew = cpu_runner(other_home, tmp_path).run(cell, command, force=True)
    assert costs(anew)["total_passes"] == 512
