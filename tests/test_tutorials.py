"""The blocks of code in docs/tutorials/ are run, in order, page by page, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
BIN = Path(sys.executable).parent
FENCE = re.compile(
    r'^```(?P<language>\w*)(?: title="(?P<title>[\w.]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block: bash is run, anything else is the file that its title names."""

    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = [Block(**match.groupdict()) for match in FENCE.finditer(text)]
    assert text.count("```") == 2 * len(found), "a fence that is none of ours would not be run"
    return found


def test_every_tutorial_is_run_and_every_block_is_a_file_or_a_command() -> None:
    pages = sorted(TUTORIALS.glob("*.md"))
    assert [page.stem for page in pages] == ["add_a_method", "compare", "tune_and_cluster"]
    for page in pages:
        found = blocks(page)
        assert sum(block.language == "bash" for block in found) >= 2
        assert all((block.language == "bash") == (block.title is None) for block in found)


@pytest.mark.parametrize("name", ["add_a_method", "compare", "tune_and_cluster"])
def test_a_tutorial_does_what_it_says(name: str, home: Path, tmp_path: Path) -> None:
    folder, page = tmp_path / "empty", TUTORIALS / f"{name}.md"
    folder.mkdir()
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "200"}
    for block in blocks(page):
        if block.title is not None:
            (folder / block.title).write_text(block.text)
            continue
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    # What the text says is there, is there.
    said = set(re.findall(r"`((?:results/[\w./-]+|\w+\.json))`", page.read_text()))
    assert all((folder / path).exists() for path in said), said
    records = list((folder / "results" / "records").glob("*.json"))
    assert len(records) >= 2 and all('"status": "done"' in path.read_text() for path in records)
