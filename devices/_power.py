"""Power that the cells of the crossbars take while they are read, from real activations.

P = sum V^2 G over the cells of linear devices, sum |V I| over those of others (Joksas et al. 2022). Only
cells count; converters and wires don't. A convolution reads its crossbar once for every output pixel, a
recurrent layer once a step; each such product is a read of READ_S.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from devices._curve import Curve, voltage
from devices._products import Part, Product, ProductMode, wide
from devices._ranges import Ranges

READ_S = 50e-9  # Joksas et al. 2022


@dataclass
class LayerPower:
    """What one layer's cells took: reads, and the sum of their powers."""

    sum_w: float = 0.0
    reads: int = 0


class PowerMeter(ProductMode):
    """Adds up the power of every product with a chip's cells. Enter it inside a periphery, or alone."""

    def __init__(self, weights: Mapping[str, Tensor], curve: Curve, ranges: Ranges, read_v: float) -> None:
        """`ranges`: full scales of the inputs, calibrated; `read_v`: the voltage of a full-scale input, V."""
        super().__init__(weights)
        self.curve, self.ranges, self.read_v = curve, ranges, read_v
        self.layers: dict[str, LayerPower] = {}

    def multiply(self, part: Part, x: Tensor, w: Tensor, product: Product) -> Tensor:
        """The product as it is (a periphery outside sees it); its power is noted."""
        full_scale = self.ranges.input(part.key, x, 1.0)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            power_w = product_power_w(part, voltage(x, full_scale, self.read_v), product, self.curve, self.read_v)
        layer = self.layers.setdefault(part.key, LayerPower())
        layer.sum_w += power_w.double().sum().item()
        layer.reads += power_w.numel()
        return wide(product(x, part.weight))

    def power_w(self) -> float:
        """Mean power of a read, summed over the layers: all crossbars at work at once, W."""
        return sum(layer.sum_w / layer.reads for layer in self.layers.values())

    def energy_j(self, samples: int) -> float:
        """Energy of one inference, J, after `samples` of them: every read lasts READ_S."""
        return sum(layer.sum_w for layer in self.layers.values()) * READ_S / samples


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
