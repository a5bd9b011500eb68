"""What a person sees of many cells at once, and what each of several cells gets of a machine's GPUs."""

import io
import re

import pytest
import torch
from rich.console import Console

from bench import cluster, fast
from bench.live import View
from bench.status import Row


@pytest.fixture
def rows() -> list[Row]:
    """One that is done, one that a second worker has in hand, one that waits."""
    done, running, waiting = Row("a", "nominal on rram"), Row("b", "mtrd on rram"), Row("c", "hwa [x] on rram")
    done.begin("box 1")
    done.end("done")
    running.begin("box 2")
    running.attempts, running.doing, running.done, running.steps = 2, "sweep mtrd on rram", 3, 8
    running.figures = "level 0.1"
    return [done, running, waiting]


def test_a_terminal_has_a_row_for_each_cell_that_runs_and_one_that_counts(rows):
    out = io.StringIO()
    with View(Console(file=out, force_terminal=True, force_interactive=True, color_system=None, width=150)) as view:
        view.show(rows)
        assert view.bars is not None
        view.bars.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
        assert re.search(r"^all .* 1/3 .* 1 of 3 cells done", shown, re.MULTILINE)
        assert re.search(r"^mtrd on rram: sweep .* 3/8 .* level 0\.1 +box 2 +again", shown, re.MULTILINE)
        assert "nominal" not in shown and "hwa" not in shown
        rows[1].end("failed", "by zero")
        rows[2].begin("box 1")
        view.ended(rows[1])
        view.show(rows)
        out.truncate(out.seek(0))
        view.bars.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
        assert "hwa [x] on rram" in shown and "mtrd" not in shown and "2/3" in shown


def test_without_a_terminal_there_is_a_line_for_each_that_ends_and_a_count_now_and_then(rows):
    out = io.StringIO()
    with View(Console(file=out, width=60)) as view:
        view.show(rows)
        view.ended(rows[0])
        rows[2].end("failed", "by zero")
        view.ended(rows[2])
        assert out.getvalue() == "nominal on rram: done in 0 s, box 1\nFAILED hwa [x] on rram: by zero\n"
        out.truncate(out.seek(0))
        view.last -= View.EVERY_S + 1
        view.show(rows)
        view.show(rows)
    assert out.getvalue() == "1 of 3 cells done, 1 failed; mtrd on rram sweep mtrd on rram 3/8  level 0.1\n"


@pytest.mark.parametrize(
    ("workers", "there", "asked", "each"),
    [(2, 1, None, 1 / 2), (3, 2, None, 1 / 2), (4, 4, None, 1), (1, 4, None, 1), (2, 1, 0.25, 0.25), (1, 2, 2, 2)],
)
def test_workers_share_the_gpus_of_a_machine(workers, there, asked, each, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(fast, "processor", lambda on, threads: torch.device("cuda"))
    monkeypatch.setattr(fast, "precision_for", lambda processor: "bf16")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    crew = cluster.crew(workers, None, asked, "auto", 1)
    assert (crew.gpus, crew.processor, crew.slots) == (each, "cuda", workers)
