"""The cells of a command: one after the other in this process, or side by side on workers; never without a status."""

import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench import engine, recording
from bench.claims import Busy, in_turn
from bench.errors import BenchError, in_one_line
from bench.grid import Graph, Job, Sweep, jobs_of
from bench.labels import title
from bench.live import View
from bench.plan import Cell
from bench.provenance import OtherData
from bench.runner import Runner
from bench.status import Row, Status
from tasks._base import TaskError

if TYPE_CHECKING:
    from bench.cluster import Crew

log = logging.getLogger("bench")
Done = dict[str, Any] | Exception
Cells = Sequence[tuple[Cell, str]]
Told = Callable[[dict[str, Any]], None]


def quietly(record: dict[str, Any]) -> None:
    """Nobody waits for the record of a single cell."""


def status_of(runner: Runner, workers: str) -> Status:
    """The status of the command that this process was given."""
    return Status(runner.cache.parent / "runs", shlex.join(["bench", *sys.argv[1:]]), workers)


def do(
    cells: Cells,
    runner: Runner,
    crew: "Crew | None",
    *,
    force: bool = False,
    several: bool = True,
    told: Told = quietly,
) -> dict[str, Done]:
    """Key -> the record of each cell, or what went wrong.

    `told` of each record at once; what goes wrong in one of `several` is told now, and the others go on.
    """
    if crew is None:
        return _one_by_one(cells, runner, force, several, told)
    found, left = known(cells, runner, force=force, told=told)
    if not left:
        return found
    with (
        crew.team(runner.home, runner.records.folder.parent, runner.data_dir) as team,
        status_of(runner, str(crew)) as status,
    ):
        return found | by_team(left, runner, team, status, force=force, told=told)


def known(
    cells: Cells, runner: Runner, *, force: bool = False, told: Told = quietly
) -> tuple[dict[str, Done], list[tuple[Cell, str]]]:
    """Key -> record of the cells that are done, or their refusal, which is said; and the others, by `force` all."""
    found: dict[str, Done] = {}
    left = []
    for cell, command in cells:
        record = None if force else runner.records.load(cell.evaluation.key)
        refused: Exception | None = recording.refusal(record)  # known here: nothing that it would rest on is trained
        if record is not None and record["status"] == "done":
            try:
                found[cell.evaluation.key] = record = runner.run(cell, command)  # says so
                told(record)
            except (OtherData, TaskError) as error:
                refused = error
        if refused is not None:
            found[cell.evaluation.key] = refused
            runner.monitor.say(f"FAILED {title(cell.evaluation.training, cell.evaluation.device)}: {refused}")
        elif cell.evaluation.key not in found:
            left.append((cell, command))
    return found, left


def by_team(
    cells: Cells, runner: Runner, team: engine.Team, status: Status, *, force: bool = False, told: Told = quietly
) -> dict[str, Done]:
    """Key -> the record of each cell, or what went wrong, done side by side."""
    boss = CellBoss(runner, told)
    engine.Engine(team, Graph(jobs_of(cells, runner.checkpoints.has, force)), boss, View(), status).run()
    return boss.found


def _one_by_one(cells: Cells, runner: Runner, force: bool, several: bool, told: Told) -> dict[str, Done]:
    rows = [Row(cell.evaluation.key, title(cell.evaluation.training, cell.evaluation.device)) for cell, _ in cells]
    found: dict[str, Done] = {}
    with status_of(runner, "one process") as status:
        status.add(rows)

        def do(one: tuple[Cell, str], wait: bool) -> tuple[str, Done]:
            return one[0].evaluation.key, _here(runner, *one, force, wait, status, several)

        distinct = {cell.evaluation.key: (cell, command) for cell, command in cells}
        for key, done in in_turn(distinct.values(), do, runner.monitor.say):
            found[key] = done
            if not isinstance(done, Exception):
                told(done)
    return found


def _here(runner: Runner, cell: Cell, command: str, force: bool, wait: bool, status: Status, several: bool) -> Done:
    """One cell in this process. Busy, without `wait`, if another process does it just now."""
    waiting = status.rows[cell.evaluation.key]
    row = status.follow(waiting.key, waiting.title, waiting.kind, runner.monitor)
    try:
        record = runner.run(cell, command, force, wait)
    except Busy:
        row.state = "waiting"
        raise
    except Exception as error:
        row.end("failed", in_one_line(error))
        if several:
            runner.monitor.say(f"FAILED {row.title}: {row.reason}")
            log.debug("", exc_info=True)
        return error
    row.end("done")
    return record


class CellBoss(engine.Boss):
    """Wants a record of each cell. What workers have made must be seen from here, too."""

    def __init__(self, runner: Runner, told: Told = quietly) -> None:
        self.runner, self.told = runner, told
        self.found: dict[str, Done] = {}

    def done(self, job: Job, value: Any) -> None:
        """Read the record; of a training, see that its network is there."""
        if not isinstance(job.task, Sweep):
            is_there(self.runner, job)
            return
        record = self.runner.records.load(job.key)
        if record is None or record["status"] != "done":
            raise BenchError(f"its record is not in {self.runner.records.folder}: all workers must see this folder")
        self.found[job.key] = record
        self.told(record)

    def failed(self, job: Job, error: Exception) -> None:
        """A failed cell is recorded, here if its worker could not."""
        log.debug("%s", "".join(getattr(error, "__notes__", ())))
        if isinstance(job.task, Sweep):
            self.found[job.key] = error
            if self.runner.records.find(job.key) is None:
                self.runner.fail(job.task.cell, job.task.command, error)

    def lost(self, job: Job, root: Job, error: Exception) -> None:
        """So is one that could not begin."""
        if isinstance(job.task, Sweep):
            self.found[job.key] = error
            self.runner.fail(job.task.cell, job.task.command, error, root.title)


def is_there(runner: Runner, job: Job) -> None:
    """BenchError if a network that a worker has trained is not seen from here."""
    if not runner.checkpoints.has(job.key):
        raise BenchError(f"its network is not in {runner.checkpoints.folder}: all workers must see this BENCH_HOME")


def records(found: Mapping[str, Done]) -> dict[str, dict[str, Any]]:
    """Those of cells that are done."""
    return {key: done for key, done in found.items() if not isinstance(done, Exception)}
