"""Chips over a sweep: paired, exact where physics says so, and as many as the rule asks for."""

import copy
import math
import threading

import pytest
import torch
from torch.func import functional_call

from bench import montecarlo, plan, registry
from bench.montecarlo import Disagreement, best_samples, in_order, sweep_level, validate
from bench.rig import FLOPS_A_WEIGHT, Measurement, Rig, chip_generator
from bench.spec import ChipPolicy
from bench.stats import chips_needed, interval
from devices._base import Device, WeightPairs, carry_pairs
from methods.bn_recalibrate import Statistics
from tasks._base import Split

FIXED = ChipPolicy(minimum=3, maximum=3, half_width=None)


@pytest.fixture(scope="module")
def split() -> Split:
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (200, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return Split(images, torch.randint(0, 10, (200,), generator=draw))


@pytest.fixture(scope="module")
def rig(split) -> Rig:
    task = plan.task_of("cifar10")
    torch.manual_seed(1)
    network = task.network("lenet")
    return Rig(network, task.analog(network), task, split, "fp32")


def logits(rig: Rig, chip=None):
    with torch.no_grad():
        return functional_call(rig.network, chip or {}, (rig.inputs,))


def test_ideal_device_is_the_digital_network_bit_for_bit(rig):
    chip = rig.program(plan.device_of("ideal"), chip_generator("test chip", 0), 0.0, None)
    assert torch.equal(logits(rig, chip), logits(rig))
    assert rig.measure(chip)[0] == rig.measure()[0]


@pytest.mark.parametrize("name", sorted(registry.entries("devices")))
def test_level_0_is_the_digital_network(rig, name):
    """A mapping may round, but no more than 1e-5. Mean drift is no deviation: it stays, but for the first moment."""
    device = plan.device_of(name)
    first = device.times_s and device.times_s[0]
    for time_s in {first} if name in ("pcm", "reram_cmo") else {first, device.default_time_s}:
        chip = rig.program(device, chip_generator("test chip", 0), 0.0, time_s)
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


# A part of the samples for each chip


def test_a_chip_on_chosen_samples(rig):
    chip = rig.program(plan.device_of("rram"), chip_generator("test chip", 0), 0.3, None)
    each = rig.per_sample(chip)
    assert rig.measure(chip)[0] == each.mean().item()
    chosen = torch.tensor([5, 3, 100])
    assert rig.measure(chip, samples=chosen)[0] == each[chosen].mean().item()


def test_samples_are_shared_between_methods_and_nested():
    few, many = montecarlo.samples_of_chip(1000, 50, 3), montecarlo.samples_of_chip(1000, 200, 3)
    assert torch.equal(few, many[:50]) and len(many.unique()) == 200
    assert not torch.equal(few, montecarlo.samples_of_chip(1000, 50, 4))


def test_a_level_without_randomness_meets_all_samples(rig):
    done = sweep_level(rig, plan.device_of("rram"), level=0.0, time_s=None, policy=FIXED, samples=20)
    assert done["chips"] == [rig.measure()[0]] and done["samples"] is None
    part = sweep_level(rig, plan.device_of("rram"), level=0.3, time_s=None, policy=FIXED, samples=20)
    assert part["samples"] == 20 and part["ekl"] is None and len(part["chips"]) == 3
    assert all(value == pytest.approx(round(value / 5) * 5) for value in part["chips"]), "one of 20 is 5 points"
    whole = sweep_level(rig, plan.device_of("rram"), level=0.3, time_s=None, policy=FIXED, samples=10_000)
    assert whole == sweep_level(rig, plan.device_of("rram"), level=0.3, time_s=None, policy=FIXED)


class Known:
    """Stands for a rig whose variances are known: sample i on a chip is worth `worth[i]` + the chip's own luck."""

    processor = torch.device("cpu")
    adaptation = None
    is_small = False

    def __init__(self, repeat: int, between: float, within: float, n: int = 1000) -> None:
        self.luck = torch.Generator().manual_seed(repeat)
        worth = torch.randn(n, generator=self.luck, dtype=torch.float64)
        self.worth = 80 + within * (worth - worth.mean()) / worth.std()
        self.targets = torch.zeros(n)
        self.between = between

    def program_cost(self):
        return 400.0

    def program(self, device, generator, level, time_s):
        return {"luck": self.between * torch.randn((), generator=self.luck, dtype=torch.float64)}

    def periphery(self, device, chip, generator):
        return None

    def power(self, device, chip, periphery):
        return {}

    def per_sample(self, chip, periphery=None):
        return self.worth + chip["luck"]

    def measure(self, chip, *, samples=None, probabilities=True, periphery=None):
        mean = (self.worth if samples is None else self.worth[samples]).mean().item()
        return Measurement(mean + chip["luck"].item(), None, {})


@pytest.mark.parametrize("policy", [FIXED, ChipPolicy(minimum=5, maximum=60, half_width=2.0)])
def test_intervals_hold_when_each_chip_meets_samples_of_its_own(policy):
    """2000 repeats of a sweep whose truth is 80: between chips 1.5, between samples 40 over 64 samples, so 5."""
    device, covered, repeats = plan.device_of("rram"), 0, 2000
    for repeat in range(repeats):
        known = Known(repeat, between=1.5, within=40.0)
        done = sweep_level(known, device, level=0.3, time_s=None, policy=policy, samples=64)
        _, low, high = interval(done["chips"], done["first_stage"])
        covered += low <= 80 <= high
    assert abs(covered / repeats - 0.95) <= 0.015


def test_the_cost_of_a_chip_is_counted_and_not_timed(rig):
    """LeNet on 3 x 32 x 32: weights on the crossbar and multiply-adds by hand."""
    weights = 3 * 25 * 6 + 6 * 25 * 16 + 400 * 120 + 120 * 84 + 84 * 10
    macs = 3 * 25 * 6 * 28**2 + 6 * 25 * 16 * 10**2 + 400 * 120 + 120 * 84 + 84 * 10
    assert rig.program_cost() == pytest.approx(weights * FLOPS_A_WEIGHT / (2 * macs))


def test_samples_a_chip_weigh_programming_against_measuring(monkeypatch):
    """m = sqrt(V_s a / V_c) with a chip as dear as 400 samples: sqrt(40^2 400 / 1.5^2) = 533, rounded to 512."""
    known = Known(0, between=1.5, within=40.0, n=20_000)
    monkeypatch.setattr(montecarlo, "PILOT", 400)
    assert best_samples(known, plan.device_of("rram"), level=0.3, time_s=None) == 512
    assert best_samples(known, plan.device_of("rram"), level=0.0, time_s=None) is None
    same = Known(0, between=0.0, within=40.0)
    assert best_samples(same, plan.device_of("rram"), level=0.3, time_s=None) is None
    lucky = Known(0, between=50.0, within=1.0)
    assert best_samples(lucky, plan.device_of("rram"), level=0.3, time_s=None) == montecarlo.MINIMUM_SAMPLES


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def assert_side_by_side_is_one_after_the_other(rig: Rig, device: Device) -> None:
    assert rig.is_small
    told = []
    asked = {
        "level": device.axis.levels[-1],
        "time_s": device.default_time_s,
        "policy": ChipPolicy(minimum=6, maximum=9, half_width=0.01),
    }
    together = sweep_level(rig, device, **asked, on_chip=lambda metric, planned: told.append((metric, planned)))
    torch.set_num_threads(1)
    alone = sweep_level(rig, device, **asked)
    assert together["chips"] == pytest.approx(alone["chips"], abs=0.51)  # one sample of 200, on the edge
    assert [metric for metric, _ in told] == together["chips"] and told[-1][1] == len(together["chips"])
    assert together["ekl"] == pytest.approx(alone["ekl"], rel=1e-3, abs=1e-5)
    assert together.get("read_power_w", 0.0) == pytest.approx(alone.get("read_power_w", 0.0), rel=1e-4)


@pytest.mark.parametrize("name", sorted(registry.entries("devices")))
def test_chips_of_a_small_network_side_by_side_are_those_one_after_the_other(rig, name, two_threads):
    assert_side_by_side_is_one_after_the_other(rig, plan.device_of(name))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_side_by_side_each_chip_has_its_own_statistics(rig, split, precision, two_threads, monkeypatch):
    monkeypatch.setattr("bench.rig.SMALL_FLOPS", 10**9)
    network = rig.task.network("vgg8_mtrd", 0.0625)
    adapting = (Statistics(40), split.head(40))
    norms = Rig(network, rig.task.analog(network), rig.task, split, precision, adaptation=adapting)
    assert_side_by_side_is_one_after_the_other(norms, plan.device_of("rram"))


@pytest.mark.parametrize("name", ["pcm", "siox_high", "rram1t1r"])
def test_side_by_side_chips_of_halves(rig, split, name, two_threads):
    network = copy.deepcopy(rig.network)
    analog = rig.task.analog(network)
    carry_pairs(network, analog)
    halves = Rig(network, analog, rig.task, split, "fp32")
    assert isinstance(halves.weights, WeightPairs)
    assert_side_by_side_is_one_after_the_other(halves, plan.device_of(name))


@pytest.mark.parametrize("name", ["rram", "siox_high"])
def test_side_by_side_chips_behind_converters(rig, name, two_threads):
    device = plan.device_of(name, {"dac_bits": 8, "adc_bits": 6, "output_noise": 0.02})
    assert_side_by_side_is_one_after_the_other(rig, device)


def test_small_networks_use_threads_and_rigs_of_their_own(rig, two_threads):
    """In order, the first chip alone on the rig itself; afterwards torch has its threads back."""
    met, both = [], threading.Barrier(2, timeout=10)

    def one(own, c):
        met.append((threading.current_thread(), own.network))
        if c > 0:
            both.wait()  # times out unless two are under way
            assert torch.get_num_threads() == 1
        return c

    assert list(in_order(rig, one, range(5))) == [0, 1, 2, 3, 4]
    assert met[0] == (threading.main_thread(), rig.network)
    assert len({thread for thread, _ in met[1:]}) == len({id(network) for _, network in met[1:]}) == 2
    assert all(network is not rig.network for _, network in met[1:])
    assert torch.get_num_threads() == 2


def test_large_networks_take_all_threads_for_each_chip(rig, two_threads, monkeypatch):
    monkeypatch.setattr("bench.rig.SMALL_FLOPS", 0)
    threads = list(in_order(rig, lambda own, c: (threading.current_thread(), torch.get_num_threads()), range(3)))
    assert threads == [(threading.main_thread(), 2)] * 3


def test_an_error_on_one_chip_ends_the_sweep_with_that_error(rig, two_threads):
    def one(own, c):
        if c == 2:
            raise ValueError("chip 2")
        return c

    with pytest.raises(ValueError, match="chip 2"):
        list(in_order(rig, one, range(8)))
    assert torch.get_num_threads() == 2
