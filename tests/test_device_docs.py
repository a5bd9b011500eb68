"""`bench device docs`: figures against closed forms, accuracies of just the records that are asked for."""

import math
from pathlib import Path

import pytest
from PIL import Image

from bench import device_docs, plan, registry
from bench.device_show import gain_and_std, normal_weights
from bench.stats import interval
from bench.store import Records


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were two devices only."""
    devices, entries = registry.entries("devices"), registry.entries
    few = {name: devices[name] for name in ("ideal", "rram")}
    monkeypatch.setattr(registry, "entries", lambda kind: few if kind == "devices" else entries(kind))


def record(method: str, device: str = "rram", seed: int = 0, drop: float = 1.0, **asked) -> dict:
    """A finished cell as the bench plans it, 90 at level 0 and `drop` less from level to level, on ten chips."""
    names = {"methods": (method,), "devices": (device,), "tasks": ("fashion_mnist",), "seeds": (seed,)}
    usual = {"preset": "standard", "network": "lenet", "precision": "bf16"}
    (cell,) = plan.cells(plan.Request(**names, **usual | asked))
    levels = [
        {"level": x, "chips": [90 - drop * i + 0.1 * c for c in range(10)], "first_stage": 10, "samples": None}
        for i, x in enumerate(cell.evaluation.levels)
    ]
    return {
        "key": cell.evaluation.key,
        "status": "done",
        "evaluation": cell.evaluation.as_dict(),
        "levels": levels,
    }


def test_gain_and_std_are_those_of_the_formula():
    """rram: w' = w exp(sigma xi). gaussian: w' = w + sigma M xi."""
    gain, std = gain_and_std(*normal_weights(plan.device_of("rram"), level=0.3, time_s=None))
    mean = math.exp(0.3**2 / 2)
    assert gain == pytest.approx(mean, rel=0.01)
    assert std == pytest.approx(mean * math.sqrt(math.exp(0.3**2) - 1), rel=0.02)
    before, after = normal_weights(plan.device_of("gaussian"), level=0.06, time_s=None)
    assert before.std().item() == pytest.approx(1, rel=0.01)
    assert gain_and_std(before, after)[1] == pytest.approx(0.06 * before.abs().max().item(), rel=0.01)
    assert gain_and_std(before, before) == (pytest.approx(1), pytest.approx(0, abs=1e-12))


def test_accuracies_are_of_that_run_alone_over_its_seeds():
    rram = plan.device_of("rram")
    one, two = record("noise_injection"), record("noise_injection", seed=1, drop=2.0)
    others = [
        record("nominal"),
        record("noise_injection", level=0.5),
        record("noise_injection", preset="quick"),
        record("noise_injection", network="mlp"),
        record("noise_injection", width=0.5),
        record("noise_injection", device="gaussian"),
        record("noise_injection", train_on="gaussian"),
        record("noise_injection", settings={"clip_w": "2"}),
        record("noise_injection", device_settings={"adc_bits": "6"}),
        record("noise_injection", seed=2) | {"status": "failed", "levels": []},
    ]
    assert device_docs.accuracies(rram, "noise_injection", others) == {}
    found = device_docs.accuracies(rram, "noise_injection", [*others, one])
    assert found == {level["level"]: interval(level["chips"], 10) for level in one["levels"]}
    both = device_docs.accuracies(rram, "noise_injection", [*others, one, two])
    assert both[0.2].mean == pytest.approx(90 - 2 * 1.5 + 0.45)
    assert device_docs.accuracies(rram, "nominal", [record("nominal", precision="fp32")])[0.0].mean == 90.45


def test_the_page_has_a_table_a_device_and_a_dash_for_what_is_missing(two: None):
    devices = [plan.device_of(name) for name in ("ideal", "rram")]
    accuracies = device_docs.accuracies(devices[1], "nominal", [record("nominal")])
    found = {("ideal", "nominal"): {}, ("rram", "nominal"): accuracies, ("rram", "noise_injection"): {}}
    lines = device_docs.markdown(devices, found).splitlines()
    assert [line for line in lines if line.startswith("## ")] == ["## ideal", "## rram"]
    assert "| nominal | — |" in lines and "![what rram does to weights and cells](devices/rram.png)" in lines
    head = lines.index("| sigma (std of ln w) | 0 | 0.1 | 0.2 | 0.3 | 0.4 | 0.5 |")
    assert lines[head + 1] == "|" + " :-- |" + " --: |" * 6
    assert lines[head + 2].startswith("| gain | 1.000 | 1.00") and lines[head + 3].startswith("| std | 0.000 | 0.10")
    assert lines[head + 4].startswith("| nominal | 90.45 ± 0.22 | 89.45 ± 0.22 |")
    assert lines[head + 5] == "| noise_injection, trained at 0.3 |" + " — |" * 6
    assert "`bench device docs`" in lines[2]


def test_the_command_writes_small_pictures_and_the_same_page_twice(cli, two: None, tmp_path: Path):
    pages = []
    for out in (tmp_path / "a", tmp_path / "b"):
        ended = cli("device", "docs", "--out", out, "--results", tmp_path / "none")
        assert (ended.code, ended.err) == (0, "")
        pages.append((out / "devices-figures.md").read_bytes())
        assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
            "devices-figures.md",
            "devices/ideal.pdf",
            "devices/ideal.png",
            "devices/rram.pdf",
            "devices/rram.png",
        ]
        pages[-1] += (out / "devices" / "rram.pdf").read_bytes()
    assert pages[0] == pages[1]
    of_task = "--task fashion_mnist --network lenet --preset standard"
    assert f"no records of nominal: bench run --method nominal --device ideal,rram {of_task}" in ended.out
    assert f"no records of noise_injection: bench run --method noise_injection --device rram {of_task}" in ended.out
    picture = tmp_path / "a" / "devices" / "rram.png"
    assert picture.stat().st_size < 60_000 and Image.open(picture).width > 500


def test_records_in_the_repository_can_be_read_for_the_page():
    """Whatever is committed: no record of another task is taken for one of this."""
    records, warnings = Records(Path(__file__).parent.parent / "results").load_all()
    assert warnings == []
    own = [r for r in records if r["evaluation"]["training"]["task"] == "fashion_mnist"]
    for method in device_docs.METHODS:
        found = device_docs.accuracies(plan.device_of("rram"), method, records)
        assert found == device_docs.accuracies(plan.device_of("rram"), method, own)
