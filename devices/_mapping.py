"""How signed weights sit on cells, and how a digital scale turns conductances back into weights.

A mapping divides weights by the largest |w| that shares a scale (of the layer, of each output column, or of each
tile), u = w / M in [-1, 1], and splits u over plus and minus cells between g_min and g_max:

    minimum rule:  G+ = g_min + max(u, 0) R,  G- = g_min + max(-u, 0) R,  R = g_max - g_min
    average rule:  G+- = (g_min + g_max) / 2 +- u R / 2

(Joksas et al. 2022, Advanced Science, "mapping"). Weights that come as halves W+ and W-, double weights there, are
mapped each by itself, G+- = g_min + W+- R / max(W+, W-). Several pairs hold the same weight and are averaged. Slices
round |u| to `bits` bits and give each group of `cell_bits` of them a cell (Qin et al., NeFT). What comes back is
w = scale * (sum over cells of place value * (G+ - G-)): nothing is lost but, with slices, the rounding.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._flat import Weights, normalised, scaled, weight_peaks
from devices._pairs import WeightPairs, normalised_pairs

SCALES = ("layer", "column", "tile")
RULES = ("minimum", "average")


def difference(cells_us: Tensor) -> Tensor:
    """Plus less minus cells, (2, *shape) -> (*shape)."""
    return cells_us[0] - cells_us[1]


@dataclass(frozen=True, kw_only=True)
class CellMapping(ABC):
    """Conductances in uS. Tiles hold at most `tile_rows` inputs by `tile_columns` outputs; only the scale 'tile'
    asks for them here, since partial sums that are added digitally change no weight.
    """

    g_min_us: float
    g_max_us: float
    scale: str = "layer"
    tile_rows: int = 512
    tile_columns: int = 512

    @property
    @abstractmethod
    def per_us(self) -> float:
        """What `join` must be multiplied by to give back u."""

    @abstractmethod
    def split(self, u: Tensor) -> Tensor:
        """Cells in uS of weights in [-1, 1], u: any shape; (2, *u.shape) or (2, k, *u.shape), plus cells first."""

    def split_pairs(self, plus: Tensor, minus: Tensor) -> Tensor:
        """The same of both halves of weights, each in [0, 1]: G+- = g_min + u+- R, whatever the rule."""
        return torch.stack([self.split(plus)[0], self.split(minus)[0]])

    @abstractmethod
    def join(self, cells_us: Tensor) -> Tensor:
        """Sum of place value * (G+ - G-): inverse of `split` but for the factor `per_us`."""

    def to_cells(self, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
        """(cells of all weights in uS (2[, k], n), weight units per uS by name, shaped as `peaks`)."""
        flat, peaks = normalised(weights, self.peaks)
        return self.split(flat), {name: peak * self.per_us for name, peak in peaks.items()}

    def pairs_to_cells(self, weights: WeightPairs) -> tuple[Tensor, dict[str, Tensor]]:
        """The same of weights that come as both halves."""
        flat, peaks = normalised_pairs(weights, self.peaks)
        return self.split_pairs(*flat), {name: peak * self.per_us for name, peak in peaks.items()}

    def to_weights(self, cells_us: Tensor, scales: Weights, like: Weights) -> dict[str, Tensor]:
        """Weights that cells (2[, k], n) show at these scales, with the shapes and dtypes of `like`."""
        return scaled(self.join(cells_us), scales, like)

    def peaks(self, w: Tensor) -> Tensor:
        """Largest |w| that shares a scale, w: (out, in, ...); (), (out, 1, ...) or, by tile, w.shape.

        A weight of fewer than two dimensions has neither columns nor tiles: it is one layer.
        """
        if self.scale != "tile" or w.dim() < 2 or w.numel() == 0:
            return weight_peaks(w, self.scale)
        matrix = w.abs().reshape(len(w), -1)  # (columns of the crossbar, rows of the crossbar)
        for some in matrix.split(self.tile_columns):
            for tile in some.split(self.tile_rows, dim=1):
                tile.fill_(tile.amax())
        return matrix.reshape(w.shape)


@dataclass(frozen=True, kw_only=True)
class DifferentialPair(CellMapping):
    """A weight is `pairs` equal pairs of a plus and a minus cell."""

    rule: str = "minimum"
    pairs: int = 1

    def __str__(self) -> str:
        several = "" if self.pairs == 1 else f"{self.pairs} times a weight, "
        return (
            f"differential pair, {several}{self.rule} rule, {self.g_min_us:g} to {self.g_max_us:g} uS, "
            f"scale by {self.scale}"
        )

    @property
    def per_us(self) -> float:
        return 1 / ((self.g_max_us - self.g_min_us) * self.pairs)

    def split(self, u: Tensor) -> Tensor:
        span, middle = self.g_max_us - self.g_min_us, (self.g_min_us + self.g_max_us) / 2
        cells = u.new_empty(2, *u.shape)
        for side, sign in zip(cells, (1, -1), strict=True):
            if self.rule == "minimum":
                torch.mul(u, sign * span, out=side).clamp_(min=0).add_(self.g_min_us)
            else:
                torch.mul(u, sign * span / 2, out=side).add_(middle)
        return cells if self.pairs == 1 else cells.unsqueeze(1).repeat(1, self.pairs, *[1] * u.dim())

    def join(self, cells_us: Tensor) -> Tensor:
        apart = difference(cells_us)
        return apart if self.pairs == 1 else apart.sum(0)


@dataclass(frozen=True, kw_only=True)
class BitSlices(CellMapping):
    """|u| rounded to `bits` bits, the least significant `cell_bits` on the first pair of cells, and so on.

    The sign chooses the side; the other side's cells are at g_min.
    """

    bits: int = 8
    cell_bits: int = 2

    def __str__(self) -> str:
        return (
            f"{self.bits}-bit weights over {self.bits // self.cell_bits} differential pairs of {self.cell_bits}-bit "
            f"cells, {self.g_min_us:g} to {self.g_max_us:g} uS, scale by {self.scale}"
        )

    @property
    def places(self) -> list[int]:
        """Place value of each slice."""
        return [2**shift for shift in range(0, self.bits, self.cell_bits)]

    @property
    def per_us(self) -> float:
        return (2**self.cell_bits - 1) / ((self.g_max_us - self.g_min_us) * (2**self.bits - 1))

    def split(self, u: Tensor) -> Tensor:
        most, step = 2**self.bits - 1, (self.g_max_us - self.g_min_us) / (2**self.cell_bits - 1)
        codes = torch.nan_to_num(u * most).round().int().clamp(-most, most)
        sides = torch.stack([codes.clamp(min=0), (-codes).clamp(min=0)])
        slices = [sides >> shift & (2**self.cell_bits - 1) for shift in range(0, self.bits, self.cell_bits)]
        return torch.stack(slices, dim=1).to(u.dtype) * step + self.g_min_us

    def join(self, cells_us: Tensor) -> Tensor:
        slices = difference(cells_us)  # (k, *shape)
        return sum(part * place for part, place in zip(slices, self.places, strict=True))  # type: ignore[return-value]
