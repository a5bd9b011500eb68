"""Pictures of test samples, level by level: the right samples on the right chip, small files, shown where they lie."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bench import leaderboard, pictures, plan
from bench.rig import Rig, numbered_chip
from tasks._base import Metric, Split, Task
from tasks.denoising import Bsd, Photographs
from tasks.segmentation import Segmentation

EDGE = 20


class Grey(Task):
    """Grey pictures that stay what they are."""

    metric = Metric(name="error", unit="levels", higher_is_better=False)
    splits = distill = None  # type: ignore[assignment]

    def network(self, name, width=1.0):
        return nn.Conv2d(1, 1, 1, bias=False)

    def prepare(self, inputs):
        return inputs.float()

    def loss(self, output, target):
        return (output - target).square().mean()

    def correct(self, output, target):
        return (output - target).abs().flatten(1).mean(1)

    def picture(self, inputs, targets, output=None):
        seen = torch.cat([inputs, targets], dim=3) if output is None else output.clamp(0, 255)
        return seen.to(torch.uint8).expand(-1, 3, -1, -1)


@pytest.fixture
def evaluation(one_cell):
    return one_cell("nominal", "rram", "mnist", network="mlp").evaluation


@pytest.fixture
def rig() -> tuple[Rig, Split]:
    task, network = Grey(), Grey().network("")
    network.weight.data.fill_(0.5)
    x = torch.randint(100, 200, (5, 1, EDGE, EDGE), dtype=torch.uint8)
    split = Split(x, 255 - x)
    return Rig(network, task.analog(network), task, split, "fp32"), split


def cut(image: Image.Image, place: int, row: int) -> Tensor:
    """The picture in a place from the left: (EDGE, EDGE)."""
    left = place * (EDGE + pictures.GAP)
    top = pictures.TEXT + 2 * pictures.GAP + row * (EDGE + pictures.TEXT + 2 * pictures.GAP)
    grey = image.convert("L").crop((left, top, left + EDGE, top + EDGE))
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(EDGE, EDGE)


def test_a_picture_has_the_first_samples_on_chip_0_at_every_level(rig, evaluation, tmp_path: Path) -> None:
    own, split = rig
    device = plan.device_of("rram")
    pictures.keep(tmp_path, evaluation, own, device, split)
    with Image.open(tmp_path / "pictures" / f"{evaluation.key}.png") as image:
        assert image.width == (3 + len(evaluation.levels)) * (EDGE + pictures.GAP)
        for row in range(pictures.SAMPLES):
            assert torch.equal(cut(image, 0, row), split.inputs[row, 0])
            assert torch.equal(cut(image, 1, row), split.targets[row, 0]), "wanted"
            assert torch.equal(cut(image, 2, row), split.inputs[row, 0] // 2), "digital: a weight of a half"
            for place, level in enumerate(evaluation.levels, start=3):
                chip, _ = numbered_chip(own, device, "test chip", 0, level, None)
                expected = (chip["weight"].item() * split.inputs[row, 0]).clamp(0, 255).to(torch.uint8)
                assert torch.equal(cut(image, place, row), expected)


def test_a_task_without_pictures_has_no_file(rig, evaluation, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delattr(Grey, "picture")
    own, split = rig
    pictures.keep(tmp_path, evaluation, own, plan.device_of("rram"), split)
    assert not list(tmp_path.iterdir())


def test_what_colours_say_stands_below_a_picture(tmp_path: Path) -> None:
    columns = [("given", torch.full((1, 3, 60, 300), 255, dtype=torch.uint8), [""])]
    bare, noted = pictures.table(columns), pictures.table(columns, Segmentation.picture_note)
    assert noted.height > bare.height and noted.crop((0, 0, *bare.size)).tobytes() == bare.tobytes()
    below = noted.crop((0, bare.height, noted.width, noted.height)).convert("L")
    assert below.getextrema() == (0, 255), "black letters"


def test_noise_is_given_fewer_shades_until_the_file_is_small() -> None:
    def made(edge: int) -> tuple[int, int]:
        noise = torch.randint(256, (edge, edge), dtype=torch.uint8)
        data = pictures.png(Image.fromarray(noise.numpy()).convert("RGB"))
        with Image.open(io.BytesIO(data)) as image:
            return len(data), len(image.getcolors(maxcolors=1000) or ())

    size, shades = made(50)
    assert shades == 256
    size, shades = made(400)
    assert size <= pictures.MOST_BYTES and 16 <= shades < 64


def test_what_a_mask_task_shows() -> None:
    picture = torch.full((1, 1, 16, 16), 100, dtype=torch.uint8)
    wanted, output = torch.zeros_like(picture), -torch.ones(1, 1, 16, 16)
    wanted[..., :8] = 1
    output[..., 4:12] = 1  # four columns missed, four found, four that aren't there
    before = Segmentation().picture(picture, wanted)
    assert before.shape == (1, 3, 16, 32) and before.dtype == torch.uint8
    assert before[0, :, 0, 0].tolist() == [100] * 3 and before[0, :, 0, 16].tolist() == [80, 150, 80]
    shown = Segmentation().picture(picture, wanted, output)
    assert [shown[0, :, 3, column].tolist() for column in (0, 4, 8, 12)] == [
        [152, 110, 133], [80, 150, 80], [50, 50, 177], [50] * 3,
    ]  # fmt: skip


@pytest.mark.parametrize(("task", "edge", "start"), [(Photographs(), 128, 32), (Bsd(), 512, 48)])
def test_what_a_denoising_task_shows(task: Photographs | Bsd, edge: int, start: int) -> None:
    clean = torch.randint(256, (2, 1, edge, edge), dtype=torch.uint8)
    noisy = clean + 300 * torch.randn(2, 1, edge, edge)
    part = (slice(None), slice(None), slice(start, start + 96), slice(start, start + 96))
    before = task.picture(noisy, clean.expand(-1, 2, -1, -1))
    assert before.shape == (2, 3, 96, 192)
    assert torch.equal(before[:, :1, :, 96:], clean[part])
    assert torch.equal(before[:, :1, :, :96], noisy[part].clamp(0, 255).round().to(torch.uint8))
    assert torch.equal(task.picture(noisy, clean, task.prepare(clean))[:, :1], clean[part])


def test_reports_show_pictures_where_there_are_any(home, tmp_path, cpu_runner, one_cell, cli, monkeypatch) -> None:
    results = tmp_path / "results"
    cell = one_cell("nominal", "rram", "mnist", network="mlp", train_samples=64, test_samples=50)
    record = cpu_runner(home, results).run(cell, "test")
    leaderboard.write(results, [record])
    board = (results / "LEADERBOARD.md").read_text()
    assert "pictures/" not in board
    shown = "show", record["key"], "--results", results
    assert "pictures  " not in cli(*shown).out
    pictures.folder(results).mkdir()
    (pictures.folder(results) / f"{record['key']}.png").touch()
    leaderboard.write(results, [record])
    assert f"nominal: ![nominal](pictures/{record['key']}.png)" in (results / "LEADERBOARD.md").read_text()
    monkeypatch.setenv("COLUMNS", "40")  # a path is not broken, so that it can be copied
    assert f"pictures   {results}/pictures/{record['key']}.png" in cli(*shown).out
