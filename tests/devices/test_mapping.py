"""The mapping layer: nothing is lost on the way to cells and back, whatever the shape, the rule or the scale."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from devices._mapping import BitSlices, CellMapping, DifferentialPair

SHAPES = st.sampled_from([(), (1,), (7,), (3, 5), (1, 1), (5, 2, 3, 3), (4, 1, 1, 1), (6, 1, 3), (0,), (2, 0)])
RANGES = st.sampled_from([(0.0, 25.0), (9.0, 88.2), (0.525, 2.62)])


@st.composite
def tensors(draw: Any) -> Tensor:
    """Weights of any shape, memory format, sign and size, zeros among them."""
    shape, seed = draw(SHAPES), draw(st.integers(0, 2**31))
    w = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 10.0 ** draw(st.integers(-6, 4))
    w = w * draw(st.sampled_from([0.0, 1.0, 1.0])) * (w.abs() > w.abs().median() if w.numel() else 1.0)
    if w.dim() == 4 and draw(st.booleans()):
        w = w.contiguous(memory_format=torch.channels_last)
    return w.T if w.dim() == 2 and draw(st.booleans()) else w


@st.composite
def pairs(draw: Any) -> DifferentialPair:
    low, high = draw(RANGES)
    return DifferentialPair(
        g_min_us=low,
        g_max_us=high,
        rule=draw(st.sampled_from(["minimum", "average"])),
        pairs=draw(st.integers(1, 4)),
        scale=draw(st.sampled_from(["layer", "column", "tile"])),
        tile_rows=draw(st.integers(1, 5)),
        tile_columns=draw(st.integers(1, 5)),
    )


@given(tensors(), pairs())
def test_a_pair_gives_back_the_weights_from_cells_within_their_range(w, mapping):
    cells, scales = mapping.to_cells({"w": w})
    assert cells.shape == ((2, w.numel()) if mapping.pairs == 1 else (2, mapping.pairs, w.numel()))
    slack = 1e-5 * mapping.g_max_us
    assert ((cells >= mapping.g_min_us - slack) & (cells <= mapping.g_max_us + slack)).all()
    back = mapping.to_weights(cells, scales, {"w": w})["w"]
    assert back.shape == w.shape
    torch.testing.assert_close(back, w, rtol=1e-6, atol=1e-6 * peak(w))


@given(tensors(), RANGES, st.sampled_from([1, 2, 4, 8]))
def test_slices_give_back_the_weights_rounded_to_eight_bits(w, span, cell_bits):
    mapping = BitSlices(g_min_us=span[0], g_max_us=span[1], cell_bits=cell_bits)
    cells, scales = mapping.to_cells({"w": w})
    assert cells.shape == (2, 8 // cell_bits, w.numel())
    steps = (cells - span[0]) / (span[1] - span[0]) * (2**cell_bits - 1)
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert ((steps[0] < 0.5) | (steps[1] < 0.5)).all(), "one side is unused"
    rounded = (w / max(peak(w), 1e-30) * 255).round() / 255 * peak(w)
    back = mapping.to_weights(cells, scales, {"w": w})["w"]
    torch.testing.assert_close(back, rounded, rtol=0, atol=1e-5 * (1 + span[0]) * peak(w))


def peak(w: Tensor) -> float:
    return w.abs().max().item() if w.numel() else 0.0


def pair(**changed: Any) -> DifferentialPair:
    return DifferentialPair(**{"g_min_us": 10.0, "g_max_us": 110.0} | changed)


def test_minimum_rule_leaves_the_unused_cell_at_the_bottom():
    cells, scales = pair().to_cells({"w": torch.tensor([2.0, -1.0, 0.0])})
    torch.testing.assert_close(cells, torch.tensor([[110.0, 10.0, 10.0], [10.0, 60.0, 10.0]]))
    assert scales["w"].item() == pytest.approx(2.0 / 100)


def test_average_rule_moves_both_cells():
    cells, _ = pair(rule="average").to_cells({"w": torch.tensor([2.0, -1.0, 0.0])})
    torch.testing.assert_close(cells, torch.tensor([[110.0, 35.0, 60.0], [10.0, 85.0, 60.0]]))


def test_pairs_average_their_noise():
    w = {"w": torch.full((100_000,), 0.5)}
    spreads = []
    for n in (1, 4):
        cells, scales = pair(pairs=n).to_cells(w)
        spreads.append(pair(pairs=n).to_weights(cells + torch.randn(cells.shape), scales, w)["w"].std().item())
    assert spreads[0] / spreads[1] == pytest.approx(2.0, rel=0.02)


def test_a_digit_is_the_state_of_its_cell():
    mapping = BitSlices(g_min_us=0.0, g_max_us=3.0)
    cells, _ = mapping.to_cells({"w": torch.tensor([255.0, -0b10_01_11_00])})
    assert cells[0, :, 0].tolist() == [3, 3, 3, 3] and cells[1, :, 0].tolist() == [0, 0, 0, 0]
    assert cells[1, :, 1].tolist() == [0, 3, 1, 2] and cells[0, :, 1].tolist() == [0, 0, 0, 0]


W = torch.tensor([[1.0, -2.0, 3.0, -4.0], [0.1, 0.2, 0.3, 0.4], [10.0, 20.0, 30.0, 40.0]])


def test_scales_belong_to_layers_columns_and_tiles():
    assert pair(scale="layer").peaks(W).item() == 40
    assert torch.equal(pair(scale="column").peaks(W), torch.tensor([[4.0], [0.4], [40.0]]))
    by_tile = pair(scale="tile", tile_rows=3, tile_columns=2).peaks(W)
    assert torch.equal(by_tile, torch.tensor([[3, 3, 3, 4], [3, 3, 3, 4], [30, 30, 30, 40]]))
    conv = torch.arange(48.0).view(3, 4, 2, 2).contiguous(memory_format=torch.channels_last)
    assert pair(scale="column").peaks(conv).shape == (3, 1, 1, 1)
    one_tile = pair(scale="tile").peaks(conv)
    assert torch.equal(one_tile, torch.full((3, 4, 2, 2), 47.0))
    assert conv[0, 0, 0, 1] == 1, "peaks leave the weights alone"


def test_a_weight_without_columns_is_one_layer():
    assert pair(scale="column").peaks(W[0]).shape == pair(scale="tile").peaks(W[0]).shape == ()


def test_a_mapping_says_what_it_is():
    assert str(pair(pairs=2, rule="average", scale="column")) == (
        "differential pair, 2 times a weight, average rule, 10 to 110 uS, scale by column"
    )
    slices: CellMapping = BitSlices(g_min_us=0.0, g_max_us=25.0)
    assert str(slices).startswith("8-bit weights over 4 differential pairs of 2-bit cells, 0 to 25 uS")
