"""Files appear whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_with(path: Path, writer: Callable[[Path], object]) -> None:
    """Let `writer` fill a temporary file beside `path`, flush it to disk, then rename it over `path`.

    Raises OSError (disk full, no permission) with `path` as it was and no temporary file left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = None
    try:
        # The suffix is kept at the end: some writers choose a format by it.
        handle, name = tempfile.mkstemp(prefix=".", suffix=f".tmp{path.suffix}", dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        writer(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes a private file; give it what a plain open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the file that the user knows of, not the temporary one
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Atomic replacement of a file's bytes."""
    write_with(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Atomic replacement of a file's text, UTF-8, newlines as given."""
    write_bytes(path, text.encode())
