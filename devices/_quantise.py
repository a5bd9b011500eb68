"""Round and clip: what a DAC or an ADC does to a signal, with straight-through gradients.

A converter of b bits has 2^b - 1 codes -s, ..., 0, ..., s with s = 2^(b-1) - 1, so that zero stays zero
(8 bits: 255 codes, 254 steps, as in Rasch et al. 2023). With full scale r:

    q(x) = r / s * clip(round(s x / r), -s, s)

Gradient to x: 1 within +-r, 0 beyond (straight through the rounding, not through the clip). Gradient to
r, where the range is learned (Esser et al. 2020, learned step size): (q(x) - x) / r within, sign(x) beyond.
"""

from typing import Any

import torch
from torch import Tensor

TINY = 1e-30  # a layer that has seen only zeros has no full scale


def codes(bits: int) -> int:
    """Codes of one sign of a converter: 127 for 8 bits."""
    return 2 ** (bits - 1) - 1


def quantise(x: Tensor, full_scale: Tensor, bits: int) -> Tensor:
    """x of any shape; `full_scale` broadcasts against it, and may be learned if it is a scalar."""
    return _Quantise.apply(x, full_scale.clamp(min=TINY), codes(bits))


class _Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, full_scale: Tensor, steps: int) -> Tensor:  # type: ignore[override]
        q = _rounded(x, full_scale, steps)
        # One byte an element, unless the range is learned
        ctx.save_for_backward(x.abs() > full_scale, full_scale, *([x, q] if ctx.needs_input_grad[1] else []))
        return q

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:  # type: ignore[override]
        beyond, full_scale, *signals = ctx.saved_tensors
        to_scale = None
        if signals:
            x, q = signals
            to_scale = (grad * torch.where(beyond, x.sign(), (q - x) / full_scale)).sum().view(full_scale.shape)
        return grad.masked_fill(beyond, 0), to_scale, None


def _rounded(x: Tensor, full_scale: Tensor, steps: int) -> Tensor:
    return (x * (steps / full_scale)).round_().clamp_(-steps, steps).mul_(full_scale / steps)
