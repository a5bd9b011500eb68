"""What a person sees while cells run: live bars on a terminal, plain lines in a log file."""

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn


class Monitor:
    """Follows nested pieces of work. Without a terminal, prints a line at each end and now and then between."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True)
        self.quiet = quiet
        self.live: Progress | None = None
        if self.console.is_terminal and not quiet:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("[dim]{task.fields[note]}"),
            )
            self.live = Progress(*columns, console=self.console, transient=True)

    def __enter__(self) -> "Monitor":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def say(self, text: str) -> None:
        """A lasting line."""
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def work(self, title: str, steps: int) -> "Work":
        """A piece of work of so many steps; a context manager."""
        return Work(self, title, steps)


class Work:
    """One line of the display."""

    EVERY_S = 30.0

    def __init__(self, monitor: Monitor, title: str, steps: int) -> None:
        self.monitor, self.title, self.steps = monitor, title, steps
        self.done = 0
        self.figures = ""
        self.began = self.last = time.monotonic()
        self.bar = monitor.live.add_task(title, total=steps, note="") if monitor.live else None

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.monitor.live and self.bar is not None:
            self.monitor.live.remove_task(self.bar)
        if kind is None:
            seconds = time.monotonic() - self.began
            self.monitor.say(f"{self.title}: done in {seconds:.0f} s  {self.figures}".rstrip())

    def total(self, steps: int) -> None:
        """Correct the number of steps."""
        self.steps = steps
        if self.monitor.live and self.bar is not None:
            self.monitor.live.update(self.bar, total=steps)

    def advance(self, steps: int = 1) -> None:
        """Some steps further."""
        self.done += steps
        if self.monitor.live and self.bar is not None:
            self.monitor.live.advance(self.bar, steps)
        elif time.monotonic() - self.last > self.EVERY_S:
            self.last = time.monotonic()
            self.monitor.say(f"{self.title}: {self.done}/{self.steps}  {self.figures}".rstrip())

    def note(self, **figures: Any) -> None:
        """Figures to show behind the bar."""
        shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
        self.figures = "  ".join(shown)
        if self.monitor.live and self.bar is not None:
            self.monitor.live.update(self.bar, note=self.figures)
