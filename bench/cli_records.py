"""Commands that begin with a record: compare, export, import, verify, validate; part of `bench` (bench/cli.py)."""

from pathlib import Path
from typing import Annotated

import typer

from bench import options as opt

app = typer.Typer()


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A method, the key of a record, a git commit, or 'now'.")],
    b: Annotated[str, typer.Argument(help="What it is compared with.")],
    device: Annotated[str | None, typer.Option(help="Only on this test device.")] = None,
    task: Annotated[str | None, typer.Option(help="Only on this task.")] = None,
    results: opt.Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Picture to write, .png and .pdf (default: RESULTS/compare/A-B).")
    ] = None,
    debug: opt.Debug = False,
) -> None:
    """Show the difference of A and B at each level, paired chip by chip, with its interval: a table and a picture."""
    from bench import record_commands

    record_commands.compare(a, b, device, task, results, out)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Archive to write, .zip.")],
    keys: Annotated[
        list[str] | None, typer.Argument(help="Keys of records, or their beginnings; by default all.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Only of these methods, with commas.")] = None,
    device: Annotated[str | None, typer.Option(help="Only on these test devices.")] = None,
    task: Annotated[str | None, typer.Option(help="Only on these tasks.")] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="With the trained networks.")] = False,
    results: opt.Results = Path("results"),
    debug: opt.Debug = False,
) -> None:
    """Put records and their pictures, with --checkpoints their networks, into one archive for another machine."""
    from bench import record_commands

    wanted = {"method": method, "device": device, "task": task}
    record_commands.export(out, keys or [], wanted, checkpoints, results)


@app.command(name="import")
def import_(
    archive: Annotated[Path, typer.Argument(help="An archive of `bench export`.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace records, pictures and networks that are here.")
    ] = False,
    results: opt.Results = Path("results"),
    debug: opt.Debug = False,
) -> None:
    """Check an archive, add its records, pictures and networks to what is here, and remake the leaderboard."""
    from bench import record_commands

    record_commands.import_(archive, force, results)


@app.command()
def verify(
    key: Annotated[str, typer.Argument(help="Key of a record, or its beginning.")],
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train again too, teachers included, as if BENCH_HOME were empty.")
    ] = False,
    on: opt.On = "auto",
    threads: opt.Threads = None,
    data: opt.Data = None,
    results: opt.Results = Path("results"),
    debug: opt.Debug = False,
) -> None:
    """Make a record once more and say whether it reproduces; 1 if it doesn't. The record stays as it is."""
    from bench import record_commands

    if record_commands.verify(key, retrain, on, threads, data, results):
        raise typer.Exit(1)


@app.command()
def validate(
    key: Annotated[str, typer.Argument(help="Key of a training or of a record, or its beginning; `bench show KEY`.")],
    device: Annotated[str, typer.Option(help="Device to validate on.")],
    levels: Annotated[str | None, typer.Option(help="Levels, with commas.")] = None,
    time: Annotated[float | None, typer.Option("--time", help="Seconds since programming.")] = None,
    chips: Annotated[int, typer.Option(help="Validation chips a level.", min=1)] = 3,
    set_: opt.DeviceSettings = None,
    on: opt.On = "auto",
    data: opt.Data = None,
    results: opt.Results = Path("results"),
    debug: opt.Debug = False,
) -> None:
    """Sweep a trained network over the validation split: what recipes and settings may be chosen by."""
    from bench import record_commands

    record_commands.validate(key, device, set_ or [], levels, time, chips, on, data, results)
