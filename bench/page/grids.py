"""What the page shows in grids: which cells have records, trained on one device and tested on another, published."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from bench import published
from bench.labels import (
    Record,
    network_label,
    plain,
    point_label,
    settings_label,
    swept,
    trained_elsewhere,
    version_label,
)
from bench.provenance import apart
from bench.summary import at, one_a_seed, over_seeds, seed_of, unmeasured_spread


def cells(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A mapping a preset, task, device and method that has records: how many finished and failed.

    Runs that were trained for another device are no part of it.
    """
    done: Counter[tuple[str, ...]] = Counter()
    failed: Counter[tuple[str, ...]] = Counter()
    for record in records:
        e = record["evaluation"]
        t = e["training"]
        if not trained_elsewhere(e):
            place = tuple(map(plain, (e["preset"], t["task"], e["device"], t["method"])))
            (done if record["status"] == "done" else failed)[place] += 1
    names = ("preset", "task", "device", "method")
    places = sorted({*done, *failed})
    return [dict(zip(names, place, strict=True)) | {"done": done[place], "failed": failed[place]} for place in places]


def matrices(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A mapping a method, task, network and preset of which some record was trained on another than its test device.

    `rows`: device and level trained on; `columns`: device and level tested on; `entries`: row, column, mean, low, high,
    numbers of chips (none where no chip can differ from another), training seeds.
    """
    families: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record["status"] == "done" and swept(record["evaluation"])[0] == "level":
            families[_family(record)].append(record)
    alike = [part for _, members in sorted(families.items()) for part in apart(members).items()]
    made = [_matrix(members, data) for data, members in alike]
    return [matrix for matrix in made if matrix]


def _family(record: Record) -> str:
    """Equal for records that differ in device, level and seed alone."""
    e = record["evaluation"]
    t = e["training"]
    trained = {k: v for k, v in t.items() if k not in ("device", "device_version", "level", "time_s", "seed")}
    kept = [e["preset"].rstrip("*"), e["test_samples"], e.get("device_settings", {}), trained]
    return json.dumps(kept, sort_keys=True)


def _matrix(members: Sequence[Record], data: str) -> dict[str, Any] | None:
    """None if all were trained on the device that they were tested on. `data`: of these, if others are of others."""
    crossed = [record for record in members if trained_elsewhere(record["evaluation"])]
    if not crossed:
        return None
    columns = _columns(members, crossed)
    places: defaultdict[tuple[str, float, str, float], list[Record]] = defaultdict(list)
    for record in members:
        tested, t = plain(record["evaluation"]["device"]), record["evaluation"]["training"]
        for level in {level["level"] for level in record["levels"]}:
            if (tested, level) in columns:
                places[plain(t["device"]), t["level"], tested, level].append(record)
    entries: list[tuple[Any, ...]] = []
    for (trained, at_level, tested, level), found in sorted(places.items()):
        there = at(one_a_seed(found), "level", level)
        place = f"{trained} {at_level:g}", f"{tested} {level:g}"
        entries.append((*place, *over_seeds(there), _sizes(there), [seed_of(record) for record, _ in there]))
    return _heading(crossed[0], data) | {
        "rows": list(dict.fromkeys(row for row, *_ in entries)),
        "columns": sorted({column for _, column, *_ in entries}),
        "entries": entries,
    }


def _sizes(there: Sequence[tuple[Record, Record]]) -> list[int]:
    """Numbers of chips behind a mean; `there`: (record, its entry) of each seed."""
    sizes = {len(level["chips"]) for r, level in there if len(level["chips"]) > 1 or unmeasured_spread(r, level)}
    return sorted(sizes)


def _columns(members: Sequence[Record], crossed: Sequence[Record]) -> set[tuple[str, float]]:
    """(test device, level): of each device the levels that something was trained at on it, else all."""
    tested = {(plain(r["evaluation"]["device"]), level["level"]) for r in crossed for level in r["levels"]}
    own = {(plain(t["device"]), t["level"]) for r in members for t in [r["evaluation"]["training"]]} & tested
    known = {device for device, _ in own}
    return own | {(device, level) for device, level in tested if device not in known}


def _heading(record: Record, data: str) -> dict[str, Any]:
    e, task = record["evaluation"], record["task"]
    t = e["training"]
    method = " ".join([plain(t["method"]), *(f"{plain(k)}={plain(v)}" for k, v in sorted(t["settings"].items()))])
    names = [method, plain(t["task"]) + version_label(t["task_version"]), network_label(t) + settings_label(e)]
    return {
        "title": " · ".join([*names, plain(e["preset"]).rstrip("*"), *([f"data {data}"] if data else [])]),
        "metric": plain(task["metric"]),
        "unit": plain(task["unit"]),
        "higher": task["higher_is_better"],
    }


def published_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Published rows with ours beside them."""
    return [
        {
            "where": c.row.where,
            "setting": c.row.setting,
            "task": c.row.task,
            "network": c.row.network,
            "device": c.row.device,
            "trained": c.trained,
            "unit": c.row.unit,
            "labels": [point_label(c.row.sweep, point) for point in c.points],
            "theirs": [c.row.values.get(point) for point in c.points],
            "ours": [
                {"preset": o.preset, "seeds": o.seeds, "setting": o.setting, "means": o.means, "gaps": o.gaps}
                for o in c.ours
            ],
        }
        for c in published.compare(records)
    ]
