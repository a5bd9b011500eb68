"""Around a product: each effect against its formula, none of them when it is off."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from devices import _quantise
from devices._periphery import Periphery
from devices._periphery_settings import PeripherySettings
from devices._quantise import quantise
from devices._ranges import STEP, LearnedRanges, Ranges, learned_ranges
from devices._settings import SettingError
from devices._tiles import column_peaks, over_columns, row_tiles


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def around(w: Tensor, x: Tensor, *, layer: nn.Module | None = None, seed: int = 0, **chosen) -> Tensor:
    """A bias-free layer's output, a linear one's by default, with these settings."""
    layer = nn.Linear(w.shape[1], len(w), bias=False).to(w.dtype) if layer is None else layer
    mode = Periphery(PeripherySettings(**chosen), {"weight": w}, generator=torch.Generator().manual_seed(seed))
    with mode:
        return functional_call(layer, {"weight": w}, (x,))


# Converters


def test_quantiser_by_hand():
    """3 bits: codes -3 to 3, full scale 6, so steps of 2; halves go to the even code."""
    x = t(-9, -6, -5.1, -1, -0.9, 0, 0.9, 1, 1.1, 3, 5, 6, 7)
    assert quantise(x, t(6), 3).tolist() == [-6, -6, -6, 0, 0, 0, 0, 0, 2, 4, 4, 6, 6]


@pytest.mark.parametrize("bits, levels", [(2, 3), (4, 15), (8, 255)])
def test_number_of_levels(bits, levels):
    x = torch.linspace(-2, 2, 10_001)
    found = quantise(x, torch.tensor(1.5), bits).unique()
    assert len(found) == levels and found.abs().max() == 1.5


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.floats(1e-3, 1e3), st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_error_is_at_most_half_a_step_and_signs_mirror(bits, full_scale, values):
    x, scale = t(*values), t(full_scale)
    q = quantise(x, scale, bits)
    half = full_scale / _quantise.codes(bits) / 2
    assert (q - x.clamp(-full_scale, full_scale)).abs().max() <= half * (1 + 1e-9)
    assert torch.equal(quantise(-x, scale, bits), -q)


def test_gradients_of_the_quantiser_are_straight_through_exactly():
    x = t(-7, -6, -0.3, 0, 2.2, 5.9, 6.1).requires_grad_()
    scale = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    weight = t(1, 2, 3, 4, 5, 6, 7)
    (quantise(x, scale, 3) * weight).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]
    # codes -3, 0, 0, 1, 3 within: (q - x) / 6 is 0, .05, 0, -.2 / 6, .1 / 6; beyond: the sign
    by_hand = -1 * 1 + 0 + 3 * 0.3 / 6 + 0 - 5 * 0.2 / 6 + 6 * 0.1 / 6 + 7
    assert scale.grad.item() == pytest.approx(by_hand, rel=1e-12)


def test_gradient_of_a_learned_range_is_the_slope_of_the_mean_where_rounding_averages_out():
    """With inputs spread evenly over many steps, clipping is what is left: d/dr of mean(clip(x, r))."""
    x = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (quantise(x, scale, 8) * x.sign()).mean().backward()
    assert scale.grad.item() == pytest.approx(0.5, abs=1e-3)


def test_dac_and_adc_of_a_linear_layer_by_hand():
    """Full scales are the largest input, 3, and the largest output."""
    w, x = t(1, 1, 2, -1).view(2, 2), t(3, 0.6).view(1, 2)
    assert around(w, x, dac_bits=3).tolist() == [[4, 5]]  # .6 -> code 1 of steps of 1
    assert around(w, x, dac_bits=2).tolist() == [[3, 6]]  # .6 -> code 0 of steps of 3
    # 3 + .6 = 3.6 and 6 - .6 = 5.4: full scale 5.4, steps of 1.8
    assert torch.allclose(around(w, x, adc_bits=3), t(3.6, 5.4).view(1, 2))
    assert torch.allclose(around(w, x, adc_bits=2), t(5.4, 5.4).view(1, 2))


def test_a_bias_is_added_after_the_adc():
    layer = nn.Linear(2, 1).double()
    w = t(1, 1).view(1, 2)
    with torch.no_grad():
        layer.bias.fill_(0.123)
    assert around(w, t(3, 0.6).view(1, 2), layer=layer, adc_bits=2).item() == pytest.approx(3.6 + 0.123)


def test_headroom_moves_the_full_scale():
    w, x = t(1, 0).view(1, 2), t(3, 0).view(1, 2)
    assert around(w, x, dac_bits=3, dac_range=0.5).item() == 1.5
    assert around(w, x, adc_bits=3, adc_range=2.0).item() == pytest.approx(4)  # steps of 2, halves to even


def test_quantising_is_in_float32_under_autocast():
    """12 bits are more than bf16 has: had x been rounded to bf16 first, q would be off by many steps."""
    seen = []

    class Spy(Periphery):
        def _partial_sum(self, part, tile, x, w, product, full_scale):
            seen.append(x)
            return super()._partial_sum(part, tile, x, w, product, full_scale)

    layer = nn.Linear(2, 1, bias=False)
    w, x = layer.weight.detach(), torch.tensor([[1.0, 0.50123]])
    with torch.autocast("cpu", torch.bfloat16), Spy(PeripherySettings(dac_bits=12), {"weight": w}):
        y = functional_call(layer, {"weight": w}, (x,))
    assert y.dtype == torch.bfloat16 and seen[0].dtype == torch.float32
    assert (seen[0] * 2047 - torch.tensor([[2047.0, round(0.50123 * 2047)]])).abs().max() < 1e-3


# Ranges


def test_calibrated_ranges_hold_for_later_batches():
    layer = nn.Linear(1, 1, bias=False).double()
    w = t(1).view(1, 1)
    ranges = Ranges()
    mode = Periphery(PeripherySettings(dac_bits=2, adc_bits=3), {"weight": w}, ranges=ranges)

    def run(*values: float) -> list[float]:
        with mode:
            return functional_call(layer, {"weight": w}, (t(*values).view(-1, 1),)).flatten().tolist()

    with ranges.observing():
        assert run(1, -5) == [1, -5] and run(2) == [2], "a calibration changes nothing"
    assert {key: peak.item() for key, peak in ranges.seen.items()} == {"weight in": 5, "weight out 0": 5}
    assert run(3, 9) == [5, 5] and run(2.4) == [0]


def test_learned_ranges_follow_their_gradient():
    layer = nn.Linear(1, 1, bias=False).double()
    learned = LearnedRanges()
    w = t(1).view(1, 1)

    def step(x: float) -> None:
        mode = Periphery(PeripherySettings(dac_bits=8), {"weight": w}, ranges=Ranges(learned))
        with mode:
            y = functional_call(layer, {"weight": w}, (t(x).view(1, 1),))
        (y - x).square().sum().backward()
        learned.step()

    step(2.0)
    assert learned.logarithms() == {"weight": pytest.approx(math.log(2))}, (
        "begins at the first batch; no error, no step"
    )
    step(3.0)
    assert learned.logarithms() == {"weight": pytest.approx(math.log(2) + STEP)}, "a clipped input asks for more"
    for _ in range(1000):
        step(3.0)
    assert learned.logarithms()["weight"] == pytest.approx(math.log(3), abs=0.01)
    again = LearnedRanges(learned.logarithms())
    assert again.full_scale("weight", lambda: w).item() == learned.full_scale("weight", lambda: w).item()


def test_learned_ranges_belong_to_a_network():
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    assert learned_ranges(one, make=False) is None
    made = learned_ranges(one, make=True)
    assert made is learned_ranges(one, make=False) is not learned_ranges(other, make=True)
    assert one.state_dict().keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    "alone, other",
    [
        ({"input_range": "learned"}, "dac_bits"),
        ({"adc_range": 2.0}, "adc_bits"),
        ({"dac_range": 0.5}, "dac_bits"),
        ({"tile_rows": 64}, "adc_bits"),
        ({"tile_columns": 64}, "adc_bits"),
    ],
)
def test_settings_that_mean_nothing_alone_are_refused(alone, other):
    with pytest.raises(SettingError, match=f"setting {next(iter(alone))}=.*{other}"):
        PeripherySettings(**alone)
    PeripherySettings(**alone, **{other: 8})


# Noise


def test_output_noise_has_its_variance_and_a_draw_for_every_output():
    w, x = t(2, -1).view(2, 1).float(), torch.full((100_000, 1), 3.0)
    noise = around(w, x, output_noise=0.1) - x @ w.t()
    assert noise.std(0).tolist() == pytest.approx([0.1 * 2 * 3] * 2, rel=0.01)
    assert abs(torch.corrcoef(noise.t())[0, 1]) < 0.01


def test_each_row_tile_adds_its_own_output_noise():
    w, x = torch.ones(1, 4), torch.ones(100_000, 4)
    assert (around(w, x, output_noise=0.1, tile_rows=1) - 4).std().item() == pytest.approx(0.2, rel=0.01)


def test_input_noise_has_its_variance():
    w, x = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, -1.0]]).expand(100_000, 2)
    found = around(w, x, input_noise=0.05) - x @ w.t()
    assert found.std().item() == pytest.approx(0.05 * 4 * math.sqrt(5), rel=0.01)


@pytest.mark.parametrize("groups", [1, 2])
def test_read_noise_is_that_of_weights_drawn_anew_for_every_input(groups):
    """Against so many noisy copies of the weights, each run once."""
    layer = nn.Conv2d(2, 4, 2, stride=2, groups=groups, bias=False)
    w, x = layer.weight.detach(), torch.randn(1, 2, 4, 4)
    n, sigma = 40_000, 0.1
    ours = around(w, x.expand(n, -1, -1, -1), layer=layer, read_noise=sigma)
    copies = w + sigma * w.abs().max() * torch.randn(n, *w.shape)
    with torch.no_grad():
        theirs = torch.func.vmap(lambda one: functional_call(layer, {"weight": one}, (x[0],)))(copies)
    assert torch.allclose(ours.mean(0), theirs.mean(0), atol=6 * float(theirs.std(0).max()) / math.sqrt(n))
    assert torch.allclose(ours.std(0), theirs.std(0), rtol=0.03)


@pytest.mark.parametrize("rows", [3, 4, 7])
def test_read_noise_is_the_same_however_rows_are_tiled(rows):
    """Tiles that cut through a kernel, too: 2 channels of 4 rows."""
    layer, x = nn.Conv1d(2, 3, 4, bias=False), torch.randn(1, 2, 6).expand(50_000, -1, -1)
    w = layer.weight.detach()
    whole = around(w, x, layer=layer, read_noise=0.1).std(0)
    tiled = around(w, x, layer=layer, read_noise=0.1, tile_rows=rows, output_noise=1e-10).std(0)
    assert torch.allclose(tiled, whole, rtol=0.02)


def test_noise_refers_to_the_clean_weights():
    clean, chip, x = torch.tensor([[1.0]]), torch.tensor([[7.0]]), torch.ones(100_000, 1)
    layer = nn.Linear(1, 1, bias=False)
    with Periphery(PeripherySettings(output_noise=0.1), {"weight": chip}, clean={"weight": clean}):
        found = functional_call(layer, {"weight": chip}, (x,))
    assert found.std().item() == pytest.approx(0.1, rel=0.01)


def test_noise_follows_the_generator():
    w, x = torch.ones(2, 2), torch.ones(3, 2)
    one, same, other = (around(w, x, seed=seed, output_noise=0.1, input_noise=0.1) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


# Wires


def test_ir_drop_of_a_small_matrix_by_hand():
    """n = 2 rows at 0 and 1/2; max|w| 2 and full scale 4 make the products unit-free."""
    w, x = t(2, -1, 0.5, 1).view(2, 2), t(4, 2).view(1, 2)
    ir_drop = 1e5
    expected = []
    for (w0, w1), y in zip(w.tolist(), (x @ w.t()).flatten().tolist(), strict=True):
        a = ir_drop * 2 * 0.35 * 5e-6 * (abs(w0 / 2) * 1 + abs(w1 / 2) * 0.5)
        c = a * (a * (0.05 * a - 0.2) + 0.5)
        expected.append(y - c * w1 * 2 * (1 - 0.5**2))
    assert around(w, x, ir_drop=100.0).tolist()[0] == pytest.approx((x @ w.t()).flatten().tolist(), rel=1e-3)
    mode = Periphery(PeripherySettings(), {"weight": w})
    object.__setattr__(mode.settings, "ir_drop", ir_drop)  # beyond its range, so that two rows show it
    layer = nn.Linear(2, 2, bias=False).double()
    with mode:
        assert functional_call(layer, {"weight": w}, (x,)).tolist()[0] == pytest.approx(expected, rel=1e-12)


def test_shorter_columns_sag_less():
    w, x = torch.ones(1, 512).double(), torch.ones(1, 512).double()
    drops = [512 - around(w, x, ir_drop=1.0, tile_rows=rows).item() for rows in (512, 256, 64)]
    assert drops[0] > 3.5 * drops[1] > 3.5 * 14 * drops[2] > 0


# Tiles


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2),
    st.integers(0, 1), st.integers(1, 2), st.integers(1, 30),
)  # fmt: skip
def test_ideal_tiles_change_nothing(groups, a, b, kernel, stride, padding, dilation, rows):
    assume(5 + 2 * padding >= dilation * (kernel - 1) + 1)
    layer = nn.Conv2d(
        a * groups, b * groups, kernel, stride, padding, dilation=dilation, groups=groups, bias=False
    ).double()
    w, x = layer.weight.detach(), torch.randn(2, a * groups, 5, 5, dtype=torch.float64)
    expected = layer(x)
    found = around(w, x, layer=layer, tile_rows=rows, output_noise=1e-300)  # so that it is cut
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 4), st.integers(1, 12))
def test_row_tiles_are_a_partition(outputs, inputs, kernel, rows):
    w = torch.randn(outputs, inputs, kernel)
    tiles = list(row_tiles(w, rows))
    assert all(len(tile) <= rows for tile in tiles) and sum(map(len, tiles)) == inputs * kernel
    for tile in tiles:
        cut = tile.weights(w)
        places = tile.places(cut)
        assert tile.present(cut).sum() == len(tile)
        flat = cut.flatten(1)[:, (cut[0].flatten() != 0)]
        assert torch.equal(flat, w.flatten(1)[:, tile.start : tile.stop])
        assert places.max() == (len(tile) - 1) / len(tile)


def test_each_tile_has_its_own_adc():
    """Partial sums 1 and 10, three levels each: with its own full scale each tile is exact."""
    w, x = t(1, 10).view(1, 2), t(1, 1).view(1, 2)
    assert around(w, x, adc_bits=2, tile_rows=1).item() == 11
    # two outputs, 1 and 10: with one ADC range the small one is lost, with a range a column it isn't
    w, x = t(1, 10).view(2, 1), t(1).view(1, 1)
    assert around(w, x, adc_bits=2).tolist() == [[0, 10]]
    assert around(w, x, adc_bits=2, tile_columns=1).tolist() == [[1, 10]]


def test_each_group_has_tiles_of_its_own():
    """Depthwise, weights 1 and 10: with one ADC range for both the first would read as 0."""
    layer = nn.Conv2d(2, 2, 1, groups=2, bias=False).double()
    w, x = t(1, 10).view(2, 1, 1, 1), torch.ones(1, 2, 1, 1, dtype=torch.float64)
    assert around(w, x, layer=layer, adc_bits=2).flatten().tolist() == [1, 10]
    y = torch.arange(1.0, 7.0).view(1, 6, 1, 1)  # two groups of three outputs, in tiles of two columns
    assert column_peaks(y, 1, 2, 2).tolist() == [2, 3, 5, 6]
    assert over_columns(torch.arange(4.0), torch.ones(6, 1), 2, 2).tolist() == [0, 0, 1, 2, 2, 3]


def test_column_peaks_of_images_and_single_vectors():
    y = torch.arange(24.0).view(2, 3, 2, 2)
    assert column_peaks(y, 1, 2).tolist() == [19, 23] and column_peaks(y, 1, 512).tolist() == [23]
    assert column_peaks(y[0], 0, 1).tolist() == [3, 7, 11]
    assert column_peaks(torch.tensor([1.0, -3.0, 2.0]), 0, 2).tolist() == [3, 2]
    assert over_columns(torch.tensor([1.0, 2.0]), torch.ones(3, 2, 1, 1), 2).flatten().tolist() == [1, 1, 2]


# In networks


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.Linear(4, 3), (2, 4)),
        (nn.Conv1d(4, 6, 3, padding=1, groups=2), (2, 4, 5)),
        (nn.LSTM(4, 3), (5, 2, 4)),
        (nn.GRUCell(4, 3), (2, 4)),
        (nn.TransformerEncoderLayer(4, 2, dim_feedforward=8, dropout=0.0), (5, 2, 4)),
    ],
)
def test_every_effect_reaches_every_layer_and_fine_converters_leave_it_as_it_is(layer, shape):
    """Gradients too: with 16 bits they are torch's own."""
    layer, x = layer.eval(), torch.randn(shape)
    chip = {n: w.detach().requires_grad_() for n, w in layer.named_parameters() if w.dim() > 1}

    def run(**chosen) -> Tensor:
        with Periphery(PeripherySettings(**chosen), chip):
            y = functional_call(layer, chip, (x,))
        return y if isinstance(y, Tensor) else y[0]

    expected = functional_call(layer, chip, (x,))
    expected = expected if isinstance(expected, Tensor) else expected[0]
    fine = run(dac_bits=16, adc_bits=16, tile_rows=3)
    assert torch.allclose(fine, expected, atol=2e-3)
    pairs = [torch.autograd.grad(y.square().sum(), list(chip.values())) for y in (fine, expected)]
    for ours, theirs in zip(*pairs, strict=True):
        assert torch.allclose(ours, theirs, atol=2e-2, rtol=2e-2)
    for effect in ("input_noise", "read_noise", "output_noise"):
        noisy = run(**{effect: 0.1})
        assert noisy.isfinite().all() and not torch.allclose(noisy, expected, atol=1e-4)
    assert not torch.allclose(run(dac_bits=3), expected, atol=1e-3)
    assert not torch.allclose(run(adc_bits=3), expected, atol=1e-3)
    assert not torch.equal(run(ir_drop=100.0), expected)


def test_a_layer_that_sees_only_zeros_stays_at_zero():
    found = around(torch.randn(2, 3), torch.zeros(4, 3), dac_bits=8, adc_bits=8, ir_drop=1.0)
    assert torch.equal(found, torch.zeros(4, 2))
    w = torch.randn(2, 3, requires_grad=True)
    around(w, torch.zeros(4, 3), dac_bits=8, adc_bits=8, read_noise=0.1, ir_drop=1.0).sum().backward()
    assert w.grad.isfinite().all()
