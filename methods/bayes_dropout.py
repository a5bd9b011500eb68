"""Bayes dropout: dropout before every crossbar layer but the first, its rates found by Bayesian optimisation.

Source: Ye et al. 2023 (BayesFT), as in the comparison of Moro et al. (MAT): one rate a layer; propose rates, train some
epochs with them, score the mean accuracy of a few noisy chips, update; alternating, on one set of weights. No noise in
training; dropout is off at test. In the source the noise of the score is lognormal; here it is the training device's,
at the run's level, on two fixed validation chips (`Context.score`).
Deviations: it starts from the nominal network and trains for the budget's noisy epochs, like all methods here, which
`trials` divide among them; the last `final` of the steps, at least one, is trained with the best rates found, so that
what is deployed is not the last proposal's; rates are proposed by Optuna's tree-structured Parzen estimator. Trials
differ in how long the weights have been trained before, as in the source: later ones have an advantage (docs/log.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods._base import Context, Deployable, Method, Refusal, Settings, setting
from methods._loop import finetune, finetune_steps


@dataclass(frozen=True, kw_only=True)
class BayesDropoutSettings(Settings):
    """Settings of Bayes dropout; rates are scored at the run's own level (`--level`)."""

    trials: int = setting(12, "sets of rates that are tried, one after the other", low=1, high=200, tune=False)
    highest: float = setting(0.5, "largest rate", low=0.01, high=0.95)
    final: float = setting(0.25, "share of the steps, at the end, that have the best rates", low=0.01, high=0.9)


class BayesDropout(Method):
    """Trains with dropout before every layer but the first, at rates that make noisy validation chips work best."""

    name = "bayes_dropout"
    source = "Ye et al. 2023 (BayesFT); Moro et al. (MAT)"
    rests_on = ("nominal",)
    Settings = BayesDropoutSettings

    def fit(self, context: Context) -> Deployable:
        """Fine-tune the nominal network for `finetune_epochs`, a part of them for each set of rates."""
        task, settings = context.task, self.settings
        network = context.train("nominal")
        names = task.analog(network)
        layers = layers_as_run(network, names, context.example(2))[1:]
        if not layers:
            raise Refusal("bayes_dropout: dropout goes before every crossbar layer but the first: there is but one")
        space = {name: (0.0, settings.highest) for name in layers}
        search = context.search(space, maximise=task.metric.higher_is_better)
        rates = search.ask()
        steps = finetune_steps(context)
        ends = ends_of(settings.trials, min(round((1 - settings.final) * steps), steps - 1))
        progress = {"step": 0}

        def next_rates() -> None:
            progress["step"] += 1
            if progress["step"] not in ends:
                return
            (score,) = context.score(network, (context.level,))
            search.tell(score)
            context.report(score=score)
            rates.update(search.best() if progress["step"] == ends[-1] else search.ask())

        hooks = [network.get_submodule(name).register_forward_pre_hook(dropping(rates, name)) for name in layers]
        finetune(
            context,
            network,
            lambda x, y: task.loss(context.forward(network, x), y),
            state={"progress": progress, "rates": rates, "search": search.history},
            after_step=next_rates,
        )
        for hook in hooks:
            hook.remove()
        return Deployable(network, names, found=dict(rates) if progress["step"] else {})


def ends_of(trials: int, steps: int) -> list[int]:
    """The steps after which a trial ends: `trials` near equal parts, fewer if there are fewer steps; at least one."""
    return sorted({max(round(steps * (i + 1) / trials), 1) for i in range(trials)})


def dropping(rates: dict[str, float], name: str) -> Callable[[nn.Module, Any], Any]:
    """A hook that drops a layer's inputs at its rate, while the layer trains."""

    def drop(module: nn.Module, inputs: Any) -> Any:
        return (F.dropout(inputs[0], rates[name], module.training), *inputs[1:])

    return drop


@torch.no_grad()
def layers_as_run(network: nn.Module, names: tuple[str, ...], example: Tensor) -> list[str]:
    """The modules that hold these weights, in the order in which they run. Refusal if one isn't called with inputs.

    Such as `out_proj` of nn.MultiheadAttention, whose weight alone is used.
    """
    begun: list[str] = []
    layers = dict.fromkeys(name.rpartition(".")[0] for name in names)
    hooks = [
        network.get_submodule(name).register_forward_pre_hook(lambda m, x, name=name: begun.extend([name] * len(x[:1])))
        for name in layers
    ]
    was_training = network.training
    network.eval()(example)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    if missed := [name for name in layers if name not in begun]:
        raise Refusal(
            f"bayes_dropout: nothing can be dropped before {', '.join(missed)}: the network doesn't call it as a layer "
            "with its inputs; choose another network or method"
        )
    return list(dict.fromkeys(begun))
