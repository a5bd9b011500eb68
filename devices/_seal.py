"""The checksum that JSON files of ours hold: of what is in them, not of their bytes. Imports nothing slow."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content in one form. ValueError for NaN, infinity and half characters, which JSON hasn't."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
