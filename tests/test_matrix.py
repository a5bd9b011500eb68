"""Training on each device and testing on all: which cells, what is trained, what is drawn."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import matrix, plan, registry, runner
from bench.errors import BenchError
from bench.matrix import Entry, Matrix
from bench.plots import heat_map
from bench.request import matrix_command
from bench.stats import Interval
from bench.summary import summary

TINY = "--preset smoke --network mlp --epochs 1 --finetune-epochs 1 --train-samples 100 --test-samples 50 --chips 2"
COMMAND = f"matrix --method noise_injection --task mnist --devices rram,gaussian,ideal {TINY} --on cpu".split()


def request(**asked: Any) -> plan.Request:
    """What a user asked for: noise injection on two devices and the digital network."""
    usual: dict[str, Any] = {
        "methods": ("noise_injection",),
        "devices": ("rram", "pcm", "ideal"),
        "tasks": ("mnist",),
        "seeds": (0,),
        "preset": "smoke",
        "precision": "fp32",
        "network": "mlp",
    }
    return plan.Request(**usual | asked)


# Which cells


def test_each_row_is_one_training_and_each_column_one_device_at_its_level():
    cells = [cell.evaluation for _, cell in matrix.parts(request())]
    assert [(c.training.device, c.device) for c in cells] == [
        (train, test) for train in ("rram", "pcm") for test in ("rram", "pcm", "ideal")
    ]
    assert len({c.training.key for c in cells}) == 2 and len({c.key for c in cells}) == 6
    for c in cells:
        assert c.levels == (plan.device_of(c.device).axis.train_level,)
        assert c.training.level == plan.device_of(c.training.device).axis.train_level
        assert c.time_s == plan.device_of(c.device).default_time_s


def test_a_row_is_the_training_of_a_run_and_the_diagonal_its_cell():
    cells = [cell.evaluation for _, cell in matrix.parts(request())]
    (run,) = plan.cells(request(devices=("pcm",)))
    assert run.evaluation.training in [c.training for c in cells]
    (at_one,) = plan.cells(request(devices=("pcm",), levels=(2.0,)))
    assert at_one.evaluation in cells


def test_each_part_asks_for_its_cells_alone():
    for part, cell in matrix.parts(request(seeds=(0, 1))):
        assert cell.evaluation.key in {again.evaluation.key for again in plan.cells(part)}
        assert len(part.devices) == 1 and len(plan.cells(part)) == 2


def test_a_method_that_uses_no_device_has_one_row():
    cells = [cell.evaluation for _, cell in matrix.parts(request(methods=("nominal",)))]
    assert [(c.training.device, c.device) for c in cells] == [("ideal", test) for test in ("rram", "pcm", "ideal")]


def test_there_must_be_something_to_train_for():
    with pytest.raises(BenchError, match="devices ideal: has no deviation to train for; name others too"):
        matrix.parts(request(devices=("ideal",)))


# What is made of records


def made(asked: plan.Request, gone: int | None = None) -> Matrix:
    """A matrix of records with 50, 51, ... in the order of cells, the one numbered `gone` missing."""
    cells = [cell for _, cell in matrix.parts(asked)]
    records = {}
    for i, cell in enumerate(cells):
        if i != gone:
            level = {"level": cell.evaluation.levels[0], "chips": [49.0 + i, 51.0 + i], "first_stage": 2}
            records[cell.evaluation.key] = {"evaluation": cell.evaluation.as_dict(), "levels": [level]}
    return matrix.measured(asked, cells, records, matrix_command(asked, []))


def test_entries_are_means_over_chips():
    found = made(request())
    assert found.rows == ("rram 0.3", "pcm 2") and found.columns == ("rram 0.3", "pcm 2", "ideal 0")
    assert [entry.found.mean for entry in found.entries.values()] == [50, 51, 52, 53, 54, 55]
    assert list(matrix.frame(found).iloc[1]) == ["pcm 2", "53.0", "54.0", "55.0"]
    rows = matrix.table(found)
    assert list(rows["mean"]) == [50, 51, 52, 53, 54, 55] and (rows["ci_low"] < rows["mean"]).all()
    assert "| pcm 2 | 53.00 ± " in matrix.markdown(found)


def test_entries_are_means_over_seeds():
    found = made(request(seeds=(0, 1)))
    assert [entry.found.mean for entry in found.entries.values()] == [50.5, 52.5, 54.5, 56.5, 58.5, 60.5]
    assert all(len(entry.keys) == 2 for entry in found.entries.values())


def test_a_missing_cell_is_shown_as_missing():
    for gone, asked in ((4, request()), (9, request(seeds=(0, 1)))):
        found = made(asked, gone)
        assert found.missing == [("pcm 2", "pcm 2")]
        assert list(matrix.frame(found).iloc[1])[2] == "—"
        assert "missing: trained on pcm 2, tested on pcm 2" in matrix.markdown(found)
        assert pd.isna(matrix.table(found)["mean"][4])
        texts = [text.get_text() for text in heat_map(found).axes[0].texts]
        assert texts.count("—") == 1 and len(texts) == 6


def test_matrices_of_other_requests_have_other_names():
    everything = request(devices=("rram", "pcm"), network=None)
    slugs = {made(asked).slug for asked in (everything, request(), request(width=0.5), request(seeds=(1,)))}
    assert len(slugs) == 4
    assert matrix._is_touched(everything) and "changed" in made(everything).title


def test_the_heat_map_frames_where_a_device_meets_itself():
    entries = {(r, c): Entry(Interval(1.0, 1.0, 1.0), ()) for r in ("a", "b") for c in ("a", "b", "$x$")}
    names = {"title": "t", "slug": "s", "metric": "accuracy (%)", "rows": ("a", "b"), "columns": ("a", "b", "$x$")}
    axes = heat_map(
        Matrix(**names, higher_is_better=True, entries=entries, size="n = 10 chips, seed 0", command="c")
    ).axes[0]
    assert [patch.get_xy() for patch in axes.patches] == [(0, 0), (1, 1)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("tested on", "trained on")
    assert "n = 10 chips, seed 0" in axes.figure.get_supxlabel()


def test_names_of_the_heat_map_neither_meet_nor_leave_the_figure():
    places = ("ideal 0", "rram 0.3", "rram1t1r 0.75", "pcm 2", "fefet6 0.2")
    entries = {(r, c): Entry(Interval(80.0, 79.0, 81.0), ()) for r in places[1:] for c in places}
    title = "noise_injection · fashion_mnist · lenet · standard, changed preset"
    made = Matrix(title, "s", "accuracy (%)", True, places[1:], places, entries, "n = 10 chips, seed 0", "c")
    figure = heat_map(made)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for texts in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [text.get_window_extent() for text in texts]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    said = figure._suptitle
    assert said is not None and said.get_text() == title
    assert said.get_window_extent().x0 >= 0 and said.get_window_extent().x1 <= figure.bbox.width


def test_a_matrix_says_how_many_chips_and_seeds_its_means_are_of():
    assert made(request()).size == "n = 2 chips, seed 0"
    assert made(request(seeds=(0, 1))).size == "n = 2 chips, 2 seeds"
    assert made(request(seeds=(0, 1)), 9).size == "n = 2 chips, 2 seeds", "of the places that are whole"
    assert "mean and 95% interval over n = 2 chips, seed 0." in matrix.markdown(made(request()))


# The command


def test_a_matrix_says_which_command_made_it():
    said = "bench matrix --method noise_injection --task mnist --devices rram,pcm,ideal --seed 0,1 --preset smoke"
    asked = request(seeds=(0, 1), chips=3)
    assert f"\nMade by `{said} --network mlp --chips 3 --precision fp32`.\n" in matrix.markdown(made(asked))
    everything = request(devices=tuple(registry.entries("devices")))
    assert "--devices all " in matrix_command(everything, []) and "--set method.clip_w=2.5 " in matrix_command(
        everything, ["method.clip_w=2.5"]
    )


def records_in(results: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((results / "records").glob("*.json"))]


def test_killed_and_called_again_each_row_is_trained_once(cli, home, tmp_path, monkeypatch):
    """Killed in the fourth sweep; the next call does the rest, the one after that nothing but draw."""
    results, trained, sweeps = tmp_path / "results", [], []
    fit, sweep_level = runner.Runner._fit, runner.sweep_level

    def counted_fit(self, training, watch):
        trained.append((training.method, training.device))
        fit(self, training, watch)

    def counted_sweep(*args, **kwargs):
        sweeps.append(1)
        if len(sweeps) == 4:
            raise KeyboardInterrupt
        return sweep_level(*args, **kwargs)

    monkeypatch.setattr(runner.Runner, "_fit", counted_fit)
    monkeypatch.setattr(runner, "sweep_level", counted_sweep)
    assert cli(*COMMAND, "--results", results).code == 130
    assert len(records_in(results)) == 3 and not (results / "matrix").exists()
    done = cli(*COMMAND, "--results", results)
    assert done.code == 0
    assert trained == [("noise_injection", "rram"), ("nominal", "ideal"), ("noise_injection", "gaussian")]
    assert len(sweeps) == 4 + 3
    found = records_in(results)
    assert len(found) == 6
    assert "rram 0.3" in done.out and "gaussian 0.06" in done.out and "ideal 0" in done.out

    files = {path: path.read_bytes() for path in (results / "matrix").iterdir()}
    assert sorted(path.suffix for path in files) == [".csv", ".md", ".pdf", ".png"]
    (page,) = (results / "matrix").glob("*.md")
    words = re.findall(r"^Made by `bench (.*)`\.$", page.read_text(), re.MULTILINE)[0].split()
    again = cli(*words, "--results", results)
    assert again.code == 0 and "already done" in again.err
    assert (len(trained), len(sweeps)) == (3, 7)
    assert {path: path.read_bytes() for path in (results / "matrix").iterdir()} == files

    (csv,) = (results / "matrix").glob("*.csv")
    by_key = {record["key"]: record for record in found}
    for row in pd.read_csv(csv).itertuples():
        chips = by_key[row.keys]["levels"][0]["chips"]
        assert row.mean == pytest.approx(sum(chips) / len(chips))
        assert row.trained_on.startswith(by_key[row.keys]["evaluation"]["training"]["device"])
        assert row.tested_on.startswith(by_key[row.keys]["evaluation"]["device"])

    moved = [r for r in found if r["evaluation"]["device"] != r["evaluation"]["training"]["device"]]
    for group in summary(found):
        keys = {key for row in group.rows for key in row.keys}
        assert group.elsewhere == bool(keys & {r["key"] for r in moved})
        assert not group.elsewhere or keys <= {r["key"] for r in moved}
    (one,) = [r for r in moved if r["evaluation"]["device"] == "gaussian"]
    words = one["command"].split()[1:]
    assert "--train-on rram" in one["command"] and "--levels 0.06" in one["command"]
    assert "already done" in cli(*words, "--results", results).err


def test_a_failed_cell_leaves_a_hole_and_the_rest_go_on(cli, home, tmp_path, monkeypatch):
    measure = runner.Runner._measure

    def broken(self, evaluation, replaces):
        if (evaluation.training.device, evaluation.device) == ("rram", "gaussian"):
            raise RuntimeError("out of memory")
        return measure(self, evaluation, replaces)

    monkeypatch.setattr(runner.Runner, "_measure", broken)
    ended = cli(*COMMAND, "--results", tmp_path)
    assert ended.code == 2
    assert "FAILED noise_injection trained on rram at 0.3, on gaussian, mnist, seed 0: out of memory" in ended.err
    assert "missing: trained on rram 0.3, tested on gaussian 0.06" in ended.out
    assert len(list((tmp_path / "matrix").iterdir())) == 4
