"""Full scales of the converters: what a network carries for each crossbar product beside its weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from devices._tiles import largest

STEP = 0.003  # a learned range moves by this share each training step


class Ranges:
    """Largest |input| and |partial sum| of every product.

    Filled by a calibration (`observing`), and then fixed. What is missing is taken from the signal at
    hand: in training, where weights move, every batch sets its own ranges.
    """

    def __init__(self, learned: "LearnedRanges | None" = None) -> None:
        """`learned`: input ranges that training moves, in place of the calibrated ones."""
        self.learned = learned
        self.seen: dict[str, Tensor] = {}
        self.observes = False

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Forward passes inside fill the ranges; of all that surrounds their products, only an I-V curve is there."""
        self.observes = True
        try:
            yield
        finally:
            self.observes = False

    def input(self, key: str, x: Tensor, multiple: float) -> Tensor:
        """Full scale of a product's inputs, a scalar; `multiple` of what was seen, or learned."""

        def start() -> Tensor:
            return multiple * self.peak(f"{key} in", lambda: largest(x))

        if self.observes:
            seen = start()
            return self.learned.full_scale(key, start) if self.learned is not None and key in self.learned else seen
        return start() if self.learned is None else self.learned.full_scale(key, start)

    def peak(self, key: str, measure: Callable[[], Tensor]) -> Tensor:
        """What `measure` says of the signal at hand; what it said in the calibration, if there was one."""
        if not self.observes:
            known = self.seen.get(key)
            return measure() if known is None else known
        now = measure()
        before = self.seen.get(key)
        self.seen[key] = now if before is None else torch.maximum(before, now)
        return self.seen[key]


class LearnedRanges:
    """Input ranges as parameters of the ln of the full scale, trained beside the weights.

    A range begins at what the first batch shows. Its gradient is that of devices/_quantise.py; before the
    next forward pass it moves by STEP in ln against the sign of the gradient, which needs no learning
    rate of the layer's own and no state. It belongs to one network, and goes where it goes.
    """

    def __init__(self, logarithms: Mapping[str, float] | None = None) -> None:
        self.logs: dict[str, Tensor] = {}
        self._given = dict(logarithms or {})

    def __contains__(self, key: str) -> bool:
        return key in self.logs or key in self._given

    def full_scale(self, key: str, start: Callable[[], Tensor]) -> Tensor:
        """The scalar range of a product, with gradient where there is one."""
        if key not in self.logs:
            first, given = start().clamp(min=1e-12).log(), self._given.get(key)
            with torch.inference_mode(False):
                self.logs[key] = (first.clone() if given is None else torch.full_like(first, given)).requires_grad_()
        log = self.logs[key]
        return log.exp() if torch.is_grad_enabled() else log.detach().exp()

    @torch.no_grad()
    def step(self) -> None:
        """Follow the gradients of the last training step, if there are any."""
        for log in self.logs.values():
            if log.grad is not None:
                log.sub_(STEP * log.grad.sign())
                log.grad = None

    def logarithms(self) -> dict[str, float]:
        """ln of the full scales as plain numbers, for a checkpoint; what the last step asked for is in them."""
        self.step()
        return {**self._given, **{key: log.item() for key, log in self.logs.items()}}


def learned_ranges(network: nn.Module, *, make: bool) -> LearnedRanges | None:
    """Those that this network carries; `make`: a network without any gets them, and starts from what it is shown."""
    found = vars(network).get("input_ranges")
    if found is None and make:
        found = network.input_ranges = LearnedRanges()  # type: ignore[assignment]
    return found
