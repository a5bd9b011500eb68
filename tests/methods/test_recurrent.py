"""Every method trains networks whose weights are used at every time step, or says why not."""

import pytest
import torch

from bench import plan, registry
from bench.rig import Rig, numbered_chip
from methods._base import MethodError

INTO_NETWORKS = ("bayes_dropout", "double_weights", "hwa", "neft_irs")  # what else reaches into one
SETTINGS = {"bayes_dropout": {"trials": "1"}, "neft_irs": {"hidden": "8"}, "committee": {"members": "2"}}
CASES = [("lstm", name) for name in registry.entries("methods")] + [("srnn", name) for name in INTO_NETWORKS]


@pytest.mark.parametrize("network, method", CASES)
def test_trained_reloaded_and_measured_on_a_chip(watch, network, method):
    split = plan.task_of("ecg").synthetic(16, torch.Generator().manual_seed(2))
    asked = {"network": network, "batch_size": 8, "precision": "bf16", "settings": SETTINGS.get(method, {})}
    context = watch(method, "rram1t1r", task="ecg", split=split, samples=16, **asked)
    if method == "bn_recalibrate":
        with pytest.raises(MethodError, match="the network has no BatchNorm"):
            context.fit()
        return
    made = context.fit()
    loaded = plan.framed(context.training, context.network())
    loaded.load_state_dict(made.network.state_dict())
    fresh = context.network()
    if method != "committee":  # whose members are other runs', here untrained ones
        assert all(
            not torch.equal(made.network.get_parameter(n), fresh.get_parameter(n)) for n in context.task.analog(fresh)
        )
    rig = Rig(loaded, made.analog, context.task, split, "bf16")
    chip, around = numbered_chip(rig, plan.device_of("rram1t1r"), "test chip", 0, 0.75, 1e5)
    found, clean = rig.measure(chip, periphery=around), rig.measure()
    assert found.probabilities.isfinite().all() and (found.probabilities - clean.probabilities).abs().max() > 1e-3
    assert found.details.keys() == clean.details.keys() > {"accuracy", "balanced accuracy", "macro-F1"}
    if method == "bayes_dropout":
        assert list(made.found) == {"lstm": ["fc"], "srnn": ["spiking.recurrent", "fc"]}[network]
