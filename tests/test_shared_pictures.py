"""Pictures in archives: they go with the numbers that they show, and what is no small PNG never gets in."""

import hashlib
import io
import json
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from bench import limits, pictures, sharing
from bench.errors import BenchError
from bench.store import Checkpoints, Records

COMMITTED = Path(__file__).parents[1] / "results"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Results of two committed records that have pictures, and of one that has none."""
    store = Records(COMMITTED)
    found = sorted((COMMITTED / "pictures").glob("*.png"), key=lambda path: path.stat().st_size)[:2]
    (tmp_path / "mine" / "pictures").mkdir(parents=True)
    (tmp_path / "mine" / "records").mkdir()
    for path in found:
        shutil.copy(path, tmp_path / "mine" / "pictures")
        shutil.copy(store.find(path.stem), tmp_path / "mine" / "records")
    shutil.copy(next((COMMITTED / "records").glob("mnist-*.json")), tmp_path / "mine" / "records")
    return tmp_path / "mine"


@pytest.fixture
def archive(mine: Path, tmp_path: Path) -> Path:
    assert sharing.export(Records(mine).load_all()[0], mine, None, tmp_path / "a.zip") == sharing.LeftOut()
    return tmp_path / "a.zip"


def merge(archive: Path, tmp_path: Path, force: bool = False) -> sharing.Merged:
    return sharing.merge(archive, tmp_path / "theirs", Checkpoints(tmp_path / "home" / "checkpoints"), force=force)


def rewritten(archive: Path, change, form: int = 2, sums_of: dict[str, bytes] | None = None) -> Path:
    """The archive with its members changed, sums made anew (of `sums_of`, if given)."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist() if name != "manifest.json"}
    members = change(members) or members
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    sums |= {name: hashlib.sha256(data).hexdigest() for name, data in (sums_of or {}).items()}
    out = archive.with_name("changed.zip")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, data)
        new.writestr("manifest.json", json.dumps({"archive": form, "bench": "0", "files": sums}))
    return out


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_pictures_arrive_byte_for_byte_with_their_records(archive: Path, mine: Path, tmp_path: Path) -> None:
    assert merge(archive, tmp_path) == sharing.Merged(added=3, pictures=2)
    assert all_bytes(tmp_path / "theirs" / "pictures") == all_bytes(mine / "pictures")
    assert merge(archive, tmp_path) == sharing.Merged(same=3)
    first = archive.read_bytes()
    sharing.export(Records(tmp_path / "theirs").load_all()[0], tmp_path / "theirs", None, archive)
    assert archive.read_bytes() == first


def test_the_page_of_whoever_imports_shows_them(archive: Path, tmp_path: Path, cli) -> None:
    done = cli("import", archive, "--results", tmp_path / "theirs")
    assert done.code == 0 and "3 records added, 0 were here already, 2 pictures added" in done.out
    key = next((tmp_path / "theirs" / "pictures").iterdir()).stem
    assert f'"{key}":"data:image/png;base64,' in (tmp_path / "theirs" / "report.html").read_text()


def test_an_archive_of_before_is_still_read(archive: Path, tmp_path: Path) -> None:
    def without(members: dict[str, bytes]) -> dict[str, bytes]:
        return {name: data for name, data in members.items() if name.startswith("records/")}

    assert merge(rewritten(archive, without, form=1), tmp_path) == sharing.Merged(added=3)
    assert not (tmp_path / "theirs" / "pictures").exists()
    assert merge(archive, tmp_path) == sharing.Merged(same=3, pictures=2), "the same records get what they lack"


def test_a_picture_goes_with_the_numbers_that_it_shows(archive: Path, mine: Path, tmp_path: Path) -> None:
    merge(archive, tmp_path)
    theirs = Records(tmp_path / "theirs")
    one, other = sorted(path.stem for path in (mine / "pictures").iterdir())
    own = pictures.path(tmp_path / "theirs", one)
    record = theirs.load(one)
    changed = record | {"clean": record["clean"] + 1}

    theirs.save(changed)
    own.write_bytes(b"mine")
    done = merge(archive, tmp_path)
    assert (done.kept, done.pictures, own.read_bytes()) == ([one], 0, b"mine"), "mine are kept, with their picture"
    own.unlink()
    assert merge(archive, tmp_path).pictures == 0 and not own.exists(), "theirs is not of my numbers"
    pictures.path(tmp_path / "theirs", other).write_bytes(b"mine")
    assert merge(archive, tmp_path).pictures == 0, "of the same numbers mine stays"

    assert merge(archive, tmp_path, force=True) == sharing.Merged(added=1, same=2, pictures=2)
    assert all_bytes(tmp_path / "theirs" / "pictures") == all_bytes(mine / "pictures")
    theirs.save(changed)
    bare = rewritten(archive, lambda members: {n: d for n, d in members.items() if one not in n or "records" in n})
    merge(bare, tmp_path, force=True)
    assert theirs.load(one) == record and not own.exists(), "what showed the replaced numbers is gone"
    theirs.find(one).unlink()
    own.write_bytes(b"of a record that was deleted")
    assert merge(bare, tmp_path).added == 1 and not own.exists()


def png(width: int, height: int, frames: int = 1) -> bytes:
    file = io.BytesIO()
    images = [Image.new("1", (width, height), i % 2) for i in range(frames)]
    images[0].save(file, "png", save_all=frames > 1, append_images=images[1:])
    return file.getvalue()


def claims(data: bytes, width: int, height: int) -> bytes:
    """The PNG with another size in its header, whose checksum is right."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def gif() -> bytes:
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "gif")
    return file.getvalue()


SMALL = png(40, 40)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no PNG that can be drawn"),
        (b"<svg onload=alert(1)>", "no PNG that can be drawn"),
        (SMALL[:8], "no PNG that can be drawn"),
        (SMALL[:45], "no PNG that can be drawn"),
        (SMALL[:45] + bytes([SMALL[45] ^ 255]) + SMALL[46:], "no PNG that can be drawn"),
        (gif(), "no PNG that can be drawn"),
        (png(4096, 2049), "8,392,704 pixels, 1 frames; must be at most 8,388,608, and 1"),
        (claims(SMALL, 60_000, 60_000), "no PNG that can be drawn"),
        (claims(SMALL, 12_000, 10_000), "no PNG that can be drawn"),
        (claims(SMALL, 0, 5), "no PNG that can be drawn"),
        (png(8, 8, frames=3), "3 frames"),
        (SMALL + bytes(limits.PICTURE), "is larger than 4 MiB"),
    ],
    ids=[
        "empty",
        "svg",
        "mark alone",
        "cut",
        "changed",
        "gif",
        "too large",
        "bomb",
        "half a bomb",
        "flat",
        "film",
        "long",
    ],
)
def test_what_is_no_small_png_is_refused_as_a_whole(
    data: bytes, said: str, archive: Path, tmp_path: Path, cli, recwarn
) -> None:
    def spoilt(members: dict[str, bytes]) -> None:
        members[next(name for name in members if name.endswith(".png"))] = data

    done = cli("import", rewritten(archive, spoilt), "--results", tmp_path / "theirs")
    assert done.code == 2 and said in done.err and len(done.err.splitlines()) == 1, done.err
    assert not list((tmp_path / "theirs").rglob("*.*")) and not recwarn.list


def test_other_bytes_than_the_manifest_says_are_refused(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".png"))
        was = {name: opened.read(name)}
    changed = rewritten(archive, lambda members: members | {name: SMALL}, sums_of=was)
    with pytest.raises(BenchError, match=f"{name} is not what its checksum says; nothing was imported"):
        merge(changed, tmp_path)
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pictures/0123456789abcdef.png", "is of no record that is in the archive"),
        ("pictures/../records/x-0123456789abcdef.png", "no name that"),
        ("pictures/0123456789abcdef.svg", "no name that"),
        ("pictures/0123456789ABCDEF.png", "no name that"),
        ("pictures/x-0123456789abcdef.png", "no name that"),
    ],
)
def test_only_pictures_of_records_that_are_there_get_in(name: str, said: str, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=said):
        merge(rewritten(archive, lambda members: members | {name: SMALL}), tmp_path)
    assert not (tmp_path / "theirs").exists()


def test_all_pictures_together_have_a_limit(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PICTURES", 1000)
    with pytest.raises(BenchError, match="its pictures take 0 MiB, more than 0"):
        merge(archive, tmp_path)


def test_what_would_be_refused_is_not_exported(mine: Path, tmp_path: Path, cli, caplog) -> None:
    spoilt = next((mine / "pictures").iterdir())
    spoilt.write_bytes(b"no picture")
    done = cli("export", tmp_path / "b.zip", "--results", mine)
    assert done.code == 0 and f"left out: picture {spoilt.name} (it is no PNG that can be drawn)" in caplog.text
    with zipfile.ZipFile(tmp_path / "b.zip") as opened:
        assert sum(name.endswith(".png") for name in opened.namelist()) == 1
    assert merge(tmp_path / "b.zip", tmp_path).pictures == 1


def test_no_more_pictures_are_exported_than_an_import_takes(mine: Path, tmp_path: Path, monkeypatch) -> None:
    first, second = sorted((mine / "pictures").iterdir())
    monkeypatch.setattr(limits, "PICTURES", first.stat().st_size + second.stat().st_size - 1)
    left_out = sharing.export(Records(mine).load_all()[0], mine, None, tmp_path / "b.zip")
    assert len(left_out.pictures) == 1 and "all pictures of an archive take at most 0 MiB" in left_out.pictures[0]
    assert merge(tmp_path / "b.zip", tmp_path).pictures == 1


def test_every_committed_picture_may_travel() -> None:
    for path in pictures.folder(COMMITTED).glob("*.png"):
        pictures.check(path.read_bytes())
