"""`bench tune`: the cells of a request, one study each."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from bench import plan, request, start, tune, work
from bench.cluster import Crew
from bench.errors import BenchError, in_one_line
from bench.progress import Monitor
from bench.runner import Runner
from bench.status import Status
from bench.tuning import report
from bench.tuning.remote import Remote
from bench.tuning.workers import Workers
from methods._base import Refusal

log = logging.getLogger("bench")
T = TypeVar("T")


def command(
    *,
    trials: int,
    timeout: float | None,
    storage: str | None,
    workers: int,
    cluster: str | None,
    gpu_share: float | None,
    val_chips: int,
    seed: int,
    data: Path | None,
    results: Path,
    on: str,
    threads: int | None,
    settings: list[str],
    **given: Any,
) -> int:
    """Tune the cells of a request one after the other; 0 if all are done, 2 if one of several failed.

    Of several, a method that refuses the network is left out with its reason.
    """
    if timeout is not None and not timeout > 0:
        raise BenchError(f"timeout {timeout:g}: must be above 0")
    # Without a cluster workers are processes, and need no Ray
    of_cluster = workers if cluster and workers > 1 else None
    crew, processor, given = start.crew(of_cluster, cluster, gpu_share, on, threads, given)
    request.device_settings_only(settings)
    asked = request.read(processor, settings, seed=str(seed), **given)
    cells = plan.cells(asked)
    report.check(cells)
    console, runner = Console(), start.runner(data, results, processor, crew)
    found: list[report.Tuned] = []
    failed = 0
    with _tuners(runner, crew, workers, str(processor)) as (tuners, status_):
        for cell in cells:
            job = tune.Job(
                request=request.for_cell(asked, cell),
                trials=trials,
                timeout_s=timeout,
                chips=val_chips,
                storage=storage or tune.default_storage(),
            )
            named = f"tuning of {cell.evaluation.training.method}"
            row = status_.follow(f"tune {cell.evaluation.key}", named, "study", runner.monitor)
            one = partial(report.tuned, runner, job, tuners, settings)
            done = _try(one, named, runner.monitor, several=len(cells) > 1)
            if not isinstance(done, Exception):
                row.end("done")
                found.append(done)
            else:
                row.end("failed", str(done))
                failed += not isinstance(done, Refusal)
                if len(cells) == 1:
                    raise done
    start.remake(results)
    report.show(found, console)
    console.print(f"tuned settings, records and plots: {results}", highlight=False, soft_wrap=True)
    return 2 if failed or not found else 0


@contextmanager
def _tuners(
    runner: Runner, crew: Crew | None, workers: int, processor: str
) -> Iterator[tuple[Workers | Remote, Status]]:
    """Who does the trials, processes of this machine or a cluster, and the status of it all."""
    results = runner.records.folder.parent
    if crew is None:
        said = "one process" if workers == 1 else f"{workers} processes"
        with work.status_of(runner, said) as status_:
            yield Workers(count=workers, processor=processor, data=runner.data_dir, results=results), status_
        return
    with (
        crew.team(runner.home, results, runner.data_dir) as team,
        work.status_of(runner, str(crew)) as status_,
    ):
        yield Remote(team, crew.slots, status_), status_


def _try(one: Callable[[], T], named: str, monitor: Monitor, several: bool) -> T | Exception:
    """What the work gives, or what went wrong; where it is one of several that is told now, and the others go on."""
    try:
        return one()
    except Exception as error:
        if several:
            how = "left out" if isinstance(error, Refusal) else "FAILED"
            monitor.say(f"{how} {named}: {in_one_line(error)}")
            log.debug("", exc_info=True)
        return error
