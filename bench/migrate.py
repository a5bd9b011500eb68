"""Records of older schemas, brought to the present one as they are read. No file is rewritten but by

    python -m bench.migrate RESULTS

which writes those of an older schema anew in the present form, with its checksum, and leaves broken ones as they are.

A change of the form of a record raises RECORD_SCHEMA of bench/reading.py by one, adds a step here that makes a record
of the new form from one of the old, and adds a record of the new form, as it is written, to tests/schemas/: what was
measured once must load for ever, with the same numbers.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.endings import printable
from bench.errors import BenchError, in_one_line
from bench.files import place

Step = Callable[[dict[str, Any]], dict[str, Any]]

# By schema: what makes the next one of it. A step gets the parsed file, whose form it must not take on trust, and
# returns another dict, whose `schema` is set for it; bench/shape.py checks what comes out.
STEPS: Mapping[int, Step] = {
    1: dict,  # 2 has a checksum, which the reader has taken off
}


def current(record: Any, target: int, steps: Mapping[int, Step] = STEPS) -> Any:
    """The record at schema `target`; as it is if it is no dict or has no schema between 1 and that.

    ValueError if a step finds a form that its schema never had.
    """
    while isinstance(record, dict) and type(schema := record.get("schema")) is int and 1 <= schema < target:
        try:
            record = steps[schema](record) | {"schema": schema + 1}
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            reason = str(error) or type(error).__name__
            raise ValueError(f"it is no record of schema {schema}: {reason}") from None
    return record


def rewrite(results: Path) -> tuple[list[Path], list[str]]:
    """(records of older schemas that now are of the present one, warnings): all but schema and checksum stays.

    A file that can't be used stays as it is, and is a warning.
    """
    from bench.store import Records

    store, written, warnings = Records(results), [], []
    for path in store.paths():
        try:
            if store.renew(path):
                written.append(path)
        except BenchError as error:
            warnings.append(str(error))
    if not written and not warnings and not store.paths():
        raise BenchError(f"no records in {results}: name a folder of results, such as that of --results")
    return written, warnings


def main() -> int:
    """Rewrite, and say what was done: 2 if a record is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="a folder of results, or its URL")
    try:
        written, warnings = rewrite(place(parser.parse_args().results))
    except (BenchError, OSError) as error:
        written, warnings = [], [in_one_line(error)]
    for warning in warnings:
        print(printable(f"bench: {warning}"), file=sys.stderr)
    print(f"{len(written)} records rewritten, {len(warnings)} left as they are")
    return 2 if warnings else 0


if __name__ == "__main__":
    sys.exit(main())
