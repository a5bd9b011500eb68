"""Which of several processes does which cell of a grid: each takes those that nobody does, then sees to the others."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from bench.errors import BenchError

T = TypeVar("T")
R = TypeVar("R")


class Busy(BenchError):
    """Another process does this just now."""


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
