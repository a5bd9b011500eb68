"""One vector for all weights, and back."""

import pytest
import torch

from devices._base import draw_bits, draw_normal, flatten, unflatten
from devices._flat import CHUNK

SHAPES = [(4, 3, 3, 3), (5, 2, 1, 1), (6, 7), (8,), ()]
FORMATS = {
    "contiguous": lambda w: w,
    "channels last": lambda w: w.contiguous(memory_format=torch.channels_last) if w.dim() == 4 else w,
    "transposed": lambda w: w.T if w.dim() == 2 else w,
}


@pytest.mark.parametrize("form", FORMATS)
def test_unflatten_undoes_flatten_and_keeps_the_memory_format(form):
    weights = {str(shape): FORMATS[form](torch.randn(shape)) for shape in SHAPES}
    flat = flatten(weights)
    assert flat.shape == (sum(w.numel() for w in weights.values()),)
    back = unflatten(flat, weights)
    assert list(back) == list(weights)
    for name, w in weights.items():
        assert torch.equal(back[name], w)
        assert back[name].stride() == w.stride() or 1 in w.shape
        assert back[name].data_ptr() >= flat.data_ptr(), "a view"


def test_nothing_is_transposed():
    """Neighbours in memory stay neighbours."""
    w = torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    assert torch.equal(flatten({"w": w}), w.permute(0, 2, 3, 1).reshape(-1))


def test_gradients_find_their_weights():
    weights = {"a": torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last), "b": torch.randn(2, 5)}
    for w in weights.values():
        w.requires_grad_()
    doubled = unflatten(flatten(weights) * 2, weights)
    sum((part * weights[name].detach()).sum() for name, part in doubled.items()).backward()
    for w in weights.values():
        assert torch.equal(w.grad, 2 * w.detach())


@pytest.mark.parametrize("draw", [draw_normal, draw_bits])
def test_what_is_drawn_does_not_depend_on_the_number_of_threads(draw):
    n, before = 3 * CHUNK + 5, torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(draw(n, torch.Generator().manual_seed(1), torch.empty(())))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
    first, second = found[0][:CHUNK].double(), found[0][CHUNK : 2 * CHUNK].double()
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 5 / CHUNK**0.5
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(draw(9, generator, first), draw(9, generator, first)), "the generator moves on"


def test_normal_numbers_have_the_moments_of_a_normal():
    x = draw_normal(10**6, torch.Generator().manual_seed(2), torch.empty(())).double()
    for power, moment, error in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((x**power).mean().item() - moment) < 5 * error / 1e3


def test_bits_are_fair():
    bits = draw_bits(10**6, torch.Generator().manual_seed(3), torch.empty(()))
    assert bits.min() >= 0
    for k in range(31):
        assert abs((bits >> k & 1).double().mean() - 0.5) < 5 * 0.5 / 1e3
