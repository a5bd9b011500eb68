"""What a run was made with: versions, commit, hardware, memory. Every record and checkpoint keeps it."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench import __version__

PROGRAM = ("bench", "devices", "methods", "tasks", "pyproject.toml")  # what a run's numbers depend on


def environment(processor: torch.device) -> dict[str, Any]:
    """Versions, commit, hardware, and the most memory that this process has held so far."""
    return {
        "bench": __version__,
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": version("timm"),
        "hardware": hardware(processor),
        "peak_memory_mib": peak_memory_mib(processor),
    }


def _commit() -> str | None:
    """The checkout's commit, with a + if files of the program differ from it; None outside a checkout."""
    checkout = Path(__file__).parent.parent
    if not (checkout / ".git").exists():
        return None  # installed, perhaps within somebody else's repository
    git = ["git", "-C", str(checkout)]
    try:
        commit = _said([*git, "rev-parse", "--short=12", "HEAD"])
        changed = _said([*git, "status", "--porcelain", "--untracked-files=no", "--", *PROGRAM])
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+" if changed else commit


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def hardware(device: torch.device) -> str:
    """What the figures were measured on, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            model = next(line.partition(":")[2].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"


def peak_memory_mib(device: torch.device) -> int:
    """Most memory held so far: of the accelerator, else of this process (its resident set). 0 where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 20 if sys.platform == "darwin" else peak >> 10  # bytes there, KiB elsewhere
