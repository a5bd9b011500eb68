"""report.html: template, style and scripts of the package around the data, in one file that needs no other."""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from bench.groups import Group
from bench.labels import Record
from bench.page import data

LIMIT = 8_000_000  # bytes of the whole page; pictures have what is left of it
SCRIPTS = ("core", "charts", "details", "answer", "board", "explore", "grids", "main")
KEY = re.compile(r"[0-9a-f]{4,16}")
PNG = b"\x89PNG\r\n\x1a\n"


def page(records: Sequence[Record], groups: Sequence[Group], pictures: Path | None = None, limit: int = LIMIT) -> str:
    """The text of report.html, at most `limit` bytes of it if there are no more than 500 cells or so.

    `groups`: the summary of `records`; `pictures`: the folder that has <key>.png of those that have before and after.
    """
    parts = {
        "style": asset("page.css"),
        "script": "(() => {\n" + '"use strict";\n' + "\n".join(asset(f"{name}.js") for name in SCRIPTS) + "})();",
        "plotly": _plotly(),
        "data": _lines(data.collect(records, groups)),
        "images": "",
    }
    # The browser runs these two scripts and nothing else, and loads nothing from anywhere.
    allowed = " ".join(f"'{_hash(parts[name])}'" for name in ("script", "plotly"))
    parts["policy"] = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    template = Template(asset("page.html"))
    left = limit - len(template.substitute(parts).encode())
    return template.substitute(parts | {"images": _lines(_pictures(_in_turns(groups), pictures, left))})


@cache
def asset(name: str) -> str:
    """A file of the package, as text that can stand in an element of its kind."""
    text = (resources.files("bench.page") / "assets" / name).read_text(encoding="utf-8")
    return _harmless(text, name) if name.endswith(".js") else text.strip("\n") + "\n"


@cache
def _plotly() -> str:
    """The charts' library, as the Python package brings it."""
    from plotly.offline import get_plotlyjs

    return _harmless(get_plotlyjs(), "plotly.js")


def _harmless(script: str, name: str) -> str:
    """A script that can stand in its element."""
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        raise ValueError(f"{name} would end its own script element")
    return script.strip("\n") + "\n"


def _hash(script: str) -> str:
    """As a content security policy names a script: of the text between its tags."""
    text = f"\n{script}\n"
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _lines(found: Mapping[str, Any]) -> str:
    """JSON with an entry a line, so that a page with one more record differs in few; inert wherever HTML has it."""
    parts = []
    for name, value in found.items():
        if isinstance(value, list) and value:
            inner = ",\n".join(map(_entry, value))
            parts.append(f"{_json(name)}:[\n{inner}\n]")
        elif isinstance(value, Mapping) and value:
            inner = ",\n".join(f"{_json(key)}:{_json(item)}" for key, item in value.items())
            parts.append(f"{_json(name)}:{{\n{inner}\n}}")
        else:
            parts.append(f"{_json(name)}:{_json(value)}")
    return "{" + ",\n".join(parts) + "}"


def _entry(value: Any) -> str:
    """An entry of a list; the rows of a group have lines of their own."""
    if (
        not isinstance(value, Mapping)
        or "rows" not in value
        or not all(isinstance(row, Mapping) for row in value["rows"])
    ):
        return _json(value)
    head = _json({name: item for name, item in value.items() if name != "rows"})
    rows = ",\n".join(map(_json, value["rows"]))
    return f'{head[:-1]},"rows":[\n{rows}\n]}}'


def _json(value: Any) -> str:
    """No <, > or &: nothing in it can end the element, begin another or be an entity. No NaN; ASCII alone."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _in_turns(groups: Sequence[Group]) -> list[str]:
    """Keys of finished records: of each comparison the first, then of each the second, and so on."""
    found = [[key for row in group.rows if row.seeds for key in row.keys] for group in groups]
    return [key for turn in itertools.zip_longest(*found) for key in turn if key is not None]


def _pictures(keys: Sequence[str], folder: Path | None, budget: int) -> dict[str, Any]:
    """Pictures as data URIs by key, as many as fit into `budget` bytes, the first ones first, and how many don't."""
    found: dict[str, str] = {}
    left_out = 0
    for key in keys:
        path = None if folder is None or not KEY.fullmatch(key) else folder / f"{key}.png"
        if path is None or not path.is_file():
            continue
        raw = path.read_bytes() if path.stat().st_size < budget else b""
        encoded = "data:image/png;base64," + base64.b64encode(raw).decode()
        if not raw.startswith(PNG) or len(encoded) + 64 > budget:
            left_out += 1
            continue
        found[key] = encoded
        budget -= len(encoded) + 64
    return {"pictures": found, "left_out": left_out}
