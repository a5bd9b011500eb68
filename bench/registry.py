"""Name -> class for devices, methods and tasks.

An entry is a class with a literal `name = "..."` in a file of its folder; no list is edited.
Names, summaries and sources are read from the files with `ast`, so that listing imports no torch.
Other packages add entries through the entry points `cim_bench.devices`, `cim_bench.methods`
and `cim_bench.tasks` (name = "module:Class").
"""

import ast
import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from bench.errors import BenchError

KINDS = ("devices", "methods", "tasks")


@dataclass(frozen=True)
class Entry:
    """Where a plug-in is found. `summary`: the first line of its class docstring; `source`: who it is from.

    `asks`: what a command must be given beside its name, such as --data DIR.
    """

    name: str
    module: str
    attribute: str
    summary: str
    source: str = ""
    asks: str = ""

    def load(self) -> Any:
        """Import the module and return the class."""
        return getattr(importlib.import_module(self.module), self.attribute)


def _folder(kind: str) -> Path:
    spec = importlib.util.find_spec(kind)
    if spec is None or not spec.submodule_search_locations:
        raise BenchError(f"folder {kind}/ is not importable: install the project again")
    return Path(next(iter(spec.submodule_search_locations)))


def _literal(node: ast.ClassDef, name: str) -> str:
    """The text that a class body gives to `name`; empty if it gives none, or computes it."""
    for line in node.body:
        if not isinstance(line, ast.Assign | ast.AnnAssign):
            continue
        targets = line.targets if isinstance(line, ast.Assign) else [line.target]
        named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if named and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str):
            return line.value.value
    return ""


def _scan(path: Path, module: str) -> list[Entry]:
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError) as error:
        raise BenchError(f"{path} is no Python file: {error}") from None
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    entries = []
    for node in classes.values():
        if name := _literal(node, "name"):
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            source, asks = (_inherited(node, classes, text) for text in ("source", "asks"))
            entries.append(Entry(name, module, node.name, summary, source, asks))
    return entries


def _inherited(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], name: str) -> str:
    """The text that a class gives to `name`; a variant says it by the class of the same file that it is made of."""
    bases = (classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes)
    return _literal(node, name) or next(filter(None, (_inherited(base, classes, name) for base in bases)), "")


@cache
def entries(kind: str) -> Mapping[str, Entry]:
    """All entries of a kind by name, ours first, then those of installed packages."""
    found: dict[str, Entry] = {}
    for path in sorted(_folder(kind).glob("[!_]*.py")):
        for entry in _scan(path, f"{kind}.{path.stem}"):
            _add(found, entry, kind)
    for point in entry_points(group=f"cim_bench.{kind}"):
        summary = f"from {point.dist.name} {point.dist.version}" if point.dist else ""
        _add(found, Entry(point.name, point.module, point.attr, summary), kind)
    return dict(sorted(found.items()))


def _add(found: dict[str, Entry], entry: Entry, kind: str) -> None:
    if entry.name in found:
        raise BenchError(f"two {kind} are named '{entry.name}': {found[entry.name].module} and {entry.module}")
    found[entry.name] = entry


def get(kind: str, name: str) -> Any:
    """The class registered under `name`. BenchError with the nearest match if there is none."""
    known = entries(kind)
    if name not in known:
        raise BenchError(f"unknown {kind[:-1]} '{name}'{suggestion(name, known)}")
    entry = known[name]
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise BenchError(f"{kind[:-1]} '{name}' can't be loaded from {entry.module}: {error}") from error
    if getattr(found, "name", None) != name:
        raise BenchError(f"{kind[:-1]} '{name}': {entry.module}.{entry.attribute} must have name = \"{name}\"")
    return found


def asks(task: str) -> str:
    """' --data DIR', or nothing: what a command has behind the name of a task."""
    entry = entries("tasks").get(task)
    return f" {entry.asks}" if entry and entry.asks else ""


def suggestion(name: str, known: Mapping[str, Any]) -> str:
    """'; did you mean X?' for a near miss, else the list of what there is."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; there are: {', '.join(known)}"
