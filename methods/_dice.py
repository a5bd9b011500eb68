"""Random choices of single steps, such as a noise level."""

import torch

from methods._base import Context


class Dice:
    """Random numbers on the CPU, where a choice is made without waiting for a GPU.

    Seeded like the context's generator, anew each epoch, so that a resumed run chooses as an undisturbed one.
    """

    def __init__(self, context: Context) -> None:
        self._followed = context.generator
        self._generator = torch.Generator()
        self._seed: int | None = None

    def uniform(self) -> float:
        """From 0 to 1, without 1."""
        return float(torch.rand((), generator=self._stream(), dtype=torch.float64))

    def normal(self) -> float:
        """Standard normal."""
        return float(torch.randn((), generator=self._stream(), dtype=torch.float64))

    def _stream(self) -> torch.Generator:
        seed = self._followed.initial_seed()
        if seed != self._seed:
            self._seed = seed
            # Not the seed itself: on a CPU the noise would begin with the same numbers.
            self._generator.manual_seed(seed ^ 0x5EED)
        return self._generator
