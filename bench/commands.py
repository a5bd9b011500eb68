"""What `run`, `demo`, `matrix`, `report` and `show` do, once options are read; the last two don't wait for torch."""

import json
import logging
from collections import Counter
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench import interrupt, leaderboard, start, tabular, terminal
from bench.errors import BenchError
from bench.files import check_writable
from bench.reading import read_record
from bench.store import Records
from bench.summary import group_key

if TYPE_CHECKING:
    from bench.plan import Cell
    from bench.runner import Runner

log = logging.getLogger("bench")


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

    crew, processor, given = start.crew(workers, cluster, gpu_share, on, threads, given)
    asked = request.read(processor, settings, **given)
    if tuned:
        from bench.tuning import saved

        cells = saved.cells(asked, results, settings)
    else:
        cells = [(cell, request.command(cell, asked, settings)) for cell in matched.cells(asked)]
    console, runner = Console(), start.runner(data, results, processor, crew)
    if dry_run:
        return _foresee([cell for cell, _ in cells], runner, console, force)
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
        records = start.remake(results)
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


def _foresee(cells: "list[Cell]", runner: "Runner", console: Console, force: bool) -> int:
    """What a run would do, and about how long that takes; 2 if the data of some cells can't be had.

    BenchError if those of none can, for one reason.
    """
    from bench.estimate import estimate

    def hours(seconds: float) -> str:
        return "—" if seconds == 0 else "<0.01" if seconds < 18 else f"{seconds / 3600:.2f}"

    with console.status("a few steps of each kind of training are timed"):
        found = estimate(cells, runner, force)
    states = Counter(e.state for e in found)
    reasons = Counter((e.state, e.reason) for e in found if e.reason)
    if states["no data"] == len(found) and len(reasons) == 1:
        raise BenchError(found[0].reason)
    rows = [[e.title, e.state, hours(e.training_s), hours(e.sweep_s), e.key] for e in found]
    names = ["cell", "state", "hours to train", "hours to sweep", "key"]
    tabular.print_table(console, names, rows, keys=("cell",), words=("cell", "state", "key"))
    left = sum(e.training_s + e.sweep_s for e in found)
    others = "".join(f", {states[state]} {state}" for state in ("refused", "no data") if states[state])
    told = f"{len(found)} cells, {states['done']} done{others}; about {left / 3600:.2f} hours left on this machine"
    console.print(f"{told} (timed just now, at the fewest chips; teachers are counted once)", highlight=False)
    for (state, reason), count in reasons.items():
        console.print(f"{count} {state}: {reason}", highlight=False, markup=False, soft_wrap=True)
    return 2 if states["no data"] else 0


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

    crew, processor, given = start.crew(workers, cluster, gpu_share, on, threads, given)
    for kind in ("method", "task"):
        request.one_name(given[kind], f"{kind}s", kind)
    asked = request.read(processor, settings, **given)
    parts = matrix.parts(asked)
    console, runner = Console(), start.runner(data, results, processor, crew)
    cells = [(cell, request.command(cell, part, settings)) for part, cell in parts]
    found = work.records(work.do(cells, runner, crew))
    made = matrix.measured(asked, [cell for _, cell in parts], found, request.matrix_command(asked, settings))
    start.remake(results)
    written = matrix.write(made, results / "matrix")
    terminal.frame(matrix.frame(made), made.title, keys=("trained on",))
    for note in matrix.notes(made):
        console.print(note, style="dim", highlight=False, markup=False)
    console.print("written: " + ", ".join(map(str, written)), highlight=False, soft_wrap=True)
    return 2 if made.missing else 0


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
    tables = [str(path) for path in written if path.parent.name != "plots"]
    figures = f", {len(written) - len(tables)} figures in {results / 'plots'}" if len(tables) < len(written) else ""
    console.print(f"written: {', '.join(tables)}{figures}", highlight=False, soft_wrap=True)
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
