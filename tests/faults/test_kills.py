"""SIGKILL at random moments of a small grid, then the same command again: nothing is lost, nothing is wrong."""

import random
import time
from pathlib import Path

import pytest

from bench.store import Records

GRID = (
    "run --method nominal,noise_injection --device rram --task mnist --network mlp --preset smoke --precision fp32 "
    "--epochs 1 --finetune-epochs 3 --train-samples 400 --test-samples 100 --chips 2 --threads 1 --on cpu"
).split()


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.long)])
def test_killed_at_random_moments_and_called_again(kills, child, fresh_home, numbers, tmp_path):
    """The grid begins anew whenever it came to its end before it was killed: so many kills hit work that goes on."""
    home, results = fresh_home("undisturbed"), tmp_path / "undisturbed-results"
    assert child(home, "--help").ended() == 0  # imports, of which all others have the benefit
    began = time.monotonic()
    undisturbed = child(home, *GRID, "--results", results)
    while len(list(results.glob("records/[!.]*.json"))) < 2 and undisturbed.process.is_alive():
        time.sleep(0.01)
    longest = 1.3 * (time.monotonic() - began)  # tables and plots, which take longer, are hit now and then
    assert undisturbed.ended() == 0, undisturbed.said()
    right = numbers(results)
    assert len(right) == 2

    luck, grids, done = random.Random(0), 0, 0
    while done < kills:
        home, results, known = fresh_home(f"home-{grids}"), tmp_path / f"results-{grids}", set()
        grids += 1
        while True:
            run = child(home, *GRID, "--results", results)
            if done < kills and run.ended(luck.uniform(0, longest)) is None:
                run.process.kill()
                code = run.ended()
                assert code in (-9, 0), f"{code}: 0 if it came to its end just before"
                done += code == -9
            elif (code := run.ended()) is not None:
                assert code == 0, run.said()
            found = numbers(results)  # raises where a record is not whole
            assert known <= found.keys() <= right.keys(), "a record was lost, or is of another cell"
            assert all(found[key] == right[key] for key in found)
            known = set(found)
            if run.process.exitcode == 0:
                break
        assert found == right
        assert not _left_over(home, results), "files of killed processes"


def _left_over(home: Path, results: Path) -> list[Path]:
    """Resume points and half sweeps of what is done; temporary files of its checkpoints."""
    kept = {record["training_key"] for record in Records(results).load_all()[0]}
    found = list((home / "sweeps").glob("*")) + list((home / "checkpoints").glob("*.safetensors"))
    return [path for path in found if path.stem not in kept]
