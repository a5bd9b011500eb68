"""What comes of measuring a chip."""

import math
from typing import NamedTuple

from torch import Tensor

from methods._base import MethodError


class Measurement(NamedTuple):
    """The metric of a chip, its probabilities (n, classes, ...) on the CPU or None, what the task has in details.

    `is_number`: is no output of the network NaN? Argmax makes a class of NaN, and so an accuracy that looks like one.
    """

    metric: float
    probabilities: Tensor | None
    details: dict[str, float]
    is_number: bool = True

    def checked(self, where: str) -> "Measurement":
        """Itself. MethodError if it is of no use: never a number in a record."""
        if not self.is_number:
            raise MethodError(f"the network returns NaN {where}")
        if not math.isfinite(self.metric):
            raise MethodError(f"the metric is {self.metric} {where}")
        return self
