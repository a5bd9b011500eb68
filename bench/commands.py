"""What each command does, once its options are read. Those that read records don't wait for torch."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from bench import interrupt, leaderboard, tabular, terminal
from bench.errors import BenchError, in_one_line
from bench.files import check_writable
from bench.progress import Monitor
from bench.store import Records, home, local, read_record
from bench.summary import group_key

if TYPE_CHECKING:
    import torch

    from bench.cluster import Crew
    from bench.plan import Cell
    from bench.runner import Runner
    from bench.status import Status
    from bench.tuning.remote import Remote
    from bench.tuning.workers import Workers

log = logging.getLogger("bench")
T = TypeVar("T")


def run(
    *,
    data: Path | None,
    results: Path,
    force: bool,
    dry_run: bool,
    on: str,
    threads: int | None,
    settings: list[str],
    tuned: bool,
    workers: int | None = None,
    cluster: str | None = None,
    gpu_share: float | None = None,
    **given: Any,
) -> int:
    """Run the cells of a request; 0 if all are done, 2 if one of several failed. A single one's error is raised."""
    from bench import matched, request, work

    crew, processor, given = _crew(workers, cluster, gpu_share, on, threads, given)
    asked = request.read(processor, settings, **given)
    if tuned:
        from bench.tuning import saved

        cells = saved.cells(asked, results, settings)
    else:
        cells = [(cell, request.command(cell, asked, settings)) for cell in matched.cells(asked)]
    console, runner = Console(), _runner(data, results, processor, crew)
    if dry_run:
        _foresee([cell for cell, _ in cells], runner, console)
        return 0
    found = work.do(
        cells,
        runner,
        crew,
        force=force,
        several=len(cells) > 1,
        told=lambda made: console.print(terminal.sweep_table(made)),
    )
    errors = [done for done in found.values() if isinstance(done, Exception)]
    records: list[dict[str, Any]] = []
    with suppress(BenchError) if errors else nullcontext():  # the first error is the one to tell
        records = _remake(results)
    if errors and len(cells) == 1:
        raise errors[0]
    keys = {cell.evaluation.key for cell, _ in cells}
    shown = {group_key(r) for r in records if r["key"] in keys}
    terminal.render([r for r in records if group_key(r) in shown], console, results)
    console.print(f"records, leaderboard and plots: {results}", highlight=False, soft_wrap=True)
    return 2 if errors else 0


DEMO: dict[str, Any] = {
    "method": "nominal,noise_injection,mtrd",
    "device": "rram1t1r",
    "task": "fashion_mnist",
    "seed": "0",
    "preset": "quick",
    "precision": "auto",
    "train_samples": 20_000,
    "chips": 10,
}


def demo(*, results: Path, on: str, threads: int | None, data: Path | None) -> int:
    """Run three methods on a part of Fashion-MNIST, say what came out, and where to look and go on."""
    console = Console()
    begun = "a network without protection, one trained with noise, one distilled from teachers at every level"
    console.print(f"{begun}; all tested on the same 10 chips a level", highlight=False)
    code = run(
        data=data, results=results, force=False, dry_run=False, on=on, threads=threads, settings=[], tuned=False, **DEMO
    )
    if code == 0:
        page = results / "report.html"
        console.print(f"Open {page} in a browser. Then, for example:", highlight=False, soft_wrap=True)
        for line in (
            f"bench report --advise --results {results}",
            f"bench compare mtrd nominal --results {results}",
            "bench device show rram1t1r",
            "bench run --method all --device rram1t1r --task fashion_mnist --dry-run",
        ):
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    return code


def _runner(data: Path | None, results: Path, processor: "torch.device", crew: "Crew | None" = None) -> "Runner":
    """Work begins: a runner whose folders can be written to; what a crew computes on need not be here."""
    from bench import fast
    from bench.runner import Runner

    processor = processor if crew is None else fast.processor()
    interrupt.work_begins()
    check_writable(results)
    check_writable(home())
    return Runner(home=home(), results=results, data_dir=data, processor=processor, monitor=Monitor())


def _foresee(cells: "list[Cell]", runner: "Runner", console: Console) -> None:
    """What a run would do, and about how long that takes."""
    from bench.estimate import estimate

    def hours(seconds: float) -> str:
        return "—" if seconds == 0 else f"{seconds / 3600:.2f}"

    found = estimate(cells, runner)
    rows = [[e.title, e.state, hours(e.training_s), hours(e.sweep_s), e.key] for e in found]
    names = ["cell", "state", "hours to train", "hours to sweep", "key"]
    tabular.print_table(console, names, rows, keys=("cell",), words=("cell", "state", "key"))
    left, done = sum(e.training_s + e.sweep_s for e in found), sum(e.state == "done" for e in found)
    told = f"{len(found)} cells, {done} done; about {left / 3600:.2f} hours left on this machine"
    console.print(f"{told} (timed just now, at the fewest chips; teachers are counted once)", highlight=False)


def _crew(
    workers: int | None,
    cluster: str | None,
    gpu_share: float | None,
    on: str,
    threads: int | None,
    given: dict[str, Any],
) -> "tuple[Crew | None, torch.device, dict[str, Any]]":
    """Who does the cells, the processor that the request is read for, and the request at the precision that it has."""
    from bench import fast

    if (workers, cluster, gpu_share) == (None, None, None):
        return None, fast.processor(on, threads), given
    import torch

    from bench import cluster as cluster_

    crew = cluster_.crew(workers, cluster, gpu_share, on, threads)
    precision = crew.precision if given["precision"] == "auto" else given["precision"]
    return crew, torch.device(crew.processor), given | {"precision": precision}


def _try(work: Callable[[], T], named: str, monitor: Monitor, several: bool) -> T | Exception:
    """What the work gives, or what went wrong; where it is one of several that is told now, and the others go on."""
    try:
        return work()
    except Exception as error:
        if several:
            monitor.say(f"FAILED {named}: {in_one_line(error)}")
            log.debug("", exc_info=True)
        return error


def _remake(results: Path) -> list[dict[str, Any]]:
    """All records, with tables and plots made from them."""
    records, warnings, _ = leaderboard.remake(results)
    for warning in warnings:
        log.warning("%s", warning)
    return records


def matrix(
    *,
    data: Path | None,
    results: Path,
    on: str,
    threads: int | None,
    settings: list[str],
    workers: int | None,
    cluster: str | None,
    gpu_share: float | None,
    **given: Any,
) -> int:
    """Train on each device, test on all; 0 if all cells are done, 2 if one failed."""
    from bench import matrix, request, work

    crew, processor, given = _crew(workers, cluster, gpu_share, on, threads, given)
    for kind in ("method", "task"):
        request.one_name(given[kind], f"{kind}s", kind)
    asked = request.read(processor, settings, **given)
    parts = matrix.parts(asked)
    console, runner = Console(), _runner(data, results, processor, crew)
    cells = [(cell, request.command(cell, part, settings)) for part, cell in parts]
    found = work.records(work.do(cells, runner, crew))
    made = matrix.measured(asked, [cell for _, cell in parts], found)
    _remake(results)
    written = matrix.write(made, results / "matrix")
    terminal.frame(matrix.frame(made), made.title, keys=("trained on",))
    for note in matrix.notes(made):
        console.print(note, style="dim", highlight=False, markup=False)
    console.print("written: " + ", ".join(map(str, written)), highlight=False, soft_wrap=True)
    return 2 if made.missing else 0


def tune(
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
    """Tune the cells of a request one after the other; 0 if all are done, 2 if one of several failed."""
    if timeout is not None and not timeout > 0:
        raise BenchError(f"timeout {timeout:g}: must be above 0")
    # Without a cluster workers are processes, and need no Ray
    of_cluster = workers if cluster and workers > 1 else None
    crew, processor, given = _crew(of_cluster, cluster, gpu_share, on, threads, given)
    from bench import plan, request, tune
    from bench.tuning import report

    request.device_settings_only(settings)
    asked = request.read(processor, settings, seed=str(seed), **given)
    cells = plan.cells(asked)
    report.check(cells)
    console, runner = Console(), _runner(data, results, processor, crew)
    found: list[report.Tuned] = []
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
                if len(cells) == 1:
                    raise done
    _remake(results)
    report.show(found, console)
    console.print(f"tuned settings, records and plots: {results}", highlight=False, soft_wrap=True)
    return 2 if len(found) < len(cells) else 0


def status() -> None:
    """Print what commands that use this BENCH_HOME are at; where none runs, how the last one ended."""
    from bench import status as status_

    folder = local(home()) / "runs"
    told = status_.read(folder)
    shown = [one for one in told if one.is_alive] or told[:1]
    for one in shown:
        for line in status_.lines(one, time.time()):
            print(line)
    if not shown:
        print(f"no command has run cells with this BENCH_HOME, {home()}")


@contextmanager
def _tuners(
    runner: "Runner", crew: "Crew | None", workers: int, processor: str
) -> "Iterator[tuple[Workers | Remote, Status]]":
    """Who does the trials, processes of this machine or a cluster, and the status of it all."""
    from bench import work
    from bench.tuning.remote import Remote
    from bench.tuning.workers import Workers

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


def report(results: Path, advise: bool = False) -> int:
    """Remake the tables and plots from the records that are whole; show the leaderboard, or what to use.

    2 if a record is broken.
    """
    console = Console()
    if not (results / "records").is_dir():
        raise BenchError(f"no records in {results}: run `bench run` first, or name another folder with --results")
    interrupt.work_begins()
    check_writable(results)
    records, warnings, written = leaderboard.remake(results)
    show_ = terminal.advice if advise else terminal.render
    show_(records, console, results)
    console.print("written: " + ", ".join(map(str, written)), highlight=False, soft_wrap=True)
    for warning in warnings:
        log.warning("%s", warning)
    return 2 if warnings else 0


def show(key: str, results: Path, as_json: bool) -> None:
    """Print a record, as a table and a few lines, or as the JSON that it is."""
    path = Records(results).find(key)
    if path is None:
        raise BenchError(
            f"no record {key} in {results}/records; `bench report` lists the keys, --results names another folder"
        )
    record = read_record(path)
    if as_json:
        print(json.dumps(record, indent=1))
    else:
        terminal.record(record, Console(), results)


def speed(
    rounds: int,
    network: str | None,
    methods: str | None,
    plain_chips: int,
    profile: bool,
    on: str,
    data: Path | None,
    results: Path,
) -> None:
    """Measure, show, and keep in results/: speed.json, or profile.json, or steps.json, each with a .md beside it."""
    from bench import fast, request, speed
    from bench.timing import tables

    interrupt.work_begins()
    check_writable(results)
    cases = tuple(case for case in speed.CASES if case.network.startswith(network or ""))
    if not cases:
        raise BenchError(f"network '{network}': must begin like one of {', '.join(c.network for c in speed.CASES)}")
    if profile and methods is not None:
        raise BenchError("profile, methods: two timings with files of their own; give one of them")
    if profile:
        found = speed.profiles(fast.processor(on), data, cases, Monitor())
        speed.write_profiles(found, results)
        Console().print(tables.profile_markdown(found), highlight=False, markup=False, soft_wrap=True)
        return
    if methods is not None:
        found = speed.steps(fast.processor(on), data, cases, request.names(methods, "methods"), rounds, Monitor())
        speed.write_steps(found, results)
        Console().print(tables.steps_markdown(found), highlight=False, markup=False, soft_wrap=True)
        return
    figures = speed.measure(
        fast.processor(on),
        data,
        rounds=rounds,
        cases=cases,
        plain_chips=plain_chips,
        monitor=Monitor(),
    )
    speed.write(figures, results)
    Console().print(tables.terminal(figures))
