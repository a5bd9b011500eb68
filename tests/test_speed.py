"""`bench speed`: contenders do the same work, decisions are right, and every figure gets into the table."""

import json

import pytest
import torch
from rich.console import Console

from bench import plan, speed
from bench.progress import Monitor
from bench.rig import Rig
from bench.timing import decision, growth, networks, profile, steps, tables
from bench.timing.plain import Sweeper, Trainer, noisy

CPU = torch.device("cpu")


def test_every_figure_is_measured_and_shown(home, capsys):
    case = networks.Case("mnist", "mlp", 0.25, 64, 200)
    figures = speed.measure(CPU, None, rounds=1, cases=(case,), plain_chips=10, preset="smoke")
    figures = json.loads(json.dumps(figures))
    (row,) = figures["networks"]
    assert row["forward_mflop"] == pytest.approx(2 * (784 * 32 + 32 * 10) / 1e6)
    assert set(row["train_img_s"]) >= {"nominal", "noise_injection", "mtrd", "plain nominal", "plain noise_injection"}
    assert set(row["sweep_img_chips_s"]) >= {"ours", "ours + loading", "plain", "plain + loading"}
    for rates in (row["train_img_s"], row["sweep_img_chips_s"], row["epoch_s"], figures["ceiling_gflops"]):
        assert all(rate > 0 for rate in rates.values())
    assert len(figures["decision"]["ours"]) == len(figures["decision"]["plain_means"]) == 5
    Console(width=200).print(tables.terminal(figures))
    for text in (capsys.readouterr().out, tables.markdown(figures)):
        for word in (
            "plain + loading",
            "independent chips",
            "R2",
            "sweep of lenet, chips side by side",
            "peak memory",
            "GFLOP/s",
            "mlp x0.25",
        ):
            assert word in text
    chosen, rates = figures["decision"], row["sweep_img_chips_s"]
    hours = [chosen[f"{way}_image_chips"] / rates[way] / 3600 for way in ("ours", "plain")]
    assert f"mlp x0.25 {hours[0]:.2g} h and {hours[1]:.2g} h" in tables.markdown(figures)
    nominal, noisy_ones = (row["train_img_s"][name] for name in ("nominal", "noise_injection"))
    assert f"| mlp x0.25 | noise_injection | {noisy_ones:,.0f} | {noisy_ones / nominal:.2f} |" in tables.markdown(
        figures
    )


def test_a_step_of_sam_costs_two(monkeypatch, cache):
    """Turns alternate, and a figure is the fastest step of all turns."""
    task = plan.task_of("mnist")
    taken, order = {"nominal": [0.3, 0.2, 0.9], "sam": [0.5, 0.4, 9.0], "committee": []}, []

    def turn(self):
        order.append(self.training.method)
        return taken[self.training.method]

    monkeypatch.setattr(networks.OurSteps, "__call__", turn)
    case = networks.Case("mnist", "mlp", 0.25, 64, 200)
    found = steps.step_costs(case, task, task.splits(cache), CPU, 2, ("sam", "committee"))
    assert order == ["nominal", "sam", "committee", "nominal", "sam"]
    assert found["methods"]["nominal"]["step_ms"] == pytest.approx(200)
    assert found["methods"]["sam"]["x_nominal"] == pytest.approx(2)
    assert found["without_steps"] == {"committee": steps.NO_STEPS}


def test_steps_of_methods_are_timed_shown_and_kept(home, tmp_path):
    case = networks.Case("mnist", "mlp", 0.25, 64, 200)
    methods = ("sam", "bayes_dropout", "committee", "bn_recalibrate")
    figures = speed.steps(CPU, None, (case,), methods, 1, Monitor(quiet=True))
    speed.write_steps(figures, tmp_path)
    assert json.loads((tmp_path / "steps.json").read_text()) == figures
    (costs,) = figures["networks"]
    assert list(costs["methods"]) == ["nominal", "sam", "bayes_dropout"] and costs["batch_size"] == 64
    assert costs["methods"]["nominal"]["x_nominal"] == 1
    for cost in costs["methods"].values():
        assert cost["x_nominal"] == pytest.approx(cost["step_ms"] / costs["methods"]["nominal"]["step_ms"])
    assert [bool(cost["beside"]) for cost in costs["methods"].values()] == [False, False, True]
    assert set(costs["without_steps"]) == {"committee", "bn_recalibrate"}
    shown = (tmp_path / "STEPS.md").read_text()
    for word in ("mlp x0.25, mnist, batch 64", "x nominal", "no BatchNorm", steps.NO_STEPS, steps.SEARCHES):
        assert word in shown
    assert "| nominal |" in shown and f"| {costs['methods']['sam']['x_nominal']:.2f} |" in shown


def test_a_network_that_is_not_timed_is_one_line(cli, tmp_path):
    ended = cli("speed", "--network", "alexnet", "--results", tmp_path)
    assert ended.code == 2 and "network 'alexnet': must begin like one of vgg8_mtrd" in ended.err


def mlp_and_data(cache):
    task = plan.task_of("mnist")
    return task.network("mlp"), task, task.splits(cache)


def test_plain_layers_without_noise_are_the_network_and_with_it_are_not(cache):
    network, task, splits = mlp_and_data(cache)
    x = task.prepare(splits.test.inputs[:8])
    assert torch.equal(noisy(network, 0.0)(x), network(x))
    loud = noisy(network, 0.3)
    assert not torch.allclose(loud(x), network(x)) and not torch.allclose(loud(x), loud(x))


def test_plain_training_learns(cache):
    network, task, splits = mlp_and_data(cache)
    trainer = Trainer(network, task, splits.train.head(64), 0.1)
    before = task.loss(trainer.network(trainer.inputs), trainer.targets).item()
    for _ in range(30):
        trainer.step()
    assert task.loss(trainer.network(trainer.inputs), trainer.targets).item() < 0.7 * before


def test_time_is_put_down_to_the_operator_that_took_it():
    x = torch.randn(800, 800, requires_grad=True)
    with profile.Clock(CPU) as clock:
        (x @ x).sum().backward()
    assert max(clock.seconds, key=clock.seconds.__getitem__) == "products"
    assert clock.seconds["BatchNorm"] == clock.seconds["pooling, ReLU"] == clock.seconds["random numbers"] == 0
    with profile.Clock(CPU) as clock:
        torch.randn(1_000_000)
    assert max(clock.seconds, key=clock.seconds.__getitem__) == "random numbers"


def test_a_profile_is_of_steps_and_sweeps_and_is_shown(home):
    case = networks.Case("mnist", "mlp", 0.25, 64, 200)
    figures = speed.profiles(CPU, None, (case,), Monitor(quiet=True))
    step, sweep = figures["work"]
    for row in (step, sweep):
        assert sum(row["shares"].values()) == pytest.approx(1) and row["products_gflops"] > 0
        assert all(0 <= share < 1 for share in row["shares"].values())
        assert row["shares"]["random numbers"] > 0 and row["shares"]["BatchNorm"] == 0
    shown = tables.profile_markdown(figures)
    assert "| mlp x0.25, mnist | sweep |" in shown and f"{100 * step['shares']['products']:.0f}%" in shown


@pytest.mark.parametrize(
    "operator, kind",
    [
        ("mkldnn_convolution.default", "products"),
        ("convolution_backward.default", "products"),
        ("conv2d.default", "products"),
        ("matmul.default", "products"),
        ("native_batch_norm_backward.default", "BatchNorm"),
        ("max_pool2d_with_indices.default", "pooling, ReLU"),
        ("_log_softmax.default", profile.REST),
        ("normal_.default", "random numbers"),
        ("_to_copy.default", "copies, casts"),
        ("add_.Tensor", "sums, factors"),
    ],
)
def test_every_operator_has_one_kind(operator, kind):
    assert profile.kind_of(operator) == kind


@pytest.mark.parametrize("loading", [False, True])
def test_a_plain_chip_without_noise_scores_as_ours(cache, loading):
    network, task, splits = mlp_and_data(cache)
    test = splits.test.head(300)
    expected = Rig(network, task.analog(network), task, test, "fp32").measure()[0]
    assert Sweeper(network, task, test, 0.0).chip(loading) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "shift, spread, settled", [(1.0, 0.5, True), (0.0, 0.01, True), (0.0, 2.0, False), (0.5, 2.0, False)]
)
def test_a_pair_is_settled_when_apart_or_surely_equal(shift, spread, settled):
    luck = torch.randn(20, generator=torch.Generator().manual_seed(1)).mul(5)
    own = torch.randn(20, generator=torch.Generator().manual_seed(2)).mul(spread)
    a, b = (luck + shift + own).tolist(), luck.tolist()
    assert decision._settled(a, b, 0.05 / 24) is settled


def test_a_straight_line_is_found():
    found = growth._line([1, 2, 3, 4], [5.0, 7.0, 9.0, 11.0])
    assert (found["slope"], found["intercept"], found["r2"]) == pytest.approx((2, 3, 1))
