"""Architectures against parameter and operation counts worked out by hand, and how they are found by name."""

from math import prod

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tasks._base import TaskError
from tasks._models._mtrd import PASS
from tasks._models._parts import BiasRow, scaled
from tasks._networks import find_network, own_networks
from tasks.cifar10 import Cifar10
from tasks.cifar100 import Cifar100
from tasks.fashion_mnist import FashionMnist
from tasks.mnist import Mnist

OTHERS = ("lstm_lm", "minilm", "unet", "dncnn")  # they take no images or give maps, and are tested with their tasks
COLOUR, GREY = (3, 32, 32), (1, 28, 28)


def conv_bn(*channels: int, kernel: int = 3) -> int:
    """Parameters of a chain of bias-free convolutions, each with BatchNorm."""
    return sum(a * b * kernel**2 + 2 * b for a, b in zip(channels, channels[1:], strict=False))


def linear(*features: int) -> int:
    """Parameters of a chain of linear layers with bias."""
    return sum(a * b + b for a, b in zip(features, features[1:], strict=False))


def block(a: int, b: int) -> int:
    return conv_bn(a, b, b) + (conv_bn(a, b, kernel=1) if a != b else 0)


def wide_block(a: int, b: int) -> int:
    """BatchNorm before each convolution: of a and of b channels; a bare 1x1 convolution where shapes differ."""
    return 2 * a + 9 * a * b + 2 * b + 9 * b * b + (a * b if a != b else 0)


def inverted(a: int, b: int, expansion: int) -> int:
    """1x1 out (not if there is no expansion), 3x3 depthwise, 1x1 in; each with BatchNorm."""
    wide = a * expansion
    return (conv_bn(a, wide, kernel=1) if expansion > 1 else 0) + 9 * wide + 2 * wide + conv_bn(wide, b, kernel=1)


# (expansion, channels x 0.4 to the nearest 8 but no less than 90%, repetitions)
INVERTED = [(1, 8, 1), (6, 16, 2), (6, 16, 3), (6, 24, 4), (6, 40, 3), (6, 64, 3), (6, 128, 1)]


def mobilenet(classes: int) -> int:
    before, total = 16, conv_bn(3, 16)
    for expansion, channels, times in INVERTED:
        for _ in range(times):
            total, before = total + inverted(before, channels, expansion), channels
    return total + conv_bn(before, 1280, kernel=1) + linear(1280, classes)


PARAMETERS = {
    "vgg8_mtrd": conv_bn(3, 64, 128, 256, 512, 512) + conv_bn(512, 256, 128, kernel=1) + linear(128, 10),
    "vgg8": conv_bn(3, 64, 128, 256, 256, 512, 512) + linear(8192, 1024, 10),
    "resnet18": conv_bn(3, 64)
    + sum(block(a, b) + block(b, b) for a, b in [(64, 64), (64, 128), (128, 256), (256, 512)])
    + linear(512, 10),
    "mlp": 3072 * 128 + 128 * 10,
    "vgg16": conv_bn(3, 64, 64, 128, 128, *[256] * 3, *[512] * 6) + conv_bn(512, 256, 128, kernel=1) + linear(128, 10),
    "wrn16_4": 9 * 3 * 16
    + sum(wide_block(a, b) + wide_block(b, b) for a, b in [(16, 64), (64, 128), (128, 256)])
    + 2 * 256
    + linear(256, 10),
    "mobilenetv2": mobilenet(10),
    "mlp_joksas": 3073 * 25 + 26 * 10,
    "cnn_joksas": (27 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 64 + 1025 * 25 + 26 * 10,
    "lenet": (3 * 25 + 1) * 6 + (6 * 25 + 1) * 16 + linear(400, 120, 84, 10),
}


def macs(network: nn.Module, in_shape: tuple[int, int, int]) -> int:
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, *in_shape))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count(name: str) -> None:
    network = Cifar10().network(name)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_known_counts() -> None:
    assert PARAMETERS["resnet18"] == 11_173_962  # the figure everyone gets for this ResNet18
    assert sum(p.numel() for p in Mnist().network("lenet").parameters()) == 61_706  # and for LeNet-5
    assert sum(p.numel() for p in Mnist().network("mlp").parameters()) == 784 * 128 + 128 * 10
    assert PARAMETERS["wrn16_4"] == 2_748_890  # 2.75 M, as its authors and all who use it say
    assert sum(p.numel() for p in Mnist().network("mlp_joksas").parameters()) == 785 * 25 + 26 * 10


def test_a_hundred_classes_change_the_last_layer_alone() -> None:
    for name in Cifar100.networks:
        ten, hundred = (task.network(name, 0.25) for task in (Cifar10(), Cifar100()))
        small, large = (sum(p.numel() for p in network.parameters()) for network in (ten, hundred))
        *_, last = hundred.modules()
        assert isinstance(last, nn.Linear) and large - small == 90 * (last.in_features + 1)


def test_multiply_adds() -> None:
    convs = sum(9 * a * b * side**2 for a, b, side in [(3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 512, 4)])
    convs += 9 * 512 * 512 * 2**2
    found = macs(Cifar10().network("vgg8_mtrd"), COLOUR)
    assert found == convs + 512 * 256 + 256 * 128 + 128 * 10
    assert found == pytest.approx(68e6, rel=0.01)
    assert macs(Cifar10().network("vgg8"), COLOUR) == pytest.approx(538.7e6, rel=0.001)
    pairs = [(3, 64, 32), (64, 64, 32), (64, 128, 16), (128, 128, 16), (128, 256, 8), (256, 256, 8), (256, 256, 8)]
    pairs += [(256, 512, 4), (512, 512, 4), (512, 512, 4), *[(512, 512, 2)] * 3]
    convs = sum(9 * a * b * side**2 for a, b, side in pairs)
    assert macs(Cifar10().network("vgg16"), COLOUR) == convs + 512 * 256 + 256 * 128 + 128 * 10
    assert macs(Cifar10().network("wrn16_4"), COLOUR) == pytest.approx(392.6e6, rel=0.001)
    assert macs(Cifar10().network("mobilenetv2"), COLOUR) == pytest.approx(6.5e6, rel=0.01)


@pytest.mark.parametrize("in_shape", [COLOUR, GREY, (3, 40, 24)])
@pytest.mark.parametrize("name", [name for name in own_networks() if name not in OTHERS])
def test_every_network_takes_every_image_size_and_width(name: str, in_shape: tuple[int, int, int]) -> None:
    for width in (0.25, 0.1):
        network = find_network(name, in_shape, 7, width)
        assert network.training
        output = network(torch.rand(2, *in_shape))
        assert output.shape == (2, 7)
        output.sum().backward()
        assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("task", [Cifar10(), Cifar100(), Mnist(), FashionMnist()], ids=lambda task: task.name)
def test_the_networks_of_a_task_exist_and_are_all_analog(task: Cifar10) -> None:
    assert set(task.networks) <= set(own_networks())
    network = task.network(task.networks[0])
    shapes = {name: p.shape for name, p in network.named_parameters()}
    assert set(task.analog(network)) == {name for name, shape in shapes.items() if len(shape) > 1}
    assert sum(prod(shapes[name]) for name in task.analog(network)) > 0.99 * sum(map(prod, shapes.values()))


@pytest.mark.parametrize("name", [name for name in own_networks() if name not in OTHERS])
def test_all_matrices_are_on_the_crossbar_but_digital_ones(name: str) -> None:
    network = Cifar100().network(name, 0.25)
    matrices = [name for name, p in network.named_parameters() if p.dim() > 1]
    digital = ["conv1.weight", "conv2.weight", "conv3.weight"] if name == "cnn_joksas" else []
    assert sorted(Cifar100().analog(network)) == sorted(set(matrices) - set(digital))


def test_a_network_says_what_is_digital() -> None:
    """By whole names: what begins alike is not meant."""
    network = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1)), "ab": nn.Linear(2, 2)})
    assert Cifar10().analog(network) == ("a.0.weight", "a.1.weight", "ab.weight")
    network.digital = ("a",)
    assert Cifar10().analog(network) == ("ab.weight",)
    network.digital = ("a.0", "ab")
    assert Cifar10().analog(network) == ("a.1.weight",)


# --- the networks of nonideality-aware training


def test_the_head_of_1024_25_10() -> None:
    network = Cifar10().network("cnn_joksas")
    shapes = [tuple(network.get_parameter(name).shape) for name in Cifar10().analog(network)]
    assert shapes == [(25, 1025), (10, 26)]
    assert [tuple(p.shape) for p in Mnist().network("mlp_joksas").parameters()] == [(25, 785), (10, 26)]


def test_a_bias_row_is_a_bias() -> None:
    row, x = BiasRow(6, 4), torch.randn(3, 5, 6)
    plain = nn.Linear(6, 4)
    plain.load_state_dict({"weight": row.weight.detach()[:, :6], "bias": row.weight.detach()[:, 6]})
    assert torch.allclose(row(x), plain(x), atol=1e-6)


def test_the_bias_on_the_crossbar_deviates_and_the_digital_layers_do_not() -> None:
    """A chip whose every weight is 0 but the biases' gives the biases, and has the network's own convolutions."""
    network = Cifar10().network("cnn_joksas").eval()
    chip = {name: torch.zeros_like(network.get_parameter(name)) for name in Cifar10().analog(network)}
    chip["fc5.weight"][:, -1] = torch.arange(10.0)
    found = torch.func.functional_call(network, chip, (torch.randn(2, *COLOUR),))
    assert torch.equal(found, torch.arange(10.0).expand(2, 10))


def test_mobilenets_stem_keeps_the_size() -> None:
    network = Cifar10().network("mobilenetv2").eval()
    stem = network.get_submodule("features.0")
    assert stem(torch.zeros(1, *COLOUR)).shape == (1, 16, 32, 32)
    assert network.get_submodule("features")(torch.zeros(1, *COLOUR)).shape == (1, 1280, 2, 2)
    assert Cifar10().network("mobilenetv2", 2.5).get_submodule("features.0.0").weight.shape[0] == 32  # Sandler's


def test_a_pool_before_the_relu_is_the_same() -> None:
    x = torch.randn(2, 4, 8, 8)
    pool, relu = nn.MaxPool2d(2), nn.ReLU()
    assert torch.equal(pool(relu(x)), relu(pool(x)))


@pytest.mark.parametrize("name", ["vgg8", "resnet18", "wrn16_4"])
def test_convolutions_start_from_kaiming(name: str) -> None:
    """Standard deviation sqrt(2 / fan out), so that signals keep their size backwards."""
    torch.manual_seed(0)
    for module in Cifar10().network(name).modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * prod(module.kernel_size)
            assert module.bias is None
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


def test_the_global_seed_decides_the_network() -> None:
    def weight(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Cifar10().network("lenet").get_parameter("conv1.weight")

    assert torch.equal(weight(1), weight(1)) and not torch.equal(weight(1), weight(2))


def test_scaled() -> None:
    assert [scaled(84, w) for w in (1, 2, 0.5, 0.05, 0.001)] == [84, 168, 40, 4, 1]
    assert all(scaled(n, w) % 8 == 0 for n in (64, 100, 512) for w in (0.13, 0.5, 1.5))


# --- by name


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(TaskError, match="unknown network vgg8_mtdr; did you mean vgg8_mtrd?"):
        Cifar10().network("vgg8_mtdr")
    with pytest.raises(TaskError, match="did you mean timm:resnet18?"):
        Cifar10().network("timm:resnet_18")
    for name in ("zzzz", "_parts", "../cifar10", "", "timm:"):
        with pytest.raises(TaskError, match="unknown network"):
            Cifar10().network(name)


def test_timm_networks_take_arguments() -> None:
    network = Mnist().network("timm:vit_tiny_patch16_224?img_size=28,patch_size=4,embed_dim=24,num_heads=2,depth=1")
    assert network(torch.zeros(2, *GREY)).shape == (2, 10)
    assert network.get_parameter("patch_embed.proj.weight").shape == (24, 1, 4, 4)
    assert "patch_embed.proj.weight" in Mnist().analog(network)


@pytest.mark.parametrize(("model", "stem"), [("mobilenetv2_050", "conv_stem"), ("resnet18", "conv1")])
def test_a_stem_of_stride_1_doubles_every_map(model: str, stem: str) -> None:
    def last_map(arguments: str) -> tuple[int, ...]:
        network = Cifar10().network(f"timm:{model}?{arguments}").eval()
        assert "drop_rate" not in arguments or network.drop_rate == 0.5  # what is timm's still gets there
        assert network.get_submodule(stem).stride == ((1, 1) if "stem_stride=1" in arguments else (2, 2))
        return network.forward_features(torch.zeros(1, *COLOUR)).shape[2:]  # type: ignore[operator]

    assert last_map("") == last_map("stem_stride=2") == (1, 1)
    assert last_map("stem_stride=1") == last_map("drop_rate=.5,stem_stride=1") == (2, 2)


@pytest.mark.parametrize(
    ("name", "width", "message"),
    [
        ("timm:resnet18?stem_stride=3", 1, "stem_stride=3 must be 1 or 2"),
        ("timm:resnet18?stem_stride=True", 1, "stem_stride=True must be 1 or 2"),
        ("timm:vit_tiny_patch16_224?img_size=32,depth=1,stem_stride=1", 1, "no first convolution of stride 2"),
        ("timm:mixer_s32_224?img_size=32,stem_stride=1", 1, "no first convolution of stride 2"),
        ("timm:resnet10t", 0.5, "timm networks have no width factor"),
        ("timm:resnet10t?pretrained=True", 1, "pretrained is set by the task"),
        ("timm:resnet10t?checkpoint_path='/tmp/x.pth'", 1, "checkpoint_path reads weights from elsewhere"),
        ("timm:resnet10t?pretrained_cfg={'url': 'x'}", 1, "pretrained_cfg reads weights from elsewhere"),
        ("timm:resnet10t?drop_rate", 1, "'drop_rate' is no key=value"),
        ("timm:resnet10t?nonsense=1", 1, "can't be built for 3 x 32 x 32 images"),
        ("timm:vit_tiny_patch16_224?depth=1", 1, "does not take 3 x 32 x 32 images"),
        ("mlp", 0, "width 0 is out of range"),
        ("mlp", float("nan"), "width nan is out of range"),
    ],
)
def test_misfits_are_told_in_one_line(name: str, width: float, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        Cifar10().network(name, width)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"network {name}: ")


@pytest.mark.parametrize("name", ["vgg8", "vgg8_mtrd", "vgg16", "lenet", "cnn_joksas"])
def test_images_that_are_too_small_are_told(name: str) -> None:
    with pytest.raises(TaskError, match=f"network {name}: .* 3 x 4 x 4 images"):
        find_network(name, (3, 4, 4), 10)


@pytest.mark.parametrize(("name", "layer"), [("vgg8_mtrd", "conv3"), ("vgg16", "conv5")])
def test_mtrds_networks_start_by_passing_their_inputs_through(name: str, layer: str) -> None:
    """Each channel goes through one filter, by a weight that does not stretch the range of the others unduly."""
    conv = Cifar10().network(name).get_submodule(layer)
    assert isinstance(conv, nn.Conv2d)
    x = torch.randn(2, 128, 8, 8)
    assert torch.allclose(conv(x)[:, :128], PASS * x, atol=1e-6)
    assert conv.weight[128:].abs().max() < PASS and conv.weight[128:].std() > 0.01
