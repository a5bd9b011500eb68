"""Image classification: fair splits, augmentation against a slow loop, loss and distillation in closed form."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from tasks._base import Splits, TaskError
from tasks._data import Dataset, Tensors, checksum
from tasks._images import ImageClassification
from tasks.cifar10 import Cifar10
from tasks.cifar100 import Cifar100
from tasks.fashion_mnist import FashionMnist
from tasks.mnist import Mnist

TASKS = [Cifar10, Cifar100, Mnist, FashionMnist]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered() -> Tensors:
    """Images whose two pixels are their number, class-sorted: 2,000 for training, 500 for test."""
    number = torch.arange(2_500)
    x = torch.stack([number % 256, number // 256], dim=1).to(torch.uint8).view(-1, 1, 1, 2)
    y = torch.cat([torch.arange(2_000) // 200, torch.arange(500) // 50]).to(torch.uint8)
    return {"train_x": x[:2_000], "train_y": y[:2_000], "test_x": x[2_000:].clone(), "test_y": y[2_000:].clone()}


class Numbered(ImageClassification):
    """Splits can be followed image by image."""

    in_shape = (1, 1, 2)
    mean, std = (0.5,), (0.25,)
    validation = 200
    data: ClassVar[Dataset] = Dataset(
        title="Numbered",
        stem="numbered",
        sha256=checksum(numbered()),
        expected="",
        read=lambda root: numbered(),
        sources=(),
    )


def numbers(inputs: Tensor) -> list[int]:
    return (inputs[:, 0, 0, 0].int() + 256 * inputs[:, 0, 0, 1].int()).tolist()


def real_splits(task: type[ImageClassification], cache: Path) -> Splits:
    if len(task.data.sources) == 1 and not (cache / f"{task.data.stem}.safetensors").exists():
        pytest.skip(f"{task.data.title} is in no registry, and not in the cache")
    try:
        return task().splits(cache)
    except TaskError as error:
        if "wrong checksum" in str(error):
            raise
        pytest.skip(str(error))


# --- splits


def test_splits_are_disjoint_complete_and_keep_labels(tmp_path: Path) -> None:
    splits = Numbered().splits(tmp_path, tmp_path)
    train, val, test = (numbers(split.inputs) for split in (splits.train, splits.val, splits.test))
    assert sorted(train + val) == list(range(2_000)) and sorted(test) == list(range(2_000, 2_500))
    assert splits.train.targets.tolist() == [number // 200 for number in train]
    assert splits.val.targets.tolist() == [number // 200 for number in val]
    assert splits.val.targets.bincount().tolist() == [20] * 10
    assert splits.test.targets.tolist() == [(number - 2_000) // 50 for number in test]


def test_splits_are_the_same_every_time_whatever_the_global_state(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = Numbered().splits(tmp_path, tmp_path)
    torch.manual_seed(2)
    second = Numbered().splits(tmp_path, tmp_path)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(first, part).inputs, getattr(second, part).inputs)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_the_head_of_a_split_is_a_fair_subset(part: str, tmp_path: Path) -> None:
    counts = getattr(Numbered().splits(tmp_path, tmp_path), part).head(100).targets.bincount(minlength=10)
    assert counts.min() >= 2 and counts.max() <= 22  # 10 expected, standard deviation 3


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_real_splits(task: type[ImageClassification], cache: Path) -> None:
    splits = real_splits(task, cache)
    n, held_out = (50_000, 2_500) if task.name.startswith("cifar") else (60_000, 5_000)
    counts = splits.train.targets.bincount() + splits.val.targets.bincount()
    assert len(splits.train) + len(splits.val) == n and len(splits.test) == 10_000
    assert splits.val.targets.bincount().tolist() == [held_out * count // n for count in counts.tolist()]
    assert splits.val.inputs.dtype == torch.uint8 and splits.val.targets.dtype == torch.int64
    assert splits.train.inputs.shape[1:] == task.in_shape
    x = task().prepare(splits.test.head(2_000).inputs)
    assert x.mean().abs() < 0.05 and abs(x.std().item() - 1) < 0.05


# --- prepare


def test_prepare_normalises_a_copy() -> None:
    task = Cifar10()
    stored = torch.randint(256, (3, 3, 32, 32), generator=generator(), dtype=torch.uint8)
    before = stored.clone()
    x = task.prepare(stored)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (task.mean, task.std))
    assert torch.allclose(x, (stored.float() / 255 - mean) / std, atol=1e-5)
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(stored, before)
    as_float = stored.float()
    assert torch.equal(task.prepare(as_float), x) and torch.equal(as_float, before.float())


# --- augment


def slow_augment(task: ImageClassification, inputs: Tensor, turns: Tensor, random: torch.Generator) -> Tensor:
    """Image by image, as one would say it: reflect beyond the edges, cut out, mirror if it is its turn."""
    n, _, height, width = inputs.shape
    reach = task.shift_px
    draws = torch.randint((2 * reach + 1) ** 2, (n,), generator=random).tolist()
    out = torch.zeros_like(inputs)
    for i, draw in enumerate(draws):
        image = inputs[i : i + 1].flip(3) if task.flip and turns[i] else inputs[i : i + 1]
        padded = torch.nn.functional.pad(image.float(), [reach] * 4, mode="reflect")[0].to(inputs.dtype)
        top, left = draw % (2 * reach + 1), draw // (2 * reach + 1)
        out[i] = padded[:, top : top + height, left : left + width]
    return out


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_augment_equals_a_slow_loop(task: type[ImageClassification]) -> None:
    inputs = torch.randint(256, (64, *task.in_shape), generator=generator(), dtype=torch.uint8)
    turns = torch.arange(64) % 2
    labels = torch.arange(64)
    fast, same = task().augment(inputs, labels, turns, generator(7))
    assert same is labels
    assert torch.equal(fast, slow_augment(task(), inputs, turns, generator(7)))
    assert torch.equal(fast, task().augment(inputs, labels, turns, generator(7))[0])
    assert not torch.equal(fast, task().augment(inputs, labels, turns, generator(8))[0])
    seen_in_a_mirror = task().augment(inputs.flip(3), labels, 1 - turns, generator(7))[0]
    assert torch.equal(seen_in_a_mirror, fast) == task.flip
    assert fast.dtype == torch.uint8


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_augment_draws_every_shift_alike(task: type[ImageClassification]) -> None:
    pixel = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    pixel[0, 0, 4, 4] = 1
    n = 20_000
    none = torch.zeros(n, dtype=torch.int64)
    out, _ = task().augment(pixel.expand(n, 1, 9, 9), none, none, generator())
    at = (out == 1).flatten(1).float().argmax(1)
    seen = Counter(zip((at // 9 - 4).tolist(), (at % 9 - 4).tolist(), strict=True))
    reach = range(-task.shift_px, task.shift_px + 1)
    assert set(seen) == {(row, column) for row in reach for column in reach}
    expected = n / len(seen)
    chi2 = sum((count - expected) ** 2 / expected for count in seen.values())
    assert chi2 < len(seen) - 1 + 5 * (2 * len(seen)) ** 0.5


# --- loss, metric, distillation


def test_correct_and_loss() -> None:
    task = Cifar10()
    output = torch.randn(50, 10, generator=generator())
    target = output.argmax(1)
    target[:10] = (target[:10] + 1) % 10
    assert task.correct(output, target).mean().item() == pytest.approx(80.0)
    p = task.probabilities(output)
    assert torch.allclose(p.sum(1), torch.ones(50))
    plain = -p[range(50), target].log().mean().item()
    evenly = -p.log().mean().item()
    assert task.loss(output, target).item() == pytest.approx(0.8 * plain + 0.2 * evenly, rel=1e-5)
    assert Mnist().loss(output, target).item() == pytest.approx(plain, rel=1e-5)
    assert (task.metric.unit, task.metric.higher_is_better) == ("%", True)


def test_distill_is_the_softened_divergence() -> None:
    task, temperature = Cifar10(), 5.0
    student, teacher = torch.randn(2, 8, 10, generator=generator())
    p, q = (torch.softmax(z.double() / temperature, 1) for z in (teacher, student))
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    assert task.distill(student, teacher, temperature).item() == pytest.approx(expected.item(), rel=1e-4)
    assert task.distill(teacher, teacher, temperature).item() == pytest.approx(0, abs=1e-5)
    assert task.distill(student.bfloat16(), teacher.bfloat16(), temperature).dtype == torch.float32


def test_the_data_a_leaf_states_are_checked(tmp_path: Path) -> None:
    class Changed(Numbered):
        data = replace(Numbered.data, sha256="0" * 64)

    with pytest.raises(TaskError, match="wrong checksum"):
        Changed().splits(tmp_path, tmp_path)
