"""`bench speed`: what training steps, chips and decisions cost, ours and the published way, measured in one run."""

import functools
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench import plan
from bench.environment import hardware, peak_memory_mib
from bench.fast import precision_for
from bench.files import write_text
from bench.progress import Monitor
from bench.store import home, local
from bench.timing import tables, toolkits
from bench.timing.convolutions import convolutions
from bench.timing.decision import decision
from bench.timing.growth import growth, side_by_side
from bench.timing.networks import CASES, Case, network_figures
from bench.timing.profile import profile
from bench.timing.steps import step_costs
from bench.timing.turns import ceiling
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
    splits_of = _splits(data)
    for case in cases:
        monitor.say(f"{case.title}: training steps, chips")
        task = plan.task_of(case.task)
        figures["networks"].append(network_figures(case, task, splits_of(case.task), processor, rounds, kits))
    monitor.say("cost against chips and images")
    figures["growth"] = growth(processor, data)
    figures["small"] = side_by_side(processor, data, rounds)
    monitor.say(f"a decision between three networks, and {plain_chips} chips of each (minutes)")
    figures["decision"] = decision(processor, data, plain_chips, preset)
    figures["convolutions"] = convolutions(processor, figures["precision"])
    figures["peak_memory_mib"] = peak_memory_mib(processor)
    return figures


def profiles(processor: torch.device, data: Path | None, cases: tuple[Case, ...], monitor: Monitor) -> dict[str, Any]:
    """Where the time of each network goes, on one thread; plain JSON types."""
    figures: dict[str, Any] = {
        **_made(processor),
        "work": [],
    }
    splits_of, threads = _splits(data), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for case in cases:
            monitor.say(f"{case.title}: where the time goes")
            figures["work"] += profile(processor, splits_of(case.task), plan.task_of(case.task), case)
    finally:
        torch.set_num_threads(threads)
    return figures


def steps(
    processor: torch.device,
    data: Path | None,
    cases: tuple[Case, ...],
    methods: Sequence[str],
    rounds: int,
    monitor: Monitor,
) -> dict[str, Any]:
    """What a training step of these methods costs on each network, against nominal's; plain JSON types."""
    figures: dict[str, Any] = {
        **_made(processor),
        "rounds": rounds,
        "networks": [],
    }
    splits = _splits(data)
    for case in cases:
        monitor.say(f"{case.title}: training steps of {', '.join(methods)}")
        task = plan.task_of(case.task)
        figures["networks"].append(step_costs(case, task, splits(case.task), processor, rounds, methods))
    return figures


def _made(processor: torch.device) -> dict[str, Any]:
    """When, on what and with what figures are made."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(processor),
        "precision": precision_for(processor),
        "torch": torch.__version__,
    }


def _splits(data: Path | None) -> Callable[[str], Splits]:
    """The data of a task by name, loaded once however many cases ask for them."""
    return functools.cache(lambda name: plan.task_of(name).splits(local(home()) / "data", data))


def write(figures: dict[str, Any], folder: Path) -> None:
    """Keep the figures as speed.json, and as SPEED.md to read."""
    _keep(figures, folder, "speed", tables.markdown(figures))


def write_profiles(figures: dict[str, Any], folder: Path) -> None:
    """Keep the profiles as profile.json, and as PROFILE.md to read."""
    _keep(figures, folder, "profile", tables.profile_markdown(figures))


def write_steps(figures: dict[str, Any], folder: Path) -> None:
    """Keep the costs of steps as steps.json, and as STEPS.md to read."""
    _keep(figures, folder, "steps", tables.steps_markdown(figures))


def _keep(figures: dict[str, Any], folder: Path, name: str, text: str) -> None:
    """Both forms of the figures, each file whole or not at all."""
    write_text(folder / f"{name}.json", json.dumps(figures, indent=1) + "\n")
    write_text(folder / f"{name.upper()}.md", text)
