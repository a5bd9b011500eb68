"""From the words of a command line to a Request, and from a cell back to the one command that makes it."""

import dataclasses
import math
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bench import fast, plan, registry
from bench import settings as settings_
from bench.errors import BenchError
from bench.registry import suggestion
from devices._base import Device

if TYPE_CHECKING:
    import torch


def read(
    processor: "torch.device",
    settings: list[str],
    *,
    method: str,
    device: str,
    task: str,
    seed: str,
    preset: str,
    levels: str | None = None,
    times: str | None = None,
    train_on: str | None = None,
    time: float | None = None,
    precision: str,
    budget: str = "preset",
    **given: Any,
) -> plan.Request:
    """Read the words of the command line."""
    if precision not in ("auto", "bf16", "fp32"):
        raise BenchError(f"precision '{precision}': must be auto, bf16 or fp32")
    if budget not in ("preset", "matched"):
        raise BenchError(f"budget '{budget}': must be preset or matched")
    if preset == "auto":
        preset = "quick" if processor.type == "cpu" else "paper"
    methods = names(method, "methods")
    chosen = _settings(settings, methods)
    if given.get("level") is not None and not any(_uses_level(name, chosen) for name in methods):
        raise BenchError(f"level {given['level']:g}: means nothing for {', '.join(methods)}; leave it out")
    return plan.Request(
        methods=methods,
        devices=names(device, "devices"),
        tasks=names(task, "tasks"),
        seeds=parse_numbers(seed, "seed", int),
        preset=preset,
        budget=budget,
        precision=fast.precision_for(processor) if precision == "auto" else precision,
        levels=None if levels is None else parse_numbers(levels, "levels"),
        times=None if times is None else parse_numbers(times, "times"),
        time_s=time,
        train_on=None if train_on is None else one_name(train_on, "devices", "train-on"),
        settings=chosen,
        device_settings=_device_settings(settings),
        **given,
    )


def parse_numbers(text: str, what: str, kind: type = float) -> tuple[Any, ...]:
    """'0,2,5-7' -> (0, 2, 5, 6, 7); ranges for whole numbers only. BenchError names what can't be read."""
    found: list[Any] = []
    for part in text.split(","):
        try:
            first, dash, last = part.strip().partition("-")
            if kind is int and dash and first:
                if int(last) < int(first) or int(last) - int(first) > 10_000:
                    raise ValueError
                found.extend(range(int(first), int(last) + 1))
            else:
                found.append(kind(part))
        except ValueError:
            form = "whole numbers and ranges such as 0,2,5-7" if kind is int else "numbers such as 0,.1,.2"
            raise BenchError(f"{what} '{text}': must be {form}") from None
    if any(isinstance(v, float) and not math.isfinite(v) for v in found) or not found:
        raise BenchError(f"{what} '{text}': must be finite")
    return tuple(dict.fromkeys(found))


def names(text: str, kind: str) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b'), 'all' -> every registered entry but variants (task:variant); unknown names are refused."""
    known = registry.entries(kind)
    plain = [name for name in known if ":" not in name]
    chosen: Iterable[str] = plain if text == "all" else [n.strip() for n in text.split(",") if n.strip()]
    for name in chosen:
        if not (kind == "devices" and name.endswith(".json")) and name not in known:
            raise BenchError(f"unknown {kind[:-1]} '{name}'{suggestion(name, known)}")
    if not (found := tuple(dict.fromkeys(chosen))):
        raise BenchError(f"no {kind[:-1]} named: give one, several with commas, or 'all'")
    return found


def one_name(text: str, kind: str, option: str) -> str:
    """The one name that `option` takes; several are refused."""
    if len(found := names(text, kind)) > 1:
        raise BenchError(f"{option} {text}: must be one {kind[:-1]}")
    return found[0]


def _uses_level(method: str, given: dict[str, str]) -> bool:
    return plan.uses_level(method, plan.parse_settings(method, settings_.own(method, given)))


def _settings(given: list[str], methods: tuple[str, ...]) -> dict[str, str]:
    """['method.alpha=.5', 'mtrd.temperature=4'] -> {'alpha': '.5', 'mtrd.temperature': '4'}."""
    found = {}
    for text, owner, name, value in map(_setting, given):
        if owner not in (("method", "device", *methods) if methods else ("device",)):
            methods_too = f"'method', 'device' or one of {', '.join(methods)}" if methods else "'device'"
            raise BenchError(f"--set {text}: '{owner}' must be {methods_too}")
        if owner != "device":
            found[name if owner == "method" else f"{owner}.{name}"] = value
    return found


def _device_settings(given: list[str]) -> dict[str, str]:
    """['device.stuck_on=.01', 'method.alpha=.5'] -> {'stuck_on': '.01'}."""
    return {name: value for _, owner, name, value in map(_setting, given) if owner == "device"}


def device(name: str, settings: list[str]) -> Device:
    """A device with what `--set device.NAME=VALUE` says of it."""
    device_settings_only(settings)
    return plan.device_of(name, plan.parse_device_settings(name, _device_settings(settings)))


def device_settings_only(settings: list[str]) -> None:
    """Refuse settings of methods."""
    _settings(settings, ())


def _setting(text: str) -> tuple[str, str, str, str]:
    """'method.alpha=.5' -> itself, 'method', 'alpha', '.5'."""
    name, equals, value = text.partition("=")
    owner, dot, setting = name.partition(".")
    if not (equals and dot and setting):
        raise BenchError(f"--set {text}: must read method.NAME=VALUE or device.NAME=VALUE")
    return text, owner, setting, value


def for_cell(asked: plan.Request, cell: plan.Cell, **changes: Any) -> plan.Request:
    """The request for this cell alone, with other values of what `changes` names."""
    training = cell.evaluation.training
    alone: dict[str, Any] = {"methods": (training.method,), "devices": (cell.device,), "tasks": (training.task,)}
    return dataclasses.replace(asked, **alone, seeds=(training.seed,), **changes)


def command(cell: plan.Cell, request: plan.Request, settings: list[str]) -> str:
    """The one command that remakes this cell."""
    evaluation = cell.evaluation
    training = evaluation.training
    method = training.method
    words = ["bench", "run", "--method", method, "--device", cell.device, "--task", training.task]
    words += ["--seed", str(training.seed), "--preset", request.preset]
    words += _options(request, without=() if plan.uses_level(method, training.settings) else ("level",))
    if request.budget != "preset":
        words += ["--budget", request.budget]
    if request.sweep != "level":
        words += ["--sweep", request.sweep]
    if training.device not in ("ideal", evaluation.device):
        words += ["--train-on", cell.train_device]
    for name, values in (("--levels", request.levels), ("--times", request.times)):
        if values is not None:
            words += [name, ",".join(map(_exact, values))]
    for text in settings:
        if text.partition(".")[0] in ("method", "device", training.method):
            words += ["--set", text]
    words += ["--precision", training.precision]
    return shlex.join(words)


def matrix_command(request: plan.Request, settings: list[str]) -> str:
    """The `bench matrix` that asks for this."""
    devices = "all" if set(request.devices) == set(registry.entries("devices")) else ",".join(request.devices)
    words = ["bench", "matrix", "--method", *request.methods, "--task", *request.tasks, "--devices", devices]
    words += ["--seed", ",".join(map(str, request.seeds)), "--preset", request.preset, *_options(request)]
    for text in settings:
        words += ["--set", text]
    return shlex.join([*words, "--precision", request.precision])


def _options(request: plan.Request, without: Iterable[str] = ()) -> list[str]:
    """What a request has otherwise than its preset, as words."""
    words: list[str] = []
    plain = ("network", "width", "level", "time_s", "epochs", "finetune_epochs", "batch_size", "lr")
    for name in (*plain, "train_samples", "test_samples", "chips", "half_width", "samples_per_chip"):
        value = getattr(request, name)
        if value is not None and name not in without:
            words += ["--time" if name == "time_s" else "--" + name.replace("_", "-"), _exact(value)]
    return words


def _exact(value: Any) -> str:
    """As short as loses nothing: a rounded number would name another cell."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)
