"""Commands that compare records and carry them from place to place; part of `bench`, as bench/cli.py has it."""

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
