"""Cells as a graph of jobs: the graph alone, and the engine with a team of this process. With Ray: test_ray.py."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from bench import engine, plan, status, tune, work, worker
from bench.datasets import Datasets
from bench.errors import BenchError
from bench.grid import Graph, Job, Sweep, jobs_of, lineage
from bench.live import View
from bench.progress import Monitor
from bench.store import Checkpoints
from bench.tuning import remote
from bench.worker import Place, Result
from methods._base import MethodError
from tasks._base import TaskError

SMALL = {"network": "mlp", "train_samples": 200, "test_samples": 100, "chips": 2}
LINE = "--device rram --task mnist --network mlp --preset smoke --precision fp32 --test-samples 100 --chips 2".split()


# The graph


def cells(*methods: str, devices: tuple[str, ...] = ("rram",)) -> list[tuple[plan.Cell, str]]:
    names: dict[str, Any] = {"methods": methods, "devices": devices, "tasks": ("mnist",), "seeds": (0,)}
    made = plan.cells(plan.Request(**names, preset="smoke", precision="fp32", **SMALL))
    return [(cell, f"command of {cell.evaluation.key}") for cell in made]


def nobody(key: str) -> bool:
    return False


def test_a_training_is_one_job_however_many_ask_for_it():
    asked = cells("nominal", "noise_injection", "mtrd", devices=("rram", "gaussian"))
    jobs = jobs_of(asked, nobody)
    trainings = {job.key: job for job in jobs if job.kind == "training"}
    swept = [job for job in jobs if job.kind == "cell"]
    assert len({job.key for job in jobs}) == len(jobs) and len(swept) == 6
    assert sum(job.training.method == "nominal" for job in trainings.values()) == 1
    for cell, _ in asked:
        levels = plan.device_of(cell.device).axis.levels
        assert lineage(cell.evaluation.training, levels).keys() <= trainings.keys()
    for job in swept:
        assert job.needs == (job.training.key,)
    (student,) = (job for job in trainings.values() if (job.training.method, job.source) == ("mtrd", "gaussian"))
    assert {trainings[key].training.method for key in student.needs} == {"nominal", "noise_injection"}
    assert {trainings[key].source for key in student.needs} == {"gaussian", "ideal"}
    seen: set[str] = set()
    for job in jobs:
        assert set(job.needs) <= seen, "what is waited for comes first"
        seen.add(job.key)


def test_what_is_trained_is_no_job_nor_is_what_it_rested_on():
    ((cell, command),) = cells("mtrd")
    training = cell.evaluation.training
    assert [job.kind for job in jobs_of([(cell, command)], training.key.__eq__)] == ["cell"]
    runs = lineage(training, plan.device_of("rram").axis.levels)
    nominal = next(key for key, run in runs.items() if run.training.method == "nominal")
    left = jobs_of([(cell, command)], nominal.__eq__)
    assert len(left) == len(runs) - 1 + 1 and not any(nominal in job.needs for job in left)


def graph_of(**needs: str) -> Graph:
    """Jobs by name, each with the letters of what it needs."""
    ((cell, command),) = cells("nominal")
    training = cell.evaluation.training
    task = Sweep(cell, command)
    return Graph(Job(name, f"job {name}", training, "ideal", task, tuple(of)) for name, of in needs.items())


def keys(jobs: Sequence[Job]) -> list[str]:
    return [job.key for job in jobs]


def test_ready_is_what_waits_for_nothing_what_most_wait_for_first():
    graph = graph_of(a="", b="", c="b", d="bc", e="a")
    assert keys(graph.ready()) == ["b", "a"]
    graph.begin("b")
    assert keys(graph.ready()) == ["a"]
    graph.end("b")
    assert sorted(keys(graph.ready())) == ["a", "c"]
    for key in "ac":
        graph.begin(key)
        graph.end(key)
    assert sorted(keys(graph.ready())) == ["d", "e"]
    graph.begin("d")
    graph.put_back("d")
    assert sorted(keys(graph.ready())) == ["d", "e"]


def test_what_waits_for_a_failed_job_fails_and_the_rest_does_not():
    graph = graph_of(a="", b="a", c="b", d="")
    graph.begin("a")
    assert keys(graph.fail("a")) == ["b", "c"]
    assert graph.failed == {"a": "job a", "b": "job a", "c": "job a"}
    assert keys(graph.ready()) == ["d"]


def test_jobs_that_wait_for_each_other_or_for_nothing_known_are_refused():
    with pytest.raises(ValueError, match="wait for each other: a, b"):
        graph_of(a="b", b="a", c="")
    with pytest.raises(ValueError, match="needs x, which is no job"):
        graph_of(a="x")


# The engine, with a team that works in this process


class Inline:
    """One worker, which does a job when it is waited for. `before`: is called ahead of each."""

    def __init__(self, place: Place, before: Callable[[Job], None] = lambda job: None) -> None:
        self.place, self.before = place, before
        self.told: dict[str, dict[str, Any]] = {}
        self.all_stop, self.canceled = False, False
        self.jobs: dict[str, Job] = {}
        self.begun: list[Job] = []

    def submit(self, job: Job) -> str:
        self.jobs[job.key] = job
        return job.key

    def wait(self, handles: Sequence[str], seconds: float) -> list[str]:
        return list(handles[:1])

    def result(self, handle: str) -> Result:
        if self.all_stop:
            return Result("stopped")
        job = self.jobs[handle]
        self.begun.append(job)
        self.before(job)
        return worker.work(job, self.place, Heard(self, job.key))

    def seen(self) -> Mapping[str, Mapping[str, Any]]:
        return self.told

    def stop(self, key: str | None = None) -> None:
        self.all_stop = True

    def forget(self, key: str) -> None:
        self.told.pop(key, None)

    def cancel(self, handles: Sequence[str], force: bool) -> None:
        self.canceled = self.canceled or force


class Heard:
    def __init__(self, team: Inline, key: str) -> None:
        self.team, self.key = team, key

    def begin(self, where: str) -> bool:
        self.team.told[self.key] = {"where": where, "attempts": 1}
        return False

    def report(self, seen: Mapping[str, Any], wait: bool) -> bool:
        self.team.told[self.key].update(seen)
        return self.team.all_stop


@pytest.fixture
def driven(home: Path, tmp_path: Path, cpu_runner: Callable[..., Any]) -> Callable[..., Any]:
    """Drive cells with a team of this process: (what was found, the team, the rows by title)."""

    def drive(asked: list[tuple[plan.Cell, str]], before: Callable[[Job], None] = lambda job: None) -> Any:
        results = tmp_path / "results"
        runner = cpu_runner(home, results)
        team = Inline(Place(home, results, None, "cpu", 1), before)
        boss = work.CellBoss(runner, lambda record: None)
        graph = Graph(jobs_of(asked, lambda key: runner.checkpoints.path(key).exists()))
        state = status.Status(home / "runs", "bench test", "one here")
        view = View(Console(quiet=True))
        with state:
            engine.Engine(team, graph, boss, view, state).run()
        return boss.found, team, {row.title: row for row in state.rows.values()}

    worker._runner.cache_clear()
    return drive


def test_data_that_a_worker_does_not_find_fail_the_cell_and_leave_no_record(driven, tmp_path, monkeypatch):
    def splits(*_: Any) -> None:
        raise TaskError("MNIST: not found")

    monkeypatch.setattr(Datasets, "of", splits)
    found, _, _ = driven(cells("nominal", "noise_injection"))
    assert {str(error) for error in found.values()} == {"MNIST: not found"} and len(found) == 2
    assert not list((tmp_path / "results").rglob("*.json"))


def test_a_failed_training_fails_what_rests_on_it_with_a_reason_and_the_rest_goes_on(driven, tmp_path, monkeypatch):
    noise = type(plan.method_of("noise_injection"))
    monkeypatch.setattr(noise, "fit", lambda *_: (_ for _ in ()).throw(ZeroDivisionError("by zero")))
    found, team, rows = driven(asked := cells("nominal", "noise_injection", "mixed_noise", "mtrd"))
    records = {path.name: json.loads(path.read_text()) for path in (tmp_path / "results/records").glob("*.json")}
    outcome = {r["evaluation"]["training"]["method"]: (r["status"], r["error"]) for r in records.values()}
    assert outcome["nominal"] == outcome["mixed_noise"] == ("done", None)
    for method in ("noise_injection", "mtrd"):
        assert outcome[method][0] == "failed"
        assert outcome[method][1].startswith("train noise_injection on rram at ")
        assert outcome[method][1].endswith("ZeroDivisionError: by zero")
    assert sum(isinstance(done, ZeroDivisionError) for done in found.values()) == 2 and len(found) == len(asked)
    assert sum(job.training.method == "nominal" and job.kind == "training" for job in team.begun) == 1
    assert not any(job.training.method == "mtrd" for job in team.begun), "it never began"
    assert rows["mtrd on rram at 0.3, mnist, seed 0"].reason.startswith("rests on train noise_injection on rram at")


def test_the_first_ctrl_c_drains_and_the_same_cells_go_on_from_there(driven, home):
    def press(job: Job) -> None:
        if job.kind == "training":
            os.kill(os.getpid(), signal.SIGINT)

    asked = cells("nominal", "noise_injection")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        driven(asked, press)
    assert signal.getsignal(signal.SIGINT) is before
    (told,) = status.read(home / "runs")
    assert told.ended == "interrupted" and not told.is_alive
    assert [row.state for row in told.rows if row.title.startswith("train nominal")] == ["done"], "it ran to its end"
    assert {row.state for row in told.rows if row.title.startswith("noise")} == {"waiting"}
    found, team, _ = driven(asked)
    assert len(work.records(found)) == 2
    assert not any(job.kind == "training" and job.training.method == "nominal" for job in team.begun)


def test_a_second_ctrl_c_stops_at_once(driven):
    def press(job: Job) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")

    with pytest.raises(KeyboardInterrupt):
        driven(cells("nominal"), press)


class Deaf:
    """Reports that are heard by nobody; asks to stop after so many resume points."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after
        self.seen: list[Mapping[str, Any]] = []

    def begin(self, where: str) -> bool:
        return False

    def report(self, seen: Mapping[str, Any], wait: bool) -> bool:
        self.seen.append(seen)
        if wait and self.left is not None:
            self.left -= 1
        return self.left is not None and self.left < 0


def test_a_worker_stops_at_a_resume_point_and_another_goes_on_from_it(home, tmp_path, cpu_runner, other_home):
    small: dict[str, Any] = SMALL | {"epochs": 3}
    names: dict[str, Any] = {"methods": ("nominal",), "devices": ("rram",), "tasks": ("mnist",), "seeds": (0,)}
    (cell,) = plan.cells(plan.Request(**names, preset="smoke", precision="fp32", **small))
    training, sweep = jobs_of([(cell, "it")], nobody)
    place = Place(home, tmp_path / "results", None, "cpu", 1)
    worker._runner.cache_clear()
    runner = cpu_runner(home, place.results)
    assert worker.work(training, place, Deaf(1)) == Result("stopped")
    assert runner.checkpoints.load_partial(training.key)["epoch"] == 2
    reports = Deaf()
    assert worker.work(training, place, reports) == Result("done")
    assert {"doing", "done", "steps", "figures"} in [set(seen) for seen in reports.seen]
    assert worker.work(sweep, place, Deaf(2)).state == "stopped" and runner.records.load(sweep.key) is None
    assert worker.work(sweep, place, Deaf()) == Result("done")
    expected = cpu_runner(other_home, other_home / "results").run(cell, "it")
    assert runner.records.load(sweep.key)["levels"] == expected["levels"]


def test_a_worker_says_that_it_waits_for_another_process(home, tmp_path, one_cell):
    """Such as one that a dead command left on another machine."""
    (training, _) = jobs_of([(one_cell("nominal", "rram", "mnist", **SMALL), "it")], nobody)
    held = Checkpoints(home / "checkpoints").lock(training.key)
    told = []

    class Freeing(Deaf):
        def report(self, seen: Mapping[str, Any], wait: bool) -> bool:
            if held.is_locked:
                told.append(seen["doing"])
                held.release()
            return super().report(seen, wait)

    worker._runner.cache_clear()
    with held:
        assert worker.work(training, Place(home, tmp_path / "results", None, "cpu", 1), Freeing()) == Result("done")
    assert told == ["waiting for another process that trains it"]


def test_a_worker_that_waits_for_another_process_hears_ctrl_c(home, tmp_path, one_cell):
    (training, _) = jobs_of([(one_cell("nominal", "rram", "mnist", **SMALL), "it")], nobody)

    class Asking(Deaf):
        def report(self, seen: Mapping[str, Any], wait: bool) -> bool:
            return wait

    worker._runner.cache_clear()
    with Checkpoints(home / "checkpoints").lock(training.key):
        assert worker.work(training, Place(home, tmp_path / "results", None, "cpu", 1), Asking()) == Result("stopped")


def test_errors_cross_processes():
    class Local(Exception):
        """One that no other process knows."""

    assert isinstance(worker.portable(BenchError("a")), BenchError)
    found = worker.portable(Local("lost"))
    assert type(found) is RuntimeError and str(found) == "Local: lost"


# bench tune, with the same team


@pytest.fixture
def study(home, tmp_path, cpu_runner):
    """A search of three trials in a home."""

    def make(folder: Path) -> tune.Search:
        names: dict[str, Any] = {"methods": ("trice",), "devices": ("rram",), "tasks": ("mnist",), "seeds": (0,)}
        asked = plan.Request(**names, preset="smoke", precision="fp32", **SMALL | {"finetune_epochs": 2})
        job = tune.Job(request=asked, trials=3, timeout_s=None, chips=1, storage=f"sqlite:///{folder}/studies.sqlite3")
        worker._runner.cache_clear()
        return tune.Search(cpu_runner(folder, tmp_path / "results"), job)

    return make


def remote_of(search: tune.Search, team: Any, slots: int = 1) -> remote.Remote:
    state = status.Status(search.runner.home / "runs", "bench tune", "test")
    return remote.Remote(team, slots, state)


def test_trials_of_a_team_are_those_of_one_process(study, home, other_home, monkeypatch):
    monkeypatch.setattr(tune, "CONFIRM", 2)
    here, there = study(home), study(other_home)
    with Monitor(quiet=True).work("", 3) as watch:
        here.work(watch)
    team = Inline(Place(other_home, there.runner.records.folder.parent, None, "cpu", 1))
    found = remote_of(there, team).tune(there, Monitor(quiet=True))
    assert [t.params for t in found.trials] == [t.params for t in here.outcome().trials]
    assert [t.value for t in found.trials] == [t.value for t in here.outcome().trials]
    assert [t.intermediate_values for t in found.trials] == [{}] * 3, "a trial that ends before its look is just done"
    assert remote_of(there, team).confirm(there, found) == here.confirm(here.outcome())
    assert sum(job.training.method == "nominal" for job in team.begun) == 1


def test_a_lagging_trial_is_stopped_one_that_diverges_is_pruned_and_an_interrupted_one_is_handed_on(study, home):
    search = study(home)
    boss = remote.TrialBoss(search, slots=2)
    first, second = (job for job in boss.more() if job.kind == "trial")
    assert not any(job.kind == "trial" for job in boss.more()), "no more than there are slots"
    search.study.pruner = optuna.pruners.ThresholdPruner(lower=50.0)
    assert not boss.seen(first, {"means": {1: 60.0}})
    assert boss.seen(second, {"means": {1: 40.0}}) and boss.stopped(second) and not boss.stopped(first)
    (third,) = (job for job in boss.more() if job.kind == "trial")
    boss.failed(third, MethodError("training diverged"))
    assert boss.error is None
    boss.hand_on()
    assert [t.state.name for t in search.study.trials] == ["FAIL", "PRUNED", "PRUNED", "WAITING"]
    again = remote.TrialBoss(search, slots=1)
    (job,) = (job for job in again.more() if job.kind == "trial")
    assert again.trials[job.key][0].params == search.study.trials[0].params
    again.failed(job, BenchError("disk full"))
    assert str(again.error) == "disk full" and not again.more()


# bench status


def test_the_status_of_a_home_in_an_object_store_is_this_machines_and_says_so(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("BENCH_HOME", "memory://a-home")
    assert "only commands of this machine are shown" in cli("status").out


def test_one_process_needs_no_ray_and_has_a_status(home, cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    assert "no command has run cells with this BENCH_HOME" in cli("status").out
    line = ["run", "--method", "nominal", *LINE, "--train-samples", 200, "--results", tmp_path]
    assert cli(*line).code == 0
    out = cli("status").out
    assert "bench run --method nominal" in out and "one process" in out and "1 of 1 cells done" in out and " ago" in out


def test_a_command_tells_its_jobs_before_it_begins_them(home, cli):
    """One that is killed in its first seconds leaves what it was to do."""
    with status.Status(home / "runs", "bench run it", "2 workers") as told:
        told.add([status.Row("k", "mtrd on rram")])
        assert "0 of 1 cells done" in cli("status").out
        told.add([status.Row("t", "train mtrd", "training")])
        assert "0 of 1 cells done; 0 of 1 trainings done" in cli("status").out


def test_status_tells_the_living_from_the_dead(home, cli):
    row = status.Row("k", "mtrd on rram, cifar10, seed 0")
    row.begin("box 7")
    row.doing, row.done, row.steps, row.figures = "sweep it", 3, 8, "level 0.1"
    told = status.Status(home / "runs", "bench run it", "2 workers")
    told.add([row])
    told.write(now=True)
    out = cli("status").out
    assert "running for 0 s, 2 workers" in out and "0 of 1 cells done" in out
    assert "running for 0 s, box 7: mtrd on rram, cifar10, seed 0  sweep it 3/8  level 0.1" in out
    kept = json.loads(told.path.read_text())
    gone = subprocess.Popen(["true"])
    gone.wait()
    told.path.write_text(json.dumps(kept | {"pid": gone.pid}))
    assert "killed 0 s ago" in cli("status").out
    told.path.write_text(json.dumps(kept | {"holder": kept["holder"] | {"started": 1}}))
    assert "killed 0 s ago" in cli("status").out, "its number is another process's by now"
    told.path.write_text(json.dumps(kept | {"host": "elsewhere"}))
    assert "running for" in cli("status").out
    told.path.write_text(json.dumps(kept | {"host": "elsewhere", "updated": time.time() - 1000}))
    assert "killed 17 min ago" in cli("status").out
    odd: list[dict] = [{"state": []}, {"kind": {}}, {"begun": "x"}, {"done": [1]}, {"attempts": None}]
    jobs = [[kept["jobs"][0] | change] for change in odd]
    changes = [{"pid": 10**30}, {"begun": 10**400}, {"jobs": 1}, *({"jobs": rows} for rows in jobs)]
    for junk in ("{", "[" * 100_000, *(json.dumps(kept | change) for change in changes)):
        told.path.write_text(junk)
        ended = cli("status")
        assert ended.code == 0 and "no command has run" in ended.out, junk[:100]
    told.path.unlink()
    os.mkfifo(told.path)
    assert "no command has run" in cli("status").out


# The command line


@pytest.mark.parametrize(
    "words, message",
    [
        ("--workers 2 --cluster auto", "workers, cluster: a cluster has its own number of workers"),
        ("--gpu-share 0.5", "gpu-share 0.5: it is for cells side by side; give --workers or --cluster too"),
        ("--workers 2 --gpu-share 1.5", "gpu-share 1.5: must be above 0 and at most 1, or a whole number"),
        ("--workers 2 --gpu-share 0.5 --on cpu", "gpu-share 0.5: cells on the CPU take no GPU"),
        ("--workers 2 --on cuda:1", "on cuda:1: which GPU a cell gets is chosen by Ray"),
        ("--cluster auto --threads 0", "threads 0: must be at least 1"),
        ("--cluster here", "cluster 'here': must be auto, HOST:PORT or ray://HOST:PORT"),
        ("--cluster 127.0.0.1:65536", "cluster '127.0.0.1:65536': must be auto, HOST:PORT or ray://HOST:PORT"),
        ("--cluster ray://127.0.0.1:1", "cluster ray://127.0.0.1:1: can't be reached (Connection refused); `ray start"),
    ],
)
def test_options_that_do_not_fit_are_one_line(home, cli, tmp_path, words, message):
    pytest.importorskip("ray")
    ended = cli("run", "--method", "nominal", *LINE, *words.split(), "--results", tmp_path)
    assert ended.code == 2 and ended.err.startswith(f"bench: {message}") and ended.err.count("\n") == 1


def test_without_ray_one_line_says_what_to_install(home, cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = cli("run", "--method", "nominal", *LINE, "--workers", 2, "--results", tmp_path)
    assert (ended.code, ended.err) == (2, "bench: workers, cluster: needs Ray: pip install 'cim-bench[cluster]'\n")
