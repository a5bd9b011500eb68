"""What the commands do that compare records and carry them from place to place."""

import re
from pathlib import Path

from rich.console import Console

from bench import interrupt, tabular
from bench.errors import BenchError
from bench.labels import difference, number, p_value, point_label
from bench.store import check_writable


def compare(a: str, b: str, device: str | None, task: str | None, results: Path, out: Path | None) -> None:
    """Show A - B at each level, and draw it."""
    from bench import comparison

    if not (results / "records").is_dir():
        raise BenchError(f"no records in {results}: run `bench run` first, or name another folder with --results")
    if out is not None and out.suffix not in (".png", ".pdf"):
        raise BenchError(f"--out {out}: must end in .png or .pdf")
    found = comparison.compare(a, b, results, device, task)
    interrupt.work_begins()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{a}-{b}").lstrip(".")
    stem = results / "compare" / name if out is None else out.with_suffix("")
    check_writable(stem.parent)
    console = Console()
    for one in found:
        rows = [
            [label, number(p.a), number(p.b), difference(p.difference), f"{p.low:+.2f} to {p.high:+.2f}"]
            + [p_value(p.difference.p)]
            for label, p in [
                *((point_label(one.sweep, point), paired) for point, paired in one.points.items()),
                ("score", one.score),
            ]
        ]
        first = "time" if one.sweep == "time_s" else "level"
        names = [first, a, b, f"{a} - {b}", "bootstrap", "p"]
        tabular.print_table(console, names, rows, keys=(first,), title=one.title)
        seeds = ", ".join(map(str, one.seeds))
        runs = f"up to {one.chips} chips a level, seed {seeds}"
        console.print(
            f"{one.metric} in {one.unit}; {first}: {one.axis}; {runs}; 95% intervals, p by Holm",
            style="dim",
            highlight=False,
            markup=False,
        )
        console.print()
    from bench import plots

    written = plots.save(plots.differences(found, a, b), stem)
    console.print("written: " + ", ".join(map(str, written)), highlight=False, soft_wrap=True, markup=False)
