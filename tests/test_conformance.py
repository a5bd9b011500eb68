"""Every method meets every device, task and network, on a few samples.

CI runs a covering array: each pair of method, device, task and network at least once, but for pairs that are refused
with a reason. README's table of combinations is what came of it; `--write` writes it anew:

    python -m pytest tests/test_conformance.py --write

The full cross is `python -m pytest -m full tests/test_conformance.py`.
"""

import functools
import itertools
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from bench import plan, registry
from bench.endings import one_line
from bench.rig import flops
from devices._base import Device
from methods._base import MethodError
from tasks._base import Splits, Task, TaskError

README = Path(__file__).parent.parent / "README.md"
MARKS = "<!-- combinations: written by tests/test_conformance.py --write -->\n", "<!-- end of combinations -->"
SAMPLES, LEAST = 32, 8  # of each split; fewer for networks of more than LARGE operations a sample
LARGE = 10_000_000
WIDTH = 0.125  # where the task's smoke preset has none of its own
# Methods that train nothing themselves -> trainings that they rest on: five nominal ones; a noisy one and its start
FROM_OTHERS = {"committee": 5, "bn_recalibrate": 2}


class Row(NamedTuple):
    """One combination."""

    method: str
    device: str
    task: str
    network: str


Pair = tuple[int, str, int, str]  # a name, and which field of a Row it is; and another


def every() -> list[Row]:
    """The full cross of what can be had here, small networks first.

    Without variants (task:variant): they are their tasks on other data.
    """
    known = sorted((layers(*names), *names) for names in networks() if layers(*names) is not None)
    others = list(itertools.product(registry.entries("methods"), registry.entries("devices")))
    return [Row(method, device, *names) for _, *names in known for method, device in others]


def networks() -> list[tuple[str, str]]:
    """Tasks and their networks."""
    tasks = [name for name in registry.entries("tasks") if ":" not in name]
    return [(task, network) for task in tasks for network in plan.task_of(task).networks]


@functools.cache
def layers(task: str, network: str) -> int | None:
    """Weights on the crossbar of a network as it is run here; None if it needs a package that isn't here."""
    made = plan.task_of(task)
    small = size(made, network)
    try:
        return len(made.analog(made.network(small["network"], small["width"])))
    except TaskError:
        return None


def size(task: Task, network: str) -> dict[str, Any]:
    """Network and width as asked for: as small as the task's smoke preset has it, if that is about this network."""
    own = task.presets.get("smoke", {})
    same = own.get("network", "").partition("?")[0] == network
    return {"network": own["network"] if same else network, "width": own.get("width", WIDTH)}


def pairs(row: Row) -> list[Pair]:
    return [(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)]


@dataclass
class CoveringArray:
    """Rows chosen one by one: always that with the most pairs that no row has met yet.

    A row that is refused meets nothing, and no other row is chosen that has the pair on which it failed.
    """

    rows: Sequence[Row]
    met: set[Pair] = field(default_factory=set)
    refused: dict[Pair, str] = field(default_factory=dict)  # -> why
    ran: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers: dict[Pair, int] = {}
        self._of = np.array([[numbers.setdefault(p, len(numbers)) for p in pairs(row)] for row in self.rows])
        self._numbers, self._missing = numbers, np.ones(len(numbers), bool)
        self._open = np.ones(len(self.rows), bool)

    def next(self) -> Row | None:
        """The next row to run, of equals the first; None if every pair that can be met has been."""
        new = self._missing[self._of].sum(1) * self._open
        return self.rows[int(new.argmax())] if new.max() > 0 else None

    def has_run(self, row: Row) -> None:
        self.ran.append(row)
        self.met |= set(pairs(row))
        self._missing[[self._numbers[pair] for pair in pairs(row)]] = False

    def is_refused(self, pair: Pair, why: str) -> None:
        self.refused[pair] = why
        self._missing[self._numbers[pair]] = False
        self._open &= ~(self._of == self._numbers[pair]).any(1)

    def run(self, run_one: Callable[[Row], tuple[Pair, str] | None]) -> "CoveringArray":
        """Run rows until all is met. `run_one`: None if the row has run, else the pair that is refused, and why."""
        while (row := self.next()) is not None:
            refusal = run_one(row)
            if refusal is None:
                self.has_run(row)
            else:
                self.is_refused(*refusal)
        return self


# --- the array itself


def test_the_array_meets_every_pair():
    """With hardly more rows than there can be at the least."""
    array = CoveringArray(every()).run(lambda row: None)
    assert array.met == set(itertools.chain.from_iterable(map(pairs, every())))
    sizes = sorted(len({row[i] for row in every()}) for i in range(4))
    assert sizes[-1] * sizes[-2] <= len(array.ran) < 1.3 * sizes[-1] * sizes[-2]


def test_what_is_refused_is_met_by_no_row():
    rows = [Row(*names, "t", network) for names in itertools.product("abc", "de") for network in "uvw"]
    no = (0, "a", 3, "u")
    array = CoveringArray(rows).run(lambda row: (no, "never") if no in pairs(row) else None)
    assert array.refused == {no: "never"}
    assert array.met == set(itertools.chain.from_iterable(map(pairs, rows))) - {no}


# --- running it


@pytest.fixture
def run_one(home, tmp_path, cpu_runner, one_cell, cache, monkeypatch) -> Iterator[Callable[[Row], dict]]:
    """Trains and sweeps a row on a few samples, and returns its record. TaskError if its data can't be had."""
    runner = cpu_runner(home, tmp_path / "results")

    @functools.cache
    def few(task: str) -> Splits:
        """In place of the whole data set."""
        made = few_samples(task, cache)
        monkeypatch.setattr(registry.get("tasks", task), "splits", lambda self, cache, data_dir=None: made)
        return made

    @functools.cache
    def small(name: str, network: str) -> dict[str, Any]:
        """Network, width and budget."""
        task = plan.task_of(name)
        asked = size(task, network)
        operations = flops(
            task.network(asked["network"], asked["width"]).eval(), task.prepare(few(name).test.inputs[:1])
        )
        n = min(max(LEAST, round(SAMPLES * LARGE / operations)), SAMPLES) // 2 * 2  # two whole batches
        samples = {
            "epochs": 1,
            "finetune_epochs": 1,
            "train_samples": n,
            "test_samples": min(n, len(few(name).test)),
            "batch_size": n // 2,
        }
        return asked | samples | {"chips": 2}

    def run(row: Row) -> dict:
        levels = tuple(dict.fromkeys((0.0, plan.device_of(row.device).axis.levels[-1])))
        asked = small(row.task, row.network)
        return runner.run(one_cell(row.method, row.device, row.task, levels=levels, **asked), "conformance")

    yield run
    shutil.rmtree(home / "checkpoints", ignore_errors=True)  # hundreds of networks


@functools.cache
def few_samples(name: str, cache: Path) -> Splits:
    """Made-up samples where the task has any, else the first of the real ones. TaskError if they can't be had."""
    task, random = plan.task_of(name), torch.Generator().manual_seed(0)
    made = [task.synthetic(SAMPLES, random) for _ in range(3)]
    if None not in made:
        return Splits(*made)
    real = task.splits(cache)
    return Splits(*(part.head(min(SAMPLES, len(part))) for part in (real.train, real.val, real.test)))


def is_at_hand(task: str, cache: Path) -> bool:
    """Can its data be had?"""
    try:
        return bool(few_samples(task, cache))
    except TaskError:
        return False


def refusal(row: Row, error: Exception) -> tuple[Pair, str]:
    """The pair on which a row failed, and why. What is no user's mistake, or luck, is raised."""
    why, code = one_line(error)
    if code != 2 or isinstance(error, OSError | TaskError) or "diverged" in why:
        raise AssertionError(f"{' x '.join(row)}: {why}") from error
    which = 0 if isinstance(error, MethodError) else 1
    return (which, row[which], 3, row.network), why.removeprefix(f"{row[which]}: ")


def check(row: Row, record: dict) -> None:
    assert record["status"] == "done"
    device, task = plan.device_of(row.device), plan.task_of(row.task)
    for entry in record["levels"]:
        assert len(entry["chips"]) == (2 if device.is_random(entry["level"]) else 1)
        assert all(map(math.isfinite, entry["chips"]))
        assert task.metric.unit != "%" or all(0 <= metric <= 100 for metric in entry["chips"])
        assert entry["ekl"] is None or (math.isfinite(entry["ekl"]) and entry["ekl"] >= 0)
    cost, others = record["cost"], FROM_OTHERS.get(row.method)
    n = record["evaluation"]["training"]["budget"]["train_samples"]
    assert (cost["epochs"], cost["samples"]) == ((0, 0) if others else (1, n))
    assert not others or (cost["teacher_epochs"], cost["teacher_samples"]) == (others, others * n)
    # One sample may fall on the other side. Mean drift stays at level 0: small weights fall a little further than one
    # factor a layer can mend
    slack = (0.7 if keeps_weights(device) else 3.0) * task.metric.yield_loss
    assert ("samples" in record) == (type(task).samples is not Task.samples)
    first = record["levels"][0]
    assert first["level"] == 0 and first["chips"][0] == pytest.approx(record["clean"], abs=slack, rel=1e-3)


def keeps_weights(device: Device) -> bool:
    """Is a chip at level 0 the digital network?"""
    w = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    return torch.allclose(device.program({"w": w}, torch.Generator(), level=0.0)["w"], w, atol=1e-4)


def test_only_drift_keeps_a_chip_at_level_0_from_being_the_digital_network():
    names = {name for name in registry.entries("devices") if not keeps_weights(plan.device_of(name))}
    assert names <= {"pcm", "reram_cmo"}


def test_every_pair_runs_or_is_refused_as_the_readme_says(run_one, cache, request):
    def attempt(row: Row) -> tuple[Pair, str] | None:
        try:
            record = run_one(row)
        except Exception as error:
            return refusal(row, error)
        check(row, record)
        return None

    rows = [row for row in every() if is_at_hand(row.task, cache)]
    array = CoveringArray(rows).run(attempt)
    if missing := set(networks()) - {(row.task, row.network) for row in rows}:
        pytest.skip(
            f"not compared with README, data or packages are missing: {', '.join(map(' '.join, sorted(missing)))}"
        )
    table, text = "\n".join(lines(array)), README.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    old, after = rest.split(MARKS[1])
    if request.config.getoption("--write"):
        README.write_text(f"{before}{MARKS[0]}{table}\n{MARKS[1]}{after}", encoding="utf-8")
    else:
        assert table == old.strip(), "what ran is not what README says: run this test with --write"


@pytest.mark.parametrize("task", [name for name in registry.entries("tasks") if ":" in name])
def test_every_variant_runs(task, run_one):
    try:
        row = Row("noise_injection", "rram", task, plan.task_of(task).networks[0])
        check(row, run_one(row))
    except TaskError as error:
        pytest.skip(str(error))


@pytest.mark.full
def test_full_cross(run_one):
    for row in every():
        try:
            check(row, run_one(row))
        except Exception as error:
            refusal(row, error)


@pytest.mark.parametrize("name", registry.entries("tasks"))
def test_every_task_shows_samples_as_pictures_or_in_words(name):
    task = registry.get("tasks", name)
    assert (task.picture is not Task.picture) != (task.samples is not Task.samples)


# --- the table


def lines(array: CoveringArray) -> Iterator[str]:
    """What README says of the combinations."""
    columns = sorted({row.task for row in array.rows})
    known = {task: set(plan.task_of(task).networks) for task in columns}
    notes: dict[str, str] = {}  # text -> letter

    def cell(which: int, name: str, task: str) -> str:
        refused = {pair[3]: why for pair, why in array.refused.items() if pair[:2] == (which, name)}
        here = sorted(known[task] & refused.keys())
        marks = {notes.setdefault(refused[network], chr(ord("a") + len(notes))) for network in here}
        return ", ".join(["no" if len(here) == len(known[task]) else "✓", *sorted(marks)])

    yield f"From {len(array.ran)} runs of a few samples each: every method met every device, task and network, and"
    yield "every device every task and network."
    yield ""
    yield f"| | {' | '.join(f'`{task}`' for task in columns)} |"
    yield f"|---|{':-:|' * len(columns)}"
    for which, kind in enumerate(("method", "device")):
        alike: dict[tuple[str, ...], list[str]] = {}
        for name in sorted({row[which] for row in array.rows}):
            alike.setdefault(tuple(cell(which, name, task) for task in columns), []).append(name)
        for cells, names in alike.items():
            who = f"all other {kind}s" if len(alike) > 1 and len(names) > 4 else ", ".join(f"`{n}`" for n in names)
            yield f"| {f'all {kind}s' if len(alike) == 1 else who} | {' | '.join(cells)} |"
    for why, letter in notes.items():
        refused = {pair[3] for pair, reason in array.refused.items() if reason == why}
        yield ""
        yield f"{letter}: with {', '.join(f'`{name}`' for name in sorted(refused))}: {why}"
