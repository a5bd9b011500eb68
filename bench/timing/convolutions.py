"""Small convolutions as matrix products (bench/fast.py) against conv2d."""

import statistics
import time
from typing import Any

import torch
from torch import nn

from bench.fast import compute


def convolutions(processor: torch.device, precision: str) -> list[dict[str, Any]]:
    """The last convolutions of vgg8_mtrd at batch 256, plain and as a matrix product (bench/fast.py), taking turns.

    Milliseconds, forward and backward, medians.
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
        for _ in range(6):
            for largest, spent in times.items():
                began = time.perf_counter()
                with compute(processor, precision, largest):
                    y = conv(x)
                torch.autograd.grad(y.sum(), [x, conv.weight])
                spent.append(time.perf_counter() - began)
        plain, ours = (1000 * statistics.median(spent[1:]) for spent in times.values())
        rows.append({"channels": channels, "map": size, "conv2d_ms": plain, "matmul_ms": ours})
    return rows
