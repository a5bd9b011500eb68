"""Who holds a lock, in a form by which another process of the same machine sees whether the holder is gone.

Host names and process numbers can be equal on different machines and in containers of one machine. So that a process is
gone is only said where boot and namespaces are this process's own: there its number is free, or is another's, who
started at another time. Elsewhere, and on systems without Linux's /proc, nothing is said.
"""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

PROC = Path("/proc")
NAMESPACES = ("pid", "time")  # in which a process has its number, and its start is told


def this() -> dict[str, Any]:
    """This process: host and number for a person; where they are known its world and its start, in ticks since boot."""
    told: dict[str, Any] = {"host": socket.gethostname(), "process": os.getpid()}
    if (world := _world()) and (found := _state_and_start(os.getpid())):
        told |= {"world": world, "started": found[1]}
    return told


def runs(number: int) -> bool:
    """Has a process of this world this number? OverflowError if none can have it."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def is_gone(body: bytes) -> bool:
    """Is the process that told this of itself, as JSON, gone beyond doubt?"""
    try:
        told = json.loads(body)
        number, started, world = (told[name] for name in ("process", "started", "world"))
    except (ValueError, TypeError, LookupError, RecursionError):
        return False
    if not (isinstance(number, int) and number > 0 and isinstance(started, int)) or not world or world != _world():
        return False
    with suppress(OverflowError):  # too large to be any process's
        if not runs(number):
            return True
    found = _state_and_start(number)
    return found is not None and (found[0] in "ZX" or found[1] != started)


def _world() -> list[str]:
    """Boot and namespaces in which this process's number means it alone; empty where they can't be known."""
    try:
        if os.readlink(PROC / "self") != str(os.getpid()):  # /proc is that of another namespace
            return []
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return [socket.gethostname(), boot, *(os.readlink(PROC / "self/ns" / name) for name in NAMESPACES)]
    except OSError:
        return []


def _state_and_start(number: int) -> tuple[str, int] | None:
    """State and start of a process; None where neither is told."""
    try:
        # The name of the program comes before, in brackets, and may hold anything.
        fields = (PROC / str(number) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
