"""LEADERBOARD.md."""

from collections.abc import Collection, Sequence

from bench.advice import advise, sentences
from bench.columns import Column, failures, notes, tables
from bench.groups import Group, Row, side_by_side
from bench.labels import code, escape


def leaderboard(groups: Sequence[Group], pictured: Collection[str] = ()) -> str:
    """The text of LEADERBOARD.md. `pictured`: keys of the records that a picture lies beside."""
    lines = ["# Leaderboard", "", "Made by `bench report` from `records/`; docs/statistics.md defines every number."]
    if not groups:
        lines += ["", "No records yet."]
    for group in groups:
        lines += ["", f"## {escape(group.title)}", ""]
        lines += [f"{escape(note)}  " for note in notes(group)]
        lines += ["", *(f"{escape(line)}  " for line in sentences(advise(group)))]
        lines += _pictures(group)
        for table in tables(group, " "):
            lines += ["", *_table(table, group.rows)]
        lines += _samples(group, pictured)
        lines += [f"\n{escape(line)}" for line in failures(group)]
        lines += ["", "Commands, with the keys that `bench show` takes:", ""]
        lines += [f"- {escape(row.label)}: {code(row.command)} ({escape(', '.join(row.keys))})" for row in group.rows]
    for group in side_by_side(groups):
        lines += ["", f"## {escape(group.title)}", *_pictures(group)]
    return "\n".join(lines) + "\n"


def _pictures(group: Group) -> list[str]:
    """The group's plots, where it has them."""
    what = "time" if group.over_time else "level"
    lines = ["", f"![{escape(group.metric)} versus {what}](plots/{group.slug}.png)"] if group.has_curve else []
    lines += ["", f"![which scores can be told apart](plots/{group.ties_slug}.png)"] if group.has_ties else []
    return lines + (["", f"![error versus power](plots/{group.power_slug}.png)"] if group.has_power else [])


def _samples(group: Group, pictured: Collection[str]) -> list[str]:
    """What test samples become on a chip, of each row the first record that has a picture."""
    first = {row.label: next((key for key in row.keys if key in pictured), None) for row in group.rows}
    shown = [f"{escape(label)}: ![{escape(label)}](pictures/{key}.png)" for label, key in first.items() if key]
    what = "times" if group.over_time else "levels"
    return ["", f"Test samples on chip 0 at the {what}:", *(f"\n{line}" for line in shown)] if shown else []


def _table(table: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    heads = [escape(name) for name, _ in table]
    rule = [":--" if name in ("method", "trained on") else "--:" for name, _ in table]
    cells = [[escape(show(row)) for _, show in table] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (heads, rule, *cells)]
