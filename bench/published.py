"""Published figures beside ours: what each paper prints, and the record that asks the same question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.labels import MISSING, all_settings, number, swept, trained_elsewhere
from bench.summary import PRESET_ORDER

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Published:
    """One row of a paper's table: mean metric by test level.

    `train_level` 0: trained without noise. `where`: paper and table.
    """

    where: str
    task: str
    network: str
    device: str
    method: str
    train_level: float
    values: Mapping[float, float] = field(default_factory=dict)


def _mtrd(network: str, method: str, train_level: float, *values: float) -> Published:
    return Published(
        where="Wu et al. (MTRD), CIFAR-10, 200 epochs",
        task="cifar10",
        network=network,
        device="rram",
        method=method,
        train_level=train_level,
        values=dict(zip((0.0, 0.1, 0.2, 0.3, 0.4, 0.5), values, strict=True)),
    )


TABLES = (
    _mtrd("vgg8_mtrd", "nominal", 0.0, 91.64, 90.58, 86.50, 78.85, 65.24, 45.38),
    _mtrd("vgg8_mtrd", "noise_injection", 0.1, 91.22, 90.80, 88.59, 83.53, 74.76, 58.31),
    _mtrd("vgg8_mtrd", "noise_injection", 0.3, 89.72, 89.57, 88.99, 87.37, 83.67, 75.39),
    _mtrd("vgg8_mtrd", "noise_injection", 0.5, 84.08, 84.24, 85.18, 85.31, 83.91, 82.25),
    _mtrd("vgg8_mtrd", "mtrd", 0.3, 91.17, 90.20, 89.81, 88.78, 85.87, 79.99),
)


def _answers(row: Published, record: Record) -> bool:
    """Is this record the same question: task, network at full width, device, sweep, method and training level?"""
    evaluation = record["evaluation"]
    training = evaluation["training"]
    ours = (training["task"], training["network"], evaluation["device"], training["method"], training["level"])
    theirs = (row.task, row.network, row.device, row.method, row.train_level)
    usual = training["width"] == 1 and not all_settings(record) and evaluation["preset"] in ("paper", "standard")
    own = swept(evaluation)[0] == "level" and not trained_elsewhere(evaluation)
    return record["status"] == "done" and ours == theirs and usual and own


def markdown(records: Sequence[Record]) -> str:
    """PUBLISHED.md: for each row of each paper theirs, ours and the difference, level by level."""
    lines = ["# Published and measured", "", "Made by `bench report`. Ours: mean over seeds of the mean over chips."]
    for where in dict.fromkeys(row.where for row in TABLES):
        rows = [row for row in TABLES if row.where == where]
        levels = sorted({level for row in rows for level in row.values})
        lines += ["", f"## {where}", "", "| network | trained | | " + " | ".join(f"{v:g}" for v in levels) + " |"]
        lines.append("|:--|:--|:--|" + "--:|" * len(levels))
        for row in rows:
            lines += _lines(row, [r for r in records if _answers(row, r)], levels)
    return "\n".join(lines) + "\n"


def _lines(row: Published, records: Sequence[Record], levels: Sequence[float]) -> list[str]:
    trained = f"{row.method} at {row.train_level:g}" if row.train_level else row.method
    shown = [("published", [number(row.values.get(level)) for level in levels])]
    for preset in PRESET_ORDER:
        chosen = [r for r in records if r["evaluation"]["preset"] == preset]
        if not chosen:
            continue
        means = [_mean(chosen, level) for level in levels]
        seeds = f"{len(chosen)} seed" + "s" * (len(chosen) > 1)
        shown.append((f"ours, {preset}, {seeds}", [number(mean) for mean in means]))
        gaps = [
            None if m is None or v not in row.values else m - row.values[v] for m, v in zip(means, levels, strict=True)
        ]
        shown.append(("difference", [MISSING if gap is None else f"{gap:+.2f}" for gap in gaps]))
    if len(shown) == 1:
        shown.append(("ours", [MISSING] * len(levels)))
    return [f"| {row.network} | {trained} | {what} | {' | '.join(cells)} |" for what, cells in shown]


def _mean(records: Sequence[Record], level: float) -> float | None:
    """Mean over seeds of the mean over chips; None if a seed lacks the level."""
    means = []
    for record in records:
        chips = next((found["chips"] for found in record["levels"] if found["level"] == level), None)
        if chips is None:
            return None
        means.append(sum(chips) / len(chips))
    return sum(means) / len(means)
