"""Who may enter which room (docs/design.md): import statements are read, not run."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import registry

ROOT = Path(__file__).parent.parent
# Room -> what its files may import beside the standard library. A trailing _ stands for all names that begin so:
# shared helpers have an underscore, and members of a room never import each other.
ROOMS = {
    "devices": ("torch", "devices._"),
    "tasks": ("torch", "torchvision", "timm", "PIL", "filelock", "safetensors", "numpy", "tokenizers", "tasks._"),
    "tasks/_models": ("torch", "torchvision", "timm", "snntorch", "transformers", "tasks._base", "tasks._models._"),
    "methods": ("torch", "devices._base", "tasks._base", "methods._"),
}
# The bench may import any package, but members of the other rooms only through the registry.
BENCH_HELPERS = ("devices._", "tasks._", "methods._")


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that a file imports, with what is taken from them: `from a import b` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.JoinedStr) and first.values:
                first = first.values[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def fits(name: str, allowed: tuple[str, ...]) -> bool:
    """Is this name one of the allowed, or inside one?"""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    return any(name == a or name.startswith(a if a.endswith("_") else f"{a}.") for a in allowed)


def wrong_imports(file: str, source: str) -> list[str]:
    """The imports of a file (path from the root of the project) that its room forbids."""
    folder = file.rpartition("/")[0]
    names = imported(ast.parse(source), folder.replace("/", "."))
    if folder.partition("/")[0] == "bench":
        rooms = ("devices", "tasks", "methods")
        return [n for n in names if n.partition(".")[0] in rooms and not fits(n, BENCH_HELPERS)]
    room = max((room for room in ROOMS if f"{folder}/".startswith(f"{room}/")), key=len)
    return [name for name in names if not fits(name, ROOMS[room])]


def files(*rooms: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("file", files("bench", "devices", "methods", "tasks"))
def test_nobody_enters_a_room_that_is_not_theirs(file):
    assert wrong_imports(file, (ROOT / file).read_text()) == []


@pytest.mark.parametrize(
    "file, statement",
    [
        ("devices/x.py", "import bench"),
        ("devices/x.py", "from bench.errors import BenchError"),
        ("devices/x.py", "import numpy as np"),
        ("devices/x.py", "from devices.rram import Rram"),
        ("devices/x.py", "from devices import rram"),
        ("devices/x.py", "from . import rram"),
        ("devices/x.py", "from .rram import Rram"),
        ("devices/x.py", "import torchvision"),
        ("devices/x.py", "def f():\n    import methods._base"),
        ("tasks/x.py", "from devices._base import Device"),
        ("tasks/x.py", "import rich"),
        ("tasks/x.py", "import tasks.mnist"),
        ("tasks/_models/x.py", "from tasks._models.vgg8 import VGG8"),
        ("tasks/_models/x.py", "import safetensors"),
        ("methods/x.py", "from tasks._data import load"),
        ("methods/x.py", "from devices._measured import Measured"),
        ("methods/x.py", "from devices import _measured"),
        ("methods/x.py", "from methods.mtrd import teacher_weights"),
        ("methods/x.py", "import optuna"),
        ("methods/x.py", "if 1:\n    from devices.rram import Rram"),
        ("methods/x.py", "import importlib\nimportlib.import_module('bench.store')"),
        ("methods/x.py", "__import__(f'devices.{name}')"),
        ("bench/x.py", "from methods.mtrd import teacher_weights"),
        ("bench/x.py", "import devices.rram"),
    ],
)
def test_a_wrong_import_is_caught(file, statement):
    assert len(wrong_imports(file, statement)) == 1


@pytest.mark.parametrize(
    "file, statement",
    [
        ("devices/x.py", "import math, torch.nn\nfrom devices._base import Device\nfrom ._base import Device"),
        ("tasks/x.py", "from PIL import Image\nfrom tasks._images import ImageClassification"),
        ("tasks/_models/x.py", "from tasks._models._parts import conv\nimport torch.nn as nn"),
        ("methods/x.py", "import methods._loop\nfrom devices._base import Device\nfrom tasks._base import Task"),
        ("bench/x.py", "import optuna, typer\nfrom devices._base import Device\nfrom bench import plan"),
    ],
)
def test_a_right_import_is_not_caught(file, statement):
    assert wrong_imports(file, statement) == []


def mentioned(source: str) -> set[str]:
    """Identifiers and whole string literals of a file; prose in docstrings and comments is free."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "arg", "name", "value", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.update(value.split(".") if field in ("module", "name") else [value])
    return found


@pytest.mark.parametrize("file", files("methods"))
def test_methods_know_no_device_and_no_data_set(file):
    known = set(registry.entries("devices")) | set(registry.entries("tasks"))
    assert mentioned((ROOT / file).read_text()) & known == set()


@pytest.mark.parametrize(
    "source", ["if device.name == 'rram': pass", "rram = 1", "f(rram=2)", "x.rram()", "import a.rram", "{'rram': 1}"]
)
def test_a_method_that_names_a_device_is_caught(source):
    assert "rram" in mentioned(source)
    assert "rram" not in mentioned('"""As for rram."""  # rram')
