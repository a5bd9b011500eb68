"""Networks by name: a file in tasks/_models/ or any model of timm."""

import ast
import difflib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tasks._base import TaskError

MODELS = Path(__file__).parent / "_models"
LOADING = {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}  # arguments of timm.create_model
Build = Callable[[], nn.Module]


def find_network(
    name: str,
    in_shape: tuple[int, ...],
    classes: int,
    width: float = 1.0,
    out_shape: tuple[int, ...] | None = None,
    example: Tensor | None = None,
    inputs: str = "",
) -> nn.Module:
    """A freshly initialised network, (n, *in_shape) -> (n, *out_shape), by default (n, classes).

    It is tried out on `example`, one prepared input (1, ...), where that is no image; `inputs`: its kind, in words.

    `name`: the stem of a file in tasks/_models/, or `timm:NAME`; either with `?key=value,key=value`, arguments
    of the model (no commas in a value); timm's also take `stem_stride`, 1 or 2. `width` multiplies the hidden widths.
    Raises TaskError, with the nearest name for an unknown one.
    """
    if not width > 0:
        raise TaskError(f"network {name}: width {width:g} is out of range; it must be above 0")
    build = _timm(name, in_shape, classes, width) if name.startswith("timm:") else _own(name, in_shape, classes, width)
    inputs = inputs or f"{' x '.join(map(str, in_shape))} images"
    # Whatever exception a network raises, to the user it is the wrong network or the wrong arguments.
    try:
        network = build()
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"network {name}: can't be built for {inputs} ({_short(error)})") from error
    try:
        _try_out(network, torch.zeros(1, *in_shape) if example is None else example, out_shape or (classes,))
    except Exception as error:
        raise TaskError(f"network {name}: does not take {inputs} ({_short(error)})") from error
    return network


def own_networks() -> list[str]:
    """Names of the files in tasks/_models/."""
    return sorted(path.stem for path in MODELS.glob("*.py") if not path.stem.startswith("_"))


def _own(name: str, in_shape: tuple[int, ...], classes: int, width: float) -> Build:
    known, (model, _, arguments) = own_networks(), name.partition("?")
    if model not in known:
        near = difflib.get_close_matches(model, known, n=1, cutoff=0.5)
        raise TaskError(f"unknown network {name}{_hint(near)} ({', '.join(known)}, or timm:NAME)")
    module, given = importlib.import_module(f"tasks._models.{model}"), _parse(name, arguments)
    return lambda: module.build(in_shape, classes, width, **given)


def _timm(name: str, in_shape: tuple[int, ...], classes: int, width: float) -> Build:
    import timm

    if width != 1:
        raise TaskError(f"network {name}: timm networks have no width factor; leave it at 1")
    model, _, arguments = name.removeprefix("timm:").partition("?")
    if not timm.is_model(model):
        near = [f"timm:{match}" for match in difflib.get_close_matches(model, timm.list_models(), n=1, cutoff=0.5)]
        raise TaskError(f"unknown network timm:{model}{_hint(near)} (timm.list_models() lists them)")
    settings: dict[str, Any] = {"pretrained": False, "num_classes": classes, "in_chans": in_shape[0]}
    given = _parse(name, arguments)
    if taken := settings.keys() & given.keys():
        raise TaskError(f"network {name}: {', '.join(sorted(taken))} is set by the task; leave it out")
    if loading := LOADING & given.keys():  # a record names its network, and may be anybody's
        raise TaskError(f"network {name}: {', '.join(sorted(loading))} reads weights from elsewhere; leave it out")
    if "stem_stride" not in given:
        return lambda: timm.create_model(model, **settings, **given)
    stride = given.pop("stem_stride")
    if type(stride) is not int or stride not in (1, 2):
        raise TaskError(f"network {name}: stem_stride={stride} must be 1 or 2")
    return lambda: _with_stem(name, timm.create_model(model, **settings, **given), stride)


def _with_stem(name: str, network: nn.Module, stride: int) -> nn.Module:
    """The network with this stride in its first convolution: made for large images, it halves small ones too early.

    Patches that don't overlap, as a ViT's, are no such stem.
    """
    stem = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if stem is None or stem.stride != (2, 2) or min(stem.kernel_size) <= 2:
        raise TaskError(f"network {name}: has no first convolution of stride 2 to change; leave stem_stride out")
    stem.stride = (stride, stride)
    return network


def _parse(name: str, arguments: str) -> dict[str, Any]:
    """The text "img_size=32,act_layer=relu" as {"img_size": 32, "act_layer": "relu"}."""
    parsed: dict[str, Any] = {}
    for part in filter(None, arguments.split(",")):
        key, equals, value = part.partition("=")
        if not (equals and key.isidentifier()):
            raise TaskError(f"network {name}: {part!r} is no key=value; write NAME?key=value,key=value")
        try:
            parsed[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed[key] = value
    return parsed


def _hint(near: list[str]) -> str:
    return f"; did you mean {near[0]}?" if near else ""


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


@torch.no_grad()
def _try_out(network: nn.Module, example: Tensor, out_shape: tuple[int, ...]) -> None:
    """Run one input, a black image: a misfit is told here, not after the data were fetched and a training begun."""
    was_training = network.training
    shape = network.eval()(example).shape
    network.train(was_training)
    if shape != (1, *out_shape):
        raise ValueError(f"gives outputs of shape {tuple(shape)}")
