"""What the page shows, as plain numbers and texts that JSON can hold: the groups of summary.py as they are.

Nothing is estimated here or in the page's JavaScript that summary.py, frame.py or stats.py doesn't give.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench import advice, columns, look, missing, published, registry
from bench.cost import COSTS
from bench.groups import Group, Row, families
from bench.labels import Record, plain, point_label, time_text
from bench.page import details, grids, tails
from bench.papers import WITHOUT
from bench.stats import Difference, Interval

DIGITS = 6  # significant ones, of every number on the page


def collect(records: Sequence[Record], groups: Sequence[Group]) -> dict[str, Any]:
    """Everything but pictures; `groups`: the summary of `records`.

    Lists and mappings, so that a file of it can have an entry a line. A group has its `rows`, best first.
    """
    by_key = {plain(record["key"]): record for record in records}
    kept, compared = details.Kept(), published.compare(records)
    shown = []
    for group in groups:
        members = [by_key[key] for row in group.rows for key in row.keys]
        limits = tails.thresholds(members)
        advised = advice.advise(group)
        looks, rows = look.looks([row.label for row in group.rows]), []
        for row in group.rows:
            found = [by_key[key] for key in row.keys]
            method = plain(found[0]["evaluation"]["training"]["method"])
            rows.append(
                {"method": method, "look": looks[row.label]._asdict()}
                | _row(row, group)
                | {"relative": {of: advice.relative(row, advised, of) for of in ("", "total_")} if row.seeds else {}}
                | {"records": [kept.record(record) for record in found]}
                | {"yields": tails.yields(found, group, limits)}
            )
        shown.append(_group(group, members) | _place(members[0]) | {"thresholds": limits, "rows": rows})
    return _rounded(
        {
            "about": _about(records),
            "names": _names(records),
            "groups": shown,
            "together": [_together(base, members, groups) for base, members in families(groups)],
            "environments": kept.environments,
            "samples": kept.samples,
            "cells": grids.cells(records),
            "matrices": grids.matrices(records),
            "published": grids.published_rows(compared),
            "unmeasured": grids.published_gaps(compared),
            "without": dict(WITHOUT),
        }
    )


def _about(records: Sequence[Record]) -> dict[str, Any]:
    created = [plain(record["environment"].get("created", "")) for record in records]
    failed = sum(record["status"] != "done" for record in records)
    return {"records": len(records), "failed": failed, "latest": max(created, default="")[:10]}


def _names(records: Sequence[Record]) -> dict[str, dict[str, dict[str, str]]]:
    """Every method, device and task that there is, or that a record names: its summary and source."""
    used = {
        "methods": {_method(record) for record in records},
        "devices": {_place(record)["device"] for record in records},
        "tasks": {_place(record)["task"] for record in records},
    }
    found = {}
    for kind in registry.KINDS:
        there = registry.entries(kind).items()
        known = {name: {"summary": e.summary, "source": e.source, "asks": e.asks} for name, e in there}
        unknown: dict[str, dict[str, str]] = {name: {"summary": "", "source": ""} for name in used[kind]}
        found[kind] = dict(sorted((unknown | known).items()))
    return found


def _method(record: Record) -> str:
    return plain(record["evaluation"]["training"]["method"])


def _place(record: Record) -> dict[str, str]:
    """Names of the registry, which filters go by: a group's own texts have versions and settings besides."""
    e = record["evaluation"]
    return {"task": plain(e["training"]["task"]), "device": plain(e["device"])}


def _group(group: Group, members: Sequence[Record]) -> dict[str, Any]:
    advised = advice.advise(group)
    places = {id(row): i for i, row in enumerate(group.rows)}
    return {
        "id": group.slug,
        "title": group.title,
        "preset": group.preset,
        "task_label": group.task,
        "network": group.network,
        "device_label": group.device,
        "elsewhere": group.elsewhere,
        "touched": group.preset.endswith("*"),
        "test_samples": group.test_samples,
        "metric": group.metric,
        "unit": group.unit,
        "higher": group.higher_is_better,
        "axis": group.axis,
        "over_time": group.over_time,
        "read_at": _read_at(members[0]),
        "points": list(group.points),
        "labels": [point_label(group.sweep, point) for point in group.points],
        "error": group.error,
        "has_power": group.has_power,
        "tied": [list(run) for run in group.tied],
        "notes": columns.notes(group),
        "yield_loss": group.difference(f"{group.yield_loss:g}"),
        "failures": columns.failures(group),
        "advice": advice.sentences(advised),
        "use": None if advised.use is None else places[id(advised.use)],
        "choices": [places[id(row)] for row in advised.choices],
        "nominal": None if advised.nominal is None else places[id(advised.nominal)],
        "measure": advice.MEASURES[advised.measure],
        "methods": len({_method(record) for record in members}),
    }


def _read_at(record: Record) -> str:
    """How long after programming its chips are read, where the device has a time and the sweep is none of times."""
    time_s = record["evaluation"]["time_s"]
    return "" if time_s is None or record["evaluation"].get("times_s") else time_text(time_s)


def _row(row: Row, group: Group) -> dict[str, Any]:
    found, lacking = [row.points.get(point) for point in group.points], missing.of(row, group)
    return {
        "label": row.label,
        "trained_on": row.trained_on,
        "rank": row.rank,
        "rank_text": columns.rank(row),
        "seeds": list(row.seeds),
        "failed": [{"seed": seed, "error": error[:500], "key": key} for seed, error, key in row.failed],
        "command": row.command,
        "keys": list(row.keys),
        "points": [_interval(at) for at in found],
        "clean": row.clean,
        "score": _interval(row.score),
        "to_best": _interval(row.to_best),
        "to_best_mark": columns.to_best_mark(row),
        "p": None if row.to_best is None else row.to_best.p,
        "p5": row.p5,
        "worst": row.worst,
        "yield": row.yield_share,
        "ekl": row.ekl,
        "power_mw": None if row.read_power_w is None else 1e3 * row.read_power_w,
        "readings": [
            [group.points.index(point), 1e3 * power_w, *group.as_error(row.points[point])]
            for point, power_w in row.read_powers.items()
        ],
        "chips": sorted(set(row.chips or ())),
        "cost": {name: row.cost.get(name) for name in COSTS},
        "missing": [kind._asdict() for kind in lacking],
        "again": missing.again(row.command, lacking) if lacking else "",
        "adapted_on": row.adapted_on,
        "crossbar_weights": row.analog_weights,
    }


def _together(base: Group, members: Sequence[Group], groups: Sequence[Group]) -> dict[str, Any]:
    """Sweeps of time that differ in device settings alone: their groups' places, and what tells their lines apart."""
    places = [i for group in members for i, other in enumerate(groups) if other is group]
    return {"title": base.title, "groups": places, "settings": [group.settings for group in members]}


def _interval(found: Interval | Difference | None) -> list[float | None] | None:
    return None if found is None else [found.mean, found.low, found.high]


def _rounded(value: Any) -> Any:
    """JSON has neither NaN nor infinity: what nobody knows is null."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
