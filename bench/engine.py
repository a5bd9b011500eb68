"""Drives a graph of jobs on a team of workers: hands out what is ready, shows what runs, takes what comes back."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from bench import interrupt
from bench.errors import in_one_line
from bench.grid import Graph, Job
from bench.live import View
from bench.status import Row, Status
from bench.worker import Result

POLL_S = 0.5
DRAINING = "Ctrl-C: nothing new begins; what runs goes on to its next resume point (once more: stop at once)"


class Team(Protocol):
    """Workers somewhere; `Handle`s are whatever names a job that was handed to them."""

    def submit(self, job: Job) -> Any: ...

    def wait(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        """Those that have ended, as soon as one has, or none when the time is up."""
        ...

    def result(self, handle: Any) -> Result: ...

    def seen(self) -> Mapping[str, Mapping[str, Any]]:
        """What jobs that have begun are at, by key."""
        ...

    def stop(self, key: str | None = None) -> None:
        """Ask a job, or all, to stop at the next resume point."""
        ...

    def forget(self, key: str) -> None:
        """A job has ended: what it was at needs no place any more."""
        ...

    def cancel(self, handles: Sequence[Any], force: bool) -> None:
        """Those that have not begun never will; with `force` those that run end at once."""
        ...


class Boss:
    """Who wants the jobs. `done` may raise: the job has failed then."""

    def more(self) -> Sequence[Job]:
        """Further jobs; asked for as long as there are any."""
        return ()

    def seen(self, job: Job, told: Mapping[str, Any]) -> bool:
        """What a job that runs is at; is it to stop?"""
        return False

    def done(self, job: Job, value: Any) -> None:
        """It has ended well, with what it gave."""

    def failed(self, job: Job, error: Exception) -> None:
        """It has failed."""

    def lost(self, job: Job, root: Job, error: Exception) -> None:
        """It was not begun, since what it waited for has failed: `root`, by `error`."""

    def stopped(self, job: Job) -> bool:
        """It was stopped; did the boss ask for that? If not, and nobody drains the team, it is done again."""
        return False


class Engine:
    """One grid, from its first job to its last."""

    def __init__(self, team: Team, graph: Graph, boss: Boss, view: View, status: Status) -> None:
        self.team, self.graph, self.boss, self.view, self.status = team, graph, boss, view, status
        self.handed: dict[Any, Job] = {}
        self.drains = False
        self.is_told = False

    def run(self) -> None:
        """Until all is done or has failed. KeyboardInterrupt after the first Ctrl-C, once the team is drained."""
        try:
            self._add_rows(self.graph.jobs.values())
            with self.view, interrupt.first_is_told(self._drain):
                while self._turn():
                    pass
            if self.drains:
                raise KeyboardInterrupt
        finally:
            if self.handed:
                self.team.cancel(list(self.handed), force=True)

    def _add_rows(self, jobs: Iterable[Job]) -> None:
        self.status.add(Row(job.key, job.title, job.kind) for job in jobs)

    def _drain(self) -> None:
        self.drains = True

    def _turn(self) -> bool:
        """Hand out, wait a moment, take back; False when there is nothing left to wait for."""
        if self.drains:
            self._stop_all()
        else:
            if more := self.boss.more():
                self.graph.add(more)
                self._add_rows(more)
            for job in self.graph.ready():
                self.graph.begin(job.key)
                self.handed[self.team.submit(job)] = job
        if not self.handed:
            return False
        ended = self.team.wait(list(self.handed), POLL_S)
        self._look()
        for handle in ended:
            self._take(self.handed.pop(handle), self.team.result(handle))
        self.view.show(self.status.rows.values())
        self.status.write(now=bool(ended))
        return True

    def _stop_all(self) -> None:
        """Those that run stop where they can go on from; those that have not begun are taken back."""
        if not self.is_told:
            self.view.say(DRAINING)
            self.is_told = True
            begun = self.team.seen()
            self.team.cancel([handle for handle, job in self.handed.items() if job.key not in begun], force=False)
        self.team.stop()

    def _look(self) -> None:
        """Take down what the workers say."""
        told = self.team.seen()
        for job in self.handed.values():
            if (seen := told.get(job.key)) is None:
                continue
            row = self.status.rows[job.key]
            if (attempts := seen.get("attempts", 1)) > row.attempts:
                if row.attempts:
                    self.view.say(
                        f"{job.title}: its worker ({row.where}) is gone; goes on with {seen.get('where', '')}"
                    )
                row.begin(seen.get("where", ""))
                row.attempts = attempts
            for name in ("doing", "done", "steps", "figures"):
                setattr(row, name, seen.get(name, getattr(row, name)))
            if self.boss.seen(job, seen):
                self.team.stop(job.key)

    def _take(self, job: Job, result: Result) -> None:
        """What became of a job."""
        row = self.status.rows[job.key]
        row.begun = row.begun or time.time()
        self.team.forget(job.key)
        error = result.error
        if result.state == "done":
            error = _error_of(lambda: self.boss.done(job, result.value))
        if error is not None:
            row.end("failed", in_one_line(error))
            self.view.ended(row)
            self.boss.failed(job, error)
            for other in self.graph.fail(job.key):
                self.status.rows[other.key].end("failed", f"rests on {job.title}, which failed")
                self.view.ended(self.status.rows[other.key])
                self.boss.lost(other, job, error)
        elif result.state == "stopped":
            meant = self.boss.stopped(job)
            row.end("stopped")
            if meant:
                self.graph.end(job.key)
            else:
                self.graph.put_back(job.key)
                row.attempts = 0
        else:
            self.graph.end(job.key)
            row.end("done")
            self.view.ended(row)


def _error_of(act: Callable[[], None]) -> Exception | None:
    try:
        act()
    except Exception as error:
        return error
    return None
