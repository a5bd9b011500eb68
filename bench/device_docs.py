"""devices-figures.md and its pictures: what every device does to weights, and to a network that meets its chips."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import device_plot, plan, registry
from bench.device_show import NORMAL_WEIGHTS, gain_and_std, normal_weights
from bench.files import write_text
from bench.labels import Record, escape, number, spread, time_text, variant
from bench.stats import Interval
from bench.summary import at, group_key, one_a_seed, over_seeds
from devices._base import Device

METHODS = ("nominal", "noise_injection")
TASK, NETWORK, PRESET = "fashion_mnist", "lenet", "standard"
ABOUT = f"""# Figures of devices

Made by `bench device docs` from the devices and from `results/records/`; [devices.md](devices.md) says what each is.

Each device at the levels of its axis, as one read shows a chip:

- gain, std: w' = gain w + rest for {NORMAL_WEIGHTS:,} normal weights w of std 1 in one layer, and the std of the rest.
  What happens around a product, such as the I-V curvature of `siox_low` and `siox_high`, is no part of them.
- {", ".join(METHODS)}: accuracy in % with its 95% interval, on {TASK}, {NETWORK}, {PRESET} preset; a dash where
  there is no record.
"""

Accuracies = Mapping[float, Interval]


def write(folder: Path, records: Sequence[Record]) -> tuple[list[Path], list[str]]:
    """Write devices-figures.md, devices/NAME.png and NAME.pdf; (files written, a line a method that lacks records).

    Pictures are at the default time alone. OSError if it can't.
    """
    devices = [plan.device_of(name) for name in registry.entries("devices")]
    found = {(d.name, method): accuracies(d, method, records) for d in devices for method in _methods(d)}
    page = folder / "devices-figures.md"
    write_text(page, markdown(devices, found))
    written = [page]
    for device in devices:
        pictures = [folder / "devices" / f"{device.name}{suffix}" for suffix in (".png", ".pdf")]
        times_s, level = _default_time(device), device.axis.usual_level
        device_plot.plot(device, *pictures, level=level, times_s=times_s, small=True)
        written += pictures
    return written, _missing(found)


def _methods(device: Device) -> tuple[str, ...]:
    """All, or the first alone where there is no deviation to train for."""
    return METHODS if device.axis.train_level > 0 else METHODS[:1]


def _default_time(device: Device) -> tuple[float, ...]:
    return () if device.default_time_s is None else (device.default_time_s,)


def accuracies(device: Device, method: str, records: Sequence[Record]) -> Accuracies:
    """By level, over the seeds that there are of just that run, in any precision; empty if there are none."""
    names: dict[str, Any] = {"methods": (method,), "devices": (device.name,), "tasks": (TASK,), "seeds": (0,)}
    (cell,) = plan.cells(plan.Request(**names, preset=PRESET, network=NETWORK, precision="bf16"))
    asked = _question({"evaluation": cell.evaluation.as_dict()})
    seeds = one_a_seed([r for r in records if r["status"] == "done" and _question(r) == asked])
    return {level: over_seeds(at(seeds, "level", level)) for level in device.axis.levels} if seeds else {}


def _question(record: Record) -> tuple:
    """Equal for records that differ in nothing but seed, precision and luck."""
    settings = record["evaluation"]["training"]["settings"]
    return group_key(record), variant(record) | {"precision": None}, settings


def _missing(found: Mapping[tuple[str, str], Accuracies]) -> list[str]:
    """A line a method whose records are missing of some devices, with the command that makes them."""
    lines = []
    for method in METHODS:
        if names := [name for (name, other), levels in found.items() if other == method and not levels]:
            run = f"bench run --method {method} --device {','.join(names)}"
            lines.append(f"no records of {method}: {run} --task {TASK} --network {NETWORK} --preset {PRESET}")
    return lines


def markdown(devices: Iterable[Device], found: Mapping[tuple[str, str], Accuracies]) -> str:
    """The text of devices-figures.md; `found` by device and method."""
    return ABOUT + "".join(
        _section(device, {method: found[device.name, method] for method in _methods(device)}) for device in devices
    )


def _section(device: Device, found: Mapping[str, Accuracies]) -> str:
    """Heading, picture and table of one device, a column a level."""
    axis, (time_s,) = device.axis, _default_time(device) or (None,)
    fits = [gain_and_std(*normal_weights(device, level=level, time_s=time_s)) for level in axis.levels]
    heading = f"## {device.name}" + ("" if time_s is None else f", {time_text(time_s)} after programming")
    heads = [f"{axis.name} ({axis.unit})" if axis.unit else axis.name, *(f"{level:g}" for level in axis.levels)]
    rows = [["gain", *(number(gain, 3) for gain, _ in fits)], ["std", *(number(std, 3) for _, std in fits)]]
    for method, by_level in found.items():
        trained = "" if method == METHODS[0] else f", trained at {axis.train_level:g}"
        rows.append([f"{method}{trained}", *(spread(by_level.get(level)) for level in axis.levels)])
    lines = ["", heading, "", f"![what {device.name} does to weights and cells](devices/{device.name}.png)", ""]
    table = [[*map(escape, heads)], [":--", *("--:" for _ in axis.levels)], *rows]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table)]) + "\n"
