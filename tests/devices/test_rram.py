"""Lognormal RRAM against its closed form, and the ideal device."""

import math

import pytest
import torch

from devices._base import DeviceError
from devices.ideal import Ideal
from devices.rram import Rram

DRAWS = 400_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("w", [-2.0, -0.1, 0.05, 0.25, 0.5, 0.75, 1.0])
def test_moments_of_the_factor(w: float, sigma: float) -> None:
    factor = Rram().program({"w": torch.full((DRAWS,), w)}, seeded(), level=sigma)["w"].double() / w
    mean = math.exp(sigma**2 / 2)
    std = mean * math.sqrt(math.exp(sigma**2) - 1)
    assert factor.mean().item() == pytest.approx(mean, abs=5 * std / DRAWS**0.5)
    assert factor.std().item() == pytest.approx(std, rel=0.015)
    assert factor.log().std().item() == pytest.approx(sigma, rel=0.01)


def test_sign_and_zero_are_kept() -> None:
    w = torch.tensor([-1.5, 0.0, 2.0]).repeat(1000)
    assert torch.equal(Rram().program({"w": w}, seeded(), level=0.5)["w"].sign(), w.sign())


def test_gradient_carries_the_factor() -> None:
    w = torch.randn(50, generator=seeded(1)).requires_grad_()
    chip = Rram().training_chip({"w": w}, seeded(), level=0.3)["w"]
    chip.sum().backward()
    assert w.grad is not None
    torch.testing.assert_close(w.grad, (chip / w).detach())
    assert w.grad.std() > 0.1
    w.grad = None
    Rram().training_chip({"w": w}, seeded(), level=0.3, straight_through=True)["w"].sum().backward()
    assert torch.equal(w.grad, torch.ones(50))


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0])
def test_gradient_by_finite_differences(sigma: float) -> None:
    """Of a loss that is no straight line, in every weight, through the device's own formula."""
    w = torch.randn(12, generator=seeded(1), dtype=torch.float64)

    def loss(w: torch.Tensor) -> torch.Tensor:
        return Rram().training_chip({"w": w}, seeded(), level=sigma)["w"].sin().sum()

    clean = w.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(clean), clean)
    steps = 1e-6 * torch.eye(12, dtype=torch.float64)
    expected = torch.stack([(loss(w + step) - loss(w - step)) / 2e-6 for step in steps])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_same_chip_at_every_level() -> None:
    w = {"a": torch.rand(20, 5, generator=seeded(1)) + 0.5, "b": torch.rand(7, generator=seeded(2)) + 0.5}
    low, high = (Rram().program(w, seeded(3), level=level) for level in (0.1, 0.4))
    for name in w:
        theta = (low[name] / w[name]).log() / 0.1
        torch.testing.assert_close((high[name] / w[name]).log() / 0.4, theta, atol=1e-5, rtol=1e-4)
    zero = Rram().program(w, seeded(3), level=0)
    assert all(torch.equal(zero[name], w[name]) for name in w)


def test_two_chips_differ_and_level_is_bounded() -> None:
    w = {"w": torch.ones(10)}
    assert not torch.equal(*(Rram().program(w, seeded(s), level=0.1)["w"] for s in (1, 2)))
    with pytest.raises(DeviceError, match="out of range"):
        Rram().check(-0.1)
    with pytest.raises(DeviceError, match="no time axis"):
        Rram().check(0.1, 10.0)


def test_ideal_is_the_identity() -> None:
    w = {"a": torch.randn(3, 4), "b": torch.randn(2)}
    chip = Ideal().program(w, seeded(), level=0)
    assert list(chip) == list(w) and all(torch.equal(chip[name], w[name]) for name in w)
    assert not Ideal().is_random(0)
