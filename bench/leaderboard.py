"""The files made from all records: tables, the page, plots. The same records give the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import frame, latex, markdown, pictures, published
from bench.errors import BenchError
from bench.files import lock, write_text, write_with
from bench.groups import Group, side_by_side
from bench.labels import Record
from bench.page import render
from bench.store import Records
from bench.summary import summary


def remake(results_dir: Path) -> tuple[list[dict[str, Any]], list[str], list[Path]]:
    """Load all records, write all tables and plots; (records, warnings, files written). BenchError if it can't.

    One process at a time, so that a slow one does not write over a newer table.
    """
    try:
        with lock(results_dir / ".leaderboard.lock"):
            records, warnings = Records(results_dir).load_all()
            return records, warnings, write(results_dir, records)
    except OSError as error:
        raise BenchError(f"can't write to {results_dir}: {error.strerror or error}; choose another folder") from None


def write(results_dir: Path, records: Sequence[Record]) -> list[Path]:
    """Write the tables, the page and the plots; return their paths. OSError if it can't."""
    groups = summary(records)
    return [*write_tables(results_dir, records, groups), *_write_plots(results_dir, groups)]


def write_tables(results_dir: Path, records: Sequence[Record], groups: Sequence[Group]) -> list[Path]:
    """Write LEADERBOARD.md, PUBLISHED.md, leaderboard.csv, leaderboard.tex and report.html, with the pictures that lie
    in `results_dir`; return their paths. OSError if it can't. `groups`: the summary of `records`.
    """
    names = ("LEADERBOARD.md", "leaderboard.csv", "PUBLISHED.md", "leaderboard.tex", "report.html")
    board, csv, papers, tex, page = paths = [results_dir / name for name in names]
    table = frame.table(records)
    pictured = {path.stem for path in pictures.folder(results_dir).glob("*.png")}
    write_text(board, markdown.leaderboard(groups, pictured))
    write_text(papers, published.markdown(records))
    write_with(csv, lambda path: table.to_csv(path, index=False, float_format="%.8g", lineterminator="\n"))
    write_text(tex, latex.leaderboard(groups))
    write_text(page, render.page(records, groups, results_dir / "pictures"))
    return paths


def _write_plots(results_dir: Path, groups: Sequence[Group]) -> list[Path]:
    from bench.plots import metric_over_sweep, save  # slow to import
    from bench.power_plots import error_over_power
    from bench.score_plots import ties

    written: list[Path] = []
    for group in (*groups, *side_by_side(groups)):
        if group.has_curve:
            written += save(metric_over_sweep(group), results_dir / "plots" / group.slug)
        if group.has_power:
            written += save(error_over_power(group), results_dir / "plots" / group.power_slug)
        if group.has_ties:
            written += save(ties(group), results_dir / "plots" / group.ties_slug)
    return written
