"""Dropout rates found on validation chips: where they act, how they are chosen, and what is deployed."""

import json
import statistics

import pytest
import torch
from torch import nn

from bench.search import STARTUP, BayesSearch
from bench.shape import check_record
from methods._base import MethodError
from methods.bayes_dropout import dropping, ends_of, layers_as_run

BOX = {"a": (0.0, 1.0), "b.c": (-2.0, 2.0)}


def worth(numbers: dict[str, float]) -> float:
    return (numbers["a"] - 0.7) ** 2 + (numbers["b.c"] + 1) ** 2 / 4


def searched(trials: int, seed: int = 0, *, maximise: bool = False) -> BayesSearch:
    search = BayesSearch(BOX, maximise=maximise, seed=seed)
    for _ in range(trials):
        asked = search.ask()
        search.tell(-worth(asked) if maximise else worth(asked))
    return search


@pytest.mark.parametrize("maximise", [True, False])
def test_a_search_comes_near_the_best(maximise):
    """Nearer than as many random points would: the best of 20 of them is .02 off in the median."""
    searches = [searched(20, seed, maximise=maximise) for seed in range(3)]
    assert statistics.median(worth(search.best()) for search in searches) < 0.008
    sets = [numbers for search in searches for numbers, _ in search.history["trials"]]
    assert all(0 <= a <= 1 and -2 <= b <= 2 for a, b in sets)
    assert len({tuple(numbers) for numbers in sets}) == 60


def test_a_search_is_its_seeds_and_goes_on_from_its_history():
    whole = searched(STARTUP + 3)
    assert whole.history == searched(STARTUP + 3).history != searched(STARTUP + 3, seed=1).history
    half = searched(STARTUP + 1)
    resumed = BayesSearch(BOX, maximise=False, seed=0)
    resumed.history.update(half.history)
    for _ in range(2):
        resumed.tell(worth(resumed.ask()))
    assert resumed.history == whole.history


def test_a_score_that_is_not_finite_is_no_trial():
    def told(*scores: float) -> tuple[BayesSearch, list[dict[str, float]]]:
        search, asked = BayesSearch(BOX, maximise=True, seed=0), []
        for score in scores:
            asked.append(search.ask())
            search.tell(score)
        return search, asked

    nan, inf = float("nan"), float("inf")
    search, asked = told(nan, 1.0, inf, 0.5)
    assert len({tuple(numbers.values()) for numbers in asked}) == 4, "the next proposal is another"
    assert search.best() == asked[1]
    assert [score for _, score in search.history["trials"]] == [None, 1.0, None, 0.5]
    late, asked = told(*[0.0] * STARTUP, nan, nan)
    assert asked[STARTUP] != asked[STARTUP + 1], "nor where it follows from others"
    resumed = BayesSearch(BOX, maximise=True, seed=0)
    resumed.history.update(json.loads(json.dumps(late.history)))
    assert resumed.ask() == late.ask()


@pytest.mark.parametrize("told", [0, 2])
def test_where_no_score_was_finite_nothing_is_best(told):
    search = BayesSearch(BOX, maximise=True, seed=0)
    for _ in range(told):
        search.ask()
        search.tell(float("nan"))
    with pytest.raises(MethodError, match=f"none of {told} sets had a finite score"):
        search.best()


@pytest.mark.parametrize(
    "trials, steps, ends", [(3, 9, [3, 6, 9]), (4, 10, [2, 5, 8, 10]), (5, 2, [1, 2]), (2, 0, [1])]
)
def test_trials_share_the_steps(trials, steps, ends):
    assert ends_of(trials, steps) == ends


def test_layers_come_in_the_order_in_which_they_run():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(self.first(x))

    assert layers_as_run(Backwards(), ("last.weight", "first.weight"), torch.randn(2, 4)) == ["first", "last"]


class Attends(nn.Module):
    """The weight of out_proj is used, but it isn't called."""

    def __init__(self):
        super().__init__()
        self.first, self.attention = nn.Linear(4, 4), nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x):
        x = self.first(x)[:, None]
        return self.attention(x, x, x)[0]


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.named = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.named(input=self.first(x))


@pytest.mark.parametrize("kind, missed", [(Attends, "attention.out_proj"), (Keywords, "named")])
def test_a_layer_that_would_go_without_dropout_is_named(kind, missed):
    with pytest.raises(MethodError, match=f"before {missed}: the network doesn't call it"):
        layers_as_run(kind(), ("first.weight", f"{missed}.weight"), torch.randn(2, 4))


def test_inputs_are_dropped_at_the_layers_rate_and_only_in_training():
    layer, rates = nn.Linear(100_000, 1, bias=False), {"layer": 0.3}
    nn.init.ones_(layer.weight)
    seen = []
    layer.register_forward_pre_hook(dropping(rates, "layer"))
    layer.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    layer(torch.ones(1, 100_000))
    layer.eval()(torch.ones(1, 100_000))
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert seen[0].max().item() == pytest.approx(1 / 0.7) and torch.equal(seen[1], torch.ones(1, 100_000))


def test_there_is_a_step_with_the_best_rates(watch, monkeypatch, one_cell):
    """However small `final` is; without one, `found` would name rates that the last step didn't have."""
    with pytest.raises(ValueError, match="setting final=0"):
        one_cell("bayes_dropout", "rram", "mnist", settings={"final": "0"})
    context = watch("bayes_dropout", settings={"trials": "4", "final": "0.01"}, finetune_epochs=2)
    scores, dropped, real = iter((4.0, 3.0, 2.0, 1.0)), [], torch.nn.functional.dropout
    monkeypatch.setattr(context, "score", lambda network, levels: [next(scores)])
    monkeypatch.setattr(
        "methods.bayes_dropout.F.dropout", lambda x, p, training: (dropped.append(p), real(x, p, training))[1]
    )
    made = context.fit()
    assert next(scores, None) is None and len(dropped) == 8
    assert made.found == {"fc2": dropped[-1]} == {"fc2": dropped[0]} and dropped[-2] != dropped[-1]


@pytest.fixture
def scored(watch, monkeypatch):
    """A run on lenet, and (rates, levels, score) of each trial: the score is worst for dropout before fc4."""

    def make(**asked):
        context = watch("bayes_dropout", network="lenet", finetune_epochs=3, **asked)
        context.trials, real_search = [], context.search

        def search(space, *, maximise):
            context.space, context.maximise = space, maximise
            context.found = real_search(space, maximise=maximise)
            return context.found

        def score(network, levels):
            asked_for = dict(zip(context.space, context.found.history["asked"], strict=True))
            context.trials.append((asked_for, levels, len(context.passes)))
            return [100 - 100 * asked_for["fc4"]]

        monkeypatch.setattr(context, "search", search)
        monkeypatch.setattr(context, "score", score)
        return context

    return make


def test_each_trial_is_scored_at_the_runs_level_and_the_best_is_trained_last(scored):
    context = scored(settings={"trials": "3", "final": "0.25"}, level=0.4)
    dropped = []
    real = torch.nn.functional.dropout

    def note(x, p, training):
        dropped.append((p, training))
        return real(x, p, training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("methods.bayes_dropout.F.dropout", note)
        made = context.fit()
    assert set(context.space) == {"conv2", "fc3", "fc4", "fc5"} and set(context.space.values()) == {(0.0, 0.5)}
    assert context.maximise
    assert [(levels, passes) for _, levels, passes in context.trials] == [((0.4,), 3), ((0.4,), 6), ((0.4,), 9)]
    steps = [dropped[i : i + 4] for i in range(0, len(dropped), 4)]
    assert len(steps) == 12 and all(training for step in steps for _, training in step)
    rates = [[p for p, _ in step] for step in steps]
    tried = [list(t.values()) for t, _, _ in context.trials]
    best = min(tried, key=lambda values: values[2])
    order = list(context.space)
    assert order == ["conv2", "fc3", "fc4", "fc5"]
    assert rates == [*[tried[0]] * 3, *[tried[1]] * 3, *[tried[2]] * 3, *[best] * 3]
    assert made.found == dict(zip(order, best, strict=True))
    assert all(p.chip is None for p in context.passes), "no noise in training"
    assert not any(m._forward_pre_hooks for m in made.network.modules()), "dropout is off at test"


def test_a_network_with_one_layer_is_refused(watch, monkeypatch):
    context = watch("bayes_dropout")
    monkeypatch.setattr(type(context.task), "analog", lambda self, network: ("fc1.weight",))
    with pytest.raises(MethodError, match="there is but one"):
        context.fit()


def test_rates_are_in_checkpoint_and_record(home, tmp_path, cpu_runner, one_cell):
    small = {"network": "mlp", "train_samples": 512, "test_samples": 100, "chips": 2, "levels": (0.3,)}
    cell = one_cell("bayes_dropout", "rram", "mnist", settings={"trials": "2"}, **small)
    runner = cpu_runner(home, tmp_path / "results")
    record = runner.run(cell, "test")
    about = runner.checkpoints.load(cell.evaluation.training.key)[1]
    assert record["found"] == about["found"] and set(about["found"]) == {"fc2"}
    assert 0 <= about["found"]["fc2"] <= 0.5
    check_record(json.loads(json.dumps(record)))
    with pytest.raises(ValueError, match="found.fc2 is 'half'"):
        check_record(record | {"found": {"fc2": "half"}})
