"""Read power: by hand on a small crossbar, against sums over every cell elsewhere, in the record."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench import frame
from bench.columns import tables
from bench.summary import summary
from devices._curve import Curve, current_ua
from devices._periphery import Periphery
from devices._periphery_settings import PeripherySettings
from devices._power import READ_S, PowerMeter
from devices._ranges import Ranges
from devices.siox import SioxHigh


def metered(network: nn.Module, x: Tensor, cells: dict[str, Tensor], full_scales: dict[str, float], read_v: float):
    """A meter that has seen one pass, by Ohm's law unless cells come with a curve."""
    ranges = Ranges()
    ranges.seen = {f"{name} in": torch.tensor(value) for name, value in full_scales.items()}
    chip = {name: network.get_parameter(name).detach() for name in cells}
    meter = PowerMeter(chip, Curve(chip, lambda: cells, {}), ranges, read_v)
    with meter:
        y = functional_call(network, chip, (x,))
    return meter, y


def test_a_crossbar_of_two_by_two_by_hand():
    """Full scale 2 at .5 V: .5 and -.25 V on the rows; a sample of zeros takes nothing."""
    layer = nn.Linear(2, 2)
    cells = torch.tensor([[[10.0, 20.0], [30.0, 40.0]], [[1.0, 2.0], [3.0, 4.0]]])  # plus, minus; (out, in); uS
    x = torch.tensor([[2.0, -1.0], [0.0, 0.0]])
    meter, y = metered(layer, x, {"weight": cells}, {"weight": 2.0}, 0.5)
    one_sample_w = (0.25 * (10 + 30 + 1 + 3) + 0.0625 * (20 + 40 + 2 + 4)) * 1e-6
    assert meter.power_w() == pytest.approx(one_sample_w / 2, rel=1e-6)
    assert meter.energy_j(2) == pytest.approx(one_sample_w / 2 * 50e-9, rel=1e-6)
    assert torch.allclose(y, layer(x)), "the product itself is left alone"


def test_inputs_beyond_full_scale_take_no_more():
    cells, layer = torch.ones(2, 1, 1), nn.Linear(1, 1)
    at, beyond = (
        metered(layer, torch.tensor([[x]]), {"weight": cells}, {"weight": 2.0}, 0.5)[0].power_w() for x in (2.0, 9.0)
    )
    assert at == beyond == pytest.approx(0.25 * 2 * 1e-6)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("pairs", [(), (3,)])
def test_a_convolution_is_the_sum_over_cells_of_every_pixel(groups, pairs):
    layer = nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=groups, bias=False)
    cells = torch.rand(2, *pairs, *layer.weight.shape)
    x = torch.randn(2, 4, 5, 5)
    meter, _ = metered(layer, x, {"weight": cells}, {"weight": 4.0}, 0.2)
    patches = nn.functional.unfold((x / 4).clamp(-1, 1) * 0.2, 3, padding=1, stride=2)  # (2, 36, 9)
    conductances = cells.flatten(0, len(pairs)).sum(0).view(groups, 6 // groups, -1).sum(1).flatten()
    by_read = (patches.square() * conductances[:, None]).sum(1) * 1e-6
    assert meter.power_w() == pytest.approx(by_read.mean().item(), rel=1e-5)
    assert meter.energy_j(2) == pytest.approx(by_read.sum().item() / 2 * READ_S, rel=1e-5)
    assert meter.layers["weight"].reads == 18


@pytest.mark.parametrize("level", [1.0, 2.0])
def test_curved_cells_take_voltage_times_current(level):
    device, w, x = SioxHigh(), torch.randn(3, 4), torch.rand(5, 4) * 2 - 1
    chip = device.program({"weight": w}, torch.Generator(), level=level)
    ranges = Ranges()
    ranges.seen["weight in"] = torch.tensor(1.0)
    meter = PowerMeter(chip, device.curve(chip), ranges, 0.5)
    with meter:
        functional_call(nn.Linear(4, 3, bias=False), chip, (x,))
    v = (x * 0.5).double()
    i = current_ua(chip.cells["weight"].double()[:, None], v[:, None], device.law, level)
    assert meter.power_w() == pytest.approx((i * v[:, None]).sum((0, 2, 3)).mean().item() * 1e-6, rel=1e-5)
    ohmic = PowerMeter(chip, Curve(chip, lambda: chip.cells, chip.scales), ranges, 0.5)
    with ohmic:
        functional_call(nn.Linear(4, 3, bias=False), chip, (x,))
    assert meter.power_w() > 1.2 * ohmic.power_w()


def test_layers_add_up_and_recurrent_ones_are_read_every_step():
    network = nn.LSTM(4, 3)
    names = ["weight_ih_l0", "weight_hh_l0"]
    cells = {name: torch.rand(2, *network.get_parameter(name).shape) for name in names}
    meter, _ = metered(network, torch.randn(6, 2, 4), cells, dict.fromkeys(names, 1.0), 0.2)
    assert {name: layer.reads for name, layer in meter.layers.items()} == dict.fromkeys(names, 12)
    assert meter.power_w() == pytest.approx(sum(part.sum_w / part.reads for part in meter.layers.values()))
    assert all(part.sum_w > 0 for part in meter.layers.values())


def test_a_meter_sees_what_a_periphery_before_it_lets_through():
    """Noise of the first layer's output is the second layer's input."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    chip = {f"{i}.weight": torch.ones(2 - i, 2) for i in (0, 1)}
    cells = {name: torch.ones(2, *w.shape) for name, w in chip.items()}
    ranges = Ranges()
    ranges.seen = {"0.weight in": torch.tensor(1.0), "1.weight in": torch.tensor(100.0)}
    meter = PowerMeter(chip, Curve(chip, lambda: cells, {}), ranges, 1.0)
    with Periphery(PeripherySettings(output_noise=10.0), chip), meter:
        functional_call(network, chip, (torch.full((2000, 2), 1e-6),))
    # full scale of the batch 1e-6: noise of 1e-5, on two rows of two cells each
    assert meter.layers["1.weight"].sum_w / 2000 == pytest.approx(2 * 2 * (1e-5 / 100) ** 2 * 1e-6, rel=0.15)


def test_power_is_in_the_record_of_devices_with_cells(home, tmp_path, cpu_runner, one_cell):
    small = {"network": "lenet", "train_samples": 256, "test_samples": 100, "chips": 2, "levels": (0.0, 1.0)}
    runner = cpu_runner(home, tmp_path)
    ohmic, curved = (runner.run(one_cell("nominal", name, "mnist", **small), "x") for name in ("stuck", "siox_high"))
    plain = runner.run(one_cell("nominal", "rram", "mnist", **small), "x")
    assert not any("read_power_w" in level for level in plain["levels"])
    for record in (ohmic, curved):
        assert all(0 < level["read_power_w"] < 10 and 0 < level["read_energy_j"] < 1e-3 for level in record["levels"])
    assert curved["levels"][0]["read_power_w"] < 0.05 * ohmic["levels"][0]["read_power_w"], "a hundredth of the uS"
    # More at full scale, less at small voltages: which counts depends on the signals
    assert abs(curved["levels"][1]["read_power_w"] / curved["levels"][0]["read_power_w"] - 1) > 0.02
    (row, _) = frame.rows(ohmic)
    assert row["read_power_w"] == ohmic["levels"][0]["read_power_w"] and math.isfinite(row["read_energy_j"])
    table = frame.table([ohmic, plain])
    assert table.read_power_w.isna().tolist() == [r == "rram" for r in table.device]
    cells, none = (tables(group, " ")[1] for group in (summary([ohmic])[0], summary([plain])[0]))
    top = ohmic["levels"][-1]["read_power_w"]
    assert cells[-1][0] == "mW at 1" and cells[-1][1](summary([ohmic])[0].rows[0]) == f"{1e3 * top:.3g}"
    assert not any(name.startswith("mW") for name, _ in none)
