"""What a person sees while many jobs run at once: one row each, and how many are done; lines without a terminal."""

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.status import Row, ago, summary


class View:
    """A row a running job under one that counts. Without a terminal: a line as each ends, and a count now and then."""

    EVERY_S = 60.0

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.bars: Progress | None = None
        self.shown: dict[str, TaskID] = {}
        self.total: TaskID | None = None
        self.last = time.monotonic()

    def __enter__(self) -> "View":
        if self.console.is_interactive:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}", style="dim", markup=False),
            )
            self.bars = Progress(*columns, console=self.console, transient=True)
            self.total = self.bars.add_task("all", total=None, note="")
            self.bars.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.bars:
            self.bars.stop()

    def say(self, text: str) -> None:
        """A lasting line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def ended(self, row: Row) -> None:
        """The lasting line of a job that has ended."""
        took = ago(row.ended - row.begun) if row.begun and row.ended else "0 s"
        if row.state == "done":
            self.say(f"{row.title}: done in {took}" + (f", {row.where}" if row.where else ""))
        elif row.state == "failed":
            self.say(f"FAILED {row.title}: {row.reason}")

    def show(self, rows: Iterable[Row]) -> None:
        """What all are at."""
        rows = list(rows)
        running = [row for row in rows if row.state == "running"]
        if self.bars is None or self.total is None:
            if time.monotonic() - self.last > self.EVERY_S:
                self.last = time.monotonic()
                self.say("; ".join([summary(rows), *(f"{row.title} {row.progress}".rstrip() for row in running)]))
            return
        over = sum(row.state in ("done", "failed") for row in rows)
        self.bars.update(self.total, total=len(rows), completed=over, note=summary(rows))
        for key in self.shown.keys() - {row.key for row in running}:
            self.bars.remove_task(self.shown.pop(key))
        for row in running:
            if row.key not in self.shown:
                self.shown[row.key] = self.bars.add_task(row.title, total=None, note="")
            note = "  ".join(filter(None, (row.figures, row.where, "again" if row.attempts > 1 else "")))
            what = row.title if row.doing in ("", row.title) else f"{row.title}: {row.doing.partition(' ')[0]}"
            self.bars.update(
                self.shown[row.key], description=what, total=row.steps or None, completed=row.done, note=note
            )
