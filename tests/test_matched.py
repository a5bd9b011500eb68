"""The matched budget: the same number of forward-backward passes for every method, counted in the network itself."""

import dataclasses
import json
from collections import Counter

import pytest
import torch
from torch import nn

from bench import matched, plan, presets, registry, request
from bench.context import TrainingContext
from bench.cost import costs
from bench.errors import BenchError
from bench.summary import group_key, summary
from methods._base import Budget, MethodError
from methods._loop import steps_of
from tasks._images import ImageClassification

TINY = {"network": "mlp", "train_samples": 1024, "batch_size": 16, "test_samples": 100, "chips": 2}
ITS_OWN = {"bn_recalibrate": {"network": "vgg8_mtrd", "width": 0.05, "settings": {"samples": "100"}}}  # BatchNorms


class Count(torch.autograd.Function):
    """The identity; counts the samples that go through it forward and back."""

    seen: Counter[str] = Counter()

    @staticmethod
    def forward(ctx, x):
        Count.seen["forward"] += len(x)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Count.seen["backward"] += len(gradient)
        return gradient


@pytest.fixture
def counted(monkeypatch):
    """Passes through any network of an image task while it trains; looks at validation chips are left out."""
    Count.seen = Counter()
    real = ImageClassification.network

    def watched(self, name: str, width: float = 1.0) -> nn.Module:
        network = real(self, name, width)
        network.register_forward_hook(lambda module, inputs, output: Count.apply(output))
        return network

    monkeypatch.setattr(ImageClassification, "network", watched)
    monkeypatch.setattr(TrainingContext, "score", lambda self, network, levels: [50.0 for _ in levels])
    return Count.seen


def cell(method: str, device: str = "rram", preset: str = "smoke", **asked) -> plan.Cell:
    names = {"methods": (method,), "devices": (device,), "tasks": ("mnist",), "seeds": (0,)}
    (made,) = matched.cells(
        plan.Request(**names, **{"preset": preset, "precision": "fp32", "budget": "matched", **asked})
    )
    return made


def taken(seen: Counter[str]) -> float:
    """Forward-backward passes; those without a way back count a third."""
    return seen["backward"] + (seen["forward"] - seen["backward"]) / 3


@pytest.mark.parametrize("method", registry.entries("methods"))
def test_every_method_takes_the_same_number_of_passes(method, counted, home, tmp_path, cpu_runner):
    one = cell(method, **TINY | ITS_OWN.get(method, {}), epochs=3, finetune_epochs=2)
    cpu_runner(home, tmp_path).train(one.evaluation.training)
    assert taken(counted) == pytest.approx(5 * 1024, rel=0.03)


@pytest.mark.parametrize("method", ["mtrd", "sam", "committee"])
def test_at_the_presets_own_budget_they_do_not(method, counted, home, tmp_path, cpu_runner):
    one = cell(method, **TINY, epochs=3, finetune_epochs=2, budget="preset")
    cpu_runner(home, tmp_path).train(one.evaluation.training)
    expected = {"mtrd": 3 + 5 * 2 + 2 * 4, "sam": 3 + 2 * 2, "committee": 5 * 3}[method]
    assert taken(counted) == pytest.approx(expected * 1024)


def test_records_count_what_the_networks_see(counted, home, tmp_path, cpu_runner):
    record = cpu_runner(home, tmp_path).run(one := cell("mtrd", **TINY), "mtrd")
    assert costs(record)["total_passes"] == pytest.approx(2 * 1024, rel=0.03)
    assert record["cost"]["epochs"] == pytest.approx(one.evaluation.training.budget.finetune_epochs, abs=1 / 64)
    assert costs(record)["total_epochs"] < 2, "lessons take passes, so fewer samples are seen"


def test_one_factor_scales_all_phases():
    budget = presets.get("standard").budget
    for method, factor in (("noise_injection", 1), ("sam", 13 / 16), ("mtrd", 13 / 37), ("neft_ovf", 13 / 22)):
        found = cell(method, preset="standard").evaluation.training.budget
        assert found.epochs == pytest.approx(10 * factor, abs=1e-4), method
        assert found.finetune_epochs == pytest.approx(3 * factor, abs=1e-4), method
        assert dataclasses.replace(found, epochs=10, finetune_epochs=3) == budget, "nothing else changes"
    assert cell("nominal", preset="standard").evaluation.training.budget.epochs == 13
    assert cell("committee", preset="standard").evaluation.training.budget.epochs == 2.6
    scratch = cell("noise_injection", preset="standard", settings={"warm_start": "false"})
    assert scratch.evaluation.training.budget == budget


def test_settings_and_levels_count():
    fewer = cell("committee", preset="standard", settings={"members": "2"}).evaluation.training
    assert fewer.budget.epochs == 6.5
    more = cell("neft_ovf", preset="standard", settings={"feedbacks": "1"}).evaluation.training
    assert more.budget.epochs == pytest.approx(10 * 13 / 16, abs=1e-4)
    between = cell("mtrd", preset="standard", level=0.25).evaluation.training
    assert between.budget.epochs == pytest.approx(10 * 13 / 40, abs=1e-4), "its student starts from a sixth network"
    longer = cell("mtrd", preset="standard", settings={"student_epochs": "1"}).evaluation.training
    assert longer.budget.epochs == pytest.approx(10 * 9 / 25, abs=1e-4), "the student's epoch takes 4 of the 13"


def test_what_cannot_be_matched_is_one_line():
    words = "mtrd can't do with 13 epochs of passes, since what its settings fix takes 16"
    with pytest.raises(BenchError, match=words):
        cell("mtrd", preset="standard", settings={"student_epochs": "4"})

    class Few:
        budget = Budget(epochs=1, finetune_epochs=0.01)

        def steps_per_epoch(self):
            return 20

    with pytest.raises(MethodError, match="0.01 epochs are less than one step of 128 samples"):
        steps_of(Few(), 0.01)
    assert steps_of(Few(), 0) == 0 and steps_of(Few(), 2.6) == 52


def test_it_is_in_both_keys_where_it_makes_a_difference():
    for method in registry.entries("methods"):
        usual, same = cell(method, budget="preset").evaluation, cell(method).evaluation
        changed = same.training.budget != usual.training.budget
        assert (same.training.key != usual.training.key) == changed
        assert same.key != usual.key, "never the record of the preset's budget"
    shared = cell("noise_injection").evaluation.training
    assert shared.key == cell("noise_injection", budget="preset").evaluation.training.key, "the same run by either name"
    assert cell("mtrd").evaluation.training.key != cell("mtrd", budget="preset").evaluation.training.key


def test_matched_rows_are_ranked_among_themselves(home, tmp_path, cpu_runner):
    runner, asked = cpu_runner(home, tmp_path), TINY | {"train_samples": 128}
    pairs = [
        ("nominal", "matched"),
        ("nominal", "preset"),
        ("noise_injection", "matched"),
        ("noise_injection", "preset"),
    ]
    records = [runner.run(cell(method, **asked, budget=budget), "it") for method, budget in pairs]
    longer = runner.run(cell("nominal", **asked, epochs=2), "it")
    groups = summary([*records, longer])
    assert sorted((group.preset, len(group.rows)) for group in groups) == [
        ("smoke matched 2 epochs*", 2),
        ("smoke matched 3 epochs*", 1),
        ("smoke*", 2),
    ]
    assert len({group.slug for group in groups}) == 3
    assert group_key(records[0]) == group_key(records[2]) != group_key(records[1])
    untouched = cell("nominal", preset="standard").evaluation
    assert untouched.preset == "standard matched 13 epochs"
    assert cell("nominal", preset="standard", width=0.5).evaluation.preset == "standard matched 13 epochs*"


def test_its_command_says_so():
    names = {"methods": ("sam",), "devices": ("rram",), "tasks": ("mnist",), "seeds": (0,)}
    asked = plan.Request(**names, preset="smoke", precision="fp32", budget="matched")
    assert "--budget matched" in request.command(matched.cells(asked)[0], asked, [])
    usual = dataclasses.replace(asked, budget="preset")
    assert "--budget" not in request.command(matched.cells(usual)[0], usual, [])


def test_a_part_of_an_epoch_is_resumed(home, other_home, tmp_path, cpu_runner, monkeypatch):
    """Cut off in its second epoch of 2.5, it ends with the weights of a run that was not."""
    training = cell("nominal", **TINY | {"train_samples": 256}).evaluation.training
    training = dataclasses.replace(training, budget=dataclasses.replace(training.budget, epochs=2.5))
    whole = cpu_runner(other_home, tmp_path / "a").train(training).state_dict()
    real, calls = TrainingContext.report, []

    def cut(self, **figures):
        calls.append(figures)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(self, **figures)

    monkeypatch.setattr(TrainingContext, "report", cut)
    runner = cpu_runner(home, tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        runner.train(training)
    assert runner.checkpoints.load_partial(training.key)["epoch"] == 1
    found = runner.train(training).state_dict()
    assert len(calls) == 4, "an epoch, one that was cut off, one again and a half"
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    cost = runner.checkpoints.load(training.key)[1]["cost"]
    assert (cost["epochs"], cost["samples"]) == (2.5, 640)


def test_from_the_command_line(home, cli, tmp_path):
    line = ["run", "--method", "sam,nominal", "--device", "rram", "--task", "mnist", "--preset", "smoke"]
    line += ["--network", "mlp", "--train-samples", "256", "--test-samples", "100", "--results", tmp_path]
    ended = cli(*line, "--budget", "matched")
    assert ended.code == 0, ended.err
    records = [json.loads(path.read_text()) for path in (tmp_path / "records").glob("*.json")]
    assert len(records) == 2 and all("--budget matched" in record["command"] for record in records)
    assert "already done" in cli(*line, "--budget", "matched").err
    assert "smoke matched 2 epochs*" in (tmp_path / "LEADERBOARD.md").read_text().replace("\\*", "*")
    for words, message in (
        (["--budget", "equal"], "budget 'equal': must be preset or matched"),
        (["--budget", "matched", "--tuned"], "tuned: settings are tuned at the preset's budget"),
    ):
        ended = cli(*line, *words)
        assert ended.code == 2 and message in ended.err and "Traceback" not in ended.err
