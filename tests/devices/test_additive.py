"""Additive devices against their closed forms: gaussian (MTRD, MAT) and NeFT's four, in both forms."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import plan
from devices.neft import K

CELLS = 200_000
# NeFT's table: std / (M sigma_d) of outer and of middle states.
NEFT = {"rram1": (0.7776, 0.7776), "fefet2": (0.524, 1.049), "rram4": (0.294, 1.176), "fefet6": (0.201, 1.205)}
MIDDLE = {"rram1": 1, "fefet2": 2, "rram4": 4, "fefet6": 6}
ALL = ["gaussian", *NEFT]
SLICED = {"form": "sliced"}


def chip_of(name: str, w: Tensor, level: float, seed: int = 0, settings: Any = None) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return plan.device_of(name, settings).program({"w": w}, generator, level=level)["w"]


def deviations(name: str, w: Tensor, level: float, seed: int = 0, settings: Any = None) -> Tensor:
    """What a chip adds to w, in doubles: differences of floats lose digits."""
    return chip_of(name, w, level, seed, settings).double() - w.double()


def column(value: float, peak: float = 2.0) -> Tensor:
    """CELLS weights of one value, and the largest one of the tensor."""
    return torch.cat([torch.full((CELLS,), value), torch.tensor([peak])])


@pytest.mark.parametrize("sigma", [0.02, 0.06, 0.1])
@pytest.mark.parametrize("value", [-1.9, 0.0, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0])
def test_gaussian_is_as_wide_as_the_largest_weight_says(sigma, value):
    d = deviations("gaussian", column(value), sigma)[:CELLS]
    assert d.std().item() == pytest.approx(2 * sigma, rel=0.01)
    assert abs(d.mean().item()) < 5 * 2 * sigma / CELLS**0.5
    assert (d**3).mean().item() == pytest.approx(0, abs=5 * (15 / CELLS) ** 0.5 * (2 * sigma) ** 3)


@pytest.mark.parametrize("noise_sd", [0.01, 0.05])
@pytest.mark.parametrize("low", [-1.0, 0.5])
def test_gaussian_on_mats_axis_is_relative_to_the_range(noise_sd, low):
    """MAT: std = noise_sd (max w - min w)."""
    w = torch.cat([torch.full((CELLS,), 1.0), torch.tensor([low, 2.0])])
    d = deviations("gaussian", w, noise_sd, settings={"relative_to": "range"})[:CELLS]
    assert d.std().item() == pytest.approx(noise_sd * (2.0 - low), rel=0.01)
    same = deviations("gaussian", w, noise_sd, settings={"relative_to": "peak"})
    assert torch.equal(same, deviations("gaussian", w, noise_sd))
    units = [plan.device_of("gaussian", {"relative_to": to}).axis.unit for to in ("peak", "range")]
    assert units == ["std / max|w|", "std / (max w - min w)"]


def test_k_is_that_of_four_two_bit_cells():
    assert pytest.approx(4369**0.5 / 85) == K


@pytest.mark.parametrize("name", NEFT)
@pytest.mark.parametrize("sigma_d", [0.1, 0.2, 0.4])
@pytest.mark.parametrize(
    "share, middle", [(0.0, 0), (0.1, 0), (0.2499, 0), (0.26, 1), (-0.5, 1), (0.7499, 1), (0.76, 0), (-1.0, 0)]
)
def test_neft_devices_have_the_published_spread(name, sigma_d, share, middle):
    d = deviations(name, column(2 * share), sigma_d)[:CELLS]
    expected = NEFT[name][middle] * 2 * sigma_d
    assert d.std().item() == pytest.approx(expected, rel=0.01)
    assert abs(d.mean().item()) < 5 * expected / CELLS**0.5


@pytest.mark.parametrize("name", NEFT)
@pytest.mark.parametrize("code", [0, 5, 64, 91, 170, 228, 255])
@pytest.mark.parametrize("sign", [-1, 1])
def test_slices_have_the_spread_of_their_digits(name, code, sign):
    s, sigma_d = MIDDLE[name], 0.2
    digits = [code >> shift & 3 for shift in (0, 2, 4, 6)]
    variance = sum(16**i * (s**2 if d in (1, 2) else 1) for i, d in enumerate(digits))
    expected = 2 * sigma_d / math.sqrt(0.4 * s**2 + 0.6) * math.sqrt(variance) / 85
    w = column(sign * 2 * code / 255)
    d = deviations(name, w, sigma_d, settings=SLICED)[:CELLS]
    assert d.std().item() == pytest.approx(expected, rel=0.01)
    assert abs(d.mean().item()) < 5 * expected / CELLS**0.5


@pytest.mark.parametrize("name, more", [("rram1", 1.0), ("fefet2", 1.05), ("rram4", 1.21), ("fefet6", 1.45)])
def test_outer_slices_spread_more_than_the_whole_weight_by_what_the_docs_say(name, more):
    codes = torch.arange(256)
    w = torch.cat([codes[codes < 64], codes[codes >= 192]]).float().repeat(2000)
    d = deviations(name, torch.cat([w, torch.tensor([255.0])]), 0.2, settings=SLICED)
    assert d.std().item() / (NEFT[name][0] * 255 * 0.2) == pytest.approx(more, abs=0.01)


def test_slices_without_noise_are_the_rounded_weight():
    w = torch.linspace(-1, 1, 4001)
    shown = chip_of("rram1", w, 0.0, settings=SLICED)
    torch.testing.assert_close(shown, (w * 255).round() / 255, atol=1e-6, rtol=0)
    assert (shown - w).abs().max() > 1.9e-3


@pytest.mark.parametrize("name", ALL)
def test_the_range_is_each_tensors_own(name):
    device, generator = plan.device_of(name), torch.Generator().manual_seed(0)
    w = {"small": column(0.05, 0.1), "large": column(5.0, 10.0)}
    chip = device.program(w, generator, level=0.1)
    spread = {k: (chip[k] - w[k])[:CELLS].std().item() for k in w}
    assert spread["large"] / spread["small"] == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("name", ALL)
def test_gradient_is_that_of_the_clean_weight_and_level_0_is_exact(name):
    device = plan.device_of(name)
    w = torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    chip = device.training_chip({"w": w}, torch.Generator().manual_seed(0), level=0.1)["w"]
    factors = torch.randn_like(chip)
    (chip * factors).sum().backward()
    assert w.grad is not None and torch.equal(w.grad, factors)
    assert not torch.equal(chip, w)
    assert torch.equal(chip_of(name, w.detach(), 0.0), w.detach())


@pytest.mark.parametrize("settings", [{}, SLICED])
@pytest.mark.parametrize("name", NEFT)
def test_a_chip_keeps_its_luck_at_every_level(name, settings):
    w = torch.rand(1000)
    none, low, high = (chip_of(name, w, level, 3, settings).double() for level in (0, 0.05, 0.1))
    torch.testing.assert_close(2 * (low - none), high - none, atol=1e-6, rtol=1e-5)
    assert (high - none).std() > 0.01


@pytest.mark.parametrize("settings", [{}, SLICED])
@pytest.mark.parametrize("name", NEFT)
def test_shapes_dtypes_zeros_and_nan(name, settings):
    weights = {
        "half": torch.randn(3, 4, 2, 2).half().contiguous(memory_format=torch.channels_last),
        "zero": torch.zeros(5),
        "nan": torch.tensor([1.0, float("nan")]),
    }
    chip = plan.device_of(name, settings).program(weights, torch.Generator().manual_seed(0), level=0.2)
    assert chip["half"].dtype == torch.float16 and chip["half"].stride() == weights["half"].stride()
    assert torch.equal(chip["zero"], torch.zeros(5))
    assert chip["nan"].isnan().any()
