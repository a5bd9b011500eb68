"""Archives that were made or damaged to do harm: refused in one line, or what was exported; nothing beside it."""

import hashlib
import json
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import limits, sharing
from bench.errors import BenchError
from bench.store import Checkpoints, Records

COMMITTED = Path(__file__).parents[1] / "results" / "records"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The smallest committed record, in a folder of results."""
    folder = tmp_path / "mine" / "records"
    folder.mkdir(parents=True)
    smallest = min(COMMITTED.glob("*.json"), key=lambda path: path.stat().st_size)
    return Path(shutil.copy(smallest, folder))


@pytest.fixture
def archive(record: Path, tmp_path: Path) -> Path:
    out = tmp_path / "a.zip"
    sharing.export(Records(tmp_path / "mine").load_all()[0], tmp_path / "mine", None, out)
    return out


def imported(archive: Path, tmp_path: Path) -> sharing.Merged:
    return sharing.merge(archive, tmp_path / "theirs", Checkpoints(tmp_path / "home" / "checkpoints"))


def refused(archive: Path, tmp_path: Path, said: str = "") -> None:
    """It is refused, in one line, and no file is anywhere."""
    with pytest.raises(BenchError, match=said) as caught:
        imported(archive, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "theirs").exists()
    assert not list((tmp_path / "home" / "checkpoints").glob("*"))


def test_an_archive_that_was_cut_at_any_byte_is_refused(archive: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    for cut in range(len(whole)):
        archive.write_bytes(whole[:cut])
        refused(archive, tmp_path, "no whole archive")


def test_an_archive_with_any_byte_changed_is_refused_or_holds_what_was_exported(
    archive: Path, record: Path, tmp_path: Path
) -> None:
    """Dates and the like may change: nothing is read from them."""
    whole, packed = archive.read_bytes(), record.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        data = {i for e in opened.infolist() for i in range(e.header_offset + 100, e.header_offset + e.compress_size)}
    unharmed = 0
    for at in range(len(whole)):
        if at in data and at % 5:
            continue
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            done = imported(archive, tmp_path)
        except BenchError as error:
            assert "\n" not in str(error) and not (tmp_path / "theirs").exists(), at
            continue
        assert done.added == 1 and (tmp_path / "theirs" / "records" / record.name).read_bytes() == packed, at
        assert [path.name for path in (tmp_path / "theirs").rglob("*") if path.is_file()] == [record.name]
        shutil.rmtree(tmp_path / "theirs")
        unharmed += 1
    assert unharmed < 120  # fields of the directory that say when, where and by what it was made
    assert not list((tmp_path / "home" / "checkpoints").iterdir())


def entries(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def packed(
    archive: Path, members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED, mode: int = stat.S_IFREG | 0o644
) -> Path:
    """An archive of these members, with right checksums, its records packed and marked so."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in members}
    with zipfile.ZipFile(archive, "w") as made:
        for name, data in members:
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, method
            made.writestr(entry, data)
        made.writestr("manifest.json", json.dumps({"archive": 1, "bench": "0", "files": sums}))
    return archive


@pytest.mark.parametrize(
    "name",
    [
        "../{}", "records/../{}", "records/../../../{}", "/{}", "/etc/{}", "//x/{}", "C:\\{}", "C:/{}", "records\\{}",
        "records/./{}", "records//{}", "records/.{}", "records/-/{}", "records/{}/", "records/x\u202e-{}",
        "records/ {}", "records/{}\n", "RECORDS/{}", "checkpoints/{}", "{}", "records/con\x1b-{}",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder(name: str, archive: Path, record: Path, tmp_path: Path) -> None:
    data = record.read_bytes()
    before = sorted(tmp_path.rglob("*"))
    refused(packed(archive, [(name.format(record.name), data)]), tmp_path, "no name that `bench export` gives")
    assert sorted(tmp_path.rglob("*")) in (
        before,
        sorted([*before, *(tmp_path / "home").rglob("*"), tmp_path / "home"]),
    )


def test_two_names_that_a_file_system_may_take_for_one_are_refused(archive: Path, record: Path, tmp_path: Path) -> None:
    name, data = f"records/{record.name}", record.read_bytes()
    refused(packed(archive, [(name, data), (name.replace("rram", "RRAM"), data)]), tmp_path, "its key and its name say")
    with pytest.warns(UserWarning, match="Duplicate name"):
        packed(archive, [(name, data), (name, data)])
    refused(archive, tmp_path, "has a name twice")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_folders_and_devices_are_refused(kind: int, archive: Path, record: Path, tmp_path: Path) -> None:
    member = (f"records/{record.name}", record.read_bytes())
    refused(packed(archive, [member], mode=kind | 0o777), tmp_path, "is a link, a folder or a device")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack_are_refused(method: int, archive: Path, record: Path, tmp_path: Path) -> None:
    refused(packed(archive, [(f"records/{record.name}", record.read_bytes())], method), tmp_path, "is packed in a way")


def bomb(record: Path) -> bytes:
    """17 MiB that pack to 17 KiB."""
    return record.read_bytes()[:-2] + b" " * (limits.RECORD + limits.MIB)


def lies(archive: Path) -> None:
    """Its directory and its header state another size than there is."""
    data = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(mark) + at, 100)
    archive.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "said"), [(lambda archive: None, "is larger than 16 MiB"), (lies, "no whole archive|checksum")]
)
def test_what_unpacks_to_far_more_is_refused(
    change: Callable[[Path], None], said: str, archive: Path, record: Path, tmp_path: Path
) -> None:
    packed(archive, [(f"records/{record.name}", bomb(record))], zipfile.ZIP_DEFLATED)
    assert archive.stat().st_size < 100_000
    change(archive)
    refused(archive, tmp_path, said)


def test_networks_that_no_disk_holds_are_refused_before_any_is_unpacked(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(archive, [("checkpoints/0123456789abcdef.safetensors", bytes(3 * limits.MIB))])
    usage = shutil.disk_usage(tmp_path)._replace(free=limits.MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    refused(archive, tmp_path, "its networks take 3 MiB, 1 are free in")
    monkeypatch.undo()
    monkeypatch.setattr(limits, "CHECKPOINT", limits.MIB)
    refused(archive, tmp_path, "is larger than 0 GiB")
