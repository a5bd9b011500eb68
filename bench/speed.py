"""`bench speed`: what training steps, chips and decisions cost, ours and the published way, measured in one run."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Group
from rich.table import Table

from bench import plan
from bench.environment import hardware, peak_memory_mib
from bench.fast import precision_for
from bench.files import write_text
from bench.progress import Monitor
from bench.store import home
from bench.timing import toolkits
from bench.timing.convolutions import convolutions
from bench.timing.decision import decision
from bench.timing.growth import growth
from bench.timing.networks import CASES, Case, network_figures
from bench.timing.turns import seconds
from tasks._base import Splits


def measure(
    processor: torch.device,
    data: Path | None,
    *,
    rounds: int,
    cases: tuple[Case, ...] = CASES,
    plain_chips: int = 1000,
    preset: str = "quick",
    monitor: Monitor | None = None,
) -> dict[str, Any]:
    """All figures, as plain JSON types; docs/performance.md says what each is.

    `preset`: that of the three networks between which a decision is made.
    """
    monitor = monitor or Monitor(quiet=True)
    kits, missing = toolkits.available()
    figures: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(processor),
        "precision": precision_for(processor),
        "versions": {"torch": torch.__version__} | {kit.name: kit.version for kit in kits},
        "missing": missing,
        "rounds": rounds,
        "ceiling_gflops": {name: ceiling(processor, name) for name in ("fp32", "bf16")},
        "networks": [],
    }
    splits: dict[str, Splits] = {}
    for case in cases:
        monitor.say(f"{case.title}: training steps, chips")
        task = plan.task_of(case.task)
        if case.task not in splits:
            splits[case.task] = task.splits(home() / "data", data)
        figures["networks"].append(network_figures(case, task, splits[case.task], processor, rounds, kits))
    monitor.say("cost against chips and images")
    figures["growth"] = growth(processor, data)
    monitor.say(f"a decision between three networks, and {plain_chips} chips of each (minutes)")
    figures["decision"] = decision(processor, data, plain_chips, preset)
    figures["convolutions"] = convolutions(processor, figures["precision"])
    figures["peak_memory_mib"] = peak_memory_mib(processor)
    return figures


def ceiling(processor: torch.device, precision: str, size: int = 2048) -> float:
    """GFLOP/s of a square matrix product."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    a, b = (torch.randn(size, size, device=processor).to(dtype) for _ in range(2))
    best = min(seconds(lambda: torch.mm(a, b), processor) for _ in range(8))
    return 2 * size**3 / best / 1e9


def table(figures: dict[str, Any]) -> Group:
    """The figures for a terminal."""
    ceiling_gflops = figures["ceiling_gflops"][figures["precision"]]
    parts: list[Any] = []
    for kind, title, passes in (
        ("train_img_s", "training, images a second", 3),
        ("sweep_img_chips_s", "sweep, images x chips a second", 1),
    ):
        shown = Table(title=title, title_justify="left")
        for column in ("network", "contender", "rate", "of ours", f"of the {figures['precision']} ceiling"):
            shown.add_column(column, justify="left" if column in ("network", "contender") else "right")
        for row in figures["networks"]:
            own = row[kind].get("ours", row[kind].get("nominal"))
            for name, rate in row[kind].items():
                share = rate * passes * row["forward_mflop"] / 1000 / ceiling_gflops
                network = f"{row['network']} x{row['width']:g}"
                shown.add_row(network, name, f"{rate:,.0f}", f"{rate / own:.2f}", f"{100 * share:.0f}%")
            shown.add_section()
        parts.append(shown)
    chosen = figures["decision"]
    parts.append(
        f"to rank three networks at {len(chosen['levels'])} levels: {chosen['ours_s']:.1f} s, "
        f"{chosen['ours_image_chips']:,} images x chips; {chosen['plain_chips']} independent chips of each on all "
        f"images: {chosen['plain_s']:.0f} s, {chosen['plain_image_chips']:,}, "
        f"{chosen['fewer_image_chips']:.0f} times as many"
    )
    for name, grown in figures["growth"].items():
        parts.append(f"seconds against {name}: a straight line with R2 = {grown['r2']:.4f}")
    memory = figures["growth"]["chips"]["peak_memory_mib"]
    parts.append(
        f"peak memory: {memory[0]} MiB at {figures['growth']['chips']['n'][0]} chips, {memory[-1]} MiB at "
        f"{figures['growth']['chips']['n'][-1]}; {figures['peak_memory_mib']} MiB in all"
    )
    if figures["convolutions"]:
        small = (
            f"{row['channels']} channels, {row['map']} x {row['map']}: {row['conv2d_ms'] / row['matmul_ms']:.1f}x"
            for row in figures["convolutions"]
        )
        parts.append("3x3 convolution as matrix product against conv2d: " + "; ".join(small))
    parts += [f"not measured: {name} ({reason})" for name, reason in figures["missing"].items()]
    ceilings = ", ".join(f"{name} {value:,.0f}" for name, value in figures["ceiling_gflops"].items())
    parts.append(f"{figures['hardware']}; GFLOP/s of a matrix product: {ceilings}")
    return Group(*parts)


def write(figures: dict[str, Any], path: Path) -> None:
    """Keep the figures as JSON."""
    write_text(path, json.dumps(figures, indent=1) + "\n")
