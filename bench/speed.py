"""What a training step costs, by method: measured in one run, methods taking turns so that drift cancels."""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from bench import plan
from bench.context import TrainingContext, build_network
from bench.fast import compute, hardware
from bench.files import write_text
from bench.montecarlo import Rig
from bench.progress import Monitor
from bench.spec import Training
from bench.store import Checkpoints, home

STEPS = 6  # a turn; the first, which warms caches, is not counted


class _TimedContext(TrainingContext):
    """A real training context that times steps, and starts from untrained networks."""

    def __init__(self, training: Training, **services: Any) -> None:
        super().__init__(training, **services)
        self.step_s: list[float] = []

    def train(self, method: str, *, level: float | None = None, **settings: Any) -> nn.Module:
        return build_network(self.task, self.training, self.processor)

    def score(self, network: nn.Module, levels: tuple[float, ...]) -> list[float]:
        return [0.0] * len(levels)  # once an epoch, not part of a step

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._wait()
        began = time.perf_counter()
        for batch in super().batches():  # so that making the batch is part of the step
            yield batch
            self._wait()
            now = time.perf_counter()
            self.step_s.append(now - began)
            began = now

    def _wait(self) -> None:
        if self.processor.type != "cpu":
            torch.accelerator.synchronize()


def measure(request: plan.Request, processor: torch.device, data: Path | None, rounds: int) -> dict[str, Any]:
    """Seconds a step of each method (median over rounds x STEPS), and of a test pass, for one task and device."""
    cells = plan.cells(request)
    batch_size = cells[0].evaluation.training.budget.batch_size
    task = plan.task_of(request.tasks[0])
    splits = task.splits(home() / "data", data)
    times: dict[str, list[float]] = {cell.evaluation.training.method: [] for cell in cells}
    passes: list[float] = []
    monitor = Monitor(quiet=True)
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(rounds):
            for cell in cells:
                training = cell.evaluation.training
                budget = replace(training.budget, epochs=1, train_samples=STEPS * batch_size)
                if budget.finetune_epochs:
                    budget = replace(budget, finetune_epochs=1)
                context = _TimedContext(
                    replace(training, budget=budget),
                    task=task,
                    device=plan.device_of(cell.device if training.device != "ideal" else "ideal"),
                    splits=splits,
                    processor=processor,
                    checkpoints=Checkpoints(Path(scratch)),
                    work=monitor.work("", 1),
                    train_other=lambda other: nn.Identity(),
                    variant=plan.variant,
                )
                deployable = plan.method_of(training.method, training.settings).fit(context)
                times[training.method] += context.step_s[1:]
            rig = Rig(deployable.network, deployable.analog, task, splits.test.head(2000), training.precision)
            began = time.perf_counter()
            rig.measure()
            passes.append((time.perf_counter() - began) / 2000)
    train_images = len(splits.train)
    return {
        "hardware": hardware(processor),
        "task": request.tasks[0],
        "device": request.devices[0],
        "network": cells[0].evaluation.training.network,
        "width": cells[0].evaluation.training.width,
        "precision": request.precision,
        "batch_size": batch_size,
        "rounds": rounds,
        "step_s": {method: statistics.median(values) for method, values in times.items()},
        "epoch_s": {m: statistics.median(v) * (train_images // batch_size) for m, v in times.items()},
        "chip_s": statistics.median(passes) * len(splits.test),
        "convolutions": convolutions(processor, request.precision),
    }


def convolutions(processor: torch.device, precision: str) -> list[dict[str, Any]]:
    """The last convolutions of vgg8_mtrd at batch 256, plain and as a matrix product (bench/fast.py), taking turns.

    Milliseconds, forward and backward, median of STEPS - 1.
    """
    rows: list[dict[str, Any]] = []
    if processor.type != "cpu" or precision != "bf16":
        return rows  # elsewhere both are the same code
    for channels, size in ((512, 2), (512, 4), (256, 8)):
        conv = nn.Conv2d(channels // 2 if size > 2 else channels, channels, 3, padding=1, bias=False)
        conv = conv.to(processor).to(memory_format=torch.channels_last)
        x = torch.randn(256, conv.in_channels, size, size, device=processor, requires_grad=True)
        x = x.to(memory_format=torch.channels_last)
        times: dict[int, list[float]] = {0: [], size * size: []}
        for _ in range(STEPS):
            for largest, spent in times.items():
                began = time.perf_counter()
                with compute(processor, precision, largest):
                    y = conv(x)
                torch.autograd.grad(y.sum(), [x, conv.weight])
                spent.append(time.perf_counter() - began)
        plain, ours = (1000 * statistics.median(spent[1:]) for spent in times.values())
        rows.append({"channels": channels, "map": size, "conv2d_ms": plain, "matmul_ms": ours})
    return rows


def table(figures: dict[str, Any]) -> Table:
    """The figures for a terminal."""
    title = f"{figures['network']} x {figures['width']:g}, {figures['device']}, batch {figures['batch_size']}, "
    shown = Table(title=title + figures["precision"], title_justify="left")
    for column in ("method", "ms a step", "x nominal", "s an epoch"):
        shown.add_column(column, justify="left" if column == "method" else "right")
    base = figures["step_s"].get("nominal")
    for method, seconds in figures["step_s"].items():
        ratio = f"{seconds / base:.2f}" if base else "-"
        shown.add_row(method, f"{1000 * seconds:.0f}", ratio, f"{figures['epoch_s'][method]:.0f}")
    small = "; ".join(
        f"{row['channels']} channels, {row['map']} x {row['map']}: {row['conv2d_ms'] / row['matmul_ms']:.1f}x"
        for row in figures["convolutions"]
    )
    chip = f"one chip over the test set: {figures['chip_s']:.1f} s; {figures['hardware']}"
    shown.caption = f"convolution as matrix product against conv2d: {small}\n{chip}" if small else chip
    return shown


def write(figures: dict[str, Any], path: Path) -> None:
    """Keep the figures as JSON."""
    write_text(path, json.dumps(figures, indent=1) + "\n")
