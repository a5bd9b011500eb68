"""LEADERBOARD.md."""

from collections.abc import Sequence

from bench.columns import Column, failures, notes, tables
from bench.labels import code, escape
from bench.summary import Group, Row


def leaderboard(groups: Sequence[Group]) -> str:
    """The text of LEADERBOARD.md."""
    lines = ["# Leaderboard", "", "Made by `bench report` from `records/`; docs/statistics.md defines every number."]
    if not groups:
        lines += ["", "No records yet."]
    for group in groups:
        lines += ["", f"## {escape(group.title)}", ""]
        lines += [f"{escape(note)}  " for note in notes(group)]
        if any(row.levels for row in group.rows):
            lines += ["", f"![{escape(group.metric)} versus level](plots/{group.slug}.png)"]
        for table in tables(group, " "):
            lines += ["", *_table(table, group.rows)]
        lines += [f"\n{escape(line)}" for line in failures(group)]
        lines += ["", "Commands, with the keys that `bench show` takes:", ""]
        lines += [f"- {escape(row.label)}: {code(row.command)} ({escape(', '.join(row.keys))})" for row in group.rows]
    return "\n".join(lines) + "\n"


def _table(table: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    heads = [escape(name) for name, _ in table]
    rule = [":--" if name in ("method", "trained on") else "--:" for name, _ in table]
    cells = [[escape(show(row)) for _, show in table] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (heads, rule, *cells)]
