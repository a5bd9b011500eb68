"""A record from its file: parsed, checked, and the one that the file's name says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import limits, migrate, seal
from bench.errors import BenchError, in_one_line
from bench.files import read_each
from bench.keys import key_of
from bench.shape import check_depth, check_record

RECORD_SCHEMA = 2  # 1: without a checksum
# What a file of another form than any of ours may raise, however it is checked
SURPRISES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


def schema_in(path: Path) -> object:
    """What a whole record's file says of its schema."""
    return seal.opened(path.read_bytes())[0].get("schema")


def key_in(path: Path) -> str:
    """The key that the name of a record's file ends with."""
    return path.stem.rpartition("-")[2]


def named(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record, if it is the one that its file's name says. BenchError if it is another."""
    try:
        check_key(record, key_in(path))
    except ValueError as error:
        raise broken(path, error) from None
    return record


def check_key(record: Mapping[str, Any], named: str) -> None:
    """Raise ValueError unless a record's key is the one in its file's name, and that of its evaluation."""
    if record["key"] != named:
        raise ValueError(f"its key is {record['key']}, its name says {named!r:.40}")
    if key_of(record["evaluation"]) == named:
        return
    from bench.spec import Evaluation  # imports torch

    if Evaluation.from_dict(record["evaluation"]).key != named:
        raise ValueError(f"key {named} is not that of its evaluation")


def read_record(path: Path) -> dict[str, Any]:
    """Parse and check one record file, whatever its name. BenchError names the file and what to do."""
    (data,) = read_each([path], limits.RECORD)
    return parsed(path, data)


def parsed(path: Path, data: bytes | OSError) -> dict[str, Any]:
    if isinstance(data, OSError):
        raise BenchError(f"can't read record {path}: {data.strerror or data}")
    try:
        return parse_record(data, str(path))
    except BenchError:
        raise
    except ValueError as error:
        raise broken(path, error) from None


def broken(path: Path, error: Exception) -> BenchError:
    return BenchError(f"record {path} is broken ({in_one_line(error)}); delete it and run the cell again")


def parse_record(data: bytes, name: str) -> dict[str, Any]:
    """A record from its file's bytes, without its checksum. BenchError if of a newer schema, ValueError if broken in
    whatever way.
    """
    try:
        return _checked(data, name)
    except BenchError:
        raise
    except SURPRISES as error:
        raise ValueError(in_one_line(error) if isinstance(error, ValueError) else f"no record: {error!r:.80}") from None


def _checked(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > limits.RECORD:
        raise ValueError(f"{len(data) >> 20} MiB, at most {limits.RECORD >> 20} are read")
    _check_parts(data)
    record, was_sealed = seal.opened(data)
    if data.count(b"{") + data.count(b"[") > limits.DEPTH:
        check_depth(record)
    schema = record.get("schema")
    if isinstance(schema, int) and schema > RECORD_SCHEMA:
        raise BenchError(f"record {name} has schema {schema}, newer than {RECORD_SCHEMA}: update cim-bench")
    record = migrate.current(record, RECORD_SCHEMA)
    check_record(record)
    if schema != 1 and not was_sealed:
        raise ValueError(f"no {seal.NAME!r}")
    return record


def _check_parts(data: bytes) -> None:
    """Raise ValueError for text that is no record by the number of its parts, before they fill the memory.

    Signs in strings count as well: a record has few.
    """
    for signs, what, most in ((b"{[:", "objects, lists and names", limits.PARTS), (b",", "entries", limits.ENTRIES)):
        if (found := sum(data.count(sign) for sign in signs)) > most:
            raise ValueError(f"{found:,} {what}, must be at most {most:,}")
