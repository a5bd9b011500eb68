"""`bench run --dry-run` and `bench demo`: what is still to be done, and a first look."""

import re
import time

import pytest
import torch

from bench import commands, registry
from bench.context import TrainingContext
from bench.estimate import estimate, pace
from bench.seal import opened, sealed
from devices._products import UnknownProduct
from methods.bn_recalibrate import BnRecalibrate
from methods.noise_injection import NoiseInjection
from tasks._base import Split, Splits, TaskError

TINY = ("--train-samples", 200, "--test-samples", 200, "--chips", 3, "--threads", 1)
GRID = (
    "--method",
    "nominal,noise_injection",
    "--device",
    "rram",
    "--task",
    "fashion_mnist",
    "--preset",
    "smoke",
    *TINY,
)


def states(out: str) -> list[str]:
    cells = r"^(?:nominal|noise_injection|bn_recalibrate) .*?  (to do|begun|done|refused|failed) "
    return re.findall(cells, out, re.MULTILINE)


def test_a_dry_run_lists_cells_and_hours_and_does_nothing(home, tmp_path, cli):
    results = tmp_path / "results"
    ended = cli("run", *GRID, "--dry-run", "--results", results)
    assert ended.code == 0, ended.err
    assert states(ended.out) == ["to do", "to do"]
    assert re.search(r"2 cells, 0 done; about \d+\.\d\d hours left", ended.out)
    assert not (results / "records").exists() and not list(home.glob("checkpoints/*.safetensors"))
    assert cli("run", *GRID[:1], "nominal", *GRID[2:], "--results", results).code == 0
    assert states(cli("run", *GRID, "--dry-run", "--results", results).out) == ["done", "to do"]
    forced = cli("run", *GRID, "--dry-run", "--force", "--results", results).out
    assert states(forced) == ["to do", "to do"]
    assert re.search("^nominal .* to do +— +<0.01 ", forced, re.MULTILINE), "it is swept again, not trained"


def test_a_cell_that_its_method_refused_is_not_to_do(home, tmp_path, cli, monkeypatch):
    results = tmp_path / "results"
    grid = ("--method", "nominal,bn_recalibrate", *GRID[2:], "--results", results)
    assert cli("run", *grid).code == 2
    tried = []
    fit = BnRecalibrate.fit
    monkeypatch.setattr(BnRecalibrate, "fit", lambda self, context: tried.append(context) or fit(self, context))
    (path,) = (results / "records").glob("*bn_recalibrate*")
    now, _ = opened(path.read_bytes())
    assert now["error"].startswith("Refusal: bn_recalibrate: the network has no BatchNorm")
    older = sealed(now | {"error": now["error"].replace("Refusal", "MethodError")})
    for whole in (path.read_bytes(), older):
        path.write_bytes(whole)
        foreseen = cli("run", *grid, "--dry-run").out
        assert "2 cells, 1 done, 1 refused; about 0.00 hours left" in foreseen
        assert states(foreseen) == ["done", "refused"]
        assert "\n1 refused: bn_recalibrate: the network has no BatchNorm" in foreseen
        again = cli("run", *grid)
        told = [line for line in again.err.splitlines() if "FAILED bn_recalibrate" in line]
        assert again.code == 2 and not tried and path.read_bytes() == whole
        assert len(told) == 1 and "has no BatchNorm" in told[0] and "--force" in told[0]
    path.write_bytes(sealed(now | {"error": "Refusal: of another's record \x1b]0;x\x07"}))
    said = cli("run", *grid, "--dry-run").out + "".join(cli("run", *grid)[1:])
    assert said.count("of another's record ]0;x (seen before") == 2 and "\x1b" not in said
    path.write_bytes(older)
    alone = cli("run", "--method", "bn_recalibrate", *grid[2:])
    assert alone.code == 2 and "has no BatchNorm" in alone.err.splitlines()[-1] and not tried
    assert cli("run", *grid, "--force").code == 2 and len(tried) == 1
    path.write_bytes(sealed(now | {"error": "MethodError: training diverged in epoch 1 (loss nan)"}))
    monkeypatch.setattr(BnRecalibrate, "fit", lambda *_: None)
    assert "2 cells, 1 done; about" in cli("run", *grid, "--dry-run").out, "what may end otherwise is tried again"


def test_what_methods_will_refuse_is_foreseen(home, tmp_path, cli):
    """LeNet has no BatchNorm, and no module of such a name. All others train it."""
    ended = cli(
        "run", "--method", "all", *GRID[2:], "--set", "neft_irs.stages=layer9", "--results", tmp_path, "--dry-run"
    )
    n = len(registry.entries("methods"))
    assert ended.code == 0 and f"{n} cells, 0 done, 2 refused; about 0.0" in ended.out
    assert len(re.findall(" to do ", ended.out)) == n - 2
    assert "\n1 refused: bn_recalibrate: the network has no BatchNorm" in ended.out
    assert "\n1 refused: stages: the network has no module 'layer9'" in ended.out
    assert not list(tmp_path.glob("records/*"))


def test_what_is_no_step_is_not_waited_for(home, tmp_path, cli, monkeypatch):
    """Statistics over 50,000 samples would take minutes."""
    taken = []
    example = TrainingContext.example
    monkeypatch.setattr(TrainingContext, "example", lambda self, n: taken.append(n) or example(self, n))
    asked = [word if word != "nominal,noise_injection" else "bn_recalibrate" for word in GRID]
    network = ("--network", "vgg8_mtrd", "--width", 0.05, "--batch-size", 20)
    ended = cli("run", *asked, *network, "--results", tmp_path, "--dry-run")
    assert states(ended.out) == ["to do"] and taken == [20]


def test_no_steps_are_taken_of_a_training_without_any(home, tmp_path, cli):
    """HWA and VANT divide by their number."""
    asked = [word if word != "nominal,noise_injection" else "hwa,vant,mtrd" for word in GRID]
    ended = cli("run", *asked, "--finetune-epochs", 0, "--results", tmp_path, "--dry-run")
    assert ended.code == 0 and "3 cells, 0 done; about" in ended.out


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnknownProduct("weight a is used in add"), "weight a is used in add"),
        (RuntimeError("out of memory\nby far"), "RuntimeError: out of memory by far (a fault of the bench"),
    ],
)
def test_a_training_that_fails_at_once_does_not_hide_the_others(home, tmp_path, cli, monkeypatch, error, told):
    def fit(*_):
        raise error

    monkeypatch.setattr(NoiseInjection, "fit", fit)
    ended = cli("run", *GRID, "--results", tmp_path, "--dry-run")
    assert ended.code == 0 and states(ended.out) == ["to do", "refused"] and f"\n1 refused: {told}" in ended.out


def test_a_task_whose_data_are_not_here_does_not_hide_the_others(home, tmp_path, cli):
    both = [word if word != "fashion_mnist" else "fashion_mnist,text:sst2,ecg:mitbih" for word in GRID]
    ended = cli("run", *both, "--dry-run", "--results", tmp_path)
    assert ended.code == 2 and states(ended.out) == ["to do", "to do"]
    assert "6 cells, 0 done, 4 no data; about 0.0" in ended.out
    said = [line for line in ended.out.splitlines() if line.startswith("2 no data: ")]
    assert len(said) == 2 and "SST-2" in said[0] and "ecg:mitbih" in said[1]
    assert all("--data DIR" in line for line in said)
    none = cli("run", *both[:5], "text:sst2", *both[6:], "--dry-run", "--results", tmp_path)
    assert none.code == 2 and "--data DIR" in none.err and len(none.err.strip().splitlines()) == 1 and not none.out
    two = cli("run", *both[:5], "text:sst2,ecg:mitbih", *both[6:], "--dry-run", "--results", tmp_path)
    assert two.code == 2 and re.findall("^2 no data: (\\S+)", two.out, re.MULTILINE) == ["SST-2:", "ecg:mitbih:"]


def test_more_samples_than_there_are_leave_nothing_to_do(home, tmp_path, cli):
    for name, most in (("train", 55_000), ("test", 10_000)):
        asked = [*GRID, f"--{name}-samples", most + 1, "--results", tmp_path]
        said = f"{name}-samples {most + 1}: there are {most}; --{name}-samples {most} takes all\n"
        ended = cli("run", *asked, "--dry-run")
        assert ended.code == 2 and ended.err == f"bench: {said}"
        assert said in cli("run", *asked).err and not list(tmp_path.glob("records/*.json"))


def test_a_folder_that_is_not_there_or_cannot_be_read_is_told(home, tmp_path, cli, monkeypatch):
    """In one line that names it, and no failed record."""
    asked = [*GRID, "--results", tmp_path / "results", "--data", tmp_path / "typo"]
    said = f"--data {tmp_path}/typo: is no folder; must be one that holds Fashion-MNIST"
    for way in ([], ["--dry-run"]):
        ended = cli("run", *asked, *way)
        assert ended.code == 2 and said in ended.err

    def splits(*_):
        raise PermissionError(13, "Permission denied", "/locked/train")

    monkeypatch.setattr(registry.get("tasks", "fashion_mnist"), "splits", splits)
    ended = cli("run", *GRID, "--results", tmp_path / "results")
    assert ended.code == 2 and "Fashion-MNIST: can't be read ([Errno 13] Permission denied: '/locked" in ended.err
    assert not list(tmp_path.glob("results/records/*.json"))


def test_data_that_cannot_be_had_are_looked_for_once(home, tmp_path, cli, monkeypatch):
    """To find out that nothing can be fetched may take minutes, and a grid has hundreds of cells."""
    tried = []

    def splits(*_):
        tried.append(1)
        raise TaskError("Fashion-MNIST can't be fetched")

    monkeypatch.setattr(registry.get("tasks", "fashion_mnist"), "splits", splits)
    ended = cli("run", *GRID, "--dry-run", "--results", tmp_path)
    assert ended.code == 2 and ended.err == "bench: Fashion-MNIST can't be fetched\n" and len(tried) == 1


def test_trainings_are_counted_once(home, tmp_path, cpu_runner, one_cell, monkeypatch):
    monkeypatch.setattr("bench.estimate.epoch_s", lambda *_: 4 * 1.0)
    asked = {"train_samples": 400, "batch_size": 100, "test_samples": 200, "chips": 3}
    cells = [one_cell(name, "rram", "fashion_mnist", **asked) for name in ("noise_injection", "mixed_noise", "mtrd")]
    runner = cpu_runner(home, tmp_path / "results")
    noise, mixed, mtrd = estimate(cells, runner)
    # Smoke: one epoch, of four steps, from scratch, one with noise. The others find the nominal network counted.
    assert (noise.training_s, mixed.training_s) == (8, 4)
    assert mtrd.training_s == 4 * (4 + 1), "four teachers more (level .3 is there), then the student"
    assert noise.sweep_s == mixed.sweep_s == mtrd.sweep_s > 0


def test_steps_are_timed_on_each_device_and_at_each_budget(home, tmp_path, cpu_runner, one_cell, monkeypatch):
    """A step on cells that don't obey Ohm's law takes five times as long; a budget may be less than a step."""
    timed = []
    times = {"ideal": 1.0, "rram": 2.0, "siox_low": 10.0}
    monkeypatch.setattr("bench.estimate.epoch_s", lambda _, d, __: timed.append(d.name) or 4 * times[d.name])
    asked = {"train_samples": 400, "batch_size": 100, "test_samples": 200, "chips": 3, "network": "mlp"}
    rram, siox = (one_cell("noise_injection", device, "mnist", **asked) for device in ("rram", "siox_low"))
    level, longer = (
        one_cell("noise_injection", "rram", "mnist", **asked | other)
        for other in ({"level": 0.1}, {"finetune_epochs": 2})
    )
    told = estimate([rram, siox, level, longer], cpu_runner(home, tmp_path / "results"))
    assert [one.training_s for one in told] == [4 * (2 + 1), 4 * 10, 4 * 2, 8 * 2]
    assert timed == ["rram", "ideal", "siox_low", "rram"]


def test_a_sweep_takes_longer_of_a_committee_and_where_chips_adapt(home, tmp_path, cpu_runner, one_cell, monkeypatch):
    asked = {"train_samples": 200, "test_samples": 100, "chips": 2, "network": "resnet18", "width": 0.0625}
    methods = ("nominal", "committee", "bn_recalibrate")
    cells = [one_cell(name, "rram", "mnist", **asked) for name in methods]
    monkeypatch.setattr("bench.estimate.epoch_s", lambda *_: 0.0)
    nominal, committee, recalibrated = (e.sweep_s for e in estimate(cells, cpu_runner(home, tmp_path / "r")))
    assert committee > 2.5 * nominal, "five networks"
    assert recalibrated == pytest.approx(3 * nominal), "each chip runs 200 training samples, then 100 for the test"


def test_what_is_foreseen_is_what_it_takes(home, tmp_path, cpu_runner, one_cell, monkeypatch):
    """Lessons of teachers, too, which take most of the time where there are many words."""
    task = registry.get("tasks", "mnist")
    distill = task.distill
    monkeypatch.setattr(task, "distill", lambda *a: time.sleep(0.005) or distill(*a))
    asked = {"train_samples": 2560, "batch_size": 32, "test_samples": 100, "chips": 2, "network": "mlp"}
    cell = one_cell("mtrd", "rram", "mnist", **asked)
    runner = cpu_runner(home, tmp_path / "results")
    (told,) = estimate([cell], runner)
    spent = runner.run(cell, "")["cost"]
    assert spent["seconds"] > 2560 / 32 * 6 * 0.005
    took = spent["seconds"] + spent["teacher_seconds"]
    assert took / 3 < told.training_s < 3 * took, "a pass alone told a tenth"


def test_a_sweep_is_timed_on_test_samples_which_may_be_larger_than_those_to_train_on(one_cell):
    """BSD's pictures have up to 512 x 512 pixels, its patches 40 x 40: hours of sweeping were told as minutes."""
    training = one_cell("nominal", "rram", "denoising", batch_size=8).evaluation.training
    task, (small, large) = registry.get("tasks", "denoising")(), (squares(40), squares(320))

    def sweep_s(test: Split) -> float:
        return pace(task, Splits(small, small, test), training, torch.device("cpu"))

    assert sweep_s(large) > 8 * sweep_s(small)  # 64 times the pixels


def squares(size: int) -> Split:
    grey = torch.zeros(8, 1, size, size, dtype=torch.uint8)
    return Split(grey, grey)


def test_demo_runs_three_methods_and_says_where_to_look(home, tmp_path, cli, monkeypatch):
    small = {"preset": "smoke", "train_samples": 200, "test_samples": 200, "chips": 3}
    monkeypatch.setattr(commands, "DEMO", commands.DEMO | small)
    ended = cli("demo", "--results", tmp_path / "demo", "--threads", 1)
    assert ended.code == 0, ended.err
    assert len(list((tmp_path / "demo" / "records").glob("*.json"))) == 3
    assert "bench compare mtrd nominal" in ended.out and (tmp_path / "demo" / "report.html").exists()
