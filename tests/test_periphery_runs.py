"""The periphery in training and in sweeps: entered where something surrounds a product, and nowhere else."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.overrides import _len_torch_function_stack

from bench import plan, registry
from bench.montecarlo import sweep_level
from bench.rig import Rig, chip_generator, numbered_chip
from bench.spec import ChipPolicy
from bench.store import Checkpoints
from devices import _base, _curve
from devices._curve import voltage
from devices._periphery_settings import PeripherySettings
from tasks._base import Split

FIXED = ChipPolicy(minimum=2, maximum=2, half_width=None)
PLAIN = sorted(name for name in registry.entries("devices") if not name.startswith("siox"))


class Watching(nn.Module):
    """conv - BatchNorm - linear; notes how many modes are active at each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 10)
        self.modes: list[int] = []

    def forward(self, x):
        self.modes.append(_len_torch_function_stack())
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


@pytest.fixture
def network() -> Watching:
    torch.manual_seed(1)
    network = Watching()
    network.norm.running_var.uniform_(0.5, 2)
    network.norm.running_mean.uniform_(-1, 1)
    return network


@pytest.fixture
def split() -> Split:
    return Split(torch.randint(0, 256, (60, 1, 28, 28), dtype=torch.uint8), torch.randint(0, 10, (60,)))


def rig_of(network: nn.Module, split: Split, precision: str = "fp32") -> Rig:
    return Rig(network, ("conv.weight", "head.weight"), plan.task_of("mnist"), split, precision)


@pytest.mark.parametrize("name", PLAIN)
def test_no_mode_is_entered_when_everything_is_off(name, network, split, monkeypatch):
    monkeypatch.setattr(_base, "Periphery", lambda *a, **k: pytest.fail("a periphery was made"))
    device, rig = plan.device_of(name), rig_of(network, split)
    level = device.axis.levels[-1]
    chip = rig.program(device, chip_generator("test chip", 0), level, device.default_time_s)
    if isinstance(chip, _base.Chip) and callable(chip._cells):
        monkeypatch.setattr(chip, "_cells", lambda: pytest.fail("cells were made for nothing"))
    assert isinstance(device.periphery(chip), nullcontext)
    rig.measure()  # the first pass counts FLOPs
    network.modes.clear()
    assert rig.periphery(device, chip, chip_generator("test chip", 0)) is None
    rig.measure(chip)
    assert network.modes == [0]


@pytest.mark.parametrize("name", sorted(registry.entries("devices")))
def test_every_device_takes_the_settings_of_the_periphery(name, network, split):
    assert issubclass(plan.device_of(name).Settings, PeripherySettings)
    device, rig = plan.device_of(name, {"adc_bits": 4, "dac_bits": 4}), rig_of(network, split)
    for level in (0.0, device.axis.levels[-1]):
        done = sweep_level(rig, device, level=level, time_s=device.default_time_s, policy=FIXED)
        assert len(done["chips"]) == (2 if device.is_random(level) else 1)
    assert network.modes[-1] == 1


def test_ranges_come_from_the_calibration_samples_and_the_digital_network(network, split):
    bright = Split(torch.full((3, 1, 28, 28), 255, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    task = plan.task_of("mnist")
    rig = Rig(network, ("conv.weight", "head.weight"), task, split, "fp32", bright)
    ranges = rig._calibrated(PeripherySettings(adc_bits=8))
    x = task.prepare(bright.inputs)
    with torch.no_grad():
        y = network.conv(x)
        z = network.norm(y).relu().mean((2, 3))
    assert ranges.seen["conv.weight in"] == x.abs().max()
    assert ranges.seen["conv.weight out 0"].item() == pytest.approx(y.abs().max().item())
    assert ranges.seen["head.weight out 0"].item() == pytest.approx((z @ network.head.weight.t()).abs().max().item())
    assert rig._calibrated(PeripherySettings(adc_bits=8)) is ranges


def test_batch_norm_is_not_folded_under_an_adc(network, split):
    """In bf16, where it is folded otherwise: the ADC must see what the convolution puts out."""
    rig, device = rig_of(network, split, "bf16"), plan.device_of("ideal", {"adc_bits": 4})
    assert rig.folded is not None and rig.folded.scales.keys() == {"conv.weight"}
    seen = []
    network.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    chip = rig.program(device, chip_generator("test chip", 0), 0.0, None)
    rig.measure(chip, periphery=rig.periphery(device, chip, chip_generator("test chip", 0)))
    levels = seen[-1].float().unique()
    assert 5 < len(levels) <= 15
    assert levels.max().item() <= rig._calibrated(device.settings).seen["conv.weight out 0"].item() * 1.01


def test_converters_and_noise_do_what_they_do_in_a_sweep(network, split):
    rig = rig_of(network, split)
    with torch.no_grad():
        rig.targets = network(rig.inputs).argmax(1)  # so that the digital network is always right
    found = {}
    for key, chosen in {"16 bits": {"adc_bits": 16, "dac_bits": 16}, "2 bits": {"adc_bits": 2}}.items():
        device = plan.device_of("ideal", chosen)
        found[key] = sweep_level(rig, device, level=0.0, time_s=None, policy=FIXED)["chips"]
    assert found["16 bits"] == [100.0] and found["2 bits"][0] < 98
    noisy = plan.device_of("ideal", {"output_noise": 0.5})
    one, same = (sweep_level(rig, noisy, level=0.0, time_s=None, policy=FIXED) for _ in range(2))
    assert one == same and len(one["chips"]) == 2 and max(one["chips"]) < 100


def test_a_chip_is_the_same_with_and_without_a_periphery(network, split):
    """What surrounds the cells changes no cell: their random numbers come first."""
    rig = rig_of(network, split)
    for name in ("rram", "siox_high", "stuck"):
        plain, noisy = plan.device_of(name), plan.device_of(name, {"output_noise": 0.1, "adc_bits": 5})
        level = plain.axis.levels[-1]
        one, other = (rig.program(d, chip_generator("test chip", 3), level, None) for d in (plain, noisy))
        assert all(torch.equal(one[k], other[k]) for k in one)


def test_training_meets_the_periphery_and_the_clean_pass_does_not(home, tmp_path, cpu_runner, one_cell, monkeypatch):
    entered = []
    real = _base.Periphery

    class Counted(real):
        def __enter__(self):
            entered.append(torch.is_grad_enabled())
            return super().__enter__()

    monkeypatch.setattr(_base, "Periphery", Counted)
    small = {"network": "mlp", "train_samples": 64, "test_samples": 50, "chips": 1, "epochs": 1}
    runner = cpu_runner(home, tmp_path)
    plain = one_cell("noise_injection", "rram", "mnist", **small, finetune_epochs=1)
    runner.train(plain.evaluation.training)
    assert entered == []
    chosen = {"dac_bits": "6", "adc_bits": "6"}
    cell = one_cell("noise_injection", "rram", "mnist", **small, finetune_epochs=1, device_settings=chosen)
    runner.train(cell.evaluation.training)
    assert entered == [True, True], "64 samples are two steps; the nominal run before them has no device"


def test_learned_ranges_go_from_training_to_the_sweep(home, tmp_path, cpu_runner, one_cell):
    small = {"network": "mlp", "train_samples": 512, "test_samples": 50, "chips": 1, "epochs": 1, "finetune_epochs": 2}
    chosen = {"dac_bits": "4", "input_range": "learned"}
    runner = cpu_runner(home, tmp_path)
    cell = one_cell("noise_injection", "rram", "mnist", **small, device_settings=chosen)
    network = runner.train(cell.evaluation.training)
    _, about = Checkpoints(home / "checkpoints").load(cell.evaluation.training.key)
    task, splits = runner.task(cell.evaluation.training)
    assert about["input_ranges"].keys() == set(task.analog(network))
    assert network.input_ranges.logarithms() == about["input_ranges"]
    rig = Rig(network, task.analog(network), task, splits.val.head(50), "fp32")
    device = plan.device_of("rram", {"dac_bits": 4, "input_range": "learned"})
    key, logarithm = next(iter(about["input_ranges"].items()))
    with torch.inference_mode():
        full_scale = rig._calibrated(device.settings).input(key, torch.ones(1), 1.0)
    assert full_scale.log().item() == pytest.approx(logarithm, abs=1e-6)


def test_learned_ranges_of_a_stopped_run_end_like_those_of_one_that_was_not(
    home, other_home, tmp_path, cpu_runner, one_cell, monkeypatch
):
    small = {"network": "mlp", "train_samples": 512, "epochs": 1, "finetune_epochs": 3, "test_samples": 50, "chips": 1}
    chosen = {"dac_bits": "4", "input_range": "learned"}
    training = one_cell("noise_injection", "rram", "mnist", **small, device_settings=chosen).evaluation.training
    whole = cpu_runner(other_home, tmp_path / "a").train(training)

    class Stopped(Exception):
        pass

    real = Checkpoints.save_partial

    def stop(self, key, state):
        real(self, key, state)
        if key == training.key:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save_partial", stop)
        for _ in range(2):
            with pytest.raises(Stopped):
                cpu_runner(home, tmp_path / "b").train(training)
    pieces = cpu_runner(home, tmp_path / "b").train(training)
    assert pieces.input_ranges.logarithms() == whole.input_ranges.logarithms()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, pieces.state_dict()[name]), name


class Deep(nn.Module):
    """Five layers: what a curve adds to each adds up."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (784, 20, 20, 20, 20, 10)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in zip(sizes, sizes[1:], strict=False))

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


@pytest.mark.parametrize("level", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("settings", [{}, {"adc_bits": 14, "dac_bits": 14}, {"residual_c": 0.3}])
def test_a_sweep_sets_the_ranges_of_curved_cells_as_training_does(level, settings, split, monkeypatch):
    """On the same samples a chip shows the same outputs in both, and nothing is clipped."""
    network, task = Deep().eval(), plan.task_of("mnist")
    names = tuple(f"layers.{i}.weight" for i in range(5))
    rig, device = Rig(network, names, task, split, "fp32"), plan.device_of("siox_high", settings)
    chip = rig.program(device, chip_generator("test chip", 0), level, None)
    full_scales = rig._calibrated(device.settings, device.curve(chip)).seen
    beyond = []

    def watched(x, full_scale, read_v):
        beyond.append((x.abs() > full_scale * (1 + 1e-6)).float().mean().item())
        return voltage(x, full_scale, read_v)

    monkeypatch.setattr(_curve, "voltage", watched)
    outputs = []
    for around in (rig.periphery(device, chip, chip_generator("noise", 0)), device.periphery(chip, clean=rig.weights)):
        with torch.inference_mode(), around or nullcontext():
            outputs.append(functional_call(network, dict(chip), (rig.inputs,)))
    if level == 0:
        digital = Rig(network, names, task, split, "fp32")._calibrated(device.settings).seen
        assert full_scales.keys() == digital.keys() and all(torch.equal(full_scales[k], digital[k]) for k in digital)
        if not settings.get("adc_bits"):
            assert torch.allclose(outputs[0], network(rig.inputs), rtol=1e-5, atol=1e-5)
        return
    # A calibration doesn't round, a batch in training does: with converters the two are some steps apart
    share = 0.02 if settings.get("adc_bits") else 1e-5
    assert (outputs[0] - outputs[1]).abs().max() <= share * outputs[1].abs().max()
    assert max(beyond) <= (0.01 if settings.get("adc_bits") else 0)


def test_chips_that_conduct_alike_are_calibrated_once(split, monkeypatch):
    network, task = Deep().eval(), plan.task_of("mnist")
    rig = Rig(network, tuple(f"layers.{i}.weight" for i in range(5)), task, split, "fp32")
    made = []
    observed = Rig._observed
    monkeypatch.setattr(Rig, "_observed", lambda self, *a: made.append(1) or observed(self, *a))
    for settings, expected in (({"read_noise": 0.01}, 1), ({"residual_d": 0.1}, 3), ({"stuck_on": 0.1}, 3)):
        made.clear()
        sweep_level(
            rig,
            plan.device_of("siox_high", settings),
            level=1.0,
            time_s=None,
            policy=ChipPolicy(minimum=3, maximum=3, half_width=None),
        )
        assert len(made) == expected


@pytest.mark.parametrize("name", PLAIN)
def test_the_noise_around_products_is_the_same_at_every_level(name, network, split):
    """Chip 0 draws the same numbers wherever it is on the axis, however much its cells drew before."""
    rig, device = rig_of(network, split), plan.device_of(name, {"input_noise": 0.1})
    drawn = []
    for level in (0.0, device.axis.levels[-1]):
        _, around = numbered_chip(rig, device, "test chip", 0, level, device.default_time_s)
        drawn.append(torch.randn(5, generator=around.generator))
    assert torch.equal(*drawn)
    _, other = numbered_chip(rig, device, "test chip", 1, 0.0, device.default_time_s)
    assert not torch.equal(drawn[0], torch.randn(5, generator=other.generator))
