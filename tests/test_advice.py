"""Which method when: what is said of constructed records."""

import copy
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench import markdown, terminal
from bench.advice import advise, measured_by, relative, sentences, tied
from bench.columns import notes, to_best
from bench.keys import key_of
from bench.reading import read_record
from bench.store import Records
from bench.summary import summary

REAL = read_record(next((Path(__file__).parent.parent / "results" / "records").glob("cifar10-rram-mtrd-*.json")))
COSTS = {
    "nominal": (1000, 0),
    "noise_injection": (300, 1000),
    "mtrd": (1200, 2500),
    "sam": (600, 1000),
    "bn_recalibrate": (1, 1300),
    "committee": (0, 1300),
}
ADAPTS = {"adaptation": {"samples_a_chip": 1000, "forward_passes": 40_000}}


def made(method: str, score: float, seed: int = 0, **change) -> dict:
    """A record of 10 chips at the top level whose mean is about `score`; luck of chips is shared."""
    record = copy.deepcopy(REAL)
    luck = np.random.default_rng(0).standard_normal(10)
    own = np.random.default_rng(sum(map(ord, method)) + 31 * seed).standard_normal(10)
    chips = score + 2 * luck + 0.3 * (own - own.mean())
    top = {"level": 0.5, "chips": chips.tolist(), "first_stage": 10, "ekl": 0.1, "samples": None}
    record["levels"] = [{"level": 0.0, "chips": [90.0], "first_stage": 1, "ekl": 0.0, "samples": None}, top]
    e = record["evaluation"]
    e["levels"] = [0.0, 0.5]
    e["training"] |= {"method": method, "seed": seed, "method_version": "1"}
    own_cost, others = COSTS[method]
    spent = {"forward_passes": own_cost, "backward_passes": own_cost, "samples": own_cost, "epochs": 1, "seconds": 5.0}
    record["cost"] = spent | {f"teacher_{name}": others for name in spent} | change.pop("cost", {})
    e |= {name: change.pop(name) for name in list(change) if name in e}
    key = f"{sum(map(ord, json.dumps(e))) * 7919 % 16**8:08x}{seed:08x}"
    command = f"bench run --method {method} --device rram --task cifar10 --seed {seed}"
    return record | {"key": key, "command": command} | change


def said(*records: dict) -> list[str]:
    (group,) = summary(records)
    return sentences(advise(group))


def printed(records: list[dict], width: int = 160) -> str:
    out = io.StringIO()
    terminal.advice(records, Console(file=out, width=width))
    return out.getvalue()


def test_of_tied_methods_the_cheapest_is_advised():
    use, sure, seeds = said(made("nominal", 60), made("noise_injection", 80), made("mtrd", 80.1))
    assert use == "use noise_injection: tied with mtrd, at 0.35 of the cost (1.3 times nominal's)"
    assert sure.startswith("how sure: mtrd has the best score, noise_injection is 0.05 ± ")
    assert "points worse, p " in sure and sure.endswith("a tie is no proof of equality")
    assert "one training seed (0), 10 chips a level" in seeds and "--seed 0-4" in seeds


def test_what_is_worse_by_its_own_interval_is_not_advised_for_being_cheap():
    """Holm's correction can't tell nominal from the first, though it is twenty points below."""
    (group,) = summary([made("nominal", 60), made("noise_injection", 80), made("mtrd", 80.1)])
    rows = [
        row if row.label != "nominal" else replace(row, rank=1, to_best=row.to_best._replace(p=0.07))
        for row in group.rows
    ]
    advice = advise(replace(group, rows=tuple(rows)))
    assert advice.use.label == "noise_injection" and [row.label for row in advice.doubtful] == ["nominal"]
    *_, left_out = sentences(advice)
    little = [row if row.label == "mtrd" else replace(row, to_best=row.to_best._replace(mean=-0.9)) for row in rows]
    assert not advise(replace(group, rows=tuple(little))).doubtful  # not even a point below
    assert left_out == (
        "of the first rank, but worse by more than 1 point and by their own intervals, so not advised: nominal"
    )


def test_a_method_that_beats_all_is_advised_whatever_it_costs():
    use, sure, _ = said(made("nominal", 60), made("noise_injection", 80), made("mtrd", 84))
    assert use == "use mtrd: better than each of the 2 others; it costs 3.7 times nominal's"
    assert sure.startswith("how sure: p <.001, corrected by Holm; the next, noise_injection, is 2.00 ± ")
    assert sure.endswith("points worse at 0.35 of the cost")


def test_a_better_score_from_more_chips_is_not_called_a_difference():
    """mtrd's score has ten more chips at the top level, where it was lucky; on the chips that both met it is behind."""
    lucky = made("mtrd", 80)
    top = lucky["levels"][-1]
    top["chips"] = [*top["chips"], *(chip + 5 for chip in top["chips"])]
    _, sure, _ = said(made("nominal", 60), made("noise_injection", 80.02), lucky)
    assert sure.startswith("how sure: mtrd has the best score, noise_injection is 0.01 ± ")
    assert "points better on the chips that both met, p " in sure


def test_of_equal_costs_the_better_score_is_advised():
    alike = {"cost": {"teacher_forward_passes": 980, "teacher_backward_passes": 980}}
    first = made("noise_injection", 80.1)
    use, *_ = said(first, made("sam", 80, **{"cost": {"forward_passes": 300, "backward_passes": 300} | alike["cost"]}))
    assert use == "use noise_injection: tied with sam, at the same cost"


def test_of_equal_costs_what_asks_less_of_a_chip_in_use_is_advised():
    rows = [made("nominal", 60, analog_weights=7), made("noise_injection", 80, analog_weights=7)]
    adapting = made("bn_recalibrate", 80.05, **ADAPTS, analog_weights=7)
    use, *_ = said(*rows, adapting)
    adapts = "bn_recalibrate (each chip adapts to 1,000 samples first)"
    assert use == f"use noise_injection: tied with {adapts}, at the same cost (1.3 times nominal's)"
    five = made("committee", 80.1, analog_weights=35)
    use, *_ = said(*rows, five)
    assert use == "use noise_injection: tied with committee (5 times the cells), at the same cost (1.3 times nominal's)"
    use, *_ = said(rows[0], adapting, five)
    assert use.startswith(f"use {adapts}: tied with committee (5 times the cells), at the same cost")
    table = printed([*rows, adapting, five])
    assert "samples a chip" in table and "5x" in table and "cells" not in printed(rows)


def test_what_a_chip_in_use_takes_is_named_where_it_is_best_or_next():
    both = made("bn_recalibrate", 84, **ADAPTS, analog_weights=35)
    use, sure, _ = said(made("nominal", 60, analog_weights=7), both)
    named = "bn_recalibrate (5 times the cells, each chip adapts to 1,000 samples first)"
    assert use == f"use {named}: better than the other method; it costs 1.3 times nominal's"
    _, sure, _ = said(made("nominal", 60, analog_weights=7), both, made("mtrd", 88, analog_weights=7))
    assert f"; the next, {named}, is 2.00 ± " in sure


def test_older_records_count_as_one_network():
    use, *_ = said(made("nominal", 60), made("noise_injection", 80), made("committee", 80.1))
    assert use.startswith("use committee: tied with noise_injection, at the same cost")


def test_lower_is_better_turns_it_round():
    lower = {"task": REAL["task"] | {"higher_is_better": False, "unit": "perplexity"}}
    use, sure, _ = said(made("nominal", 20, **lower), made("mtrd", 40, **lower))
    assert use == "use nominal: better than the other method"
    assert "the next, mtrd, is 10.00 ± " in sure and "perplexity worse at 3.7 times the cost" in sure


def test_seeds_are_in_the_interval_where_there_are_several():
    records = [
        made(method, score + 0.01 * seed, seed)
        for method, score in (("nominal", 60), ("mtrd", 80))
        for seed in range(3)
    ]
    *_, seeds = said(*records)
    assert seeds == "3 training seeds, 10 chips a level: training luck is in the intervals"


def test_rows_without_a_common_training_seed_are_not_comparable():
    rows = [made("nominal", 60, 1), made("mtrd", 81, 1), made("noise_injection", 80, 0)]
    use, _, seeds, apart = said(*rows)
    assert use == "use mtrd: better than the other method; it costs 3.7 times nominal's"
    assert seeds.startswith("one training seed (1), ")
    assert apart == "not comparable: no training seed in common with mtrd: noise_injection"
    assert "tied with" not in printed(rows)


def test_a_best_row_that_shares_no_training_seed_is_no_advice():
    (line,) = said(made("nominal", 60), made("noise_injection", 80), made("mtrd", 81, seed=1))
    assert line == (
        "not comparable: no training seed in common: mtrd, which has the best score, and noise_injection and nominal; "
        "run them with the same --seed"
    )
    text = printed([made("nominal", 60), made("mtrd", 81, seed=1)])
    assert "not comparable: no training seed in common: mtrd, which has the best score, and nominal" in text
    assert "use " not in text and "± ?" not in text


def test_a_difference_on_a_part_of_the_training_seeds_names_them():
    scores = {"mtrd": (79.9, 79.8, 82), "noise_injection": (80.1, 80.2)}
    rows = [made(method, score, seed) for method in scores for seed, score in enumerate(scores[method])]
    use, sure, seeds = said(*rows)
    assert use.startswith("use noise_injection: tied with mtrd")
    assert "noise_injection is 0.15 ± " in sure and "better (on training seeds 0 and 1, which both have), p " in sure
    assert seeds.startswith("2 training seeds, ")
    _, sure, seeds = said(*rows[:3], rows[3])
    assert "worse (on training seed 0, which both have) at 2.8 times the cost" in sure
    assert seeds.startswith("one training seed (0), ")


def test_every_mixture_of_training_seeds_is_told():
    """Whatever was compared with what: no difference of rows that share no seed, and each ranked row has its place."""
    draw = np.random.default_rng(1)
    for _ in range(40):
        records = [
            made(method, 80 + draw.normal(0, 0.3), int(seed))
            for method in ("nominal", "noise_injection", "mtrd", "sam")
            for seed in draw.choice(3, draw.integers(1, 4), replace=False)
        ]
        text = "\n".join(said(*records))
        assert "?" not in text and "nan" not in text
        assert "better, p" not in text, "without saying on which seeds"
        if "not comparable" in text:
            assert "no training seed in common" in text


def test_what_cannot_be_judged_is_said():
    assert said(made("mtrd", 80)) == ["only mtrd has been run here: there is nothing to compare it with"]
    broken = {"status": "failed", "error": "out of memory", "clean": None, "levels": []}
    assert said(made("mtrd", 80) | broken) == [
        "nothing to advise: no method here has finished with chips that can be compared"
    ]
    *_, left_out = said(made("mtrd", 80), made("nominal", 60), made("sam", 70) | broken)
    assert left_out == "not judged, since they failed or have one chip: sam"


def test_costs_are_relative_to_nominal_own_and_in_all():
    (group,) = summary([made("nominal", 80), made("noise_injection", 80.1), made("mtrd", 80.2)])
    found = advise(group)
    assert [row.label for row in found.choices] == ["nominal", "noise_injection", "mtrd"]
    assert [relative(row, found, "") for row in found.choices] == pytest.approx([1, 0.3, 1.2])
    assert [relative(row, found, "total_") for row in found.choices] == pytest.approx([1, 1.3, 3.7])
    shown = {name: show(found.choices[2]) for name, show in tied(found)}
    assert (shown["own cost"], shown["total cost"], shown["seeds"], shown["chips"]) == ("1.20x", "3.70x", "0", "10")
    assert found.measure == "passes" and measured_by(found).startswith("cost: forward-backward passes")


def test_older_records_are_held_against_each_other_by_what_all_of_them_counted():
    old = made("mtrd", 80)
    for name in ("backward_passes", "teacher_backward_passes"):
        del old["cost"][name]
    (group,) = summary([old, made("nominal", 60)])
    assert advise(group).measure == "forward_passes"


def test_it_is_printed_and_in_the_leaderboard():
    records = [made("nominal", 60), made("noise_injection", 80), made("mtrd", 80.1)]
    text = printed(records)
    for words in ("standard · cifar10 v2 · vgg8_mtrd · rram", "use noise_injection: tied with mtrd", "3.70x"):
        assert words in text
    assert "bench run --method noise_injection --device rram" in text
    assert "\nuse noise_injection: tied with mtrd" in markdown.leaderboard(summary(records))
    assert "use noise_injection" in printed(records, width=60)


def test_tables_are_apart_by_device_and_budget():
    other = {"preset": "standard matched 13 epochs"}
    records = [made("nominal", 60), made("mtrd", 80), made("nominal", 60, **other), made("mtrd", 59.9, **other)]
    text = printed(records)
    assert text.count("use ") == 2 and "standard matched 13 epochs" in text


def test_from_the_command_line(cli, tmp_path):
    ended = cli("report", "--advise", "--results", tmp_path)
    assert ended.code == 2 and len(ended.err.strip().splitlines()) == 1 and "no records in" in ended.err
    (tmp_path / "records").mkdir()
    ended = cli("report", "--advise", "--results", tmp_path)
    assert ended.code == 0 and "no records yet" in ended.out
    for record in (made("nominal", 60), made("mtrd", 80)):
        Records(tmp_path).save(record | {"key": key_of(record["evaluation"])})
    ended = cli("report", "--advise", "--results", tmp_path)
    assert ended.code == 0 and "use mtrd: better than the other method" in ended.out
    assert "use mtrd" in (tmp_path / "LEADERBOARD.md").read_text()


def test_a_row_of_one_seed_marks_itself_and_no_other():
    several = [
        made(m, score, s) for m, score in (("mtrd", 80.2), ("noise_injection", 80), ("nominal", 60)) for s in (0, 1, 2)
    ]
    (group,) = summary([*several, made("sam", 50)])
    marks = {row.label: (row.conditional, to_best(row).endswith("†")) for row in group.rows}
    assert marks == {
        "mtrd": (False, False),
        "noise_injection": (False, False),
        "nominal": (False, False),
        "sam": (True, True),
    }
    *_, seeds = sentences(advise(group))
    usual = "3 training seeds, 10 chips a level: training luck is in the intervals"
    assert seeds == f"{usual}, but not in those of sam: one training seed in common"
    assert said(*several)[-1] == usual
    assert any("† rank or difference conditional on seed 0:" in note for note in notes(group))
    (none,) = summary(several)
    assert not any("†" in note for note in notes(none))


def test_a_rank_that_counts_a_better_row_of_one_seed_rests_on_that_seed():
    several = [made(m, score, s) for m, score in (("noise_injection", 80), ("nominal", 60)) for s in (0, 1, 2)]
    (group,) = summary([*several, made("sam", 95)])
    ranks = {row.label: (row.rank, row.conditional) for row in group.rows}
    assert ranks["sam"] == (1, True) and ranks["noise_injection"] == (2, True)
