"""SHA-256 of tensors."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def digest(tensors: Mapping[str, Tensor], beginning: str = "") -> str:
    """Of a text, and of the name, type, shape and bytes of each tensor on the CPU: the same on every machine."""
    found = hashlib.sha256(beginning.encode())
    for name, t in sorted(tensors.items()):
        found.update(f"\0{name}\0{t.dtype}\0{tuple(t.shape)}\0".encode())
        found.update(bytes_of(t))
    return found.hexdigest()


def bytes_of(tensor: Tensor) -> Any:
    """The bytes of its elements in their order, as a buffer; copied only where they don't lie so."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data
