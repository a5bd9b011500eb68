"""leaderboard.tex: a booktabs table a group, to be \\input into a paper."""

import re
from collections.abc import Sequence

from bench import columns
from bench.groups import Group, Row
from bench.labels import MISSING, in_unit, number, p_value, percent, plain, point_label, spread

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "†": r"\textdagger{}",
    "·": r"\textperiodcentered{}",
    "—": "--",
    "σ": r"$\sigma$",
    "µ": r"\textmu{}",
}
LEADING, TRAILING = ("", "method", "score", "to best", "p", "clean"), ("p5", "yield")


def leaderboard(groups: Sequence[Group]) -> str:
    """The text of leaderboard.tex."""
    lines = [
        "% Made by `bench report`. In the preamble: \\usepackage{booktabs,graphicx} and \\usepackage[T1]{fontenc}.",
        "% A table a group, made smaller where it is wider than a line; intervals of levels are in leaderboard.csv.",
    ]
    for group in groups:
        lines += ["", *_table(group)]
    return "\n".join(lines) + "\n"


def _table(group: Group) -> list[str]:
    heads, cells = _columns(group)
    across = len(group.points)
    over = f"\\multicolumn{{{across}}}{{c}}{{{escape(group.axis)}}}"
    above = " & ".join([*[""] * len(LEADING), over, *[""] * len(TRAILING)])
    first = len(LEADING) + 1
    return [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_caption(group)}}}",
        rf"\label{{tab:{_label(group)}}}",
        rf"\sbox0{{\begin{{tabular}}{{@{{}}rl{'r' * (len(heads) - 2)}@{{}}}}",
        r"\toprule",
        f"{above} \\\\",
        rf"\cmidrule(lr){{{first}-{first + across - 1}}}",
        " & ".join(heads) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in cells),
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        r"\end{table}",
    ]


def _columns(group: Group) -> tuple[list[str], list[list[str]]]:
    """Heads and cells, escaped."""
    heads = [*LEADING, *(point_label(group.sweep, point) for point in group.points), *TRAILING]
    return [escape(head) for head in heads], [[_signed(cell) for cell in _cells(row, group)] for row in group.rows]


def _signed(cell: str) -> str:
    """A minus, not a hyphen, before a number."""
    text = escape(cell)
    return f"$-${text[1:]}" if re.match(r"-[\d.]", text) else text


def _cells(row: Row, group: Group) -> list[str]:
    found = [row.points.get(point) for point in group.points]
    return [
        columns.rank(row),
        row.label,
        spread(row.score),
        columns.to_best(row),
        p_value(None if row.to_best is None else row.to_best.p),
        number(row.clean),
        *(MISSING if at is None else number(at.mean) for at in found),
        number(row.p5),
        percent(row.yield_share),
    ]


def _caption(group: Group) -> str:
    """What is compared, on how many chips and seeds; the leaderboard's notes that a table in a paper needs."""
    top = point_label(group.sweep, group.points[-1])
    tail = "chip" if group.tail_chips == 1 else f"{group.tail_chips} chips"
    better = "higher" if group.higher_is_better else "lower"
    loss = group.difference(f"{group.yield_loss:g}")
    swept = "times" if group.over_time else "levels"
    said = [
        f"{group.title}: {in_unit(group.metric, group.unit)}, {better} is better.",
        f"Mean over {counts(group)}; score: mean over the {swept} ({columns.STATED}).",
        f"p5 (of the first {tail}) and yield (at most {loss} worse than clean) at {top}.",
    ]
    if any(row.conditional for row in group.rows):
        said.append("†: a rank or difference that rests on one training seed.")
    return escape(" ".join(said))


def counts(group: Group) -> str:
    """'n = 10-20 chips a level and 1 training seed'."""
    chips = sorted({n for row in group.rows for n in row.chips or ()})
    seeds = sorted({len(row.seeds) for row in group.rows if row.seeds})
    if not chips:
        return "no chips"
    spans = [f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}" for numbers in (chips, seeds)]
    return f"n = {spans[0]} chips a level and {spans[1]} training seed{'' if seeds == [1] else 's'}"


def _label(group: Group) -> str:
    return group.slug.replace("_", "-")


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; letters beyond Latin that no font is sure to have become a question mark."""
    return "".join(SPECIAL.get(c, c if ord(c) < 0x250 else "?") for c in plain(text))
