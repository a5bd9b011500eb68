"""What a method is offered while it trains."""

from tasks.cifar10 import Cifar10


def test_turns_alternate_from_epoch_to_epoch(home, tmp_path, monkeypatch, cpu_runner, one_cell):
    """Each sample's turn is the other one in its next epoch, and the first is fair."""
    seen: dict[bytes, list[int]] = {}
    real = Cifar10.augment

    def watched(self, inputs, targets, turns, generator):
        for image, turn in zip(inputs, turns.tolist(), strict=True):
            seen.setdefault(image.numpy().tobytes(), []).append(turn)
        return real(self, inputs, targets, turns, generator)

    monkeypatch.setattr(Cifar10, "augment", watched)
    small = {"network": "lenet", "epochs": 3, "train_samples": 512, "batch_size": 64}
    cell = one_cell("nominal", "ideal", "cifar10", **small)
    cpu_runner(home, tmp_path).train(cell.evaluation.training)
    assert len(seen) == 512
    assert all(turns in ([0, 1, 0], [1, 0, 1]) for turns in seen.values())
    first = sum(turns[0] for turns in seen.values())
    assert abs(first - 256) < 5 * 512**0.5 / 2
