"""Metrics of a confusion matrix, for classes of very unequal size, from one number a sample.

A sample's contribution is its pair of classes, true times `classes` plus predicted, as a float: enough to make
the matrix of any set of samples, which no mean is.
"""

import torch
from torch import Tensor


def pairs(output: Tensor, target: Tensor, classes: int) -> Tensor:
    """(n,) float: target * classes + prediction. `output`: (n, classes) logits; `target`: (n,) labels."""
    return (target * classes + output.argmax(dim=1)).float()


def confusion(contributions: Tensor, classes: int) -> Tensor:
    """(classes, classes) float64: how many samples of a class (row) were taken for which (column)."""
    counts = torch.bincount(contributions.long(), minlength=classes * classes)
    return counts.view(classes, classes).double()


def accuracy(matrix: Tensor) -> float:
    """Share of all samples, in %."""
    return 100 * (matrix.trace() / matrix.sum()).item()


def recalls(matrix: Tensor) -> Tensor:
    """(classes,): share of each class that was found, in %; NaN of a class without samples."""
    return 100 * matrix.diag() / matrix.sum(1)


def balanced_accuracy(matrix: Tensor) -> float:
    """Mean recall of the classes that have samples, in %."""
    return recalls(matrix).nanmean().item()


def macro_f1(matrix: Tensor) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes that have samples, in %.

    A class without samples can't be judged; what was taken for it is missing from the recall of another.
    """
    f1 = 200 * matrix.diag() / (matrix.sum(0) + matrix.sum(1))
    return f1[matrix.sum(1) > 0].mean().item()
