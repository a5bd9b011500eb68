"""One row per cell and level: leaderboard.csv, and what a notebook starts from."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bench import provenance, stats, tails
from bench.cost import costs
from bench.labels import Record, all_settings, plain, swept
from bench.summary import level_interval, order, yield_loss

if TYPE_CHECKING:
    import pandas as pd

# fmt: off
COLUMNS = (
    "task", "dataset", "model", "width", "device", "method", "train_device", "train_level", "settings", "preset",
    "seed", "level", "metric", "mean", "ci_low", "ci_high", "std", "p5", "worst", "yield", "chips", "key",
    # Beyond the columns that were agreed on, after them.
    "status", "unit", "clean", "ekl", "time_s", "test_samples", "tail_chips", "task_version", "device_version",
    "method_version", "training_key", "precision", "recipe", "budget", "read_power_w", "read_energy_j",
    "sweep",
    "epochs", "samples_seen", "forward_passes", "backward_passes", "passes", "seconds", "total_epochs",
    "total_samples_seen", "total_forward_passes", "total_backward_passes", "total_passes", "total_seconds",
    "tuning_trials", "data",
)
# fmt: on


def table(records: Sequence[Record]) -> "pd.DataFrame":
    """One row per cell and level; a failed cell has its levels too, with nothing measured."""
    import pandas as pd

    made = [row for record in sorted(records, key=order) for row in rows(record)]
    return pd.DataFrame(made, columns=list(COLUMNS))


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """COLUMNS of each level of one record; what was not measured is left out."""
    e, task, t = record["evaluation"], record["task"], record["evaluation"]["training"]
    common = {
        "task": t["task"],
        "dataset": task["dataset"],
        "model": t["network"],
        "width": t["width"],
        "device": e["device"],
        "method": t["method"],
        "train_device": t["device"],
        "train_level": t["level"],
        "settings": json.dumps(all_settings(record), sort_keys=True),
        "preset": e["preset"],
        "seed": t["seed"],
        "metric": task["metric"],
        "key": record["key"],
        "status": record["status"],
        "unit": task["unit"],
        "clean": record["clean"],
        "time_s": e["time_s"],
        "test_samples": e["test_samples"],
        "task_version": t["task_version"],
        "device_version": e["device_version"],
        "method_version": t["method_version"],
        "training_key": record["training_key"],
        "precision": t["precision"],
        "recipe": t["recipe"],
        "budget": json.dumps(t["budget"], sort_keys=True),
        "data": provenance.label(record),
    }
    if record["status"] == "done":
        renamed = {"samples": "samples_seen", "total_samples": "total_samples_seen", "trials": "tuning_trials"}
        common |= {renamed.get(name, name): value for name, value in costs(record).items()}
    common = {name: _text(value) if isinstance(value, str) else value for name, value in common.items()}
    sweep, points = swept(e)
    common |= {"sweep": "time" if sweep == "time_s" else "level", "level": e["levels"][0]}
    found = {level[sweep]: level for level in record["levels"]}
    for point in points:
        numbers = measured(record, found[point]) if point in found else {"chips": 0}
        yield common | {sweep: point} | numbers


def _text(text: str) -> str:
    """One line that no spreadsheet takes for a formula."""
    text = plain(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def measured(record: Record, level: Record) -> dict[str, Any]:
    """All statistics of one level of one record."""
    higher, chips, first = record["task"]["higher_is_better"], level["chips"], level["first_stage"]
    mean, low, high = level_interval(record, level)
    whole = level["samples"] is None  # else a chip's value also spreads by the luck of its samples
    return {
        "mean": mean,
        "ci_low": low,
        "ci_high": high,
        "std": stats.deviation_of(chips),
        "p5": tails.fifth_percentile(chips[:first], higher) if whole else None,
        "worst": tails.worst(chips[:first], higher) if whole else None,
        "yield": tails.yield_share(chips, record["clean"], yield_loss(record), higher) if whole else None,
        "chips": len(chips),
        "ekl": level["ekl"],
        "tail_chips": min(first, len(chips)),
    } | {name: level[name] for name in ("read_power_w", "read_energy_j") if name in level}
