"""A committee: other seeds' networks, averaged, on one chip, and what that cost."""

import pytest
import torch

from bench.context import build_network
from methods.committee import Members


def test_members_are_the_nominal_networks_of_other_seeds(watch):
    first, second = (watch("committee", seed=seed) for seed in (0, 1))
    for context in (first, second):
        context.fit()
        assert {t.method for t in context.asked} == {"nominal"}
    assert [t.seed for t in first.asked] == [0, 1, 2, 3, 4]
    assert [t.seed for t in second.asked] == [5, 6, 7, 8, 9], "committees share no member"
    assert first.asked[0].budget.finetune_epochs == 0


def test_outputs_are_averaged_and_all_weights_are_on_the_chip(watch):
    context = watch("committee", settings={"members": "3"})
    made = context.fit()
    inputs, _ = next(context.batches())
    expected = sum(network(inputs) for network in context.others) / 3
    assert torch.allclose(made.network(inputs), expected, atol=1e-6)
    assert made.analog == tuple(f"members.{i}.fc{j}.weight" for i in range(3) for j in (1, 2))


def test_a_chip_counts_every_member_once(watch):
    made = watch("committee", settings={"members": "2"}).fit()
    chip = {name: torch.zeros_like(made.network.get_parameter(name)) for name in made.analog[:2]}
    inputs = torch.randn(4, 1, 28, 28)
    other = made.network.members[1](inputs)
    assert torch.allclose(torch.func.functional_call(made.network, chip, (inputs,)), other / 2, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_committee_comes_back_from_its_checkpoint_with_its_cost(home, tmp_path, cpu_runner, one_cell, precision):
    runner = cpu_runner(home, tmp_path / "results")
    small = {"network": "mlp", "train_samples": 256, "test_samples": 100, "chips": 2, "settings": {"members": "3"}}
    cell = one_cell("committee", "rram", "mnist", precision=precision, levels=(0.0,), **small)
    record = runner.run(cell, "test")
    cost = record["cost"]
    assert (cost["epochs"], cost["teacher_epochs"], cost["teacher_samples"]) == (0, 3, 3 * 256)
    training = cell.evaluation.training
    network = runner.train(training)
    assert isinstance(network, Members) and len(network.members) == 3
    untrained = build_network(runner.task(training)[0], training, runner.processor)
    weights = [member.get_parameter("fc1.weight") for member in network.members]
    assert not any(torch.equal(a, b) for a, b in zip(weights, [*weights[1:], untrained.fc1.weight], strict=True))
