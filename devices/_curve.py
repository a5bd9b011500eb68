"""I-V curves: the current of a cell as a function of its voltage, and a product with such cells.

Poole-Frenkel emission (Joksas et al. 2022, T = 293.15 K):

    I = sgn(V) c |V| exp(b sqrt|V|),    b = (e / kT) sqrt(e / (pi d_eps))

with ln c and ln d_eps of a cell linear in ln(1 / G), plus a residual. A multiplier m scales what
differs from Ohm's law: ln(I / (G V)) = m (ln(c / G) + b sqrt|V|), so that 0 is Ohm's law and 1 the cell
as measured; residuals are scaled by m as well.

One exponential a weight and input would be too dear. With b0 midway between the least and the greatest b,

    I = sum_k c (b - b0)^k / k! * sgn(V) |V| exp(b0 sqrt|V|) |V|^(k/2)

is one elementwise function of the input, exactly, and one matrix product for each k: a power series in
sqrt|V| about b0 instead of 0, as many terms as the voltage needs (three or four at .5 V; about ten about 0).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._mapping import difference
from devices._products import Part, Product, wide
from devices._quantise import TINY
from devices._tiles import RowTile

ELEMENTARY_CHARGE_C = 1.602176634e-19
THERMAL_VOLTAGE_V = 1.380649e-23 * 293.15 / ELEMENTARY_CHARGE_C
TOLERANCE = 1e-5  # of a current, from leaving out the rest of the series
LEAST_V = 1e-12  # below it the slope of sqrt|V| is taken as 0, so that it is nowhere infinite


@dataclass(frozen=True)
class PooleFrenkel:
    """ln c = slope_c ln(1/G) + intercept_c and ln d_eps likewise, SI units (G in S, c in S)."""

    slope_c: float
    intercept_c: float
    slope_d: float
    intercept_d: float

    def exponents(self, g_us: Tensor, level: float, residuals: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(ln(c / G), b in V^-1/2) of cells, times `level`; residuals of ln c and ln d_eps: (2, *shape of g_us)."""
        ln_r = -(g_us.clamp(min=TINY).log() - math.log(1e6))
        ln_c = self.slope_c * ln_r + self.intercept_c
        ln_d = self.slope_d * ln_r + self.intercept_d
        if residuals is not None:
            ln_c, ln_d = ln_c + residuals[0], ln_d + level * residuals[1]
        steepness = math.sqrt(ELEMENTARY_CHARGE_C / math.pi) / THERMAL_VOLTAGE_V
        return level * (ln_c + ln_r), level * steepness * (-ln_d / 2).exp()


def current_ua(g_us: Tensor, v: Tensor, law: PooleFrenkel, level: float, residuals: Tensor | None = None) -> Tensor:
    """The closed form, uA; g_us and v broadcast."""
    ln_ratio, b = law.exponents(g_us, level, residuals)
    return g_us * v * (ln_ratio + b * v.abs().clamp(min=LEAST_V).sqrt()).exp()


@dataclass(frozen=True)
class Cell:
    """The cells of one weight tensor: small-signal conductances and the series of their curves."""

    a_us: Tensor  # (2[, k], *w.shape)
    deviation: Tensor | None  # b - b0, the same shape; None: all alike
    b0: Tensor | float
    terms: int

    def orders(self) -> Iterator[Tensor]:
        """a (b - b0)^k / k! for k = 0, 1, ..., uS V^(-k/2)."""
        order = self.a_us
        for k in range(self.terms):
            if k > 0:
                assert self.deviation is not None
                order = order * self.deviation / k
            yield order

    def voltages(self, v: Tensor) -> Iterator[Tensor]:
        """sgn(V) |V|^(1 + k/2) exp(b0 sqrt|V|) for k = 0, 1, ...; v: any shape, V."""
        root = v.abs().clamp(min=LEAST_V).sqrt()
        x = v if isinstance(self.b0, float) and self.b0 == 0 else v * (self.b0 * root).exp()
        for k in range(self.terms):
            yield x
            if k + 1 < self.terms:
                x = x * root


class Curve:
    """The I-V curves of one chip's cells, in differential pairs. `law` None: Ohm's."""

    def __init__(
        self,
        chip: Mapping[str, Tensor],
        cells_us: Callable[[], Mapping[str, Tensor] | None],
        scales: Mapping[str, Tensor],
        *,
        join: Callable[[Tensor], Tensor] = difference,
        law: PooleFrenkel | None = None,
        level: float = 1.0,
        residuals: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`cells_us()[name]`: (2[, k], *w.shape), plus cells first, asked for when a product needs them.

        `join` makes weights of them, in units of `scales[name]`; `residuals[name]`: (2, 2[, k], *w.shape), of ln c
        and ln d_eps. Gradients go to the cells, or straight through to `chip` where the cells have none.
        """
        self.chip, self.cells_us, self.scales = chip, cells_us, scales
        self.join, self.law, self.level, self.residuals = join, law, level, residuals or {}
        self._cells: dict[tuple[str, float], Cell] = {}
        self._orders: dict[tuple[str, float], list[Tensor]] = {}

    @property
    def is_ohmic(self) -> bool:
        """Does a product of weights and inputs say it all?"""
        return self.law is None or self.level == 0

    def conducts_like(self, other: "Curve") -> bool:
        """Are these the same curves, of cells with the same conductances and residuals?"""
        if (self.law, self.level) != (other.law, other.level):
            return False
        pairs = ((self.cells_us() or {}, other.cells_us() or {}), (self.residuals, other.residuals))
        return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)

    def product(
        self, part: Part, tile: RowTile, x: Tensor, w: Tensor, product: Product, full_scale: Tensor, read_v: float
    ) -> Tensor:
        """sum_j (I+ - I-) in weight units, with inputs of full scale at read_v and none beyond."""
        v = voltage(x, full_scale, read_v)
        cell, orders = self.cell(part.name, read_v), self._signed(part.name, read_v)
        total: Tensor | float = 0.0
        for order, powers in zip(orders, cell.voltages(v), strict=True):
            total = total + wide(product(powers, tile.weights(part.of(order))))
        assert isinstance(total, Tensor)
        return total * (full_scale / read_v)

    def cell(self, name: str, read_v: float) -> Cell:
        """The cells of a tensor, with as many terms as this voltage needs."""
        if (name, read_v) not in self._cells:
            self._cells[name, read_v] = self._series(name, read_v)
        return self._cells[name, read_v]

    def _series(self, name: str, read_v: float) -> Cell:
        g_us = self._conductances(name)
        if self.is_ohmic:
            return Cell(g_us, None, 0.0, 1)
        assert self.law is not None
        ln_ratio, b = self.law.exponents(g_us, self.level, self.residuals.get(name))
        low, high = b.detach().amin(), b.detach().amax()
        b0 = (low + high) / 2
        return Cell(g_us * ln_ratio.exp(), b - b0, b0, terms_for((high - low).item() / 2 * math.sqrt(read_v)))

    def _signed(self, name: str, read_v: float) -> list[Tensor]:
        """Of each order, what the cells of a weight add up to, in weight units."""
        if (name, read_v) not in self._orders:
            orders = self.cell(name, read_v).orders()
            self._orders[name, read_v] = [wide(self.scales[name] * self.join(order)) for order in orders]
        return self._orders[name, read_v]

    def _conductances(self, name: str) -> Tensor:
        """With the gradient of the chip's weight shared between the cells of a pair, where they have none."""
        cells_us, w = self.cells_us(), self.chip[name]
        assert cells_us is not None, "a chip with scales has cells"
        g_us = cells_us[name]
        if g_us.requires_grad or not w.requires_grad:
            return g_us
        several = g_us.shape[1 : g_us.dim() - w.dim()]  # (k,) pairs or slices, or ()
        weight_of_all = self.join(torch.stack([g_us.new_ones(several), g_us.new_zeros(several)]))
        per_weight = weight_of_all * self.scales[name].clamp(min=TINY)
        if (pairs := getattr(self.chip, "pairs", None)) is not None:  # each half has a cell of its own to move
            shares = [(half[name] - half[name].detach()) / per_weight for half in (pairs.plus, pairs.minus)]
        else:
            share = (w - w.detach()) / (2 * per_weight)
            shares = [share, -share]
        return g_us + torch.stack(shares).view(2, *[1] * len(several), *w.shape)


def voltage(x: Tensor, full_scale: Tensor, read_v: float) -> Tensor:
    """The rows' voltages: inputs of full scale at read_v, and none beyond."""
    return (x / full_scale.clamp(min=TINY)).clamp(-1, 1) * read_v


def terms_for(z: float) -> int:
    """Least n for which exp(u), |u| <= z, is within TOLERANCE of exp(-z) of its first n terms."""
    n, rest = 1, z
    while rest * math.exp(2 * z) > TOLERANCE:  # remainder <= z^n / n! e^z, against the least exp(u) = e^-z
        n += 1
        rest *= z / n
    return n
