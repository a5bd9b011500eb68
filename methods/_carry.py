"""Modules that a network carries during training without running them: optimizer, chips and checkpoints have them."""

from torch import nn

from methods._base import Refusal


def host(network: nn.Module, analog: tuple[str, ...]) -> nn.Module:
    """Where they hang: at the first layer on the crossbar, since a container such as Sequential would run them."""
    if not analog:
        raise Refusal("the network has no weights on the crossbar")
    return network.get_submodule(analog[0].rpartition(".")[0])


def carry(network: nn.Module, analog: tuple[str, ...], name: str, module: nn.Module) -> None:
    """Let `network` carry `module` as `name`, until `drop`."""
    host(network, analog).add_module(name, module)


def drop(network: nn.Module, analog: tuple[str, ...], name: str) -> None:
    """The network without it."""
    delattr(host(network, analog), name)
