"""What `bench device` does: fit a device, show one, make the pictures of all."""

import json
import logging
from pathlib import Path

from rich.console import Console

from bench import interrupt
from bench.errors import BenchError
from bench.store import Records

log = logging.getLogger("bench")


def fit(cells: Path, out: Path, g_max: float, source: str) -> None:
    """Fit a table to measured cells and write it."""
    from bench import fit, registry

    if out.suffix != ".json" or out.stem in registry.entries("devices"):
        raise BenchError(f"--out {out}: must end in .json and not be named as a registered device")
    interrupt.work_begins()
    table = fit.fit_file(cells, out, out.stem, g_max, source)
    about = table["provenance"]
    told = f"{out}: {about['cells']} cells, {len(table['times_s'])} times; weights use 0 to {g_max:g} uS (--g-max)"
    Console().print(told, highlight=False, markup=False, soft_wrap=True)
    for note in about["notes"]:
        Console().print(note, highlight=False, markup=False, soft_wrap=True)
    if warning := fit.blurred(table):
        Console(stderr=True).print(warning, highlight=False, markup=False, soft_wrap=True)
    Console().print(f"use it: bench run --device {out} ...", highlight=False, markup=False, soft_wrap=True)


def show(
    name: str,
    settings: list[str],
    *,
    level: float | None,
    times: str | None,
    at: str | None,
    cells: int | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """Tabulate a device's weights and cells and plot them; or print the cells alone, as JSON."""
    from bench import device_plot, device_show, device_tables, request

    device = request.device(name, settings)
    level = device.axis.usual_level if level is None else level
    times_s = () if times is None else request.parse_numbers(times, "time")
    for time_s in times_s or (None,):
        device.check(level, time_s)
    picture = out or (None if as_json else Path(f"{device.name}.png"))
    if picture is not None and picture.suffix not in (".png", ".pdf", ".svg"):
        raise BenchError(f"--out {picture}: must end in .png, .pdf or .svg")
    seen = None
    if as_json or at is not None or cells is not None or device.conductances_us is not None:
        shares = device_show.AT if at is None else request.parse_numbers(at, "at")
        when, n = times_s or (device.default_time_s,), device_show.CELLS if cells is None else cells
        seen = device_show.cells(device, level=level, times_s=when, at=shares, n=n)
        low_us, high_us = device_show.conductances_us(device)
        if min(shares) * high_us < low_us:
            note = f"cells go from {low_us:g} to {high_us:g} uS; those asked for less are asked for {low_us:g} uS"
            Console(stderr=True).print(f"{device.name}: {note}", highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(seen, indent=1))
    else:
        device_tables.show(
            device, level, times_s or (device.default_time_s,), seen, asked=at is not None or cells is not None
        )
    if picture is not None:
        interrupt.work_begins()
        device_plot.plot(device, picture, level=level, times_s=times_s)
        Console(stderr=as_json).print(f"plot: {picture}", highlight=False)


def docs(out: Path, results: Path) -> None:
    """Write pictures and figures of all registered devices; say which records they lack."""
    from bench import device_docs

    interrupt.work_begins()
    records, warnings = Records(results).load_all()
    written, missing = device_docs.write(out, records)
    console = Console()
    for line in missing:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print("written: " + ", ".join(map(str, written)), highlight=False, soft_wrap=True)
    for warning in warnings:
        log.warning("%s", warning)
