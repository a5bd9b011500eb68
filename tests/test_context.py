"""What a method is offered while it trains."""

import torch

from bench import plan
from bench.progress import Monitor
from bench.runner import Runner
from tasks.cifar10 import Cifar10


def test_turns_alternate_from_epoch_to_epoch(home, tmp_path, monkeypatch):
    """Each sample's turn is the other one in its next epoch, and the first is fair."""
    seen: dict[bytes, list[int]] = {}
    real = Cifar10.augment

    def watched(self, inputs, turns, generator):
        for image, turn in zip(inputs, turns.tolist(), strict=True):
            seen.setdefault(image.numpy().tobytes(), []).append(turn)
        return real(self, inputs, turns, generator)

    monkeypatch.setattr(Cifar10, "augment", watched)
    request = plan.Request(
        methods=("nominal",),
        devices=("ideal",),
        tasks=("cifar10",),
        seeds=(0,),
        preset="smoke",
        precision="fp32",
        network="lenet",
        epochs=3,
        train_samples=512,
        batch_size=64,
    )
    (cell,) = plan.cells(request)
    cpu = torch.device("cpu")
    runner = Runner(home=home, results=tmp_path, data_dir=None, processor=cpu, monitor=Monitor(quiet=True))
    runner.train(cell.evaluation.training)
    assert len(seen) == 512
    assert all(turns in ([0, 1, 0], [1, 0, 1]) for turns in seen.values())
    first = sum(turns[0] for turns in seen.values())
    assert abs(first - 256) < 5 * 512**0.5 / 2
