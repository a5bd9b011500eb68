"""What a row's records don't hold since they are older than it, and how it is had: said in words, not left empty."""

from collections.abc import Collection
from typing import Any, NamedTuple

from bench.cost import costs
from bench.groups import Group, Row
from bench.labels import MORE

NOT_RECORDED = "not recorded"  # in place of a number
ANEW = "BENCH_HOME=$HOME/anew"  # --force sweeps again, but a network that is there is not trained again


class Missing(NamedTuple):
    """`what` there is none of, `why`, and `how` it is had beside the command with --force."""

    what: str
    why: str
    how: str


PASSES = Missing(
    "passes",
    "recorded before backward passes were counted",
    "in a BENCH_HOME without its network trains it anew and counts them",
)
POWER = Missing("read power", "recorded before read power was measured", "measures it")


def of(row: Row, group: Group) -> list[Missing]:
    """What the records of a finished row lack. Read power: where another row of its group has it, so the device has."""
    found = []
    if row.seeds and None in (row.cost.get("passes"), row.cost.get("total_passes")):
        found.append(PASSES)
    if row.seeds and row.read_power_w is None and any(other.read_power_w is not None for other in group.rows):
        found.append(POWER)
    return found


def notes(group: Group) -> list[str]:
    """A line a kind: of which rows, why, and how it is had."""
    lacking = {kind: [row.label for row in group.rows if kind in of(row, group)] for kind in (PASSES, POWER)}
    return [
        f"no {kind.what} of {', '.join(labels)}: {kind.why}; the command of a row with --force {kind.how}."
        for kind, labels in lacking.items()
        if labels
    ]


def again(command: str, lacking: Collection[Missing] = ()) -> str:
    """A row's command, to be run though its records are there: one that has what they lack."""
    given, more, others = command.partition(MORE)
    return f"{ANEW if PASSES in lacking else ''} {given} --force{more}{others}".strip()


def told(record: dict[str, Any]) -> str | None:
    """What whoever made a record just now with a network from before passes were counted is told."""
    if costs(record)["total_passes"] is not None:
        return None
    why = "its network, or one that it rests on, was trained before backward passes were counted"
    return f"no passes in record {record['key']}: {why}; this trains anew: {again(record['command'], [PASSES])}"
