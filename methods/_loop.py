"""The one training loop. A method hands it a loss; everything else is the same for all methods."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods._base import Context, MethodError

# Where nothing normalises activations, one chip with large deviations can throw training off for good.
NORMALISATIONS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
MAX_NORM = 1.0


def sgd(
    context: Context,
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    epochs: float,
    lr: float,
    state: Mapping[str, Any] | None = None,
    after_step: Callable[[], None] | None = None,
    between_epochs: Callable[[], None] | None = None,
) -> None:
    """Train `network` in place: the budget's optimizer, by default SGD, one-cycle learning rate with peak `lr`.

    `loss(inputs, targets)` does the forward passes and returns a scalar. `state`: whatever else
    must survive a kill (a dict, or objects with state_dict), beside network and optimizer.
    Gradients of a network without normalisation layers are kept to a norm of MAX_NORM.
    MethodError if the loss stops being finite, or if `epochs` is a fraction that holds no step.
    """
    steps = steps_of(context, epochs)
    optimizer, schedule = _one_cycle(context, network, steps, lr)
    short = not any(isinstance(layer, NORMALISATIONS) for layer in network.modules())
    resumable = {"network": network, "optimizer": optimizer, "schedule": schedule, **(state or {})}
    for epoch in context.epochs(epochs, resumable):
        network.train()
        total, count = torch.zeros((), device=next(network.parameters()).device), 0
        for inputs, targets in context.batches():
            value = loss(inputs, targets)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if short:
                nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step()
            total += value.detach()  # stays on the processor: no wait for it at every step
            count += 1
        mean = total.item() / count
        if not math.isfinite(mean):
            raise MethodError(f"training diverged in epoch {epoch + 1} (loss {mean}); try a smaller --lr")
        context.report(loss=mean)
        if between_epochs is not None and (epoch + 1) * context.steps_per_epoch() < steps:
            between_epochs()


def _one_cycle(
    context: Context, network: nn.Module, steps: int, lr: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The budget's optimizer, and its learning rate: up to `lr` in the first 15% of the steps, then down."""
    budget, weights = context.budget, network.parameters()
    optimizer: torch.optim.Optimizer
    if budget.optimizer == "adamw":  # fused: a fraction of the passes over memory of the usual form
        betas = (budget.momentum, 0.999)
        optimizer = torch.optim.AdamW(weights, lr=lr, betas=betas, weight_decay=budget.weight_decay, fused=True)
    else:
        decay, momentum = budget.weight_decay, budget.momentum
        optimizer = torch.optim.SGD(weights, lr=lr, momentum=momentum, nesterov=True, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=lr,
        total_steps=max(steps, 10),
        pct_start=0.15,
        anneal_strategy=budget.anneal,
        cycle_momentum=False,
    )
    return optimizer, schedule


def finetune(
    context: Context,
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    state: Mapping[str, Any] | None = None,
    after_step: Callable[[], None] | None = None,
    between_epochs: Callable[[], None] | None = None,
) -> None:
    """`sgd` for the second phase, whose epochs and learning rate the budget states: the same for all methods."""
    budget = context.budget
    sgd(
        context,
        network,
        loss,
        epochs=budget.finetune_epochs,
        lr=budget.finetune_lr,
        state=state,
        after_step=after_step,
        between_epochs=between_epochs,
    )


def finetune_steps(context: Context) -> int:
    """Steps of `finetune`."""
    return steps_of(context, context.budget.finetune_epochs)


def steps_of(context: Context, epochs: float) -> int:
    """Steps of so many epochs. MethodError if a fraction of an epoch holds none."""
    steps = round(epochs * context.steps_per_epoch())
    if epochs > 0 and steps == 0:
        raise MethodError(
            f"{epochs:g} epochs are less than one step of {context.budget.batch_size} samples; give it more"
        )
    return steps


def ramped(share: float, ramp: float) -> float:
    """0 to 1, linearly, while `share` of the steps goes from 0 to `ramp`; then 1."""
    return 1.0 if share >= ramp else share / ramp
