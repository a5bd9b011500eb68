"""What is in an archive of `bench export`, checked: nothing in one is trusted.

Names must be ours, entries plain files of a bounded size, records of their keys, pictures PNG that can be drawn,
networks whole. Checksums tell damage, not who made an archive: whoever changes a record can change the manifest.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import limits, pictures
from bench.errors import BenchError
from bench.keys import key_of
from bench.labels import plain
from bench.reading import parse_record
from bench.store import Checkpoints, Records

ARCHIVE = 2  # version of the form; 1 had no pictures
MANIFEST = "manifest.json"
RECORD_NAME = re.compile(r"records/[A-Za-z0-9_-][A-Za-z0-9_.-]*-[0-9a-f]{16}\.json")
PICTURE_NAME = re.compile(r"pictures/[0-9a-f]{16}\.png")
CHECKPOINT_NAME = re.compile(r"checkpoints/[0-9a-f]{16}\.safetensors")
CHUNK = 1 << 20
# What zipfile raises where an archive is damaged; ValueError: UnicodeDecodeError among others
BROKEN = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError, KeyError, IndexError),
)


def manifest(opened: zipfile.ZipFile, archive: Path) -> dict[str, str]:
    """SHA-256 by name of everything else that is in the archive, all of it with names that are ours."""
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
        if not any(kind.fullmatch(name) for kind in (RECORD_NAME, PICTURE_NAME, CHECKPOINT_NAME)):
            raise BenchError(f"{archive}: {plain(name)} is no name that `bench export` gives; nothing was imported")
    keys = {Path(name).stem[-16:] for name in sums if RECORD_NAME.fullmatch(name)}
    if odd := sorted(n for n in sums if PICTURE_NAME.fullmatch(n) and Path(n).stem not in keys):
        raise BenchError(f"{archive}: {odd[0]} is of no record that is in the archive; nothing was imported")
    return sums


def check_entries(opened: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    """BenchError unless all entries are plain files, and as large together as memory and the disk can hold.

    zipfile unpacks no more than the size that an entry states.
    """
    for entry in opened.infolist():
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
            raise BenchError(f"{archive}: {plain(entry.filename)} is packed in a way that `bench export` doesn't")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise BenchError(f"{archive}: {plain(entry.filename)} is a link, a folder or a device, must be a file")
    sizes = [(entry.filename, entry.file_size) for entry in opened.infolist()]
    for what, kind, most in (("records", RECORD_NAME, limits.RECORDS), ("pictures", PICTURE_NAME, limits.PICTURES)):
        if (taken := sum(size for name, size in sizes if kind.fullmatch(name))) > most:
            raise BenchError(f"{archive}: its {what} take {taken >> 20} MiB, more than {most >> 20}")
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


def _whole(opened: zipfile.ZipFile, name: str, most: int, sums: Mapping[str, str], archive: Path) -> bytes:
    """Bytes that are as the manifest says."""
    data = _read(opened, name, most, archive)
    if hashlib.sha256(data).hexdigest() != sums[name]:
        raise _tampered(archive, name)
    return data


def record_in(
    opened: zipfile.ZipFile, name: str, sums: Mapping[str, str], archive: Path
) -> tuple[dict[str, Any], bytes]:
    """A record and its bytes, if it is what its key, its name and the manifest say."""
    data = _whole(opened, name, limits.RECORD, sums, archive)
    try:
        record = parse_record(data, name)
        keys = key_of(record["evaluation"]), key_of(record["evaluation"]["training"])
        if keys != (record["key"], record["training_key"]) or Records(Path()).path(record).name != Path(name).name:
            raise ValueError("it is not the record that its key and its name say")
    except ValueError as error:
        reason = plain(str(error).partition("\n")[0])
        raise BenchError(f"{archive}: {name} can't be used ({reason}); nothing was imported") from None
    return record, data


def picture_in(opened: zipfile.ZipFile, name: str, sums: Mapping[str, str], archive: Path) -> bytes:
    """A picture of a record, if it is what the manifest says and can be drawn."""
    data = _whole(opened, name, limits.PICTURE, sums, archive)
    try:
        pictures.check(data)
    except ValueError as error:
        raise BenchError(f"{archive}: {name} can't be used ({plain(error)}); nothing was imported") from None
    return data


def network_in(opened: zipfile.ZipFile, name: str, sums: Mapping[str, str], archive: Path, temporary: Path) -> Path:
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
