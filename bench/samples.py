"""What the first test samples become on chip 0, level by level: in words, in a record."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from bench import plan
from bench.labels import plain
from bench.rig import Rig, numbered_chip
from bench.spec import Evaluation
from bench.store import Checkpoints, Records
from devices._base import Device
from tasks._base import Split, Task

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = 6  # of a record, the first of the test split
LETTERS = 120  # of a text; what is longer is cut


def outputs(evaluation: Evaluation, rig: Rig, device: Device, n: int) -> "Iterator[Tensor]":
    """What the digital network makes of the first n samples, and then chip 0 at each level (or time)."""
    yield rig.outputs(n)
    for level, time_s in evaluation.points:
        yield rig.outputs(n, *numbered_chip(rig, device, "test chip", 0, level, time_s))


def table(evaluation: Evaluation, rig: Rig, device: Device, test: Split) -> list[dict[str, Any]] | None:
    """A row a sample: what is given and wanted, what the digital network and each level answer, what of it is right.

    None if the task has no words for that. `rig`: on `test`, or on the first of it.
    """
    few = test.head(min(SAMPLES, len(test)))
    if (shown := rig.task.samples(few)) is None:
        return None
    columns = [rig.task.answers(few, output.cpu()) for output in outputs(evaluation, rig, device, len(few))]
    return [
        {
            "given": _short(given),
            "wanted": _short(wanted),
            "answers": [_short(answer) for answer, _ in row],
            "right": [right for _, right in row],
        }
        for (given, wanted), row in zip(shown, zip(*columns, strict=True), strict=True)
    ]


def _short(text: str) -> str:
    """One printable line."""
    text = plain(text)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def add(
    record: dict[str, Any],
    records: Records,
    checkpoints: Checkpoints,
    make: Callable[[], list[dict[str, Any]] | None],
) -> dict[str, Any]:
    """A finished record; one from before records had samples with those that `make` gives, else as it was, and stored.

    Only where the very network that was swept is in the store, and no other process has the record in hand.
    """
    if "samples" in record or not _may_have(record) or not checkpoints.has(record["training_key"]):
        return record
    lock = records.lock(record["key"])
    with suppress(Timeout):
        lock.acquire(timeout=0)
        try:
            record = records.load(record["key"]) or record
            if "samples" not in record and _is_here(record, checkpoints) and (shown := make()):
                record |= {"samples": shown}
                records.save(record)
        finally:
            lock.release()
    return record


def _may_have(record: Mapping[str, Any]) -> bool:
    return type(plan.task_of(record["evaluation"]["training"]["task"])).samples is not Task.samples


def _is_here(record: Mapping[str, Any], checkpoints: Checkpoints) -> bool:
    """Is the network that the record was made with in the store, and not another training of its key?"""
    born = checkpoints.born(record["training_key"])
    return born is not None and born == record.get("training_environment", {}).get("created")
