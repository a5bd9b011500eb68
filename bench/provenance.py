"""Of which data a checkpoint, resume point, half-finished sweep or record was made: the fingerprint of its splits.

Those from before there were fingerprints have none: of which data they are nobody knows, and they are used as they are.
Imports no torch.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.errors import BenchError
from bench.labels import Record, plain

UNKNOWN = "unknown"
REMEDY = "name with --data the folder that it was made of, or take another BENCH_HOME and another --results for these"
Data = Mapping[str, Any]
PARTS = ("train", "val", "test")


class OtherData(BenchError):
    """What was made of other data is not used with these."""


def told(data: Data) -> str:
    """'47,500 / 2,500 / 10,000 samples, 0123456789ab'."""
    sizes = " / ".join(f"{data[part]:,}" for part in PARTS)
    return f"{sizes} samples, {data['sha256'][:12]}"


def differ(a: Data, b: Data) -> bool:
    """Are they not the same?"""
    return any(a[name] != b[name] for name in (*PARTS, "sha256"))


def check(what: str, made_of: Data | None, here: Data) -> None:
    """OtherData, in one line, if `what` was made of other data than those here."""
    if made_of is not None and differ(made_of, here):
        raise OtherData(f"{what} is of other data ({told(made_of)}) than those here ({told(here)}); {REMEDY}")


def apart(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records that may be compared in all else, by their data where these differ, else all as they are, under ''."""
    if len(known(records)) < 2:
        return {"": list(records)}
    found = defaultdict(list)
    for record in records:
        found[label(record) or UNKNOWN].append(record)
    return dict(sorted(found.items()))


def known(records: Iterable[Record]) -> dict[str, Record]:
    """A record of each of the data that records name."""
    found = {label(record): record for record in records}
    return {data: found[data] for data in sorted(found) if data}


def check_alike(records: Iterable[Record]) -> None:
    """OtherData, which names two records, unless those whose data are known are all of the same."""
    if len(found := known(records)) > 1:
        a, b, *_ = found.values()
        both = " and ".join(f"record {plain(r['key'])} of {told(r['data'])}" for r in (a, b))
        raise OtherData(f"{plain(a['evaluation']['training']['task'])}: {both}: other data, so they can't be compared")


def label(record: Record) -> str:
    """Short, of the data that a record is of: the first digits of their checksum; '' if nobody knows."""
    return record["data"]["sha256"][:12] if "data" in record else ""
