"""Heartbeats: metrics of a confusion matrix against hand counts, splits by record, and files that can't be used."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks import _confusion as confusion
from tasks import ecg
from tasks._base import TaskError
from tasks._data import checksum, load
from tasks.ecg import TEST, VALIDATION, Ecg, EcgMitbih, Heartbeats

# --- metrics

TRUE = [0, 0, 0, 0, 1, 1, 2]
TAKEN = [0, 0, 0, 1, 1, 3, 0]  # class 3 has no samples, class 2 is never found


def logits_of(classes: list[int], n: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), n).float()


def test_macro_f1_and_balanced_accuracy_by_hand() -> None:
    task = Ecg()
    parts = task.correct(logits_of(TAKEN, 5), torch.tensor(TRUE)).double()
    assert parts.shape == (7,)
    f1 = (2 * 3 / (2 * 3 + 1 + 1), 2 * 1 / (2 * 1 + 1 + 1), 0)  # of the classes 0, 1 and 2
    recall = (3 / 4, 1 / 2, 0)
    assert task.overall(parts) == pytest.approx(100 * sum(f1) / 3)
    of_four = EcgMitbih().correct(logits_of(TAKEN, 4), torch.tensor(TRUE)).double()
    assert EcgMitbih().overall(of_four) == pytest.approx(100 * sum(recall) / 3)
    expected = {
        "accuracy": 100 * 4 / 7,
        "balanced accuracy": 100 * sum(recall) / 3,
        "macro-F1": 100 * sum(f1) / 3,
        "recall normal": 75,
        "recall R-on-T": 50,
        "recall PVC": 0,
    }
    assert task.derived(parts) == pytest.approx(expected)


def test_metrics_are_of_the_whole_and_not_of_parts() -> None:
    """A split measured in batches gives the same as at once; the mean of two halves' metrics would not."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(5, (400,), generator=generator)
    output = logits_of(target.tolist(), 5) + torch.randn(400, 5, generator=generator)
    task = Ecg()
    parts = torch.cat([task.correct(o, t) for o, t in zip(output.split(64), target.split(64), strict=True)]).double()
    matrix = torch.zeros(5, 5)
    for true, taken in zip(target.tolist(), output.argmax(1).tolist(), strict=True):
        matrix[true, taken] += 1
    assert torch.equal(confusion.confusion(parts, 5), matrix.double())
    assert task.overall(parts[torch.randperm(400, generator=generator)]) == task.overall(parts)
    assert task.overall(parts) != pytest.approx((task.overall(parts[:200]) + task.overall(parts[200:])) / 2, abs=1e-6)
    right = task.correct(logits_of(target.tolist(), 5), target).double()
    assert task.overall(right) == 100 and set(task.derived(right).values()) == {100.0}


# --- ECG5000


def test_ecg5000_is_split_as_published(cache: Path) -> None:
    try:
        raw = load(Ecg.data, cache)
    except TaskError as error:
        if "wrong checksum" in str(error):
            raise
        pytest.skip(str(error))
    assert checksum(raw) == Ecg.data.sha256
    assert raw["train_x"].shape == (500, 1, 140) and raw["test_x"].shape == (4500, 1, 140)
    assert raw["train_y"].bincount().tolist() == [292, 177, 10, 19, 2]
    assert raw["test_y"].bincount().tolist() == [2627, 1590, 86, 175, 22]
    for part in ("train_x", "test_x"):
        assert raw[part].mean(2).abs().max() < 1e-4 and (raw[part].std(2) - 1).abs().max() < 1e-4
    splits = Ecg().splits(cache)
    assert len(splits.train) + len(splits.val) == 500 and len(splits.test) == 4500
    assert splits.val.targets.bincount().tolist() == [58, 35, 2, 3]  # both beats of the last class are trained on
    beats = {beat.numpy().tobytes() for beat in splits.train.inputs}
    assert not beats & {beat.numpy().tobytes() for part in (splits.val, splits.test) for beat in part.inputs}


def write_archive(root: Path, rows: int = 3, suffix: str = ".tsv") -> np.ndarray:
    """Both files with random beats; returns the table of each."""
    root.mkdir(parents=True, exist_ok=True)
    table = np.random.default_rng(0).normal(size=(rows, 141)).round(6)
    table[:, 0] = np.arange(rows) % 5 + 1
    for part in ("TRAIN", "TEST"):
        np.savetxt(root / f"ECG5000_{part}{suffix}", table, fmt="%.6f", delimiter="\t" if suffix == ".tsv" else "  ")
    return table


@pytest.mark.parametrize("folder, suffix", [(".", ".tsv"), ("ECG5000", ".tsv"), ("ECG5000", ".txt")])
def test_the_archives_files_are_read(folder: str, suffix: str, tmp_path: Path) -> None:
    table = write_archive(tmp_path / folder, suffix=suffix)
    found = ecg.read(tmp_path)
    assert torch.equal(found["test_x"], torch.from_numpy(table[:, 1:]).float()[:, None])
    assert found["train_y"].tolist() == [0, 1, 2] and found["train_y"].dtype == torch.uint8


@pytest.mark.parametrize("damage", ["cut short", "other beats", "words", "NaN", "empty", "missing"])
def test_broken_files_of_the_archive_are_told(damage: str, tmp_path: Path, cache: Path) -> None:
    write_archive(tmp_path)
    path = tmp_path / "ECG5000_TEST.tsv"
    text = path.read_text()
    if damage == "missing":
        path.unlink()
    else:
        first = text.partition("\t")[0]
        wrong = {"cut short": text[:-50], "words": "Hello\n", "NaN": text.replace(first, "nan", 1), "empty": ""}
        path.write_text(wrong.get(damage, text))
    said = "not found in" if damage == "missing" else "can't be used"
    with pytest.raises(TaskError, match=f"ECG5000: .*{said}.*; expected there: ECG5000_TRAIN.tsv") as caught:
        Ecg().splits(cache, tmp_path)
    assert "\n" not in str(caught.value)


# --- MIT-BIH


def recordings(n: int = 60) -> dict[str, np.ndarray]:
    """Beats of a few records of each split, in millivolts."""
    draw = np.random.default_rng(0)
    records = np.array([*VALIDATION[-2:], *TEST[:2], 101, 208])[np.arange(n) % 6]
    return {"beats": draw.normal(0.3, 2, (n, 128)), "labels": draw.integers(0, 4, n), "records": records}


def save(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(folder / "mitbih.npz", **arrays)
    return folder


def test_no_record_is_on_two_sides(tmp_path: Path) -> None:
    arrays = recordings()
    arrays["beats"][:, 0] = 0  # which lets a beat say its record, through all scaling
    arrays["beats"][:, 1] = arrays["records"]
    arrays["beats"][:, 2] = 1
    splits = EcgMitbih().splits(tmp_path, save(tmp_path, arrays))
    sides = []
    for part in (splits.train, splits.val, splits.test):
        zero, scaled, one = part.inputs[:, 0, :3].T
        sides.append({round(value) for value in ((scaled - zero) / (one - zero)).tolist()})
        assert part.inputs.shape[1:] == (2, 128) and part.targets.dtype == torch.int64
    assert sides == [{101, 208}, set(VALIDATION[-2:]), set(TEST[:2])]
    assert len(splits.train) + len(splits.val) + len(splits.test) == 60
    assert not set(VALIDATION) & set(TEST)


def test_beats_have_no_unit_left(tmp_path: Path) -> None:
    arrays = recordings()
    in_mv = EcgMitbih().splits(tmp_path, save(tmp_path, arrays)).train.inputs
    arrays["beats"] = np.round(arrays["beats"] * 20_000 + 500).astype(np.int32)
    in_steps = EcgMitbih().splits(tmp_path, save(tmp_path, arrays)).train.inputs
    assert torch.allclose(in_mv, in_steps, atol=1e-3)
    beats = in_mv[:, 0]
    assert beats.mean(1).abs().max() < 1e-5 and torch.allclose(beats.std(1), torch.ones(len(beats)), atol=1e-4)


def test_the_second_channel_is_what_a_beat_has_beyond_its_own_records_median_beat(tmp_path: Path) -> None:
    arrays = recordings(90)  # 15 beats a record: an odd number has one median
    splits = EcgMitbih().splits(tmp_path, save(tmp_path, arrays))
    scaled = (arrays["beats"] - arrays["beats"].mean(1, keepdims=True)) / arrays["beats"].std(1, ddof=1, keepdims=True)
    for record, part in ((101, splits.train), (VALIDATION[-1], splits.val), (TEST[0], splits.test)):
        own = scaled[arrays["records"] == record]
        expected = np.stack([own, own - np.median(own, axis=0)], axis=1)
        found = part.inputs.double().numpy()
        nearest = np.abs(found[None] - expected[:, None]).max((2, 3)).min(1)
        assert nearest.max() < 1e-5, "each beat of the record is there with its difference"


@pytest.mark.parametrize(
    "damage, said",
    [
        ("missing", "mitbih.npz: not found in .*; docs/tasks.md says how to make it"),
        ("truncated", "mitbih.npz: can't be read"),
        ("no archive", "mitbih.npz: can't be read"),
        ("pickled", "mitbih.npz: can't be read"),
        ("no labels", "mitbih.npz: has no array labels; must have beats, labels, records"),
        ("short labels", r"labels are int64 \(59,\); must be one integer a beat, \(60,\)"),
        ("records in words", r"records are <U\d+ \(60,\); must be one integer a beat"),
        ("wrong length", r"beats are float64 \(60, 127\); must be numbers \(n, 128\)"),
        ("one array", "mitbih.npz: holds one array without a name; must have beats, labels, records"),
        ("NaN", "beat 7 holds a value that is not finite or above 1e.15; leave it out"),
        ("too large", "beat 8 holds a value that is not finite or above 1e.15; leave it out"),
        ("a fifth class", "labels go from 0 to 4; must be 0 to 3"),
        ("no test records", "no beats for test, which takes records 100, 103, .*234$"),
        ("no training records", "no beats for training, which takes records any other"),
        ("nothing", "mitbih.npz: holds no beats"),
    ],
)
def test_files_that_cannot_be_used_are_told_in_one_line(damage: str, said: str, tmp_path: Path) -> None:
    arrays = recordings()
    training = ~np.isin(arrays["records"], (*VALIDATION, *TEST))
    if damage == "NaN":
        arrays["beats"][7, 100] = math.nan
    elif damage == "too large":
        arrays["beats"][8] *= 1e300
    change = {
        "short labels": {"labels": arrays["labels"][:-1]},
        "records in words": {"records": arrays["records"].astype(str)},
        "wrong length": {"beats": arrays["beats"][:, 1:]},
        "a fifth class": {"labels": np.arange(60) % 5},
        "no test records": {name: a[~np.isin(arrays["records"], TEST)] for name, a in arrays.items()},
        "no training records": {name: a[~training] for name, a in arrays.items()},
        "nothing": {name: a[:0] for name, a in arrays.items()},
        "pickled": {"labels": arrays["labels"].astype(object)},
    }
    arrays |= change.get(damage, {})
    if damage == "no labels":
        del arrays["labels"]
    path = save(tmp_path, arrays) / "mitbih.npz"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-3000])
    elif damage == "no archive":
        path.write_bytes(b"\x00" * 500)
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, arrays["beats"])
    with pytest.raises(TaskError, match=said) as caught:
        EcgMitbih().splits(tmp_path, tmp_path)
    assert "\n" not in str(caught.value)


def test_without_a_directory_the_user_is_told_what_to_name(cli, home, tmp_path) -> None:
    asked = "--method nominal --device ideal --task ecg:mitbih --preset smoke --results".split()
    ended = cli("run", *asked, tmp_path / "results")
    assert ended.code == 2 and "Traceback" not in ended.err
    assert "ecg:mitbih: name a directory with --data DIR that holds mitbih.npz" in " ".join(ended.err.split())


# --- in training


@pytest.mark.parametrize("task", [Ecg(), EcgMitbih()], ids=lambda task: task.name)
def test_beats_are_shifted_and_keep_their_labels(task, monkeypatch) -> None:
    monkeypatch.setattr(type(task), "noise", 0.0)
    x = torch.arange(float(task.points)).expand(200, task.channels, -1)
    y = torch.arange(200) % 4
    shifted, labels = Heartbeats.augment(task, x, y, torch.zeros(200), torch.Generator().manual_seed(3))
    assert torch.equal(labels, y) and shifted.shape == x.shape
    middle = task.points // 2
    moves = (shifted - x)[:, 0, middle]
    assert set(moves.tolist()) == set(range(-task.shift, task.shift + 1))
    for beat, move in zip(shifted, moves.tolist(), strict=True):
        moved = (torch.arange(float(task.points)) + move).clamp(0, task.points - 1)
        assert torch.equal(beat, moved.expand_as(beat)), "all channels alike"
    again, _ = Heartbeats.augment(task, x, y, torch.zeros(200), torch.Generator().manual_seed(3))
    assert torch.equal(again, shifted)


def test_beats_of_ecg_get_noise_of_a_strength_that_differs_and_the_same_again(monkeypatch) -> None:
    task = Ecg()
    monkeypatch.setattr(Ecg, "shift", 0)
    x, y = torch.ones(400, 1, task.points), torch.arange(400) % 5
    noisy, labels = Heartbeats.augment(task, x, y, torch.zeros(400), torch.Generator().manual_seed(3))
    assert torch.equal(labels, y)
    assert torch.equal(noisy, Heartbeats.augment(task, x, y, torch.zeros(400), torch.Generator().manual_seed(3))[0])
    strengths = (noisy - x).std(2).flatten().sort().values
    evenly = torch.linspace(0, task.noise, 400)
    assert (strengths - evenly).abs().max() < 0.07, "drawn evenly from 0 to `noise`, for each beat"


def test_beats_of_ecg_are_mixed_in_pairs_with_their_labels(monkeypatch) -> None:
    task = Ecg()
    for name in ("shift", "noise", "drift"):
        monkeypatch.setattr(Ecg, name, 0)
    n = 4000
    x, y = torch.zeros(n, 1, task.points), torch.arange(n) % 5
    x[torch.arange(n), 0, y] = 1.0  # so that a mixture shows its parts
    mixed, shares = task.augment(x, y, torch.zeros(n), torch.Generator().manual_seed(3))
    assert shares.shape == (n, 5) and torch.allclose(shares.sum(1), torch.ones(n))
    assert torch.allclose(mixed[:, 0, :5], shares), "signal and label by the same share"
    assert 1 < (shares > 0).sum(1).double().mean() <= 2, "of two beats each"
    own = shares[torch.arange(n), y]
    apart = own[(shares > 0).sum(1) == 2]  # of two classes: the share is Beta(.3, .3), of deviation 1 / sqrt(4 * 1.6)
    assert apart.mean() == pytest.approx(0.5, abs=0.03) and apart.std() == pytest.approx(1 / 6.4**0.5, abs=0.02)
    assert torch.isfinite(task.loss(torch.randn(n, 5), shares))
    again, same = task.augment(x, y, torch.zeros(n), torch.Generator().manual_seed(3))
    assert torch.equal(again, mixed) and torch.equal(same, shares)


def test_the_base_line_of_ecg_drifts_slowly(monkeypatch) -> None:
    task = Ecg()
    for name in ("shift", "noise"):
        monkeypatch.setattr(Ecg, name, 0)
    monkeypatch.setattr(Ecg, "_shares", lambda self, n, generator: torch.ones(n))  # nothing is mixed
    x, y = torch.zeros(2000, 1, task.points), torch.arange(2000) % 5
    drifting, shares = task.augment(x, y, torch.zeros(2000), torch.Generator().manual_seed(3))
    assert torch.equal(shares.argmax(1), y) and drifting.dtype == torch.float32
    crossings = (drifting[:, 0].diff(dim=1).sign().diff(dim=1) != 0).sum(1)
    assert crossings.max() <= 3, "1.3 periods at most"
    assert drifting.square().mean().sqrt() == pytest.approx(task.drift / 2**0.5, rel=0.15)
