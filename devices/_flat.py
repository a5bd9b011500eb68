"""A chip's weights as one vector, and the random numbers for it: a step for all weights is one call."""

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

CHUNK = 2**19  # random numbers of one stream; part of what a chip is

Weights = Mapping[str, Tensor]


def flatten(weights: Weights) -> Tensor:
    """All weights as one vector, in the order of the mapping (one random call serves a whole chip).

    Within a tensor in the order of memory, so that nothing is transposed: a network in channels-last
    format has other chips than one that is not.
    """
    return torch.cat([w.permute(_memory_order(w)).reshape(-1) for w in weights.values()])


def unflatten(flat: Tensor, like: Weights) -> dict[str, Tensor]:
    """Inverse of `flatten`: views of `flat` with the shapes and memory formats of `like`.

    `flat`: (n,), or (..., n) for several numbers a weight; the dimensions before the last stay in front.
    """
    front = list(flat.shape[:-1])
    result = {}
    for (name, w), part in zip(like.items(), flat.split([w.numel() for w in like.values()], dim=-1), strict=True):
        order = _memory_order(w)
        back = [len(front) + place for place in sorted(range(w.dim()), key=order.__getitem__)]
        result[name] = part.view([*front, *(w.shape[d] for d in order)]).permute([*range(len(front)), *back])
    return result


def _memory_order(w: Tensor) -> list[int]:
    """Dimensions of a tensor, the one with the longest stride first."""
    return sorted(range(w.dim()), key=w.stride().__getitem__, reverse=True)


def weight_peaks(w: Tensor, by: str = "layer") -> Tensor:
    """Largest |w| of a layer, (), or of each of its columns, w: (out, in, ...) -> (out, 1, ...); 0 of no weights.

    A weight of fewer than two dimensions has no columns: it is one layer.
    """
    if by == "layer" or w.dim() < 2 or w.numel() == 0:
        return w.abs().amax() if w.numel() else w.new_zeros(())
    return w.abs().amax(dim=tuple(range(1, w.dim())), keepdim=True)


def normalised(
    weights: Weights, peaks_of: Callable[[Tensor], Tensor] = weight_peaks
) -> tuple[Tensor, dict[str, Tensor]]:
    """All weights as one float32 vector in [-1, 1], each divided by what `peaks_of` says of its tensor; and the peaks.

    A tensor of zeros has no scale and stays zero.
    """
    flat, peaks = flatten(weights).float(), {}
    for name, w in unflatten(flat, weights).items():
        peaks[name] = peaks_of(w)
        w.div_(peaks[name].clamp(min=1e-30))
    return flat, peaks


def scaled(flat: Tensor, scales: Weights, like: Weights) -> dict[str, Tensor]:
    """Weights from a vector (n,), which is overwritten: times the scale of each tensor, in the dtypes of `like`."""
    return {name: w.mul_(scales[name]).to(like[name].dtype) for name, w in unflatten(flat, like).items()}


def streams(generator: torch.Generator, n: int) -> list[torch.Generator]:
    """n independent generators from one, so that what one stage draws changes no other stage's numbers.

    On the CPU, where sweeps draw. Elsewhere `generator` itself n times: seeds would have to come back from there,
    once a training step, and no two chips of a training are compared.
    """
    if generator.device.type != "cpu":
        return [generator] * n
    return [torch.Generator().manual_seed(s) for s in torch.randint(2**62, (n,), generator=generator).tolist()]


def draw_normal(n: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """n standard normal float32 numbers, drawn where the generator lives, moved to where `like` is."""
    return _draw(torch.empty(n, device=generator.device), generator, Tensor.normal_).to(like.device)


def draw_bits(n: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """n random int32, 31 random bits each, drawn where the generator lives, moved to where `like` is."""
    return _draw(torch.empty(n, dtype=torch.int32, device=generator.device), generator, Tensor.random_).to(like.device)


def _draw(out: Tensor, generator: torch.Generator, fill: Callable[..., Tensor]) -> Tensor:
    """Fill a vector, on the CPU by several threads: a stream of its own for each CHUNK, however many threads."""
    if out.device.type != "cpu":
        return fill(out, generator=generator)
    chunks = out.split(CHUNK)
    seeds = torch.randint(2**62, (len(chunks),), generator=generator).tolist()

    def one(chunk: Tensor, seed: int) -> None:
        fill(chunk, generator=torch.Generator().manual_seed(seed))

    alone = len(chunks) == 1 or torch.get_num_threads() == 1
    list((map if alone else _threads().map)(one, chunks, seeds))
    return out


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(torch.get_num_threads(), 8))
