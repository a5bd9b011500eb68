"""Nominal: the digital network, trained as if hardware were perfect.

Source: the baseline of every paper here. Deviations: none; it does not see the device, so one run
serves all devices.
"""

from methods._base import Context, Deployable, Method
from methods._loop import sgd


class Nominal(Method):
    """No noise in training: the baseline."""

    name = "nominal"
    uses_device = False
    finetunes = False

    def fit(self, context: Context) -> Deployable:
        """Train from scratch on clean weights for `budget.epochs`."""
        network = context.network()
        task = context.task
        sgd(
            context,
            network,
            lambda x, y: task.loss(context.forward(network, x), y),
            epochs=context.budget.epochs,
            lr=context.budget.lr,
        )
        return Deployable(network, task.analog(network))
