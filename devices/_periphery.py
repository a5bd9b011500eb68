"""What surrounds the matrix products of a forward pass: converters, noise, wires, I-V curves, tiles.

Order, within one tile (Rasch et al. 2023; docs/periphery.md has the formulas):

    x -> DAC -> input noise -> product (I-V curve) -> IR drop -> read noise, output noise -> ADC

and the tiles' results are added digitally, the bias after them. Entered for the length of a forward
pass, with the very tensors that functional_call is given; without an effect none is entered.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from devices._curve import Curve
from devices._pairs import cell_scaled
from devices._periphery_settings import PeripherySettings
from devices._power import PowerMeter
from devices._products import Part, Product, ProductMode, wide
from devices._quantise import TINY, quantise
from devices._ranges import Ranges
from devices._tiles import RowTile, column_peaks, over_columns, row_tiles

WIRE = 1 / (0.35 * 5e-6)  # cells whose wires, at .35 ohm each, resist as much as one of 5 uS


class Periphery(ProductMode):
    """Puts the settings' effects, and a device's I-V curve, around every product with a chip's weights."""

    def __init__(
        self,
        settings: PeripherySettings,
        weights: Mapping[str, Tensor],
        *,
        clean: Mapping[str, Tensor] | None = None,
        curve: Curve | None = None,
        ranges: Ranges | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """`weights`: the chip; `clean`: the weights that were programmed, whose max|w| (of pairs: max(W+, W-)) noise
        refers to.

        `generator` lives where the network lives; noise is drawn from it at every product.
        """
        super().__init__(weights)
        self.settings = settings
        self.curve = None if curve is None or curve.is_ohmic else curve
        self.ranges = Ranges() if ranges is None else ranges
        self.generator = generator
        self._clean = cell_scaled(weights if clean is None else clean)
        self._peaks: dict[str, Tensor] = {}
        self._meter: PowerMeter | None = None

    @contextmanager
    def metered(self, meter: PowerMeter) -> Iterator[None]:
        """Enter it, and let `meter` note every product."""
        self._meter = meter
        try:
            with self:
                yield
        finally:
            self._meter = None

    def multiply(self, part: Part, x: Tensor, w: Tensor, product: Product) -> Tensor:
        """x -> y of one product, its bias aside."""
        settings = self.settings
        full_scale = self.ranges.input(part.key, x, settings.dac_range)
        if not self.ranges.observes:
            if settings.dac_bits is not None:
                x = quantise(x, full_scale, settings.dac_bits)
            if settings.input_noise > 0:
                x = x + settings.input_noise * full_scale * self._normal(x)
        if self._meter is not None:
            self._meter.note(part, x, full_scale, product)
        total: Tensor | None = None
        for tile in row_tiles(w, settings.tile_rows if settings.tiled else None):
            y = self._partial_sum(part, tile, x, w, product, full_scale)
            total = y if total is None else total + y
        assert total is not None
        return total

    def _partial_sum(
        self, part: Part, tile: RowTile, x: Tensor, w: Tensor, product: Product, full_scale: Tensor
    ) -> Tensor:
        """The columns of one row tile, digitised."""
        settings, own = self.settings, tile.weights(w)
        x = tile.inputs(x, w, product)
        if self.curve is not None:
            y = self.curve.product(part, tile, x, w, product, full_scale, settings.read_v)
        else:
            y = wide(product(x, own))
        if not self.ranges.observes:
            y = self._disturbed(y, part, tile, x, own, product, full_scale)
        if settings.adc_bits is None:
            return y
        peaks = self.ranges.peak(
            f"{part.key} out {tile.index}",
            lambda: column_peaks(y, y.dim() - w.dim() + 1, settings.tile_columns, product.groups),
        )
        if self.ranges.observes:
            return y
        full_scales = over_columns(peaks, w, settings.tile_columns, product.groups)
        return quantise(y, settings.adc_range * full_scales, settings.adc_bits)

    def _disturbed(
        self, y: Tensor, part: Part, tile: RowTile, x: Tensor, own: Tensor, product: Product, full_scale: Tensor
    ) -> Tensor:
        """IR drop, read noise and output noise of a partial sum; both noises in one draw."""
        settings = self.settings
        if not (settings.ir_drop or settings.read_noise or settings.output_noise):
            return y
        unit = self._peak(part) * full_scale  # a full input on a cell at max|w|
        if settings.ir_drop > 0:
            y = y - self._ir_drop(tile, x, own, product, unit)
        variance: Tensor | float = 0.0
        if settings.read_noise > 0:
            variance = self._read_variance(part, tile, x, own, product)
        if settings.output_noise > 0:
            variance = variance + (settings.output_noise * unit) ** 2
        return y + variance.clamp(min=TINY).sqrt() * self._normal(y) if isinstance(variance, Tensor) else y

    def _read_variance(self, part: Part, tile: RowTile, x: Tensor, own: Tensor, product: Product) -> Tensor:
        """Of a partial sum whose weights are read anew, each with its own noise, for every input vector.

        sum_j s^2 x_j^2, exactly: products of different inputs don't share noise, as they would if one
        noisy chip were drawn for a batch. All outputs of a group have the same variance.
        """
        ones = torch.ones_like(own[: product.groups]) * tile.present(own)
        with torch.autocast(x.device.type, enabled=False):
            squares = product(x.square(), ones)
        channel = squares.dim() - (own.dim() - 1)
        if product.groups > 1:
            squares = squares.repeat_interleave(len(own) // product.groups, channel)
        return (self.settings.read_noise * self._peak(part)) ** 2 * squares

    def _ir_drop(self, tile: RowTile, x: Tensor, own: Tensor, product: Product, unit: Tensor) -> Tensor:
        """First order (Rasch et al. 2023): c_i sum_j w_ij x_j (1 - (1 - j/n)^2), c = a (a (.05 a - .2) + .5),
        a = n / 571,429 sum_j |w_ij| |x_j|, with |w|, |x| at most 1.
        """
        sagging = wide(product(x, own * (1 - (1 - tile.places(own)).square())))
        a = wide(product(x.abs(), own.abs())) * (self.settings.ir_drop * len(tile) / WIRE / unit.clamp(min=TINY))
        return a * (a * (0.05 * a - 0.2) + 0.5) * sagging

    def _peak(self, part: Part) -> Tensor:
        """max|w| of the clean tensor, a scalar."""
        if part.name not in self._peaks:
            self._peaks[part.name] = wide(self._clean[part.name].detach()).abs().amax()
        return self._peaks[part.name]

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator, device=like.device, dtype=like.dtype)
