"""The fast path computes what the plain one computes."""

import pytest
import torch
from torch import nn

from bench import fast, plan
from bench.errors import BenchError
from bench.rig import Rig
from tasks._base import Split

needs_bf16 = pytest.mark.skipif(fast.precision_for(torch.device("cpu")) != "bf16", reason="no native bf16 here")


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_small_convolution_equals_conv2d(size, bias):
    conv = nn.Conv2d(32, 48, 3, padding=1, bias=bias)
    x = torch.randn(5, 32, size, size, requires_grad=True)
    expected = conv(x)
    grads = torch.autograd.grad(expected.square().sum(), [x, conv.weight])
    with fast._FastOperators():
        found = conv(x)
    assert found.dtype == torch.bfloat16, "the fast path was not taken"
    assert (found.float() - expected).abs().max() < 0.02 * expected.abs().max()
    for ours, theirs in zip(torch.autograd.grad(found.float().square().sum(), [x, conv.weight]), grads, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).abs().max() < 0.02 * theirs.abs().max()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(32, 32, 3, padding=1, stride=2),
        nn.Conv2d(32, 32, 3, padding=1, groups=2),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2),
        nn.Conv2d(32, 32, 1),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.Conv2d(32, 32, 3),
        nn.Conv2d(3, 32, 3, padding=1),
    ],
)
def test_other_convolutions_are_left_alone(conv):
    x = torch.randn(2, conv.in_channels, 4, 4)
    with fast._FastOperators():
        assert torch.equal(conv(x), conv(x.clone())) and conv(x).dtype == torch.float32


def test_large_maps_are_left_alone():
    conv = nn.Conv2d(32, 32, 3, padding=1)
    with fast._FastOperators():
        assert conv(torch.randn(1, 32, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 5, 2, 2), (2, 3, 5, 4)])
@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2), nn.MaxPool2d(2, stride=1), nn.MaxPool2d(3, padding=1), nn.MaxPool2d(2, ceil_mode=True)]
)
def test_pooling_equals_max_pool2d(shape, pool):
    x = torch.randn(shape).to(memory_format=torch.channels_last)
    x[0, 0, 0, 0] = float("nan")
    with fast._FastOperators():
        found = pool(x)
    assert torch.equal(found.nan_to_num(7), pool(x).nan_to_num(7))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_pooling_without_gradient_takes_the_fast_path(monkeypatch):
    taken = []
    monkeypatch.setattr(fast, "_halved", lambda x: taken.append(x) or x[:, :, ::2, ::2])
    x, pool = torch.randn(1, 2, 4, 4), nn.MaxPool2d(2)
    with fast._FastOperators():
        pool(x)
        pool(x.requires_grad_())
        with torch.no_grad():
            pool(x)
    assert len(taken) == 2


@needs_bf16
def test_bf16_metric_agrees_with_fp32(cache):
    """Trained for a moment, so that outputs are not ties; agreement within the test set's own resolution."""
    task = plan.task_of("mnist")
    splits = task.splits(cache)
    torch.manual_seed(0)
    network = task.network("mlp")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for start in range(0, 5000, 100):
        batch = slice(start, start + 100)
        loss = task.loss(network(task.prepare(splits.train.inputs[batch])), splits.train.targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    names = task.analog(network)
    test = splits.test.head(2000)
    metrics = [Rig(network, names, task, test, precision).measure()[0] for precision in ("fp32", "bf16")]
    assert metrics[0] > 80
    assert abs(metrics[0] - metrics[1]) <= 0.3


@pytest.mark.parametrize("name", ["nonsense", "meta", "mps", "cuda:", "cuda:x", "cpu,cuda", ""])
def test_processor_refuses_what_it_does_not_know(name):
    with pytest.raises(BenchError) as error:
        fast.processor(name)
    assert str(error.value) == f"can't compute on '{name}': must be auto, cpu, cuda or cuda:N"


def test_processor_refuses_a_gpu_that_is_not_there():
    with pytest.raises(BenchError, match=r"can't compute on 'cuda:99' \(.+\); try --on cpu or --on auto"):
        fast.processor("cuda:99")


def test_a_clock_waits_for_the_processor_that_is_meant(monkeypatch):
    """Not for the first of several GPUs."""
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    fast.wait(torch.device("cpu"))
    fast.wait(torch.device("cuda:1"))
    assert waited == [torch.device("cuda:1")]


def test_tester_in_fp32_is_the_network_itself():
    task = plan.task_of("cifar10")
    torch.manual_seed(0)
    network = task.network("lenet")
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.randint(0, 10, (40,)))
    probabilities = Rig(network, task.analog(network), task, split, "fp32").measure().probabilities
    with torch.no_grad():
        expected = task.probabilities(network.eval()(task.prepare(images)))
    assert torch.equal(probabilities, expected)
