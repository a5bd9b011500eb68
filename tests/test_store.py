"""Files appear whole or not at all, and what is broken is said in one line with a name to go by."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import frame, markdown, published, terminal
from bench.errors import BenchError
from bench.files import check_writable, write_bytes, write_text, write_with
from bench.keys import key_of
from bench.reading import RECORD_SCHEMA, read_record
from bench.store import Checkpoints, Records, home
from bench.summary import summary

TRAINED = key_of({"seed": 0})
ABOUT: dict[str, Any] = {
    "training": {"seed": 0},
    "cost": {"epochs": 1, "samples": 2000, "forward_passes": 2000, "seconds": 1.5},
    "lineage": {"0123456789abcdef": {"epochs": 1, "samples": 2000, "forward_passes": 2000, "seconds": 1.5}},
    "analog": ["weight"],
    "environment": {"created": "2026-01-01T00:00:00+00:00"},
}


def made(status: str = "done", **training: Any) -> dict[str, Any]:
    """A record as the runner writes it."""
    usual = {
        "task": "mnist",
        "task_version": "1",
        "network": "mlp",
        "width": 1.0,
        "method": "nominal",
        "method_version": "1",
        "settings": {"clip_w": 2.0},
        "device": "ideal",
        "device_version": "1",
        "level": 0.0,
        "time_s": None,
        "budget": {"epochs": 1, "finetune_epochs": 1, "lr": 0.1},
        "precision": "fp32",
        "seed": 0,
        "recipe": "1",
    }
    done = {
        "clean": 90.0,
        "levels": [
            {"level": 0.0, "chips": [90.0], "first_stage": 1, "ekl": 0.0, "samples": None},
            {"level": 0.1, "chips": [80.0, 81.5], "first_stage": 2, "ekl": 0.1, "samples": None},
        ],
    }
    evaluation = {
        "training": usual | training,
        "device": "rram",
        "device_version": "1",
        "time_s": None,
        "levels": [0.0, 0.1],
        "chips": {"minimum": 2, "maximum": 2, "half_width": None, "samples": None},
        "preset": "smoke",
        "test_samples": 500,
    }
    return {
        "schema": RECORD_SCHEMA,
        "key": key_of(evaluation),
        "status": status,
        "error": None,
        "evaluation": evaluation,
        "training_key": "fedcba9876543210",
        "task": {"name": "mnist", "dataset": "MNIST", "metric": "accuracy", "unit": "%", "higher_is_better": True},
        "axis": {"name": "sigma", "unit": "std of ln w"},
        "cost": {"epochs": 1, "samples": 2000, "seconds": 1.5, "teacher_samples": 0, "teacher_seconds": 0},
        "environment": {},
        "command": "bench run --seed 0",
    } | (done if status == "done" else {"clean": None, "levels": []})


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, nothing reaches the disk."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


def same(a: Any, b: Any) -> bool:
    """Equal nestings, tensors bit for bit with their type."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


# Files


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_text(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_with(path, half)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    fill_disk(monkeypatch)
    with pytest.raises(OSError):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    seen = []

    def slowly(temporary: Path) -> None:
        assert temporary.parent == path.parent  # a rename across file systems would be a copy
        temporary.write_text("new")
        seen.append(path.read_text())

    write_with(path, slowly)
    assert (seen, path.read_text()) == (["old"], "new")


def test_files_get_the_permissions_of_any_other_file(tmp_path):
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_home_is_what_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_HOME", "~/elsewhere")
    assert home() == Path.home() / "elsewhere"
    monkeypatch.delenv("BENCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "cim-bench"


def test_an_unwritable_folder_is_told_before_anything_runs(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(BenchError, match=f"can't write to {folder}: .*; choose another folder"):
            check_writable(folder)


# Checkpoints


def test_a_finished_checkpoint_comes_back_as_it_was(tmp_path):
    store = Checkpoints(tmp_path)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    store.save_partial(TRAINED, {"epoch": 1})
    about = ABOUT | {"analog": ["0.weight"]}
    store.save(TRAINED, network.state_dict(), about)
    tensors, found = store.load(TRAINED)
    assert same(dict(network.state_dict()), tensors)
    assert found == about
    assert store.load_partial(TRAINED) is None  # the resume point goes when the training is done
    assert store.load("other") is None
    assert store.load_partial("other") is None


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_resume_point_holds_a_whole_optimizer(tmp_path, kind):
    network = nn.Linear(3, 2)
    optimizer = kind(network.parameters(), lr=0.1)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {
        "epoch": 3,
        "state": {
            "optimizer": optimizer.state_dict(),
            "progress": {"betas": [0.1, 1 / 3], "scores": [], "best": None, "on": True, "name": "x", "far": 1e300},
            "half": torch.tensor([1.0, -0.0]).bfloat16(),
            "counter": torch.tensor(7),
            "none at all": torch.empty(0, 3),
            "turned": torch.arange(6.0).view(2, 3).t(),
        },
    }
    store = Checkpoints(tmp_path)
    store.save_partial("k", state)
    again = store.load_partial("k")
    assert same(state, again)
    assert list(again["state"]["optimizer"]["state"]) in ([0, 1], [])  # whole numbers stay whole numbers
    kind(network.parameters(), lr=1.0).load_state_dict(again["state"]["optimizer"])


def test_a_resume_point_takes_no_objects(tmp_path):
    with pytest.raises(TypeError, match="may not hold a object"):
        Checkpoints(tmp_path).save_partial("k", {"x": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_checkpoint_is_named(tmp_path, share):
    store = Checkpoints(tmp_path)
    store.save_partial("k", {"x": torch.zeros(100)})
    store.path("k").write_bytes(store.partial_path("k").read_bytes())
    for path, load in ((store.path("k"), store.load), (store.partial_path("k"), store.load_partial)):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BenchError, match=f"checkpoint {path} is broken .*delete it to train again"):
            load("k")


def test_a_pipe_is_no_checkpoint_and_nobody_waits_for_its_other_end(tmp_path):
    store = Checkpoints(tmp_path)
    for path, load in ((store.path("k"), store.load), (store.partial_path("k"), store.load_partial)):
        os.mkfifo(path)
        with pytest.raises(BenchError, match=f"can't read checkpoint {path}: it is no regular file"):
            load("k")


def test_a_file_of_another_kind_is_no_checkpoint(tmp_path):
    from safetensors.torch import save_file

    store = Checkpoints(tmp_path)
    for metadata in (None, {"about": "{"}, {"about": "[]"}, {"about": "{}"}):
        save_file({"x": torch.zeros(1)}, store.path("k"), metadata=metadata)
        save_file({"x": torch.zeros(1)}, store.partial_path("k"), metadata=metadata)
        for load in (store.load, store.load_partial):
            with pytest.raises(BenchError, match="is broken"):
                load("k")


@pytest.mark.parametrize(
    "field, junk, words",
    [
        ("environment", {}, "no 'environment.created'"),
        ("environment", None, "environment is None, must be dict"),
        ("cost", None, "cost is None, must be dict"),
        ("cost", {"epochs": 1}, "no 'cost.samples'"),
        ("lineage", [], "lineage is [], must be dict"),
        ("lineage", {"0123456789abcdef": 3}, "no 'lineage.0123456789abcdef.epochs'"),
        ("analog", 3, "analog is 3, must be list"),
        ("analog", [3], "analog.0 is 3, must be str"),
        ("analog", ["weight", "nope"], "analog 'nope' is none of its tensors"),
        ("training", None, "training is None, must be dict"),
        ("training", {}, f"it holds training {key_of({})}"),
        ("cost", ABOUT["cost"] | {"backward_passes": "x"}, "cost.backward_passes is 'x', must be"),
        ("cost", ABOUT["cost"] | {"seconds": -1}, "'seconds' of cost is -1, must be at least 0"),
        ("lineage", {"0123456789abcdef": "x"}, "no 'lineage.0123456789abcdef.epochs'"),
        (
            "lineage",
            {"0123456789abcdef": ABOUT["cost"] | {"backward_passes": "x"}},
            "lineage.0123456789abcdef.backward_passes is 'x', must be",
        ),
        ("lineage", {"../x": ABOUT["cost"]}, "lineage names '../x', must be 16 of 0-9a-f"),
        ("environment", ABOUT["environment"] | {"commit": []}, "environment.commit is [], must be"),
        ("found", "x", "found is 'x', must be dict"),
        ("found", [1], "found is [1], must be dict"),
        ("found", {"a": "..."}, "found.a is '...', must be"),
        ("found", {"a": float("nan")}, "found.a is nan, must be"),
        ("input_ranges", "x", "input_ranges is 'x', must be dict"),
        ("input_ranges", [1], "input_ranges is [1], must be dict"),
        ("input_ranges", {"weight": "x"}, "input_ranges.weight is 'x', must be"),
        ("adaptation", {"samples_a_chip": "x"}, "adaptation.samples_a_chip is 'x', must be int"),
        ("training", {"seed": 1}, f"it holds training {key_of({'seed': 1})}"),
    ],
)
def test_a_checkpoint_with_junk_in_a_field_is_broken(tmp_path, field, junk, words):
    store = Checkpoints(tmp_path)
    store.save(TRAINED, {"weight": torch.ones(3)}, ABOUT | {field: junk})
    said = rf"^checkpoint {store.path(TRAINED)} is broken \({re.escape(words)}.*\); delete it to train again$"
    for load in (store.load, lambda key: store.find(key, Records(tmp_path))):
        with pytest.raises(BenchError, match=said):
            load(TRAINED)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"weight": torch.ones(3, dtype=torch.int64)}, "analog 'weight' is of torch.int64, must be floating point"),
        ({"weight": torch.ones(3, dtype=torch.bool)}, "analog 'weight' is of torch.bool, must be floating point"),
        ({"weight": torch.ones(3, dtype=torch.complex64)}, "analog 'weight' is of torch.complex64, must be floating"),
        ({"weight": torch.tensor([1.0, torch.nan])}, "tensor 'weight' is not finite or not real"),
        ({"weight": torch.ones(3), "bias": torch.tensor([torch.inf])}, "tensor 'bias' is not finite or not real"),
        ({"weight": torch.ones(3), "bias": torch.ones(1) * 1j}, "tensor 'bias' is not finite or not real"),
    ],
)
def test_weights_that_no_training_leaves_are_broken(tmp_path, tensors, words):
    store = Checkpoints(tmp_path)
    store.save(TRAINED, tensors, ABOUT)
    with pytest.raises(BenchError, match=rf"is broken \({re.escape(words)}"):
        store.load(TRAINED)


def test_a_resume_point_of_another_training_is_told(tmp_path):
    store = Checkpoints(tmp_path)
    store.save_partial("k", {"epoch": 1})
    store.partial_path("k").rename(store.partial_path(TRAINED))
    with pytest.raises(BenchError, match="is broken .it is of training 'k'"):
        store.load_partial(TRAINED)


@pytest.mark.parametrize("state", [{"tensor": "t9"}, {"list": 3}, {"pairs": [3]}, {"pairs": [[[1], 2]]}, {}])
def test_a_resume_point_with_junk_is_broken(tmp_path, state):
    from safetensors.torch import save_file

    store = Checkpoints(tmp_path)
    save_file(
        {"x": torch.zeros(1)},
        store.partial_path("k"),
        metadata={"about": json.dumps({"training_key": "k", "state": state})},
    )
    with pytest.raises(BenchError, match="is broken"):
        store.load_partial("k")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    store.save(TRAINED, {"weight": torch.ones(3)}, ABOUT)
    store.save_partial(TRAINED, {"epoch": 1})
    with monkeypatch.context() as patch:
        fill_disk(patch)
        for save in (
            lambda: store.save(TRAINED, {"weight": torch.zeros(3)}, ABOUT),
            lambda: store.save_partial(TRAINED, {}),
        ):
            with pytest.raises(BenchError, match=f"can't write .*{TRAINED}.*safetensors: No space left on device"):
                save()
    assert torch.equal(store.load(TRAINED)[0]["weight"], torch.ones(3))
    assert store.load_partial(TRAINED) == {"epoch": 1}
    assert len(list(tmp_path.iterdir())) == 2


def test_two_processes_do_not_train_the_same_network(tmp_path):
    from filelock import FileLock, Timeout

    store = Checkpoints(tmp_path / "new")
    with store.lock("k"), pytest.raises(Timeout):
        FileLock(store.folder / "k.lock").acquire(timeout=0)
    with store.lock("k"), store.lock("other"):
        pass


# Records

KEY = made()["key"]


def test_a_record_comes_back_as_it_was(tmp_path):
    records = Records(tmp_path)
    path = records.save(made())
    assert path == tmp_path / "records" / f"mnist-rram-nominal-s0-{KEY}.json"
    assert records.load(KEY) == read_record(path) == made()
    assert records.load(KEY[:4]) == made()
    assert records.load("ffff") is None
    assert Records(tmp_path / "nowhere").load(KEY[:4]) is None


def test_the_beginning_of_a_key_must_be_enough(tmp_path):
    records = Records(tmp_path)
    path = records.save(made())
    path.with_name(path.name.replace(KEY, KEY[:8] + "0" * 8)).write_bytes(path.read_bytes())
    with pytest.raises(BenchError, match="short of unique"):
        records.find(KEY[:5])
    for key in ("", "012", "xyz0", "../01234", "0123456789abcdef0", "*"):
        with pytest.raises(BenchError, match="is no record key"):
            records.find(key)


def test_a_failure_never_replaces_a_finished_record(tmp_path):
    records = Records(tmp_path)
    records.save(made("failed") | {"error": "no memory"})
    assert records.load(KEY[:4])["status"] == "failed"
    records.save(made("done"))
    records.save(made("failed") | {"error": "no memory"})
    assert records.load(KEY[:4]) == made("done")
    assert len(list(records.folder.iterdir())) == 1


@pytest.mark.parametrize("task", ["../x", "..", "/etc/passwd", "a/../../b", "a\\b", ".hidden", "a b\n*?"])
def test_no_name_leads_out_of_the_folder(tmp_path, task):
    records = Records(tmp_path)
    path = records.save(made(task=task, method=task))
    assert [p.resolve() for p in records.folder.iterdir()] == [path.resolve()]
    assert not path.name.startswith(".")  # those are files in the making
    assert records.load(path.stem[-16:])["evaluation"]["training"]["task"] == task


def test_a_record_cut_anywhere_is_broken_and_never_more(tmp_path):
    whole = Records(tmp_path).save(made()).read_bytes()
    path = tmp_path / "cut.json"
    for cut in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(BenchError, match=f"record {path} is broken .*; delete it and run the cell again"):
            read_record(path)
    path.write_bytes(whole[:-1])  # the last byte ends the last line
    assert read_record(path) == made()


def fields(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all fields of a record, and of the entries of its lists."""
    found = []
    names = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        found += [(*path, name), *fields(value[name], (*path, name))]
    return found


def spoilt(path: tuple[Any, ...], junk: Any) -> dict[str, Any]:
    """A record with something else in one field; `...`: without the field."""
    record = made() | {"schema": 1}  # written by hand, without a checksum
    *folder, last = path
    part: Any = record
    for step in folder:
        part = part[step]
    if junk is ...:
        del part[last]
    else:
        part[last] = junk
    return record


@pytest.mark.parametrize(
    "junk", [..., None, True, 0, 3, -1, 0.5, float("nan"), 1e999, 10**110, "", "text", "0", [], [1], {}, {"x": 1}]
)
def test_a_record_with_junk_in_a_field_is_broken_or_whole_and_never_more(tmp_path, junk):
    path = tmp_path / "junk.json"
    other = made(method="mtrd", seed=1) | {"key": "f" * 16}
    for field in fields(made()):
        path.write_text(json.dumps(spoilt(field, junk)))
        try:
            found = read_record(path)
        except BenchError as error:
            assert re.fullmatch(
                f"record {path} (is broken .*; delete it and run the cell again|has schema .*)", str(error)
            )
            continue
        terminal.sweep_table(found)
        assert terminal._about(found)
        for records in ([found], [found, other], [found, other | {"evaluation": found["evaluation"]}]):
            assert summary(records)
            assert markdown.leaderboard(summary(records)) and published.markdown(records)
            assert len(frame.table(records)) >= len(records)


@pytest.mark.parametrize(
    "path, junk, words",
    [
        ("key", 3, "key is 3, must be str"),
        ("schema", True, "schema is True, must be int"),
        ("clean", None, "clean is None, must be a number"),
        ("clean", "90", "clean is '90', must be int | float | None"),
        ("status", "odd", "status is 'odd', must be done or failed"),
        ("status", "failed", "levels of a failed run, must be none"),
        ("error", "\ud800", "surrogates not allowed"),
        ("levels", [], "levels are not those of the evaluation"),
        ("levels.1", ..., "levels are not those of the evaluation"),
        ("levels.1.level", ..., "no 'levels.1.level'"),
        ("levels.1.level", None, "levels.1.level is None, must be int | float"),
        ("levels.1.first_stage", ..., "no 'levels.1.first_stage'"),
        ("levels.1.first_stage", "2", "levels.1.first_stage is '2', must be int"),
        ("levels.1.first_stage", 0, "a level has no chips or a first_stage below 1"),
        ("levels.1.chips", [], "a level has no chips"),
        ("levels.1.chips", [True, False], "levels.1.chips.0 is True, must be int | float"),
        ("levels.1.chips", [1e300, 1.0], "levels.1.chips.0 is 1e+300, must be int | float"),
        ("levels.1.ekl", "low", "levels.1.ekl is 'low', must be int | float | None"),
        ("evaluation.chips", ..., "no 'evaluation.chips'"),
        ("evaluation.levels", [0.0, 0.0], "evaluation.levels is [0.0, 0.0], must be levels that differ"),
        ("evaluation.times_s", [], "evaluation.times_s is empty, must be a list of times"),
        ("evaluation.times_s", ["soon"], "evaluation.times_s.0 is 'soon', must be int | float"),
        ("evaluation.times_s", [1.0], "a sweep of times, must be of times that differ at one level"),
        ("evaluation.preset", 3, "evaluation.preset is 3, must be str"),
        ("evaluation.test_samples", "x", "evaluation.test_samples is 'x', must be int | None"),
        ("evaluation.device_settings", [1], "device_settings is [1], must be dict"),
        ("evaluation.training.device_settings", None, "device_settings is None, must be dict"),
        ("evaluation.training", "text", "no 'evaluation.training.task'"),
        ("evaluation.training.seed", "0", "evaluation.training.seed is '0', must be int"),
        ("evaluation.training.seed", None, "evaluation.training.seed is None, must be int"),
        ("evaluation.training.task_version", 1, "evaluation.training.task_version is 1, must be str"),
    ],
)
def test_what_is_wrong_with_a_record_is_named(tmp_path, path, junk, words):
    file = tmp_path / "spoilt.json"
    steps = tuple(int(step) if step.isdecimal() else step for step in path.split("."))
    file.write_text(json.dumps(spoilt(steps, junk)))
    with pytest.raises(BenchError, match=re.escape(words)):
        read_record(file)


@pytest.mark.parametrize("field", ["key", "levels", "evaluation", "task", "command"])
def test_a_record_without_a_field_is_broken(tmp_path, field):
    path = tmp_path / "less.json"
    path.write_text(json.dumps({k: v for k, v in made().items() if k != field}))
    with pytest.raises(BenchError, match=f"is broken \\(no '{field}'\\)"):
        read_record(path)


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"x"', "{}", "[" * 100_000, "\xff", '{"schema": "1"}'])
def test_other_files_are_no_records(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BenchError, match="is broken"):
        read_record(path)


def test_a_record_of_a_newer_version_is_told_apart_from_a_broken_one(tmp_path):
    path = tmp_path / "new.json"
    path.write_text(json.dumps(made() | {"schema": RECORD_SCHEMA + 1}))
    with pytest.raises(BenchError, match="update cim-bench"):
        read_record(path)


def test_a_record_that_is_no_file_is_told(tmp_path):
    with pytest.raises(BenchError, match="can't read record .*: Is a directory"):
        read_record(tmp_path)


def test_a_full_disk_leaves_the_old_record(tmp_path, monkeypatch):
    records = Records(tmp_path)
    records.save(made())
    fill_disk(monkeypatch)
    with pytest.raises(BenchError, match="can't write .*: No space left on device; make room"):
        records.save(made() | {"clean": 50.0})
    assert records.load(KEY[:4]) == made()
    assert len(list(records.folder.iterdir())) == 1
