"""What a person sees while cells run: live bars on a terminal, plain lines in a log file."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Monitor:
    """Follows nested pieces of work. Without a terminal, prints a line at each end and now and then between.

    Bars live only while there is work, so that tables can be printed between two cells. `seen`: is told of each step of
    a piece of work, however quiet; `kept`: of each point from which the work could go on; it may stop it by raising.
    """

    def __init__(
        self,
        console: Console | None = None,
        quiet: bool = False,
        *,
        seen: "Callable[[Work], None]" = lambda work: None,
        kept: Callable[[], None] = lambda: None,
    ) -> None:
        self.console = console or Console(stderr=True)
        self.quiet, self.seen, self.kept = quiet, seen, kept
        self.bars: Progress | None = None
        self._depth = 0

    def begin(self) -> None:
        """A piece of work begins; the outermost one starts the display."""
        self._depth += 1
        if self._depth == 1 and self.console.is_interactive and not self.quiet:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", style="dim", markup=False),
            )
            self.bars = Progress(*columns, console=self.console, transient=True)
            self.bars.start()

    def end(self) -> None:
        """A piece of work ends, well or not; the outermost one gives the terminal back."""
        self._depth -= 1
        if self._depth == 0 and self.bars:
            self.bars.stop()
            self.bars = None

    def say(self, text: str) -> None:
        """A lasting line."""
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def work(self, title: str, steps: int) -> "Work":
        """A piece of work of so many steps; a context manager."""
        return Work(self, title, steps)


class Work:
    """One line of the display. `ending`: what the last line says of the time that it took."""

    EVERY_S = 30.0

    def __init__(self, monitor: Monitor, title: str, steps: int) -> None:
        self.monitor, self.title, self.steps = monitor, title, steps
        self.done = 0
        self.figures = ""
        self.ending = ""
        self.began = self.last = time.monotonic()
        self.bar: TaskID | None = None

    def __enter__(self) -> "Work":
        self.monitor.begin()
        if self.monitor.bars:
            self.bar = self.monitor.bars.add_task(self.title, total=self.steps, note="")
        self.monitor.seen(self)
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.monitor.bars and self.bar is not None:
            self.monitor.bars.remove_task(self.bar)
        self.monitor.end()
        if kind is None:
            seconds = time.monotonic() - self.began
            self.monitor.say(f"{self.title}: done in {seconds:.0f} s{self.ending}  {self.figures}".rstrip())

    def total(self, steps: int) -> None:
        """Correct the number of steps."""
        self.steps = steps
        self._update(total=steps)

    def advance(self, steps: int = 1) -> None:
        """Some steps further."""
        self.done += steps
        self._update(advance=steps)
        if self.bar is None and time.monotonic() - self.last > self.EVERY_S:
            self.last = time.monotonic()
            self.monitor.say(f"{self.title}: {self.done}/{self.steps}  {self.figures}".rstrip())

    def kept(self) -> None:
        """All that was done so far is kept: the work could be stopped here, and go on from here."""
        self.monitor.kept()

    def following(self, planned: int) -> Callable[[float, int], None]:
        """To be called for each chip: one further, while the number of `planned` chips may change."""

        def seen(metric: float, now: int) -> None:
            nonlocal planned
            if now != planned:
                self.total(self.steps + now - planned)
                planned = now
            self.advance()

        return seen

    def note(self, **figures: Any) -> None:
        """Figures to show behind the bar."""
        shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
        self.figures = "  ".join(shown)
        self._update(note=self.figures)

    def _update(self, **changes: Any) -> None:
        if self.monitor.bars and self.bar is not None:
            self.monitor.bars.update(self.bar, **changes)
        self.monitor.seen(self)
