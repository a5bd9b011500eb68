"""Stuck cells, as a setting of every device that has cells."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._base import PeripherySettings, SettingError, draw_bits, setting

BITS = 24  # of randomness in whether a cell is stuck: exact in float32


@dataclass(frozen=True, kw_only=True)
class FaultSettings(PeripherySettings):
    """Shares of the cells that are stuck, used and unused ones alike."""

    stuck_on: float = setting(0.0, "share of cells stuck at g_max", low=0.0, high=1.0)
    stuck_off: float = setting(0.0, "share of cells stuck at g_min", low=0.0, high=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stuck_on + self.stuck_off > 1:
            shares = f"stuck_on={self.stuck_on:g} and stuck_off={self.stuck_off:g}"
            raise SettingError(f"settings {shares}: the shares must add up to at most 1")

    @property
    def stuck_share(self) -> float:
        """Of all cells."""
        return self.stuck_on + self.stuck_off

    def stick(self, cells: tuple[Tensor, ...], on: float, off: float, generator: torch.Generator) -> Iterator[Tensor]:
        """Each of `cells` (tensors that tell something of the same cells) with `on` or `off` where one is stuck.

        One draw a cell; the cells that stick at a small share are among those that stick at a larger one.
        """
        luck = draw_bits(cells[0].numel(), generator, cells[0]).view_as(cells[0]) >> (31 - BITS)
        is_on, is_off = luck < self.stuck_on * 2**BITS, luck >= (1 - self.stuck_off) * 2**BITS
        for some in cells:
            yield torch.where(is_off, off, torch.where(is_on, on, some))
