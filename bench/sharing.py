"""Records, and the networks behind them, from one machine to another: one zip file with checksums.

An archive holds records/NAME.json, pictures/KEY.png of those records that have one, checkpoints/KEY.safetensors and
manifest.json: versions, and SHA-256 of the others. No file is written before all are checked (bench/archive.py).
"""

import errno
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import __version__, limits, pictures
from bench.archive import (
    ARCHIVE,
    BROKEN,
    CHECKPOINT_NAME,
    CHUNK,
    MANIFEST,
    PICTURE_NAME,
    RECORD_NAME,
    check_entries,
    manifest,
    network_in,
    picture_in,
    record_in,
)
from bench.errors import BenchError
from bench.files import is_remote, move_in, read_one, write_bytes, write_with
from bench.labels import plain
from bench.provenance import differ, told
from bench.store import Checkpoints, Records

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
    pictures: int = 0
    networks: int = 0


@dataclass
class LeftOut:
    """What an archive lacks: training keys without a network here, and pictures that `bench import` would refuse."""

    networks: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)


def export(records: Sequence[Mapping[str, Any]], results: Path, checkpoints: Checkpoints | None, out: Path) -> LeftOut:
    """Write an archive of records and their pictures, with their networks if `checkpoints` are given."""
    store, left_out, room = Records(results), LeftOut(), limits.PICTURES
    files = {f"records/{store.path(r).name}": store.find(r["key"]) for r in records}
    for record in records:
        path = pictures.path(results, record["key"])
        try:
            pictures.check(data := read_one(path, limits.PICTURE))
            if len(data) > room:
                raise ValueError(f"all pictures of an archive take at most {limits.PICTURES >> 20} MiB")
            files[f"pictures/{path.name}"] = path
            room -= len(data)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            left_out.pictures.append(f"{path.name} ({plain(error)})")
    if checkpoints is not None:
        for key in sorted({r["training_key"] for r in records}):
            path = checkpoints.path(key)
            if path.exists():
                files[f"checkpoints/{key}.safetensors"] = path
            else:
                left_out.networks.append(key)

    def fill(temporary: Path) -> None:
        sums = {}
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, path in sorted(files.items()):
                assert path is not None
                sums[name] = _add(archive, name, path)
            about = {"archive": ARCHIVE, "bench": __version__, "files": sums}
            archive.writestr(_entry(MANIFEST), json.dumps(about, indent=1))

    write_with(out, fill)
    return left_out


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    # Trained weights are noise to a packer, and a PNG is packed.
    packed = name.endswith((".safetensors", ".png"))
    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
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

    A record that is here already stays, unless it is of a failed run and theirs is not, or with `force`. A picture goes
    with the numbers that it was made with: theirs comes with their record, or to the same record that has none here.
    """
    if archive.exists() and not archive.is_file():  # of a device zipfile would read until memory is full
        raise BenchError(f"{archive} is no file; `bench export` makes one")
    try:
        with zipfile.ZipFile(archive) as opened, _folder(checkpoints.folder) as temporary:
            sums = manifest(opened, archive)
            check_entries(opened, archive, temporary)
            records = {n: record_in(opened, n, sums, archive) for n in sums if RECORD_NAME.fullmatch(n)}
            drawn = {n: picture_in(opened, n, sums, archive) for n in sums if PICTURE_NAME.fullmatch(n)}
            named = [n for n in sums if CHECKPOINT_NAME.fullmatch(n)]
            networks = [network_in(opened, n, sums, archive, temporary) for n in named]
            return _put(records, drawn, networks, results, checkpoints, force)
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


def _without_samples(record: dict[str, Any]) -> dict[str, Any]:
    """What it was before `bench run` gave it samples."""
    return {name: value for name, value in record.items() if name != "samples"}


def _put(
    records: Mapping[str, tuple[dict[str, Any], bytes]],
    drawn: Mapping[str, bytes],
    networks: Sequence[Path],
    results: Path,
    checkpoints: Checkpoints,
    force: bool,
) -> Merged:
    done, store = Merged(), Records(results)
    for path in networks:  # first, so that no record is there whose network is still to come
        target = checkpoints.path(path.stem)
        if force or not target.exists():
            move_in(path, target)
            done.networks += 1
    for record, data in records.values():
        key, mine = record["key"], store.load(record["key"])
        alike = mine is not None and _without_samples(mine) == _without_samples(record)
        fuller = alike and "samples" in record and "samples" not in (mine or {})
        if not (alike or mine is None or force or (mine["status"] != "done" and record["status"] == "done")):
            if "data" in mine and "data" in record and differ(mine["data"], record["data"]):
                done.others.append(f"{key} (here {told(mine['data'])}; there {told(record['data'])})")
            else:
                done.kept.append(key)
            continue
        # Before its record: what was interrupted here is done by the next import.
        picture, own = drawn.get(f"pictures/{key}.png"), pictures.path(results, key)
        if picture is not None and (force or not alike or not own.exists()):
            write_bytes(own, picture)
            done.pictures += 1
        elif not alike:
            own.unlink(missing_ok=True)  # of the numbers that are replaced, or of a record that is gone
        if fuller or not alike:
            write_bytes(store.path(record), data)
            done.added += 1
        else:
            done.same += 1
    return done
