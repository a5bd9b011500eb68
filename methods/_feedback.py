"""Negative feedback training: the loss that OVF and IRS share, and heads on early features.

Source: Qin et al., "Negative Feedback Training" (NeFT), arXiv 2305.14561. With the output o and N feedbacks o_i,

    L = CE([o - beta sum_i 10^-i o_i] / (N + 1), y),  i = 0 ... N - 1.
"""

import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from methods._base import Context, MethodError, Refusal
from methods._carry import carry, drop

DEPTHS = (1 / 8, 1 / 4, 1 / 2)  # of the analog layers; on NeFT's VGG8: after the layers 1, 2 and 4, as there
HEADS = "feedback_heads"


def with_feedback(output: Tensor, feedbacks: list[Tensor], beta: float, logits: bool = True) -> Tensor:
    """[o - beta sum_i 10^-i o_i] / (N + 1); all of one shape, (n, classes) or (n, c, h, w).

    Where outputs are no logits but estimates of a target, divided by 1 - beta sum_i 10^-i instead: with N + 1 the
    network would learn N + 1 times the target.
    """
    total = sum(10.0**-i * feedback for i, feedback in enumerate(feedbacks))
    if logits:
        return (output - beta * total) / (len(feedbacks) + 1)
    whole = 1 - beta * sum(10.0**-i for i in range(len(feedbacks)))
    return (output - beta * total) / max(whole, 0.1)


class Head(nn.Module):
    """Early features -> logits: average pool, two linear layers with ReLU between."""

    def __init__(self, features: tuple[int, ...], size: int, hidden: int, classes: int) -> None:
        """`features`: shape without the batch, (c, h, w), (tokens, c) or (c,); `size`: edge of the pooled map."""
        super().__init__()
        self.is_sequence = len(features) == 2
        pooled = math.prod(features)
        self.pool: nn.Module = nn.Identity()
        if len(features) == 3:
            edges = tuple(min(size, edge) for edge in features[1:])
            self.pool, pooled = nn.AdaptiveAvgPool2d(edges), features[0] * math.prod(edges)
        elif self.is_sequence:
            tokens = min(size**2, features[0])
            self.pool, pooled = nn.AdaptiveAvgPool1d(tokens), features[1] * tokens
        self.fc1 = nn.Linear(pooled, hidden)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, *features) -> (n, classes)."""
        x = x.transpose(1, 2) if self.is_sequence else x
        return self.fc2(self.relu(self.fc1(self.pool(x).flatten(1))))


class MapHead(nn.Module):
    """Early features -> a map: average pool, two 1 x 1 convolutions with ReLU between, brought to the map's size."""

    def __init__(self, features: tuple[int, ...], size: int, hidden: int, out: tuple[int, ...]) -> None:
        """`features`: (c, h, w); `size`: edge of the pooled map; `out`: (c, h, w)."""
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((min(size, features[1]), min(size, features[2])))
        self.conv1 = nn.Conv2d(features[0], hidden, 1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(hidden, out[0], 1)
        self.stretch = nn.Upsample(out[1:], mode="bilinear")

    def forward(self, x: Tensor) -> Tensor:
        """(n, *features) -> (n, *out)."""
        return self.stretch(self.conv2(self.relu(self.conv1(self.pool(x)))))


class Heads:
    """Heads attached to a network after the modules `stages`; while they are, it gives (1 + heads, n, *output).

    The network carries them, so that chips, optimizer and checkpoints have them too, until `drop`.
    """

    def __init__(self, context: Context, network: nn.Module, stages: tuple[str, ...], hidden: int) -> None:
        self.network, self.analog = network, context.task.analog(network)
        example = context.example(2)
        stages = stages or getattr(network, "feedback_stages", ()) or by_depth(network, example, self.analog)
        self._check(stages)
        self._seen: dict[str, Tensor] = {}
        self._hooks = [network.get_submodule(name).register_forward_hook(self._keep(name)) for name in stages]
        out = tuple(_run(network, example).shape[1:])
        shapes = [tuple(self._seen[name].shape[1:]) for name in stages]
        sizes = ([6] * len(stages) + [4, 3])[-len(stages) :]  # NeFT: 6, 4, 3 on VGG8, 6, 6, 4, 3 on ResNet18

        if len(out) not in (1, 3) or (len(out) == 3 and any(len(features) != 3 for features in shapes)):
            raise Refusal(
                "heads need a network that gives (n, classes), or maps from maps; "
                f"this one's outputs have {len(out)} dimension{'s' if len(out) > 1 else ''} a sample"
            )

        def build() -> nn.Module:
            if len(out) == 1:
                return nn.ModuleList(Head(f, k, hidden, out[0]) for f, k in zip(shapes, sizes, strict=True))
            return nn.ModuleList(MapHead(f, 8 * k, hidden, out) for f, k in zip(shapes, sizes, strict=True))

        heads: Any = context.fresh(build)
        carry(network, self.analog, HEADS, heads)

        def all_outputs(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            if not module.training:  # somebody looks at the network as it will be
                return output
            snapshots = [head(self._seen[name]) for head, name in zip(heads, stages, strict=True)]
            return torch.stack([output.float(), *(s.float() for s in snapshots)])

        self._hooks.append(network.register_forward_hook(all_outputs))

    def drop(self) -> None:
        """The network as it was before."""
        for hook in self._hooks:
            hook.remove()
        self._seen.clear()
        drop(self.network, self.analog, HEADS)

    def _keep(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._seen[name] = output

        return keep

    def _check(self, stages: tuple[str, ...]) -> None:
        known = dict(self.network.named_modules())
        for name in stages:
            if name not in known or not name:
                raise MethodError(
                    f"stages: the network has no module '{name}'; its first are {', '.join(known)[2:200]}"
                )
        if not stages:
            raise MethodError("stages: the network has no layer before its last whose output could be read; name some")


def by_depth(network: nn.Module, example: Tensor, analog: tuple[str, ...]) -> tuple[str, ...]:
    """The modules that end the first eighth, quarter and half of the analog layers: the last to finish there.

    So a convolution comes with its BatchNorm, pooling and ReLU, and a block whole where it ends there. Not after
    the last layer; modules that run twice in a pass are passed over.
    """
    layers = {name.rpartition(".")[0] for name in analog}
    begun: set[str] = set()  # a layer that runs at every time step is one layer
    ended: list[tuple[int, str, Any]] = []
    hooks = []
    for name, module in network.named_modules():
        if name in layers:
            hooks.append(module.register_forward_pre_hook(lambda m, x, name=name: begun.add(name)))
        if name:
            hooks.append(module.register_forward_hook(lambda m, x, y, name=name: ended.append((len(begun), name, y))))
    _run(network, example)
    for hook in hooks:
        hook.remove()
    calls = Counter(name for _, name, _ in ended)
    wanted = sorted({math.ceil(share * len(begun)) for share in DEPTHS} - {len(begun)})
    found = {
        done: name
        for done, name, y in ended
        if calls[name] == 1 and isinstance(y, Tensor) and y.dim() in (2, 3, 4) and len(y) == len(example)
    }
    return tuple(found[done] for done in wanted if done in found)


@torch.no_grad()
def _run(network: nn.Module, example: Tensor) -> Tensor:
    was_training = network.training
    output = network.eval()(example)
    network.train(was_training)
    return output
