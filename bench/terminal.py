"""The leaderboard and a record's sweep in the terminal."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import pictures, tabular
from bench.advice import advise, measured_by, sentences, tied
from bench.columns import failures, notes, tables
from bench.cost import NAMES, costs
from bench.frame import measured
from bench.labels import (
    MISSING,
    Record,
    all_settings,
    amount,
    here,
    in_unit,
    network_label,
    number,
    percent,
    plain,
    point_label,
    remake,
    settings_label,
    sweep_label,
    swept,
    time_label,
    trained_elsewhere,
    version_label,
)
from bench.missing import PASSES
from bench.provenance import told
from bench.summary import summary

if TYPE_CHECKING:
    import pandas as pd


def render(records: Sequence[Record], console: Console, results: Path = Path("results")) -> None:
    """Print the leaderboard of the records in `results`."""
    if not records:
        console.print("no records yet; 'bench run' makes one")
    for group in summary(records):
        for table in tables(group, "\n"):
            title = group.title if table[0][0] == "rank" else None
            cells = [[show(row) for _, show in table] for row in group.rows]
            names = [name for name, _ in table]
            tabular.print_table(console, names, cells, keys=("method",), words=("method", "trained on"), title=title)
        for line in (*failures(group), *notes(group)):
            console.print(Text(line, style="dim"))
        for row in group.rows:
            # Unwrapped, so that it can be copied.
            console.print(Text(f"{row.label}: {here(row.command, results)}  ({', '.join(row.keys)})"), soft_wrap=True)
        console.print()


def advice(records: Sequence[Record], console: Console, results: Path = Path("results")) -> None:
    """Print which method to use, table by table of the leaderboard of the records in `results`."""
    if not records:
        console.print("no records yet; 'bench run' makes one", highlight=False)
    for group in summary(records):
        made = advise(group)
        console.print(Text(group.title, style="bold"), soft_wrap=True)
        for line in sentences(made):
            console.print(Text(line), soft_wrap=True)
        if made.choices:
            table = tied(made)
            cells = [[show(row) for _, show in table] for row in made.choices]
            console.print()
            tabular.print_table(console, [name for name, _ in table], cells, keys=("method",), words=("method",))
            console.print(
                Text(f"score: {in_unit(group.metric, group.unit)}, 95% intervals; {measured_by(made)}", style="dim")
            )
        for row in made.choices:
            console.print(Text(f"{row.label}: {here(row.command, results)}"), soft_wrap=True)
        console.print()


def sweep_table(record: Record) -> Table:
    """One record's sweep, a row a level; below it the key that `bench show` takes."""
    sweep, _ = swept(record["evaluation"])
    over_time = sweep == "time_s"
    names = ("time" if over_time else "level", "mean", "± 95%", "std", "p5", "worst", "yield", "chips", "EKL")
    rows = []
    for level in sorted(record["levels"], key=lambda found: found[sweep]):
        m = measured(record, level)
        half = m["ci_high"] - m["mean"]
        values = [m["mean"], half, m["std"], m["p5"], m["worst"]]
        tail = [percent(m["yield"]), str(m["chips"]), number(m["ekl"], 4)]
        rows.append([point_label(sweep, level[sweep]), *map(number, values), *tail])
    e, task = record["evaluation"], record["task"]
    t = e["training"]
    device = e["device"] + settings_label(e) + (sweep_label(e) if over_time else "")
    device += f" (trained on {t['device']})" if trained_elsewhere(e) else ""
    parts = [t["method"], t["task"], device, e["preset"], in_unit(task["metric"], task["unit"])]
    clean = "failed" if record["status"] != "done" else f"clean {number(record['clean'])}"
    title = " · ".join(map(plain, [*parts, clean]))
    (table,) = tabular.tables(names, rows, width=sum(map(len, names)) * 10, title=title)
    table.caption, table.caption_justify = Text(f"key {plain(record['key'])}"), "left"
    return table


def record(made: Record, console: Console, results: Path) -> None:
    """Print one record of `results`: its sweep, its further metrics, and lines on what was trained and tested, what it
    cost, where it is.
    """
    console.print(sweep_table(made))
    _details(made, console)
    _samples(made, console)
    for name, text in _about(made):
        console.print(Text(f"{name:<10} {plain(text)}"))
    drawn = pictures.path(results, made["key"])
    whole = [("pictures", plain(str(drawn)))] if drawn.is_file() else []
    for name, text in [*whole, ("command", here(remake(made), results))]:  # to be copied: never broken
        console.print(Text(f"{name:<10} {text}"), soft_wrap=True)
    console.print(Text("--json has everything"), style="dim")


def _details(made: Record, console: Console) -> None:
    """Print the means over chips of a record's further metrics, if it has any."""
    if not (clean := made.get("clean_details", {})):
        return
    sweep, _ = swept(made["evaluation"])
    rows = [["clean", *(number(value) for value in clean.values())]]
    for level in sorted(made["levels"], key=lambda found: found[sweep]):
        means = (fmean(level["details"][name]) for name in clean)
        rows.append([point_label(sweep, level[sweep]), *map(number, means)])
    first = "time" if sweep == "time_s" else "level"
    tabular.print_table(console, [first, *map(plain, clean)], rows, keys=(first,), title="further metrics, mean")


def _samples(made: Record, console: Console) -> None:
    """Print what test samples were taken for, if the record has any: a column a sample, wrong answers with a cross."""
    if not (found := made.get("samples")):
        return
    sweep, _ = swept(made["evaluation"])
    first = ["given", "wanted", "digital", *(point_label(sweep, level[sweep]) for level in made["levels"])]
    columns = []
    for sample in found:
        answers = zip(sample["answers"], sample["right"], strict=True)
        marked = [plain(answer) if right else f"✗ {plain(answer)}" for answer, right in answers]
        columns.append([plain(sample["given"]), plain(sample["wanted"]), *marked])
    names = ["", *(f"{i}" for i in range(1, len(columns) + 1))]
    rows = [list(row) for row in zip(first, *columns, strict=True)]
    tabular.print_table(console, names, rows, keys=("",), words=names, title="test samples on chip 0")


def _about(made: Record) -> list[tuple[str, str]]:
    """(name, text) of each line about a record."""
    e, cost = made["evaluation"], costs(made)
    t, born = e["training"], made.get("training_environment", made["environment"])
    b, chips = t["budget"], e["chips"]
    uses = "" if t["device"] == "ideal" else f", for {t['device']}{settings_label(t)}{time_label(t['time_s'])}"
    level = f" at level {t['level']:g}" if t["level"] else ""
    settings = ", ".join(f"{k}={v}" for k, v in all_settings(made).items())
    half, most = (chips.get(name) for name in ("half_width", "maximum"))
    many = f"{chips['minimum']}" if half is None else f"{chips['minimum']} to {amount(most)}"
    until = "" if half is None else in_unit(f", until ± {half:g}", made["task"]["unit"], "{} {}")
    samples = "all" if e["test_samples"] is None else f"{e['test_samples']:,}"
    tested = f"{e['device']}{version_label(e['device_version'])}{settings_label(e)}{sweep_label(e)}"
    noisy = f" and {amount(b['finetune_epochs'])} with noise" if b.get("finetune_epochs") else ""
    seconds = made.get("sweep_seconds")
    budget = f"{amount(b.get('epochs'))} epochs{noisy}, batch {amount(b.get('batch_size'))}"
    lines = [
        ("data", f"{made['task']['dataset']}{', ' + told(made['data']) if 'data' in made else ''}"),
        ("network", f"{network_label(t)}, {t['task']}{version_label(t['task_version'])}, seed {t['seed']}"),
        ("trained", f"{t['method']}{uses}{level}; {budget}, {t['precision']}"),
        ("settings", settings or "none but defaults"),
        ("tested", f"{tested}; {samples} test samples, {many} chips a point{until}, where chips can differ"),
        ("cost", f"own training: {_spent(cost, '')}"),
        ("", f"with the runs that it rests on: {_spent(cost, 'total_')}"),
        ("", f"tuning: {amount(cost['trials'])} trials; sweep {MISSING if seconds is None else f'{seconds:,.0f}'} s"),
        ("made", f"{made['environment'].get('created', '')}, commit {born.get('commit', '')}"),
        ("machine", str(made["environment"].get("hardware", ""))),
        ("keys", f"record {made['key']}, training {made['training_key']} (`bench validate` takes either)"),
    ]
    if cost["total_passes"] is None:
        lines.insert(-3, ("", f"passes: none, {PASSES.why}; the command with --force {PASSES.how}"))
    if when := born.get("imported"):
        lines.insert(-2, ("imported", f"the network, on {when}; `bench verify {made['key']} --retrain` trains it here"))
    sweep, _ = swept(e)
    powers = [(level[sweep], level["read_power_w"]) for level in made["levels"] if level.get("read_power_w")]
    if powers:
        shown = ", ".join(f"{1e3 * power_w:.3g} at {point_label(sweep, point)}" for point, power_w in powers)
        lines.insert(5, ("power", f"mW of the cells while they are read: {shown}"))
    if made["status"] != "done":
        lines.insert(0, ("failed", made["error"]))
    return lines


def _spent(cost: Mapping[str, float | None], of: str) -> str:
    """'3 epochs, 142,464 samples, ...': what is known of a run's own cost, or with `of` 'total_' of all together."""
    units = [(name, name.replace("_", " ") if name != "seconds" else "s") for name in NAMES]
    return ", ".join(f"{amount(cost[of + name])} {unit}" for name, unit in units if cost[of + name] is not None)


def frame(shown: "pd.DataFrame", title: str, keys: Sequence[str] = (), digits: int = 4) -> None:
    """Print a frame, numbers with so many significant digits, in parts where the terminal is narrow.

    `keys`: columns that each part begins with. A number that is nothing beside the greatest of its column is 0.
    """
    columns = []
    for name in shown.columns:
        values = list(shown[name])
        scale = max((abs(v) for v in values if isinstance(v, float) and math.isfinite(v)), default=0.0)
        columns.append([tabular.significant(v, scale, digits) if isinstance(v, float) else str(v) for v in values])
    console = Console()
    console.print(Text(title))  # Text, since a [ in a source is no markup
    rows = list(zip(*columns, strict=True))
    tabular.print_table(console, list(map(str, shown.columns)), rows, keys=keys)
