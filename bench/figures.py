"""How every figure looks and is written: one style, no pyplot state, no dates in the files: same bytes each time."""

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
