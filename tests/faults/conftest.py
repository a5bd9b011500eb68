"""Commands in processes of their own that can be killed, and what is compared between two folders of results."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.reading import RECORD_SCHEMA
from bench.store import Records

# Whatever a command imports that takes time: a killed process costs a fork, not seconds of imports.
PRELOADED = "bench.cli bench.commands bench.runner bench.score_plots bench.matched bench.fast torch._dynamo".split()
OUT = """
import os
out = os.open({out!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(out, 1), os.dup2(out, 2)
"""
COMMAND = """
import sys
os.environ |= {environment!r}
sys.argv = {argv!r}
from bench.cli import main
main()
"""


class Child(NamedTuple):
    """A `bench` command that runs. `out`: the file that has what it said."""

    process: BaseProcess
    out: Path

    def ended(self, seconds: float = 300) -> int | None:
        """Its exit code; -9 if it was killed."""
        self.process.join(seconds)
        return self.process.exitcode

    def said(self) -> str:
        return self.out.read_text()


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    """Run a program in a process of its own, which is killed at the end of the test at the latest."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    children: list[Child] = []

    def start(program: str) -> Child:
        out = tmp_path / f"said-{len(children)}.txt"
        process = context.Process(target=exec, args=(OUT.format(out=str(out)) + program, {}))
        process.start()
        children.append(Child(process, out))
        return children[-1]

    yield start
    for one in children:
        if one.process.is_alive():
            one.process.kill()
        one.process.join()


@pytest.fixture
def child(python: Callable[[str], Child]) -> Callable[..., Child]:
    """Start a `bench` command as a process, in the given BENCH_HOME."""

    def start(home: Any, *arguments: object, **environment: str) -> Child:
        around = {"BENCH_HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment
        return python(COMMAND.format(environment=around, argv=["bench", *map(str, arguments)]))

    return start


@pytest.fixture(scope="session")
def committed() -> tuple[str, dict[str, Any]]:
    """The text of a record of schema 1, and the record as this version writes it."""
    text = (Path(__file__).parent.parent / "schemas" / "1.json").read_text()
    return text, json.loads(text) | {"schema": RECORD_SCHEMA}


@pytest.fixture
def numbers() -> Callable[[Path], dict[str, Any]]:
    """What is in a folder of results and must be the same however its runs went."""
    return _numbers


def _numbers(results: Path) -> dict[str, Any]:
    """By key, what must be the same however a run went: everything measured, and the cost but for seconds."""
    records, warnings = Records(results).load_all()
    assert not warnings, warnings
    assert all(record["status"] == "done" for record in records), [record["error"] for record in records]
    return {
        record["key"]: (
            record["clean"],
            record["levels"],
            {name: spent for name, spent in record["cost"].items() if not name.endswith("seconds")},
        )
        for record in records
    }
