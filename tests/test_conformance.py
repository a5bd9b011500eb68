"""Every method meets every device and every task on tiny subsets of the real data.

CI runs a covering array (each pair of method, device, task at least once); the full cross is
`pytest -m full tests/test_conformance.py`.
"""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from bench import plan, registry
from devices._base import Device

KINDS = ("methods", "devices", "tasks")
Triple = tuple[str, str, str]
# Methods that train nothing themselves -> trainings that they rest on: five nominal ones; a noisy one and its start
FROM_OTHERS = {"committee": 5, "bn_recalibrate": 2}
# Methods that refuse a network without BatchNorm
NEED_NORMS = ("bn_recalibrate",)


# What a cell of each task is cut down to, in test samples too few for a good network and enough to run all there is
LABELS = {"network": "lenet", "train_samples": 256, "test_samples": 100}
SMALL: dict[str, dict[str, Any]] = {
    "segmentation": {"width": 0.0625, "train_samples": 32, "test_samples": 8},
    "denoising": {"width": 0.125, "train_samples": 32, "test_samples": 8},
}
WITHOUT_PROBABILITIES = ("denoising",)


def every() -> list[Triple]:
    return list(itertools.product(*(plan.names("all", kind) for kind in KINDS)))


def pairs(triple: Triple) -> set[tuple[int, str, int, str]]:
    return {(i, triple[i], j, triple[j]) for i, j in itertools.combinations(range(3), 2)}


def covering() -> list[Triple]:
    """Greedy covering array of strength two: always the triple with the most pairs still missing."""
    left = every()
    missing = set().union(*map(pairs, left))
    chosen = []
    while missing:
        best = max(left, key=lambda triple: len(pairs(triple) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def test_covering_array_covers():
    assert set().union(*map(pairs, covering())) == set().union(*map(pairs, every()))
    assert len(covering()) < len(every())


@pytest.fixture
def run_cells(home, tmp_path, cpu_runner, one_cell):
    """Records of triples."""
    runner = cpu_runner(home, tmp_path / "results")

    def run_one(method: str, device: str, task: str) -> dict:
        small = SMALL.get(task, LABELS)
        if task not in SMALL and method in NEED_NORMS:
            small = small | {"network": "vgg8_mtrd", "width": 0.0625}
        return runner.run(one_cell(method, device, task, chips=2, **small), "conformance")

    def run(triples: Iterable[Triple]) -> list[dict]:
        return [run_one(*triple) for triple in triples]

    return run


def check(record: dict) -> None:
    assert record["status"] == "done"
    device, task = plan.device_of(record["evaluation"]["device"]), record["evaluation"]["training"]["task"]
    assert [entry["level"] for entry in record["levels"]] == list(device.axis.levels)
    for entry in record["levels"]:
        assert len(entry["chips"]) == (2 if device.is_random(entry["level"]) else 1)
        assert all(0 <= metric <= 100 for metric in entry["chips"])
        assert (entry["ekl"] is None) == (task in WITHOUT_PROBABILITIES)
        assert entry["ekl"] is None or (math.isfinite(entry["ekl"]) and entry["ekl"] >= 0)
    cost, others = record["cost"], FROM_OTHERS.get(record["evaluation"]["training"]["method"])
    n = SMALL.get(task, LABELS)["train_samples"]
    assert (cost["epochs"], cost["samples"]) == ((0, 0) if others else (1, n))
    assert not others or (cost["teacher_epochs"], cost["teacher_samples"]) == (others, others * n)
    # Mean drift stays at level 0: small weights fall a little further than one factor a layer can mend
    slack = 1.0 if keeps_weights(device) else 5.0
    assert record["levels"][0]["chips"][0] == pytest.approx(record["clean"], abs=slack)


def keeps_weights(device: Device) -> bool:
    """Is a chip at level 0 the digital network?"""
    w = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    return torch.allclose(device.program({"w": w}, torch.Generator(), level=0.0)["w"], w, atol=1e-4)


def test_only_drift_keeps_a_chip_at_level_0_from_being_the_digital_network():
    names = {name for name in registry.entries("devices") if not keeps_weights(plan.device_of(name))}
    assert names <= {"pcm", "reram_cmo"}


def test_every_pair_of_method_device_and_task(run_cells):
    records = run_cells(covering())
    assert len(records) == len(covering())
    for record in records:
        check(record)


@pytest.mark.full
def test_full_cross(run_cells):
    for record in run_cells(every()):
        check(record)
