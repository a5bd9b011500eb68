"""Denoising: noise that is what it says, PSNR and SSIM by hand, pictures in their frames."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tasks._base import TaskError
from tasks._data import checksum, load
from tasks._pictures import LOSS, UNIT, framed, patches, ssim
from tasks.denoising import Bsd, BsdBlind, Photographs, Photographs50, PhotographsBlind


def save(path: Path, pixels: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("L", (pixels.shape[1], pixels.shape[0]), pixels.numpy().tobytes()).save(path)


@pytest.fixture
def bsd(tmp_path: Path) -> Path:
    def pixels(*shape: int) -> torch.Tensor:
        return torch.randint(256, shape, dtype=torch.uint8)

    for i in range(40):
        save(tmp_path / "bsd" / "BSD400" / f"{i:03}.png", pixels(60, 60))
    for i, shape in enumerate([(256, 256), (512, 512)]):
        save(tmp_path / "bsd" / "Set12" / f"{i:02}.png", pixels(*shape))
    for i, shape in enumerate([(321, 481), (481, 321), (321, 481)]):
        save(tmp_path / "bsd" / "BSD68" / f"{i:03}.png", pixels(*shape))
    return tmp_path / "bsd"


def test_bsd_and_its_two_test_sets(bsd: Path, tmp_path: Path) -> None:
    splits = Bsd().splits(tmp_path, bsd)
    assert splits.train.inputs.shape == (20 * 4, 1, 40, 40)
    assert splits.val.inputs.shape == (20, 1, 60, 60)
    assert splits.test.inputs.shape == (5, 1, 512, 512) and splits.test.targets.shape == (5, 2, 512, 512)
    inside = splits.test.targets[:, 1]
    assert inside.flatten(1).amax(1).tolist() == [1, 1, 2, 2, 2]
    assert (inside > 0).flatten(1).sum(1).tolist() == [256 * 256, 512 * 512, *[321 * 481] * 3]
    for split in (splits.val, splits.test):
        noise = split.inputs - split.targets[:, :1].float()
        assert noise.std().item() == pytest.approx(25, rel=0.01) and abs(noise.mean().item()) < 0.3
    again = Bsd().splits(tmp_path, bsd)
    assert torch.equal(again.test.inputs, splits.test.inputs), "the noise of test pictures stays"
    assert torch.equal(BsdBlind().splits(tmp_path, bsd).test.inputs, splits.test.inputs)


def test_details_of_bsd_are_those_of_each_set(bsd: Path, tmp_path: Path) -> None:
    task, test = Bsd(), Bsd().splits(tmp_path, bsd).test
    output = task.prepare(test.inputs)
    psnr, details = task.correct(output, test.targets), task.details(output, test.targets)
    assert torch.equal(details["PSNR Set12"][:2], psnr[:2]) and torch.equal(details["PSNR BSD68"][2:], psnr[2:])
    assert details["PSNR Set12"][2:].isnan().all() and details["PSNR BSD68"][:2].isnan().all()


def test_pictures_for_validation_are_of_no_test_set(bsd: Path, tmp_path: Path) -> None:
    task, val = Bsd(), Bsd().splits(tmp_path, bsd).val
    output = task.prepare(val.inputs)
    assert list(task.details(output, val.targets)) == ["SSIM"]
    assert task.correct(output, val.targets).shape == (len(val),)


def empty(bsd: Path) -> None:
    for path in (bsd / "Set12").iterdir():
        path.unlink()


def truncated(bsd: Path) -> None:
    path = bsd / "BSD68" / "001.png"
    path.write_bytes(path.read_bytes()[:1000])


def unequal(bsd: Path) -> None:
    save(bsd / "BSD400" / "003.png", torch.zeros(50, 60, dtype=torch.uint8))


def tiny(bsd: Path) -> None:
    save(bsd / "BSD68" / "000.png", torch.zeros(30, 50, dtype=torch.uint8))


def too_few(bsd: Path) -> None:
    (bsd / "BSD400" / "007.png").unlink()


def too_large(bsd: Path) -> None:
    save(bsd / "BSD68" / "002.png", torch.zeros(600, 500, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "Set12: no pictures in .*; expected there: a folder Set12 or set12"),
        (truncated, "BSD68: 001.png can't be read"),
        (unequal, "BSD400: pictures must be of one size, and 003.png has 60 x 50 pixels and 000.png 60 x 60"),
        (tiny, "BSD68: 000.png has 50 x 30 pixels, must have at least 40 x 40"),
        (too_few, "BSD400: 39 pictures, must be at least 40"),
        (too_large, "test picture 002.png has 500 x 600 pixels, must fit into 512 x 512"),
    ],
)
def test_bad_folders_are_told_in_one_line(bsd: Path, tmp_path: Path, spoil, message: str) -> None:
    spoil(bsd)
    with pytest.raises(TaskError, match=message) as caught:
        Bsd().splits(tmp_path, bsd)
    assert "\n" not in str(caught.value)


def test_bsd_without_a_folder_ends_a_run_with_2(home, tmp_path, cli) -> None:
    words = ["--device", "rram", "--task", "denoising:bsd", "--preset", "smoke", "--results", tmp_path / "results"]
    ended = cli("run", "--method", "nominal", *words)
    assert ended.code == 2 and "name a directory with --data DIR that holds folders BSD400" in ended.err


def test_the_default_data(cache: Path) -> None:
    try:
        raw = load(Photographs.data, cache)
    except TaskError as error:
        if "wrong checksum" in str(error):
            raise
        pytest.skip(str(error))
    assert checksum(raw) == Photographs.data.sha256
    assert raw["train_y"].unique().tolist() == list(range(9)) and raw["test_y"].unique().tolist() == list(range(7))
    splits = Photographs().splits(cache)
    assert splits.val.inputs.shape == (16, 1, 128, 128)
    for task in (Photographs(), Photographs50()):
        test = task.splits(cache).test
        noise = test.inputs - test.targets.float()
        assert noise.std().item() == pytest.approx(task.noise, rel=0.01)
        # Clipping takes a little of the noise away from black and white
        assert task.correct(task.prepare(test.inputs), test.targets).mean().item() == pytest.approx(
            20 * torch.log10(torch.tensor(255 / task.noise)).item(), abs=1.0
        )


def test_training_noise_is_fresh_and_on_the_inputs_alone() -> None:
    task, random = Photographs(), torch.Generator().manual_seed(0)
    clean = torch.randint(256, (64, 1, 40, 40), dtype=torch.uint8)
    turns = torch.arange(64) % 2
    x, y = task.augment(clean, clean, turns, random)
    again, _ = task.augment(clean, clean, turns, random)
    noise = x - y
    assert noise.std().item() == pytest.approx(25, rel=0.02) and not torch.equal(x, again)
    assert torch.equal(y.flatten(1).sort().values, clean.flatten(1).sort().values), "turned, the pixels stay"
    assert len({tuple(y[i].flatten().tolist()) for i in range(64)}) == 64


def test_blind_noise_has_a_level_for_each_patch() -> None:
    clean = torch.full((2000, 1, 40, 40), 128, dtype=torch.uint8)
    x, y = PhotographsBlind().augment(clean, clean, torch.zeros(2000), torch.Generator().manual_seed(0))
    std = (x - y).flatten(1).std(1)
    assert std.mean().item() == pytest.approx(27.5, rel=0.05) and std.max() < 60 and std.min() < 1


def test_loss_and_distillation_are_those_of_the_residual() -> None:
    """What network and teacher give are noisy pictures less their residuals: the noisy picture cancels."""
    task = Photographs()
    clean = torch.randint(256, (4, 1, 16, 16), dtype=torch.uint8)
    noise, r_student, r_teacher = torch.randn(3, 4, 1, 16, 16)
    noisy = task.prepare(clean) + noise
    expected = LOSS * (r_student - noise).square().mean()
    assert task.loss(noisy - r_student, clean).item() == pytest.approx(expected.item(), rel=1e-4)
    both = LOSS * (r_student - r_teacher).square().mean()
    for temperature in (1.0, 5.0):
        found = task.distill(noisy - r_student, noisy - r_teacher, temperature)
        assert found.item() == pytest.approx(both.item(), rel=1e-4)
    assert task.probabilities(noisy) is None and not task.logits


def test_psnr_by_hand() -> None:
    """Off by 10 everywhere: 20 log10(255 / 10); what is beyond the picture counts for nothing."""
    task = Photographs()
    clean = torch.full((2, 2, 20, 20), 100, dtype=torch.uint8)
    clean[:, 1] = 0
    clean[:, 1, :15, :12] = 1
    output = task.prepare(clean[:, :1]) + 10 / UNIT
    output[1, :, 15:] += 3
    expected = 20 * torch.log10(torch.tensor(25.5)).item()
    assert task.correct(output, clean).tolist() == pytest.approx([expected] * 2, rel=1e-5)
    assert (task.metric.unit, task.metric.higher_is_better, task.metric.yield_loss) == ("dB", True, 1.0)


def slow_ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    """Wang et al. 2004, window by window; a, b: (h, w) in grey levels."""
    x = torch.arange(11, dtype=torch.float64) - 5
    bell = torch.exp(-(x**2) / (2 * 1.5**2))
    weights = bell[:, None] * bell[None]
    weights = weights / weights.sum()
    found = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = (z[i : i + 11, j : j + 11].double() for z in (a, b))
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            both = (weights * (p - mp) * (q - mq)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            found.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return torch.stack(found).mean().item()


def test_ssim_equals_a_slow_loop() -> None:
    a = torch.randint(256, (2, 1, 24, 20)).float()
    b = (a + 30 * torch.randn(2, 1, 24, 20)).clamp(0, 255)
    inside = torch.ones_like(a)
    inside[1, :, 20:] = 0
    inside[1, :, :, 17:] = 0
    found = ssim(a, b, inside).tolist()
    assert found[0] == pytest.approx(slow_ssim(a[0, 0], b[0, 0]), abs=1e-3)
    assert found[1] == pytest.approx(slow_ssim(a[1, 0, :20, :17], b[1, 0, :20, :17]), abs=1e-3)
    assert ssim(a, a, inside).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_patches_and_frames() -> None:
    number = torch.arange(60 * 60).view(1, 1, 60, 60)
    cut = patches(number, 20)
    assert cut.shape == (4, 1, 40, 40) and cut[:, 0, 0, 0].tolist() == [0, 20, 20 * 60, 20 * 60 + 20]
    small = torch.arange(4)[:, None] * 10 + torch.arange(3)
    assert framed(small, 7)[:, 0].tolist() == [0, 10, 20, 30, 20, 10, 0]
    assert framed(small, 7)[0].tolist() == [0, 1, 2, 1, 0, 1, 2]


def test_the_network_is_the_papers() -> None:
    network = Photographs().network("dncnn")
    assert sum(p.numel() for p in network.parameters()) == 2 * 64 * 9 + 15 * (64 * 64 * 9 + 2 * 64)
    assert len(Photographs().analog(network)) == 17
    assert len(Photographs().analog(Photographs().network("dncnn?depth=0.5", 0.25))) == 8
    x = torch.randn(1, 1, 40, 40)
    for p in network.parameters():
        p.data.zero_()
    assert torch.equal(network.eval()(x), x), "no noise found: the picture stays as it is"
    for name, message in (("dncnn?depth=0", "depth 0 must be above 0"), ("dncnn?deep=1", "can't be built")):
        with pytest.raises(TaskError, match=message):
            Photographs().network(name)
