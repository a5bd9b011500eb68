"""A layer's weights on crossbar tiles of at most R rows and C columns.

The weights of one output, w[0].flatten(), lie along the rows; a layer with more than R of them is cut
into tiles of R rows and a last one of the rest, whose partial sums are digitised each by themselves and added.
Each group of a grouped convolution has crossbars of its own.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._products import Product


@dataclass(frozen=True)
class RowTile:
    """Rows `start` to `stop` of a layer, and how to cut inputs and weights down to them."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def weights(self, w: Tensor) -> Tensor:
        """w: (out, in / groups, *kernel) -> the input channels that the tile touches, its other rows at 0."""
        first, last, each = self._channels(w)
        cut = w[:, first:last]
        if (last - first) * each == len(self):
            return cut
        return cut * self.present(cut)

    def inputs(self, x: Tensor, w: Tensor, product: Product) -> Tensor:
        """x: ([n,] in, *pixels) or (..., in) -> the input channels that the tile touches, of every group."""
        first, last, _ = self._channels(w)
        channel = x.dim() - (w.dim() - 1)
        if product.groups == 1:
            return x.narrow(channel, first, last - first)
        grouped = x.unflatten(channel, (product.groups, -1))
        return grouped.narrow(channel + 1, first, last - first).flatten(channel, channel + 1)

    def places(self, own: Tensor) -> Tensor:
        """j / n of every weight in own[0], own = `weights(w)`: 0 in the tile's first row, (n - 1) / n in its last."""
        return self._rows(own).clamp(min=0) / len(self)

    def present(self, own: Tensor) -> Tensor:
        """Which weights of own[0] lie in the tile; the others belong to its neighbours."""
        return self._rows(own) >= 0

    def _channels(self, w: Tensor) -> tuple[int, int, int]:
        each = w[0, 0].numel()
        return self.start // each, math.ceil(self.stop / each), each

    def _rows(self, cut: Tensor) -> Tensor:
        """Row within the tile of each weight of cut[0], -1 for those outside."""
        first, _, each = self._channels(cut)
        row = torch.arange(first * each, first * each + cut[0].numel(), device=cut.device).view(cut.shape[1:])
        return torch.where((row >= self.start) & (row < self.stop), row - self.start, -1)


def largest(x: Tensor) -> Tensor:
    """max|x|, a scalar without gradient; one pass and no copy."""
    return torch.linalg.vector_norm(x.detach(), math.inf)


def row_tiles(w: Tensor, rows: int | None) -> Iterator[RowTile]:
    """Tiles of at most `rows` rows; None: one tile as high as the layer."""
    total = w[0].numel()
    for index, start in enumerate(range(0, total, rows or total)):
        yield RowTile(index, start, min(start + (rows or total), total))


def column_peaks(y: Tensor, dim: int, columns: int, groups: int = 1) -> Tensor:
    """Largest |y| of each column tile, group by group: y with outputs along `dim` -> (groups * tiles of a group,)."""
    each = y.shape[dim] // groups
    if groups == 1 and each <= columns:
        return largest(y).view(1)
    others = [d for d in range(y.dim()) if d != dim]
    peak = torch.linalg.vector_norm(y.detach(), math.inf, others) if others else y.detach().abs()
    wide = min(columns, each)
    return torch.nn.functional.pad(peak.view(groups, each), (0, -each % wide)).view(-1, wide).amax(1)


def over_columns(values: Tensor, w: Tensor, columns: int, groups: int = 1) -> Tensor:
    """Inverse of `column_peaks`: one value an output, shaped to broadcast against outputs of w's layer."""
    each = len(w) // groups
    spread = values.view(groups, -1).repeat_interleave(min(columns, each), 1)[:, :each]
    return spread.reshape(-1, *[1] * (w.dim() - 2))
