"""A folded network computes what the network computes, on every chip; what can't be folded is left alone."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from bench import plan
from bench.folding import Folded
from bench.rig import chip_generator


def lived_in(network: nn.Module) -> nn.Module:
    """BatchNorms with statistics and affine weights unlike those of a fresh one."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, -1, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return network.eval()


@pytest.mark.parametrize(
    "name, norms", [("vgg8_mtrd", 7), ("vgg8", 6), ("resnet18", 20), ("lenet", 0), ("timm:resnet18", 20)]
)
def test_a_chip_gives_the_same_outputs_folded(name, norms):
    task = plan.task_of("cifar10")
    network = lived_in(task.network(name, 1 if name.startswith("timm:") else 0.125))
    inputs = torch.randn(4, 3, 32, 32)
    weights = {n: p for n, p in network.named_parameters() if n in task.analog(network)}
    with torch.no_grad():
        chip = plan.device_of("rram").program(weights, chip_generator("test chip", 0), level=0.3)
        folded = Folded(network, inputs[:2])
        assert len(folded.scales) == norms
        for state in (weights, chip):
            expected = functional_call(network, state, (inputs,))
            found = functional_call(folded.network, folded.state(state, torch.float32), (inputs,))
            assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max())
    assert not torch.allclose(functional_call(network, weights, (inputs,)), expected, rtol=1e-2)


class Branching(nn.Module):
    """The convolution's output is also used unnormalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.conv(x)
        return (self.norm(y) + y).mean((2, 3))


class Shared(nn.Module):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.second(self.conv(self.first(self.conv(x)))).mean((2, 3))


class Undecided(nn.Module):
    """Control flow that depends on data can't be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.norm(self.conv(x if x.sum() > 0 else -x)).mean((2, 3))


class Rows(nn.Module):
    """A norm over the rows of a linear layer's output, which are as many as its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(32, 32), nn.BatchNorm1d(32)

    def forward(self, x):
        return self.norm(self.linear(x[:, 0])).mean(2)


@pytest.mark.parametrize("kind", [Branching, Shared, Undecided, Rows])
def test_what_cannot_be_folded_is_left_alone(kind):
    network = lived_in(kind())
    inputs = torch.randn(4, 3, 32, 32)
    folded = Folded(network, inputs[:2])
    assert folded.scales == {}
    with torch.no_grad():
        assert torch.equal(functional_call(folded.network, folded.state({}, torch.float32), (inputs,)), network(inputs))


def test_weights_that_stay_digital_are_folded_too():
    network = lived_in(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(3600, 2)))
    inputs = torch.randn(4, 3, 32, 32)
    folded = Folded(network, inputs[:2])
    with torch.no_grad():
        state = folded.state({"3.weight": network[3].weight}, torch.float32)
        assert torch.allclose(functional_call(folded.network, state, (inputs,)), network(inputs), atol=1e-4)
    assert set(state) == {"0.weight", "3.weight"}
