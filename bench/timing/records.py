"""How long it takes to load many records and make a leaderboard of them, and how much memory:

    python -m bench.timing.records [10000] [--results results]

Records are copies of those in `results` with seeds and keys of their own, so that every table has as many methods as
it has there, each of many seeds. Timed is, in a process of its own: load and check every record, group, rank with
intervals and ties, and write LEADERBOARD.md and leaderboard.csv. Left out: page, LaTeX and plots.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bench.store import Records

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
began, cpu = time.perf_counter(), time.process_time()
from bench import frame, markdown
from bench.files import write_text, write_with
from bench.store import Records
from bench.summary import summary
imported = time.perf_counter()
results = Path(sys.argv[1])
records, warnings = Records(results).load_all()
loaded = time.perf_counter()
groups, table = summary(records), frame.table(records)
write_text(results / "LEADERBOARD.md", markdown.leaderboard(groups))
write_with(results / "leaderboard.csv", lambda path: table.to_csv(path, index=False))
done = time.perf_counter()
print(json.dumps({
    "records": len(records), "warnings": len(warnings), "import_s": imported - began, "load_s": loaded - imported,
    "leaderboard_s": done - loaded, "cpu_s": time.process_time() - cpu,
    "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


class Found(NamedTuple):
    """Seconds of the clock, seconds of the processor in all, and the most memory that the process held."""

    records: int
    warnings: int
    import_s: float
    load_s: float
    leaderboard_s: float
    cpu_s: float
    memory_mib: float


def multiply(results: Path, wanted: int, into: Path) -> None:
    """Write `wanted` records made of those in `results`: each again and again, with other seeds and keys."""
    originals, _ = Records(results).load_all()
    originals = [record for record in originals if record["status"] == "done"]
    store = Records(into)
    for number in range(wanted):
        turn, which = divmod(number, len(originals))
        store.save(_copy(originals[which], turn, f"{number:016x}"))


def _copy(record: dict[str, Any], turn: int, key: str) -> dict[str, Any]:
    made = json.loads(json.dumps(record)) | {"key": key}
    made["evaluation"]["training"]["seed"] += 1000 * turn
    for level in made["levels"]:  # other numbers, so that nothing is found twice
        level["chips"] = [chip + 0.001 * turn for chip in level["chips"]]
    return made


def measure(results: Path) -> Found:
    """Load and make the leaderboard of `results` in a process of its own."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(results)], capture_output=True, text=True, check=True)
    return Found(**json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=10_000)
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-records-") as name:
        multiply(given.results, given.records, Path(name))
        found = measure(Path(name))
    print(
        f"{found.records:,} records: imports {found.import_s:.1f} s, load {found.load_s:.1f} s, leaderboard "
        f"{found.leaderboard_s:.1f} s, {found.cpu_s:.1f} s of one core in all; {found.memory_mib:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
