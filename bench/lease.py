"""A lock in an object store, which has nothing but objects: a lease that its holder keeps alive.

The lock NAME is a row of turns, the objects NAME/1, NAME/2, ...; the highest one counts. Whoever creates the next
one holds the lock. Creation is exclusive (PUT with If-None-Match: *, which fsspec sends for mode="create"): of several
that try, one wins. The holder writes its turn anew every BEAT_S, with a count, and at the end as FREE. A holder
that was killed counts no further: whoever has waited EXPIRY_S without seeing the turn change takes the next one. Only
the waiting process's own monotonic clock is read, so clocks that differ or are set back do no harm. A process of the
same machine need not wait so long: a turn says which process has it (bench/holder.py).

Numbers never fall, and the highest turn stays: a process that comes late to a turn which was given up meanwhile creates
a number that is not the highest, sees that, and takes it back. A holder that slept through its expiry works on beside
its successor; what both write is then the same, each file whole.
"""

import json
import threading
import time
from contextlib import suppress
from typing import Any

from filelock import Timeout

from bench import holder
from bench.files import reached

BEAT_S, EXPIRY_S, POLL_S = 15.0, 60.0, 1.0
FREE = b"free"
TURN_BYTES = 4096  # far more than a turn takes


class Lease:
    """Same use as filelock.FileLock: acquire, release, `with`. `path`: a UPath, the folder of its turns."""

    def __init__(self, path: Any) -> None:
        self.path, self.fs = path, path.fs
        self._turn: int | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        # The last turn seen, and since when: however often it is asked meanwhile, one that stays the same expires.
        self._seen: tuple[int, bytes | None] | None = None
        self._since = 0.0

    def acquire(self, timeout: float = -1) -> "Lease":
        """Wait for at most `timeout` seconds, if not negative, then filelock.Timeout. OSError if the store fails."""
        began = time.monotonic()
        while True:
            with reached(self.path):
                number, body = self._top()
                if (number, body) != self._seen:
                    self._seen, self._since = (number, body), time.monotonic()
                over = time.monotonic() - self._since > EXPIRY_S
                if (over or body is None or body == FREE or holder.is_gone(body)) and self._take(number + 1):
                    return self
            if 0 <= timeout <= time.monotonic() - began:
                raise Timeout(str(self.path))
            time.sleep(POLL_S)

    def release(self) -> None:
        """Give the turn up. Of a store that can't be reached just now it expires."""
        if self._turn is None:
            return
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(Exception):
            self.fs.pipe_file(self._object(self._turn), FREE)
        self._turn = None

    def __enter__(self) -> "Lease":
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _object(self, number: int) -> str:
        return f"{self.path.path}/{number}"

    def _numbers(self) -> list[int]:
        try:
            names = [entry.rpartition("/")[2] for entry in self.fs.ls(self.path.path, detail=False)]
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdecimal())

    def _top(self) -> tuple[int, bytes | None]:
        """The highest turn and what it says; (0, None) where there was none yet."""
        while numbers := self._numbers():
            with suppress(FileNotFoundError):  # its successor has cleared it away: there is a higher one
                return numbers[-1], self.fs.cat_file(self._object(numbers[-1]), start=0, end=TURN_BYTES)
        return 0, None

    def _take(self, number: int) -> bool:
        try:
            self.fs.pipe_file(self._object(number), self._body(0), mode="create")
        except FileExistsError:
            return False
        before = self._numbers()
        if before[-1] != number:
            with suppress(FileNotFoundError):
                self.fs.rm_file(self._object(number))
            return False
        for old in before[:-1]:
            with suppress(FileNotFoundError):  # another one that wins a turn clears, too
                self.fs.rm_file(self._object(old))
        self._turn = number
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(number, self._ended), daemon=True)
        self._thread.start()
        return True

    @staticmethod
    def _body(count: int) -> bytes:
        return json.dumps(holder.this() | {"count": count}).encode()

    def _beat(self, number: int, ended: threading.Event) -> None:
        """Say that the holder lives, until it is done or another one has the next turn."""
        count = 0
        while not ended.wait(BEAT_S):
            count += 1
            with suppress(Exception):  # no network for a moment: the next beat may come through
                if self._numbers()[-1:] != [number]:
                    return
                self.fs.pipe_file(self._object(number), self._body(count))
