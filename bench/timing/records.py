"""How long it takes to load many records and make a leaderboard of them, and how much memory:

    python -m bench.timing.records [10000] [--results results]

Records are copies of those in `results` with seeds and keys of their own, so that every table has as many methods as
it has there, each of many seeds. Timed is, in a process of its own: load and check every record, group, rank with
intervals and ties, and write LEADERBOARD.md; and apart from that leaderboard.csv. Left out: page, LaTeX and plots.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bench.keys import key_of
from bench.store import Records

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
import pandas
from bench import frame, markdown
from bench.files import write_text, write_with
from bench.store import Records
from bench.summary import summary

def pace():  # how fast this core is just now
    began, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return time.process_time() - began

def memory_mib():  # of this process alone: what it may have got from the one that started it is not counted
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

results, paces, times = Path(sys.argv[1]), [pace()], [time.process_time()]
records, warnings = Records(results).load_all()
times.append(time.process_time())
write_text(results / "LEADERBOARD.md", markdown.leaderboard(summary(records)))
times.append(time.process_time())
table = frame.table(records)
write_with(results / "leaderboard.csv", lambda path: table.to_csv(path, index=False))
times.append(time.process_time())
paces.append(pace())
print(json.dumps({
    "records": len(records), "warnings": len(warnings), "load_s": times[1] - times[0],
    "leaderboard_s": times[2] - times[1], "csv_s": times[3] - times[2], "pace_s": sum(paces) / 2,
    "memory_mib": memory_mib(),
}))
"""


class Found(NamedTuple):
    """Seconds of one core, and the most memory that the process held. `pace_s`: a million additions meanwhile."""

    records: int
    warnings: int
    load_s: float
    leaderboard_s: float
    csv_s: float
    pace_s: float
    memory_mib: float


def multiply(results: Path, wanted: int, into: Path) -> None:
    """Write `wanted` records made of those in `results`: each again and again, with other seeds and keys."""
    originals, _ = Records(results).load_all()
    originals = [record for record in originals if record["status"] == "done"]
    store = Records(into)
    for number in range(wanted):
        turn, which = divmod(number, len(originals))
        store.save(_copy(originals[which], turn))


def _copy(record: dict[str, Any], turn: int) -> dict[str, Any]:
    made = json.loads(json.dumps(record))
    made["evaluation"]["training"]["seed"] += 1000 * turn
    made["key"] = key_of(made["evaluation"])
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
        f"{found.records:,} records: load {found.load_s:.1f} s, leaderboard {found.leaderboard_s:.1f} s, csv "
        f"{found.csv_s:.1f} s of one core, on which a million additions took {found.pace_s:.3f} s; "
        f"{found.memory_mib:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
