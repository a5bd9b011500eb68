"""What the leaderboard says: records gathered into groups that may be compared, ranked within each.

Numbers only; columns.py, frame.py and plots.py show them. Imports neither torch nor pandas.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from bench import stats, tails
from bench.cost import mean_costs
from bench.groups import Group, Row
from bench.labels import (
    Record,
    command,
    labels,
    network_label,
    plain,
    settings_label,
    sweep_label,
    swept,
    trained_elsewhere,
    variant_key,
    version_label,
)
from bench.provenance import apart, known
from bench.stats import Interval, Sample

PRESET_ORDER = ("paper", "standard", "quick", "smoke")


def order(record: Record) -> tuple:
    """Sort key of records: comparable ones side by side, then method variant, seed, key."""
    return (*group_key(record), variant_key(record), record["evaluation"]["training"]["seed"], record["key"])


def summary(records: Sequence[Record]) -> list[Group]:
    """Groups in a fixed order that depends on nothing but the records."""
    groups: dict[tuple, list[Record]] = defaultdict(list)
    for place, record in sorted(((order(record), record) for record in records), key=itemgetter(0)):
        groups[place[:-3]].append(record)
    made = []
    for members in groups.values():
        for data, alike in apart(members).items():
            variants: dict[str, list[Record]] = defaultdict(list)
            for record in alike:
                variants[variant_key(record)].append(record)
            made.append(_group(list(variants.values()), data))
    return made


def unmeasured_spread(record: Record, level: Record) -> bool:
    """Was a level given one chip by wish, so that nobody knows how much chips differ there?"""
    e = record["evaluation"]
    differ = level["level"] > 0 or any(name.startswith("stuck_") for name in e.get("device_settings", {}))
    return e["chips"]["minimum"] == 1 and len(level["chips"]) == 1 and differ


def level_interval(record: Record, level: Record) -> Interval:
    """Mean and interval of one level of one record; NaN bounds where the spread is unknown."""
    found = stats.interval(level["chips"], level["first_stage"])
    return Interval(found.mean, math.nan, math.nan) if unmeasured_spread(record, level) else found


def yield_loss(record: Record) -> float:
    """How much worse than clean a chip of this task may be; records from before tasks stated it are of accuracies."""
    return record["task"].get("yield_loss", tails.YIELD_LOSS)


def group_key(record: Record) -> tuple:
    """Equal for records that may be compared."""
    e = record["evaluation"]
    t = e["training"]
    place = PRESET_ORDER.index(e["preset"]) if e["preset"] in PRESET_ORDER else len(PRESET_ORDER)
    time_s, samples = (-1 if e[name] is None else e[name] for name in ("time_s", "test_samples"))
    task, network = (t["task"], t["task_version"]), (t["network"], t["width"])
    device = (e["device"], e["device_version"], settings_label(e), time_s)
    sweep, points = swept(e)
    over = (sweep, e["levels"][0] if sweep == "time_s" else 0.0, tuple(points))
    return (place, e["preset"], task, network, device, trained_elsewhere(e), samples, over)


def _group(variants: Sequence[Sequence[Record]], apart_by: str) -> Group:
    """`variants`: the records of each method variant; `apart_by`: their data, if like records are of others."""
    records = [record for rows in variants for record in rows]
    e, task, axis = (records[0][name] for name in ("evaluation", "task", "axis"))
    t = e["training"]
    done = [r for r in records if r["status"] == "done"]
    tail = min((level["first_stage"] for r in done for level in r["levels"] if len(level["chips"]) > 1), default=1)

    members = [one_a_seed(rows) for rows in variants]
    scores = [{seed_of(r): _sample(r) for r in m if r["status"] == "done"} for m in members]
    names = labels([rows[0] for rows in members])
    higher = task["higher_is_better"]
    rows = [_row(label, m, s, tail, higher) for label, m, s in zip(names, members, scores, strict=True)]
    rows, tied = _ranked(rows, [_known(m, s) for m, s in zip(members, scores, strict=True)], higher)

    return Group(
        preset=plain(e["preset"]),
        task=plain(t["task"]) + version_label(t["task_version"]),
        network=network_label(t),
        device=plain(e["device"]) + version_label(e["device_version"]) + settings_label(e) + sweep_label(e),
        settings=settings_label(e),
        elsewhere=trained_elsewhere(e),
        test_samples=e["test_samples"],
        metric=plain(task["metric"]),
        unit=plain(task["unit"]),
        higher_is_better=task["higher_is_better"],
        yield_loss=yield_loss(records[0]),
        axis=plain(axis["name"]) + (f" ({plain(axis['unit'])})" if axis["unit"] else ""),
        sweep=swept(e)[0],
        points=tuple(swept(e)[1]),
        random=any(len(level["chips"]) > 1 for r in done for level in r["levels"]),
        tail_chips=tail,
        rows=tuple(rows),
        tied=tied,
        data=apart_by or ", ".join(known(records)),
        apart=bool(apart_by),
    )


def one_a_seed(records: Sequence[Record]) -> list[Record]:
    """Of several evaluations of the same weights the one that tells most: finished, most chips."""

    def merit(record: Record) -> tuple:
        return record["status"] == "done", sum(len(level["chips"]) for level in record["levels"]), record["key"]

    seeds = defaultdict(list)
    for record in records:
        seeds[record["evaluation"]["training"]["seed"]].append(record)
    return [max(seeds[seed], key=merit) for seed in sorted(seeds)]


def _row(label: str, records: Sequence[Record], scores: Mapping[int, Sample], tail: int, higher: bool) -> Row:
    """Everything but the rank. `records`: one a seed; `scores`: by seed, of its chips."""
    t = records[0]["evaluation"]["training"]
    done = [r for r in records if r["status"] == "done"]
    common: dict[str, Any] = {
        "label": label,
        "trained_on": "ideal" if t["device"] == "ideal" else f"{plain(t['device'])}{settings_label(t)} {t['level']:g}",
        "seeds": tuple(seed_of(r) for r in done),
        "failed": tuple((seed_of(r), plain(r["error"]), plain(r["key"])) for r in records if r["status"] != "done"),
        "command": command(done or records),
        "keys": tuple(plain(r["key"]) for r in done or records),
    }
    if not done:
        return Row(**common, points={}, cost={})
    sweep, points = swept(done[0]["evaluation"])
    by_point = {point: at(done, sweep, point) for point in points}
    top = by_point[max(by_point)]
    # Of chips that met all samples: the others' values have their samples' luck too.
    whole = [(r, found) for r, found in top if found["samples"] is None]
    sizes = [len(found["chips"]) for point in by_point.values() for _, found in point if len(found["chips"]) > 1]
    return Row(
        **common,
        points={point: over_seeds(found) for point, found in by_point.items()},
        clean=_mean([r["clean"] for r in done]),
        score=_score(done, list(scores.values())),
        p5=_mean([tails.fifth_percentile(f["chips"][:tail], higher) for _, f in whole]),
        worst=_mean([tails.worst(f["chips"][:tail], higher) for _, f in whole]),
        yield_share=_mean([tails.yield_share(f["chips"], r["clean"], yield_loss(r), higher) for r, f in whole]),
        ekl=_mean([f["ekl"] for _, f in top if f["ekl"] is not None]),
        read_power_w=_read_power(top),
        read_powers={point: power for point, found in by_point.items() if (power := _read_power(found))},
        chips=(min(sizes, default=1), max(sizes, default=1)),
        cost=mean_costs(done),
        adapted_on=_mean([r.get("adaptation", {}).get("samples_a_chip", 0) for r in done]) or None,
        analog_weights=_mean([r["analog_weights"] for r in done if "analog_weights" in r]),
    )


def _read_power(found: Sequence[tuple[Record, Record]]) -> float | None:
    """W, mean over seeds, from (record, its entry) of each; None where none holds it."""
    return _mean([level["read_power_w"] for _, level in found if "read_power_w" in level])


def seed_of(record: Record) -> int:
    """Of its training."""
    return record["evaluation"]["training"]["seed"]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def at(records: Sequence[Record], sweep: str, point: float) -> list[tuple[Record, Record]]:
    """(record, its entry for that point of the sweep)."""
    return [(r, found) for r in records for found in r["levels"] if found[sweep] == point]


def over_seeds(found: Sequence[tuple[Record, Record]]) -> Interval:
    """Mean and interval of one point, from (record, its entry) of each seed."""
    if len(found) == 1:
        return level_interval(*found[0])
    return stats.seeds_interval([level["chips"] for _, level in found], min(level["first_stage"] for _, level in found))


def _sample(record: Record) -> Sample:
    levels = record["levels"]
    return stats.chip_scores([level["chips"] for level in levels], [level["first_stage"] for level in levels])


def _unknown(record: Record) -> bool:
    return any(unmeasured_spread(record, level) for level in record["levels"])


def _known(records: Sequence[Record], scores: Mapping[int, Sample]) -> dict[int, Sample]:
    """Seed -> chip scores, of the records that can be ranked."""
    return {seed_of(r): scores[seed_of(r)] for r in records if r["status"] == "done" and not _unknown(r)}


def _score(done: Sequence[Record], scores: Sequence[Sample]) -> Interval:
    """`scores`: of the chips of each record."""
    chips = [[level["chips"] for level in r["levels"]] for r in done]
    found = stats.score_interval(chips, scores)
    return Interval(found.mean, math.nan, math.nan) if len(done) == 1 and _unknown(done[0]) else found


def chip_samples(record: Record) -> dict[int, Sample]:
    """Seed -> chip scores of one record, {} if its chips can't be compared: for paired differences."""
    return _known([record], {seed_of(record): _sample(record)}) if record["status"] == "done" else {}


def record_score(record: Record) -> Interval:
    """Score of one finished record, with its interval over chips."""
    return _score([record], [_sample(record)])


def _ranked(
    rows: Sequence[Row], samples: Sequence[Mapping[int, Sample]], higher: bool
) -> tuple[list[Row], tuple[tuple[int, int], ...]]:
    """Rows with ranks, best first, then those that can't be ranked, then the failed; and runs of rows that are tied."""
    able = [i for i, sample in enumerate(samples) if sample]
    found = stats.differences([samples[i] for i in able])
    ranks = dict(zip(able, stats.ranks_of(len(able), found, higher), strict=True))
    shared = Counter(ranks.values())
    pairs = {(able[i], able[j]): d for (i, j), d in found.items()}
    result: list[Row] = []
    common = {(i, j): len(samples[i].keys() & samples[j].keys()) for i in able for j in able}
    for i, row in enumerate(rows):
        if i in ranks:
            others = [j for j in able if j != i]
            better = [common[i, j] for j in others if stats.is_better(pairs[j, i], higher)]
            # Conditional on a seed: the row has no other in common with any, or with one that counts as better.
            most = max((common[i, j] for j in others), default=common[i, i])
            conditional = most < 2 or min(better, default=2) < 2
            row = replace(row, rank=ranks[i], tied=shared[ranks[i]] > 1, conditional=conditional)
        result.append(row)

    def place(row: Row) -> tuple:
        score = 0.0 if row.score is None else row.score.mean * (-1 if higher else 1)
        return row.rank is None, row.rank or 0, not row.seeds, row.score is None, score, row.label

    order_ = sorted(range(len(result)), key=lambda i: place(result[i]))
    ordered = [
        replace(result[i], to_best=pairs.get((i, order_[0])), to_best_seeds=common.get((i, order_[0]), 0))
        for i in order_
    ]
    by_score = sorted(able, key=lambda i: (place(result[i])[4], rows[i].label))
    runs = stats.tied_runs(len(by_score), lambda i, j: pairs[by_score[i], by_score[j]].p <= stats.ALPHA)
    position = {i: n for n, i in enumerate(order_)}
    return ordered, tuple((position[by_score[first]], position[by_score[last]]) for first, last in runs)
