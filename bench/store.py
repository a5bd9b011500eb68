"""Checkpoints in a cache, records in a results folder. A finished file is the only mark of done.

Checkpoints are safetensors, with their Training and cost as JSON in the file's own header; records are JSON. Neither
can carry code. Both hold a checksum of what is in them; those from before schema 2 have none, and are read without.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import limits, seal
from bench.errors import BenchError, in_one_line
from bench.files import at_hand, clear_leftovers, lock, place, read_each, write_bytes
from bench.labels import file_name, plain, remake
from bench.packing import pack, unpack
from bench.reading import RECORD_SCHEMA, check_key, key_in, named, parse_record, parsed, read_record, schema_in
from bench.trained import check_finished

if TYPE_CHECKING:
    from torch import Tensor


def home() -> Path:
    """BENCH_HOME: where checkpoints live, a folder or a URL; by default the user's cache folder."""
    chosen = os.environ.get("BENCH_HOME")
    return place(chosen) if chosen else _cache()


def local(home: Path) -> Path:
    """Where what only this machine can use lies, data sets and SQLite files: `home`, or the cache if that is a URL."""
    return home if isinstance(home, Path) else _cache()


def lend_data(home: Path, scratch: Path) -> None:
    """Let the folder `scratch` be a BENCH_HOME without checkpoints that has the data sets of `home`, and more come."""
    data = local(home) / "data"
    data.mkdir(parents=True, exist_ok=True)
    scratch.mkdir()
    (scratch / "data").symlink_to(data.resolve())


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cim-bench"


class Checkpoints:
    """Finished and half-finished trainings under `<home>/checkpoints`, by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """The finished checkpoint of a training."""
        return self.folder / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Is a training finished?"""
        return self.path(key).exists()

    def partial_path(self, key: str) -> Path:
        """The resume point of an unfinished training."""
        return self.folder / f"{key}.partial.safetensors"

    def lock(self, key: str) -> Any:
        """Held while a training runs: a second process that wants it waits, then loads it."""
        return lock(self.folder / f"{key}.lock")

    def clear_leftovers(self, key: str) -> None:
        """Delete half-written files of processes that were killed; for whoever holds the lock."""
        clear_leftovers(self.path(key))

    def save(self, key: str, tensors: Mapping[str, "Tensor"], about: Mapping[str, Any]) -> None:
        """Write the finished checkpoint, then drop the resume point."""
        _save(self.path(key), tensors, about)
        self.partial_path(key).unlink(missing_ok=True)

    def load(self, key: str) -> tuple[dict[str, "Tensor"], dict[str, Any]] | None:
        """(tensors, about) of a finished training, None if there is none. BenchError if broken."""

        def whole(tensors: "dict[str, Tensor]", about: Any) -> "tuple[dict[str, Tensor], dict[str, Any]]":
            check_finished(key, tensors, about)
            return tensors, about

        return _load(self.path(key), whole)

    def born(self, key: str) -> Any:
        """When a finished training was made, by its file's head alone; None if there is none. BenchError if broken."""
        return _load(self.path(key), lambda _, about: about["environment"]["created"], head=True)

    def find(self, start: str, records: "Records") -> dict[str, Any]:
        """What is known about the one finished training whose key, or whose record's key, starts so.

        BenchError if there isn't one.
        """
        if not re.fullmatch(r"[0-9a-f]{4,16}", start):
            raise BenchError(f"'{start}' is no key of a training or a record: 4 to 16 of 0-9a-f")
        keys = [p.stem for p in sorted(self.folder.glob("*.safetensors")) if p.stem.startswith(start)]
        keys = [key for key in keys if not key.endswith(".partial")]
        if len(keys) > 1:
            raise BenchError(f"training key '{start}' is short of unique: {', '.join(keys)}")
        if keys and (loaded := self.load(keys[0])):
            return loaded[1]
        if (record := records.load(start)) is None:
            raise BenchError(
                f"no trained network in {self.folder} and no record in {records.folder} has a key that starts with "
                f"'{start}'; `bench show` prints both keys, --results names another folder of records"
            )
        if (loaded := self.load(record["training_key"])) is None:
            raise BenchError(
                f"record {record['key']}: its network, training key {record['training_key']}, is not in {self.folder}; "
                f"train it again: {remake(record)}"
            )
        return loaded[1]

    def save_partial(self, key: str, state: Any) -> None:
        """Write the resume point: any nesting of dicts, lists, numbers, strings and tensors."""
        tensors: dict[str, Tensor] = {}
        skeleton = pack(state, tensors)
        _save(self.partial_path(key), tensors, {"training_key": key, "state": skeleton})

    def load_partial(self, key: str) -> Any | None:
        """The resume point, or None. Damaged if it is broken, or another training's."""

        def own(tensors: "dict[str, Tensor]", about: Any) -> Any:
            if (other := about["training_key"]) != key:
                raise ValueError(f"it is of training {other!r:.40}")
            return unpack(about["state"], tensors)

        return _load(self.partial_path(key), own)


class Damaged(BenchError):
    """A checkpoint or resume point that can't be used: `how` it is wrong, and why."""

    def __init__(self, path: Path, how: str, error: Exception) -> None:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        self.how = f"{how} ({reason})"
        super().__init__(f"checkpoint {path} {self.how}; delete it to train again")


def misfit(path: Path, error: Exception) -> Damaged:
    """What to raise where a checkpoint is whole but not of this network or training state."""
    return Damaged(path, "does not fit", error)


def _save(path: Path, tensors: Mapping[str, "Tensor"], about: Mapping[str, Any]) -> None:
    from safetensors.torch import save

    # Contiguous copies: safetensors refuses views and memory formats other than the plain one.
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps(about)
    data = save(plain, metadata={"about": text, seal.NAME: _digest(plain, text)})
    if len(data) > limits.CHECKPOINT:
        size, most = limits.shown(len(data)), limits.shown(limits.CHECKPOINT)
        raise BenchError(f"can't write {path}: {size}, at most {most} are read; take a smaller network")
    _write(path, data)


def _digest(tensors: Mapping[str, "Tensor"], about: str) -> str:
    """SHA-256 of all that a checkpoint holds."""
    from tasks._digest import digest  # imports torch

    return digest(tensors, about)


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except OSError as error:
        reason = error.strerror or error
        raise BenchError(f"can't write {path}: {reason}; make room or choose another folder, then go on") from None


def _load(path: Path, read: Callable[[dict[str, "Tensor"], Any], Any], head: bool = False) -> Any | None:
    """What `read` makes of (tensors, about), None if there is no file. BenchError if either is broken.

    `head`: without the tensors, so that nothing is said of whether they are whole.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with at_hand(path, limits.CHECKPOINT) as here, safe_open(here, framework="pt") as file:
            text = file.metadata() or {}
            tensors = {} if head else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if odd := sorted(set(text) - {"about", seal.NAME}):
            raise ValueError(f"{odd[0]!r:.40} is nothing that it should have")
        if not head and seal.NAME in text and text[seal.NAME] != _digest(tensors, text["about"]):
            raise ValueError("its checksum is of other tensors: it was damaged")
        return read(tensors, json.loads(text["about"]))
    except OSError as error:  # it may be whole
        raise BenchError(f"can't read checkpoint {path}: {error.strerror or error}") from None
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Damaged(path, "is broken", error) from None


class Records:
    """One JSON file a cell under `<results>/records`."""

    def __init__(self, results: Path) -> None:
        self.folder = results / "records"
        self._locks = results / ".locks"

    def lock(self, key: str) -> Any:
        """Held while a cell is trained, swept and written: of several processes one does it."""
        return lock(self._locks / f"{key}.lock")

    def path(self, record: Mapping[str, Any]) -> Path:
        """File name that a person can read and no name can escape from."""
        training = record["evaluation"]["training"]
        parts = (training["task"], record["evaluation"]["device"], training["method"], f"s{training['seed']}")
        return self.folder / f"{file_name('-'.join(map(str, parts)))}-{file_name(record['key'])}.json"

    def find(self, key: str) -> Path | None:
        """The file of a record, by its key or the beginning of one, the first if two files have it.

        BenchError if several keys begin so.
        """
        if not re.fullmatch(r"[0-9a-f]{4,16}", key):
            raise BenchError(f"'{key}' is no record key: 4 to 16 of 0-9a-f")
        matches = sorted(self.folder.glob(f"*-{key}*.json"))
        matches = [m for m in matches if key_in(m).startswith(key)]
        if len({key_in(m) for m in matches}) > 1:
            raise BenchError(f"record key '{key}' is short of unique: {', '.join(m.stem for m in matches)}")
        return matches[0] if matches else None

    def load(self, key: str) -> dict[str, Any] | None:
        """The record of that key, None if there is none. BenchError if broken, another's or of a newer schema."""
        path = self.find(key)
        return None if path is None else named(path, read_record(path))

    def load_all(self) -> tuple[list[dict[str, Any]], list[str]]:
        """(records, one-line warnings): a file that can't be used is a warning, and the others go on."""
        warnings: list[str] = []
        found: dict[str, tuple[Path, dict[str, Any]]] = {}
        paths = self.paths()
        for path, data in zip(paths, read_each(paths, limits.RECORD), strict=True):
            try:
                record = named(path, parsed(path, data))
                if (first := found.get(record["key"])) is not None:
                    raise BenchError(f"record {path} is left out: {first[0].name} has its key too; delete one of them")
                found[record["key"]] = path, record
            except BenchError as error:
                warnings.append(plain(error))
        return [record for _, record in found.values()], warnings

    def paths(self) -> list[Path]:
        """All files of records, by name."""
        return sorted(self.folder.glob("[!.]*.json"))  # a dot file is one that is being written

    def renew(self, path: Path) -> bool:
        """Write the record of a file anew if it is of an older schema; was it? BenchError if broken."""
        with self.lock(key_in(path)):
            record = named(path, read_record(path))
            if schema_in(path) == RECORD_SCHEMA:
                return False
            _put(path, record)
            return True

    def save(self, record: Mapping[str, Any]) -> Path:
        """Write a record atomically. A failure never replaces a finished record.

        BenchError for one that would be refused as soon as it is read.
        """
        path = self.path(record)
        if record["status"] == "failed" and path.exists() and read_record(path)["status"] == "done":
            return path
        _put(path, {**record, "schema": RECORD_SCHEMA})
        return path


def _put(path: Path, record: Mapping[str, Any]) -> None:
    data = seal.sealed(record)
    try:
        check_key(parse_record(data, str(path)), key_in(path))
    except ValueError as error:
        reason = in_one_line(error)
        raise BenchError(
            f"record {path} is not written, since it could not be read again ({reason}); "
            "its network and the levels that were measured are kept"
        ) from None
    _write(path, data)
