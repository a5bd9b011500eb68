"""What the commands do that begin with a record: compare, carry from place to place, make again, validate."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import interrupt, tabular
from bench.errors import BenchError
from bench.files import check_writable
from bench.labels import difference, in_unit, number, p_value, plain, point_label, spread, swept
from bench.store import Checkpoints, Records, home

log = logging.getLogger("bench")


def compare(a: str, b: str, device: str | None, task: str | None, results: Path, out: Path | None) -> None:
    """Show A - B at each level, and draw it."""
    from bench import comparison

    if not (results / "records").is_dir():
        raise BenchError(f"no records in {results}: run `bench run` first, or name another folder with --results")
    if out is not None and out.suffix not in (".png", ".pdf"):
        raise BenchError(f"--out {out}: must end in .png or .pdf")
    found = comparison.compare(a, b, results, device, task)
    interrupt.work_begins()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{a}-{b}").lstrip(".")
    stem = results / "compare" / name if out is None else out.with_suffix("")
    check_writable(stem.parent)
    console = Console()
    for one in found:
        rows = [
            [label, number(p.a), number(p.b), difference(p.difference), f"{p.low:+.2f} to {p.high:+.2f}"]
            + [p_value(p.difference.p)]
            for label, p in [
                *((point_label(one.sweep, point), paired) for point, paired in one.points.items()),
                ("score", one.score),
            ]
        ]
        first = "time" if one.sweep == "time_s" else "level"
        names = [first, a, b, f"{a} - {b}", "bootstrap", "p"]
        tabular.print_table(console, names, rows, keys=(first,), title=one.title)
        seeds = ", ".join(map(str, one.seeds))
        runs = f"up to {one.chips} chips a level, seed {seeds}"
        metric = f"{in_unit(one.metric, one.unit)}, {'higher' if one.higher_is_better else 'lower'} is better"
        console.print(
            f"{metric}; {first}: {one.axis}; {runs}; 95% intervals, p by Holm",
            style="dim",
            highlight=False,
            markup=False,
        )
        console.print()
    from bench import score_plots

    written = score_plots.save(score_plots.differences(found, a, b), stem)
    console.print("written: " + ", ".join(map(str, written)), highlight=False, soft_wrap=True, markup=False)


def export(out: Path, keys: Sequence[str], wanted: Mapping[str, str | None], networks: bool, results: Path) -> None:
    """Write the archive of the records that are asked for; say whose networks are not here."""
    from bench import sharing

    if out.suffix != ".zip":
        raise BenchError(f"{out}: must end in .zip")
    store = Records(results)
    if keys:
        chosen = [store.load(key) for key in keys]
        if None in chosen:
            raise BenchError(
                f"no record {keys[chosen.index(None)]} in {results}/records; `bench report` lists the keys"
            )
        records = [record for record in chosen if record is not None]
        warnings: list[str] = []
    else:
        records, warnings = store.load_all()
    names = {option: set(text.split(",")) for option, text in wanted.items() if text is not None}
    records = [r for r in records if all(_named(r)[option] in chosen for option, chosen in names.items())]
    if not records:
        raise BenchError(f"no records of that kind in {results}: nothing was written")
    interrupt.work_begins()
    lacking = sharing.export(records, results, Checkpoints(home() / "checkpoints") if networks else None, out)
    for warning in warnings:
        log.warning("left out: %s", warning)
    if lacking:
        log.warning("%d of the networks are not in %s and were left out: %s", len(lacking), home(), ", ".join(lacking))
    size = out.stat().st_size / 2**10
    Console().print(f"{out}: {len(records)} records, {size:,.0f} KiB", highlight=False, markup=False, soft_wrap=True)


def _named(record: Mapping[str, Any]) -> dict[str, str]:
    training = record["evaluation"]["training"]
    return {"method": training["method"], "device": record["evaluation"]["device"], "task": training["task"]}


def import_(archive: Path, force: bool, results: Path) -> None:
    """Add what the archive holds, remake the tables, and say what was kept."""
    from bench import leaderboard, sharing

    interrupt.work_begins()
    check_writable(results)
    check_writable(home())
    done = sharing.merge(archive, results, Checkpoints(home() / "checkpoints"), force=force)
    console = Console()
    told = f"{done.added} records added, {done.same} were here already, {done.networks} networks added"
    console.print(told, highlight=False)
    if done.kept:
        log.warning(
            "%d records are here with other numbers and were kept as they are (--force takes theirs): %s",
            len(done.kept),
            ", ".join(done.kept),
        )
    if done.others:
        log.warning(
            "%d records are here of other data and were kept as they are; import theirs into another --results: %s",
            len(done.others),
            ", ".join(done.others),
        )
    _, warnings, written = leaderboard.remake(results)
    for warning in warnings:
        log.warning("%s", warning)
    console.print(f"leaderboard and plots: {results}, {len(written)} files", highlight=False, soft_wrap=True)


def verify(key: str, retrain: bool, on: str, threads: int | None, data: Path | None, results: Path) -> int:
    """Say whether a record reproduces: 0, or 1 if it doesn't. Without `retrain` nothing is said of the weights."""
    from bench import fast, verify
    from bench.progress import Monitor

    if (record := Records(results).load(key)) is None:
        raise BenchError(f"no record {key} in {results}/records; `bench report` lists the keys")
    if record["status"] != "done":
        raise BenchError(f"record {record['key']} is of a run that failed: {record['error']}")
    verify.cell_of(record)  # what can't be made again is told before any work
    processor = fast.processor(on, threads)
    interrupt.work_begins()
    new = verify.again(record, home=home(), data=data, processor=processor, monitor=Monitor(), retrain=retrain)
    found = verify.verdict(record, new)
    sweep, _ = swept(record["evaluation"])
    rows = [
        [point_label(sweep, p.label), spread(p.record), number(p.again), f"{p.equal} of {p.chips}"]
        for p in found.points
    ] + [
        ["score", spread(found.score.record), number(found.score.again), f"{found.score.equal} of {found.score.chips}"]
    ]
    console = Console()
    names = ["time" if sweep == "time_s" else "level", "record", "again", "equal chips"]
    tabular.print_table(console, names, rows, title=plain(record["command"]))
    how = "trained and swept again" if retrain else "the network that is here swept again"
    console.print(f"{record['key']}, {how}: {found.said}", highlight=False, markup=False, soft_wrap=True)
    if not (found.same or found.reproduces or "data" in record):
        told = "the record is too old to say of which data it was made: they may be others than those here"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    if when := new["training_environment"].get("imported"):
        told = f"its network was imported on {plain(when)}, and is as the archive had it; --retrain trains it here"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    return 0 if found.same or found.reproduces else 1


def validate(
    key: str,
    device: str,
    settings: list[str],
    levels: str | None,
    time_s: float | None,
    chips: int,
    on: str,
    data: Path | None,
    results: Path,
) -> None:
    """Sweep a network of the checkpoint store over the validation split, on chips that no test chip equals.

    `key`: of its training, or of a record in `results`.
    """
    from rich.table import Table

    from bench import fast, request
    from bench.labels import title
    from bench.progress import Monitor
    from bench.runner import Runner
    from bench.spec import Training

    test_device = request.device(device, settings)
    processor, monitor = fast.processor(on), Monitor()
    runner = Runner(home=home(), results=results, data_dir=data, processor=processor, monitor=monitor)
    training = Training.from_dict(runner.checkpoints.find(key, runner.records)["training"])
    interrupt.work_begins()
    means = runner.validate(
        training,
        test_device,
        None if levels is None else request.parse_numbers(levels, "levels"),
        time_s,
        chips,
    )
    table = Table(title=f"{title(training)}: validation on {device}, {chips} chips a level", title_justify="left")
    for level in means:
        table.add_column(f"{level:g}", justify="right")
    table.add_row(*(f"{mean:.2f}" for mean in means.values()))
    Console().print(table)
