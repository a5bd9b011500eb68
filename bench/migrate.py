"""Records of older schemas, brought to the present one as they are read; no file is rewritten.

A change of the form of a record raises RECORD_SCHEMA of bench/store.py by one, adds a step here that makes a record of
the new form from one of the old, and adds a record of the new form, as it is written, to tests/schemas/: what was
measured once must load for ever, with the same numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

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
