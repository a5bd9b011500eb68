"""What a device does to a weight, to a single cell and to its current, as tables in the terminal."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from bench import terminal
from bench.device_show import ROUNDING, conductances_us, curves, describe, unchanged
from bench.labels import time_text
from devices._base import Device


def show(
    device: Device,
    level: float,
    times_s: Sequence[float | None],
    cells: list[dict[str, Any]] | None,
    *,
    asked: bool,
) -> None:
    """Tables of a device's weights, one a time, and of its cells where these move, or were asked for."""
    at, currents = f"{device.axis.name} {level:g}", curve_table(device, level)
    about = f"mapping: {device.mapping}" + (f"\nsource: {device.source}" if device.source else "")
    still = False
    for i, time_s in enumerate(times_s):
        when = "" if time_s is None else f", {time_text(time_s)} after programming"
        title = f"{device.name}: chip weight relative to max|w|{when}" + ("" if i else f"\n{about}")
        table = describe(device, time_s)
        if still := unchanged(table):
            title += "\nweights do not change" + ("; see currents" if len(currents) else "")
            Console().print(title, highlight=False, markup=False)
        else:
            terminal.frame(table, title, keys=("level", "weight"), digits=3)
    if cells is not None and (asked or not still):
        shown = cell_table(device, cells)
        keys = [name for name in ("time", "g/g_max", "asked_us") if name in shown]
        terminal.frame(shown, f"{device.name}: single cells at {at}, as one read shows them", keys=keys)
    if len(currents):
        about = f"{device.name}: current of a cell at {at}, i_ua,\nand i_over_gv, its ratio to Ohm's law, at each level"
        terminal.frame(currents, about, keys=("g_us", "v"))


def cell_table(device: Device, found: Sequence[dict[str, float | None]]) -> pd.DataFrame:
    """What `cells` found as a person reads it, in uS: asked for, mean, how far that is from it, spread."""
    low_us, high_us = conductances_us(device)
    rows = []
    for cell in found:
        share, mean_us, time_s = cell["g_over_gmax"], cell["mean_us"], cell["time_s"]
        assert share is not None and mean_us is not None
        asked_us = max(share * high_us, low_us)
        when = {} if time_s is None else {"time": time_text(time_s)}
        moments = {"mean_us": mean_us, "deviation_us": mean_us - asked_us, "std_us": cell["std_us"]}
        moved: dict[str, str | float] = {
            name: x if x and abs(x) > ROUNDING * high_us else 0.0 for name, x in moments.items()
        }
        rows.append(when | {"g/g_max": share, "asked_us": asked_us} | moved)
    return pd.DataFrame(rows)


def curve_table(device: Device, level: float) -> pd.DataFrame:
    """Current of cells at `level` in uA, and its ratio to Ohm's law at each level of the axis; empty if they obey."""
    by_level = {other: curves(device, other) for other in (*device.axis.levels, level)}
    if not (first := next(filter(None, by_level.values()), [])):
        return pd.DataFrame()
    table = pd.DataFrame(first)[["g_us", "v"]]
    table["i_ua"] = [row["i_ua"] for row in by_level[level]] or table.g_us * table.v
    for other in device.axis.levels:
        table[f"at {other:g}"] = [row["i_over_gv"] for row in by_level[other]] or 1.0
    return table
