"""Which layer's output goes to which other layer and nowhere else: what folding and fusing have to know."""

from collections import Counter

import torch
import torch.fx
from torch import nn

Kinds = tuple[type[nn.Module], ...]


def followers(network: nn.Module, first: Kinds, then: Kinds, across: Kinds = ()) -> dict[str, str]:
    """Name of a `first` module -> name of the `then` module that alone takes its output.

    Both run once a forward pass, and the first's weight is no other layer's. Modules of `across` may lie
    between, one after the other. {} if the network can't be traced.
    """
    try:
        nodes = torch.fx.symbolic_trace(network).graph.nodes
    except Exception:  # control flow on data, untraceable code: whatever it is, such a network is left alone
        return {}
    modules = dict(network.named_modules())
    uses = Counter(node.target for node in nodes if node.op == "call_module")
    shared = Counter(id(p) for m in modules.values() for p in m.parameters(recurse=False))

    def source(node: torch.fx.Node) -> torch.fx.Node | None:
        """The module call whose output this node alone takes."""
        before = node.args[0] if node.args else None
        if not isinstance(before, torch.fx.Node) or before.op != "call_module" or len(before.users) > 1:
            return None
        return before

    found = {}
    for node in nodes:
        if node.op != "call_module" or not isinstance(modules[str(node.target)], then):
            continue
        before = source(node)
        while before is not None and isinstance(modules[str(before.target)], across):
            before = source(before)
        if before is None or not isinstance(layer := modules[str(before.target)], first):
            continue
        if uses[before.target] == uses[node.target] == 1 and shared[id(layer.weight)] == 1:
            found[str(before.target)] = str(node.target)
    return found
