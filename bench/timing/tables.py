"""What `bench speed` measured, as tables for a terminal and for a file."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.table import Table

from bench.labels import MISSING
from bench.timing.profile import PRODUCTS

# Kind of figure -> (title, forward passes that its work is worth)
KINDS = {
    "train_img_s": ("training, images a second", 3),
    "sweep_img_chips_s": ("sweep, images x chips a second", 1),
}
SHARES = "where the time goes, ours"


def terminal(figures: dict[str, Any]) -> Group:
    """The figures for a terminal."""
    parts: list[Any] = []
    for kind, (title, _) in KINDS.items():
        shown = Table(title=title, title_justify="left")
        for i, column in enumerate(_columns(figures)):
            shown.add_column(column, justify="left" if i < 2 else "right")
        for rows in _networks(figures, kind):
            for row in rows:
                shown.add_row(*row)
            shown.add_section()
        parts.append(shown)
    columns, rows = _time_shares(figures)
    shown = Table(*columns, title=SHARES, title_justify="left")
    for row in rows:
        shown.add_row(*row)
    parts.append(shown)
    if "step_costs" in figures:
        title, columns, rows = _step_costs(figures["step_costs"])
        shown = Table(title=title, title_justify="left")
        for i, column in enumerate(columns):
            shown.add_column(column, justify="right" if i in (1, 2) else "left")
        for row in rows:
            shown.add_row(*row)
        parts.append(shown)
    return Group(*parts, *_sentences(figures))


def markdown(figures: dict[str, Any]) -> str:
    """The same as a Markdown file."""
    lines = [
        "# Speed",
        "",
        f"Made by `bench speed` on {figures['created'][:10]}; docs/performance.md says what is what.",
    ]
    for kind, (title, _) in KINDS.items():
        columns = _columns(figures)
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", f"| {' | '.join(columns)} |", "|:--|:--|--:|--:|--:|"]
        lines += [f"| {' | '.join(row)} |" for rows in _networks(figures, kind) for row in rows]
    columns, shares = _time_shares(figures)
    lines += ["", f"## {SHARES[0].upper()}{SHARES[1:]}", "", f"| {' | '.join(columns)} |", "|:--" * len(columns) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in shares]
    if "step_costs" in figures:
        title, columns, costs = _step_costs(figures["step_costs"])
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", f"| {' | '.join(columns)} |", "|:--|--:|--:|:--|"]
        lines += [f"| {' | '.join(row)} |" for row in costs]
    return "\n".join([*lines, "", "## Beside them", "", *(f"- {text}" for text in _sentences(figures))]) + "\n"


def _columns(figures: dict[str, Any]) -> list[str]:
    return ["network", "contender", "rate", "of ours", f"of the {figures['precision']} ceiling"]


def _networks(figures: dict[str, Any], kind: str) -> Iterator[list[list[str]]]:
    """The rows of each network: its contenders, each against ours and against the machine."""
    ceiling_gflops, passes = figures["ceiling_gflops"][figures["precision"]], KINDS[kind][1]
    for network in figures["networks"]:
        own = network[kind].get("ours", network[kind].get("nominal"))
        rows = []
        for name, rate in network[kind].items():
            share = rate * passes * network["forward_mflop"] / 1000 / ceiling_gflops
            title = f"{network['network']} x{network['width']:g}"
            rows.append([title, name, f"{rate:,.0f}", f"{rate / own:.2f}", f"{100 * share:.0f}%"])
        yield rows


def _time_shares(figures: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(columns, rows): how a sweep and a step divide their time, and how fast their products are while they run."""
    precision, kinds = figures["precision"], list(figures["networks"][0]["time_shares"]["sweep"])
    rows = []
    for network in figures["networks"]:
        rates = {
            "noise_injection step": 3 * network["train_img_s"]["noise_injection"],
            "sweep": network["sweep_img_chips_s"]["ours"],
        }
        for work, shares in network["time_shares"].items():
            whole = rates[work] * network["forward_mflop"] / 1000 / figures["ceiling_gflops"][precision]
            percents = [f"{100 * shares[kind]:.0f}%" for kind in kinds]
            title = f"{network['network']} x{network['width']:g}"
            rows.append([title, work, *percents, f"{100 * whole / shares[PRODUCTS]:.0f}%"])
    return ["network", "work", *kinds, f"products while they run, of the {precision} ceiling"], rows


def _step_costs(costs: dict[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    """(title, columns, rows): a training step of each method, cheapest first, then those that have none."""
    title = f"a training step of each method: {costs['network']} x{costs['width']:g}, batch {costs['batch_size']}"
    known = sorted(costs["methods"].items(), key=lambda item: item[1]["x_nominal"])
    rows = [[name, f"{c['step_ms']:,.1f}", f"{c['x_nominal']:.2f}", c["beside"]] for name, c in known]
    rows += [[name, MISSING, MISSING, reason] for name, reason in costs["without_steps"].items()]
    return title, ["method", "ms a step", "x nominal", ""], rows


def _sentences(figures: dict[str, Any]) -> list[str]:
    """Everything that is no rate."""
    chosen, grown = figures["decision"], figures["growth"]
    said = [
        f"to rank three networks at {len(chosen['levels'])} levels: {chosen['ours_s']:.1f} s, "
        f"{chosen['ours_image_chips']:,} images x chips; {chosen['plain_chips']} independent chips of each on all "
        f"images: {chosen['plain_s']:.0f} s, {chosen['plain_image_chips']:,}, "
        f"{chosen['fewer_image_chips']:.0f} times as many"
    ]
    said += [f"seconds against {name}: a straight line with R2 = {line['r2']:.4f}" for name, line in grown.items()]
    n, memory = grown["chips"]["n"], grown["chips"]["peak_memory_mib"]
    said.append(
        f"peak memory: {memory[0]} MiB at {n[0]} chips, {memory[-1]} MiB at {n[-1]}; "
        f"{figures['peak_memory_mib']} MiB in all"
    )
    if figures["convolutions"]:
        small = (
            f"{row['channels']} channels, {row['map']} x {row['map']}: {row['conv2d_ms'] / row['matmul_ms']:.1f}x"
            for row in figures["convolutions"]
        )
        said.append("3x3 convolution as matrix product against conv2d: " + "; ".join(small))
    said += [f"not measured: {name} ({reason})" for name, reason in figures["missing"].items()]
    ceilings = ", ".join(f"{name} {value:,.0f}" for name, value in figures["ceiling_gflops"].items())
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    return [*said, f"{figures['hardware']}; {versions}; GFLOP/s of a matrix product: {ceilings}"]
