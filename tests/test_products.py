"""Products are found in every kind of layer, and computed as torch computes them."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from devices._products import Part, Product, ProductMode, UnknownProduct

SEQUENCE = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(1))  # (time, n, in)


class Plain(ProductMode):
    """Changes nothing, and notes which products it met."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__(weights)
        self.met: list[str] = []

    def multiply(self, part: Part, x: Tensor, w: Tensor, product: Product) -> Tensor:
        self.met.append(part.key)
        return product(x, w)


def chip_of(network: nn.Module) -> dict[str, Tensor]:
    """All matrices of a network, as new tensors that gradients go to."""
    found = {name: w.detach().clone().requires_grad_() for name, w in network.named_parameters() if w.dim() > 1}
    return {name: w for name, w in found.items() if "bias" not in name}


def tensors(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [t for part in output if part is not None for t in tensors(part)]


def compare(network: nn.Module, inputs: tuple, **options) -> list[str]:
    """Outputs and gradients equal those of torch's own kernels; what was met is returned."""
    chip = chip_of(network)
    expected = tensors(functional_call(network, chip, inputs, options))
    mode = Plain(chip)
    with mode:
        found = tensors(functional_call(network, chip, inputs, options))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    ours, theirs = (
        torch.autograd.grad(sum(y.square().sum() for y in ys if y.requires_grad), list(chip.values()))
        for ys in (found, expected)
    )
    for name, our, their in zip(chip, ours, theirs, strict=True):
        assert torch.allclose(our, their, rtol=1e-4, atol=1e-5), name
    return mode.met


@pytest.mark.parametrize(
    "layer, x",
    [
        (nn.Linear(5, 4), (3, 5)),
        (nn.Linear(5, 4, bias=False), (2, 3, 5)),
        (nn.Linear(5, 4), (5,)),
        (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9)),
        (nn.Conv1d(4, 6, 3, padding="same"), (4, 9)),
        (nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1, dilation=2), (2, 4, 9, 8)),
        (nn.Conv2d(4, 8, 3, groups=4, bias=False), (2, 4, 5, 5)),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 5, 5)),
        (nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3)),
    ],
)
def test_linear_layers_and_convolutions(layer, x):
    assert compare(layer, (torch.randn(x),)) == ["weight"]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"bias": False, "batch_first": True},
        {"num_layers": 2, "bias": False, "bidirectional": True},
    ],
)
def test_recurrent_layers(kind, options):
    layer = kind(5, 4, **options)
    met = compare(layer, (SEQUENCE,))
    steps = SEQUENCE.shape[1] if options.get("batch_first") else SEQUENCE.shape[0]
    assert len(met) == (1 + steps) * options.get("num_layers", 1) * (1 + options.get("bidirectional", False))


def test_lstm_with_projection_and_its_own_start():
    layer = nn.LSTM(5, 4, num_layers=2, proj_size=2, bidirectional=True)
    start = torch.randn(4, 3, 2), torch.randn(4, 3, 4)
    compare(layer, (SEQUENCE, start))


def test_rnn_with_relu_and_unbatched():
    compare(nn.RNN(5, 4, nonlinearity="relu"), (SEQUENCE[:, 0],))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences(kind):
    layer = kind(5, 4, num_layers=2, bidirectional=True)
    chip = chip_of(layer)
    packed = pack_padded_sequence(SEQUENCE, torch.tensor([3, 6, 1]), enforce_sorted=False)
    expected, last = functional_call(layer, chip, (packed,))
    with Plain(chip):
        found, ours = functional_call(layer, chip, (packed,))
    assert torch.allclose(pad_packed_sequence(found)[0], pad_packed_sequence(expected)[0], atol=1e-6)
    for our, their in zip(tensors(ours), tensors(last), strict=True):
        assert torch.allclose(our, their, atol=1e-6)


def test_dropout_between_recurrent_layers_is_kept():
    layer = nn.LSTM(5, 400, num_layers=2, dropout=0.5)
    chip = {name: torch.ones_like(w) for name, w in chip_of(layer).items()}
    with Plain(chip):
        one, other = (functional_call(layer, chip, (SEQUENCE,))[0] for _ in range(2))
        layer.eval()
        again, same = (functional_call(layer, chip, (SEQUENCE,))[0] for _ in range(2))
    assert not torch.equal(one, other) and torch.equal(again, same)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize("bias", [True, False])
def test_recurrent_cells(kind, bias):
    assert compare(kind(5, 4, bias=bias), (SEQUENCE[0],)) == ["weight_ih", "weight_hh"]
    compare(kind(5, 4, bias=bias), (SEQUENCE[0, 0],))


class Attention(nn.MultiheadAttention):
    """The output alone."""

    def forward(self, query, key, value, **options):
        return super().forward(query, key, value, **options)[0]


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"add_bias_kv": True, "add_zero_attn": True}])
@pytest.mark.parametrize("mask", [False, True])
def test_self_attention(options, mask):
    layer = Attention(4, 2, **options)
    x = torch.randn(6, 3, 4)
    masks = {"attn_mask": torch.ones(6, 6).triu(1).bool()} if mask else {}
    assert compare(layer, (x, x, x), **masks) == ["in_proj_weight", "out_proj.weight"]


def test_other_attentions_have_a_product_for_each_projection():
    layer, x, y, z = Attention(4, 2), *torch.randn(3, 6, 3, 4)
    assert compare(layer, (x, y, y)) == ["in_proj_weight[0]", "in_proj_weight[4]", "out_proj.weight"]
    met = compare(layer, (x, y, z), need_weights=False)
    assert met == ["in_proj_weight[0]", "in_proj_weight[4]", "in_proj_weight[8]", "out_proj.weight"]
    apart = Attention(4, 2, kdim=5, vdim=3)
    met = compare(apart, (x, torch.randn(6, 3, 5), torch.randn(6, 3, 3)))
    assert met == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]


@pytest.mark.parametrize("layer", [nn.MultiheadAttention, nn.TransformerEncoderLayer])
def test_the_fast_path_of_attention_is_not_taken(layer):
    network = layer(4, 2, batch_first=True).eval()
    chip = {name: w.detach() for name, w in chip_of(network).items()}
    x = torch.randn(3, 6, 4)
    inputs = (x, x, x) if layer is nn.MultiheadAttention else (x,)
    with torch.inference_mode():
        expected = tensors(functional_call(network, chip, inputs))
        mode = Plain(chip)
        with mode:
            found = tensors(functional_call(network, chip, inputs))
    assert len(mode.met) == len(chip)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_other_weights_are_left_alone():
    network = nn.Sequential(nn.Linear(5, 4), nn.LSTM(4, 3))
    chip = {"0.weight": network[0].weight.detach().clone()}
    mode = Plain(chip)
    with mode:
        functional_call(network, chip, (SEQUENCE,))
    assert mode.met == ["0.weight"]


class Odd(nn.Module):
    """Uses its weight, (4, 6), as it is told to."""

    def __init__(self, use):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6))
        self.use = use

    def forward(self, x):
        return self.use(self.weight, x)


@pytest.mark.parametrize(
    "name, use",
    [
        ("t", lambda w, x: x @ w.t()),
        ("einsum", lambda w, x: torch.einsum("tni,oi->tno", x, w)),
        ("split", lambda w, x: F.linear(x[..., :3], w.split(3, dim=1)[0])),
        ("unbind", lambda w, x: x @ w.unbind()[0]),
        ("weight_norm", lambda w, x: F.linear(x, w / w.norm())),
    ],
)
def test_a_product_that_is_none_is_refused(name, use):
    network = Odd(use)
    chip, x = chip_of(network), torch.randn(6, 3, 6)
    functional_call(network, chip, (x,))
    with pytest.raises(UnknownProduct, match="weight weight is used in "), Plain(chip):
        functional_call(network, chip, (x,))


@pytest.mark.parametrize("choose", [torch.index_select, torch.Tensor.index_select])
def test_some_outputs_of_a_weight_are_a_product(choose):
    rows, whole = torch.tensor([3, 0, 3]), torch.arange(4.0)
    network = Odd(lambda w, x: F.linear(x, choose(w, 0, rows)))
    assert compare(network, (torch.randn(5, 6),)) == ["weight"]
    chosen: list[Part] = []

    class Noting(Plain):
        def multiply(self, part: Part, x: Tensor, w: Tensor, product: Product) -> Tensor:
            chosen.append(part)
            return super().multiply(part, x, w, product)

    chip = chip_of(network)
    with Noting(chip):
        functional_call(network, chip, (torch.randn(5, 6),))
    assert torch.equal(chosen[0].of(whole), torch.tensor([3.0, 0.0, 3.0]))
    across = Odd(lambda w, x: F.linear(x[..., :2], choose(w, 1, torch.tensor([0, 1]))))
    chip = chip_of(across)
    with pytest.raises(UnknownProduct, match="weight weight is used in index_select"), Plain(chip):
        functional_call(across, chip, (torch.randn(5, 6),))


@pytest.mark.parametrize("split", [torch.split, lambda w, n: w.split(n), lambda w, n: torch.chunk(w, len(w) // n)])
def test_parts_of_a_weight_along_its_outputs_are_products(split):
    def use(w, x):
        first, last = split(w, 2)
        y = attention(x, x, x)[0]  # other products between, that split their weights too
        return F.linear(x, last) + F.linear(x, first) + y.sum()

    attention, x = nn.MultiheadAttention(6, 2), torch.randn(6, 3, 6)
    assert compare(Odd(use), (x,)) == ["weight[2]", "weight[0]"]


def test_under_autocast_products_are_wide_and_outputs_as_torch_has_them():
    layer = nn.Conv2d(4, 6, 3)
    chip, x = chip_of(layer), torch.randn(2, 4, 5, 5)
    seen = []

    class Wide(Plain):
        def multiply(self, part, x, w, product):
            seen.extend([x.dtype, w.dtype, product(x, w).dtype])
            return super().multiply(part, x, w, product).float()

    with torch.autocast("cpu", torch.bfloat16):
        expected = functional_call(layer, chip, (x.bfloat16(),))
        with Wide(chip):
            found = functional_call(layer, chip, (x.bfloat16(),))
    assert seen == [torch.float32, torch.float32, torch.bfloat16]
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.allclose(found, expected, rtol=0.02, atol=0.02)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2),
    st.integers(0, 2), st.integers(1, 2), st.integers(4, 7), st.booleans(),
)  # fmt: skip
def test_any_convolution(groups, a, b, kernel, stride, padding, dilation, size, bias):
    assume(size + 2 * padding >= dilation * (kernel - 1) + 1)
    layer = nn.Conv2d(
        a * groups, b * groups, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
    )
    assert compare(layer, (torch.randn(2, a * groups, size, size),)) == ["weight"]
