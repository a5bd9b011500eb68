"""Bayesian optimisation for a method while it trains: `Context.search`."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

from bench.keys import seed_of
from methods._base import MethodError

STARTUP = 4  # sets drawn at random before the first that follows from others


class BayesSearch:
    """Optuna's tree-structured Parzen estimator, all numbers together, over a box of numbers.

    The study is made anew from the history for each question, with a seed of that question's own: so a resumed run
    asks what an undisturbed one asks.
    """

    def __init__(self, space: Mapping[str, tuple[float, float]], *, maximise: bool, seed: int) -> None:
        """`space`: name -> (least, largest)."""
        self.space, self.maximise, self.seed = dict(space), maximise, seed
        self.history: dict[str, Any] = {"asked": [], "trials": []}  # trials: [[number, ...], score or None]

    def ask(self) -> dict[str, float]:
        """The next set to try."""
        import optuna  # slow to import

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        uniform = optuna.distributions.FloatDistribution
        bounds: dict[str, Any] = {name: uniform(*ends) for name, ends in self.space.items()}
        told = self.history["trials"]
        with warnings.catch_warnings():  # in some versions it is called experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            seed = seed_of(self.seed, len(told)) % 2**32
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True)
        study = optuna.create_study(direction="maximize" if self.maximise else "minimize", sampler=sampler)
        for numbers, score in self._scored():
            params = dict(zip(bounds, numbers, strict=True))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=bounds, value=score))
        params = study.ask(bounds).params
        self.history["asked"] = [params[name] for name in self.space]
        return dict(params)

    def tell(self, score: float) -> None:
        """What the set asked for last was worth; a score that is not finite is kept as None and says nothing of it."""
        self.history["trials"].append([self.history["asked"], score if math.isfinite(score) else None])
        self.history["asked"] = []

    def best(self) -> dict[str, float]:
        """The set with the best score so far. MethodError if no score was finite."""
        if not (scored := self._scored()):
            tried = len(self.history["trials"])
            raise MethodError(f"search: none of {tried} sets had a finite score: training diverged; try a smaller --lr")
        numbers, _ = (max if self.maximise else min)(scored, key=lambda trial: trial[1])
        return dict(zip(self.space, numbers, strict=True))

    def _scored(self) -> list[Any]:
        return [trial for trial in self.history["trials"] if trial[1] is not None]
