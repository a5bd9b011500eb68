"""Every method runs on networks of every kind, or says why not."""

import pytest
import torch

from bench import plan, registry
from bench.rig import Rig, numbered_chip
from devices._base import WeightPairs, programmable
from methods._base import MethodError
from tasks._base import Split

NETWORKS = {
    "mlp": 0.125,
    "vgg8": 0.125,
    "resnet18": 0.125,
    "timm:mobilenetv2_035?stem_stride=1": 1.0,
    "timm:vit_tiny_patch16_224?img_size=32,patch_size=8,embed_dim=24,num_heads=2,depth=2": 1.0,
}
SETTINGS = {"bayes_dropout": {"trials": "1"}, "committee": {"members": "2"}, "bn_recalibrate": {"samples": "8"}}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", registry.entries("methods"))
def test_trained_reloaded_and_measured_on_a_chip(watch, method, network):
    asked = {"network": network, "width": NETWORKS[network], "samples": 8, "batch_size": 4}
    context = watch(
        method, "pcm", task="cifar10", shape=(3, 32, 32), precision="bf16", settings=SETTINGS.get(method, {}), **asked
    )
    if method == "bn_recalibrate" and ("mlp" in network or "vit" in network):
        with pytest.raises(MethodError, match="has no BatchNorm"):
            context.fit()
        return
    made = context.fit()
    loaded = plan.framed(context.training, context.network())
    loaded.load_state_dict(made.network.state_dict())
    assert context.task.analog(loaded) == made.analog
    adaptation = plan.method_of(method, context.training.settings).adaptation()
    split = Split(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 10, (8,)))
    rig = Rig(loaded, made.analog, context.task, split, "bf16", adaptation=adaptation and (adaptation, split))
    chip, around = numbered_chip(rig, context.device, "test chip", 0, context.level, context.time_s)
    probabilities = rig.measure(chip, periphery=around).probabilities
    assert probabilities.shape == (8, 10) and probabilities.isfinite().all()
    if method == "bn_recalibrate":
        norms = [m for m in loaded.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        assert len(chip.digital) == 2 * len(norms) > 0
    if method == "bayes_dropout":
        assert len(made.found) == len(made.analog) - 1
    if method == "double_weights":
        assert isinstance(programmable(loaded, made.analog), WeightPairs)
