"""A network that returns NaN is a failed run and no number; data cut off or altered on the way are refused."""

import functools
import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from bench import plan
from bench.context import TrainingContext
from bench.errors import BenchError
from bench.store import Checkpoints, Records
from devices.rram import Rram
from methods._base import MethodError
from methods.nominal import Nominal
from tasks._base import TaskError
from tasks._data import Dataset, load
from tasks.mnist import Mnist

SMALL = {"network": "mlp", "train_samples": 200, "test_samples": 100, "chips": 2}


@pytest.fixture
def cell(one_cell) -> plan.Cell:
    return one_cell("nominal", "rram", "mnist", **SMALL)


def failed(results: Path) -> str:
    """What the one record says of why its run failed."""
    (record,), _ = Records(results).load_all()
    assert (record["status"], record["clean"], record["levels"]) == ("failed", None, [])
    return record["error"]


def test_trained_weights_that_are_nan_are_no_accuracy(cell, home, cpu_runner, tmp_path):
    runner = cpu_runner(home, tmp_path)
    runner.train(training := cell.evaluation.training)
    store = Checkpoints(home / "checkpoints")
    tensors, about = store.load(training.key)
    tensors[about["analog"][0]][0, 0] = torch.nan
    store.save(training.key, tensors, about)
    with pytest.raises(BenchError, match=f"tensor '{about['analog'][0]}' is not finite"):
        runner.run(cell, "")
    assert "is not finite" in failed(tmp_path)


def test_a_training_that_ends_in_nan_leaves_no_checkpoint(cell, home, cpu_runner, tmp_path, monkeypatch):
    fit = Nominal.fit

    def spoilt(self: Nominal, context: Any) -> Any:
        found = fit(self, context)
        with torch.no_grad():
            found.network.get_parameter(found.analog[0])[0, 0] = torch.nan
        return found

    monkeypatch.setattr(Nominal, "fit", spoilt)
    with pytest.raises(MethodError, match="training diverged: .* is not finite; try a smaller --lr"):
        cpu_runner(home, tmp_path).run(cell, "")
    assert "training diverged" in failed(tmp_path) and not list((home / "checkpoints").glob("*.safetensors"))


def test_a_network_that_returns_nan_is_no_accuracy(cell, home, cpu_runner, tmp_path):
    runner = cpu_runner(home, tmp_path)
    runner.train(training := cell.evaluation.training)
    store = Checkpoints(home / "checkpoints")
    tensors, about = store.load(training.key)
    for name in about["analog"]:
        tensors[name].fill_(3e38)
    store.save(training.key, tensors, about)
    with pytest.raises(MethodError, match="the network returns NaN in the digital network"):
        runner.run(cell, "")
    assert failed(tmp_path) == "MethodError: the network returns NaN in the digital network"


def test_a_chip_that_is_nan_is_no_accuracy(cell, home, cpu_runner, tmp_path, monkeypatch):
    program = Rram.program

    def broken(self: Any, weights: Any, generator: Any, *, level: float, time_s: Any = None) -> Any:
        chip = program(self, weights, generator, level=level, time_s=time_s)
        return {name: w * torch.nan for name, w in chip.items()} if level == 0.3 else chip

    monkeypatch.setattr(Rram, "program", broken)
    runner = cpu_runner(home, tmp_path)
    with pytest.raises(MethodError, match="NaN on chip 0 at level 0.3"):
        runner.run(cell, "")
    assert "NaN on chip 0 at level 0.3" in failed(tmp_path)
    monkeypatch.setattr(Rram, "program", program)
    assert runner.run(cell, "")["status"] == "done", "mended: the same command goes on"


def test_a_network_that_turns_nan_in_training_ends_it(cell, home, cpu_runner, tmp_path, monkeypatch):
    forward = TrainingContext.forward
    monkeypatch.setattr(TrainingContext, "forward", lambda *args, **kwargs: forward(*args, **kwargs) * torch.nan)
    with pytest.raises(MethodError, match="nan"):
        cpu_runner(home, tmp_path).run(cell, "")
    assert "nan" in failed(tmp_path) and not list((home / "checkpoints").glob("*.safetensors"))


# Data on the way


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """(URL, by path what is served): of `cut` files the second half is missing, though the header promises it."""
    files: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path.rpartition("/")[2])
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if "/cut/" in self.path else data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", files
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("way", ["cut", "altered"])
def test_a_download_that_was_cut_off_or_altered_is_refused(way, server, tmp_path, monkeypatch):
    """torchvision's own download, from a server that breaks it; nothing of it stays in the cache."""
    url, files = server
    for name, _ in torchvision.datasets.MNIST.resources:
        files[name] = gzip.compress(b"altered" * 500)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"{url}/{way}/"])
    data = Mnist.data
    only = Dataset(**{**vars(data), "sources": data.sources[:1]})
    with pytest.raises(TaskError, match="MNIST can't be fetched") as error:
        load(only, tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_a_source_that_breaks_gives_way_to_one_that_is_whole(server, tmp_path):
    """Two mirrors of one set: the bits of the first are others, which its checksum shows."""
    import dataclasses
    import urllib.request

    from tasks._data import KEYS, Source, checksum

    url, files = server
    right = {key: torch.arange(100, dtype=torch.uint8) for key in KEYS}
    files["right"], files["wrong"] = (torch.arange(400, dtype=torch.uint8).numpy().tobytes(), bytes(400))

    def get(name: str, folder: Path) -> dict[str, torch.Tensor]:
        path, _ = urllib.request.urlretrieve(f"{url}/{name}", folder / "file")
        whole = torch.frombuffer(bytearray(Path(path).read_bytes()), dtype=torch.uint8)
        return {key: whole[100 * i : 100 * (i + 1)].clone() for i, key in enumerate(KEYS)}

    truth = get("right", tmp_path)
    names = ("cut/right", "wrong", "right")
    sources = tuple(Source(label=name, size_mb=1, get=functools.partial(get, name)) for name in names)
    data = dataclasses.replace(Mnist.data, sha256=checksum(truth), sources=sources)
    found = load(data, tmp_path / "cache")
    assert all(torch.equal(found[key], truth[key]) for key in right)
    with pytest.raises(TaskError, match="retrieval incomplete.*wrong checksum"):
        load(dataclasses.replace(data, stem="other", sources=sources[:2]), tmp_path / "cache")
