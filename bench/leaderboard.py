"""Tables of records: terminal, Markdown, CSV. The same records give the same bytes."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bench import stats
from bench.errors import BenchError
from bench.files import write_text, write_with
from bench.labels import MISSING, Record, code, escape, number, percent, plain, spread
from bench.store import read_record
from bench.summary import COSTS, Group, Row, level_interval, order, summary

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

# fmt: off
COLUMNS = (
    "task", "dataset", "model", "width", "device", "method", "train_device", "train_level", "settings", "preset",
    "seed", "level", "metric", "mean", "ci_low", "ci_high", "std", "p5", "worst", "yield", "chips", "key",
    # Beyond the columns that were agreed on, after them.
    "status", "unit", "clean", "ekl", "time_s", "test_samples", "tail_chips", "task_version", "device_version",
    "method_version", "training_key", "precision", "recipe", "budget",
)
# fmt: on
STATED = "95% intervals; Holm-corrected paired differences of the score; methods that they can't separate share a rank"


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
    list(_csv_rows(record))
    summary([record])


def table(records: Sequence[Record]) -> "pd.DataFrame":
    """One row per cell and level; a failed cell has its levels too, with nothing measured."""
    import pandas as pd

    rows = [row for record in sorted(records, key=order) for row in _csv_rows(record)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _csv_rows(record: Record) -> Iterator[dict[str, Any]]:
    e, task, t = record["evaluation"], record["task"], record["evaluation"]["training"]
    common = {
        "task": t["task"],
        "dataset": task["dataset"],
        "model": t["network"],
        "width": t["width"],
        "device": e["device"],
        "method": t["method"],
        "train_device": t["device"],
        "train_level": t["level"],
        "settings": json.dumps(t["settings"], sort_keys=True),
        "preset": e["preset"],
        "seed": t["seed"],
        "metric": task["metric"],
        "key": record["key"],
        "status": record["status"],
        "unit": task["unit"],
        "clean": record["clean"],
        "time_s": e["time_s"],
        "test_samples": e["test_samples"],
        "task_version": t["task_version"],
        "device_version": e["device_version"],
        "method_version": t["method_version"],
        "training_key": record["training_key"],
        "precision": t["precision"],
        "recipe": t.get("recipe"),
        "budget": json.dumps(t["budget"], sort_keys=True),
    }
    measured = {level["level"]: level for level in record["levels"]}
    for level in sorted({*measured, *e["levels"]}):
        found = measured.get(level)
        yield common | {"level": level} | ({"chips": 0} if found is None else _measured(record, found))


def _measured(record: Record, level: Record) -> dict[str, Any]:
    """All statistics of one level of one record."""
    higher, chips, first = record["task"]["higher_is_better"], level["chips"], level["first_stage"]
    mean, low, high = level_interval(record, level)
    whole = level.get("samples") is None  # else a chip's value also spreads by the luck of its samples
    return {
        "mean": mean,
        "ci_low": low,
        "ci_high": high,
        "std": _std(chips),
        "p5": stats.fifth_percentile(chips[:first], higher) if whole else None,
        "worst": stats.worst(chips[:first], higher) if whole else None,
        "yield": stats.yield_share(chips, record["clean"], stats.YIELD_LOSS, higher) if whole else None,
        "chips": len(chips),
        "ekl": level.get("ekl"),
        "tail_chips": min(first, len(chips)),
    }


def _std(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for the one chip of a level without randomness."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))


def _rank(row: Row) -> str:
    if row.rank is None:
        return "failed" if not row.seeds else MISSING
    return f"{row.rank}{'=' if row.tied else ''}{'†' if row.conditional else ''}"


Column = tuple[str, Callable[[Row], str]]


def _columns(group: Group, joint: str) -> list[list[Column]]:
    """The group's tables, each narrow enough for a terminal: scores, tails, cost."""

    def at(level: float) -> Column:
        return f"{level:g}", lambda r: spread(r.levels.get(level), joint)

    def cost(name: str) -> Column:
        return name.replace("_", joint), lambda r: f"{r.cost[name]:,.0f}" if r.cost else MISSING

    top = f"{joint}at {group.scored[-1]:g}"
    method: Column = ("method", lambda r: r.label)
    scores: list[Column] = [
        ("rank", _rank),
        method,
        ("score", lambda r: spread(r.score, joint)),
        ("clean", lambda r: number(r.clean)),
        *map(at, group.levels),
    ]
    tails: list[Column] = [
        method,
        ("trained on", lambda r: r.trained_on),
        ("seeds", lambda r: ",".join(map(str, r.seeds)) or MISSING),
        ("chips", lambda r: "-".join(map(str, sorted(set(r.chips)))) if r.chips else MISSING),
        (f"p5{top}", lambda r: number(r.p5)),
        (f"worst{top}", lambda r: number(r.worst)),
        (f"yield{top}", lambda r: percent(r.yield_share)),
        (f"EKL{top}", lambda r: number(r.ekl, 4)),
    ]
    return [scores, tails, [method, *map(cost, COSTS)]]


def _notes(group: Group) -> list[str]:
    better = "higher" if group.higher_is_better else "lower"
    levels = ", ".join(f"{level:g}" for level in group.scored)
    loss_unit = "points" if group.unit == "%" else group.unit
    notes = [
        f"{group.metric} in {group.unit}, {better} is better; score: mean over {group.axis} at {levels}; {STATED}.",
        f"p5 and worst: of the first {group.tail_chips} chips; yield: chips at most {stats.YIELD_LOSS:g} {loss_unit} "
        "worse than the method's clean digital network.",
    ]
    conditional = sorted({seed for row in group.rows if row.conditional for seed in row.seeds})
    if conditional:
        seeds = f"seed {conditional[0]}" if len(conditional) == 1 else "the one seed that two methods share"
        notes.append(f"† conditional on {seeds}: training luck is not in the interval.")
    return notes


def _failures(group: Group) -> list[str]:
    return [f"{row.label}, seed {seed}: failed: {error}" for row in group.rows for seed, error in row.failed]


def _rich(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str]) -> "Table":
    """`words`: columns that are text, to the left, folded at blanks; numbers go to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(title) if title else None
    result = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    for i, name in enumerate(columns):
        if name in words:
            longest = max((len(word) for row in rows for word in row[i].split()), default=1)
            result.add_column(Text(name), overflow="fold", min_width=min(longest, 24))
        else:
            # Where a number doesn't fit, three dots say so.
            result.add_column(Text(name), justify="right", overflow="ellipsis", no_wrap=True)
    for row in rows:
        result.add_row(*(Text(cell) for cell in row))
    return result


def render(records: Sequence[Record], console: "Console") -> None:
    """Print the leaderboard."""
    from rich.text import Text

    if not records:
        console.print("no records yet; 'bench run' makes one")
    for group in summary(records):
        for columns in _columns(group, "\n"):
            title = group.title if columns[0][0] == "rank" else None
            cells = [[show(row) for _, show in columns] for row in group.rows]
            console.print(_rich(title, [name for name, _ in columns], cells, ("method", "trained on")))
        for line in (*_failures(group), *_notes(group)):
            console.print(Text(line, style="dim"))
        for row in group.rows:
            # Unwrapped, so that it can be copied.
            console.print(Text(f"{row.label}: {row.command}"), soft_wrap=True)
        console.print()


def sweep_table(record: Record) -> "Table":
    """One record's sweep, a row a level."""
    names = ("level", "mean", "± 95%", "std", "p5", "worst", "yield", "chips", "EKL")
    rows = []
    for level in sorted(record["levels"], key=lambda found: found["level"]):
        m = _measured(record, level)
        half = m["ci_high"] - m["mean"]
        values = [m["mean"], half, m["std"], m["p5"], m["worst"]]
        tail = [percent(m["yield"]), str(m["chips"]), number(m["ekl"], 4)]
        rows.append([f"{level['level']:g}", *map(number, values), *tail])
    e, task = record["evaluation"], record["task"]
    t = e["training"]
    parts = [t["method"], t["task"], e["device"], e["preset"], f"{task['metric']} in {task['unit']}"]
    clean = "failed" if record["status"] != "done" else f"clean {number(record['clean'])}"
    return _rich(" · ".join(map(plain, [*parts, clean])), names, rows, ())


def markdown(records: Sequence[Record]) -> str:
    """LEADERBOARD.md."""
    lines = ["# Leaderboard", "", "Made by `bench report` from `records/`; docs/statistics.md defines every number."]
    if not records:
        lines += ["", "No records yet."]
    for group in summary(records):
        lines += ["", f"## {escape(group.title)}", ""]
        lines += [f"{escape(note)}  " for note in _notes(group)]
        if any(row.levels for row in group.rows):
            lines += ["", f"![{escape(group.metric)} versus level](plots/{group.slug}.png)"]
        for columns in _columns(group, " "):
            lines += ["", *_markdown_table(columns, group.rows)]
        lines += [f"\n{escape(line)}" for line in _failures(group)]
        lines += ["", "Commands:", "", *(f"- {escape(row.label)}: {code(row.command)}" for row in group.rows)]
    return "\n".join(lines) + "\n"


def _markdown_table(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    heads = [escape(name) for name, _ in columns]
    rule = [":--" if name in ("method", "trained on") else "--:" for name, _ in columns]
    cells = [[escape(show(row)) for _, show in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (heads, rule, *cells)]


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


def write(results_dir: Path, records: Sequence[Record] | None = None) -> list[Path]:
    """Write LEADERBOARD.md, PUBLISHED.md, leaderboard.csv and the plots; return their paths. BenchError if it can't.

    `records`: those of `load`, which is called if they are left out.
    """
    from bench import published
    from bench.plots import metric_versus_level, save

    if records is None:
        records, _ = load(results_dir)
    board, csv = results_dir / "LEADERBOARD.md", results_dir / "leaderboard.csv"
    frame = table(records)
    written = [board, csv, results_dir / "PUBLISHED.md"]
    try:
        write_text(board, markdown(records))
        write_text(results_dir / "PUBLISHED.md", published.markdown(records))
        write_with(csv, lambda path: frame.to_csv(path, index=False, float_format="%.8g", lineterminator="\n"))
        for group in summary(records):
            if any(row.levels for row in group.rows):
                written += save(metric_versus_level(group), results_dir / "plots" / group.slug)
    except OSError as error:
        raise BenchError(f"can't write to {results_dir}: {error.strerror or error}; choose another folder") from None
    return written
