"""Where the processor's speed is: precision probed at run time, faster forms of slow operators."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bench.errors import BenchError

# A 3x3 convolution on a map of at most this many pixels is faster as one matrix product than in
# oneDNN's bf16 kernels, forward and backward (docs/log.md has the figures).
SMALL_MAP = 16
POOLS = (torch.max_pool2d, torch.nn.functional.max_pool2d)  # one calls the other, but only one meets the mode


def processor(name: str = "auto", threads: int | None = None) -> torch.device:
    """The torch device to compute on, with so many threads of the CPU. 'auto': a GPU if there is one.

    BenchError if unusable.
    """
    if threads is not None:
        if threads < 1:
            raise BenchError(f"threads {threads}: must be at least 1")
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    # torch knows other names, but nothing here was tried on them.
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,2})?", name):
        raise BenchError(f"can't compute on '{name}': must be auto, cpu, cuda or cuda:N")
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen)
        torch.backends.cudnn.allow_tf32 = False  # 'fp32' in a record means fp32
        return chosen
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise BenchError(f"can't compute on '{name}' ({reason}); try --on cpu or --on auto") from None


def precision_for(device: torch.device) -> str:
    """'bf16' where the processor multiplies bf16 with fp32 accumulation natively, else 'fp32'."""
    if device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if native else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "fp32"


def wait(device: torch.device) -> None:
    """Until all that was handed to the processor is done: what a clock must do before it is read."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def compute(device: torch.device, precision: str, small_map: int = SMALL_MAP) -> Iterator[None]:
    """Forward passes inside run at `precision`; convolutions on maps up to `small_map` pixels take the fast path."""
    if precision == "fp32":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16):
        if device.type == "cpu":
            with _FastOperators(small_map):
                yield
        else:
            yield


class _FastOperators(TorchFunctionMode):
    """Replaces, for any network, conv2d on small maps by one bf16 matrix product, and max-pooling without gradient."""

    def __init__(self, small_map: int = SMALL_MAP) -> None:
        super().__init__()
        self.small_map = small_map

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        halved = _to_halve(*args, **kwargs) if func in POOLS else None
        if halved is not None:
            return _halved(halved)
        plan = _plan(*args, **kwargs) if func is torch.conv2d else None
        if plan is not None and plan[0].shape[2] * plan[0].shape[3] <= self.small_map:
            x, w, bias = plan
            y = _MatmulConvolution.apply(x.bfloat16(), w.bfloat16())
            return y if bias is None else y + bias.to(y.dtype)[:, None, None]
        return func(*args, **kwargs)


def _to_halve(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """The input, if this pooling is 2 x 2 to 1 with no gradient to come, else None; named as max_pool2d's."""
    twos, ones, zeros = (2, (2, 2), [2, 2]), (1, (1, 1), [1, 1]), (0, (0, 0), [0, 0])
    plain = kernel_size in twos and stride in (None, [], *twos) and padding in zeros and dilation in ones
    even = input.ndim == 4 and input.shape[2] % 2 == input.shape[3] % 2 == 0  # so that ceil_mode changes nothing
    backward = torch.is_grad_enabled() and input.requires_grad
    return input if plain and even and not (return_indices or backward) else None


def _halved(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, c, h / 2, w / 2), the maximum of each 2 x 2: torch's kernel also writes int64 indices."""
    rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


def _plan(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Any] | None:
    """(x, w, bias) if this convolution is one that the matrix product serves better, else None; named as conv2d's."""
    ones = (1, (1, 1), [1, 1])
    fits = stride in ones and dilation in ones and padding in ("same", *ones) and weight.shape[2:] == (3, 3)
    return (input, weight, bias) if fits and input.ndim == 4 and groups == 1 and weight.shape[1] >= 16 else None


def _patches(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n h w, 9 c): each pixel's zero-padded 3x3 neighbourhood, channels innermost."""
    n, c, h, w = x.shape
    padded = torch.nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    return padded.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3).reshape(n * h * w, 9 * c)


def _unpatch(patches: Tensor) -> Tensor:
    """(n, h, w, 3, 3, c) -> (n, c, h, w): each pixel's sum over the neighbourhoods that it is part of.

    Cheaper than a second convolution with the turned kernel, whose weights would have to be transposed.
    """
    n, h, w, _, _, c = patches.shape
    total = patches.new_zeros(n, h + 2, w + 2, c)
    for i in range(3):
        for j in range(3):
            total[:, i : i + h, j : j + w] += patches[:, :, :, i, j]
    return total[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


class _MatmulConvolution(torch.autograd.Function):
    """3x3 convolution, stride 1, padding 1, as one matrix product each way. x: (n, c, h, w), w: (o, c, 3, 3)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:  # type: ignore[override]
        patches = _patches(x)
        ctx.save_for_backward(patches, w)
        ctx.shape = x.shape
        n, _, height, width = x.shape
        y = patches @ w.permute(0, 2, 3, 1).reshape(len(w), -1).t()
        return y.view(n, height, width, len(w)).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        patches, w = ctx.saved_tensors
        n, c, height, width = ctx.shape
        grad_x = grad_w = None
        flat = grad.permute(0, 2, 3, 1).reshape(-1, len(w))
        if ctx.needs_input_grad[0]:
            grad_x = _unpatch((flat @ w.permute(0, 2, 3, 1).reshape(len(w), -1)).view(n, height, width, 3, 3, c))
        if ctx.needs_input_grad[1]:
            grad_w = (flat.t() @ patches).view(len(w), 3, 3, c).permute(0, 3, 1, 2)
        return grad_x, grad_w
