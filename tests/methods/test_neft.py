"""Negative feedback training: its loss, its levels, and heads that come and go."""

import pytest
import torch
import torch.nn.functional as F

from bench import plan
from methods._base import MethodError
from methods._feedback import by_depth
from methods.neft_ovf import raised
from tasks._networks import find_network

TIMM = [
    "timm:mobilenetv2_050",
    "timm:vit_tiny_patch16_224?img_size=32,patch_size=8",
]


def feedback_loss(output, feedbacks, beta, targets):
    """NeFT's formula, written out."""
    total = feedbacks[0]
    for i, feedback in enumerate(feedbacks[1:], start=1):
        total = total + feedback / 10**i
    log_p = ((output - beta * total) / (1 + len(feedbacks))).log_softmax(1)
    return -log_p[range(len(targets)), targets].mean()


@pytest.mark.parametrize("device, level", [("rram1", 0.2), ("fefet6", 0.1)])
def test_ovf_raises_levels_on_the_papers_axis_as_the_paper_does(device, level):
    axis = plan.device_of(device).axis
    assert raised(level, axis, 0.375, 3) == pytest.approx([level + 0.15, level + 0.1, level + 0.05])


def test_ovf_never_leaves_the_axis():
    axis = plan.device_of("stuck").axis
    assert raised(0.99, axis, 1.0, 2) == [1.0, 1.0]


@pytest.mark.parametrize("beta", [1e-3, 0.7])
def test_ovf_minimises_the_papers_loss_through_all_passes(watch, loss_of, beta):
    context = watch("neft_ovf", "rram1", settings={"beta": str(beta)})
    loss = loss_of(context)
    inputs, targets = next(context.batches())
    value = loss(inputs, targets)
    assert context.levels == pytest.approx([0.2, 0.35, 0.3, 0.25])
    assert [p.update_statistics for p in context.passes] == [True, False, False, False]
    noise = [(chip["fc1.weight"] - context.passes[0].weights["fc1.weight"]).flatten() for chip in context.chips]
    assert torch.corrcoef(torch.stack(noise)).fill_diagonal_(0).abs().max() < 0.05, "independent draws"
    output, *feedbacks = [p.output for p in context.passes]
    expected = feedback_loss(output, feedbacks, beta, targets)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    weights = list(context.others[0].parameters())
    for mine, theirs in zip(
        *(torch.autograd.grad(v, weights, retain_graph=True) for v in (value, expected)), strict=True
    ):
        assert torch.allclose(mine, theirs, atol=1e-7)


@pytest.mark.parametrize("beta", [0.1, 0.9])
def test_irs_minimises_the_papers_loss_with_noisy_heads(watch, loss_of, beta):
    context = watch("neft_irs", "rram1", network="lenet", width=1.0, settings={"beta": str(beta), "hidden": "32"})
    loss = loss_of(context)
    inputs, targets = next(context.batches())
    value = loss(inputs, targets)
    (only,) = context.passes
    output, *snapshots = only.output
    assert len(snapshots) == 3
    assert value.item() == pytest.approx(feedback_loss(output, snapshots, beta, targets).item(), rel=1e-5)
    heads = [name for name in only.chip if "feedback_heads" in name]
    assert len(heads) == 6 and all(not torch.equal(only.chip[name], only.weights[name]) for name in heads)
    value.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in context.others[0].parameters())


def test_heads_see_the_same_pass_as_the_output(watch, loss_of):
    """A head's input is what the noisy network computed, pooled: worked out by hand on the MLP."""
    context = watch("neft_irs", settings={"hidden": "8"})
    loss_value = loss_of(context)
    inputs, targets = next(context.batches())
    loss_value(inputs, targets)
    (only,) = context.passes
    chip, own = only.chip, only.weights
    early = F.relu(inputs.flatten(1) @ chip["fc1.weight"].T)
    hidden = F.relu(F.linear(early, chip["fc1.feedback_heads.0.fc1.weight"], own["fc1.feedback_heads.0.fc1.bias"]))
    said = F.linear(hidden, chip["fc1.feedback_heads.0.fc2.weight"], own["fc1.feedback_heads.0.fc2.bias"])
    assert torch.allclose(only.output[1], said, atol=1e-5)
    assert torch.allclose(only.output[0], early @ chip["fc2.weight"].T, atol=1e-5)


def test_heads_are_gone_at_test(watch):
    context = watch("neft_irs", network="lenet", settings={"hidden": "16"})
    made = context.fit()
    plain = context.network()
    assert made.network.state_dict().keys() == plain.state_dict().keys()
    assert set(made.analog) == set(context.task.analog(plain))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in made.network.modules())
    inputs, _ = next(context.batches())
    plain.load_state_dict(made.network.state_dict())
    assert torch.equal(made.network.eval()(inputs), plain.eval()(inputs))


def test_heads_start_from_the_seed(watch):
    def first_head(seed):
        context = watch("neft_irs", seed=seed, settings={"hidden": "8"}, finetune_epochs=1)
        context.fit()
        return context.passes[0].weights["fc1.feedback_heads.0.fc1.weight"]

    torch.manual_seed(5)
    one = first_head(0)
    torch.manual_seed(6)
    assert torch.equal(one, first_head(0)) and not torch.equal(one, first_head(1))


@pytest.mark.parametrize(
    "network, stages",
    [
        ("vgg8", ("relu1", "relu2", "relu4")),  # NeFT: after conv1, pool1, pool2, which ReLU follows here
        ("vgg8_mtrd", ("relu1", "relu2", "relu4")),
        ("lenet", ("relu1", "flatten", "relu3")),
        ("mlp", ("relu1",)),
    ],
)
def test_stages_by_depth(network, stages):
    made = find_network(network, (3, 32, 32), 10, 0.125)
    found = by_depth(made, torch.zeros(2, 3, 32, 32), plan.task_of("cifar10").analog(made))
    assert found == stages


def test_resnet18_names_the_papers_stages():
    assert find_network("resnet18", (3, 32, 32), 10, 0.125).feedback_stages == ("relu1", "layer1", "layer2", "layer3")


@pytest.mark.parametrize("network", ["resnet18", *TIMM])
def test_heads_attach_to_any_network(watch, loss_of, network):
    width = {"width": 1.0 if network.startswith("timm") else 0.125}
    asked = {"network": network, "settings": {"hidden": "8"}, "samples": 4, "batch_size": 4, **width}
    context = watch("neft_irs", "rram", task="cifar10", shape=(3, 32, 32), **asked)
    loss = loss_of(context)
    loss(*next(context.batches())).backward()
    heads = len(context.passes[0].output) - 1
    assert heads == (4 if network == "resnet18" else 3)


def test_stages_by_name(watch):
    context = watch("neft_irs", network="lenet", settings={"hidden": "8", "stages": "conv1+relu3"})
    context.fit()
    assert len(context.passes[0].output) == 3
    with pytest.raises(MethodError, match="no module 'conv9'; its first are conv1"):
        watch("neft_irs", network="lenet", settings={"stages": "conv9"}).fit()
