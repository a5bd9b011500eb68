"""Methods that constrain weights: QAT's levels, CorrectNet's near orthogonal layers."""

import pytest
import torch

from methods.correctnet import distance
from methods.qat import SAMPLE, quantised


@pytest.mark.parametrize("levels", [2, 5, 16])
def test_qat_rounds_to_uniform_levels_between_the_outer_quantiles(levels):
    w = torch.randn(10_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    q = quantised(w, levels)
    values = q.detach().unique()
    low, high = (torch.quantile(w.detach(), share) for share in (0.01, 0.99))
    assert torch.allclose(values, torch.linspace(low, high, levels), atol=1e-5)
    inside = (w > low) & (w < high)
    assert (q - w)[inside].abs().max() <= (high - low) / (levels - 1) / 2 * 1.0001, "to the nearest"
    (grad,) = torch.autograd.grad((3 * q).sum(), w)
    assert torch.equal(grad, torch.full_like(w, 3.0)), "straight through, also where it clips"


def test_qat_takes_the_quantiles_of_large_tensors_from_a_part():
    w = torch.randn(5 * SAMPLE + 7, generator=torch.Generator().manual_seed(0))
    assert quantised(w, 2).unique().tolist() == pytest.approx([-2.326, 2.326], abs=0.05)


def test_qat_survives_a_tensor_of_one_value():
    assert torch.equal(quantised(torch.zeros(10), 4), torch.zeros(10))


@pytest.mark.parametrize("noise", [True, False])
def test_qat_trains_on_rounded_weights_and_deploys_them(watch, noise):
    context = watch("qat", settings={"levels": "6", "noise": str(noise)}, finetune_epochs=2)
    made = context.fit()
    for p in context.passes:
        shown = p.chip["fc1.weight"].detach()
        assert len(shown.unique()) == 6 or noise
        assert len(p.weights["fc1.weight"].unique()) > 1000, "the float copy is what moves"
    assert len(context.chips) == (len(context.passes) if noise else 0)
    assert all(len(w["fc1.weight"].unique()) == 6 for w in context.programmed)
    assert all(len(made.network.get_parameter(name).unique()) == 6 for name in made.analog)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 3, 3, 3), (3, 2, 3, 3)])
def test_distance_from_orthogonal(shape):
    w = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    matrix = w.reshape(len(w), -1).T  # W: (in, out)
    expected = (matrix.T @ matrix - torch.eye(shape[0])).square().sum()
    assert distance(w).item() == pytest.approx(expected.item())
    mine, theirs = (torch.autograd.grad(value, w)[0] for value in (distance(w), expected))
    assert torch.allclose(mine, theirs)
    orthogonal, _ = torch.linalg.qr(torch.randn(10, 4, dtype=torch.float64))
    assert distance(orthogonal.T).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("beta", [5e-4, 0.1])
def test_correctnet_adds_the_distances_of_all_layers_to_the_noisy_loss(watch, loss_of, beta):
    context = watch("correctnet", settings={"beta": str(beta)})
    inputs, targets = next(context.batches())
    value = loss_of(context)(inputs, targets)
    (only,) = context.passes
    assert torch.equal(only.chip["fc1.weight"].detach(), context.chips[0]["fc1.weight"])
    noisy = -only.output.log_softmax(1)[range(len(targets)), targets].mean()
    far = sum(distance(only.weights[name]) for name in ("fc1.weight", "fc2.weight"))
    assert value.item() == pytest.approx((noisy + beta * far).item(), rel=1e-5)
