"""What the leaderboard says: records gathered into groups that may be compared, ranked within each.

Numbers only; columns.py, frame.py and plots.py show them. Imports neither torch nor pandas.
"""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import stats
from bench.labels import (
    Record,
    command,
    labels,
    network_label,
    plain,
    settings_label,
    time_label,
    variant_key,
    version_label,
)
from bench.stats import Interval, Sample

PRESET_ORDER = ("paper", "standard", "quick", "smoke")
COSTS = ("epochs", "samples", "seconds", "teacher_samples", "teacher_seconds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method variant in a group, over its seeds.

    Without `levels` and `score` if all seeds failed. `p5`, `worst` (first-stage chips), `yield_share`,
    `ekl` and `read_power_w` (devices of cells) belong to the group's top level, each the mean over seeds; `cost` too.
    `failed`: (seed, error, key); `keys`: of the records that `command` remakes.
    `rank` None: not ranked, since it failed or a measure of spread is missing.
    """

    label: str
    trained_on: str
    seeds: tuple[int, ...]
    failed: tuple[tuple[int, str, str], ...]
    command: str
    keys: tuple[str, ...]
    levels: Mapping[float, Interval]
    clean: float | None = None
    score: Interval | None = None
    p5: float | None = None
    worst: float | None = None
    yield_share: float | None = None
    ekl: float | None = None
    read_power_w: float | None = None
    chips: tuple[int, int] | None = None
    cost: Mapping[str, float]
    rank: int | None = None
    tied: bool = False
    conditional: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that may be compared: same preset, task, network, device and settings, time, test samples, levels.

    The score averages the `levels`; runs of an untouched preset have the device's own. `random`: can
    chips differ at any of them? `tail_chips`: number of chips behind p5 and worst.
    """

    preset: str
    task: str
    network: str
    device: str
    test_samples: int | None
    metric: str
    unit: str
    higher_is_better: bool
    axis: str
    levels: tuple[float, ...]
    random: bool
    tail_chips: int
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """A heading."""
        subset = f" · {self.test_samples} test samples" if self.test_samples is not None else ""
        levels = f" · levels {', '.join(f'{level:g}' for level in self.levels)}" if self._touched else ""
        return f"{self.preset} · {self.task} · {self.network} · {self.device}{subset}{levels}"

    @property
    def slug(self) -> str:
        """A file name without suffix: <preset>-<task>-<network>-<device>."""
        parts = [self.preset, self.task, self.network, self.device]
        if self.test_samples is not None:
            parts.append(f"n{self.test_samples}")
        if self._touched:
            # Short, however many levels there are.
            parts.append(hashlib.sha256(repr(self.levels).encode()).hexdigest()[:8])
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(parts)).lstrip(".")

    @property
    def _touched(self) -> bool:
        """Does the preset carry a star? Then groups may differ in nothing but their levels."""
        return self.preset.endswith("*")


def order(record: Record) -> tuple:
    """Sort key of records: comparable ones side by side, then method variant, seed, key."""
    return (*_group_key(record), variant_key(record), record["evaluation"]["training"]["seed"], record["key"])


def summary(records: Sequence[Record]) -> list[Group]:
    """Groups in a fixed order that depends on nothing but the records."""
    groups = defaultdict(list)
    for record in sorted(records, key=order):
        groups[_group_key(record)].append(record)
    return [_group(members) for members in groups.values()]


def unmeasured_spread(record: Record, level: Record) -> bool:
    """Was a level given one chip by wish, so that nobody knows how much chips differ there?"""
    e = record["evaluation"]
    differ = level["level"] > 0 or any(name.startswith("stuck_") for name in e.get("device_settings", {}))
    return e["chips"]["minimum"] == 1 and len(level["chips"]) == 1 and differ


def level_interval(record: Record, level: Record) -> Interval:
    """Mean and interval of one level of one record; NaN bounds where the spread is unknown."""
    found = stats.interval(level["chips"], level["first_stage"])
    return Interval(found.mean, math.nan, math.nan) if unmeasured_spread(record, level) else found


def _group_key(record: Record) -> tuple:
    e = record["evaluation"]
    t = e["training"]
    place = PRESET_ORDER.index(e["preset"]) if e["preset"] in PRESET_ORDER else len(PRESET_ORDER)
    time_s, samples = (-1 if e[name] is None else e[name] for name in ("time_s", "test_samples"))
    task, network = (t["task"], t["task_version"]), (t["network"], t["width"])
    device = (e["device"], e["device_version"], settings_label(e), time_s)
    return (place, e["preset"], task, network, device, samples, _levels(record))


def _group(records: Sequence[Record]) -> Group:
    e, task, axis = (records[0][name] for name in ("evaluation", "task", "axis"))
    t = e["training"]
    done = [r for r in records if r["status"] == "done"]
    tail = min((level["first_stage"] for r in done for level in r["levels"] if len(level["chips"]) > 1), default=1)

    variants = defaultdict(list)
    for record in records:
        variants[variant_key(record)].append(record)
    members = [_one_a_seed(rows) for rows in variants.values()]
    names = labels([rows[0] for rows in members])
    rows = [_row(label, m, tail, task["higher_is_better"]) for label, m in zip(names, members, strict=True)]
    rows = _ranked(rows, [_samples(m) for m in members], task["higher_is_better"])

    return Group(
        preset=plain(e["preset"]),
        task=plain(t["task"]) + version_label(t["task_version"]),
        network=network_label(t),
        device=plain(e["device"]) + version_label(e["device_version"]) + settings_label(e) + time_label(e["time_s"]),
        test_samples=e["test_samples"],
        metric=plain(task["metric"]),
        unit=plain(task["unit"]),
        higher_is_better=task["higher_is_better"],
        axis=plain(axis["name"]) + (f" ({plain(axis['unit'])})" if axis["unit"] else ""),
        levels=_levels(records[0]),
        random=any(len(level["chips"]) > 1 for r in done for level in r["levels"]),
        tail_chips=tail,
        rows=tuple(rows),
    )


def _levels(record: Record) -> tuple[float, ...]:
    return tuple(sorted(map(float, record["evaluation"]["levels"])))


def _one_a_seed(records: Sequence[Record]) -> list[Record]:
    """Of several evaluations of the same weights the one that tells most: finished, most chips."""

    def merit(record: Record) -> tuple:
        return record["status"] == "done", sum(len(level["chips"]) for level in record["levels"]), record["key"]

    seeds = defaultdict(list)
    for record in records:
        seeds[record["evaluation"]["training"]["seed"]].append(record)
    return [max(seeds[seed], key=merit) for seed in sorted(seeds)]


def _row(label: str, records: Sequence[Record], tail: int, higher: bool) -> Row:
    """Everything but the rank. `records`: one a seed."""
    t = records[0]["evaluation"]["training"]
    done = [r for r in records if r["status"] == "done"]
    common: dict[str, Any] = {
        "label": label,
        "trained_on": "ideal" if t["device"] == "ideal" else f"{plain(t['device'])}{settings_label(t)} {t['level']:g}",
        "seeds": tuple(_seed(r) for r in done),
        "failed": tuple((_seed(r), plain(r["error"]), plain(r["key"])) for r in records if r["status"] != "done"),
        "command": command(done or records),
        "keys": tuple(plain(r["key"]) for r in done or records),
    }
    if not done:
        return Row(**common, levels={}, cost={})
    by_level = {level: _at(done, level) for level in _levels(done[0])}
    top = by_level[max(by_level)]
    # Of chips that met all samples: the others' values have their samples' luck too.
    whole = [(r, found) for r, found in top if found["samples"] is None]
    sizes = [len(found["chips"]) for level in by_level.values() for _, found in level if len(found["chips"]) > 1]
    return Row(
        **common,
        levels={level: _over_seeds(found) for level, found in by_level.items()},
        clean=_mean([r["clean"] for r in done]),
        score=_score(done),
        p5=_mean([stats.fifth_percentile(f["chips"][:tail], higher) for _, f in whole]),
        worst=_mean([stats.worst(f["chips"][:tail], higher) for _, f in whole]),
        yield_share=_mean([stats.yield_share(f["chips"], r["clean"], stats.YIELD_LOSS, higher) for r, f in whole]),
        ekl=_mean([f["ekl"] for _, f in top if f["ekl"] is not None]),
        read_power_w=_mean([f["read_power_w"] for _, f in top if "read_power_w" in f]),
        chips=(min(sizes, default=1), max(sizes, default=1)),
        cost={name: _mean([r["cost"][name] for r in done]) or 0 for name in COSTS},
    )


def _seed(record: Record) -> int:
    return record["evaluation"]["training"]["seed"]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _at(records: Sequence[Record], level: float) -> list[tuple[Record, Record]]:
    """(record, its entry for that level)."""
    return [(r, found) for r in records for found in r["levels"] if found["level"] == level]


def _over_seeds(found: Sequence[tuple[Record, Record]]) -> Interval:
    if len(found) == 1:
        return level_interval(*found[0])
    return stats.seeds_interval([level["chips"] for _, level in found])


def _sample(record: Record) -> Sample:
    levels = record["levels"]
    return stats.chip_scores([level["chips"] for level in levels], [level["first_stage"] for level in levels])


def _unknown(record: Record) -> bool:
    return any(unmeasured_spread(record, level) for level in record["levels"])


def _samples(records: Sequence[Record]) -> dict[int, Sample]:
    """Seed -> chip scores, of the records that can be ranked."""
    return {_seed(r): _sample(r) for r in records if r["status"] == "done" and not _unknown(r)}


def _score(done: Sequence[Record]) -> Interval:
    chips = [[level["chips"] for level in r["levels"]] for r in done]
    found = stats.score_interval(chips, [_sample(r) for r in done])
    return Interval(found.mean, math.nan, math.nan) if len(done) == 1 and _unknown(done[0]) else found


def _ranked(rows: Sequence[Row], samples: Sequence[Mapping[int, Sample]], higher: bool) -> list[Row]:
    """Rows with ranks, best first, then those that can't be ranked, then the failed."""
    able = [i for i, sample in enumerate(samples) if sample]
    ranks = dict(zip(able, stats.ranks([samples[i] for i in able], higher), strict=True))
    shared = Counter(ranks.values())
    result = []
    for i, row in enumerate(rows):
        if i in ranks:
            # Conditional on a seed: any comparison it took part in rests on fewer than two common seeds.
            conditional = any(len(set(samples[i]) & set(samples[j])) < 2 for j in able)
            row = replace(row, rank=ranks[i], tied=shared[ranks[i]] > 1, conditional=conditional)
        result.append(row)

    def place(row: Row) -> tuple:
        score = 0.0 if row.score is None else row.score.mean * (-1 if higher else 1)
        return row.rank is None, row.rank or 0, not row.seeds, row.score is None, score, row.label

    return sorted(result, key=place)
