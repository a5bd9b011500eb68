"""Tables, plots and files made from constructed records."""

import copy
import io
import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.text import Text
from rich.console import Console

from bench import columns, comparison, labels, leaderboard, markdown, published, stats, terminal
from bench.errors import BenchError
from bench.frame import table
from bench.groups import side_by_side
from bench.keys import key_of
from bench.plots import metric_over_sweep, save
from bench.power_plots import error_over_power, power_points
from bench.score_plots import ties
from bench.store import Records
from bench.summary import summary

LEVELS = (0.0, 0.1, 0.2)
# fmt: off
COLUMNS = [
    "task", "dataset", "model", "width", "device", "method", "train_device", "train_level", "settings", "preset",
    "seed", "level", "metric", "mean", "ci_low", "ci_high", "std", "p5", "worst", "yield", "chips", "key",
]
# fmt: on
BUDGET = {"epochs": 5, "finetune_epochs": 2, "batch_size": 256, "lr": 0.1, "train_samples": None}


TRAINING = {
    "task": "cifar10",
    "task_version": "1",
    "network": "vgg8",
    "width": 0.5,
    "method_version": "1",
    "settings": {},
    "device": "rram",
    "device_version": "1",
    "level": 0.1,
    "time_s": None,
    "budget": BUDGET,
    "precision": "bf16",
    "recipe": "1",
    "seed": 0,
}
EVALUATION = {
    "device": "rram",
    "device_version": "1",
    "time_s": None,
    "levels": list(LEVELS),
    "chips": {"minimum": 10, "maximum": 20, "half_width": 0.5},
    "preset": "quick",
    "test_samples": None,
}
TASK = {"name": "cifar10", "dataset": "CIFAR-10", "metric": "accuracy", "unit": "%", "higher_is_better": True}


def record(method: str, drop: float = 10.0, **change) -> dict:
    """A finished cell: 90 at level 0, `drop` less per 0.1, chip luck shared by all methods.

    Keywords change a field of the evaluation, the training or the task, whichever has it.
    """
    own = np.random.default_rng(sum(map(ord, method)) + 31 * change.get("seed", 0)).standard_normal((3, 20))
    task = TASK | {"higher_is_better": change.pop("higher_is_better", True)}
    train = change.pop("train", {})
    training = TRAINING | {"method": method} | train
    training |= {k: change.pop(k) for k in list(change) if k in training and k not in EVALUATION}
    evaluation = EVALUATION | {k: change.pop(k) for k in list(change) if k in EVALUATION}
    levels = swept(-drop if task["higher_is_better"] else drop, own)
    seed = training["seed"]
    key = key_of({"training": training, **evaluation})
    made = {
        "schema": 1,
        "key": key,
        "status": "done",
        "error": None,
        "evaluation": {"training": training, **evaluation},
        "training_key": "0" * 16,
        "task": task,
        "axis": {"name": "sigma", "unit": "std of ln w"},
        "clean": 90.5,
        "levels": [level for level in levels if level["level"] in evaluation["levels"]],
        "cost": {"epochs": 7, "samples": 350000, "seconds": 60.0, "teacher_samples": 0, "teacher_seconds": 0.0},
        "sweep_seconds": 10.0,
        "environment": {"commit": "abc", "created": "2030-01-01T00:00:00Z"},
        "command": f"bench run --method {method} --device {evaluation['device']} --task cifar10 --seed {seed}",
    }
    return copy.deepcopy(made | change)


def swept(change: float, own: np.ndarray) -> list[dict]:
    """90 at level 0, `change` more at each that follows; own: (3, 20), the method's luck."""
    luck = np.random.default_rng(7).standard_normal(20)
    levels = [{"level": 0.0, "chips": [90.0], "first_stage": 1, "ekl": 0.0, "samples": None}]
    for i in (1, 2):
        chips = 90 + change * i + 0.5 * luck + 0.1 * own[i]
        levels.append(levels[0] | {"level": LEVELS[i], "chips": chips.tolist(), "first_stage": 10, "ekl": 0.01 * i})
    return levels


def failed(method: str, error: str = "out of memory", **change) -> dict:
    """A cell that broke."""
    return record(method, **change) | {"status": "failed", "error": error, "clean": None, "levels": []}


def store(folder: Path, records: list[dict]) -> Path:
    """Write records as the bench does."""
    (folder / "records").mkdir(parents=True, exist_ok=True)
    for r in records:
        t = r["evaluation"]["training"]
        name = f"{t['task']}-{r['evaluation']['device']}-m-s{t['seed']}-{r['key']}.json"
        (folder / "records" / name).write_text(json.dumps(r))
    return folder


def rank_of(group) -> dict[str, str]:
    return {row.label: columns.rank(row) for row in group.rows}


def printed(records: list[dict], width: int = 200) -> str:
    out = io.StringIO()
    terminal.render(records, Console(file=out, width=width))
    return out.getvalue()


def test_csv_has_the_agreed_columns_and_a_row_a_level():
    frame = table([record("nominal", settings={"lr": 0.1, "a": True})])
    assert list(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert list(frame["level"]) == list(LEVELS)
    top = frame.iloc[2]
    chips = np.array(record("nominal")["levels"][2]["chips"])
    assert top["settings"] == '{"a": true, "lr": 0.1}'
    assert top["mean"] == pytest.approx(chips.mean())
    assert top["std"] == pytest.approx(chips.std(ddof=1))
    assert top["chips"] == 20
    assert top["worst"] == chips[:10].min()
    assert top["p5"] == pytest.approx(np.percentile(chips[:10], 5))
    assert top["yield"] == 0.0
    assert top["ci_high"] - top["mean"] == pytest.approx(2.262157 * chips[:10].std(ddof=1) / 20**0.5, rel=1e-6)
    zero = frame.iloc[0]
    assert zero["ci_low"] == zero["ci_high"] == 90.0
    assert zero["std"] == 0
    assert zero["yield"] == 1.0


def with_device_settings(made: dict, test: dict, train: dict) -> dict:
    """A record made with these settings of the test and of the training device."""
    made["evaluation"]["device_settings"] = test
    made["evaluation"]["training"]["device_settings"] = train
    return made


def test_device_settings_are_shown_and_never_ranked_together():
    plain = record("ni")
    both = with_device_settings(record("ni"), {"stuck_on": 0.01}, {"stuck_on": 0.01})
    test_alone = with_device_settings(record("mtrd"), {"stuck_on": 0.01}, {})
    nominal = with_device_settings(record("nominal", device="rram", train={"device": "ideal"}), {"stuck_on": 0.01}, {})
    groups = summary([plain, both, test_alone, nominal])
    assert [len(g.rows) for g in groups] == [1, 3]
    assert groups[1].device == "rram stuck_on=0.01" and groups[1].slug != groups[0].slug
    labels = {row.label for row in groups[1].rows}
    assert labels == {"ni", "mtrd (trained on rram)", "nominal"}
    settings = [json.loads(table([r])["settings"][0]) for r in (plain, both, test_alone, nominal)]
    assert settings == [{}, *[{"device.stuck_on": 0.01}] * 3]
    other = with_device_settings(record("ni"), {"a": 1}, {"a": 2})
    assert json.loads(table([other])["settings"][0]) == {"device.a": 1, "train_device.a": 2}
    assert summary([other])[0].rows[0].label == "ni (trained on rram a=2)"


def test_one_chip_with_stuck_cells_says_nothing_of_its_spread_even_at_level_0():
    one = record("ni", chips={"minimum": 1, "maximum": 1, "half_width": None})
    one["levels"] = [level | {"chips": level["chips"][:1], "first_stage": 1} for level in one["levels"]]
    stuck = with_device_settings(copy.deepcopy(one), {"stuck_off": 0.1}, {"stuck_off": 0.1})
    found = [summary([r])[0].rows[0].points[0.0] for r in (one, stuck)]
    assert [math.isnan(interval.high) for interval in found] == [False, True]


def test_ranks_are_by_score_and_equal_methods_share_one():
    twin = record("b_twin", 5.0)
    for level, other in zip(twin["levels"], record("a_twin", 5.0)["levels"], strict=True):
        # The same chips, but for noise whose mean is 0.
        noise = np.tile([0.1, -0.1], 10)[: len(other["chips"])] if len(other["chips"]) > 1 else 0.0
        level["chips"] = (np.array(other["chips"]) + noise).tolist()
    (group,) = summary([record("worst", 20.0), record("a_twin", 5.0), twin, record("best", 1.0)])
    assert rank_of(group) == {"best": "1†", "a_twin": "2=†", "b_twin": "2=†", "worst": "4†"}
    assert [row.label for row in group.rows][0] == "best"
    assert group.rows[0].score.mean == pytest.approx(np.mean([r.mean for r in group.rows[0].points.values()]))


def test_the_difference_to_the_best_row_is_paired_and_corrected_for_all_pairs():
    records = [record("best", 1.0), record("near", 1.05), record("worst", 20.0)]
    (group,) = summary(records)
    best, near, worst = group.rows
    chips = [np.mean([level["chips"] * (20 // len(level["chips"])) for level in r["levels"]], axis=0) for r in records]
    d = chips[1] - chips[0]
    half = 2.262157 * d[:10].std(ddof=1) / 20**0.5
    assert best.to_best is None and worst.to_best.mean == pytest.approx((chips[2] - chips[0]).mean())
    assert near.to_best.mean == pytest.approx(d.mean()) and near.to_best.high - d.mean() == pytest.approx(half, 1e-5)
    assert (near.to_best.p <= 0.05) == (near.rank > 1)
    text = markdown.leaderboard([group])
    assert f"| {d.mean():+.2f} ± {half:.2f}† | " in text and "| — | — |" in text and columns.BEST[:30] in text
    assert "to best" not in " ".join(columns.notes(summary(records[:1])[0]))
    nothing_paired = summary([record("a"), record("b", 9.0, seed=1)])[0]
    assert "| — | 1 |" in markdown.leaderboard([nothing_paired])


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_in_the_terminal_is_cut(width):
    """A dozen levels and long names: all figures of the wide table are in the narrow one, and no line is too long."""
    long = record("a_method_of_a_very_long_name", 1.0, settings={"straight_through": True})
    records = [long, record("b", 9.0, settings={"clip_w": 2})]
    for made in records:
        made["levels"] += [made["levels"][2] | {"level": 0.01 * i} for i in range(21, 30)]
        made["evaluation"]["levels"] = [level["level"] for level in made["levels"]]
    text = printed(records, width)
    assert "…" not in text
    (group,) = summary(records)
    for table_ in columns.tables(group, "\n"):
        for name, show in table_:
            for cell in (name, *map(show, group.rows)):
                assert all(word in text for word in cell.split() if len(word) < 24), cell
    shown = [line for line in text.splitlines() if "bench run" not in line]
    assert max(map(len, shown)) <= width


def test_lower_is_better_turns_everything_round():
    frame = table([record("nominal", higher_is_better=False)])
    chips = record("nominal", higher_is_better=False)["levels"][2]["chips"]
    assert frame.iloc[2]["worst"] == max(chips[:10])
    assert frame.iloc[2]["p5"] == pytest.approx(np.percentile(chips[:10], 95))
    assert list(frame["yield"]) == [1.0, 0.0, 0.0]
    (group,) = summary([record("a", 10.0, higher_is_better=False), record("b", 1.0, higher_is_better=False)])
    assert rank_of(group) == {"b": "1†", "a": "2†"}


def test_a_metric_without_a_unit_is_named_alone():
    records = [with_power(record(m, higher_is_better=False), 1e-3, 2e-3, 3e-3) for m in "ab"]
    for made in records:
        made["task"] |= {"metric": "perplexity", "unit": "", "yield_loss": 20.0}
    (group,) = summary(records)
    said = columns.notes(group)
    assert said[0].startswith("perplexity, lower is better; score: ")
    assert any("yield: chips at most 20 worse than" in line for line in said)
    assert metric_over_sweep(group).axes[0].get_ylabel() == "perplexity"
    assert metric_over_sweep(group).axes[0].get_yscale() == "linear"
    assert error_over_power(group).axes[0].get_ylabel() == "perplexity"


def test_a_metric_that_explodes_has_a_logarithmic_axis():
    records = [with_power(record(m, higher_is_better=False), 1e-3, 2e-3, 3e-3) for m in "ab"]
    for made in records:
        made["levels"][-1]["chips"] = [1e4 * value for value in made["levels"][-1]["chips"]]
    (group,) = summary(records)
    assert metric_over_sweep(group).axes[0].get_yscale() == error_over_power(group).axes[0].get_yscale() == "log"


def ideal(method: str, score: float, seed: int = 0) -> dict:
    """A cell on a device whose chips can't differ."""
    made = record(method, device="ideal", train={"device": "ideal"}, levels=[0.0], seed=seed)
    made["axis"] = {"name": "none", "unit": ""}
    made["levels"][0]["chips"] = [score]
    return made


def test_without_chips_that_differ_one_seed_ranks_nobody():
    records = [ideal("a", 99.01), ideal("b", 99.0), ideal("c", 98.99)]
    (group,) = summary(records)
    assert rank_of(group) == {"a": "1=†", "b": "1=†", "c": "1=†"}
    assert [row.label for row in group.rows] == ["a", "b", "c"]
    first, _, _, tails, *_, why = columns.notes(group)
    assert "score: mean over none at 0;" in first
    assert "of the first chip;" in tails
    assert why.startswith("Chips differ at no level")
    (group,) = summary([record("a"), record("b")])
    assert not [note for note in columns.notes(group) if "differ at no level" in note]


def test_without_chips_that_differ_seeds_still_rank():
    records = [ideal(m, score + 0.1 * s, s) for m, score in (("a", 90.0), ("b", 80.0)) for s in (0, 1, 2)]
    for r in records[3:]:
        r["levels"][0]["chips"][0] += 0.03 * r["evaluation"]["training"]["seed"]
    (group,) = summary(records)
    assert rank_of(group) == {"a": "1", "b": "2"}
    assert not [note for note in columns.notes(group) if "differ at no level" in note]


def test_several_seeds_are_one_row_and_not_conditional():
    records = [record(m, drop, seed=s) for m, drop in (("a", 5.0), ("b", 9.0)) for s in (0, 1, 2)]
    (group,) = summary(records)
    assert rank_of(group) == {"a": "1", "b": "2"}
    assert group.rows[0].seeds == (0, 1, 2)
    means = [np.mean(r["levels"][2]["chips"]) for r in records[:3]]
    assert group.rows[0].points[0.2].mean == pytest.approx(np.mean(means))
    expected = stats.seeds_interval([r["levels"][2]["chips"] for r in records[:3]], 10)
    assert group.rows[0].points[0.2] == expected
    assert expected.high - expected.mean >= 4.302653 * np.std(means, ddof=1) / 3**0.5
    assert group.rows[0].command.endswith("--seed 0,1,2")


def test_presets_devices_times_versions_and_subsets_are_never_ranked_together():
    variants = [{}, {"preset": "standard"}, {"device": "pcm"}, {"time_s": 10.0}, {"device_version": "2"}]
    variants += [{"width": 1.0}, {"test_samples": 500}, {"task_version": "2"}, {"time_s": 86_400.0}]
    records = [record("m", **v) for v in variants]
    groups = summary(records)
    assert len(groups) == len(variants)
    assert {g.device for g in groups if " at " in g.device} == {"rram at 10 s", "rram at 1 d"}
    assert len({g.slug for g in groups}) == len({g.title for g in groups}) == len(variants)
    assert all(list(rank_of(g).values()) == ["1†"] for g in groups)


def test_variants_are_separate_rows_with_different_names():
    records = [
        record("ni"),
        record("ni", settings={"clip_w": 2}),
        record("ni", train={"level": 0.2}),
        record("ni", budget=BUDGET | {"epochs": 50}),
        record("ni", train={"recipe": "2"}),
    ]
    (group,) = summary(records)
    names = {row.label for row in group.rows}
    assert len(names) == 5
    assert {"ni clip_w=2", "ni recipe=1 train_level=0.2 epochs=5"} <= names
    assert {row.trained_on for row in group.rows} == {"rram 0.1", "rram 0.2"}


def test_networks_trained_on_other_devices_are_another_table():
    own = [record("ni"), record("mtrd", 5.0), record("nominal", 20.0, train={"device": "ideal"})]
    elsewhere = [record("ni", 1.0, train={"device": "pcm"}), record("ni", 3.0, train={"device": "gaussian"})]
    alone, (first, second) = summary(own), summary(own + elsewhere)
    assert [first] == alone and len(first.rows) == 3
    assert rank_of(second) == {"ni (trained on pcm)": "1†", "ni (trained on gaussian)": "2†"}
    assert {row.trained_on for row in second.rows} == {"pcm 0.1", "gaussian 0.1"}
    assert second.title == f"{first.title}, trained on other devices"
    assert second.slug == f"{first.slug}-trained-elsewhere"
    assert "trained on other devices" in metric_over_sweep(second).axes[0].get_title("left")


def over_time(method: str, drop: float = 1.0, times=(1.0, 3600.0, 86400.0), level: float = 1.0, **change) -> dict:
    """A finished sweep of times on pcm: `drop` less at each."""
    made = record(method, device="pcm", preset="quick*", train={"device": "ideal"}, **change)
    luck = made["levels"][1]["chips"]
    made["evaluation"] |= {"levels": [level], "times_s": list(times), "device_settings": {}}
    entry = made["levels"][1] | {"level": level}
    made["levels"] = [entry | {"time_s": t, "chips": [chip - drop * i for chip in luck]} for i, t in enumerate(times)]
    made["axis"] = {"name": "time", "unit": "s since programming"}
    made["key"] = f"{sum(map(ord, json.dumps([made['evaluation'], drop]))) * 7919 % 16**8:08x}" + "0" * 8
    return made


def test_levels_and_times_are_never_ranked_together():
    levels = record("nominal", device="pcm", train={"device": "ideal"})
    others = [over_time("a", level=2.0), over_time("a", times=(1.0, 3600.0)), over_time("a", 2.0)]
    groups = summary([levels, over_time("b", 1.0), *others])
    assert sorted(len(g.rows) for g in groups) == [1, 1, 1, 2]
    assert len({g.title for g in groups}) == len({g.slug for g in groups}) == 4
    (together,) = [g for g in groups if len(g.rows) == 2]
    assert rank_of(together) == {"b": "1†", "a": "2†"}
    assert together.device == "pcm over time at level 1"
    assert together.points == (1.0, 3600.0, 86400.0) and together.over_time
    first, *_ = columns.notes(together)
    assert "score: mean over time (s since programming) at 1 s, 1 h, 1 d;" in first


def test_a_sweep_of_times_is_shown_by_time():
    made = over_time("nominal")
    frame = table([made])
    assert list(frame["time_s"]) == [1.0, 3600.0, 86400.0] and list(frame["level"]) == [1.0] * 3
    assert set(frame["sweep"]) == {"time"} and set(table([record("a")])["sweep"]) == {"level"}
    assert frame["mean"].diff().dropna().tolist() == pytest.approx([-1.0, -1.0])
    text = printed([made])
    assert "1 s" in text and "p5" in text and "at 1 d" in text
    out = io.StringIO()
    Console(file=out, width=100).print(terminal.sweep_table(made))
    assert re.findall(r"^\s*(1 [shd]) ", out.getvalue(), re.MULTILINE) == ["1 s", "1 h", "1 d"]
    assert "versus time" in markdown.leaderboard(summary([made]))
    lost = made | {"status": "failed", "error": "oh", "clean": None, "levels": []}
    assert list(table([lost])["time_s"]) == [1.0, 3600.0, 86400.0]


def test_times_are_plotted_on_a_logarithmic_axis():
    figure = metric_over_sweep(summary([over_time("a")])[0])
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "time (s since programming)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1 s", "1 h", "1 d"]
    from_zero = metric_over_sweep(summary([over_time("a", times=(0.0, 1.0, 3600.0))])[0])
    assert from_zero.axes[0].get_xscale() == "symlog"


def test_times_with_and_without_compensation_share_a_plot(tmp_path):
    on, off, other = over_time("a"), over_time("a", 5.0), over_time("a", times=(1.0, 3600.0))
    off["evaluation"]["device_settings"] = {"compensation": False}
    off["key"] = "c" * 16
    groups = summary([on, off, other])
    assert [len(g.rows) for g in groups] == [1, 1, 1]
    (both,) = side_by_side(groups)
    assert [row.label for row in both.rows] == ["a", "a compensation=False"]
    assert [row.points[86400.0].mean for row in both.rows] == [
        g.rows[0].points[86400.0].mean for g in groups if len(g.points) == 3
    ]
    assert both.slug not in {g.slug for g in groups}
    assert side_by_side(summary([on, other])) == []
    paths = leaderboard.write(tmp_path, [on, off, other])
    assert f"{both.slug}.png" in {path.name for path in paths}
    assert f"(plots/{both.slug}.png)" in (tmp_path / "LEADERBOARD.md").read_text()


def test_published_figures_are_of_levels_and_of_the_device_itself():
    row = published.TABLES[1]
    settings = {"network": row.network, "width": 1.0, "preset": "paper", "level": row.train_level}
    own = record(row.method, **settings)
    assert published._answers(row, own)
    assert not published._answers(row, record(row.method, **settings, train={"device": "pcm"}))
    timed = copy.deepcopy(own)
    timed["evaluation"]["times_s"] = [1.0]
    assert not published._answers(row, timed)


def test_a_mean_is_the_same_on_every_python():
    """Python's own sum of ten tenths is 1 since 3.12, and a little less before."""
    row = published.TABLES[1]
    tenths = record(row.method)
    (first, *_) = tenths["levels"]
    first["chips"] = [0.1] * 10
    assert published._mean(row, [tenths] * 10, first["level"]) == 0.1
    sample = stats.Sample([0.1] * 10, 10)
    found = comparison._paired(dict.fromkeys(range(2), sample), dict.fromkeys(range(2), sample))
    assert (found.a, found.b) == (0.1, 0.1)


def test_a_failed_cell_is_shown_and_counts_for_nothing():
    records = [record("a"), record("a", seed=1), failed("a", seed=2), failed("b", "disk\nfull"), record("c", 20.0)]
    (group,) = summary(records)
    (alone,) = summary(records[:2])
    a = next(row for row in group.rows if row.label == "a")
    assert a.score == alone.rows[0].score
    assert a.failed == ((2, "out of memory", records[2]["key"]),)
    assert a.keys == (records[0]["key"], records[1]["key"])
    assert rank_of(group)["b"] == "failed"
    assert group.rows[-1].label == "b"
    text = printed(records)
    assert f"b, seed 0: failed: disk full ({records[3]['key']})" in text
    assert f"--seed 0,1  ({records[0]['key']}, {records[1]['key']})" in text
    frame = table(records)
    lost = frame[frame["status"] == "failed"]
    assert len(lost) == 6
    assert lost["mean"].isna().all()
    assert (lost["chips"] == 0).all()


def test_a_failure_goes_away_when_the_seed_is_done():
    (group,) = summary([failed("a", test_samples=None), record("a") | {"key": "f" * 16}])
    assert group.rows[0].failed == ()
    assert group.rows[0].seeds == (0,)


def test_runs_over_other_levels_are_another_table():
    """A score is a mean over levels: nobody else's record may change which, or be compared over others."""
    own = [record("a", preset="quick*"), record("b", 5.0, preset="quick*")]
    few = [record(m, 1.0, preset="quick*", levels=[0.0, 0.1]) for m in ("c", "d", "e")]
    alone, both = summary(own), summary(few + own)
    assert [g.points for g in both] == [LEVELS[:2], LEVELS]
    assert both[1] == alone[0]
    assert rank_of(both[1]) == {"b": "1†", "a": "2†"}
    assert [g.title.rpartition(" · ")[2] for g in both] == ["levels 0, 0.1", "levels 0, 0.1, 0.2"]
    assert len({g.slug for g in both}) == 2 and max(len(g.slug) for g in both) < 60
    frame = table(few)
    assert sorted(set(frame["level"])) == [0.0, 0.1]


def test_one_chip_by_wish_has_no_interval_and_no_rank():
    single = record("a", chips={"minimum": 1, "maximum": 1, "half_width": None})
    single["levels"] = [lv | {"chips": lv["chips"][:1], "first_stage": 1} for lv in single["levels"]]
    (group,) = summary([single])
    assert group.rows[0].rank is None
    assert "± ?" in markdown.leaderboard(summary([single]))
    assert table([single])["ci_low"].isna().tolist() == [False, True, True]


def test_a_broken_record_is_one_warning_and_the_rest_go_on(tmp_path):
    store(tmp_path, [record("good"), record("bad") | {"clean": None}])
    (tmp_path / "records" / "bad\n.json").write_text("{")
    records, warnings = Records(tmp_path).load_all()
    assert [r["evaluation"]["training"]["method"] for r in records] == ["good"]
    assert len(warnings) == 2
    assert all("delete it and run the cell again" in w and "\n" not in w for w in warnings)


def test_other_files_and_newer_records(tmp_path):
    store(tmp_path, [record("good"), record("new", schema=99)])
    (tmp_path / "records" / ".x.tmp.json").write_text("half")
    (tmp_path / "records" / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "records" / "folder.json").mkdir()
    records, warnings = Records(tmp_path).load_all()
    assert len(records) == 1
    assert len(warnings) == 3
    assert any("newer" in w and "update" in w for w in warnings)
    assert Records(tmp_path / "nothing").load_all() == ([], [])


def test_names_cannot_break_the_markdown():
    evil = record("a|b\n<script>\x1b[31m`x`", settings={"k": "v|w"}, error=None)
    evil["command"] = "bench run --method 'a|b' ``` \n# heading"
    text = markdown.leaderboard(summary([evil, failed("c|d", "boom\n## no <b>")]))
    assert "<script>" not in text and "<b>" not in text and "\x1b" not in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Leaderboard",
        "## quick · cifar10 · vgg8 x0.5 · rram",
    ]
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables}) == 3
    assert "[red]" in printed([record("[red]x")])


def test_same_records_in_any_order_give_the_same_bytes(tmp_path):
    records = [record(m, d, seed=s) for m, d in (("a", 5.0), ("b", 9.0)) for s in (0, 1)] + [failed("c")]
    first, second = store(tmp_path / "1", records), store(tmp_path / "2", records[::-1])
    paths = leaderboard.write(first, Records(first).load_all()[0])
    names = {str(path.relative_to(first)) for path in paths}
    plot = "plots/quick-cifar10-vgg8_x0.5-rram"
    tables = {"LEADERBOARD.md", "PUBLISHED.md", "leaderboard.csv", "leaderboard.tex", "report.html"}
    assert names == tables | {f"{plot}.png", f"{plot}.pdf"}
    leaderboard.write(second, list(reversed(Records(second).load_all()[0])))
    for path in paths:
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name
    assert not list(first.rglob("*.tmp*"))


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="can't write to"):
        leaderboard.remake(tmp_path / "file")


def test_an_empty_leaderboard_is_no_error(tmp_path):
    _, _, paths = leaderboard.remake(tmp_path)
    assert "No records yet" in (tmp_path / "LEADERBOARD.md").read_text()
    assert [p.name for p in paths] == [
        "LEADERBOARD.md",
        "leaderboard.csv",
        "PUBLISHED.md",
        "leaderboard.tex",
        "report.html",
    ]
    assert "no records yet" in printed([])


def test_the_terminal_shows_ranks_commands_and_the_sweep():
    text = printed([record("mtrd", 2.0), record("nominal", 9.0)])
    assert "conditional on seed 0" in text
    assert "bench run --method mtrd --device rram --task cifar10 --seed 0" in text
    out = io.StringIO()
    Console(file=out, width=100).print(terminal.sweep_table(record("mtrd", 2.0)))
    assert "clean 90.50" in out.getvalue()
    assert f"key {record('mtrd', 2.0)['key']}" in out.getvalue()
    assert len([line for line in out.getvalue().splitlines() if re.match(r"^\s*0(\.\d)?\s", line)]) == 3


def test_options_come_before_the_comment_of_a_command():
    seeds = [record("mtrd", seed=seed) for seed in (0, 1, 2)]
    seeds[1]["command"] += " --chips 5"
    (group,) = summary(seeds)
    (row,) = group.rows
    said = labels.here(row.command, Path("some where"))
    assert said.endswith("--seed 0 --results 'some where'  # and 2 more like it")


def test_seeds_are_one_command_where_some_name_the_usual_network():
    seeds = [record("mtrd", seed=seed) for seed in (0, 1, 2)]
    seeds[1]["command"] += " --network vgg8 --precision fp32"
    for other in (seeds[0], seeds[2]):
        other["command"] += " --precision fp32"
    assert labels.command(seeds) == (
        "bench run --method mtrd --device rram --task cifar10 --seed 0,1,2 --network vgg8 --precision fp32"
    )
    seeds[1]["command"] = seeds[1]["command"].replace("vgg8", "vgg8_mtrd")
    assert labels.command(seeds).endswith("  # and 2 more like it"), "another network is a difference"


def test_importing_the_tables_imports_no_torch():
    code = "import sys, bench.leaderboard, bench.terminal; print(*{'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_plot_has_a_line_and_a_band_a_method_and_names_its_units():
    (group,) = summary([record("a", 2.0), record("b", 9.0), failed("c"), record("d", 5.0)])
    figure = metric_over_sweep(group)
    (axes,) = figure.axes
    assert len(axes.lines) == 3
    assert len(axes.collections) == 3
    assert axes.get_xlabel() == "sigma (std of ln w)"
    assert axes.get_ylabel() == "accuracy (%)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "d", "b"]
    caption = figure.get_supxlabel()
    assert "20 chips" in caption and "seed 0" in caption and "quick" in caption
    drawn = sorted(tuple(line.get_ydata()) for line in axes.lines)
    expected = sorted(tuple(v.mean for v in row.points.values()) for row in group.rows if row.points)
    assert [pytest.approx(e) for e in expected] == drawn


def test_many_methods_have_a_panel_each_with_their_band_alone(tmp_path):
    """Sixteen bands over each other tell nothing: each is seen alone, beside nominal and the others in grey."""
    (group,) = summary([record("nominal", 20.0), *(record(f"m{i}$_", float(i)) for i in range(12))])
    figure = metric_over_sweep(group)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    names = [axes.get_title("left") for axes in panels]
    assert names == [f"{i}  {row.label}".replace("$", r"\$") for i, row in enumerate(group.rows, 1)]
    styles = set()
    for axes, row in zip(panels, group.rows, strict=True):
        (band,) = axes.collections
        low, high = (np.array([getattr(found, end) for found in row.points.values()]) for end in ("low", "high"))
        bounds = band.get_paths()[0].get_extents()
        assert (bounds.y0, bounds.y1) == (pytest.approx(low.min()), pytest.approx(high.max()))
        *others, own = axes.lines
        assert list(own.get_ydata()) == pytest.approx([found.mean for found in row.points.values()])
        styles.add((own.get_color(), own.get_marker()))
        dark = [line for line in others if line.get_color() != "0.8"]
        assert len(others) - len(dark) == (12 if row.label == "nominal" else 11)
        assert all(list(line.get_ydata()) == list(panels[-1].lines[-1].get_ydata()) for line in dark)
    assert len(styles) == 13 and group.rows[-1].label == "nominal"
    assert {axes.get_ylim() for axes in panels} == {panels[0].get_ylim()}, "one scale"
    assert [axes.get_xlabel() for axes in panels if axes.get_xlabel()] == ["sigma (std of ln w)"]
    said = figure.get_supxlabel()
    assert "20 chips" in said and "grey: all others; thin line in each: nominal" in said
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in panels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    paths = save(figure, tmp_path / "deep" / "x0.5")
    assert [p.name for p in paths] == ["x0.5.png", "x0.5.pdf"]
    assert all(p.stat().st_size > 1000 for p in paths)


def with_power(made: dict, *powers_w: float) -> dict:
    """A record whose cells took so much at each level."""
    for level, power_w in zip(made["levels"], powers_w, strict=True):
        level["read_power_w"] = power_w
    return made


def test_error_over_power_has_a_point_a_method_and_level_over_its_seeds():
    records = [with_power(record("a", seed=seed), 1e-3, 2e-3, 4e-3 + seed) for seed in (0, 1)]
    (group,) = summary([*records, with_power(record("b", 5.0), 0.1, 0.2, 0.3), record("unknown"), failed("c")])
    points = power_points(group)
    assert list(zip(points.method, points.level, strict=True)) == [
        (method, level) for method in "ba" for level in ("0", "0.1", "0.2")
    ]
    one = points[(points.method == "a") & (points.level == "0.2")].iloc[0]
    assert one.power_mw == pytest.approx(504.0), "the mean of 4 and 1,004"
    assert one.error == pytest.approx(100 - np.mean([r["levels"][2]["chips"] for r in records]))
    (row,) = (row for row in group.rows if row.label == "a")
    assert (one.low, one.high) == (100 - row.points[0.2].high, 100 - row.points[0.2].low), "over chips and seeds"

    figure = error_over_power(group)
    (axes,) = figure.axes
    drawn = sorted(tuple(line.get_xydata()[:, 0]) + tuple(line.get_xydata()[:, 1]) for line in axes.lines)
    expected = sorted(tuple(part["power_mw"]) + tuple(part["error"]) for _, part in points.groupby("method"))
    assert drawn == [pytest.approx(line) for line in expected] and len(drawn) == 2
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 2
    large = [tuple(spot) for marks in axes.collections if len(marks.get_facecolors()) for spot in marks.get_offsets()]
    assert len(large) == 2, "the first level of each"
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "100 - accuracy (%)"
    assert axes.get_xlabel() == "read power of all cells (mW)"
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["b", "a"]
    assert "large at 0" in figure.get_supxlabel()


def test_of_many_methods_error_over_power_has_numbered_marks_in_a_panel_a_level():
    """Sixteen methods close together, as on fashion_mnist and rram1t1r: each is found by its number."""
    names = [f"m{i}" for i in range(16)]
    made = [with_power(record(m, 10 + i % 5), *(1e-4 * (1 + 0.02 * i),) * 3) for i, m in enumerate(names)]
    (group,) = summary([*made, record("unknown")])
    figure = error_over_power(group)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    order = [row.label for row in group.rows if row.read_powers]
    assert [text.get_text() for text in legend.get_texts()] == [f"{i}  {m}" for i, m in enumerate(order, 1)]
    points = power_points(group)
    assert len(figure.axes) == 3 and figure.axes[0].get_xscale() == "log"
    for axes, level in zip(figure.axes, group.points, strict=True):
        at_level = points[points.point == level].set_index("method")
        places = {text.get_text(): text.xy for text in axes.texts}
        assert places == {str(i): tuple(at_level.loc[m, ["power_mw", "error"]]) for i, m in enumerate(order, 1)}
        boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line to the mark
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        bars = next(c for c in axes.collections if isinstance(c, LineCollection))
        assert len(bars.get_segments()) == 16
    assert "numbers: methods in the order of their rank" in figure.get_supxlabel()


def test_where_lower_is_better_the_metric_is_the_error():
    records = [with_power(record(m, higher_is_better=False), 1e-3, 2e-3, 0.0) for m in "ab"]
    (group,) = summary(records)
    points = power_points(group)
    assert len(points) == 4, "no power at all has no place on a logarithmic axis"
    assert points.error.iloc[-1] == pytest.approx(np.mean(records[1]["levels"][1]["chips"]))
    assert error_over_power(group).axes[0].get_ylabel() == "accuracy (%)"


def test_error_over_power_is_drawn_where_two_rows_have_power(tmp_path):
    powers = (1e-3, 2e-3, 3e-3)
    stuck, pcm = ({"device": name, "train": {"device": name}} for name in ("stuck", "pcm"))
    both = [with_power(record(m, **stuck), *powers) for m in "ab"]
    single = [with_power(record("a", **pcm), *powers), record("b", **pcm)]
    store(tmp_path, [*both, *single, record("a")])
    _, warnings, paths = leaderboard.remake(tmp_path)
    assert warnings == []
    names = {path.name for path in paths if path.stem.endswith("-power")}
    assert names == {f"quick-cifar10-vgg8_x0.5-stuck-power{suffix}" for suffix in (".png", ".pdf")}
    assert all(path.stat().st_size > 1000 for path in paths)
    page = (tmp_path / "LEADERBOARD.md").read_text()
    assert re.findall(r"!\[error versus power\]\((.*)\)", page) == ["plots/quick-cifar10-vgg8_x0.5-stuck-power.png"]
    pictures = {path: path.read_bytes() for path in paths}
    leaderboard.remake(tmp_path)
    assert {path: path.read_bytes() for path in paths} == pictures


def test_ties_are_drawn_where_three_rows_are_ranked(tmp_path):
    records = [record(m, drop) for m, drop in (("a", 5.0), ("b", 5.02), ("c", 9.0))]
    (group,) = summary(records)
    order = [row.label for row in group.rows]
    assert {*order[:2]} == {"a", "b"} and group.tied == ((0, 1),)
    leaderboard.write(tmp_path, records)
    assert (tmp_path / "plots" / f"{group.ties_slug}.png").exists()
    assert f"(plots/{group.ties_slug}.png)" in (tmp_path / "LEADERBOARD.md").read_text()
    (axes,) = ties(group).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == order
    (alone,) = summary(records[:2])
    assert not alone.has_ties


def test_a_tuned_variant_has_an_open_marker_in_every_figure():
    variants = [record("mtrd"), record("mtrd", 11.0, settings={"alpha": 0.5}), record("hwa", 12.0)]
    (group,) = summary([with_power(made, 0.1, 0.2, 0.3) for made in variants])
    for figure in (metric_over_sweep(group), error_over_power(group)):
        (axes,) = figure.axes
        for lines in (axes.lines, axes.get_legend().get_lines()):
            seen = {(line.get_color(), line.get_marker()): [] for line in lines}
            for line in lines:
                is_open = line.get_markerfacecolor() == "w"
                seen[line.get_color(), line.get_marker()].append((is_open, line.get_linestyle() == "-"))
            assert sorted(map(sorted, seen.values())) == [[(False, True)], [(False, True), (True, False)]]
    faces = [tuple(face) for face in ties(group).axes[0].collections[-1].get_facecolor()]
    assert faces.count((1, 1, 1, 1)) == 1


def test_a_panel_has_no_more_of_a_name_than_a_figure_has_room_for():
    made = [record("nominal", 20.0), *(record(f"m{i}_" + "long " * 400, float(i)) for i in range(10))]
    figure = metric_over_sweep(summary(made)[0])
    assert figure.get_figheight() < 12 and max(len(axes.get_title("left")) for axes in figure.axes) < 330


@pytest.mark.filterwarnings("error")
def test_names_as_long_as_tuning_makes_them_leave_room_for_the_scores(tmp_path):
    tuned = {f"setting_{i}": 0.1234567890123 for i in range(8)}
    (group,) = summary([record("a"), record("b", 11.0), record("c", 12.0, settings=tuned)])
    figure = ties(replace(group, axis="sigma (std of ln w), all alike"))
    save(figure, tmp_path / "ties")
    assert figure.axes[0].get_position().width > 0.3
    figure.draw_without_rendering()
    said = figure.axes[0].xaxis.label.get_window_extent()
    assert said.x0 >= 0 and said.x1 <= figure.bbox.x1, "nothing of what the score is gets cut off"
