"""A convolution that computes its ReLU gives what the two gave, bit for bit; others are left alone."""

import copy

import pytest
import torch
from torch import nn

from bench import fast, fusing, plan
from bench.folding import Folded
from bench.fusing import ConvReLU, fuse

needs_bf16 = pytest.mark.skipif(fast.precision_for(torch.device("cpu")) != "bf16", reason="no native bf16 here")


@needs_bf16
def test_the_operator_is_there_where_bf16_is():
    assert fusing._there()


def test_to_ask_for_the_operator_takes_none_of_a_trainings_random_numbers():
    """The first look in the middle of an epoch changed what dropout did in the rest of it."""
    fusing._there.cache_clear()
    before = torch.get_rng_state()
    fusing._there()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name, layers", [("vgg8_mtrd", 5), ("vgg8", 6), ("resnet18", 9), ("lenet", 2)])
def test_a_folded_network_has_fused_layers(name, layers):
    network = plan.task_of("cifar10").network(name, 0.125).eval()
    folded = Folded(network, torch.randn(2, 3, 32, 32)).network
    assert sum(isinstance(module, ConvReLU) for module in folded.modules()) == layers
    assert fuse(network) == (layers if name == "lenet" else 0), "a BatchNorm in between forbids it"


@needs_bf16
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 24, 3, padding=1),
        nn.Conv2d(16, 24, 3, padding=1, bias=False),
        nn.Conv2d(16, 24, (3, 5), padding=(0, 2), stride=(2, 1)),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16),
        nn.Conv2d(16, 32, 1, stride=2, groups=2),
    ],
)
@pytest.mark.parametrize("size", [5, 12])
@pytest.mark.parametrize("pool", [[], [nn.MaxPool2d(3, 2, padding=1)], [nn.Identity(), nn.MaxPool2d(2)]])
def test_fused_equals_apart(conv, size, pool):
    network = nn.Sequential(copy.deepcopy(conv), *copy.deepcopy(pool), nn.ReLU()).bfloat16()
    network = network.to(memory_format=torch.channels_last)
    x = torch.randn(3, 16, size, size).bfloat16().contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = network(x)
        names = list(network.state_dict())
        assert fuse(network) == 1
        assert list(network.state_dict()) == names
        assert isinstance(network[0], ConvReLU)
        assert torch.equal(network(x), expected)
    assert (expected == 0).any() and (expected > 0).any()


@needs_bf16
def test_the_fused_operator_runs_unless_a_gradient_or_a_small_map_is_wanted(monkeypatch):
    layer = ConvReLU(nn.Conv2d(16, 16, 3, padding=1).bfloat16())
    large, small = (torch.randn(2, 16, n, n).bfloat16() for n in (8, 4))
    calls = []
    real = torch.relu
    monkeypatch.setattr(fusing.F, "relu", lambda x: calls.append(x.shape) or real(x))
    with torch.no_grad():
        layer(large)
        assert calls == []
        layer(small)
    layer(large).sum().backward()
    assert [shape[-1] for shape in calls] == [4, 8]
    assert layer.weight.grad is not None


class Twice(nn.Module):
    """A ReLU that two convolutions share, and one whose input is used again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.shared, self.own = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        x = self.shared(self.second(self.shared(self.first(x))))
        y = self.third(x)
        return self.own(y) + y


@pytest.mark.parametrize(
    "network",
    [
        Twice(),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding="same"), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.AvgPool2d(2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    ],
)
def test_what_does_not_commute_or_is_shared_stays(network):
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        expected = network.eval()(x)
        assert fuse(network) == 0
        assert torch.equal(network(x), expected)
