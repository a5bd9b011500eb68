"""Two methods, two records or two commits, level by level: paired differences, chip by chip and seed by seed."""

import io
import logging
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bench import limits, stats
from bench.crossed import bootstrap
from bench.errors import BenchError
from bench.labels import Record, plain, swept, variant_key
from bench.provenance import check_alike
from bench.reading import check_key, key_in, parse_record
from bench.registry import suggestion
from bench.stats import Difference, Sample
from bench.store import Records
from bench.summary import group_key, summary

log = logging.getLogger("bench")
NOW = "now"  # the results folder as it is, beside a commit


class Paired(NamedTuple):
    """Means of A and B over seeds and chips, A - B with p by Holm, and a bootstrap's 95% interval of A - B."""

    a: float
    b: float
    difference: Difference
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A and B on one preset, task, network and device. `points`: by level, or by time in s."""

    title: str
    sweep: str
    axis: str
    metric: str
    unit: str
    points: Mapping[float, Paired]
    score: Paired
    seeds: tuple[int, ...]
    chips: int
    higher_is_better: bool


class _Pair(NamedTuple):
    """Records of both sides, one a seed, at the same seeds."""

    a: tuple[Record, ...]
    b: tuple[Record, ...]


def compare(a: str, b: str, results: Path, device: str | None = None, task: str | None = None) -> list[Comparison]:
    """What A and B, each a method, a key of a record, a commit or 'now', have in common. BenchError if nothing.

    `device`, `task`: only where tested on these.
    """
    records, warnings = Records(results).load_all()
    for warning in warnings:
        log.warning("%s", warning)
    sides = [_side(text, records, results) for text in (a, b)]
    by_key = [side for side in sides if isinstance(side, dict)]
    listed = [side for side in sides if isinstance(side, list)]
    if len(by_key) == 1:
        raise BenchError(f"{a}, {b}: a commit is compared with a commit, or with '{NOW}'")
    pairs = _by_key(by_key[0], by_key[1], (a, b)) if by_key else _by_group(listed[0], listed[1], (a, b))
    pairs = [pair for pair in pairs if _is_of(pair.a[0], device, task)]
    if not pairs:
        raise BenchError(f"{a}, {b}: not both run on device {device or 'any'}, task {task or 'any'}")
    for pair in pairs:
        check_alike((*pair.a, *pair.b))
    made = [_measured(pair) for pair in pairs]
    p_values = iter(stats.holm_adjusted([p.difference.p for c in made for p in (*c.points.values(), c.score)]))

    def corrected(paired: Paired) -> Paired:
        return paired._replace(difference=paired.difference._replace(p=next(p_values)))

    return [replace(c, points={at: corrected(p) for at, p in c.points.items()}, score=corrected(c.score)) for c in made]


def _side(text: str, records: Sequence[Record], results: Path) -> list[Record] | dict[str, Record]:
    """Records of a method, the one of a key, or all of a commit by key."""
    done = [r for r in records if r["status"] == "done"]
    if text == NOW:
        return {r["key"]: r for r in done}
    methods = sorted({r["evaluation"]["training"]["method"] for r in done})
    if text in methods:
        return [r for r in done if r["evaluation"]["training"]["method"] == text]
    if _is_hex(text) and (record := Records(results).load(text)) is not None:
        if record["status"] != "done":
            raise BenchError(f"record {record['key']} is of a run that failed; there is nothing to compare")
        return [record]
    if (found := _of_commit(text, results)) is not None:
        return found
    near = suggestion(text, dict.fromkeys(methods)) if methods else ""
    raise BenchError(f"'{text}' is no method, record key or commit with records in {results}{near}")


def _is_hex(text: str) -> bool:
    return 4 <= len(text) <= 16 and not set(text) - set("0123456789abcdef")


def _of_commit(text: str, results: Path) -> dict[str, Record] | None:
    """Finished records by key, as a commit has them; None if there is no such commit."""
    if text.startswith("-") or not results.is_dir():
        return None

    def git(*arguments: str) -> bytes | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=results, capture_output=True, check=False, timeout=120)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    if commit is None:
        return None
    packed = git("archive", "--format=tar", commit.decode().strip(), "records")
    if packed is None:
        raise BenchError(f"commit {text} has no records in {results}")
    found: dict[str, Record] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(".json") else None
            if file is None:
                continue
            try:
                record = parse_record(file.read(limits.RECORD + 1), plain(member.name))
                check_key(record, key_in(Path(member.name)))
            except BenchError:
                raise
            except ValueError as error:
                raise BenchError(f"commit {text}: {plain(member.name)} is no record ({plain(error)})") from None
            if record["status"] == "done":
                found[record["key"]] = record
    return found


def _by_key(a: Mapping[str, Record], b: Mapping[str, Record], names: tuple[str, str]) -> list[_Pair]:
    """Records of equal key that were measured twice, gathered over seeds."""
    changed = [key for key in a if key in b and a[key]["levels"] != b[key]["levels"]]
    if not changed:
        same = len(a.keys() & b.keys())
        raise BenchError(f"{names[0]}, {names[1]}: no record differs; {same} are the same in both")
    gathered = defaultdict(list)
    for key in sorted(changed):
        gathered[group_key(a[key]), variant_key(a[key])].append(key)
    return [_Pair(*(tuple(side[key] for key in keys) for side in (a, b))) for keys in gathered.values()]


def _by_group(a: list[Record], b: list[Record], names: tuple[str, str]) -> list[_Pair]:
    """Records that the leaderboard would rank together, at the seeds that both sides have."""
    if len(a) == len(b) == 1:
        if group_key(a[0]) != group_key(b[0]):
            raise BenchError(
                f"records {names[0]} and {names[1]} differ in preset, task, network, device or levels: "
                "their chips aren't the same"
            )
        return [_Pair((a[0],), (b[0],))]
    groups: dict[tuple, tuple[dict[int, Record], dict[int, Record]]] = {}
    for place in sorted({group_key(r) for r in a} & {group_key(r) for r in b}, key=repr):
        groups[place] = (_one_variant(a, place, names[0]), _one_variant(b, place, names[1]))
    common = {place: sorted(x.keys() & y.keys()) for place, (x, y) in groups.items()}
    pairs = [
        _Pair(*(tuple(side[seed] for seed in seeds) for side in groups[place]))
        for place, seeds in common.items()
        if seeds
    ]
    if not pairs:
        raise BenchError(f"{names[0]}, {names[1]}: no preset, task, device and seed that both were run on")
    return pairs


def _one_variant(records: Sequence[Record], place: tuple, name: str) -> dict[int, Record]:
    """By seed, the records of a method in a group: of its default settings and training level, if there are more."""
    variants: dict[str, dict[int, Record]] = defaultdict(dict)
    for record in records:
        if group_key(record) == place:
            variants[variant_key(record)][record["evaluation"]["training"]["seed"]] = record
    found = list(variants.values())
    if len(found) > 1:
        usual = [v for v in found if _is_usual(next(iter(v.values())))]
        found = usual or found
    if len(found) > 1:
        keys = ", ".join(next(iter(v.values()))["key"] for v in found)
        raise BenchError(f"{name} was run in {len(found)} ways on one device: name a record by key, of {keys}")
    return found[0]


def _is_of(record: Record, device: str | None, task: str | None) -> bool:
    e = record["evaluation"]
    return device in (None, e["device"]) and task in (None, e["training"]["task"])


def _is_usual(record: Record) -> bool:
    """Did it train with the method's default settings, at the device's own training level if at any?"""
    from bench.plan import device_of  # imports torch, which is slow, and which only this needs

    t = record["evaluation"]["training"]
    try:
        level = device_of(t["device"]).axis.train_level
    except ValueError:  # a lab's own device, not here
        return False
    return not t["settings"] and t["level"] in (0.0, level)


def _measured(pair: _Pair) -> Comparison:
    (group,) = summary([pair.a[0]])
    sweep, points = swept(pair.a[0]["evaluation"])
    # Two records by key may be of two seeds: then their chips alone are paired.
    places = range(len(pair.a))

    def level(record: Record, point: float) -> Sample:
        (found,) = (entry for entry in record["levels"] if entry[sweep] == point)
        return Sample(found["chips"], found["first_stage"])

    def scores(record: Record) -> Sample:
        levels = record["levels"]
        return stats.chip_scores([entry["chips"] for entry in levels], [entry["first_stage"] for entry in levels])

    found = {
        point: _paired(*({i: level(side[i], point) for i in places} for side in (pair.a, pair.b))) for point in points
    }
    chips = [len(entry["chips"]) for record in (*pair.a, *pair.b) for entry in record["levels"]]
    return Comparison(
        title=group.title,
        sweep=sweep,
        axis=group.axis,
        metric=group.metric,
        unit=group.unit,
        points=found,
        score=_paired(*({i: scores(side[i]) for i in places} for side in (pair.a, pair.b))),
        seeds=tuple(sorted({r["evaluation"]["training"]["seed"] for r in (*pair.a, *pair.b)})),
        chips=max(chips),
        higher_is_better=group.higher_is_better,
    )


def _paired(a: Mapping[int, Sample], b: Mapping[int, Sample]) -> Paired:
    low, high = bootstrap([sample.values for sample in stats.paired_samples(a, b)])

    def mean(side: Mapping[int, Sample]) -> float:
        return sum(sum(s.values) / len(s.values) for s in side.values()) / len(side)

    return Paired(mean(a), mean(b), stats.paired(a, b), low, high)
