"""A checksum inside a JSON file of ours: SHA-256 of everything else in it, so that damage is told from content.

It is of the content and not of the bytes: a file that was indented anew, or whose line ends git changed, is whole.
It tells damage, not who made a file: whoever changes one on purpose can change the sum.
"""

import json
from collections.abc import Mapping
from typing import Any

from devices._seal import digest

__all__ = ["NAME", "digest", "opened", "sealed"]
NAME = "sha256"


def sealed(content: Mapping[str, Any]) -> bytes:
    """A JSON file of the content, with its checksum."""
    return (json.dumps({**content, NAME: digest(content)}, indent=1, allow_nan=False) + "\n").encode()


def opened(data: bytes) -> tuple[Any, bool]:
    """(content without its checksum, whether it had one). ValueError or RecursionError if it is broken."""
    content = json.loads(data.decode("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{content!r:.40} is no JSON object")
    said, found = content.pop(NAME, None), digest(content)
    if said is not None and said != found:
        raise ValueError("its checksum is of another content: it was damaged or changed by hand")
    return content, said is not None
