"""Tuning: what is searched, on which data, by how many, and what comes of it. Trainings are real and tiny."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from bench import plan, registry, tune
from bench.context import Watch
from bench.errors import BenchError
from bench.progress import Monitor
from bench.tuning import plots, saved, space, workers
from devices._base import Settings, setting
from methods._base import Method, MethodError
from tasks._base import Splits

TINY = "--task mnist --network mlp --preset smoke --train-samples 200 --test-samples 100 --chips 2 --on cpu".split()
ASKED: dict[str, Any] = {"network": "mlp", "train_samples": 200, "test_samples": 100, "chips": 2, "finetune_epochs": 2}
ASKED["precision"] = "fp32"


def request(method: str = "trice", **asked: Any) -> plan.Request:
    names: dict[str, Any] = {"methods": (method,), "devices": ("rram",), "tasks": ("mnist",), "seeds": (0,)}
    return plan.Request(**{**names, "preset": "smoke", **ASKED, **asked})


@pytest.fixture
def searched(home: Path, tmp_path: Path, cpu_runner: Callable[..., Any]) -> Callable[..., tune.Search]:
    """A search in a fresh home; the same again is the same study."""

    def make(method: str = "trice", trials: int = 3, timeout_s: float | None = None, **asked: Any) -> tune.Search:
        runner = cpu_runner(home, tmp_path / "results")
        job = tune.Job(
            request=request(method, **asked),
            trials=trials,
            timeout_s=timeout_s,
            chips=1,
            storage=tune.default_storage(),
        )
        return tune.Search(runner, job)

    return make


def work(search: tune.Search) -> tune.Search:
    """Let it work, without a word."""
    with Monitor(quiet=True).work("", search.job.trials) as watch:
        search.work(watch)
    return search


def states(search: tune.Search) -> list[str]:
    return [trial.state.name for trial in search.study.trials]


def one_line(ended: Any, *words: str) -> None:
    assert ended.code == 2
    line = ended.err.splitlines()[-1]
    assert line.startswith("bench: ") and all(word in line for word in words), line
    assert "fault of the bench" not in line


# What is searched


@pytest.mark.parametrize("method", registry.entries("methods"))
@pytest.mark.parametrize("device", ["rram", "pcm", "ideal"])
def test_the_defaults_of_every_method_are_in_its_space(method, device):
    made = space.of(registry.get("methods", method), plan.device_of(device))
    seen = optuna.trial.FixedTrial(made.defaults())
    assert made.suggest(seen) == ({}, made.level)
    assert set(made.defaults()) == set(seen.distributions)
    # bn_recalibrate has the level of the method that it wraps, and ideal has but one
    nothing = ("nominal", "committee", *(["bn_recalibrate"] if device == "ideal" else []))
    assert made.is_empty == (method in nothing)


@pytest.mark.parametrize("method", registry.entries("methods"))
def test_whatever_a_trial_suggests_is_taken_by_the_method(method):
    cls = registry.get("methods", method)
    made = space.of(cls, plan.device_of("rram"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        settings, level = made.suggest(study.ask())
        assert plan.method_of(method, settings).settings == cls.Settings(**settings)
        assert plan.parse_settings(method, space.texts(settings)) == settings, "as words of the command line too"
        assert level in made.levels or not made.levels


def test_mtrd_has_a_weight_for_each_teacher_and_a_student_level():
    made = space.of(registry.get("methods", "mtrd"), plan.device_of("rram"))
    assert made.levels == (0.1, 0.2, 0.3, 0.4, 0.5)
    names = {knob.name for knob in made.knobs}
    assert names == {"temperature", "alpha", "weighting", "betas"}, "student_epochs only buys more budget"
    fixed = {"level": 0.2, "temperature": 5.0, "alpha": 0.7, "betas given": True}
    weights = {f"betas at {level:g}": 0.25 for level in (0, 0.1, 0.2, 0.3, 0.4, 0.5)}
    seen = optuna.trial.FixedTrial(fixed | weights)
    assert made.suggest(seen) == ({"betas": "0.25,0.25,0.25,0.25,0.25,0.25"}, 0.2)
    assert "weighting" not in seen.distributions, "it means nothing beside betas"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Odd(Settings):
    """Settings of all kinds."""

    switch: bool = setting(False, "")
    wide: float = setting(1.0, "", low=0.1, high=100.0)
    narrow: int = setting(2, "", low=1, high=8)
    part: float = setting(1.0, "", low=0.0, tune=(1.0, 2.0))
    maybe: float | None = setting(None, "", low=1.0, high=2.0)
    boundless: float = setting(1.0, "", low=0.0)
    text: str = setting("", "")
    costly: int = setting(5, "", low=1, high=9, tune=False)


def test_ranges_choices_and_switches_become_distributions(monkeypatch):
    monkeypatch.setattr(Method, "Settings", Odd)
    made = space.of(Method, plan.device_of("rram"))
    assert [knob.name for knob in made.knobs] == ["switch", "wide", "narrow", "part", "maybe"]
    seen = optuna.trial.FixedTrial(made.defaults() | {"maybe given": True, "maybe": 1.5})
    made.suggest(seen)
    d = seen.distributions
    assert d["switch"].choices == (False, True)
    assert (d["wide"].low, d["wide"].high, d["wide"].log) == (0.1, 100.0, True)
    assert (d["narrow"].low, d["narrow"].high, d["narrow"].log) == (1, 8, False)
    assert (d["part"].low, d["part"].high) == (1.0, 2.0)


# On which data


class Untouchable:
    """A split that nobody may read, once it has its fingerprint."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"somebody reads the test data: {name}")

    def __len__(self) -> int:
        raise AssertionError("somebody counts the test data")


@pytest.mark.parametrize("method", ["mtrd", "noise_injection", "sam", "bayes_dropout", "neft_irs", "bn_recalibrate"])
def test_tuning_reads_no_test_data(searched, monkeypatch, method):
    normed = {"network": "vgg8", "width": 0.05, "train_samples": 32, "batch_size": 16}
    task = registry.get("tasks", "mnist")
    whole = task.splits

    def without_test(*where: Any) -> Splits:
        splits = whole(*where)
        made = dataclasses.replace(splits, val=splits.val.head(100), test=Untouchable())
        vars(made)["fingerprint"] = splits.fingerprint  # the one thing that is made of them: it tells data apart
        return made

    monkeypatch.setattr(task, "splits", without_test)
    search = work(searched(method, trials=2, **(normed if method == "bn_recalibrate" else {})))
    found = search.outcome()
    search.confirm(found)
    search.write(found)
    assert saved.load(search.runner.records.folder.parent, search.evaluation) == (found.settings, found.level)
    with pytest.raises(AssertionError, match="reads the test data"):
        search.runner.run(search.cell, "")


def test_a_trial_validates_the_network_that_its_settings_train(searched, cpu_runner, other_home, tmp_path):
    search = work(searched(trials=2))
    trial = search.study.trials[1]
    training = search.training(trial.user_attrs["settings"], trial.user_attrs["level"])
    assert training.key == trial.user_attrs["training"]
    alone = cpu_runner(other_home, tmp_path / "other")
    means = alone.validate(training, search.device, None, None, 1)
    assert trial.value == fmean(means.values())


@pytest.mark.parametrize(
    "method, precision", [("noise_injection", "fp32"), ("neft_irs", "bf16"), ("hwa", "bf16"), ("sam", "fp32")]
)
def test_being_looked_at_changes_nothing(method, precision, home, other_home, tmp_path, cpu_runner):
    (cell,) = plan.cells(request(method, precision=precision))
    training, rram, seen = cell.evaluation.training, plan.device_of("rram"), []
    watch = Watch(rram, (0.0, 0.3), None, lambda epoch, metric: seen.append((epoch, metric)))
    watched = cpu_runner(home, tmp_path)._trained(training, watch)[0].state_dict()
    alone = cpu_runner(other_home, tmp_path)._trained(training)[0].state_dict()
    assert [epoch for epoch, _ in seen] == [2], "after the nominal run's one and the first of two"
    assert all(0 < metric < 100 for _, metric in seen)
    assert all(torch.equal(tensor, alone[name]) for name, tensor in watched.items())


# By how many


def test_a_study_goes_on_and_ends_when_it_has_its_trials(searched):
    first = work(searched(trials=2))
    assert first.is_new and len(first.study.trials) == 2
    assert first.study.trials[0].user_attrs["settings"] == {}, "the first trial has the default settings"
    again = work(searched(trials=2))
    assert not again.is_new and len(again.study.trials) == 2
    more = work(searched(trials=4))
    assert more.study.study_name == first.study.study_name and len(more.study.trials) == 4
    assert len(searched(trials=3).outcome().trials) == 3, "no more than asked for are looked at"
    other = searched(trials=1, finetune_epochs=1)
    assert other.study.study_name != first.study.study_name and other.is_new


def test_a_study_ends_when_its_time_is_up(searched):
    search = work(searched(trials=10_000, timeout_s=1e-9))
    assert search.study.trials == search.study.get_trials(states=(TrialState.WAITING,))
    with pytest.raises(BenchError, match="tune trice: none of 0 trials was finished; give it more time or trials"):
        search.outcome()


def test_two_processes_work_on_one_study(searched, tmp_path):
    search = searched(trials=8)
    helpers = workers.start(
        search.job, workers.Workers(count=2, processor="cpu", data=None, results=tmp_path / "results")
    )
    try:
        ends = time.monotonic() + 600
        while not search.study.get_trials(states=(TrialState.RUNNING, TrialState.COMPLETE)):
            assert time.monotonic() < ends and helpers[0].exitcode in (None, 0)
            time.sleep(0.05)
        work(search)
        helpers[0].join(300)
        assert helpers[0].exitcode == 0
    finally:
        workers.stop(helpers)
    ended = [trial for trial in search.study.trials if trial.state in tune.ENDED]
    assert len(search.outcome().trials) == 8 and 8 <= len(ended) <= 9
    assert len({trial.user_attrs["process"] for trial in ended}) == 2


def test_an_interrupted_trial_is_done_again(searched, monkeypatch):
    search = searched(trials=2)
    real = search.runner.validate

    def interrupted(*given: Any) -> Any:
        if len(search.study.trials) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(search.runner, "validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        work(search)
    again = work(searched(trials=2))
    assert states(again) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert again.study.trials[1].params == again.study.trials[2].params
    assert len(again.outcome().trials) == 2


class Severe(optuna.pruners.BasePruner):
    """Lets only the first trial live."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.number > 0


def test_trials_are_pruned_by_epoch(searched, monkeypatch):
    monkeypatch.setattr(optuna.pruners, "MedianPruner", lambda **_: Severe())
    search = work(searched(trials=3))
    assert states(search) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert all(list(trial.intermediate_values) == [2] for trial in search.study.trials)
    assert search.outcome().settings == {}
    checkpoints = search.runner.checkpoints
    for trial in search.study.trials[1:]:
        key = trial.user_attrs["training"]
        assert not checkpoints.path(key).exists() and not checkpoints.partial_path(key).exists()


def test_qat_is_not_pruned_by_weights_that_are_not_rounded(searched):
    assert not any(trial.intermediate_values for trial in work(searched("qat", trials=2)).study.trials)


def test_training_that_diverges_is_a_pruned_trial(searched, monkeypatch):
    search = searched(trials=3)
    real = search.runner.validate

    def diverges(*given: Any) -> Any:
        if len(search.study.trials) == 2:
            raise MethodError("training diverged in epoch 1 (loss nan); try a smaller --lr")
        return real(*given)

    monkeypatch.setattr(search.runner, "validate", diverges)
    work(search)
    assert states(search) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert "diverged" in search._about(search.outcome())["trials"][1]["reason"]


def test_networks_that_are_not_the_best_are_deleted(searched):
    search = work(searched(trials=4))
    best = search.outcome().best.user_attrs["training"]
    kept = {
        t.user_attrs["training"]
        for t in search.study.trials
        if search.runner.checkpoints.path(t.user_attrs["training"]).exists()
    }
    assert kept == {best, search.evaluation.training.key}


# What comes of it


def test_tune_ends_in_settings_plots_and_tests_that_run_tuned_uses(home, cli, tmp_path):
    results = tmp_path / "results"
    cell = ["--device", "rram", "--method", "trice", *TINY, "--results", results]
    ended = cli("tune", *cell, "--trials", "4", "--val-chips", "1")
    assert ended.code == 0, ended.err
    for word in ("validation, mnist on rram", "test, mnist on rram", "trice", "default", "tuned", "gain", "bench run"):
        assert word in ended.out
    (path,) = (results / "tuned").glob("mnist-mlp-rram-trice-*.json")
    found = json.loads(path.read_text())
    assert len(found["trials"]) == 4 and found["schema"] == 1
    assert math.isclose(found["validation"]["metric"], max(t["metric"] for t in found["trials"]))
    assert str(tmp_path) not in path.read_text(), "no paths of this machine"
    plots = {p.name for p in (results / "plots").glob("tuned-*")}
    assert plots == {f"tuned-{path.stem}-{name}.{end}" for name in ("history", "importance") for end in ("png", "pdf")}
    again = cli("run", *cell, "--tuned")
    assert again.code == 0 and "already done" in again.err
    records = [json.loads(p.read_text()) for p in (results / "records").glob("*.json")]
    tuned = [r for r in records if r["evaluation"]["training"]["settings"] == found["settings"]]
    assert found["level"] in [r["evaluation"]["training"]["level"] for r in tuned]
    assert all("--tuned" not in r["command"] for r in records), "a record's command needs no file"
    other = cli("run", *cell, "--tuned", "--seed", "1", "--levels", "0,.2")
    assert other.code == 0, "another seed and other test levels use the same settings"


def test_all_methods_get_the_same_trials(home, cli, tmp_path):
    cell = ["--device", "rram", *TINY, "--results", tmp_path]
    ended = cli("tune", "--method", "nominal,sam,trice", *cell, "--trials", "2", "--val-chips", "1")
    assert ended.code == 0, ended.err
    assert "nominal: nothing to tune" in ended.err
    made = [json.loads(path.read_text()) for path in (tmp_path / "tuned").glob("*.json")]
    assert [len(found["trials"]) for found in made] == [2, 2]
    tuned = cli("run", "--method", "nominal,sam", *cell, "--tuned")
    assert tuned.code == 0 and "nominal" in tuned.out


def test_a_method_that_refuses_the_network_has_no_trials_and_is_left_out(home, cli, tmp_path, caplog):
    cell, few = ["--device", "rram", *TINY, "--results", tmp_path], ("--trials", "2", "--val-chips", "1")
    both = ["--method", "bn_recalibrate,trice", *cell]
    reason = "bn_recalibrate: the network has no BatchNorm whose statistics could be estimated anew"
    one_line(cli("tune", "--method", "bn_recalibrate", *cell, *few), reason)
    ended = cli("tune", *both, *few)
    assert ended.code == 0 and f"left out tuning of bn_recalibrate: {reason}\n" in ended.err, ended.err
    storage = tune.default_storage()
    ends = {
        name.split("-")[3]: [t.state.name for t in optuna.load_study(study_name=name, storage=storage).trials]
        for name in optuna.get_all_study_names(storage)
    }
    assert ends == {"bn_recalibrate": ["FAIL", "FAIL", "WAITING"], "trice": ["COMPLETE"] * 2}
    tuned = cli("run", *both, "--tuned")
    (line,) = (record.getMessage() for record in caplog.records if "left out" in record.getMessage())
    assert tuned.code == 0 and "`bench tune`" in line and line.endswith(": bn_recalibrate on rram, mnist")
    one_line(cli("run", "--method", "bn_recalibrate", *cell, "--tuned"), "there are no settings for bn_recalibrate")
    one_line(cli("run", "--method", "bn_recalibrate,sam", *cell, "--tuned"), "there are no settings for bn_recalibrate")


def test_the_best_so_far_goes_on_to_the_last_trial():
    seen = [plots.Point(*one) for one in [(0, 50.0, False), (1, 60.0, False), (2, 55.0, True), (3, None, True)]]
    figure = plots.history(seen, title="t", metric="m", higher_is_better=True, size="n = 3 chips")
    (line,) = (line for line in figure.axes[0].lines if line.get_label() == "best so far")
    assert [*zip(*line.get_data(), strict=True)] == [(0, 50.0), (1, 60.0), (3, 60.0)]
    assert figure.get_supxlabel().startswith("n = 4 trials, 2 of them pruned")
    assert figure.get_supxlabel().endswith("mean over n = 3 chips")


def test_the_plot_of_importance_says_of_how_many_trials():
    points = [plots.Point(i, 50.0, i > 11) for i in range(20)]
    figure = plots.importance({"a": 0.7, "b": 0.3}, points, title="t", size=plots.size_of(3, 6, 0))
    said = "of n = 12 finished trials, each the mean over n = 3 validation chips at each of 6 levels, seed 0"
    assert figure.get_supxlabel() == said


@pytest.mark.parametrize(
    "given, words",
    [
        (["--method", "nominal"], ["tune: nominal has no settings to tune"]),
        (["--method", "trise"], ["unknown method 'trise'; did you mean 'trice'?"]),
        (["--method", "trice", "--trials", "0"], ["--trials", "greater than or equal to 1"]),
        (["--method", "trice", "--timeout", "0"], ["timeout 0: must be above 0"]),
        (["--method", "trice", "--set", "method.cutoff=1"], ["'method' must be 'device'"]),
        (["--method", "trice", "--storage", "nonsense"], ["storage", "Could not parse"]),
        (["--method", "trice", "--storage", "redis://u:secret@h"], ["storage redis://u:***@h"]),
        (["--method", "trice", "--storage", "sqlite:////no/such/folder/x.db"], ["storage", "unable to open"]),
    ],
)
def test_what_cannot_be_tuned_is_one_line(home, cli, tmp_path, given, words):
    one_line(cli("tune", *given, "--device", "rram", *TINY, "--results", tmp_path), *words)


def test_run_tuned_says_what_is_missing_or_broken(home, cli, tmp_path):
    cell = ["run", "--method", "trice", "--device", "rram", *TINY, "--results", tmp_path, "--tuned"]
    one_line(cli(*cell), "there are no settings for trice on rram, mnist, mlp, with this budget", "`bench tune`")
    one_line(cli(*cell, "--level", ".2"), "--level are what tuning chose")
    one_line(cli(*cell, "--set", "trice.cutoff=2"), "settings of methods")
    (made,) = plan.cells(request("trice", finetune_epochs=None))
    path = saved.path_of(tmp_path, made.evaluation)
    levels = [f'{{"settings": {{}}, "level": {level}}}' for level in ("NaN", "Infinity", "-0.1", "[" * 100_000)]
    for text in ("{", "[]", '{"settings": {}}', '{"settings": {"cutoff": 99}, "level": 0.3}', *levels):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        one_line(cli(*cell), "tuned settings", "are broken", "delete the file and tune again")


def test_tuned_settings_have_a_name_for_all_that_they_were_tuned_for():
    def name(**asked: Any) -> str:
        (cell,) = plan.cells(request(**asked))
        return saved.name_of(cell.evaluation)

    assert name() == name(seeds=(3,)) == name(level=0.1) == name(settings={"cutoff": "2"}) == name(chips=7)
    others = [name(method="vant"), name(devices=("pcm",)), name(finetune_epochs=1), name(width=1.0), name(lr=0.01)]
    others.append(name(devices=("pcm",), device_settings={"scale": "column"}))
    assert len({name(), *others}) == 7


@pytest.mark.parametrize("command", [["--help"], ["tune", "--help"], ["list"]])
def test_optuna_waits_until_it_is_needed(imported, command):
    assert imported({"optuna", "torch", "pandas"}, *command) == (0, "")
