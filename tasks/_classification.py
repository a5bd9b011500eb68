"""What tasks with one label a sample share, whatever the samples are: loss, distillation, accuracy."""

from abc import ABC
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from tasks._base import Split, Task


class Classification(Task, ABC):
    """One label a sample; networks give logits (n, classes)."""

    weights: ClassVar[tuple[float, ...]] = ()  # of the classes in the loss; () if they weigh alike
    smoothing: ClassVar[float] = 0.0  # of the labels in the loss (Szegedy et al. 2016)
    names: ClassVar[tuple[str, ...]] = ()  # of the classes; () if their numbers say enough

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats, mean over the batch, weighted. `output`: (n, classes) logits; `target`: (n,).

        Against labels that give `smoothing` of their probability to all classes alike. Of samples that `augment` mixed,
        `target` has the classes' shares, (n, classes).
        """
        weights = output.new_tensor(self.weights) if self.weights else None
        return F.cross_entropy(output, target, weights, label_smoothing=self.smoothing)

    def distill(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T^2 KL(teacher || student) of the softened distributions, mean over the batch; logits (n, classes)."""
        of_student = F.log_softmax(student.float() / temperature, dim=1)
        of_teacher = F.log_softmax(teacher.float() / temperature, dim=1)
        return temperature**2 * F.kl_div(of_student, of_teacher, reduction="batchmean", log_target=True)

    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """(n,): 100 where the largest logit is the label's, else 0, so that the mean is the accuracy in %."""
        return 100.0 * (output.argmax(dim=1) == target).float()

    def given(self, split: Split) -> list[str]:
        """Of each sample, in words, what the network is given: here only which one of its split it is."""
        return [f"test sample {i}" for i in range(len(split))]

    def samples(self, split: Split) -> list[tuple[str, str]]:
        """What is given, and the class."""
        return list(zip(self.given(split), self._called(split.targets), strict=True))

    def answers(self, split: Split, output: Tensor) -> list[tuple[str, bool]]:
        """The most probable class and its probability; is it the label's? `output`: (n, classes) logits."""
        p, found = self.probabilities(output).max(dim=1)
        right = (found.to(split.targets.device) == split.targets).tolist()
        said = [f"{name} {share:.2f}" for name, share in zip(self._called(found), p.tolist(), strict=True)]
        return list(zip(said, right, strict=True))

    def _called(self, labels: Tensor) -> list[str]:
        return [self.names[i] if self.names else str(i) for i in labels.tolist()]

    def probabilities(self, output: Tensor) -> Tensor:
        """(n, classes): softmax of the logits, in float32."""
        return F.softmax(output.float(), dim=1)
