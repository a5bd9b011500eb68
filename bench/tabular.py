"""Tables as wide as the terminal: where columns don't fit, the table goes on below; no cell is ever cut."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.endings import printable

WIDEST_WORD = 24  # of a text column; longer words are broken
GAP = 2
SMALL = 5e-5  # of a column's greatest number: less than that is shown as 0


def tables(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    keys: Sequence[str] = (),
    words: Sequence[str] = (),
    title: str | None = None,
) -> list[Table]:
    """The table in as many parts as `width` asks for, each of which begins with the columns `keys`.

    `words`: columns that are text, to the left, folded at blanks; numbers go to the right, whole.
    """
    widths = [_width(name, [row[i] for row in rows], name in words) for i, name in enumerate(names)]
    first = [i for i, name in enumerate(names) if name in keys]
    parts: list[list[int]] = [[]]
    for i in range(len(names)):
        if i in first:
            continue
        if parts[-1] and sum(widths[k] + GAP for k in (*first, *parts[-1], i)) - GAP > width:
            parts.append([])
        parts[-1].append(i)
    made: list[Table] = []
    for part in parts:
        chosen = sorted({*first, *part})  # in the order of `names`, so that a rank stays before its method
        heading = Text(printable(title)) if title and not made else None
        table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
        table.padding, table.pad_edge = (0, 1, 0, 0), False
        room = max(0, width - sum(widths[i] + GAP for i in chosen) + GAP)
        wanted = {i: _width(names[i], [row[i] for row in rows], False) - widths[i] for i in chosen if names[i] in words}
        more = {}
        for i in sorted(wanted, key=lambda i: wanted[i]):  # so that as many columns as can be are not folded
            more[i] = min(max(0, wanted[i]), room)
            room -= more[i]
        for i in chosen:  # every width is given: where Rich shares room out itself, it may cut the last columns
            if i in more:
                table.add_column(Text(names[i]), overflow="fold", width=widths[i] + more[i])
            else:
                table.add_column(Text(names[i]), justify="right", no_wrap=True, width=widths[i])
        for row in rows:
            table.add_row(*(Text(printable(row[i])) for i in chosen))
        made.append(table)
    return made


def print_table(
    console: Console,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    keys: Sequence[str] = (),
    words: Sequence[str] = (),
    title: str | None = None,
) -> None:
    """Print a table, in parts where the console is narrow."""
    for table in tables(names, rows, console.width, keys=keys, words=words, title=title):
        console.print(table)
        console.print()


def _width(name: str, cells: Sequence[str], words: bool) -> int:
    """Letters of the widest line of a column; of a text column, of its widest word."""
    if words:
        lengths = [len(word) for cell in (name, *cells) for word in cell.split()]
        return min(max(lengths, default=1), WIDEST_WORD)
    return max(len(line) for cell in (name, *cells) for line in cell.split("\n"))


def significant(value: float, scale: float, digits: int) -> str:
    """A number with so many significant digits; 0 where it is nothing beside `scale`."""
    if math.isfinite(value) and abs(value) < SMALL * scale:
        return "0"
    return f"{value:.{digits}g}"
