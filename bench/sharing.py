"""Records, and the networks behind them, from one machine to another: one zip file with checksums.

An archive holds records/NAME.json, checkpoints/KEY.safetensors and manifest.json: versions, and SHA-256 of the others.
Checksums tell damage, not who made it: whoever changes a record can change the manifest. So nothing in an archive is
trusted: names must be ours, entries plain files of a bounded size, records of their keys; no file is written before
all are checked.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import __version__, limits
from bench.errors import BenchError
from bench.files import is_remote, move_in, write_bytes, write_with
from bench.keys import key_of
from bench.labels import plain
from bench.provenance import differ, told
from bench.reading import parse_record
from bench.store import Checkpoints, Records

ARCHIVE = 1  # version of the form
MANIFEST = "manifest.json"
RECORD_NAME = re.compile(r"records/[A-Za-z0-9_-][A-Za-z0-9_.-]*-[0-9a-f]{16}\.json")
CHECKPOINT_NAME = re.compile(r"checkpoints/[0-9a-f]{16}\.safetensors")
CHUNK = 1 << 20
# What zipfile raises where an archive is damaged; ValueError: UnicodeDecodeError among others
BROKEN = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError, KeyError, IndexError),
)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same records give the same bytes


@dataclass
class Merged:
    """What an import did. `kept`: keys of records that were here with other numbers, and stayed as they were; `others`:
    of those that were here of other data, and stayed too, with both data.
    """

    added: int = 0
    same: int = 0
    kept: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    networks: int = 0


def export(
    records: Sequence[Mapping[str, Any]], results: Path, checkpoints: Checkpoints | None, out: Path
) -> list[str]:
    """Write an archive of records, with their networks if `checkpoints` are given; the training keys that lack one."""
    store = Records(results)
    files = {f"records/{store.path(r).name}": store.find(r["key"]) for r in records}
    lacking = []
    if checkpoints is not None:
        for key in sorted({r["training_key"] for r in records}):
            path = checkpoints.path(key)
            if path.exists():
                files[f"checkpoints/{key}.safetensors"] = path
            else:
                lacking.append(key)

    def fill(temporary: Path) -> None:
        sums = {}
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, path in sorted(files.items()):
                assert path is not None
                sums[name] = _add(archive, name, path)
            about = {"archive": ARCHIVE, "bench": __version__, "files": sums}
            archive.writestr(_entry(MANIFEST), json.dumps(about, indent=1))

    write_with(out, fill)
    return lacking


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    # Trained weights are noise to a packer.
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
    return entry


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """Put a file into the archive; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as target:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def merge(archive: Path, results: Path, checkpoints: Checkpoints, *, force: bool = False) -> Merged:
    """Add what an archive holds to a results folder and a checkpoint store. BenchError if anything in it is wrong.

    A record that is here already stays, unless it is of a failed run and theirs is not, or with `force`.
    """
    if archive.exists() and not archive.is_file():  # of a device zipfile would read until memory is full
        raise BenchError(f"{archive} is no file; `bench export` makes one")
    try:
        with zipfile.ZipFile(archive) as opened, _folder(checkpoints.folder) as temporary:
            sums = _manifest(opened, archive)
            _check_entries(opened, archive, temporary)
            records = {n: _record(opened, n, sums, archive) for n in sums if RECORD_NAME.fullmatch(n)}
            networks = [
                _network(opened, name, sums, archive, temporary) for name in sums if CHECKPOINT_NAME.fullmatch(name)
            ]
            return _put(records, networks, Records(results), checkpoints, force)
    except BenchError:
        raise
    except FileNotFoundError:
        raise BenchError(f"{archive}: no such file; `bench export` makes one") from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # what zipfile makes of an offset that is none
            raise
        raise BenchError(f"{archive} is no whole archive of `bench export` ({plain(error)})") from None
    except BROKEN as error:
        raise BenchError(f"{archive} is no whole archive of `bench export` ({plain(error)})") from None


@contextmanager
def _folder(beside: Path) -> Iterator[Path]:
    """To unpack into: where a file can be renamed from, or anywhere if that takes an upload."""
    if not is_remote(beside):
        beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=None if is_remote(beside) else beside, prefix=".import-") as name:
        yield Path(name)


def _manifest(opened: zipfile.ZipFile, archive: Path) -> dict[str, str]:
    """SHA-256 by name of everything else that is in the archive."""
    names = opened.namelist()
    if len(names) > limits.ARCHIVE_FILES or len(set(names)) != len(names) or MANIFEST not in names:
        raise BenchError(f"{archive} is no archive of `bench export`: it lacks {MANIFEST} or has a name twice")
    try:
        about = json.loads(_read(opened, MANIFEST, limits.MANIFEST, archive))
        version, sums = about["archive"], about["files"]
        right = isinstance(version, int) and isinstance(sums, dict) and all(isinstance(s, str) for s in sums.values())
    except (ValueError, KeyError, TypeError, RecursionError):
        right = False
    if not right:
        raise BenchError(f"{archive}: its {MANIFEST} is not one of `bench export`")
    if version > ARCHIVE:
        raise BenchError(f"{archive} is an archive of form {version}, newer than {ARCHIVE}: update cim-bench")
    if odd := sorted(set(names) - {MANIFEST} ^ sums.keys()):
        raise BenchError(f"{archive}: {plain(odd[0])} is in the archive or in its manifest, but not in both")
    for name in sums:
        if not (RECORD_NAME.fullmatch(name) or CHECKPOINT_NAME.fullmatch(name)):
            raise BenchError(f"{archive}: {plain(name)} is no name that `bench export` gives; nothing was imported")
    return sums


def _check_entries(opened: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    """BenchError unless all entries are plain files, and as large together as memory and the disk can hold.

    zipfile unpacks no more than the size that an entry states.
    """
    for entry in opened.infolist():
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
            raise BenchError(f"{archive}: {plain(entry.filename)} is packed in a way that `bench export` doesn't")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise BenchError(f"{archive}: {plain(entry.filename)} is a link, a folder or a device, must be a file")
    sizes = [(entry.filename, entry.file_size) for entry in opened.infolist()]
    records = sum(size for name, size in sizes if RECORD_NAME.fullmatch(name))
    if records > limits.RECORDS:
        raise BenchError(f"{archive}: its records take {records >> 20} MiB, more than {limits.RECORDS >> 20}")
    networks = sum(size for name, size in sizes if CHECKPOINT_NAME.fullmatch(name))
    if networks > (free := shutil.disk_usage(folder).free):
        raise BenchError(f"{archive}: its networks take {networks >> 20} MiB, {free >> 20} are free in {folder.parent}")


def _read(opened: zipfile.ZipFile, name: str, most: int, archive: Path) -> bytes:
    with opened.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise BenchError(f"{archive}: {plain(name)} is larger than {most >> 20} MiB")
    return data


def _tampered(archive: Path, name: str) -> BenchError:
    return BenchError(f"{archive}: {name} is not what its checksum says; nothing was imported")


def _record(opened: zipfile.ZipFile, name: str, sums: Mapping[str, str], archive: Path) -> tuple[dict[str, Any], bytes]:
    """A record and its bytes, if it is what its key, its name and the manifest say."""
    data = _read(opened, name, limits.RECORD, archive)
    if hashlib.sha256(data).hexdigest() != sums[name]:
        raise _tampered(archive, name)
    try:
        record = parse_record(data, name)
        keys = key_of(record["evaluation"]), key_of(record["evaluation"]["training"])
        if keys != (record["key"], record["training_key"]) or Records(Path()).path(record).name != Path(name).name:
            raise ValueError("it is not the record that its key and its name say")
    except ValueError as error:
        reason = plain(str(error).partition("\n")[0])
        raise BenchError(f"{archive}: {name} can't be used ({reason}); nothing was imported") from None
    return record, data


def _network(opened: zipfile.ZipFile, name: str, sums: Mapping[str, str], archive: Path, temporary: Path) -> Path:
    """A checkpoint, unpacked, read once and marked as imported, under its final name in a temporary folder."""
    path = temporary / Path(name).name
    digest, size = hashlib.sha256(), 0
    with opened.open(name) as source, path.open("wb") as target:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > limits.CHECKPOINT:
                raise BenchError(f"{archive}: {name} is larger than {limits.CHECKPOINT >> 30} GiB")
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    if digest.hexdigest() != sums[name]:
        raise _tampered(archive, name)
    store = Checkpoints(temporary)
    try:
        loaded = store.load(path.stem)
    except BenchError as error:
        reason = str(error).replace(str(path), name).removeprefix("checkpoint ").partition(";")[0]
        raise BenchError(f"{archive}: {reason}; nothing was imported") from None
    assert loaded is not None
    tensors, about = loaded
    # Whoever sweeps this network says so in the record: its training happened elsewhere, if it did.
    when = datetime.now(UTC).isoformat(timespec="seconds")
    store.save(path.stem, tensors, about | {"environment": about["environment"] | {"imported": when}})
    return path


def _without_samples(record: dict[str, Any]) -> dict[str, Any]:
    """What it was before `bench run` gave it samples."""
    return {name: value for name, value in record.items() if name != "samples"}


def _put(
    records: Mapping[str, tuple[dict[str, Any], bytes]],
    networks: Sequence[Path],
    store: Records,
    checkpoints: Checkpoints,
    force: bool,
) -> Merged:
    done = Merged()
    for path in networks:  # first, so that no record is there whose network is still to come
        target = checkpoints.path(path.stem)
        if force or not target.exists():
            move_in(path, target)
            done.networks += 1
    for record, data in records.values():
        mine = store.load(record["key"])
        if mine is not None and record in (mine, _without_samples(mine)):
            done.same += 1
        elif (
            mine is None
            or force
            or mine == _without_samples(record)
            or (mine["status"] != "done" and record["status"] == "done")
        ):
            write_bytes(store.path(record), data)
            done.added += 1
        elif "data" in mine and "data" in record and differ(mine["data"], record["data"]):
            done.others.append(f"{record['key']} (here {told(mine['data'])}; there {told(record['data'])})")
        else:
            done.kept.append(record["key"])
    return done
