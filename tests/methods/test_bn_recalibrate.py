"""BatchNorm statistics of every chip: its own, from unlabelled training samples, the same whenever it is asked for."""

import json
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from bench import plan
from bench.errors import BenchError
from bench.folding import Folded
from bench.markdown import leaderboard
from bench.montecarlo import PILOT, best_samples, sweep_level, validate
from bench.rig import Rig, chip_generator, numbered_chip
from bench.shape import check_record
from bench.spec import ChipPolicy
from bench.summary import summary
from methods._base import MethodError
from methods.bn_recalibrate import Statistics, batch_norms
from tasks._base import Split

SMALL = {"network": "vgg8_mtrd", "width": 0.0625, "train_samples": 128, "test_samples": 60, "chips": 2}


def network_of(width: float = 0.0625) -> nn.Module:
    """BatchNorms with statistics and affine weights unlike those of a fresh one."""
    torch.manual_seed(3)
    network = plan.task_of("cifar10").network("vgg8_mtrd", width)
    for norm in batch_norms(network).values():
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    return network.eval()


def pictures(n: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return Split(images, torch.randint(0, 10, (n,), generator=draw))


def rig_of(network: nn.Module, precision: str = "fp32", samples: int | None = 40, labels: int = 2) -> Rig:
    """A rig whose chips adapt, unless `samples` is None; `labels`: seed of the unlabelled samples' labels."""
    task = plan.task_of("cifar10")
    train = pictures(60, 2)
    train = Split(train.inputs, pictures(60, labels).targets)
    adaptation = None if samples is None else (Statistics(samples), train.head(samples))
    return Rig(network, task.analog(network), task, pictures(50, 1), precision, adaptation=adaptation)


def by_hand(network: nn.Module, chip, inputs) -> dict[str, torch.Tensor]:
    """Statistics layer after layer: inputs of each BatchNorm when those before it use the batch's own."""
    seen = {}
    for name, norm in batch_norms(network).items():

        def note(module, inputs, output, name=name):
            x = inputs[0].detach()
            over, shape = ((0, 2, 3), (1, -1, 1, 1)) if x.dim() == 4 else ((0,), (1, -1))
            mean, var = x.mean(over), x.var(over)  # unbiased
            seen.setdefault(f"{name}.running_mean", []).append(mean)
            seen.setdefault(f"{name}.running_var", []).append(var)
            biased = x.var(over, unbiased=False)
            y = (x - mean.view(shape)) / (biased.view(shape) + module.eps).sqrt()
            return y * module.weight.view(shape) + module.bias.view(shape)

        norm.note = norm.register_forward_hook(note)
    with torch.no_grad():
        for some in inputs:
            functional_call(network, dict(chip), (some,))
    for norm in batch_norms(network).values():
        norm.note.remove()
        del norm.note
    return {name: torch.stack(values).mean(0) for name, values in seen.items()}


@pytest.mark.parametrize("batch", [20, 40, 25])
def test_statistics_are_means_over_equal_batches_of_the_chips_own_outputs(monkeypatch, batch):
    monkeypatch.setattr("methods.bn_recalibrate.BATCH", batch)
    network = network_of()
    rig = rig_of(network)
    chip, _ = numbered_chip(rig, plan.device_of("rram"), "test chip", 0, 0.3, None)
    prepared = rig.task.prepare(pictures(60, 2).inputs[:40])
    expected = by_hand(network, chip, prepared.split(40 if batch == 40 else 20))
    assert set(chip.digital) == set(expected) and len(expected) == 2 * 7
    for name, value in expected.items():
        assert torch.allclose(chip.digital[name], value, rtol=1e-4, atol=1e-5), name
    other, _ = numbered_chip(rig, plan.device_of("rram"), "test chip", 1, 0.3, None)
    assert not torch.allclose(other.digital["bn1.running_var"], chip.digital["bn1.running_var"], rtol=1e-2)


def test_the_network_is_left_as_it_was():
    network = network_of()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    numbered_chip(rig_of(network), plan.device_of("rram"), "test chip", 0, 0.3, None)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    norms = batch_norms(network).values()
    assert not any(norm.training for norm in norms) and {norm.momentum for norm in norms} == {0.1}


@pytest.mark.parametrize("device", ["rram", "pcm", "siox_high"])
def test_a_chip_adapts_alike_whenever_it_is_asked_for_and_to_no_label(device):
    noisy = {"output_noise": 0.02} if device == "rram" else {}
    network, made = network_of(), plan.device_of(device, noisy)
    level, time_s = made.axis.train_level, made.default_time_s
    one, two = (rig_of(network, labels=labels) for labels in (2, 7))
    numbered_chip(two, made, "test chip", 3, level, time_s)
    (chip, around), (again, _) = (numbered_chip(rig, made, "test chip", 0, level, time_s) for rig in (one, two))
    assert all(torch.equal(chip[name], again[name]) for name in chip)
    assert all(torch.equal(chip.digital[name], again.digital[name]) for name in chip.digital)
    # what surrounds the products of a measurement has the numbers that it has without adapting
    plain, usual = numbered_chip(rig_of(network, samples=None), made, "test chip", 0, level, time_s)
    assert not getattr(plain, "digital", {})
    if noisy:
        assert torch.equal(around.generator.get_state(), usual.generator.get_state())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_chip_is_measured_with_its_own_statistics(precision):
    network, device = network_of(0.125), plan.device_of("rram")
    rig = rig_of(network, precision)
    chip, _ = numbered_chip(rig, device, "test chip", 0, 0.4, None)
    found = rig.measure(chip).probabilities
    with torch.no_grad():
        exact = functional_call(network, {**chip, **chip.digital}, (rig.inputs.float(),)).softmax(1)
        usual = functional_call(network, dict(chip), (rig.inputs.float(),)).softmax(1)
    loose = 1e-5 if precision == "fp32" else 0.1
    assert torch.allclose(found, exact, atol=loose)
    assert not torch.allclose(found, usual, atol=2 * loose)


def test_statistics_are_folded_anew():
    network = network_of()
    inputs = torch.randn(4, 3, 32, 32)
    folded = Folded(network, inputs[:2])
    weights = dict(network.named_parameters())
    weights = {name: weights[name].detach() for name in plan.task_of("cifar10").analog(network)}
    own = {name: b for name, b in network.named_buffers() if "running" in name}
    other = {name: b + 0.3 for name, b in own.items()}
    with torch.no_grad():
        plain = functional_call(folded.network, folded.state(weights, torch.float32), (inputs,))
        same = functional_call(folded.network, folded.state(weights, torch.float32, own), (inputs,))
        assert torch.equal(plain, same)
        changed = functional_call(folded.network, folded.state(weights, torch.float32, other), (inputs,))
        assert torch.allclose(changed, functional_call(network, weights | other, (inputs,)), rtol=1e-3, atol=1e-4)
    assert folded.state(weights, torch.bfloat16, other)["conv1.bias"].dtype == torch.float32


def test_statistics_that_could_not_be_folded_are_taken_along():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

        def forward(self, x):
            y = self.conv(x)
            return (self.norm(y) + y).mean((2, 3))

    network, inputs = Branching().eval(), torch.randn(4, 3, 8, 8)
    folded, other = Folded(network, inputs[:2]), {"norm.running_mean": torch.ones(8), "norm.running_var": torch.ones(8)}
    state = folded.state({"conv.weight": network.conv.weight.detach()}, torch.float32, other)
    assert not folded.scales and not torch.allclose(functional_call(folded.network, state, (inputs,)), network(inputs))
    assert torch.equal(functional_call(folded.network, state, (inputs,)), functional_call(network, other, (inputs,)))


def test_read_power_is_that_of_adapted_signals():
    network = network_of()
    device = plan.device_of("pcm")
    adapted, plain = (
        sweep_level(rig, device, level=2.0, time_s=86400.0, policy=ChipPolicy(minimum=1, maximum=1, half_width=None))
        for rig in (rig_of(network), rig_of(network, samples=None))
    )
    assert adapted["read_power_w"] > 0 and adapted["read_power_w"] != pytest.approx(plain["read_power_w"], rel=0.01)


def test_validation_and_the_choice_of_samples_adapt_too(monkeypatch):
    network, device = network_of(), plan.device_of("rram")
    adapting, plain = rig_of(network), rig_of(network, samples=None)
    values = [
        adapting.measure(numbered_chip(adapting, device, "validation chip", c, 0.3, None)[0])[0] for c in range(2)
    ]
    assert validate(adapting, device, (0.3,), chips=2, time_s=None) == [sum(values) / 2]
    assert adapting.program_cost() == pytest.approx(plain.program_cost() + 40)
    chips = [numbered_chip(adapting, device, "pilot chip", c, 0.3, None) for c in range(PILOT)]
    seen = torch.stack([adapting.per_sample(*chip) for chip in chips])
    within = seen.var(1).mean().item()
    between = seen.mean(1).var().item() - within / 50
    costs = adapting.program_cost(), plain.program_cost()
    best, unlike = (2 ** round(math.log2(math.sqrt(within * cost / between))) for cost in costs)
    monkeypatch.setattr("bench.montecarlo.MINIMUM_SAMPLES", 1)
    assert best_samples(adapting, device, level=0.3, time_s=None) == best != unlike


def test_recalibration_undoes_a_gain_of_a_layer():
    """Weights all twice as large before a BatchNorm: to its own statistics that is nothing."""
    network = network_of()
    rig = rig_of(network)
    generator = chip_generator("test chip", 0)
    clean = rig.adapted(rig.program(plan.device_of("ideal"), generator, 0.0, None), None)
    louder = rig.adapted({n: 2 * w if n != "fc8.weight" and w.dim() == 4 else w for n, w in clean.items()}, None)
    assert torch.allclose(rig.measure(louder)[1], rig.measure(clean)[1], atol=1e-3)
    louder.digital = {}
    assert not torch.allclose(rig.measure(louder)[1], rig.measure(clean)[1], atol=1e-2)


def test_the_wrapped_run_is_the_one_that_others_share(watch):
    asked = {"network": "vgg8_mtrd", "width": 0.0625, "task": "cifar10", "shape": (3, 32, 32)}
    context = watch("bn_recalibrate", **asked)
    made = context.fit()
    (other,) = context.asked
    assert (other.method, other.level, other.settings) == ("noise_injection", context.level, {})
    assert other.key == watch("noise_injection", **asked).training.key
    inputs = context.example(64)
    fresh = plan.task_of("cifar10").network("vgg8_mtrd", 0.0625)
    fresh.load_state_dict(made.network.state_dict())
    expected = by_hand(fresh.eval(), {}, [inputs])
    state = made.network.state_dict()
    assert all(torch.allclose(state[name], value, rtol=1e-4, atol=1e-5) for name, value in expected.items())
    assert context.cost["forward_passes"] == 64 and context.cost["samples"] == context.cost["epochs"] == 0


def key(one_cell, method: str, device: str = "rram", **asked) -> str:
    return one_cell(method, device, "cifar10", network="vgg8_mtrd", **asked).evaluation.training.key


def test_what_the_wrapped_method_ignores_is_ignored(one_cell):
    nominal = {"settings": {"method": "nominal"}}
    keys = {key(one_cell, "bn_recalibrate", d, level=lv, **nominal) for d, lv in (("rram", 0.1), ("pcm", 2.0))}
    assert len(keys) == 1
    keys |= {key(one_cell, "bn_recalibrate", level=level) for level in (0.1, 0.3)}
    assert len(keys) == 3
    training = one_cell("bn_recalibrate", "rram", "cifar10", network="vgg8_mtrd").evaluation.training
    assert training.method_version == "1+noise_injection=1+nominal=1"
    wrapped = {"settings": {"method": "mtrd"}}
    training = one_cell("bn_recalibrate", "rram", "cifar10", network="vgg8_mtrd", **wrapped).evaluation.training
    assert training.method_version == "1+mtrd=1+noise_injection=1+nominal=1"


@pytest.mark.parametrize(
    "wrapped, reason",
    [("bn_recalibrate", "wraps another method itself"), ("norminal", "unknown method 'norminal'; did you mean")],
)
def test_what_cannot_be_wrapped_is_refused(one_cell, wrapped, reason):
    with pytest.raises(BenchError, match=reason):
        one_cell("bn_recalibrate", "rram", "cifar10", settings={"method": wrapped})


def test_a_network_without_batchnorm_is_refused_before_anything_is_trained(watch):
    context = watch("bn_recalibrate")
    with pytest.raises(MethodError, match="has no BatchNorm"):
        context.fit()
    assert not context.asked


@pytest.mark.parametrize("wrapped", ["nominal", "committee"])
def test_a_sweep_is_redone_from_the_checkpoint(home, tmp_path, cpu_runner, one_cell, wrapped):
    settings = {"bn_recalibrate.method": wrapped, "bn_recalibrate.samples": "100"}
    cell = one_cell("bn_recalibrate", "rram", "cifar10", levels=(0.0, 0.3), settings=settings, **SMALL)
    runner = cpu_runner(home, tmp_path / "results")
    record = runner.run(cell, "test")
    about = runner.checkpoints.load(cell.evaluation.training.key)[1]
    assert about["adaptation"] == {"samples_a_chip": 100}
    assert record["adaptation"] == {"samples_a_chip": 100, "forward_passes": 3 * 100}
    teachers = {"nominal": 1, "committee": 5}[wrapped]
    assert record["cost"]["samples"] == 0 and record["cost"]["teacher_samples"] == teachers * 128
    again = cpu_runner(home, tmp_path / "others").run(cell, "test")
    assert again["levels"] == record["levels"]
    # and not what it is without recalibration
    training = cell.evaluation.training
    plain = one_cell(wrapped, "rram", "cifar10", levels=(0.0, 0.3), **SMALL)
    assert runner.run(plain, "test")["levels"][1]["ekl"] != record["levels"][1]["ekl"]
    assert len(runner.validate(training, plan.device_of("rram"), (0.3,), None, 1)) == 1
    check_record(json.loads(json.dumps(record)))
    one = network_of()
    weights = sum(one.get_parameter(name).numel() for name in plan.task_of("cifar10").analog(one))
    assert record["analog_weights"] == teachers * weights
    with pytest.raises(ValueError, match="analog_weights is 'many'"):
        check_record(record | {"analog_weights": "many"})
    with pytest.raises(ValueError, match="samples_a_chip"):
        check_record(record | {"adaptation": {"samples_a_chip": "many", "forward_passes": 1}})
    table = leaderboard(summary([record]))
    assert "100" in table and "samples" in table and "adapts to" in table
    assert "adapts to" not in leaderboard(summary([{k: v for k, v in record.items() if k != "adaptation"}]))


def test_no_more_samples_than_the_run_trained_on(home, tmp_path, cpu_runner, one_cell):
    cell = one_cell("bn_recalibrate", "rram", "cifar10", settings={"bn_recalibrate.method": "nominal"}, **SMALL)
    runner = cpu_runner(home, tmp_path / "results")
    _, given = runner.adaptation(cell.evaluation.training)
    _, splits = runner.task(cell.evaluation.training)
    assert len(given) == 128 and torch.equal(given.inputs, splits.train.inputs[:128])
