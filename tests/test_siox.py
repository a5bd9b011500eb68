"""Poole-Frenkel cells: the published ratios, the series against the closed form, gradients, residuals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from devices._curve import TOLERANCE, Curve, PooleFrenkel, current_ua, terms_for
from devices._periphery import Periphery
from devices._ranges import Ranges
from devices.siox import SioxHigh, SioxLow, SioxSettings

DEVICES = [SioxLow, SioxHigh]
VOLTS = torch.tensor([0.1, 0.25, 0.5], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("device, published", [(SioxLow, [1.001, 1.032, 1.069]), (SioxHigh, [0.939, 1.311, 1.910])])
def test_published_ratios_to_ohms_law_at_g_on(device, published):
    g = torch.tensor(device.g_max_us, dtype=torch.float64)
    for sign in (1, -1):
        ratio = current_ua(g, sign * VOLTS, device.law, 1.0) / (g * sign * VOLTS)
        assert ratio.tolist() == pytest.approx(published, abs=5e-4)


def test_current_by_hand():
    """G = 1 uS: ln(1/G) = 13.8155; ln c = -1.03 x 13.8155 - .251, ln d = -.0901 x 13.8155 - 37.1."""
    ln_r = math.log(1e6)
    c, d = math.exp(-1.03 * ln_r - 0.251), math.exp(-0.0901 * ln_r - 37.1)
    e, kt = 1.602176634e-19, 1.380649e-23 * 293.15
    i_ua = 1e6 * c * 0.3 * math.exp(e / kt * math.sqrt(e * 0.3 / (math.pi * d)))
    found = current_ua(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.3), SioxHigh.law, 1.0)
    assert found.item() == pytest.approx(i_ua, rel=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_the_multiplier_scales_the_logarithm_of_the_ratio(device):
    g = torch.tensor([device.g_min_us, device.g_max_us], dtype=torch.float64)[:, None]
    once, twice, none = ((current_ua(g, VOLTS, device.law, level) / (g * VOLTS)).log() for level in (1.0, 2.0, 0.0))
    assert torch.allclose(twice, 2 * once) and none.abs().max() < 1e-12


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 3), st.floats(-1, 1))
def test_as_many_terms_as_the_tolerance_needs(z, share):
    n, u = terms_for(z), share * z
    series = sum(u**k / math.factorial(k) for k in range(n))
    assert abs(series - math.exp(u)) <= TOLERANCE * math.exp(u) * (1 + 1e-6)
    assert n == 1 or z ** (n - 1) / math.factorial(n - 1) * math.exp(2 * z) > TOLERANCE, "and no more"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("level", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("read_v", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("residual", [0.0, 0.3])
def test_a_product_is_the_sum_of_the_closed_form(device, level, read_v, residual):
    spread = {"residual_c": residual, "residual_d": residual, "residual_correlation": 0.5} if residual else {}
    device = device(SioxSettings(read_v=read_v, **spread))
    w = torch.randn(7, 40, generator=generator(1))
    x = torch.randn(5, 40, generator=generator(2))
    chip = device.program({"weight": w}, generator(3), level=level)
    layer = nn.Linear(40, 7, bias=False)
    with device.periphery(chip):
        found = functional_call(layer, chip, (x,))

    v = (x / x.abs().max()).double() * read_v
    extra = None if chip.residuals is None else chip.residuals["weight"].double()[:, :, None]
    i = current_ua(chip.cells["weight"].double()[:, None], v[:, None], device.law, level, extra)  # (2, 5, 7, 40)
    expected = (i[0] - i[1]).sum(-1) * chip.scales["weight"] * x.abs().max() / read_v
    absolute = i.abs().sum((0, -1)).max() * chip.scales["weight"] * x.abs().max() / read_v
    assert (found - expected).abs().max() < 2 * TOLERANCE * absolute
    assert (found - x @ w.t()).abs().max() > 1e-3 * absolute, "and it is no straight line"


@pytest.mark.parametrize("device", DEVICES)
def test_three_or_four_products_do_at_the_read_voltage(device):
    chip = device().program({"w": torch.linspace(-1, 1, 50).view(1, 50)}, generator(), level=1.0)
    assert device().curve(chip).cell("w", 0.5).terms in (3, 4)
    about_zero = PooleFrenkel.exponents(device.law, torch.tensor(device.g_min_us), 1.0)[1].item()
    assert terms_for(about_zero * math.sqrt(0.5)) > device().curve(chip).cell("w", 0.5).terms


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_by_finite_differences(device):
    """To inputs, one of them 0, and to conductances, through the curve."""
    torch.manual_seed(0)
    x = torch.tensor([[0.0, 0.4, -0.7, 1.0]], dtype=torch.float64, requires_grad=True)
    middle = (device.g_min_us + device.g_max_us) / 2
    cells = (middle * (1 + 0.3 * torch.rand(2, 3, 4, dtype=torch.float64))).requires_grad_()
    scale = torch.tensor(1 / middle, dtype=torch.float64)
    ranges = Ranges()
    ranges.seen["weight in"] = torch.tensor(1.1, dtype=torch.float64)
    layer = nn.Linear(4, 3, bias=False).double()

    def run(x: Tensor, cells: Tensor) -> Tensor:
        chip = {"weight": torch.zeros(3, 4, dtype=torch.float64)}
        curve = Curve(chip, lambda: {"weight": cells}, {"weight": scale}, law=device.law)
        with Periphery(device().settings, chip, curve=curve, ranges=ranges):
            return functional_call(layer, chip, (x,))

    ours = torch.autograd.grad(run(x, cells).sum(), (x, cells))
    for tensor, grad in zip((x, cells), ours, strict=True):
        for place in range(tensor.numel()):
            step = torch.zeros_like(tensor).view(-1)
            step[place] = 1e-6 * (1 if tensor is x else middle)
            up, down = (
                run(*(t + sign * step.view_as(t) if t is tensor else t for t in (x, cells))).sum() for sign in (1, -1)
            )
            slope = ((up - down) / (2 * step[place])).item()
            near_zero = tensor is x and place == 0  # the ratio to Ohm's law begins like sqrt|V|
            bounds = {"rel": 3e-3 if near_zero else 1e-4, "abs": TOLERANCE * grad.abs().max().item()}
            assert grad.flatten()[place].item() == pytest.approx(slope, **bounds)


@pytest.mark.parametrize("pairs", [1, 3])
def test_in_training_gradients_go_straight_through_the_conductances(pairs):
    """Ohm's law at level 0, and near it at a small level: the gradient must be the linear layer's."""
    device = SioxLow(SioxSettings(pairs=pairs))
    w, x = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    layer = nn.Linear(4, 3, bias=False)
    chip = device.training_chip({"weight": w}, generator(), level=1e-6)
    with device.periphery(chip):
        y = functional_call(layer, chip, (x,))
    (found,) = torch.autograd.grad(y.square().sum(), w)
    (expected,) = torch.autograd.grad((x @ w.t()).square().sum(), w)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)
    chip = device.training_chip({"weight": w}, generator(), level=2.0)
    with device.periphery(chip):
        (curved,) = torch.autograd.grad(functional_call(layer, chip, (x,)).square().sum(), w)
    assert curved.isfinite().all() and not torch.allclose(curved, expected, rtol=0.05)


def test_several_pairs_conduct_like_one():
    w, x = torch.randn(3, 4), torch.randn(5, 4)
    layer = nn.Linear(4, 3, bias=False)
    outputs = []
    for pairs in (1, 3):
        device = SioxHigh(SioxSettings(pairs=pairs))
        chip = device.program({"weight": w}, generator(), level=1.0)
        with device.periphery(chip):
            outputs.append(functional_call(layer, chip, (x,)))
    assert torch.allclose(*outputs, rtol=1e-4, atol=1e-5)


def test_residuals_have_the_covariance_asked_for():
    device = SioxHigh(SioxSettings(residual_c=0.2, residual_d=0.4, residual_correlation=-0.7))
    chip = device.program({"w": torch.randn(300, 300)}, generator(), level=1.0)
    c, d = chip.residuals["w"].flatten(1)
    assert (c.std().item(), d.std().item()) == pytest.approx((0.2, 0.4), rel=0.01)
    assert torch.corrcoef(torch.stack([c, d]))[0, 1].item() == pytest.approx(-0.7, abs=0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_chips_differ_only_where_something_is_drawn(device):
    plain, spread = device(), device(SioxSettings(residual_c=0.1))
    assert not plain.is_random(2.0) and spread.is_random(1.0) and not spread.is_random(0.0)
    assert device(SioxSettings(stuck_on=0.1)).is_random(0.0) and device(SioxSettings(read_noise=0.1)).is_random(0.0)
    w = {"w": torch.randn(4, 5)}
    one, same, other = (spread.program(w, generator(seed), level=1.0).residuals["w"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    chip = plain.program(w, generator(), level=0.0)
    assert plain.curve(chip).is_ohmic and not plain.surrounds(chip)
    assert torch.allclose(chip["w"], w["w"], rtol=1e-5, atol=1e-6)


def test_a_stuck_cell_conducts_by_its_stuck_conductance():
    """All cells at G_on: plus and minus cancel, whatever the weight."""
    device = SioxHigh(SioxSettings(stuck_on=1.0))
    chip = device.program({"weight": torch.randn(3, 4)}, generator(), level=1.0)
    with device.periphery(chip):
        y = functional_call(nn.Linear(4, 3, bias=False), chip, (torch.randn(5, 4),))
    assert y.abs().max() < 1e-5


def test_mapping_is_the_minimum_rule_between_g_off_and_g_on():
    chip = SioxHigh().program({"w": torch.tensor([[1.0, -0.5, 0.0]])}, generator(), level=1.0)
    assert chip.cells["w"][:, 0].flatten().tolist() == pytest.approx([2.62, 0.525, 0.525, 0.525, 1.5725, 0.525])
