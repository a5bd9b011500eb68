"""A run that was killed between two epochs ends with the weights of an undisturbed one, whatever a method keeps."""

import pytest
import torch

from methods._loop import finetune_steps


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "method", ["mixed_noise", "noise_back", "vant", "neft_irs", "hwa", "bayes_dropout", "double_weights"]
)
def test_a_resumed_run_ends_alike(watch, tmp_path, method):
    own = {"noise_back": {"every": "3"}, "neft_irs": {"hidden": "8"}, "hwa": {"ramp": "0.75"}}
    settings = (own | {"bayes_dropout": {"trials": "6"}}).get(method, {})
    asked = {"settings": settings, "finetune_epochs": 2}
    undisturbed = watch(method, **asked).fit().network.state_dict()
    watch(method, **asked).checkpoints.partial_path(watch(method, **asked).training.key).unlink()
    killed = watch(method, **asked)
    batches, half = killed.batches, finetune_steps(killed) // 2

    def until_killed():
        if killed.cost["epochs"] == 1:
            raise Killed
        yield from batches()

    killed.batches = until_killed
    with pytest.raises(Killed):
        killed.fit()
    assert killed.cost["samples"] == half * 16
    resumed = watch(method, **asked)
    network = resumed.fit().network
    assert resumed.cost["samples"] == 2 * half * 16
    assert all(torch.equal(network.state_dict()[name], w) for name, w in undisturbed.items())
