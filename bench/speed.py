"""`bench speed`: what training steps, chips and decisions cost, ours and the published way, measured in one run."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench import plan
from bench.environment import hardware, peak_memory_mib
from bench.fast import precision_for
from bench.files import write_text
from bench.progress import Monitor
from bench.store import home
from bench.timing import tables, toolkits
from bench.timing.convolutions import convolutions
from bench.timing.decision import decision
from bench.timing.growth import growth
from bench.timing.networks import CASES, Case, network_figures
from bench.timing.steps import step_costs
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
    methods: Sequence[str] = (),
    monitor: Monitor | None = None,
) -> dict[str, Any]:
    """All figures, as plain JSON types; docs/performance.md says what each is.

    `preset`: that of the three networks between which a decision is made. `methods`: whose steps are timed beside
    nominal's, on the first of the cases.
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
    if methods:
        case = cases[0]
        monitor.say(f"{case.title}: training steps of {len(methods)} methods")
        task = plan.task_of(case.task)
        figures["step_costs"] = step_costs(case, task, splits[case.task], processor, rounds, methods)
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


def write(figures: dict[str, Any], folder: Path) -> None:
    """Keep the figures as speed.json, and as SPEED.md to read."""
    write_text(folder / "speed.json", json.dumps(figures, indent=1) + "\n")
    write_text(folder / "SPEED.md", tables.markdown(figures))
