"""The matched budget: every method gets the same number of forward-backward passes of training samples.

As many as noise injection takes at the preset's budget, nominal phase included: one for each sample of the first
phase's epochs and of the second's. All phases of a run, and of the runs that it rests on, are made longer or shorter by
one factor, so that a method keeps its own proportions.
"""

import dataclasses

from bench import plan
from bench.errors import BenchError
from bench.grid import lineage
from bench.plan import Cell, Request
from bench.spec import Training
from methods._base import Budget

DIGITS = 4  # of epochs: finer than a step of most data sets, and short enough to read


def cells(request: Request) -> list[Cell]:
    """The cells of a request, at the budget that it asks for. BenchError if one can't be matched."""
    made = plan.cells(request)
    if request.budget == "preset":
        return made
    return [_matched(c, plan.budget_of(request, plan.task_of(c.evaluation.training.task))) for c in made]


def _matched(cell: Cell, budget: Budget) -> Cell:
    """The cell at the matched budget; `budget`: both phases, also where the cell's own method has one."""
    evaluation = cell.evaluation
    levels = plan.device_of(cell.train_device, evaluation.training.device_settings).axis.levels
    training = scaled(dataclasses.replace(evaluation.training, budget=budget), levels)
    name, star = evaluation.preset.rstrip("*"), "*" if evaluation.preset.endswith("*") else ""
    preset = f"{name} matched {total(budget):g} epochs{star}"  # so ranked among such rows alone
    return dataclasses.replace(cell, evaluation=dataclasses.replace(evaluation, training=training, preset=preset))


def total(budget: Budget) -> float:
    """Epochs of forward-backward passes that each method gets in place of this budget."""
    return budget.epochs + budget.finetune_epochs


def scaled(training: Training, levels: tuple[float, ...]) -> Training:
    """The training with epochs that bring it, with all that it rests on, to `total`; `levels`: of its device's axis.

    BenchError if no factor on its epochs does.
    """
    wanted = total(training.budget)
    once, twice = (passes(_times(training, factor), levels) for factor in (1, 2))
    grows, fixed = twice - once, 2 * once - twice
    if grows <= 0:
        raise BenchError(f"budget matched: {training.method} trains nothing that could take more or fewer epochs")
    if fixed >= wanted:
        raise BenchError(
            f"budget matched: {training.method} can't do with {wanted:g} epochs of passes, since what its settings fix "
            f"takes {fixed:.4g}"
        )
    return plan.normalise(_times(training, (wanted - fixed) / grows))


def passes(training: Training, levels: tuple[float, ...]) -> float:
    """Forward-backward passes, in epochs, of a training and of all that it rests on."""
    found = 0.0
    for one, _ in lineage(training, levels).values():
        method = plan.method_of(one.method, one.settings)
        found += method.own_epochs(one.budget) * method.passes(levels)
    return found


def _times(training: Training, factor: float) -> Training:
    """The training with both phases so many times as long; whole epochs stay whole numbers, which name the same run."""

    def epochs(before: float) -> float:
        after = round(before * factor, DIGITS)
        return int(after) if after == int(after) else after

    budget = training.budget
    longer = dataclasses.replace(budget, epochs=epochs(budget.epochs), finetune_epochs=epochs(budget.finetune_epochs))
    return dataclasses.replace(training, budget=longer)
