"""Of which data networks and records were made: fingerprints, and that what is of other data is refused in one line."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import bench.runner
from bench import comparison, frame, leaderboard, matrix, plan, published, sharing, terminal, tune, verify, work
from bench.errors import BenchError
from bench.groups import families
from bench.keys import key_of
from bench.page import details, grids
from bench.provenance import OtherData
from bench.reading import read_record
from bench.runner import Runner
from bench.shape import check_record
from bench.store import Checkpoints, Records
from bench.summary import summary
from tasks._base import Split, Splits
from tasks.ecg import TEST, VALIDATION, EcgMitbih

COMMITTED = Path(__file__).parents[1] / "results" / "records"
TASK = "ecg:mitbih"
SIZES = {"network": "logistic", "train_samples": 40, "test_samples": 40, "batch_size": 20, "chips": 2}
ARGUMENTS = ["--device", "rram", "--task", TASK, "--preset", "smoke", "--precision", "fp32", "--threads", "1"]
ARGUMENTS += [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Beats; the same in a folder of another name, as of another day; beats of which one is another."""
    draw = np.random.default_rng(0)
    records = np.array([*VALIDATION[-2:], *TEST[:2], 101, 208])[np.arange(120) % 6]
    arrays = {"beats": draw.normal(0.3, 2, (120, 128)), "labels": draw.integers(0, 4, 120), "records": records}
    made = tmp_path / "mine", tmp_path / "copied", tmp_path / "other"
    for folder in made:
        folder.mkdir()
        if folder.name == "other":
            arrays["beats"][7, 3] += 1
        np.savez(folder / "mitbih.npz", **arrays)
    return made


@pytest.fixture
def runner(home: Path, tmp_path: Path, cpu_runner: Callable[..., Runner]) -> Callable[..., Runner]:
    """A runner on the data of a folder."""

    def make(data: Path, results: str = "results") -> Runner:
        made = cpu_runner(home, tmp_path / results)
        made.datasets.folder = made.data_dir = data
        return made

    return make


@pytest.fixture
def cell(one_cell: Callable[..., plan.Cell]) -> Callable[[str], plan.Cell]:
    return lambda method="nominal": one_cell(method, "rram", TASK, **SIZES, finetune_epochs=3)


def said(error: object) -> bool:
    """Does a text name both data and what to do, in one line?"""
    text = str(error).strip()
    return text.count("40 / 40 / 40 samples, ") == 2 and "--data" in text and "BENCH_HOME" in text and "\n" not in text


# --- fingerprints


def test_a_fingerprint_is_of_all_that_the_splits_hold() -> None:
    x, y = torch.arange(24, dtype=torch.uint8).reshape(4, 2, 3), torch.tensor([0, 1, 0, 1])
    part = Split(x, y)
    found = Splits(part, part, part).fingerprint
    assert {name: found[name] for name in ("train", "val", "test")} == {"train": 4, "val": 4, "test": 4}
    # Stated, so that no change of the code makes all that was made before another's
    assert found["sha256"] == "ddad51c9a7e4719c8246eaaa41471570ebba7c343cc3c62e356872e8d9e34e5c"
    strided = Split(x.transpose(1, 2).contiguous().transpose(1, 2), y)
    assert not strided.inputs.is_contiguous()
    assert Splits(part, strided, part).fingerprint == found
    others = [Split(x.flip(0), y), Split(x, y.flip(0)), Split(x.int(), y), Split(x.reshape(4, 3, 2), y), part.head(3)]
    other = x.clone()
    other[3, 1, 2] += 1
    for changed in (*others, Split(other, y)):
        assert Splits(part, part, changed).fingerprint["sha256"] != found["sha256"]
        assert Splits(changed, part, part).fingerprint["sha256"] != found["sha256"]


@pytest.mark.parametrize(
    ("task", "expected"), [("ecg", "fe99c87f95ea"), ("denoising", "78b5168cbf3a"), ("segmentation", "1775c56f3587")]
)
def test_the_fingerprint_of_published_data_is_the_same_everywhere(task: str, expected: str, cache: Path) -> None:
    assert plan.task_of(task).splits(cache).fingerprint["sha256"][:12] == expected


def test_what_a_machine_computes_is_no_part_of_it(folders: tuple[Path, ...], cache: Path) -> None:
    """Means and noise may differ in their last bits: fingerprints are of what they were computed from."""
    mine, copied, other = (EcgMitbih().splits(cache, folder) for folder in folders)
    assert mine.fingerprint == copied.fingerprint != other.fingerprint
    for splits in (mine, plan.task_of("denoising").splits(cache)):
        nudged = Split(splits.val.inputs * (1 + 1e-7), splits.val.targets)
        assert not torch.equal(nudged.inputs, splits.val.inputs)
        assert replace(splits, val=nudged).fingerprint == splits.fingerprint


# --- runs


def test_a_done_cell_is_done_for_its_own_data_alone(folders, home, tmp_path, cli) -> None:
    mine, copied, other = folders

    def run(*more: object) -> Any:
        return cli("run", "--method", "nominal", *ARGUMENTS, "--results", tmp_path / "results", *more)

    assert run("--data", mine).code == 0
    (path,) = (tmp_path / "results" / "records").iterdir()
    before = path.read_bytes()
    for data in (["--data", copied], []):  # by default nothing is loaded only to be compared
        ended = run(*data)
        assert ended.code == 0 and "already done" in ended.err, ended.err
    refused = run("--data", other)
    assert refused.code == 2 and "record" in refused.err and said(refused.err)
    assert "already done" not in refused.err
    forced = run("--data", other, "--force")
    assert forced.code == 2 and "checkpoint" in forced.err and said(forced.err)
    assert path.read_bytes() == before
    foreseen = run("--data", other, "--dry-run")
    assert foreseen.code == 0 and "1 cells, 0 done, 1 refused" in foreseen.out
    several = run("--data", other, "--seed", "0-1")
    assert several.code == 2 and "FAILED nominal" in several.out + several.err
    assert len(list(path.parent.iterdir())) == 2, "the other cell went on"


def test_a_done_cell_of_default_data_loads_none(home, tmp_path, cpu_runner, one_cell, monkeypatch) -> None:
    asked = one_cell("nominal", "rram", "ecg", network="logistic", train_samples=40, test_samples=40, chips=2)
    made = cpu_runner(home, tmp_path).run(asked, "")
    assert made["data"] == plan.task_of("ecg").splits(home / "data").fingerprint
    monkeypatch.setattr("tasks.ecg.Ecg.splits", lambda *_: pytest.fail("loaded"))
    assert cpu_runner(home, tmp_path).run(asked, "") == made


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--seed", "0-1"]])
def test_a_done_cell_is_not_done_for_a_folder_that_lacks_its_data(folders, home, tmp_path, cli, more) -> None:
    asked = ["run", "--method", "nominal", *ARGUMENTS, "--results", tmp_path / "results", "--data"]
    assert cli(*asked, folders[0]).code == 0
    (path,) = (tmp_path / "results" / "records").iterdir()
    before, cut = path.read_bytes(), tmp_path / "cut"
    cut.mkdir()
    (cut / "mitbih.npz").write_bytes((folders[0] / "mitbih.npz").read_bytes()[:1000])
    (tmp_path / "empty").mkdir()
    for folder, said in (
        (tmp_path / "gone", "gone: is no folder"),
        (tmp_path / "empty", "mitbih.npz"),
        (cut, "mitbih.npz"),
    ):
        ended = cli(*asked, folder, *more)
        assert ended.code == 2 and said in ended.out + ended.err, ended
        assert "already done" not in ended.err and path.read_bytes() == before


def test_a_teacher_of_other_data_is_refused(folders, runner, cell) -> None:
    mine, _, other = folders
    runner(mine).run(cell(), "")
    student = cell("noise_injection")
    with pytest.raises(OtherData, match="checkpoint .* is of other data") as caught:
        runner(other).run(student, "")
    assert said(caught.value)
    made = runner(mine).run(student, "")
    assert made["data"] == runner(mine).task(student.evaluation.training)[1].fingerprint


def test_a_resume_point_of_other_data_is_refused_and_stays(folders, runner, cell, monkeypatch) -> None:
    mine, _, other = folders
    training = cell("noise_injection").evaluation.training
    runner(mine).train(cell().evaluation.training)
    save = Checkpoints.save_partial

    def interrupted(self: Checkpoints, key: str, state: Any) -> None:
        save(self, key, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save_partial", interrupted)
        runner(mine).train(training)
    store = runner(mine).checkpoints
    store.path(cell().evaluation.training.key).unlink()  # so that the other data get to their own teacher
    with pytest.raises(OtherData, match="resume point .* is of other data") as caught:
        runner(other).train(training)
    assert said(caught.value) and store.partial_path(training.key).exists()
    # Of one from before fingerprints nobody knows: it is gone on with, and so is unknown what comes of it
    point = store.load_partial(training.key)
    del point["data"]
    store.save_partial(training.key, point)
    runner(other).train(training)
    assert "data" not in store.load(training.key)[1]


def without_data(store: Checkpoints, key: str) -> None:
    """As it was before there were fingerprints."""
    tensors, about = store.load(key)
    del about["data"]
    store.save(key, tensors, about)


def test_what_is_unknown_is_used_and_stays_unknown(folders, runner, cell) -> None:
    mine, _, other = folders
    runner(mine).train(cell().evaluation.training)
    store = runner(mine).checkpoints
    without_data(store, cell().evaluation.training.key)
    student = cell("noise_injection")
    made = [runner(other).run(one, "") for one in (cell(), student)]
    assert all(record["status"] == "done" and "data" not in record for record in made)
    assert "data" not in store.load(student.evaluation.training.key)[1]
    assert runner(mine).run(student, "") == made[1]


def test_a_half_sweep_of_other_data_is_refused(folders, runner, cell, monkeypatch) -> None:
    mine, _, other = folders
    runner(mine).train(cell().evaluation.training)
    without_data(runner(mine).checkpoints, cell().evaluation.training.key)
    real, swept = bench.runner.sweep_level, []

    def noted(*args: Any, **kwargs: Any) -> Any:
        if len(swept) == 2:
            raise KeyboardInterrupt
        swept.append(kwargs["level"])
        return real(*args, **kwargs)

    def interrupted() -> None:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(bench.runner, "sweep_level", noted)
            runner(mine).run(cell(), "")

    interrupted()
    with pytest.raises(OtherData, match="half-finished sweep .* is of other data") as caught:
        runner(other).run(cell(), "")
    assert said(caught.value)
    swept.clear()
    interrupted()
    assert swept == [0.2, 0.3], "it goes on where it was"


def test_a_cluster_refuses_a_done_cell_too(folders, runner, cell) -> None:
    mine, _, other = folders
    runner(mine).run(cell(), "")
    found, left = work.known([(cell(), "")], runner(other))
    assert isinstance(found[cell().evaluation.key], OtherData) and left == []
    found, left = work.known([(cell(), "")], runner(mine))
    assert isinstance(found[cell().evaluation.key], dict) and left == []


@pytest.mark.parametrize("more", [[], ["--retrain"]])
def test_verify_says_that_the_data_are_others(folders, runner, cell, cli, home, tmp_path, more, monkeypatch) -> None:
    mine, copied, other = folders
    made = runner(mine).run(cell(), f"bench run --method nominal --device rram --task {TASK}")
    command = ["verify", made["key"], "--results", tmp_path / "results", "--threads", "1", *more]
    assert cli(*command, "--data", copied).code == 0
    monkeypatch.setattr(Runner, "run", lambda *_, **__: pytest.fail("it was made again"))
    ended = cli(*command, "--data", other)
    assert ended.code == 2 and f"record {made['key']} is of other data" in ended.err and said(ended.err)
    assert "reproduce" not in ended.out + ended.err


def test_verify_of_a_record_that_names_no_data_says_so_where_it_fails(folders, runner, cell, cli, tmp_path) -> None:
    made = runner(folders[0]).run(cell(), f"bench run --method nominal --device rram --task {TASK}")
    del made["data"]
    made["levels"] = [level | {"chips": [chip + 30 for chip in level["chips"]]} for level in made["levels"]]
    Records(tmp_path / "results").save(made)
    command = ["verify", made["key"], "--results", tmp_path / "results", "--threads", "1", "--data", folders[0]]
    ended = cli(*command)
    assert ended.code == 1 and "does NOT reproduce" in ended.out and "too old to say of which data" in ended.out
    assert verify.verdict(made, made).same


def test_a_study_is_of_one_data(folders, runner, home) -> None:
    names: dict[str, Any] = {"methods": ("sam",), "devices": ("rram",), "tasks": (TASK,), "seeds": (0,)}
    asked = plan.Request(preset="smoke", precision="fp32", **names, **SIZES)
    job = tune.Job(request=asked, trials=1, timeout_s=None, chips=1, storage=tune.default_storage())
    mine, copied, other = (tune.Search(runner(folder), job).study.study_name for folder in folders)
    assert mine == copied != other


# --- records


@pytest.fixture
def records() -> list[dict[str, Any]]:
    """Of three methods on fashion_mnist and rram, seed 0, none of known data."""
    found = {}
    for path in sorted(COMMITTED.glob("fashion_mnist-rram-*-s0-*.json")):
        record = read_record(path)
        if not record["evaluation"]["training"]["settings"]:
            found[record["evaluation"]["training"]["method"]] = record
    return [found[method] for method in ("mtrd", "hwa", "nominal")]


def of(record: dict[str, Any], digit: str | None, **change: Any) -> dict[str, Any]:
    """The record, made of the data whose fingerprint is of that digit."""
    data = {} if digit is None else {"data": {"train": 9, "val": 4, "test": 1200, "sha256": digit * 64}}
    return {**record, **data, **change}


WRONG: list[Any] = [
    *({"train": 9, "val": 4, "test": 5, "sha256": text} for text in ("", "a" * 63, "A" * 64, "<b>", 5, None)),
    *({"train": n, "val": 4, "test": 5, "sha256": "a" * 64} for n in ("9", None, 1.5, True, 10**400)),
    *({"train": 9, "val": 4, "sha256": "a" * 64}, {}, [], None, "a" * 64),
]


@pytest.mark.parametrize("data", WRONG)
def test_a_fingerprint_that_is_none_is_refused(data, records, runner, cell, folders, tmp_path) -> None:
    check_record(records[0])
    check_record(of(records[0], "a"))
    with pytest.raises(ValueError, match="data"):
        check_record({**records[0], "data": data})
    about = {"training": {"seed": 0}, "cost": dict.fromkeys("epochs samples forward_passes seconds".split(), 1)}
    about |= {"lineage": {}, "analog": [], "environment": {"created": ""}}
    store, key = Checkpoints(tmp_path), key_of(about["training"])
    store.save(key, {"w": torch.ones(1)}, about | {"data": of({}, "a")["data"]})
    assert store.load(key) is not None
    store.save(key, {"w": torch.ones(1)}, about | {"data": data})
    with pytest.raises(BenchError, match="is broken .*data"):
        store.load(key)


def test_records_of_several_data_are_ranked_apart(records, tmp_path) -> None:
    (together,) = summary(records)
    for digits in ((None, None, "a"), ("a", "a", "a"), ("a", None, "a")):
        (group,) = summary([of(r, digit) for r, digit in zip(records, digits, strict=True)])
        assert (group.title, group.slug) == (together.title, together.slug)
        assert [row.rank for row in group.rows] == [row.rank for row in together.rows]
    groups = summary([of(r, digit) for r, digit in zip(records, ("a", "b", None), strict=True)])
    assert [[row.label for row in group.rows] for group in groups] == [["mtrd"], ["hwa"], ["nominal"]]
    names = ("a" * 12, "b" * 12, "unknown")
    assert [group.title for group in groups] == [f"{together.title} · data {name}" for name in names]
    assert len({group.slug for group in groups}) == 3 and all(row.rank == 1 for group in groups for row in group.rows)
    tables = leaderboard.write_tables(tmp_path, [of(records[0], "a"), of(records[1], "b")], groups[:2])
    assert f"data {'a' * 12}" in tables[0].read_text()
    rows = frame.table([of(r, digit) for r, digit in zip(records, ("a", "b", None), strict=True)])
    found = set(zip(rows["method"], rows["data"], strict=True))
    assert found == {("mtrd", names[0]), ("hwa", names[1]), ("nominal", "")}


def test_seeds_of_several_data_are_no_one_row(records) -> None:
    t = records[0]["evaluation"]["training"]
    other = records[0] | {"evaluation": records[0]["evaluation"] | {"training": t | {"seed": 1}}, "key": "0" * 16}
    (group,) = summary([of(records[0], "a"), of(other, "a")])
    assert [row.seeds for row in group.rows] == [(0, 1)]
    assert [[row.seeds for row in g.rows] for g in summary([of(records[0], "a"), of(other, "b")])] == [[(0,)], [(1,)]]


def test_sweeps_of_time_of_several_data_share_no_plot() -> None:
    over_time = [r for r in map(read_record, sorted(COMMITTED.glob("*pcm*.json"))) if r["evaluation"].get("times_s")]
    (family, *_) = families(summary(over_time))
    assert len(family[1]) > 1
    first, *_ = (g.rows[0].keys for g in family[1])
    mixed = [of(r, "a" if r["key"] in first else "b") for r in over_time]
    assert [base.title for base, _ in families(summary(mixed))] == [
        base.title for base, _ in families(summary(over_time))[1:]
    ]


def test_compare_refuses_records_of_several_data(records, tmp_path, cli) -> None:
    mtrd, hwa, nominal = records
    for digits in (("a", "a"), ("a", None), (None, None), ("a", "b")):
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        for record, digit in zip((mtrd, hwa), digits, strict=True):
            Records(tmp_path / "results").save(of(record, digit))
        if set(digits) != {"a", "b"}:
            assert comparison.compare("mtrd", "hwa", tmp_path / "results")
            continue
        ended = cli("compare", "mtrd", "hwa", "--results", tmp_path / "results")
        assert ended.code == 2 and ended.err.strip().count("\n") == 0
        for record, digit in zip((mtrd, hwa), digits, strict=True):
            assert f"record {record['key']} of 9 / 4 / 1,200 samples, {digit * 12}" in ended.err
        with pytest.raises(OtherData):
            comparison.compare(mtrd["key"], hwa["key"], tmp_path / "results")


NAMES = ("methods", "devices", "tasks", "seeds")


def test_a_matrix_is_of_one_data(records) -> None:
    named = {r["key"]: of(r, digit) for r, digit in zip(records, "aab", strict=True)}
    with pytest.raises(OtherData, match="can't be compared"):
        asked = plan.Request(preset="smoke", precision="fp32", **dict.fromkeys(NAMES, ()))
        matrix.measured(asked, [], named, "bench matrix")


def test_heat_maps_of_several_data_are_apart(records) -> None:
    crossed = records[0]["evaluation"]
    crossed = crossed | {"training": crossed["training"] | {"device": "pcm"}}
    both = [of(records[0] | {"evaluation": crossed}, "a"), of(records[0] | {"evaluation": crossed}, "b", key="0" * 16)]
    assert len(grids.matrices(both[:1])) == 1
    titles = [found["title"] for found in grids.matrices(both)]
    assert [title.rpartition(" · ")[2] for title in titles] == ["data " + "a" * 12, "data " + "b" * 12]


def test_published_figures_are_held_against_means_of_one_data() -> None:
    nominal = read_record(next(COMMITTED.glob("cifar10-rram-nominal-s0-*.json")))
    e = nominal["evaluation"] | {"training": nominal["evaluation"]["training"] | {"seed": 1}}
    other = nominal | {"evaluation": e, "key": "0" * 16}

    def seeds(*digits: str | None) -> list[tuple[int, str]]:
        found = published.compare([of(r, digit) for r, digit in zip((nominal, other), digits, strict=True)])
        return [(ours.seeds, ours.setting.partition("; data ")[2]) for c in found for ours in c.ours]

    assert seeds("a", "a") == seeds("a", None) == [(2, "")]
    assert seeds("a", "b") == [(1, "a" * 12), (1, "b" * 12)]


def test_an_import_says_which_records_are_of_other_data(records, tmp_path, cli, home, caplog) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for record, own, theirs in zip(records, "aaa", ("a", "b", None), strict=True):
        Records(here).save(of(record, own))
        Records(there).save(of(record, theirs, command="bench run elsewhere"))
    sharing.export(Records(there).load_all()[0], there, None, tmp_path / "a.zip")
    assert cli("import", tmp_path / "a.zip", "--results", here).code == 0
    told = caplog.text
    assert "2 records are here with other numbers" in told and "1 records are here of other data" in told
    assert (
        f"{records[1]['key']} (here 9 / 4 / 1,200 samples, {'a' * 12}; there 9 / 4 / 1,200 samples, {'b' * 12})" in told
    )
    assert Records(here).load(records[1]["key"])["data"]["sha256"] == "a" * 64


def test_show_and_the_page_tell_the_data(records, tmp_path, capsys) -> None:
    for digit, expected in (("a", f"Fashion-MNIST, 9 / 4 / 1,200 samples, {'a' * 12}"), (None, "Fashion-MNIST")):
        record = of(records[0], digit)
        terminal.record(record, Console(width=200), tmp_path)
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("data "))
        assert line.split(maxsplit=1)[1].strip() == expected
        about = details.Kept().record(record)["about"]
        assert about.get("data") == (None if digit is None else f"9 / 4 / 1,200 samples, {'a' * 12}")
