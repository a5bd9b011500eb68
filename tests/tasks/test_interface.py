"""A task that has nothing of classification: measured, ranked and kept like any other."""

import dataclasses
import io
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from bench import plan, presets, request, terminal
from bench.errors import BenchError
from bench.montecarlo import sweep_level
from bench.rig import Rig
from bench.shape import check_record
from bench.spec import ChipPolicy
from methods._feedback import MapHead, with_feedback
from tasks._base import Metric, Split, Splits, Task


class Guess(Task):
    """exp of the mean squared error, lower is better; its second half of samples has a detail."""

    metric = Metric(name="surprise", unit="", higher_is_better=False, yield_loss=0.5)
    logits = False
    batch = 7

    def splits(self, cache, data_dir=None):
        part = Split(torch.zeros(2, 3), torch.zeros(2, 3))
        return Splits(train=part, val=part, test=part)

    def network(self, name, width=1.0):
        return nn.Linear(3, 3)

    def prepare(self, inputs):
        return inputs

    def loss(self, output, target):
        return (output - target).square().mean()

    def distill(self, student, teacher, temperature):
        return (student - teacher).square().mean()

    def correct(self, output, target):
        return (output - target).square().mean(1)

    def overall(self, contributions):
        return contributions.mean().exp().item()

    def details(self, output, target):
        off = (output - target).abs().mean(1)
        return {"off": torch.where(target[:, 0] > 0, off, math.nan)}

    def derived(self, contributions):
        return {"largest": contributions.max().item()}


@pytest.fixture
def rig() -> Rig:
    task, network = Guess(), Guess().network("")
    x = torch.randn(40, 3)
    return Rig(network, task.analog(network), task, Split(x, x + 0.1 * torch.randn(40, 3)), "fp32")


def test_a_metric_of_the_whole_is_made_of_the_samples(rig):
    with torch.no_grad():
        output = rig.network(rig.inputs)
    expected = (output - rig.targets).square().mean().exp().item()
    found = rig.measure()
    assert found.metric == pytest.approx(expected, rel=1e-5) and found.probabilities is None
    theirs = rig.targets[:, 0] > 0
    assert found.details["off"] == pytest.approx((output - rig.targets).abs()[theirs].mean().item(), rel=1e-5)
    assert found.details["largest"] == pytest.approx((output - rig.targets).square().mean(1).max().item(), rel=1e-5)
    some = torch.tensor([3, 30])
    part = (output - rig.targets)[some].square().mean().exp().item()
    assert rig.measure(samples=some).metric == pytest.approx(part, rel=1e-5)
    assert rig.measure(samples=some).details == {}


def test_a_sweep_keeps_details_of_every_chip_and_no_ekl(rig):
    policy = ChipPolicy(minimum=3, maximum=3, half_width=None)
    done = sweep_level(rig, plan.device_of("rram"), level=0.3, time_s=None, policy=policy)
    assert len(done["details"]["off"]) == len(done["chips"]) == 3 and done["ekl"] is None
    assert min(done["chips"]) >= 1


@pytest.fixture
def record(home, tmp_path, cpu_runner, one_cell):
    runner = cpu_runner(home, tmp_path / "results")
    return runner.run(one_cell("nominal", "rram", "mnist", network="mlp", train_samples=64, test_samples=50), "test")


@pytest.mark.parametrize("details", [{"off": 1.0}, {"off": ["x"]}, {}])
def test_details_that_no_table_can_show_are_refused(record, details):
    check_record(record)
    right = [{**level, "details": {"off": [1.0] * len(level["chips"])}} for level in record["levels"]]
    check_record({**record, "clean_details": {"off": 1.0}, "levels": right})
    with pytest.raises(ValueError):
        wrong = [right[0] | {"details": details}, *right[1:]]
        check_record({**record, "clean_details": {"off": 1.0}, "levels": wrong})


def test_further_metrics_are_shown_whole_where_the_terminal_is_narrow(record):
    """Clean, and the mean over chips of each level, all names and numbers of them."""
    clean = {f"recall of class {i}": 90.0 + i / 100 for i in range(9)}
    levels = [{**level, "details": {n: [v - 4, v - 2] for n, v in clean.items()}} for level in record["levels"]]
    out = io.StringIO()
    terminal.record({**record, "clean_details": clean, "levels": levels}, Console(file=out, width=72), Path("results"))
    text = out.getvalue()
    for name, value in clean.items():
        assert name in text and f"{value:.2f}" in text
        assert text.count(f"{value - 3:.2f}") == len(levels)
    assert "further metrics" not in printed(record)


def printed(record) -> str:
    out = io.StringIO()
    terminal.record(record, Console(file=out, width=72), Path("results"))
    return out.getvalue()


def test_what_a_task_has_otherwise_than_a_preset():
    usual = presets.get("quick")
    changes = {"quick": {"epochs": 30, "lr": 0.02, "half_width": 0.1, "test_samples": None, "width": 0.5}}
    made = presets.get("quick", changes)
    assert (made.budget.epochs, made.budget.lr, made.chips.half_width) == (30, 0.02, 0.1)
    assert (made.test_samples, made.width) == (None, 0.5)
    assert made.budget == dataclasses.replace(usual.budget, epochs=30, lr=0.02)
    assert presets.get("standard", changes) == presets.get("standard")
    assert presets.get("quick") == usual


PAPER = {  # optimizer, rate, batch size, epochs
    "cifar100": ("sgd", 0.01, 64, 200),
    "segmentation": ("adamw", 1e-4, 16, 200),
    "segmentation:carvana": ("adamw", 1e-4, 16, 200),
    "denoising:bsd": ("adamw", 1e-3, 128, 50),
    "ecg": ("adamw", 1e-3, 16, 20),
    "ecg:mitbih": ("adamw", 1e-3, 16, 20),
    "language:wikitext2": ("adamw", 4e-3, 32, 40),
    "text:sst2": ("adamw", 2e-5, 32, 3),
}


@pytest.mark.parametrize("name", PAPER)
def test_paper_presets_have_their_papers_settings(name):
    task = plan.task_of(name)
    made = presets.get("paper", task.presets)
    budget = made.budget
    assert (budget.optimizer, budget.lr, budget.batch_size, budget.epochs) == PAPER[name]
    decays = {"cifar100": 5e-4, "text:sst2": 0.01}  # Adam is AdamW without decay
    assert made.width == 1 and budget.weight_decay == decays.get(name, 0.0)
    assert name != "language:wikitext2" or made.network == "lstm_lm?dropout=0.5"


def test_variants_are_named_but_not_all(monkeypatch):
    known = {"plain": None, "plain:variant": None}
    monkeypatch.setattr("bench.registry.entries", lambda kind: known)
    assert request.names("all", "tasks") == ("plain",)
    assert request.names("plain:variant", "tasks") == ("plain:variant",)
    with pytest.raises(BenchError, match="did you mean 'plain:variant'"):
        request.names("plain:varant", "tasks")


def test_feedback_leaves_an_estimate_where_it_is():
    """Of equal outputs it must be the output itself, else the network would learn a multiple of its target."""
    y = torch.randn(2, 1, 4, 4)
    assert torch.allclose(with_feedback(y, [y, y, y], 0.1, logits=False), y, atol=1e-6)
    assert torch.allclose(with_feedback(y, [y, y, y], 0.1), y * (1 - 0.111) / 4, atol=1e-6)


def test_a_head_makes_a_map_of_early_features():
    head = MapHead((6, 20, 12), 16, 8, (2, 40, 24))
    made = head(torch.randn(3, 6, 20, 12))
    assert made.shape == (3, 2, 40, 24)
    made.sum().backward()
    assert all(p.grad is not None for p in head.parameters())
