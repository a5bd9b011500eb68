"""Bars on a terminal, lines in a log, and a terminal that is given back whatever happens."""

import io

import pytest
from rich.console import Console

from bench.progress import Monitor, Work

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def monitored(terminal: bool) -> tuple[Monitor, io.StringIO]:
    out = io.StringIO()
    environment = {"TERM": "xterm", "COLUMNS": "120", "LINES": "20"}
    return Monitor(Console(file=out, force_terminal=terminal, _environ=environment)), out


def test_a_terminal_shows_nested_bars_only_while_there_is_work():
    monitor, out = monitored(terminal=True)
    with monitor.work("student", 4) as outer:
        outer.advance()
        outer.note(loss=0.25, epoch=3)
        with monitor.work("teacher [1]", 2) as inner:
            inner.total(3)
            inner.advance(2)
            monitor.bars.refresh()
        assert monitor.bars is not None
    assert monitor.bars is None
    text = out.getvalue()
    assert "2/3" in text
    assert "loss 0.25  epoch 3" in text
    assert "teacher [1]: done in 0 s" in text
    assert text.count(HIDE) == text.count(SHOW) == 1
    with monitor.work("the next cell", 1):
        pass
    assert out.getvalue().count(SHOW) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_terminal_is_given_back_after_an_error(error):
    monitor, out = monitored(terminal=True)
    with pytest.raises(error), monitor.work("student", 4), monitor.work("teacher", 4):
        raise error
    assert monitor.bars is None
    assert out.getvalue().rindex(SHOW) > out.getvalue().rindex(HIDE)
    assert "done" not in out.getvalue()


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch):
    monkeypatch.setattr(Work, "EVERY_S", 0.0)
    monitor, out = monitored(terminal=False)
    with monitor.work("student", 2) as work:
        work.note(loss=0.5)
        work.advance()
    assert out.getvalue() == "student: 1/2  loss 0.5\nstudent: done in 0 s  loss 0.5\n"


def test_quiet_is_quiet():
    monitor, out = monitored(terminal=True)
    monitor.quiet = True
    with monitor.work("student", 2) as work:
        work.advance()
    monitor.say("anything")
    assert out.getvalue() == ""
