"""Two runs started on one grid at once do each cell once; two writers of one file never mix."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import plan
from bench.files import place
from bench.reading import read_record
from bench.store import Records

GRID = (
    "run --method nominal,noise_injection,sam --device rram --task mnist --network mlp --preset smoke --precision fp32 "
    "--train-samples 200 --test-samples 100 --chips 2 --threads 1 --on cpu"
).split()
SMALL = {"network": "mlp", "train_samples": 200, "test_samples": 100, "chips": 2}


def until(truth: Any, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_two_runs_on_one_grid_do_each_cell_once(
    where, child, fresh_home, numbers, one_cell, cache, cli, tmp_path, request
):
    """A third process, this one, does the first cell meanwhile: both go on with the others, then come back to it."""
    home, results, around = fresh_home("home"), tmp_path / "results", {}
    if where == "s3":
        url = request.getfixturevalue("s3")
        home, results, around = f"{url}/home", place(f"{url}/results"), dict(request.getfixturevalue("s3_server"))
        (tmp_path / "cache" / "cim-bench").mkdir(parents=True)
        (tmp_path / "cache" / "cim-bench" / "data").symlink_to(cache)
        around["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    first: plan.Cell = one_cell("nominal", "rram", "mnist", **SMALL)
    with Records(results).lock(first.evaluation.key):
        runs = [child(home, *GRID, "--results", results, **around) for _ in range(2)]
        until(lambda: all("another process does it; waiting" in run.said() for run in runs))
        assert len(list(results.glob("records/*.json"))) == 2
    assert [run.ended() for run in runs] == [0, 0], runs[0].said() + runs[1].said()

    said = [run.said() for run in runs]
    done = Counter(re.findall(r"^(.*?): done in", "\n".join(said), re.MULTILINE))
    assert len(done) == 6 and set(done.values()) == {1}, f"three trainings and three sweeps, each once: {done}"
    assert all("nominal on rram, mnist, seed 0: another process does it; going on" in text for text in said)
    assert "already done" in said[0] + said[1]
    assert all(text.count("key ") >= 3 for text in said), "each shows all cells"
    assert len(numbers(results)) == 3
    made = {path.name for path in results.iterdir()}
    assert made >= {"LEADERBOARD.md", "leaderboard.csv", "leaderboard.tex", "report.html", "plots", "records"}
    assert (results / "report.html").stat().st_size > 100_000 and list((results / "plots").glob("*.png"))
    assert len(list((place(str(home)) / "checkpoints").glob("*.safetensors"))) == 3
    if where == "s3":
        assert not Path("s3:").exists() and not (tmp_path / "results").exists()
        assert first.evaluation.key in cli("show", first.evaluation.key[:8], "--results", results).out


WRITER = """
import json
from pathlib import Path
from bench.store import Records
record = json.loads({text!r})
for turn in range(150):
    Records(Path({results!r})).save(record | {{"command": {name!r} * (1 + turn % 50) * 20}})
"""


def test_two_writers_on_one_key_never_mix(python, tmp_path, committed):
    text, record = committed
    path = Records(tmp_path).save(record)
    programs = [WRITER.format(text=text, results=str(tmp_path), name=name) for name in "ab"]
    writers = [python(program) for program in programs]
    seen = set()
    while any(writer.process.is_alive() for writer in writers):
        seen |= set(read_record(path)["command"])  # raises if it is not whole
        assert len(list((tmp_path / "records").glob("[!.]*"))) == 1
    assert [writer.ended() for writer in writers] == [0, 0], writers[0].said()
    last = read_record(path)["command"]
    assert last in ("a" * 1000, "b" * 1000) and seen >= set(last)
    assert [p.name for p in (tmp_path / "records").iterdir()] == [path.name]
