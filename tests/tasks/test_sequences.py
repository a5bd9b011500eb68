"""Recurrent networks: every matrix is on the crossbar, and one chip's weights hold for all time steps."""

import copy
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench import plan
from bench.fast import compute
from bench.rig import Rig, chip_generator, flops
from devices._base import carry_pairs
from tasks._base import Split, TaskError
from tasks._models._sequences import Frames
from tasks._models.srnn import SendOnDelta, Spiking
from tasks._networks import find_network
from tasks.ecg import Ecg

CPU = torch.device("cpu")
BEAT = (1, 140)
TASK = Ecg()
NAMES = {
    "rnn": ("recurrent.layer.weight_ih_l0", "recurrent.layer.weight_hh_l0", "fc.weight"),
    "lstm": ("recurrent.layer.weight_ih_l0", "recurrent.layer.weight_hh_l0", "fc.weight"),
    "srnn": ("spiking.input.weight", "spiking.recurrent.weight", "fc.weight"),
    "logistic": ("fc.weight",),
}


def beats(n: int = 6) -> Tensor:
    """Smooth random signals, (n, 1, 140), of mean 0 and deviation 1."""
    x = torch.randn(n, 1, 140, generator=torch.Generator().manual_seed(4)).cumsum(2)
    return (x - x.mean(2, keepdim=True)) / x.std(2, keepdim=True)


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return TASK.network(name)


# --- what sits on the crossbar


@pytest.mark.parametrize("name", NAMES)
def test_all_matrices_are_analog_and_no_bias_is(name: str) -> None:
    network = network_of(name)
    assert TASK.analog(network) == NAMES[name]
    assert set(NAMES[name]) == {n for n, p in network.named_parameters() if p.dim() > 1}


@pytest.mark.parametrize(
    "layer, expected",
    [
        (nn.LSTM(3, 4, 2, proj_size=2), "ih_l0 hh_l0 hr_l0 ih_l1 hh_l1 hr_l1"),
        (nn.GRU(3, 4, bidirectional=True, bias=False), "ih_l0 hh_l0 ih_l0_reverse hh_l0_reverse"),
        (nn.RNNCell(3, 4), "ih hh"),
        (nn.LSTMCell(3, 4, bias=False), "ih hh"),
    ],
)
def test_recurrent_layers_of_every_kind_are_analog(layer: nn.Module, expected: str) -> None:
    names = tuple(f"weight_{name}" for name in expected.split())
    assert TASK.analog(layer) == names
    carry_pairs(layer, names)  # W+ and W- beside each weight are no further weights
    layer.add_module("head", nn.Linear(2, 2))
    assert TASK.analog(layer) == (*names, "head.weight")


def test_shared_recurrent_weights_count_once() -> None:
    both = nn.ModuleList([nn.LSTM(3, 3), nn.LSTM(3, 3)])
    both[1].weight_hh_l0 = both[0].weight_hh_l0
    assert TASK.analog(both) == ("0.weight_ih_l0", "0.weight_hh_l0", "1.weight_ih_l0")


# --- chips


def lstm_by_hand(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """(n, 1, 140) -> (n, 5), step by step, with all weights by name."""
    h = c = torch.zeros(len(x), 64)
    for step in x.view(len(x), 35, 4).unbind(1):
        gates = step @ w["recurrent.layer.weight_ih_l0"].T + h @ w["recurrent.layer.weight_hh_l0"].T
        i, f, g, o = (gates + w["recurrent.layer.bias_ih_l0"] + w["recurrent.layer.bias_hh_l0"]).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return h @ w["fc.weight"].T + w["fc.bias"]


def rnn_by_hand(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    h = torch.zeros(len(x), 64)
    for step in x.view(len(x), 35, 4).unbind(1):
        current = step @ w["recurrent.layer.weight_ih_l0"].T + h @ w["recurrent.layer.weight_hh_l0"].T
        h = (current + w["recurrent.layer.bias_ih_l0"] + w["recurrent.layer.bias_hh_l0"]).tanh()
    return h @ w["fc.weight"].T + w["fc.bias"]


def srnn_by_hand(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Spikes without gradient; levels .25 apart, leak .9, threshold 1, leak of the outputs .95."""
    sent, u, s, y = torch.zeros(len(x)), torch.zeros(len(x), 64), torch.zeros(len(x), 64), torch.zeros(len(x), 5)
    for step in x.view(len(x), 35, 4).unbind(1):
        counts = torch.zeros(len(x), 2)
        for point in step.unbind(1):
            n = torch.trunc((point - sent) / 0.25)
            sent = sent + 0.25 * n
            counts += torch.stack([n.clamp(min=0), -n.clamp(max=0)], 1)
        current = counts @ w["spiking.input.weight"].T + w["spiking.input.bias"] + s @ w["spiking.recurrent.weight"].T
        u = 0.9 * u + current - s
        s = (u > 1).float()
        y = 0.95 * y + s @ w["fc.weight"].T + w["fc.bias"]
    return y


BY_HAND = {"lstm": lstm_by_hand, "rnn": rnn_by_hand, "srnn": srnn_by_hand}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", BY_HAND)
def test_a_chip_is_what_the_network_computes_with_at_every_step(name: str, training: bool) -> None:
    """Fused kernels keep lists of their weights: the chip's must be in there, in training and in sweeps."""
    network, x = network_of(name).train(training), beats()
    chip = plan.device_of("rram").program(
        {n: network.get_parameter(n).detach() for n in NAMES[name]}, chip_generator("test", 0), level=0.3
    )
    whole = {n: p.detach() for n, p in network.named_parameters()} | chip
    with torch.set_grad_enabled(training):
        found = functional_call(network, chip, (x,))
        clean = network(x)
    assert torch.allclose(found, BY_HAND[name](x, whole), atol=1e-4)
    assert (found - clean).abs().max() > 0.01
    assert torch.equal(network(x), clean), "the chip is gone afterwards"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", BY_HAND)
def test_gradients_go_through_the_chip_to_every_weight(name: str, precision: str) -> None:
    network, x, y = network_of(name), beats(), torch.arange(6) % 5
    weights = {n: network.get_parameter(n) for n in NAMES[name]}
    chip = plan.device_of("rram").program(weights, chip_generator("test", 0), level=0.3)
    with compute(CPU, precision):
        output = functional_call(network, chip, (x,)).float()
    grads = torch.autograd.grad(TASK.loss(output, y), list(weights.values()))
    for n, grad in zip(weights, grads, strict=True):
        assert grad.isfinite().all() and grad.abs().max() > 1e-6, n


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_without_recurrent_weights_only_what_gates_keep_is_left_of_the_past(name: str) -> None:
    network, x = network_of(name), beats()
    other = torch.cat([torch.randn(6, 1, 136), x[:, :, -4:]], 2)  # the same last frame
    chip = {NAMES[name][1]: torch.zeros_like(network.get_parameter(NAMES[name][1]))}
    differ = (functional_call(network, chip, (x,)) - functional_call(network, chip, (other,))).abs().max().item()
    assert differ < 1e-6 if name == "rnn" else differ > 1e-3
    assert (network(x) - network(other)).abs().max() > 1e-3


@pytest.mark.parametrize("name", BY_HAND)
def test_bf16_sweeps_see_the_chip_and_are_near_fp32(name: str) -> None:
    network, split = network_of(name), Split(beats(64), torch.arange(64) % 5)
    rigs = {p: Rig(copy.deepcopy(network), NAMES[name], TASK, split, p) for p in ("fp32", "bf16")}
    chip = rigs["fp32"].program(plan.device_of("rram"), chip_generator("test", 0), 0.5, None)
    found = {p: rig.measure(chip).probabilities for p, rig in rigs.items()}
    clean = rigs["fp32"].measure().probabilities
    assert (found["bf16"] - found["fp32"]).abs().mean() < 0.1 * (clean - found["fp32"]).abs().mean()


def test_the_work_of_a_pass_is_counted_in_fused_kernels_too() -> None:
    """35 steps of 4 points: two operations a weight of a gate, and the linear layer once."""
    assert flops(network_of("lstm").eval(), beats(3)) == 3 * (2 * 35 * 4 * 64 * (4 + 64) + 2 * 64 * 5)


# --- frames and spikes


def test_frames_keep_the_order_of_points_and_of_rows() -> None:
    x = torch.arange(2.0 * 2 * 11).view(2, 2, 11)
    frames = Frames((2, 11), 4)
    y = frames(x)
    assert (frames.steps, frames.features) == (2, 8) == tuple(y.shape[1:])
    assert torch.equal(y[1, 1], torch.cat([x[1, 0, 4:8], x[1, 1, 4:8]]))
    image = torch.arange(3.0 * 4 * 5).view(1, 3, 4, 5)
    rows = Frames((3, 4, 5), 4)(image)
    assert rows.shape == (1, 4, 15) and torch.equal(rows[0, 2], image[0, :, 2].flatten())


def test_send_on_delta_follows_the_signal_to_within_delta() -> None:
    x = beats()
    spikes = SendOnDelta(BEAT, 0.25, 1)(x)
    assert spikes.shape == (6, 140, 2) and torch.equal(spikes, spikes.round()) and spikes.min() == 0
    assert (spikes[..., 0] * spikes[..., 1]).max() == 0, "never up and down at once"
    rebuilt = 0.25 * (spikes[..., 0] - spikes[..., 1]).cumsum(1)
    assert (rebuilt - x[:, 0]).abs().max() < 0.25 + 1e-5
    counted = SendOnDelta(BEAT, 0.25, 4)(x)
    assert torch.equal(counted, spikes.view(6, 35, 4, 2).sum(2))
    still = SendOnDelta(BEAT, 0.25, 1)(torch.full((1, 1, 140), 0.6))
    assert still[0, 0].tolist() == [2, 0] and still[0, 1:].sum() == 0, "an unmoving signal sends nothing"


def test_a_neuron_fires_as_often_as_its_equation_says() -> None:
    """Constant current I without leak: every 1 / I steps, since the threshold 1 is subtracted at a spike."""
    layer = Spiking(1, 1, beta=1.0)
    with torch.no_grad():
        layer.input.weight.fill_(1)
        layer.input.bias.zero_()
        layer.recurrent.weight.zero_()
        spikes = layer(torch.full((1, 1000, 1), 0.3))
        layer.recurrent.weight.fill_(-0.15)  # a spike takes from the next potential
        inhibited = layer(torch.full((1, 1000, 1), 0.3))
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert spikes.mean().item() == pytest.approx(0.3, abs=0.005)
    assert inhibited.mean().item() == pytest.approx(0.3 / 1.15, abs=0.005)


def test_a_spiking_network_keeps_nothing_of_a_pass() -> None:
    """Else it couldn't be copied after training, and a sweep's pass would leave tensors that no training can use."""
    network, x = network_of("srnn"), beats()
    TASK.loss(network(x), torch.arange(6) % 5).backward()
    assert all(buffer.numel() <= 1 for buffer in network.buffers())
    other = copy.deepcopy(network)
    with torch.inference_mode():
        network(x)
    assert torch.equal(network(x), other(x[:6]))
    assert network(x[:2]).shape == (2, 5), "batches of another size"
    TASK.loss(network(x), torch.arange(6) % 5).backward()


# --- arguments


def test_networks_of_sequences_take_arguments() -> None:
    network = find_network("lstm?hidden=24,layers=2,frame=10", BEAT, 5)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert shapes["recurrent.layer.weight_ih_l0"] == (96, 10) and shapes["recurrent.layer.weight_hh_l1"] == (96, 24)
    assert find_network("srnn?frame=2,delta=.5,beta=.8", BEAT, 5)(beats()).shape == (6, 5)
    assert find_network("rnn", BEAT, 5, width=0.25).get_parameter("fc.weight").shape == (5, 16)


@pytest.mark.parametrize(
    "name, said",
    [
        ("lstm?frame=200", "needs at least one frame of 200 points"),
        ("rnn?frame=0", "a frame of at least 1"),
        ("srnn?frame=200", "needs a frame of 1 to 140 points"),
        ("srnn?delta=0", "delta must be above 0"),
        ("srnn?beta=1.5", "beta must be from 0 to 1"),
        ("srnn?readout=-1", "readout must be from 0 to 1"),
        ("lstm?cells=3", "unexpected keyword argument 'cells'"),
        ("lenet", "can't be built for beats of 140 points"),
        ("timm:resnet10t", "does not take beats of 140 points"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(name: str, said: str) -> None:
    with pytest.raises(TaskError, match=said) as caught:
        TASK.network(name)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"network {name}")


def test_without_snntorch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snntorch", None)
    with pytest.raises(TaskError) as caught:
        find_network("srnn", BEAT, 5)
    assert str(caught.value) == "network srnn: needs snnTorch: pip install 'cim-bench[spikes]' brings it"
