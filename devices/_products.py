"""Finds the matrix products of a forward pass that run on crossbars, in whatever layer they are.

A weight is on a crossbar if it is one of the tensors that a chip hands to functional_call: it is known
by identity. Linear layers and convolutions (grouped, strided, dilated, padded) are one product each;
fused LSTM, GRU and RNN kernels become a loop over time steps (devices/_recurrent.py), and
nn.MultiheadAttention, its fast path too, its projections. All other operators are left alone.
"""

import types
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from devices._recurrent import CELLS, SEQUENCES

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
CHOICES = (torch.Tensor.index_select, torch.index_select)
SLICES = (torch.Tensor.split, torch.Tensor.chunk, torch.split, torch.chunk)


class UnknownProduct(ValueError):
    """A weight on a crossbar is used in a way around which nothing can be put."""


@dataclass(frozen=True)
class Product:
    """y = product(x, w), without bias.

    Linear: x (..., in), w (out, in). Convolution: x ([n,] in, *pixels), w (out, in / groups, *kernel).
    The crossbar's rows are the inputs of one output, w[0].numel() of them for each group.
    """

    convolve: Callable[..., Tensor] | None = None
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    def __call__(self, x: Tensor, w: Tensor) -> Tensor:
        if self.convolve is None:
            return F.linear(x, w)
        return self.convolve(x, w, None, self.stride, self.padding, self.dilation, self.groups)


@dataclass(frozen=True)
class Part:
    """A weight that a product uses: all of the chip's tensor `name`, its outputs from `start` on, or its `rows`."""

    name: str
    weight: Tensor  # kept, so that its id stays its own
    start: int | None = None
    rows: Tensor | None = None

    @property
    def key(self) -> str:
        """Names the product: the projections of a packed attention weight have converters of their own.

        Chosen outputs, as of a softmax over a part of a vocabulary, are the crossbar's, some of whose columns idle.
        """
        return self.name if self.start is None else f"{self.name}[{self.start}]"

    def of(self, whole: Tensor, dim: int = 0) -> Tensor:
        """The same outputs of a tensor that has one entry a weight."""
        if self.rows is not None:
            return whole.index_select(dim, self.rows)
        return whole if self.start is None else whole.narrow(dim, self.start, len(self.weight))


class ProductMode(TorchFunctionMode):
    """Hands every product with a weight of the chip to `multiply`; the bias is added digitally, afterwards."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """`weights`: the very tensors that functional_call is given."""
        super().__init__()
        self._parts = {id(w): Part(name, w) for name, w in weights.items()}
        self._slices: dict[int, Part] = {}
        self._depth = 0

    @abstractmethod
    def multiply(self, part: Part, x: Tensor, w: Tensor, product: Product) -> Tensor:
        """The product as the hardware shows it, in float32 or float64. x, w: at least float32."""

    def __enter__(self) -> "ProductMode":
        self._depth += 1
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._slices.clear()
        super().__exit__(*exception)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.linear:
            return self._linear(*args, **kwargs)
        if func in CONVOLUTIONS:
            return self._convolution(func, *args, **kwargs)
        if func in SEQUENCES and any(map(self._part, _weights(args))):
            return SEQUENCES[func](self._linear, *args, **kwargs)
        if func in CELLS and any(map(self._part, args)):
            return CELLS[func](self._linear, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            with self:  # out of itself, a mode is off in its own handler; here the projections must meet it
                return _attention(*args, **kwargs)
        result = func(*args, **kwargs)
        met = next((part for part in map(self._part, (*args, *kwargs.values())) if part), None)
        if met is not None and result is not met.weight:
            self._follow(func, met, args, result)
        return result

    def _part(self, w: Any) -> Part | None:
        return self._parts.get(id(w)) or self._slices.get(id(w))

    def _follow(self, func: Any, part: Part, args: Any, result: Any) -> None:
        """Remember slices of a weight along its outputs, or some chosen ones; refuse what else makes a tensor of it."""
        pieces = [result] if isinstance(result, Tensor) else result if isinstance(result, list | tuple) else []
        if func in SLICES and all(piece.shape[1:] == part.weight.shape[1:] for piece in pieces):
            start = part.start or 0
            for piece in pieces:
                self._slices[id(piece)] = Part(part.name, piece, start)
                start += len(piece)
        elif func in CHOICES and part.start is part.rows is None and args[1] == 0:
            self._slices[id(result)] = Part(part.name, result, rows=args[2])
        elif any(isinstance(piece, Tensor) for piece in pieces):
            name = getattr(func, "__name__", str(func))
            raise UnknownProduct(
                f"weight {part.name} is used in {name}, around which no periphery can be put, only around linear "
                "layers, convolutions, recurrent layers and attention; leave it out of the task's analog weights"
            )

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        part = self._part(weight)
        if part is None:
            return F.linear(input, weight, bias)
        return self._surrounded(part, input, weight, bias, Product())

    def _convolution(
        self,
        convolve: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        part = self._part(weight)
        if part is None:
            return convolve(input, weight, bias, stride, padding, dilation, groups)
        return self._surrounded(part, input, weight, bias, Product(convolve, stride, padding, dilation, groups))

    def _surrounded(self, part: Part, x: Tensor, w: Tensor, bias: Tensor | None, product: Product) -> Tensor:
        """In float32 around the product, whatever the pass's precision; out in the dtype that torch would give."""
        y = self.multiply(part, wide(x), wide(w), product)
        if bias is not None:
            y = y + bias.view(-1, *[1] * (w.dim() - 2))
        half = torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
        return y.to(torch.get_autocast_dtype(x.device.type) if half else x.dtype)


def wide(x: Tensor) -> Tensor:
    """At least float32: converters have more levels than bf16 has digits."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _weights(arguments: Any) -> Any:
    """The flat weights of a fused recurrent kernel: the last list or tuple of tensors among its arguments."""
    return next(a for a in reversed(arguments) if isinstance(a, list | tuple))


# torch's own attention, run as ordinary code: it would hand itself over to the mode again and for ever.
_attention = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    {**F.multi_head_attention_forward.__globals__, "has_torch_function": lambda tensors: False},
    argdefs=F.multi_head_attention_forward.__defaults__,
)
