"""NeFT-IRS: negative feedback training with intermediate representation snapshots.

Source: Qin et al., "Negative Feedback Training", arXiv 2305.14561. Heads on early features (average pool to
6 x 6, 4 x 4, 3 x 3, a linear layer of 512, ReLU, a linear layer to the classes), noisy like all else, say o_i;
L = CE([o - beta (o_0 + .1 o_1 + .01 o_2)] / (heads + 1), y), the earliest head first. They are dropped at test.
Heads attach to any network: after the modules that `stages` names, else those that the network names itself
(ResNet18: stem and three stages, as there), else by depth (methods/_feedback.py; on NeFT's VGG8 the paper's).
Deviations: maps smaller than a pool's size stay as they are, and features of tokens are pooled along the tokens;
it starts from the nominal network, with fresh heads, and trains for the budget's noisy epochs, the paper from
scratch. The paper's beta depends on task and network (.1 for VGG8 on CIFAR-10, the default here, .01 on MNIST, .001 for
ResNet18): tune it elsewhere.
"""

from dataclasses import dataclass

from torch import Tensor

from methods._base import Context, Deployable, Method, Settings, setting
from methods._feedback import Heads, with_feedback
from methods._loop import finetune


@dataclass(frozen=True, kw_only=True)
class NeftIrsSettings(Settings):
    """Settings of IRS; the training level is the run's own (`--level`)."""

    beta: float = setting(0.1, "strength of the feedback", low=0.0, high=1.0, tune=(1e-3, 1.0))
    hidden: int = setting(512, "width of a head's hidden layer", low=1, high=4096)
    stages: str = setting("", "modules after which heads read, as NAME+NAME; empty: the network's own, or by depth")


class NeftIrs(Method):
    """Feeds back, with a minus, what heads on early features say; they are dropped at test."""

    name = "neft_irs"
    source = "Qin et al., NeFT, arXiv 2305.14561"
    rests_on = ("nominal",)
    Settings = NeftIrsSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network, with heads, for `finetune_epochs`."""
        task, settings = context.task, self.settings
        network = context.train("nominal")
        names = task.analog(network)
        heads = Heads(context, network, tuple(filter(None, settings.stages.split("+"))), settings.hidden)
        noisy = task.analog(network)  # those of the heads too

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            output, *snapshots = context.forward(network, inputs, context.chip(network, noisy))
            return task.loss(with_feedback(output, snapshots, settings.beta, task.logits), targets)

        finetune(context, network, loss)
        heads.drop()
        return Deployable(network, names)
