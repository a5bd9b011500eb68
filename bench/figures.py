"""How every figure looks and is written: one style, no pyplot state, no dates in the files: same bytes each time."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.files import write_with
from bench.labels import short

# One style for every figure: seaborn's for papers, with room for long names. Text stays text in a PDF.
STYLE: Any = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper", font_scale=1.1),
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "pdf.fonttype": 42,
}
# By suffix, what savefig must not write: when, and with which version.
UNDATED: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None},
}


def canvas(width: float = 6.0, height: float = 3.5) -> tuple[Figure, Axes]:
    """A figure of this size in inches, and its axes; call it, and draw, within mpl.rc_context(STYLE)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def caption(figure: Figure, text: str) -> None:
    """What a figure's numbers are, small, below its axes; lines are kept."""
    said = "\n".join(literal(line) for line in text.split("\n"))
    figure.supxlabel(said, fontsize=7, color="0.35", x=0.01, ha="left")


def size_text(chips: Iterable[int], seeds: Iterable[Collection[int]]) -> str:
    """'n = 10-20 chips, seed 0', or '2-3 seeds'; `chips`: numbers of them, `seeds`: those of each mean."""
    numbers, each = sorted(set(chips)), {tuple(sorted(some)) for some in seeds}
    span = "-".join(map(str, dict.fromkeys([*numbers[:1], *numbers[-1:]]))) or "0"
    counts = sorted({len(some) for some in each})
    if counts == [1] and len(each) == 1:
        stated = f"seed {next(iter(each))[0]}"
    else:
        stated = f"{'-'.join(map(str, counts))} seed{'' if counts == [1] else 's'}"
    return f"n = {span} chip{'' if span == '1' else 's'}, {stated}"


def literal(text: str) -> str:
    """A dollar sign in a name is not mathematics; and no name is longer than a figure has room for."""
    return short(text).replace("$", r"\$")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.png (200 dpi) and <stem>.pdf."""
    paths = []
    for suffix in (".png", ".pdf"):
        # Not with_suffix: a width of 0.5 has a dot in the stem.
        path = stem.with_name(stem.name + suffix)
        with mpl.rc_context(STYLE):
            write_with(path, lambda temporary: figure.savefig(temporary, dpi=200, metadata=UNDATED[suffix]))  # noqa: B023
        paths.append(path)
    return paths
