"""JSON files with a checksum of their own, so that damage is told from content.

It tells damage, not who made a file: whoever changes one on purpose can change the sum. Files that git gave other line
ends are whole; files that were indented anew are not.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from devices._seal import NAME, is_whole
from devices._seal import sealed as _sealed

__all__ = ["NAME", "opened", "sealed"]
HALF = re.compile(rb"\\u[dD]")  # perhaps half of a character


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    if -math.inf < (value := float(text)) < math.inf:
        return value
    raise ValueError(f"{text:.40} is infinite")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.40} is in it twice")
    return found


DECODER = json.JSONDecoder(parse_constant=_refused, parse_float=_finite, object_pairs_hook=_each_once)


def sealed(content: Mapping[str, Any]) -> bytes:
    """A JSON file of the content, with its checksum. ValueError for NaN and infinity, which JSON hasn't."""
    return _sealed(json.dumps(content, indent=1, allow_nan=False)).encode()


def opened(data: bytes) -> tuple[Any, bool]:
    """(content without its checksum, whether it had one). ValueError or RecursionError if it is broken."""
    content = DECODER.decode(data.decode("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{content!r:.40} is no JSON object")
    if HALF.search(data):
        _check_characters(content)
    whole = is_whole(data)
    if whole is False or (whole is None and NAME in content):
        raise ValueError("its checksum is of another content: it was damaged or changed by hand")
    content.pop(NAME, None)
    return content, whole is not None


def _check_characters(content: Any) -> None:
    """Raise ValueError for a string that has half of a character."""
    left = [content]
    while left:
        one = left.pop()
        if isinstance(one, str):
            one.encode()
        elif isinstance(one, dict):
            left += one.keys()
            left += one.values()
        elif isinstance(one, list):
            left += one
