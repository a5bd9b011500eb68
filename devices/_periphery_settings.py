"""Settings of what surrounds a matrix product; every device's Settings have them, all off by default."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from devices._settings import SettingError, Settings, setting


@dataclass(frozen=True, kw_only=True)
class PeripherySettings(Settings):
    """Converters, noise, wires and tiles around the crossbar (docs/periphery.md)."""

    # Are inputs limited to full scale by the cells themselves?
    curved: ClassVar[bool] = False

    dac_bits: int | None = setting(None, "bits of the DACs that drive the rows, sign included", low=2, high=16)
    adc_bits: int | None = setting(None, "bits of the ADCs that read a tile's columns, sign included", low=2, high=16)
    input_range: str = setting(
        "auto",
        "full scale of a DAC: calibrated or trained; auto: trained by methods that do so (hwa)",
        choices=("auto", "static", "learned"),
    )
    dac_range: float = setting(1.0, "full scale of the inputs / largest |input| in calibration", low=0.01, high=100.0)
    adc_range: float = setting(1.0, "full scale of an ADC / largest |partial sum| in calibration", low=0.01, high=100.0)
    input_noise: float = setting(0.0, "noise on the inputs, std / full scale", low=0.0, high=10.0)
    read_noise: float = setting(0.0, "noise of each weight at every inference, std / max abs w", low=0.0, high=10.0)
    output_noise: float = setting(0.0, "noise on a partial sum, std / (max abs w x full scale)", low=0.0, high=100.0)
    ir_drop: float = setting(0.0, "wire resistance from cell to cell, x 0.35 ohm at 5 uS", low=0.0, high=100.0)
    tile_rows: int = setting(512, "most inputs of a tile; partial sums of several are added digitally", low=1)
    tile_columns: int = setting(512, "most outputs of a tile, which has an ADC range of its own", low=1)
    read_v: float = setting(0.2, "read voltage of a full-scale input, V", low=0.001, high=5.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.input_range == "learned" and self.dac_bits is None:
            raise SettingError("setting input_range=learned: only a DAC has a range to learn; set dac_bits too")
        if self.adc_range != 1 and self.adc_bits is None:
            raise SettingError(f"setting adc_range={self.adc_range:g}: means nothing without adc_bits; set both")
        if self._differs("dac_range") and not (self.dac_bits or self.curved or self._scaled_by_inputs):
            raise SettingError(
                f"setting dac_range={self.dac_range:g}: means nothing where nothing refers to the inputs' full scale; "
                "set dac_bits, input_noise, output_noise or ir_drop too"
            )
        if self._differs("tile_rows") and not (self.tiled or self.scales_by_tile):
            raise SettingError(
                f"setting tile_rows={self.tile_rows}: changes nothing where nothing happens to a tile's partial sum; "
                "set adc_bits, ir_drop or output_noise too, or scale=tile on devices with cells"
            )
        if self._differs("tile_columns") and not (self.adc_bits or self.scales_by_tile):
            raise SettingError(
                f"setting tile_columns={self.tile_columns}: changes nothing without an ADC range for each tile; "
                "set adc_bits too, or scale=tile on devices with cells"
            )

    def _differs(self, name: str) -> bool:
        """From its default."""
        default = next(f.default for f in dataclasses.fields(self) if f.name == name)
        return getattr(self, name) != default

    @property
    def _scaled_by_inputs(self) -> bool:
        """Does any noise or drop of voltage refer to the full scale of the inputs?"""
        return max(self.input_noise, self.output_noise, self.ir_drop) > 0

    @property
    def noisy(self) -> bool:
        """Does the same input give another output at every inference?"""
        return max(self.input_noise, self.read_noise, self.output_noise) > 0

    @property
    def surrounds(self) -> bool:
        """Does anything happen around a product? Tiles alone change nothing."""
        return self.dac_bits is not None or self.noisy or self.tiled

    @property
    def tiled(self) -> bool:
        """Does anything happen to the partial sum of a tile? If not, a layer is computed as one."""
        return self.adc_bits is not None or self.ir_drop > 0 or self.output_noise > 0

    @property
    def scales_by_tile(self) -> bool:
        """Does each tile have a digital scale of its own?"""
        return False
