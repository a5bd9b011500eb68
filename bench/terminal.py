"""The leaderboard and a record's sweep in the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.columns import failures, notes, tables
from bench.frame import measured
from bench.labels import (
    Record,
    number,
    percent,
    plain,
    point_label,
    settings_label,
    sweep_label,
    swept,
    trained_elsewhere,
)
from bench.summary import summary

if TYPE_CHECKING:
    import pandas as pd


def render(records: Sequence[Record], console: Console) -> None:
    """Print the leaderboard."""
    if not records:
        console.print("no records yet; 'bench run' makes one")
    for group in summary(records):
        for table in tables(group, "\n"):
            title = group.title if table[0][0] == "rank" else None
            cells = [[show(row) for _, show in table] for row in group.rows]
            console.print(_rich(title, [name for name, _ in table], cells, ("method", "trained on")))
        for line in (*failures(group), *notes(group)):
            console.print(Text(line, style="dim"))
        for row in group.rows:
            # Unwrapped, so that it can be copied.
            console.print(Text(f"{row.label}: {row.command}  ({', '.join(row.keys)})"), soft_wrap=True)
        console.print()


def sweep_table(record: Record) -> Table:
    """One record's sweep, a row a level; below it the key that `bench show` takes."""
    sweep, _ = swept(record["evaluation"])
    over_time = sweep == "time_s"
    names = ("time" if over_time else "level", "mean", "± 95%", "std", "p5", "worst", "yield", "chips", "EKL")
    rows = []
    for level in sorted(record["levels"], key=lambda found: found[sweep]):
        m = measured(record, level)
        half = m["ci_high"] - m["mean"]
        values = [m["mean"], half, m["std"], m["p5"], m["worst"]]
        tail = [percent(m["yield"]), str(m["chips"]), number(m["ekl"], 4)]
        rows.append([point_label(sweep, level[sweep]), *map(number, values), *tail])
    e, task = record["evaluation"], record["task"]
    t = e["training"]
    device = e["device"] + settings_label(e) + (sweep_label(e) if over_time else "")
    device += f" (trained on {t['device']})" if trained_elsewhere(e) else ""
    parts = [t["method"], t["task"], device, e["preset"], f"{task['metric']} in {task['unit']}"]
    clean = "failed" if record["status"] != "done" else f"clean {number(record['clean'])}"
    table = _rich(" · ".join(map(plain, [*parts, clean])), names, rows, ())
    table.caption, table.caption_justify = Text(f"key {plain(record['key'])}"), "left"
    return table


def _rich(title: str | None, names: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str]) -> Table:
    """`words`: columns that are text, to the left, folded at blanks; numbers go to the right."""
    heading = Text(title) if title else None
    result = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    for i, name in enumerate(names):
        if name in words:
            longest = max((len(word) for row in rows for word in row[i].split()), default=1)
            result.add_column(Text(name), overflow="fold", min_width=min(longest, 24))
        else:
            # Where a number doesn't fit, three dots say so.
            result.add_column(Text(name), justify="right", overflow="ellipsis", no_wrap=True)
    for row in rows:
        result.add_row(*(Text(cell) for cell in row))
    return result


def frame(shown: "pd.DataFrame", title: str) -> None:
    """Print a frame, numbers with four digits."""
    table = Table(title=Text(title), title_justify="left")  # Text, since a [ in a source is no markup
    for column in shown.columns:
        table.add_column(str(column), justify="right")
    for row in shown.itertuples(index=False):
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
    Console().print(table)
