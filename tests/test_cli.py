"""The command line: what a user gets right ends in tables, what they get wrong in one line and exit code 2."""

import csv
import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import plan, registry, request
from bench.cli import main
from bench.errors import BenchError
from bench.reading import read_record
from bench.store import Records
from devices.rram1t1r import Rram1t1r
from methods.noise_injection import NoiseInjection

TINY = "--preset smoke --train-samples 200 --test-samples 100 --chips 2 --on cpu".split()
CELL = ["run", "--method", "nominal", "--device", "rram", "--task", "mnist", "--network", "mlp", *TINY]
LEVELS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def one_line(ended: Any, *words: str, after: str = "") -> None:
    """A mistake is told in one line; before it comes nothing, or a line of progress that begins with `after`."""
    assert ended.code == 2
    *before, line = ended.err.splitlines()
    assert ended.err.endswith("\n")
    assert line.startswith("bench: ")
    for word in words:
        assert word in line
    assert "fault of the bench" not in line
    assert all(after and other.startswith(after) for other in before)


def records(results: Path) -> dict[str, dict]:
    """Records by method."""
    found = [read_record(path) for path in sorted((results / "records").glob("*.json"))]
    return {record["evaluation"]["training"]["method"]: record for record in found}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with `home` and `results` after one real cell."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "home").mkdir()
    (folder / "home" / "data").symlink_to(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_HOME", str(folder / "home"))
        patch.setattr(sys, "argv", ["bench", *CELL, "--results", str(folder / "results")])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    return folder


@pytest.fixture
def done(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what `trained` left, to be spoilt; BENCH_HOME is in it."""
    folder = shutil.copytree(trained, tmp_path / "done", symlinks=True)
    monkeypatch.setenv("BENCH_HOME", str(folder / "home"))
    return folder


def with_option(option: str, *values: str) -> list[str]:
    """The usual cell with one option other than usual, or more."""
    cell = list(CELL)
    if option in cell and option != "--set":
        cell[cell.index(option) + 1] = values[0]
        return cell
    return [*cell, option, *values]


# What goes well


def test_a_run_leaves_record_tables_and_plots(trained):
    (record,) = records(trained / "results").values()
    assert record["status"] == "done"
    assert [level["level"] for level in record["levels"]] == LEVELS
    assert [len(level["chips"]) for level in record["levels"]] == [1, 2, 2, 2, 2, 2]
    assert record["evaluation"]["preset"] == "smoke*"
    assert "nominal" in (trained / "results" / "LEADERBOARD.md").read_text()
    with (trained / "results" / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["level"]) for row in rows] == LEVELS
    assert {row["key"] for row in rows} == {record["key"]}
    assert list((trained / "results" / "plots").glob("*.png"))
    assert (trained / "home" / "checkpoints" / f"{record['training_key']}.safetensors").exists()


def test_the_same_command_again_does_nothing_and_ends_alike(done, cli):
    (path,) = (done / "results" / "records").glob("*.json")
    before = path.read_bytes()
    ended = cli(*CELL, "--results", done / "results")
    assert ended.code == 0
    assert "already done" in ended.err
    sweep, *_, last = [line for line in ended.out.splitlines() if line.strip()]
    assert all(word in sweep for word in ("nominal", "mnist", "rram", "accuracy in %"))
    assert all(word in ended.out for word in ("level", "worst", "yield", "score", "rank"))
    assert last == f"records, leaderboard and plots: {done / 'results'}"
    assert path.read_bytes() == before


def test_the_command_in_a_record_makes_it_again(done, cli, tmp_path):
    odd = ["--levels", "0,0.123456789", "--lr", "0.0123456789", "--seed", "3", "--results", tmp_path / "first"]
    assert cli(*CELL, *odd).code == 0
    (first,) = records(tmp_path / "first").values()
    program, *words = shlex.split(first["command"])
    assert program == "bench"
    assert cli(*words, "--results", tmp_path / "second").code == 0
    (second,) = records(tmp_path / "second").values()
    assert second["key"] == first["key"]
    assert second["levels"] == first["levels"]


def test_part_of_the_test_set_for_each_chip_leaves_out_the_tails(done, cli):
    results = done / "part"
    ended = cli(*CELL, "--samples-per-chip", "64", "--results", results)
    assert (ended.code, records(results)["nominal"]["levels"][1]["samples"]) == (0, 64)
    shown = cli("show", records(results)["nominal"]["key"], "--results", results)
    assert shown.code == 0
    for table in (ended.out, shown.out.partition("test samples on chip 0")[0]):
        (row,) = re.findall(r"^ *0\.1 .*$", table, re.MULTILINE)
        _, _, _, _, *tails, chips, ekl = row.split()
        assert (tails, chips, ekl) == (["—", "—", "—"], "2", "—")


def test_show_prints_a_record(done, cli):
    (record,) = records(done / "results").values()
    ended = cli("show", record["key"][:6], "--results", done / "results")
    assert (ended.code, ended.err) == (0, "")
    for word in ("nominal", record["key"], record["training_key"], "--train-samples 200", "0.5", "mlp x0.25, mnist"):
        assert word in ended.out
    assert f"{record['command']} --results {done / 'results'}\n" in ended.out
    assert len(ended.out.splitlines()) < 40 and "power" not in ended.out
    whole = cli("show", record["key"], "--json", "--results", done / "results")
    assert json.loads(whole.out) == record
    (path,) = (done / "results" / "records").glob("*.json")
    for level in record["levels"]:
        level["read_power_w"] = 0.00123
    Records(done / "results").save(record)
    shown = cli("show", record["key"], "--results", done / "results").out
    assert "mW of the cells while they are read: 1.23 at 0, 1.23 at 0.1" in shown


def test_the_key_that_show_takes_stands_beside_every_record(done, cli):
    (record,) = records(done / "results").values()
    ran, reported = cli(*CELL, "--results", done / "results"), cli("report", "--results", done / "results")
    assert f"key {record['key']}\n" in re.sub(" +\n", "\n", ran.out)
    line = f"{record['command']} --results {done / 'results'}  ({record['key']})\n"
    assert line in ran.out and line in reported.out
    assert f"`{record['command']}` ({record['key']})\n" in (done / "results" / "LEADERBOARD.md").read_text()


def test_report_names_its_tables_and_counts_its_figures(done, cli):
    results = done / "results"
    told = cli("report", "--results", results).out.splitlines()[-1]
    figures = len(list((results / "plots").iterdir()))
    assert told.startswith(f"written: {results / 'LEADERBOARD.md'}, ")
    assert told.endswith(f"{results / 'report.html'}, {figures} figures in {results / 'plots'}") and figures > 0


def test_validate_sweeps_the_validation_split(done, cli):
    (record,) = records(done / "results").values()
    ended = cli("validate", record["training_key"][:8], "--device", "rram", "--levels", "0,.5", "--chips", "2")
    assert ended.code == 0
    clean, noisy = map(float, re.findall(r"\d+\.\d\d", ended.out))
    assert 0 < clean < 100 and 0 < noisy < 100
    assert clean not in (record["clean"], record["levels"][0]["chips"][0]), "not the test set"
    assert (done / "results" / "records").is_dir() and len(records(done / "results")) == 1


def test_validate_takes_the_key_of_a_record_too(done, cli):
    (record,) = records(done / "results").values()
    where = ("--device", "rram", "--levels", "0", "--chips", "1")
    trained = cli("validate", record["training_key"], *where)
    recorded = cli("validate", record["key"][:8], *where, "--results", done / "results")
    assert (recorded.code, recorded.out) == (0, trained.out)
    (checkpoint,) = (done / "home" / "checkpoints").glob("*.safetensors")
    checkpoint.unlink()
    gone = cli("validate", record["key"], *where, "--results", done / "results")
    one_line(gone, record["key"], f"training key {record['training_key']}, is not in", record["command"])


def test_validate_names_what_is_not_there(done, cli):
    for key in ("", "fff", "*", "../x"):
        wrong = f"'{key}' is no key of a training or a record: 4 to 16 of 0-9a-f"
        one_line(cli("validate", key, "--device", "rram"), wrong)
    one_line(
        cli("validate", "ffff", "--device", "rram"), "no trained network in", "no record in", "'ffff'", "--results"
    )
    one_line(cli("validate", "ffff", "--device", "rramm"), "unknown device 'rramm'")
    (record,) = records(done / "results").values()
    one_line(cli("validate", record["training_key"], "--device", "rramm"), "unknown device 'rramm'")
    one_line(cli("validate", record["training_key"], "--device", "rram", "--levels", "0,3"), "3")


def test_list_shows_what_can_be_chosen(cli, imported):
    assert imported({"torch"}, "list") == (0, "")
    trained = plan.device_of("pcm").axis.train_level
    device, method, task = (cli("list", name).out for name in ("pcm", "mtrd", "mnist"))
    for words in ("axis: multiplier", "levels: 0, 0.5, 1, 2, 3, 4", "default 1 d", "30 d, 1 y"):
        assert words in device
    assert f"training level: {trained:g}" in device
    assert "--set device.compensation=True" in device and "conductances: 0 to 25 uS" in device
    assert "--set mtrd.alpha=0.7" in method and "(one of rank, softmax, uniform)" in method
    assert "networks: mlp, mlp_joksas, lenet, vgg8_mtrd, vgg8, resnet18, timm:NAME" in task
    for name in (*registry.entries("devices"), *registry.entries("methods"), *registry.entries("tasks")):
        assert cli("list", name).code == 0


def test_a_level_in_a_list_is_for_those_that_train_at_one():
    given = {"seed": "0", "preset": "smoke", "precision": "fp32", "device": "rram", "task": "mnist", "level": 0.2}
    asked = request.read(torch.device("cpu"), [], method="nominal,noise_injection", **given)
    commands = [request.command(cell, asked, []) for cell in plan.cells(asked)]
    assert ["--level" in command for command in commands] == [False, True]
    assert "--level 0.2" in commands[1]


def test_a_command_keeps_the_path_of_a_table(tmp_path):
    table = tmp_path / "my lab.json"
    table.write_bytes(Rram1t1r.table_file.read_bytes())
    given = {"seed": "0", "preset": "smoke", "precision": "fp32", "method": "noise_injection", "task": "mnist"}
    asked = request.read(torch.device("cpu"), [], device=str(table), train_on=str(table), **given)
    (cell,) = plan.cells(asked)
    assert f"--device {shlex.quote(str(table))} " in request.command(cell, asked, [])
    elsewhere = request.read(torch.device("cpu"), [], device="rram", train_on=str(table), **given)
    (cell,) = plan.cells(elsewhere)
    assert f"--train-on {shlex.quote(str(table))} " in request.command(cell, elsewhere, [])


def test_report_makes_the_tables_again(done, cli):
    results = done / "results"
    made = {path.name: path.read_bytes() for path in (results / "LEADERBOARD.md", results / "leaderboard.csv")}
    for name in made:
        (results / name).unlink()
    shutil.rmtree(results / "plots")
    ended = cli("report", "--results", results)
    assert (ended.code, ended.err) == (0, "")
    assert "nominal" in ended.out
    assert {name: (results / name).read_bytes() for name in made} == made
    assert list((results / "plots").glob("*.png"))


def test_device_show_says_what_the_device_is_and_where_it_comes_from(cli, tmp_path):
    table = json.loads(Rram1t1r.table_file.read_text())
    table["provenance"]["source"] = "[our lab], 2026"
    (tmp_path / "lab.json").write_text(json.dumps(table))
    ended = cli("device", "show", tmp_path / "lab.json", "--out", tmp_path / "lab.png")
    assert (ended.code, ended.err) == (0, "")
    title, mapping, source, *_ = (line.rstrip() for line in ended.out.splitlines())
    assert title.startswith("lab: chip weight")
    assert (mapping, source) == ("mapping: differential pair, unused cell at 0", "source: [our lab], 2026")
    assert (tmp_path / "lab.png").exists()


def test_a_terminal_without_a_letter_gets_another(done):
    (record,) = records(done / "results").values()
    for command in (["report"], ["show", record["key"]]):
        ended = subprocess.run(
            [sys.executable, "-m", "bench", *command, "--results", str(done / "results")],
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
            capture_output=True,
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert "nominal" in ended.stdout.decode("ascii")


def test_what_reads_records_does_not_wait_for_torch(done, imported):
    (record,) = records(done / "results").values()
    for command in (["report"], ["show", record["key"]]):
        assert imported({"torch"}, *command, "--results", done / "results") == (0, "")


WITH_HELP = [[], ["run"], ["list"], ["report"], ["show"], ["matrix"], ["device"], ["device", "fit"]]


@pytest.mark.parametrize("command", WITH_HELP)
def test_every_command_has_help(cli, command):
    ended = cli(*command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert " ".join(["Usage: bench", *command]) in ended.out


def test_help_names_the_extra_in_brackets(cli):
    assert "needs pip install 'cim-bench[cluster]'" in " ".join(cli("run", "--help").out.replace("│", " ").split())


def test_demo_takes_as_long_as_the_readme_says(cli):
    text = "half a minute"
    assert text in " ".join(cli("demo", "--help").out.split())
    assert any(
        "`bench demo`" in line and text in line
        for line in (Path(__file__).parents[1] / "README.md").read_text().splitlines()
    )


def test_the_program_alone_shows_its_help(cli):
    for command in ([], ["device"]):
        ended = cli(*command)
        assert (ended.code, ended.err) == (2, "")
        assert "Usage: bench" in ended.out


# What a user gets wrong


@pytest.mark.parametrize(
    "option, value, words",
    [
        ("--method", "nominl", "unknown method 'nominl'; did you mean 'nominal'?"),
        ("--device", "rrm", "unknown device 'rrm'; did you mean 'rram'?"),
        ("--device", "rram,rrm", "unknown device 'rrm'; did you mean 'rram'?"),
        ("--device", "no-such-table.json", "no-such-table.json: there is no such table; make one with"),
        ("--task", "mnits", "unknown task 'mnits'; did you mean 'mnist'?"),
        ("--task", "", "no task named"),
        ("--preset", "smokey", "unknown preset 'smokey'; did you mean 'smoke'?"),
        ("--network", "lenett", "unknown network lenett; did you mean lenet?"),
        ("--level", "0.3", "level 0.3: means nothing for nominal; leave it out"),
        ("--levels", "0,99", "rram: level 99 is out of range"),
        ("--levels", "0;.1", "levels '0;.1': must be numbers such as 0,.1,.2"),
        ("--levels", "nan", "levels 'nan': must be finite"),
        ("--levels", ",".join(map(str, range(1001))), "levels: 1,001 of them, must be at most 1,000"),
        ("--time", "100", "rram: has no time axis"),
        ("--sweep", "time", "device rram has no time axis: --sweep time is for pcm, "),
        ("--sweep", "time", " and fitted tables"),
        ("--sweep", "chips", "sweep 'chips': must be level or time"),
        ("--times", "1,3600", "times: they are for --sweep time"),
        ("--train-on", "rrm", "unknown device 'rrm'; did you mean 'rram'?"),
        ("--train-on", "rram,pcm", "train-on rram,pcm: must be one device"),
        ("--seed", "one", "seed 'one': must be whole numbers and ranges such as 0,2,5-7"),
        ("--seed", "3-1", "seed '3-1': must be whole numbers"),
        ("--set", "alpha=1", "--set alpha=1: must read method.NAME=VALUE"),
        ("--set", "method.alpha", "--set method.alpha: must read method.NAME=VALUE"),
        ("--set", "method.alpha=1", "method nominal has no setting 'alpha'"),
        ("--epochs", "0", "epochs 0: must be above 0"),
        ("--epochs", "few", "--epochs"),
        ("--lr", "nan", "lr nan: must be above 0"),
        ("--width", "0", "width 0: must be above 0"),
        ("--test-samples", "-1", "test-samples -1: must be above 0"),
        ("--batch-size", "1", "batch-size 1: must be at least 2"),
        ("--samples-per-chip", "few", "samples-per-chip few: must be a whole number or auto"),
        ("--samples-per-chip", "0", "samples-per-chip 0: must be at least 1"),
        ("--chips", "0", "need 1 <= minimum <= maximum"),
        ("--chips", "100001", "chips 100,001: must be at most 100,000 a level"),
        ("--chips", "75001", "chips 75,001 at each of 6 levels: 450,006 numbers, for the metric; a record"),
        ("--half-width", "0", "half-width 0: must be above 0"),
        ("--threads", "0", "threads 0: must be at least 1"),
        ("--precision", "fp8", "precision 'fp8': must be auto, bf16 or fp32"),
        ("--on", "toaster", "can't compute on 'toaster'"),
        ("--colour", "red", "No such option: --colour"),
    ],
)
def test_bad_options_are_one_line(cli, tmp_path, monkeypatch, option, value, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    ended = cli(*with_option(option, value))
    one_line(ended, words)
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []  # refused before anything was written


def test_more_samples_than_there_are_is_one_line(done, cli, tmp_path):
    for option, n, words in (("test", 10001, "there are 10000"), ("train", 60000, "there are 55006")):
        ended = cli(*with_option(f"--{option}-samples", n), "--results", tmp_path / "results")
        one_line(ended, f"{option}-samples {n}: {words}", after="nominal")


@pytest.mark.parametrize(
    "text, words",
    [
        ("method.alpa=1", "method mtrd has no setting 'alpa'; did you mean 'alpha'?"),
        ("nominal.alpha=1", "--set nominal.alpha=1: 'nominal' must be 'method', 'device' or one of mtrd"),
        ("mtrd.alpha=2", "setting alpha=2: must be between 0 and 1"),
        ("method.alpha=2", "setting alpha=2: must be between 0 and 1"),
        ("method.temperature=hot", "setting temperature=hot: must be a number"),
        ("method.weighting=best", "setting weighting=best: must be one of rank, softmax, uniform"),
        ("device.colour=red", "device rram has no setting 'colour'; there are: dac_bits, "),
        ("device.=red", "--set device.=red: must read method.NAME=VALUE or device.NAME=VALUE"),
    ],
)
def test_bad_settings_are_one_line(cli, text, words):
    one_line(cli(*with_option("--method", "mtrd"), "--set", text), words)


@pytest.mark.parametrize(
    "command, words",
    [
        ("run --method nominal --device rram", "Missing option '--task'"),
        ("rnu", "No such command 'rnu'"),
        ("show", "Missing argument"),
        ("show zz", "'zz' is no record key"),
        ("show 0123", "no record 0123 in results/records"),
        ("report", "no records in results"),
        ("device show rrm", "unknown device 'rrm'; did you mean 'rram'?"),
        ("device show lab.csv", "device lab.csv: cells are fitted first, `bench device fit lab.csv`"),
        ("device show rram --time 5", "rram: has no time axis"),
        ("device show rram --json", "rram: varies weights and has no conductances"),
        ("device show rram --cells 100", "rram: varies weights and has no conductances"),
        ("device show pcm --json --at 0,half", "at '0,half': must be numbers such as 0,.1,.2"),
        ("device show pcm --json --at 0,2", "at 2: must be between 0 and 1"),
        ("device show pcm --json --cells 1", "cells 1: must be between 2 and"),
        ("device show pcm --json --time 1,1e11", "pcm: time 1e+11 s is out of range; its source covers 0 to 1e+10 s"),
        ("device show pcm --time soon", "time 'soon': must be numbers"),
        ("device show pcm --level 99", "pcm: level 99 is out of range"),
        ("device show rram --set device.colour=red", "device rram has no setting 'colour'"),
        ("device show rram --set method.alpha=1", "--set method.alpha=1: 'method' must be 'device'"),
        ("device show rram --out x.txt", "--out x.txt: must end in .png, .pdf or .svg"),
        ("matrix --method nominal,mtrd --task mnist", "method nominal,mtrd: must be one method"),
        ("matrix --method nominal --task all", "task all: must be one task"),
        ("matrix --method mtrd --task mnist --devices ideal", "devices ideal: has no deviation to train for"),
        ("matrix --method mtrd --task mnist --devices rrm", "unknown device 'rrm'; did you mean 'rram'?"),
        ("matrix --method mtrd --task mnist --chips 0 --on cpu", "need 1 <= minimum <= maximum"),
        ("device fit nowhere.tsv --out x.json", "nowhere.tsv: there is no such file"),
        ("list rramm", "unknown name 'rramm'; did you mean 'rram'?"),
        (
            "run --method noise_injection,mtrd --device rram --task mnist --level 99",
            "rram: level 99 is out of range; sigma goes from 0 to 2",
        ),
        (
            "run --method nominal,mixed_noise --device rram --task mnist --level .3",
            "level 0.3: means nothing for nominal, mixed_noise; leave it out",
        ),
    ],
)
def test_bad_commands_are_one_line(cli, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    ended = cli(*command.split())
    one_line(ended, words)
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", *with_option("--preset", "smokey"), "--debug"])
    with pytest.raises(BenchError):
        main()


def test_a_data_folder_without_the_set_is_named(cli, home, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    one_line(cli(*CELL, "--data", empty, "--results", tmp_path / "results"), f"MNIST: not found in {empty}", "expected")
    assert not records(tmp_path / "results"), "nothing was tried"


# What goes wrong


@pytest.mark.parametrize("what", ["--results", "BENCH_HOME"])
def test_a_folder_that_takes_no_files_is_named(cli, home, tmp_path, monkeypatch, what):
    (tmp_path / "file").write_text("precious")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        if what == "BENCH_HOME":
            monkeypatch.setenv("BENCH_HOME", str(folder))
        ended = cli(*CELL, "--results", folder if what == "--results" else tmp_path / "results")
        one_line(ended, f"can't write to {folder}", "choose another folder")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_broken_record_is_named_and_left_alone(cli, done):
    (path,) = (done / "results" / "records").glob("*.json")
    (record,) = records(done / "results").values()
    path.write_text(path.read_text()[:500])
    for command in (CELL, ["show", record["key"]]):
        one_line(cli(*command, "--results", done / "results"), f"record {path} is broken", "delete it")
    assert len(path.read_text()) == 500
    path.unlink()
    assert cli(*CELL, "--results", done / "results").code == 0
    assert records(done / "results")["nominal"]["levels"] == record["levels"]


@pytest.mark.parametrize("spoil", ["levels.1.first_stage", "evaluation.training.seed", "clean"])
def test_a_field_of_another_type_stops_no_other_cell(cli, done, caplog, spoil):
    results = done / "results"
    (path,) = (results / "records").glob("*.json")
    record = read_record(path)
    *folder, last = spoil.split(".")
    part = record
    for step in folder:
        part = part[int(step) if step.isdecimal() else step]
    part[last] = "0"
    path.write_text(json.dumps(record))
    broken = f"record {path} is broken ({spoil} is '0', must be "
    one_line(cli("show", record["key"], "--results", results), broken)

    ended = cli(*CELL, "--seed", "0,1", "--results", results)
    assert (ended.code, "Traceback" in ended.err) == (2, False)
    assert f"FAILED nominal on rram, mnist, seed 0: {broken}" in ended.err
    board = (results / "LEADERBOARD.md").read_text()
    assert "--seed 1" in board and "--seed 0" not in board
    caplog.clear()
    ended = cli("report", "--results", results)
    assert (ended.code, [r.getMessage().startswith(broken) for r in caplog.records]) == (2, [True])
    assert (results / "LEADERBOARD.md").read_text() == board


def test_a_report_leaves_out_a_broken_record_and_says_so(cli, done, caplog):
    (path,) = (done / "results" / "records").glob("*.json")
    broken = path.with_name("mnist-rram-mtrd-s0-0123456789abcdef.json")
    broken.write_text("{")
    ended = cli("report", "--results", done / "results")
    assert ended.code == 2
    assert [r.getMessage() for r in caplog.records if str(broken) in r.getMessage()]
    assert "nominal" in (done / "results" / "LEADERBOARD.md").read_text()


def test_a_broken_checkpoint_is_named_and_the_cell_has_failed(cli, done, tmp_path):
    (checkpoint,) = (done / "home" / "checkpoints").glob("*.safetensors")
    (record,) = records(done / "results").values()
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-10])
    results = tmp_path / "results"
    one_line(cli(*CELL, "--results", results), f"checkpoint {checkpoint} is broken", "delete it to train again")
    assert records(results)["nominal"]["status"] == "failed"
    assert str(checkpoint) in records(results)["nominal"]["error"]
    assert checkpoint.read_bytes() == whole[:-10]
    checkpoint.unlink()
    assert cli(*CELL, "--results", results).code == 0
    assert checkpoint.read_bytes()[-1000:] == whole[-1000:]  # the same training gives the same weights
    assert records(results)["nominal"]["levels"] == record["levels"]


def test_a_full_disk_is_one_line_and_nothing_is_lost(cli, done, monkeypatch):
    kept = {path: path.read_bytes() for path in done.rglob("*") if path.is_file() and "data" not in path.parts}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for more in (["--force"], ["--seed", "1"]):  # fails at the sweep, fails at the checkpoint
            ended = cli(*CELL, *more, "--results", done / "results")
            one_line(ended, "No space left on device", after="nominal on ideal, mnist, seed 1: done")
        one_line(cli("report", "--results", done / "results"), "No space left on device")
    assert {path: path.read_bytes() for path in kept} == kept
    assert not [path for path in done.rglob(".*") if path.is_file() and path.suffix != ".lock"]
    assert cli(*CELL, "--seed", "1", "--results", done / "results").code == 0


def test_a_failed_cell_is_recorded_and_the_others_go_on(cli, done, tmp_path, monkeypatch):
    results = tmp_path / "results"
    both = [*with_option("--method", "noise_injection,nominal"), "--results", results]

    def fit(*_: object) -> None:
        raise RuntimeError("out of\nluck")

    with monkeypatch.context() as patch:
        patch.setattr(NoiseInjection, "fit", fit)
        ended = cli(*both)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    (line,) = [line for line in ended.err.splitlines() if "FAILED" in line]
    assert line == "FAILED noise_injection on rram at 0.3, mnist, seed 0: out of luck"
    found = records(results)
    assert (found["nominal"]["status"], found["noise_injection"]["status"]) == ("done", "failed")
    assert found["noise_injection"]["error"] == "RuntimeError: out of luck"
    assert "out of luck" in (results / "LEADERBOARD.md").read_text()
    assert "noise_injection" in ended.out

    ended = cli(*both)
    assert ended.code == 0
    assert "nominal on rram, mnist, seed 0: already done" in ended.err
    assert {record["status"] for record in records(results).values()} == {"done"}


def test_our_own_fault_is_one_line_too(cli, done, tmp_path, monkeypatch):
    def fit(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(NoiseInjection, "fit", fit)
    ended = cli(*with_option("--method", "noise_injection"), "--results", tmp_path / "results")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith("bench: ZeroDivisionError: division by zero (a fault of the bench;")


INTERRUPTED = "bench: interrupted; what is finished is kept, and the same command goes on from there\n"


def heed_ctrl_c() -> None:
    """A job in the background may have been told to ignore Ctrl-C; a user's terminal has not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("package", ["typer", "rich", "numpy", "scipy", "torch", "torch.nn"])
def test_ctrl_c_while_packages_are_imported_is_one_line(home, tmp_path, package):
    """Sent when the first module of a package is there: no clock, so it is the same on a slow machine."""
    command = [sys.executable, "-X", "importtime", "-m", "bench", *CELL, "--results", str(tmp_path / "results")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c) as process:
        for line in process.stderr:
            if line.rpartition("|")[2].strip().startswith(package):
                process.send_signal(signal.SIGINT)
                break
        rest = [line for line in process.stderr if not line.startswith("import time:")]
    assert (process.returncode, rest) == (130, [INTERRUPTED])
    assert not (tmp_path / "results").exists()


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(cli, home, tmp_path):
    command = [*with_option("--train-samples", "2000"), "--epochs", "60", "--results", str(tmp_path / "results")]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    while not list((home / "checkpoints").glob("*.partial.safetensors")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err == INTERRUPTED
    assert not (tmp_path / "results" / "records").exists()  # it has not failed
    assert not [path for path in home.glob("*/.*") if path.is_file()]  # nor left half a file
    (partial,) = (home / "checkpoints").glob("*.partial.safetensors")

    ended = cli(*command)
    assert ended.code == 0
    (record,) = records(tmp_path / "results").values()
    assert (record["status"], record["cost"]["epochs"]) == ("done", 60)
    assert not partial.exists()
