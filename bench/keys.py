"""Canonical JSON, and the keys and seeds that are made of it; without torch, so that records are checked without it."""

import hashlib
import json
from typing import Any

CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text. Raises ValueError for NaN."""
    return CANONICAL.encode(value)


def key_of(value: Any) -> str:
    """16 hex digits that name a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def seed_of(*parts: object) -> int:
    """A 63-bit seed from any printable parts; the same on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
