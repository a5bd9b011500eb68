"""The files made from all records: LEADERBOARD.md, PUBLISHED.md, CSV, plots. The same records give the same bytes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench import frame, markdown, published
from bench.errors import BenchError
from bench.files import write_text, write_with
from bench.labels import Record, plain
from bench.store import read_record
from bench.summary import summary


def load(results_dir: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """(records, one-line warnings) of `<results_dir>/records`. A record that can't be used is a warning."""
    records, warnings = [], []
    for path in sorted((results_dir / "records").glob("*.json")):
        # A dot file is one that is being written.
        if path.name.startswith("."):
            continue
        try:
            record = read_record(path)
            _check(record)
            records.append(record)
        except BenchError as error:
            warnings.append(plain(error))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            warnings.append(plain(f"record {path} is broken ({reason}); delete it and run the cell again"))
    return records, warnings


def _check(record: Record) -> None:
    """Raise unless every table can be made with the record: better here, with a file to name, than there."""
    numbers = [record["evaluation"]["training"]["level"], record["evaluation"]["training"]["width"]]
    if record["status"] not in ("done", "failed"):
        raise ValueError(f"status {record['status']!r}")
    if record["status"] == "done":
        numbers += [record["clean"], *(v for level in record["levels"] for v in level["chips"])]
        if len({level["level"] for level in record["levels"]}) != len(record["levels"]) or not record["levels"]:
            raise ValueError("levels missing or double")
    if any(isinstance(v, bool) or not math.isfinite(v) for v in numbers):
        raise ValueError("a number that is not finite")
    list(frame.rows(record))
    summary([record])


def remake(results_dir: Path) -> tuple[list[dict[str, Any]], list[str], list[Path]]:
    """Load all records, write all tables and plots; (records, warnings, files written). BenchError if it can't.

    One process at a time, so that a slow one does not write over a newer table.
    """
    try:
        with FileLock(results_dir / ".leaderboard.lock"):
            records, warnings = load(results_dir)
            return records, warnings, write(results_dir, records)
    except OSError as error:
        raise BenchError(f"can't write to {results_dir}: {error.strerror or error}; choose another folder") from None


def write(results_dir: Path, records: Sequence[Record]) -> list[Path]:
    """Write LEADERBOARD.md, PUBLISHED.md, leaderboard.csv and the plots; return their paths. OSError if it can't."""
    from bench.plots import metric_versus_level, save  # slow to import

    board, csv, papers = (results_dir / name for name in ("LEADERBOARD.md", "leaderboard.csv", "PUBLISHED.md"))
    table = frame.table(records)
    write_text(board, markdown.leaderboard(records))
    write_text(papers, published.markdown(records))
    write_with(csv, lambda path: table.to_csv(path, index=False, float_format="%.8g", lineterminator="\n"))
    written = [board, csv, papers]
    for group in summary(records):
        if any(row.levels for row in group.rows):
            written += save(metric_versus_level(group), results_dir / "plots" / group.slug)
    return written
