"""Devices made of measured cells: a table of conductance deviations, given conductance and time.

A weight w of a tensor with M = max|w| is a differential pair: the used cell is programmed to
g = |w| / M * g_max, the unused one to 0. Each cell then deviates,

    g_eff = max(0, g + level * (Q(u | g, t) - g)),    u ~ U(0, 1), one draw a cell,

with Q the measured quantile function of the conductance at time t given the conductance g at
programming. The chip's weight is (g+ - g-) * M / g_max. A cell keeps its u at all times and
levels. A stuck cell is one programmed to g_max or to 0, whatever was asked for. Between measured
times, deviations are interpolated in log10 t.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from devices._base import (
    UNCOMPENSATED,
    Axis,
    Chip,
    Device,
    DeviceError,
    WeightPairs,
    Weights,
    draw_bits,
    normalised,
    normalised_pairs,
    scaled,
    unflatten,
)
from devices._faults import FaultSettings
from devices._seal import NAME, is_whole

# Regular grid on which Q is looked up. 128 conductances are 0.3 uS apart for g_max = 40 uS, a tenth of the
# measured spread; 2048 equally likely u let one random int32 serve both cells of a pair.
ROWS, BITS = 128, 11
MOST_MIB = 64  # of a table; the shipped one has a twentieth of one
DRAWS = 2**BITS
KEYS = {"schema", "name", "g_max_us", "g_us", "times_s", "probabilities", "deviation_us", "provenance", NAME}
# Far beyond any cell; within them all that is made of a table is finite in float32.
G_MAX_US, MOST_TIMES_G_MAX, MOST_S = (1e-6, 1e6), 1e3, 1e12


class Measured(Device):
    """Differential pairs of cells whose deviation is looked up in a table (see bench/fit.py)."""

    mapping = "differential pair, unused cell at 0"
    Settings = FaultSettings
    senseless: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("rule", "pairs", "cell_bits", "scale"),
            "its mapping is fixed: one pair a weight, the unused cell at 0, a scale for each layer",
        ),
        "compensation": UNCOMPENSATED,
    }
    axis = Axis(
        name="multiplier",
        unit="x measured deviation",
        levels=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5),
        train_level=0.75,
        maximum=4.0,
    )
    default_time_s: ClassVar[float]
    table_file: ClassVar[Path]

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._load(self.table_file)

    @classmethod
    def from_file(cls, path: Path, settings: Any = None) -> "Measured":
        """A device from a user's fitted table; its name is the file's stem. Raises DeviceError."""
        device = cls.__new__(cls)
        Device.__init__(device, settings)
        content = device._load(path)
        last = device.table["times_s"][-1]
        # What other devices state as class attributes, this one learns from its file
        vars(device).update(
            name=path.stem,
            version=f"fit-{hashlib.sha256(content).hexdigest()[:8]}",
            source=_printable(str(device.table.get("provenance", {}).get("source", ""))),
            times_s=(device.table["times_s"][0], last),
            default_time_s=last,
        )
        return device

    def _load(self, path: Path) -> bytes:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device read until memory is full
            raise DeviceError(f"{path.name}: no regular file; make one with bench device fit")
        try:
            with path.open("rb") as file:
                content = file.read((MOST_MIB << 20) + 1)
            if len(content) > MOST_MIB << 20:
                raise DeviceError(f"{path.name}: larger than {MOST_MIB} MiB; make one with bench device fit")
            self.table = check_table(json.loads(content), path.name)
            was_changed = NAME in self.table and not is_whole(content)
            self.table.pop(NAME, None)
        except FileNotFoundError:
            raise DeviceError(f"{path}: there is no such table; make one with bench device fit") from None
        except DeviceError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise DeviceError(f"{path.name}: not a readable table: {error}; make one with bench device fit") from error
        if was_changed:
            raise DeviceError(
                f"{path.name}: its checksum is of another table: it was damaged, or changed by hand; make it anew with "
                "bench device fit, or take its line sha256 out"
            )
        self._grids: dict[tuple[float, torch.device], Tensor] = {}
        self.conductances_us = (0.0, self.table["g_max_us"])
        return content

    def is_random(self, level: float) -> bool:
        return super().is_random(level) or self.settings.stuck_share > 0

    @torch.no_grad()
    def program(
        self, weights: Weights, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> Chip:
        """Map to differential pairs and let every cell deviate as measured; one int32 draw a weight."""
        self.check(level, time_s)
        if isinstance(weights, WeightPairs):
            return self._program_pairs(weights, generator, level, time_s)
        flat, peaks = normalised(weights)
        bits = draw_bits(flat.numel(), generator, flat)
        deviation = self._grid(self.default_time_s if time_s is None else time_s, flat.device) * level
        used, unused = self._pairs(flat.abs(), None, bits, deviation, generator)
        sign = torch.copysign(flat.new_ones(()), flat, out=flat)
        shown = scaled((used - unused).mul_(sign), peaks, weights)
        g_max_us = self.table["g_max_us"]

        def cells() -> Weights:
            both = torch.stack([torch.where(sign > 0, used, unused), torch.where(sign > 0, unused, used)])
            return unflatten(both.mul_(g_max_us), weights)

        return Chip(shown, cells=cells, scales={name: peak / g_max_us for name, peak in peaks.items()})

    def _program_pairs(
        self, weights: WeightPairs, generator: torch.Generator, level: float, time_s: float | None
    ) -> Chip:
        """The same where weights say what both cells get: the larger one's draw is that of a used cell.

        So chip c is chip c of signed weights, where one of the two is 0.
        """
        g_max_us = self.table["g_max_us"]
        (plus, minus), peaks = normalised_pairs(weights)
        bits = draw_bits(plus.numel(), generator, plus)
        deviation = self._grid(self.default_time_s if time_s is None else time_s, plus.device) * level
        larger, smaller = torch.maximum(plus, minus), torch.minimum(plus, minus)
        used, unused = self._pairs(larger, smaller, bits, deviation, generator)
        is_plus = plus >= minus
        cells_us = torch.stack([torch.where(is_plus, used, unused), torch.where(is_plus, unused, used)]).mul_(g_max_us)
        scales = {name: peak / g_max_us for name, peak in peaks.items()}
        shown = scaled(cells_us[0] - cells_us[1], scales, weights)
        return Chip(shown, cells=unflatten(cells_us, weights), scales=scales)

    @torch.no_grad()
    def cells_us(
        self, asked_us: Tensor, generator: torch.Generator, *, level: float, time_s: float | None = None
    ) -> Tensor:
        """One draw a cell, or one and its luck in being stuck."""
        self.check(level, time_s)
        g_max_us = self.table["g_max_us"]
        bits = draw_bits(asked_us.numel(), generator, asked_us)
        deviation = self._grid(self.default_time_s if time_s is None else time_s, asked_us.device) * level
        used, _ = self._pairs(asked_us / g_max_us, None, bits, deviation, generator)
        return used * g_max_us

    def _pairs(
        self, used: Tensor, unused: Tensor | None, bits: Tensor, deviation: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Conductances / g_max of the used and of the unused cells, each (n,), from those asked for, in [0, 1].

        unused: None if all are asked for 0; bits: (n,) int32, BITS of them for the one and as many for the other;
        deviation: (ROWS, DRAWS). Overwrites used, unused and bits.
        """
        if self.settings.stuck_share > 0:
            cells = torch.stack([used, torch.zeros_like(used) if unused is None else unused])
            (cells,) = self.settings.stick((cells,), 1.0, 0.0, generator)
            used, unused = cells
        used = _deviated(used, bits & (DRAWS - 1), deviation)
        draw = bits.bitwise_right_shift_(BITS).bitwise_and_(DRAWS - 1)
        if unused is None:
            return used, deviation[0].clamp(min=0).index_select(0, draw)
        return used, _deviated(unused, draw, deviation)

    def deviation_us(self, time_s: float) -> Tensor:
        """Quantiles of g(t) - g in uS, (knots of g, probabilities), interpolated in log10 time. Raises DeviceError."""
        times = self.table["times_s"]
        if not times[0] <= time_s <= times[-1]:
            raise DeviceError(
                f"{self.name}: time {time_s:g} s is out of range; measured {times[0]:g} to {times[-1]:g} s"
            )
        table = torch.tensor(self.table["deviation_us"], dtype=torch.float64)
        log_times = torch.tensor(times, dtype=torch.float64).log10()
        at = torch.tensor([time_s], dtype=torch.float64).log10()
        return _interpolate(log_times, table.flatten(1), at).view(table.shape[1:])

    def _grid(self, time_s: float, where: torch.device) -> Tensor:
        """Deviation / g_max, (ROWS, DRAWS) float32: conductances from 0 to g_max, equally likely draws.

        A draw stands for the mean of the quantile function over its share of probability: the mean
        deviation is exact, the extremes give way to the mean of the outermost 1 / DRAWS.
        """
        if (time_s, where) not in self._grids:
            g_max_us = self.table["g_max_us"]
            p = torch.tensor(self.table["probabilities"], dtype=torch.float64)
            g_us = torch.tensor(self.table["g_us"], dtype=torch.float64)
            rows_us = torch.linspace(0, g_max_us, ROWS, dtype=torch.float64)
            quantile = _interpolate(g_us, self.deviation_us(time_s), rows_us).T  # (probabilities, rows)
            edges = torch.linspace(0, 1, DRAWS + 1, dtype=torch.float64)
            area = torch.zeros_like(quantile)
            area[1:] = ((quantile[1:] + quantile[:-1]) / 2 * p.diff()[:, None]).cumsum(0)
            # The integral of a piecewise linear function: area up to the probability below, and a trapezoid
            below = (torch.searchsorted(p, edges, right=True) - 1).clamp(0, len(p) - 2)
            trapezoid = (quantile[below] + _interpolate(p, quantile, edges)) / 2 * (edges - p[below])[:, None]
            grid = (area[below] + trapezoid).diff(dim=0).T * (DRAWS / g_max_us)
            self._grids[time_s, where] = grid.to(where, torch.float32).contiguous()
        return self._grids[time_s, where]


def _printable(text: str) -> str:
    """One line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _deviated(u: Tensor, draw: Tensor, deviation: Tensor) -> Tensor:
    """Cells at u + deviation[row of u, draw], at least 0: u (n,) float32, draw (n,) int32, both overwritten."""
    # Clamped, so that a diverged network's NaN gives NaN and not an index out of range
    row = torch.add(u.new_full((), 0.5), u, alpha=ROWS - 1).int().clamp_(0, ROWS - 1)
    return u.add_(deviation.view(-1).index_select(0, draw.add_(row.mul_(DRAWS)))).clamp_(min=0)


def _interpolate(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Piecewise linear, along the first dimension of y: x (n,) ascending, y (n, k), at (m,) within x; (m, k)."""
    if len(x) == 1:
        return y.expand(len(at), -1)
    i = (torch.searchsorted(x, at, right=True) - 1).clamp(0, len(x) - 2)
    share = ((at - x[i]) / (x[i + 1] - x[i]))[:, None]
    return y[i] * (1 - share) + y[i + 1] * share


def check_table(table: Any, file: str) -> dict[str, Any]:
    """The table if it is whole and makes sense, else DeviceError."""

    def need(truth: bool, wish: str) -> None:
        if not truth:
            raise DeviceError(f"{file}: {wish}; make the table anew with bench device fit")

    need(isinstance(table, dict) and table.get("schema") == 1, "schema must be 1")
    odd = sorted(table.keys() - KEYS)
    need(not odd, f"{odd[0]!r:.40} is nothing that a table has" if odd else "")
    axes = {}
    for key in ("times_s", "g_us", "probabilities", "deviation_us"):
        try:
            axes[key] = torch.tensor(table[key], dtype=torch.float64)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError):
            need(False, f"{key} must be there and be an array of numbers, all rows as long")
        need(bool(axes[key].isfinite().all()) and axes[key].numel() > 0, f"{key} must hold finite numbers only")
    times, g, p, deviation = axes.values()
    for key, axis in (("times_s", times), ("g_us", g), ("probabilities", p)):
        need(axis.dim() == 1 and bool((axis.diff() > 0).all()), f"{key} must be one ascending row")
    need(isinstance(table.get("provenance", {}), dict), "provenance must be an object")
    g_max = table.get("g_max_us")
    low, high = G_MAX_US
    need(type(g_max) in (int, float) and low <= g_max <= high, f"g_max_us must be a number from {low:g} to {high:g}")
    need(times[0].item() > 0 and times[-1].item() <= MOST_S, f"times_s must be after 0 s, up to {MOST_S:g} s")
    need(bool((times.log10().diff() > 0).all()), "times_s must differ in more than their last digit")
    need(len(g) > 1 and g[0].item() == 0 and g[-1].item() >= g_max, "g_us must go from 0 to g_max_us at least")
    most = MOST_TIMES_G_MAX * g_max
    need(g[-1].item() <= most, f"g_us must end at {MOST_TIMES_G_MAX:g} times g_max_us at most")
    need(
        deviation.abs().max().item() <= most,
        f"deviation_us must be within {MOST_TIMES_G_MAX:g} times g_max_us, +- {most:g}",
    )
    need(len(p) > 1 and p[0].item() == 0 and p[-1].item() == 1, "probabilities must go from 0 to 1")
    need(
        tuple(deviation.shape) == (len(times), len(g), len(p)), "deviation_us must be [time][conductance][probability]"
    )
    need(bool((deviation.diff(dim=-1) >= 0).all()), "deviation_us must not fall with probability")
    return table
