"""Files appear whole or not at all: in a folder, on a shared file system, or in an object store named by a URL.

A folder of ours is a pathlib.Path or, for a URL, universal_pathlib's UPath, which has the same methods: whoever
lists, reads or deletes need not know which. Writing and locking differ, and only this module knows how. In a folder a
file is written under a temporary name, flushed to disk and renamed; locks are the operating system's. In an object
store a PUT is whole or not there by itself; locks are leases (bench/lease.py).
"""

import errno
import os
import re
import stat
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock

from bench import limits
from bench.errors import BenchError, in_one_line

AT_ONCE = 16  # objects of a store that are read side by side
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def place(name: str | Path) -> Path:
    """The folder that a path or a URL such as s3://bucket/prefix names. BenchError if nothing here can reach it."""
    if not isinstance(name, str) or not URL.match(name):
        return Path(name).expanduser()
    if name.startswith("file://"):
        if not name.startswith("file:///"):
            raise BenchError(f"{name}: must be a folder of this machine, from its root: file:///folder")
        return Path(name.removeprefix("file://"))
    if odd := re.search(r"[\[\]*?]", name):
        raise BenchError(f"{name}: '{odd[0]}' stands for other names in fsspec; choose a URL without")
    try:
        from upath import UPath

        with warnings.catch_warnings(action="ignore"):
            # Another machine may have written since a listing was kept.
            made: Any = UPath(name, use_listings_cache=False)
            _ = made.fs, made / "records"
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise BenchError(f"{name}: object stores need pip install 'cim-bench[cloud]' ({reason})") from None
    except (ValueError, TypeError, NotImplementedError) as error:
        raise BenchError(f"{name}: no folder and no URL that fsspec knows ({in_one_line(error)})") from None
    return made


def is_remote(path: Path) -> bool:
    """Does it lie in an object store?"""
    return not isinstance(path, Path)


@contextmanager
def reached(path: Any) -> Iterator[None]:
    """Whatever goes wrong with an object store is an OSError that names the object."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or in_one_line(error)
        raise OSError(getattr(error, "errno", None) or errno.EIO, reason, str(path)) from error


def write_with(path: Path, writer: Callable[[Path], object]) -> None:
    """Let `writer` fill a temporary file, flush it to disk, then put it in the place of `path`.

    Raises OSError (disk full, no permission, no network) with `path` as it was and no temporary file left.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="cim-bench-") as folder:
            temporary = Path(folder) / path.name
            writer(temporary)
            write_bytes(path, temporary.read_bytes())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    made = None
    try:
        # The suffix is kept at the end: some writers choose a format by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        made = Path(name)
        os.close(handle)
        writer(made)
        with open(made, "rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes a private file; give it what a plain open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(made, 0o666 & ~mask)
        os.replace(made, path)
    except BaseException as error:
        if made is not None:
            made.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the file that the user knows of, not the temporary one
        raise


def write_bytes(path: Any, data: bytes) -> None:
    """Atomic replacement of a file's bytes."""
    if is_remote(path):
        with reached(path):
            path.fs.pipe_file(path.path, data)
    else:
        write_with(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Atomic replacement of a file's text, UTF-8, newlines as given."""
    write_bytes(path, text.encode())


def read_each(paths: Sequence[Any], most: int) -> Iterator[bytes | OSError]:
    """The bytes of each file, or why it can't be read; of an object store many at once, since each takes a while.

    What is larger than `most` bytes is not read, nor what is no regular file, such as a pipe.
    """
    read = partial(_read, most=most)
    if not any(map(is_remote, paths)):
        yield from map(read, paths)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun: deque[Future[bytes | OSError]] = deque()
        for path in paths:  # no more of them in memory than are read at once, however slowly they are used
            if len(begun) == AT_ONCE:
                yield begun.popleft().result()
            begun.append(pool.submit(read, path))
        yield from (one.result() for one in begun)


def _at_once(path: str, flags: int) -> int:
    """Open a file, and no pipe ever waits for its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read(path: Any, most: int) -> bytes | OSError:
    try:
        if not is_remote(path):
            with open(path, "rb", buffering=0, opener=_at_once) as file:
                _check(path, os.fstat(file.fileno()), most)
                return file.read()
        with reached(path):
            data = _fetched(path, most + 1)
        _check_size(path, len(data), most)
        return data
    except OSError as error:
        return error


def _fetched(path: Any, most: int) -> bytes:
    """The first `most` bytes of an object, in one request: to ask for its size, or to open it, takes another."""
    try:
        return path.fs.cat_file(path.path, start=0, end=most)
    except OSError as error:
        if error.errno == errno.EINVAL and path.fs.size(path.path) == 0:  # S3 has no range of an empty object
            return b""
        raise


def _check(path: Path, found: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(found.st_mode):  # such as a pipe, which nobody may ever fill
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    _check_size(path, found.st_size, most)


def _check_size(path: Any, size: int, most: int) -> None:
    if size > most:
        raise OSError(errno.EFBIG, f"larger than {limits.shown(most)}, the most that is read", str(path))


def read_one(path: Any, most: int) -> bytes:
    """The bytes of a file of at most `most`. OSError if it is larger, no regular file, or can't be read."""
    (found,) = read_each([path], most)
    if isinstance(found, OSError):
        raise found
    return found


@contextmanager
def at_hand(path: Any, most: int) -> Iterator[Path]:
    """A file of this machine with these bytes: the file itself, or a copy of the object for as long.

    OSError if it is larger than `most` bytes, or no regular file.
    """
    if not is_remote(path):
        _check(path, path.stat(), most)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="cim-bench-") as folder:
        copy = Path(folder) / path.name
        with reached(path):
            _check_size(path, path.fs.size(path.path), most)
            path.fs.get_file(path.path, str(copy))
        yield copy


def move_in(source: Path, target: Path) -> None:
    """Put a file of this machine in the place of `target`. `source`: on the same file system, if that is a folder."""
    if is_remote(target):
        write_bytes(target, source.read_bytes())
        source.unlink()
    else:
        os.replace(source, target)


def clear_leftovers(path: Path) -> None:
    """Delete what writers of `path` that were killed have left. For whoever is the only one who may write it now."""
    if not is_remote(path):
        for left in path.parent.glob(f".{path.stem}.*.tmp{path.suffix}"):
            left.unlink(missing_ok=True)


def lock(path: Path) -> Any:
    """A lock that one process of all holds: acquire(timeout), which raises filelock.Timeout, release, and `with`."""
    if is_remote(path):
        from bench.lease import Lease

        return Lease(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def check_writable(folder: Path) -> None:
    """Raise BenchError now, rather than after an hour of training, if `folder` takes no files or keeps no locks."""
    probe = folder / f".probe-{os.getpid()}-{uuid4().hex[:8]}"
    try:
        if is_remote(folder):
            _probe(probe)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"x")
            with FileLock(probe):
                pass
    except NotImplementedError:
        raise BenchError(f"can't lock files in {folder}: mount it with flock, or choose another folder") from None
    except OSError as error:
        raise BenchError(f"can't write to {folder}: {error.strerror or error}; choose another folder") from None
    finally:
        with suppress(Exception):
            probe.unlink(missing_ok=True)


def _probe(probe: Any) -> None:
    """Write an object that must not be there, then see that it can't be made once more: locks rest on that."""
    with reached(probe):
        probe.fs.pipe_file(probe.path, b"x", mode="create")
        with suppress(FileExistsError):
            probe.fs.pipe_file(probe.path, b"x", mode="create")
            raise BenchError(
                f"{probe.parent}: this store makes an object twice where it should be made once (no If-None-Match), "
                "so two runs can't be kept apart; choose another"
            )
