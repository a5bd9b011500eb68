"""Read power: by hand on a small crossbar, against sums over every cell elsewhere, in the record."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from bench import frame, plan
from bench.columns import tables
from bench.montecarlo import sweep_level
from bench.rig import Rig, chip_generator
from bench.spec import ChipPolicy
from bench.summary import summary
from devices._curve import Curve, current_ua
from devices._periphery import Periphery
from devices._periphery_settings import PeripherySettings
from devices._power import READ_S, PowerMeter
from devices._products import UnknownProduct
from devices._ranges import Ranges
from devices.siox import SioxHigh
from tasks._base import Split


def metered(network: nn.Module, x: Tensor, cells: dict[str, Tensor], full_scales: dict[str, float], read_v: float):
    """A meter that has seen one pass, by Ohm's law."""
    chip = {name: network.get_parameter(name).detach() for name in cells}
    return watched(network, chip, x, Curve(chip, lambda: cells, {}), full_scales, read_v)


def watched(network: nn.Module, chip, x: Tensor, curve: Curve, full_scales: dict[str, float], read_v: float, **chosen):
    """A meter that has seen one pass with these settings, and the output."""
    ranges = Ranges()
    ranges.seen = {f"{name} in": torch.tensor(value) for name, value in full_scales.items()}
    around = Periphery(PeripherySettings(read_v=read_v, **chosen), chip, curve=curve, ranges=ranges)
    meter = PowerMeter(curve, read_v)
    with around.metered(meter):
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


@pytest.mark.parametrize("chosen, reaches", [({}, 9.0), ({"dac_bits": 8}, 2.0)])
def test_inputs_beyond_full_scale_drive_the_cells_as_they_drive_the_product(chosen, reaches):
    """By Ohm's law nothing limits them but a DAC: power and output agree."""
    layer, chip = nn.Linear(1, 1, bias=False), {"weight": torch.ones(1, 1)}
    curve = Curve(chip, lambda: {"weight": torch.ones(2, 1, 1)}, {})
    meter, y = watched(layer, chip, torch.tensor([[9.0]]), curve, {"weight": 2.0}, 0.5, **chosen)
    assert y.item() == pytest.approx(reaches)
    assert meter.power_w() == pytest.approx((reaches / 2 * 0.5) ** 2 * 2 * 1e-6)


def test_a_layer_that_saw_only_zeros_in_calibration_takes_a_finite_power():
    cells = torch.ones(2, 1, 1)
    meter, _ = metered(nn.Linear(1, 1), torch.tensor([[3.0]]), {"weight": cells}, {"weight": 0.0}, 0.5)
    assert meter.power_w() == pytest.approx(0.25 * 2 * 1e-6)


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
    layer = nn.Linear(4, 3, bias=False)
    meter, _ = watched(layer, chip, x, device.curve(chip), {"weight": 1.0}, 0.5)
    v = (x * 0.5).double()
    assert meter.power_w() == pytest.approx(closed_form_w(device, chip.cells["weight"], v, level), rel=1e-5)
    ohmic, _ = watched(layer, chip, x, Curve(chip, lambda: chip.cells, chip.scales), {"weight": 1.0}, 0.5)
    assert meter.power_w() > 1.2 * ohmic.power_w()


def closed_form_w(device: SioxHigh, cells_us: Tensor, v: Tensor, level: float) -> float:
    """Mean over reads of sum |V I|, W; v: (reads, rows)."""
    i = current_ua(cells_us.double()[:, None], v[:, None], device.law, level)
    return (i * v[:, None]).sum((0, 2, 3)).mean().item() * 1e-6


@pytest.mark.parametrize("chosen", [{"dac_range": 0.5}, {"dac_range": 2.0, "dac_bits": 4}, {"dac_bits": 3}])
def test_power_is_at_the_voltages_that_are_applied(chosen):
    """Through the whole of a sweep's code: calibration, its multiple, the DAC, and the clip at read_v."""
    device = SioxHigh(SioxHigh.Settings(**chosen))
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10, bias=False))
    split = Split(torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    rig = Rig(network, ("1.weight",), plan.task_of("mnist"), split, "fp32")
    chip = rig.program(device, chip_generator("test chip", 0), 1.0, None)
    found = rig.power(device, chip, rig.periphery(device, chip, chip_generator("noise", 0)))
    x = rig.inputs.flatten(1).double()
    full_scale = x.abs().max() * chosen.get("dac_range", 1.0)
    if bits := chosen.get("dac_bits"):
        steps = 2 ** (bits - 1) - 1
        x = (x * steps / full_scale).round().clamp(-steps, steps) * full_scale / steps
    expected = closed_form_w(device, chip.cells["1.weight"], (x / full_scale).clamp(-1, 1) * 0.5, 1.0)
    assert found["read_power_w"] == pytest.approx(expected, rel=1e-4)


def test_input_noise_takes_power():
    layer, chip = nn.Linear(1, 1, bias=False), {"weight": torch.ones(1, 1)}
    curve = Curve(chip, lambda: {"weight": torch.ones(2, 1, 1)}, {})
    meter, _ = watched(layer, chip, torch.zeros(20_000, 1), curve, {"weight": 2.0}, 0.5, input_noise=0.1)
    assert meter.power_w() == pytest.approx(2 * (0.1 * 0.5) ** 2 * 1e-6, rel=0.05)


def test_layers_add_up_and_recurrent_ones_are_read_every_step():
    network = nn.LSTM(4, 3)
    names = ["weight_ih_l0", "weight_hh_l0"]
    cells = {name: torch.rand(2, *network.get_parameter(name).shape) for name in names}
    meter, _ = metered(network, torch.randn(6, 2, 4), cells, dict.fromkeys(names, 1.0), 0.2)
    assert {name: layer.reads for name, layer in meter.layers.items()} == dict.fromkeys(names, 12)
    assert meter.power_w() == pytest.approx(sum(part.sum_w / part.reads for part in meter.layers.values()))
    assert all(part.sum_w > 0 for part in meter.layers.values())


def test_a_meter_sees_what_the_periphery_of_the_layer_before_lets_through():
    """Noise of the first layer's output is the second layer's input."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    chip = {f"{i}.weight": torch.ones(2 - i, 2) for i in (0, 1)}
    curve = Curve(chip, lambda: {name: torch.ones(2, *w.shape) for name, w in chip.items()}, {})
    x, full_scales = torch.full((2000, 2), 1e-6), {"0.weight": 1e-6, "1.weight": 100.0}
    meter, _ = watched(network, chip, x, curve, full_scales, 1.0, output_noise=10.0)
    # full scale of the first 1e-6: noise of 1e-5, on two rows of two cells each
    assert meter.layers["1.weight"].sum_w / 2000 == pytest.approx(2 * 2 * (1e-5 / 100) ** 2 * 1e-6, rel=0.15)


class Odd(nn.Module):
    """A weight, used as it is told to, and a linear layer."""

    def __init__(self, shape, use):
        super().__init__()
        self.weight, self.use, self.head = nn.Parameter(torch.randn(shape)), use, nn.LazyLinear(10)

    def forward(self, x):
        return self.head(self.use(x, self.weight).flatten(1))


@pytest.mark.parametrize(
    "name, shape, use",
    [
        ("conv_transpose2d", (1, 2, 3, 3), lambda x, w: F.conv_transpose2d(x, w, stride=2)),
        ("t", (4, 28), lambda x, w: x @ w.t()),
        ("embedding", (256, 3), lambda x, w: F.embedding((x * 10).long().clamp(0, 255), w)),
        ("bilinear", (2, 28, 28), lambda x, w: F.bilinear(x, x, w)),
    ],
)
def test_a_network_that_no_meter_can_follow_runs_without_power_and_says_so_once(name, shape, use, caplog):
    network, task = Odd(shape, use), plan.task_of("mnist")
    split = Split(torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    network(task.prepare(split.inputs))
    rig = Rig(network, ("weight", "head.weight"), task, split, "fp32")
    policy = ChipPolicy(minimum=2, maximum=2, half_width=None)
    with caplog.at_level("WARNING", "bench"):
        done = [
            sweep_level(rig, plan.device_of("stuck"), level=level, time_s=None, policy=policy) for level in (0.0, 0.1)
        ]
    assert len(done[1]["chips"]) == 2 and not any("read_power_w" in level for level in done)
    assert [r.getMessage() for r in caplog.records] == [
        f"no read power: weight weight is used in {name}, around which no periphery can be put, only around linear "
        "layers, convolutions, recurrent layers and attention; leave it out of the task's analog weights"
    ]
    with pytest.raises(UnknownProduct, match=name):
        device = plan.device_of("stuck", {"adc_bits": 8})
        sweep_level(rig, device, level=0.0, time_s=None, policy=policy)


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
