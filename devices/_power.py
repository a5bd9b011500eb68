"""Power that the cells of the crossbars take while they are read, from real activations.

P = sum V^2 G over the cells of linear devices, sum |V I| over those of others (Joksas et al. 2022). Only
cells count; converters and wires don't. A convolution reads its crossbar once for every output pixel, a
recurrent layer once a step; each such product is a read of READ_S.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._curve import Curve, voltage
from devices._products import Part, Product
from devices._quantise import TINY
from devices._tiles import largest

READ_S = 50e-9  # Joksas et al. 2022


@dataclass
class LayerPower:
    """What one layer's cells took: reads, and the sum of their powers."""

    sum_w: float = 0.0
    reads: int = 0


class PowerMeter:
    """Adds up the power of every product with a chip's cells. A periphery tells it of them (Periphery.metered)."""

    def __init__(self, curve: Curve, read_v: float) -> None:
        """`read_v`: the voltage of a full-scale input, V."""
        self.curve, self.read_v = curve, read_v
        self.layers: dict[str, LayerPower] = {}

    def note(self, part: Part, x: Tensor, full_scale: Tensor, product: Product) -> None:
        """One product: x as the rows are driven with it, after converters and noise; `full_scale`: a scalar."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            power_w = product_power_w(part, self._driven(x, full_scale), product, self.curve, self.read_v)
        layer = self.layers.setdefault(part.key, LayerPower())
        layer.sum_w += power_w.double().sum().item()
        layer.reads += power_w.numel()

    def _driven(self, x: Tensor, full_scale: Tensor) -> Tensor:
        """The rows' voltages: limited where the product is, and nowhere else."""
        if not self.curve.is_ohmic:
            return voltage(x, full_scale, self.read_v)
        return x * (self.read_v / torch.where(full_scale > TINY, full_scale, largest(x).clamp(min=TINY)))

    def power_w(self) -> float:
        """Mean power of a read, summed over the layers: all crossbars at work at once, W."""
        return math.fsum(layer.sum_w / layer.reads for layer in self.layers.values())

    def energy_j(self, samples: int) -> float:
        """Energy of one inference, J, after `samples` of them: every read lasts READ_S."""
        return math.fsum(layer.sum_w for layer in self.layers.values()) * READ_S / samples


def product_power_w(part: Part, v: Tensor, product: Product, curve: Curve, read_v: float) -> Tensor:
    """Power of each read, W: (...) of a linear layer's v (..., in), ([n,] *pixels) of a convolution's."""
    total: Tensor | float = 0.0
    cell = curve.cell(part.name, read_v)
    for order, powers in zip(cell.orders(), cell.voltages(v), strict=True):
        columns = part.of(order.flatten(0, order.dim() - part.weight.dim() - 1).sum(0))
        grouped = columns.unflatten(0, (product.groups, -1)).sum(1)  # one column that stands for all of a group
        total = total + product(v.abs() * powers.abs(), grouped.to(v.dtype))
    assert isinstance(total, Tensor)
    return total.sum(total.dim() - (part.weight.dim() - 1)) * 1e-6  # uS V^2 = uW
