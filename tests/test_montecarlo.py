"""Chips over a sweep: paired, exact where physics says so, and as many as the rule asks for."""

import math

import pytest
import torch
from torch.func import functional_call

from bench import plan, registry
from bench.montecarlo import Disagreement, Rig, chip_generator, sweep_level, validate
from bench.spec import ChipPolicy
from bench.stats import chips_needed
from tasks._base import Split

FIXED = ChipPolicy(minimum=3, maximum=3, half_width=None)


@pytest.fixture(scope="module")
def rig() -> Rig:
    task = plan.task_of("cifar10")
    torch.manual_seed(1)
    network = task.network("lenet")
    split = Split(torch.randint(0, 256, (200, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 10, (200,)))
    return Rig(network, task.analog(network), task, split, "fp32")


def logits(rig: Rig, chip=None):
    with torch.no_grad():
        return functional_call(rig.network, chip or {}, (rig.batches[0],))


def test_ideal_device_is_the_digital_network_bit_for_bit(rig):
    chip = rig.program(plan.device_of("ideal"), chip_generator("test chip", 0), 0.0, None)
    assert torch.equal(logits(rig, chip), logits(rig))
    assert rig.measure(chip)[0] == rig.measure()[0]


@pytest.mark.parametrize("name", sorted(registry.entries("devices")))
def test_level_0_is_the_digital_network(rig, name):
    """A mapping may round, but no more than 1e-5."""
    device = plan.device_of(name)
    chip = rig.program(device, chip_generator("test chip", 0), 0.0, device.default_time_s)
    clean = logits(rig)
    assert (logits(rig, chip) - clean).abs().max() <= 1e-5 * clean.abs().max()


@pytest.mark.parametrize("name", sorted(registry.entries("devices")))
def test_a_chip_is_the_same_whenever_it_is_asked_for(rig, name):
    device = plan.device_of(name)
    level = device.axis.levels[-1]
    one, again, other = (
        rig.program(device, chip_generator("test chip", c), level, device.default_time_s) for c in (4, 4, 5)
    )
    assert all(torch.equal(one[k], again[k]) for k in one)
    if device.is_random(level):
        assert not any(torch.equal(one[k], other[k]) for k in one)


def test_chips_are_shared_between_levels(rig):
    """Lognormal: ln(w'/w) of one chip at sigma .4 is four times that at .1."""
    device = plan.device_of("rram")
    low, high = (rig.program(device, chip_generator("test chip", 0), level, None) for level in (0.1, 0.4))
    for name, weight in rig.weights.items():
        assert torch.allclose((high[name] / weight).log(), 4 * (low[name] / weight).log(), atol=1e-5)


def test_validation_chips_are_not_test_chips(rig):
    draws = [torch.randn(8, generator=chip_generator(purpose, 0)) for purpose in ("test chip", "validation chip")]
    assert not torch.equal(*draws)
    device = plan.device_of("rram")
    means = validate(rig, device, (0.0, 0.3), chips=2, time_s=None)
    assert means[0] == rig.measure()[0]
    assert means == validate(rig, device, (0.0, 0.3), chips=2, time_s=None)


def test_one_chip_where_nothing_is_random(rig):
    done = sweep_level(rig, plan.device_of("rram"), level=0.0, time_s=None, policy=FIXED)
    assert done["chips"] == [rig.measure()[0]] and done["ekl"] == pytest.approx(0, abs=1e-9)


def test_fixed_number_of_chips(rig):
    seen = []
    done = sweep_level(
        rig, plan.device_of("rram"), level=0.3, time_s=None, policy=FIXED, on_chip=lambda m, n: seen.append((m, n))
    )
    assert len(done["chips"]) == 3 and seen == [(m, 3) for m in done["chips"]]


def test_adaptive_number_follows_the_two_stage_rule(rig):
    policy = ChipPolicy(minimum=5, maximum=12, half_width=1.0)
    done = sweep_level(rig, plan.device_of("rram"), level=0.5, time_s=None, policy=policy)
    assert done["first_stage"] == 5
    assert len(done["chips"]) == chips_needed(done["chips"][:5], 1.0, 12) > 5
    loose = ChipPolicy(minimum=5, maximum=12, half_width=100.0)
    few = sweep_level(rig, plan.device_of("rram"), level=0.5, time_s=None, policy=loose)
    assert few["chips"] == done["chips"][:5], "the first chips are the same chips"


def test_ekl_is_the_mean_divergence_from_the_mean_prediction():
    """Against the definition, written out image by image and chip by chip."""
    torch.manual_seed(0)
    chips = [torch.softmax(2 * torch.randn(7, 4), 1) for _ in range(5)]
    spread = Disagreement()
    for chip in chips:
        spread.add(chip)
    mean = torch.stack(chips).double().mean(0)
    expected = sum(
        float(mean[i, k]) * math.log(float(mean[i, k]) / float(chip[i, k])) / (7 * 5)
        for chip in chips
        for i in range(7)
        for k in range(4)
    )
    assert spread.value() == pytest.approx(expected, rel=1e-9)
