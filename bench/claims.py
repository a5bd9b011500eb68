"""Which of several processes does which cell of a grid: each takes those that nobody does, then sees to the others."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from filelock import Timeout

from bench.errors import BenchError
from bench.progress import Monitor, Work

T = TypeVar("T")
R = TypeVar("R")


LOOK_S = 5.0  # between two looks of a process that waits: was it asked to stop?


class Busy(BenchError):
    """Another process does this just now."""


@contextmanager
def alone(lock: Any, name: str, does: str, monitor: Monitor, wait: bool = True) -> Iterator[None]:
    """No other process does this meanwhile; if one does, say so and wait, or without `wait` raise Busy.

    Who waits has nothing to lose: it is a point where the work may be stopped.
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise Busy(f"{name}: another process {does}") from None
        monitor.say(f"{name}: another process {does}; waiting")
        waiting = Work(monitor, f"waiting for another process that {does}", 0)
        while not _taken(lock):
            monitor.seen(waiting)
            monitor.kept()
    try:
        yield
    finally:
        lock.release()


def _taken(lock: Any) -> bool:
    with suppress(Timeout):
        lock.acquire(timeout=LOOK_S)
        return True
    return False


def in_turn(cells: Iterable[T], do: Callable[[T, bool], R], say: Callable[[str], None]) -> Iterator[R]:
    """do(cell, wait) of all cells: first without waiting, which may raise Busy; then of those that were, waiting.

    Whoever waits finds the cell done by the other process, or does it if that one was killed or failed.
    """
    cells, later = list(cells), []
    for cell in cells:
        try:
            yield do(cell, len(cells) == 1)
        except Busy as busy:
            say(f"{busy}; going on with other cells")
            later.append(cell)
    for cell in later:
        yield do(cell, True)
