"""What `bench speed` measured, as tables for a terminal and for a file."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.table import Table

from bench.labels import MISSING

# Kind of figure -> (title, forward passes that its work is worth)
KINDS = {
    "train_img_s": ("training, images a second", 3),
    "sweep_img_chips_s": ("sweep, images x chips a second", 1),
}


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
    return "\n".join([*lines, "", "## Beside them", "", *(f"- {text}" for text in _sentences(figures))]) + "\n"


def _columns(figures: dict[str, Any]) -> list[str]:
    return ["network", "contender", "rate", "of ours", f"of the {figures['precision']} ceiling"]


def _networks(figures: dict[str, Any], kind: str) -> Iterator[list[list[str]]]:
    """The rows of each network: its contenders, each against ours and against the machine."""
    passes = KINDS[kind][1]
    for network in figures["networks"]:
        ceiling_gflops = network["ceiling_gflops"][kind.partition("_")[0]]
        own = network[kind].get("ours", network[kind].get("nominal"))
        rows = []
        for name, rate in network[kind].items():
            share = rate * passes * network["forward_mflop"] / 1000 / ceiling_gflops
            title = f"{network['network']} x{network['width']:g}"
            rows.append([title, name, f"{rate:,.0f}", f"{rate / own:.2f}", f"{100 * share:.0f}%"])
        yield rows


def _hours(figures: dict[str, Any]) -> str:
    """Hours of a decision by network: ours, and by independent chips of plain code."""
    chosen, said = figures["decision"], []
    for network in figures["networks"]:
        rates = network["sweep_img_chips_s"]
        ours_h, plain_h = (
            chosen[images] / rates[way] / 3600
            for images, way in (("ours_image_chips", "ours"), ("plain_image_chips", "plain"))
        )
        said.append(f"{network['network']} x{network['width']:g} {ours_h:.2g} h and {plain_h:.2g} h")
    return "; ".join(said)


def _sentences(figures: dict[str, Any]) -> list[str]:
    """Everything that is no rate."""
    chosen, grown = figures["decision"], figures["growth"]
    said = [
        f"to rank three networks at {len(chosen['levels'])} levels: {chosen['ours_s']:.1f} s, "
        f"{chosen['ours_image_chips']:,} images x chips; {chosen['plain_chips']} independent chips of each on all "
        f"images: {chosen['plain_s']:.0f} s, {chosen['plain_image_chips']:,}, "
        f"{chosen['fewer_image_chips']:.0f} times as many"
    ]
    said.append(
        "the same for larger networks, from their rates in this run and the images x chips above: " + _hours(figures)
    )
    said += [f"seconds against {name}: a straight line with R2 = {line['r2']:.4f}" for name, line in grown.items()]
    n, memory = grown["chips"]["n"], grown["chips"]["peak_memory_mib"]
    said.append(
        f"peak memory: {memory[0]} MiB at {n[0]} chips, {memory[-1]} MiB at {n[-1]}; "
        f"{figures['peak_memory_mib']} MiB in all"
    )
    said += [
        f"sweep of {name}, chips side by side against one by one on all threads: {ways['side_by_side']:,.0f} and "
        f"{ways['one_by_one']:,.0f} images x chips a second"
        for name, ways in figures["small"].items()
    ]
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


def profile_markdown(figures: dict[str, Any]) -> str:
    """Where the time goes, as a Markdown file."""
    kinds = list(figures["work"][0]["shares"])
    heads = ["network", "work", *kinds, "products, of the ceiling while they run"]
    lines = [
        "# Profile",
        "",
        f"Made by `bench speed --profile` on {figures['created'][:10]}, one thread, {figures['precision']}:",
        f"shares of the time by kind of work. {figures['hardware']}; torch {figures['torch']}.",
        "",
        f"| {' | '.join(heads)} |",
        "|:--|:--" + "|--:" * (len(heads) - 2) + "|",
    ]
    for row in figures["work"]:
        shares = [f"{100 * row['shares'][kind]:.0f}%" for kind in kinds]
        speed = f"{100 * row['products_gflops'] / row['ceiling_gflops']:.0f}% of {row['ceiling_gflops']:,.0f} GFLOP/s"
        lines.append(f"| {row['network']} | {row['work']} | {' | '.join(shares)} | {speed} |")
    return "\n".join(lines) + "\n"


def steps_markdown(figures: dict[str, Any]) -> str:
    """What a training step of each method costs, as a Markdown file: cheapest first, then those that have none."""
    lines = [
        "# Steps",
        "",
        f"Made by `bench speed --methods` on {figures['created'][:10]}, {figures['precision']}: milliseconds of a",
        "training step, batches and augmentation included, the fastest of all turns;",
        "what is not in it: docs/performance.md.",
        f"{figures['hardware']}; torch {figures['torch']}.",
    ]
    for costs in figures["networks"]:
        title = f"{costs['network']} x{costs['width']:g}, {costs['task']}, batch {costs['batch_size']}"
        lines += ["", f"## {title}", "", "| method | ms a step | x nominal | |", "|:--|--:|--:|:--|"]
        known = sorted(costs["methods"].items(), key=lambda item: item[1]["x_nominal"])
        rows = [[name, f"{c['step_ms']:,.1f}", f"{c['x_nominal']:.2f}", c["beside"]] for name, c in known]
        rows += [[name, MISSING, MISSING, reason] for name, reason in costs["without_steps"].items()]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
