"""What a command is at, told to `bench status` in another terminal: a small JSON file a command in BENCH_HOME/runs."""

import dataclasses
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, get_type_hints

from bench import holder, limits
from bench.files import read_one, write_text
from bench.labels import plain
from bench.progress import Monitor, Work
from bench.store import home, local

SCHEMA = 1
KEPT = 10  # commands whose files stay
SILENT_S = 60.0  # of a command on another machine: after so long without a word it is taken for dead
HERE_SILENT_S = 86_400.0  # on this one its process is looked for, whose number may be another's by then


@dataclass
class Row:
    """What became of a job so far; times in s since 1970. `kind`: a word with an s for several of them;
    `attempts`: workers that have begun it.

    `doing`, `done`, `steps`, `figures`: of the piece of work that it is at.
    """

    key: str
    title: str
    kind: str = "cell"
    state: str = "waiting"
    where: str = ""
    begun: float | None = None
    ended: float | None = None
    attempts: int = 0
    doing: str = ""
    done: int = 0
    steps: int = 0
    figures: str = ""
    reason: str = ""

    def begin(self, where: str) -> None:
        """A worker has it in hand."""
        self.state, self.where, self.begun, self.attempts = "running", where, time.time(), self.attempts + 1

    def end(self, state: str, reason: str = "") -> None:
        """Nobody works on it any more; `state`: how it ended."""
        self.state, self.reason, self.ended = state, reason, time.time()

    def at(self, work: Work) -> None:
        """Where its piece of work is."""
        self.doing, self.done, self.steps, self.figures = work.title, work.done, work.steps, work.figures

    @property
    def progress(self) -> str:
        """In a few words: 'sweep ... 12/40  level 0.1', or why it ended."""
        if self.state != "running":
            return self.reason
        doing = "" if self.doing == self.title else f"{self.doing} "
        return f"{doing}{self.done}/{self.steps}  {self.figures}".rstrip() if self.steps else doing.rstrip()


@dataclass
class Status:
    """All jobs of a command. Written now and then; that this fails is no reason to stop."""

    folder: Path
    command: str
    workers: str  # who does them, in words
    rows: dict[str, Row] = field(default_factory=dict)
    EVERY_S = 2.0

    def __post_init__(self) -> None:
        self.begun, self.last = time.time(), 0.0
        self.ended: str | None = None
        self.path = self.folder / f"{socket.gethostname()}-{os.getpid()}.json"
        with suppress(OSError):
            old = sorted(self.folder.glob("[!.]*.json"), key=lambda path: path.stat().st_mtime)
            for path in old[: max(0, len(old) - KEPT + 1)]:
                path.unlink()

    def add(self, rows: Iterable[Row]) -> None:
        """Jobs that are not known yet. Told at once: a command that is killed soon leaves what it was to do."""
        before = len(self.rows)
        for row in rows:
            self.rows.setdefault(row.key, row)
        if len(self.rows) > before:
            self.write(now=True)

    def follow(self, key: str, title: str, kind: str, monitor: Monitor) -> Row:
        """A job that this process does from now on, which is seen by its display."""
        row = self.rows.setdefault(key, Row(key, title, kind))

        def seen(work: Work) -> None:
            row.at(work)
            self.write()

        row.begin("")
        self.write(now=True)
        monitor.seen = seen
        return row

    def write(self, now: bool = False) -> None:
        """Write it; not `now`: only if the last time was a while ago."""
        if not now and time.time() - self.last < self.EVERY_S:
            return
        self.last = time.time()
        rows = [dataclasses.asdict(row) for row in self.rows.values()]
        told = {"schema": SCHEMA, "command": self.command, "workers": self.workers, "host": socket.gethostname()}
        told |= {"pid": os.getpid(), "begun": self.begun, "updated": self.last, "ended": self.ended, "jobs": rows}
        told["holder"] = holder.this()
        with suppress(OSError):
            write_text(self.path, json.dumps(told) + "\n")

    def __enter__(self) -> "Status":
        self.write(now=True)
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """The command has ended: done, failed or interrupted. What ran is stopped."""
        self.ended = "done" if kind is None else "failed" if issubclass(kind, Exception) else "interrupted"
        for row in self.rows.values():
            if row.state == "running":
                row.end("stopped")
        self.write(now=True)


@dataclass(frozen=True)
class Told:
    """What a command has told. `is_alive`: does it still work?"""

    command: str
    workers: str
    place: str
    begun: float
    updated: float
    ended: str | None
    is_alive: bool
    rows: tuple[Row, ...]


def read(folder: Path) -> list[Told]:
    """All that commands have told there, the one last heard of first; what can't be read is left out."""
    found = []
    for path in folder.glob("[!.]*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            found.append(_told(json.loads(read_one(path, limits.RECORD))))
    return sorted(found, key=lambda told: -told.updated)


def _told(found: dict[str, Any]) -> Told:
    pid, host, updated = int(found["pid"]), plain(found["host"]), float(found["updated"])
    here = host == socket.gethostname()
    silent_s = time.time() - updated
    is_gone = here and (not holder.runs(pid) or holder.is_gone(json.dumps(found.get("holder")).encode()))
    is_alive = found["ended"] is None and not is_gone and silent_s < (HERE_SILENT_S if here else SILENT_S)
    return Told(
        command=plain(found["command"]),
        workers=plain(found["workers"]),
        place=f"process {pid}" + ("" if here else f" on {host}"),
        begun=float(found["begun"]),
        updated=updated,
        ended=None if found["ended"] is None else plain(found["ended"]),
        is_alive=is_alive,
        rows=tuple(map(_row, found["jobs"])),
    )


def _row(found: dict[str, Any]) -> Row:
    """A row, from a file that anybody may have written; TypeError if it is none."""
    kinds = get_type_hints(Row)
    known = {name: value for name, value in found.items() if name in kinds}
    texts: dict[str, Any] = {name: plain(value) for name, value in known.items() if isinstance(value, str)}
    row = Row(**(known | texts))
    for name, kind in kinds.items():
        if not isinstance(getattr(row, name), kind):
            raise TypeError(f"{name} is of another kind")
    return row


def ago(seconds: float) -> str:
    """'45 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def summary(rows: Collection[Row]) -> str:
    """'3 of 8 cells done, 1 failed; 2 of 5 trainings done'."""
    parts = []
    for kind in sorted({row.kind for row in rows}):
        states = Counter(row.state for row in rows if row.kind == kind)
        others = "".join(f", {states[state]} {state}" for state in ("failed", "stopped") if states[state])
        parts.append(f"{states['done']} of {states.total()} {kind}s done{others}")
    return "; ".join(parts)


def lines(told: Told, now: float) -> list[str]:
    """What a command is at, for people; jobs that wait or are done are counted only."""
    if told.is_alive:
        how = f"running for {ago(now - told.begun)}"
    else:
        how = f"{told.ended or 'killed'} {ago(now - told.updated)} ago"
    said = [f"{told.command}", f"  {how}, {told.workers}, {told.place}: {summary(told.rows)}"]
    for state in ("running", "failed", "stopped"):
        for row in (row for row in told.rows if row.state == state):
            where = f", {row.where}" if row.where else ""
            since = f" for {ago(now - row.begun)}" if row.begun and state == "running" and told.is_alive else ""
            again = f", attempt {row.attempts}" if row.attempts > 1 else ""
            shown = "stopped" if state == "running" and not told.is_alive else state
            said.append(f"  {shown}{since}{where}{again}: {row.title}  {row.progress}".rstrip())
    return said


def show() -> None:
    """Print what commands that use this BENCH_HOME are at; where none runs, how the last one ended."""
    place = home()
    told = read(local(place) / "runs")
    shown = [one for one in told if one.is_alive] or told[:1]
    for one in shown:
        for line in lines(one, time.time()):
            print(line)
    if not shown:
        print(f"no command has run cells with this BENCH_HOME, {place}")
    if not isinstance(place, Path):
        print(f"only commands of this machine are shown: what they are at is not kept in {place}")
