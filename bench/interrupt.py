"""Ctrl-C is one line and exit code 130 from the first moment on. Imports nothing that takes time."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_CODE = 130
TEXT = "interrupted; what is finished is kept, and the same command goes on from there"


def leave_at_once() -> None:
    """While packages are imported, Ctrl-C ends the process there and then.

    As a KeyboardInterrupt it would meet code that turns it into another error, or swallows it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else we were told to ignore it
        signal.signal(signal.SIGINT, _leave)


def work_begins() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt, so that no half-written file is left behind."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def first_is_told(tell: Callable[[], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C is but told, so that work can be brought to an end; the next is a KeyboardInterrupt.

    `tell` is called between any two instructions: it may but set a flag. Where Ctrl-C is ignored, it stays so.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tell()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(*_: object) -> None:
    try:
        os.write(2, f"bench: {TEXT}\n".encode())
    finally:
        os._exit(EXIT_CODE)
