"""Fit a measured device: conductance readings of real cells in, the table of a `Measured` device out.

The fit. Knots of programmed conductance every g_max / 20, and two more below the first. For each
time point and knot, the cells within half a knot spacing (or, where these are fewer than MIN_CELLS,
the nearest MIN_CELLS) give the empirical quantiles of their deviation g(t) - g(programmed) at 65
probabilities; the smallest and the largest deviation are kept, so stuck and wild cells stay in. Why so:
- Quantiles, not a distribution: measured tails are neither normal nor symmetric.
- Spacing and window: ten-fold cross-validated quantile loss on the technology C cells is flat to
  0.4 % from 0.5 to 4 uS, but below 2 uS, where spread grows with conductance, windows of 4 uS cost
  2 % and more. Centring the cells in a window by the local trend did not lower it, so none is done.
- A conductance is never negative: quantiles are cut at deviation = -g.
- A time point that read only some cells may have picked them by their result. Where it read
  less than COVERAGE of a knot's cells, the knot is interpolated in log time from its neighbours.
  (In the shipped technology C data the 4 s point has nearly every cell that read under 7 uS at
  1 s and a third of those above 9 uS: of cells programmed to 6 to 8 uS, those it lost had risen
  by 2.9 uS at 1 s and those it kept had fallen by 0.2 uS.)
"""

import difflib
import gzip
import hashlib
import io
import json
import math
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import limits
from bench.files import write_text
from devices._seal import sealed

VERSION = "1"
MIN_CELLS = 200
COVERAGE = 0.98
# Knots as shares of g_max
KNOTS = np.array([0.0, 0.0125, 0.025, *np.arange(1, 21) / 20])
BLANK: Any = {"na_values": [""], "keep_default_na": False}  # to pandas, a cell labelled NA has no label
HEADERLESS = ("cell", "time_s", "resistance_ohm", "g_s", "g_programmed_s", "level", "time_point_s")
_TAIL = (0.0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04)
PROBABILITIES = np.round([*_TAIL, *np.linspace(0.05, 0.95, 41), *(1 - p for p in _TAIL[::-1])], 6)


class FitError(ValueError):
    """A file of cells, or a wish about it, that cannot be fitted; told in one line."""


def read_cells(path: Path) -> pd.DataFrame:
    """Read cells from a tab- or comma-separated file, plain or gzipped: one line a reading.

    With a header, these columns (others are ignored): `cell` (any label), `time_s` since
    programming, `g_s` and `g_programmed_s` in siemens or `g_us` and `g_programmed_us` in
    microsiemens, and optionally `time_point_s`, the nominal time (else times are grouped to a
    tenth of a decade). Without a header: exactly the columns HEADERLESS.

    Returns columns cell, time_s, g_us, g_programmed_us, time_point_s. Raises FitError.
    """
    raw = _read_text(path)
    columns = {name: f"{name}_us" if f"{name}_us" in raw else f"{name}_s" for name in ("g", "g_programmed")}
    if missing := [name for name in ("cell", "time_s", *columns.values()) if name not in raw]:
        raise FitError(
            f"{path.name}: line 1: no column {', '.join(missing)}{_meant(raw.columns)}; needed are cell, time_s, g_s "
            f"or g_us, g_programmed_s or g_programmed_us; found are {', '.join(map(str, raw.columns))}"
        )
    frame = pd.DataFrame({"cell": _labels(path, raw), "time_s": _number(path, raw, "time_s", least=0.0)})
    for name, column in columns.items():
        frame[f"{name}_us"] = _number(path, raw, column) * (1.0 if column.endswith("_us") else 1e6)
        if not 0.01 < (most := frame[f"{name}_us"].max()) < 1e5:
            raise FitError(f"{path.name}: column {column} reaches {most:g} uS; _s means siemens, _us microsiemens")
    _check_programmed(path, raw[columns["g_programmed"]], frame)
    if "time_point_s" in raw:
        frame["time_point_s"] = _number(path, raw, "time_point_s", least=0.0)
    else:
        frame["time_point_s"] = _group_times(frame.time_s)
    return frame


def _meant(found: Iterable[str]) -> str:
    """'; g_uS: did you mean g_us?' for each column that is nearly one that there could be."""
    known = ("cell", "time_s", "g_s", "g_us", "g_programmed_s", "g_programmed_us")
    near = {name: difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.85) for name in map(str, found)}
    return "".join(f"; {name}: did you mean {match[0]}?" for name, match in near.items() if match and name not in known)


def _read_text(path: Path) -> pd.DataFrame:
    """The file as strings under their column names; index + 1 is the line number."""
    if path.exists() and not path.is_file():
        raise FitError(f"{path}: no regular file; measured cells are read from one")
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as file:
            content = file.read(limits.CELLS + 1)
        if len(content) > limits.CELLS:
            raise ValueError(f"it unpacks to more than {limits.CELLS >> 20:,} MiB")
        text = content.decode("utf-8-sig")
        separator = "\t" if "\t" in text.split("\n", 1)[0] else ","
        raw = pd.read_csv(io.StringIO(text), sep=separator, header=None, dtype=str, skip_blank_lines=False, **BLANK)
    except FileNotFoundError:
        raise FitError(f"{path}: there is no such file") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:  # pandas' ParserError is a ValueError
        reason = " ".join(str(error).split())
        raise FitError(f"{path.name}: not readable as .tsv or .csv, plain or .gz: {reason}") from error
    if pd.to_numeric(raw.iloc[0, 1:], errors="coerce").isna().any():
        raw.columns = pd.Index(raw.iloc[0].astype(str).str.strip())
        raw = raw.iloc[1:]
    elif raw.shape[1] == len(HEADERLESS):
        raw.columns = pd.Index(HEADERLESS)
    else:
        raise FitError(
            f"{path.name}: line 1: {raw.shape[1]} columns and no header; "
            f"name the columns, or have exactly {', '.join(HEADERLESS)}"
        )
    raw = raw.dropna(how="all")
    if raw.empty:
        raise FitError(f"{path.name}: line 2: no readings; one line a reading is needed")
    return raw


def _number(path: Path, raw: pd.DataFrame, column: str, least: float = -np.inf) -> pd.Series:
    """A column as finite numbers of at least `least`, or a FitError that names the line."""
    value = pd.to_numeric(raw[column], errors="coerce").astype(float)
    if (bad := value.index[~(np.isfinite(value) & (value >= least))]).size:
        found = "nothing" if pd.isna(raw[column][bad[0]]) else repr(raw[column][bad[0]])
        wish = "a finite number" if least < 0 else f"a number of at least {least:g}"
        raise FitError(f"{path.name}: line {bad[0] + 1}, column {column}: {found}; {wish} is needed")
    return value


def _labels(path: Path, raw: pd.DataFrame) -> pd.Series:
    """The column `cell`, or a FitError that names the first line without a label."""
    if (blank := raw.index[raw["cell"].fillna("").str.strip() == ""]).size:
        raise FitError(f"{path.name}: line {blank[0] + 1}, column cell: nothing; the label of a cell is needed")
    return raw["cell"]


def _check_programmed(path: Path, text: pd.Series, frame: pd.DataFrame) -> None:
    """A cell is programmed once: FitError names the first that has another conductance on another line."""
    first = frame.groupby("cell").g_programmed_us.transform("first")
    if (other := frame.index[frame.g_programmed_us != first]).size:
        cell = frame.cell[other[0]]
        line = frame.index[frame.cell == cell][0]
        raise FitError(
            f"{path.name}: line {other[0] + 1}: cell {cell} has {text.name} {text[other[0]]}, "
            f"but {text[line]} on line {line + 1}; one value is needed for all lines of a cell"
        )


def _group_times(time_s: pd.Series) -> pd.Series:
    """Nominal times: readings in the same tenth of a decade share their median, to 3 digits."""
    positive = time_s[time_s > 0]
    median = positive.groupby(np.log10(positive).round(1)).transform("median")
    return median.map(lambda t: float(f"{t:.3g}")).reindex(time_s.index, fill_value=0.0)


def fit(
    cells: pd.DataFrame, *, name: str, g_max_us: float, source_note: str = "", file_name: str = "", sha256: str = ""
) -> dict[str, Any]:
    """Conditional quantiles of the deviation: the table of a `Measured` device.

    cells: the columns of `read_cells`; g_max_us: the conductance that stands for max|w|.
    Returns deviation_us[time][knot][probability] with its axes and provenance. Raises FitError.
    """
    programmed = cells.groupby("cell").g_programmed_us.first().to_numpy()
    if not 0 < g_max_us <= 1.1 * programmed.max():
        raise FitError(
            f"g_max {g_max_us:g} uS: cells were programmed up to {programmed.max():.3g} uS; must be above 0 and at "
            f"most a tenth more than that, {math.floor(110 * programmed.max()) / 100:g}"
        )
    later = cells[cells.time_point_s > 0].drop_duplicates(["cell", "time_point_s"], keep="last")
    count = later.groupby("time_point_s").size()
    times = [float(t) for t in count.index[count >= MIN_CELLS]]
    if not times:
        most = f"the most, {count.max()} cells, at {count.idxmax():g} s" if len(count) else "none was read at all"
        raise FitError(f"no time after programming was read on {MIN_CELLS} cells or more: {most}")
    notes = [f"{t:g} s left out: {n} cells, fewer than {MIN_CELLS}" for t, n in count.items() if n < MIN_CELLS]
    knots_us = np.round(KNOTS * g_max_us, 6)
    deviation_us = np.empty((len(times), len(knots_us), len(PROBABILITIES)))
    whole = np.empty(deviation_us.shape[:2], dtype=bool)
    windows = []
    for i, time in enumerate(times):
        deviation_us[i], near, half_us = _quantiles(later[later.time_point_s == time], knots_us)
        all_near = _near(programmed, knots_us, half_us).sum(axis=1)
        whole[i] = near >= COVERAGE * all_near
        windows.append({"time_s": time, "cells": near.tolist(), "half_width_us": half_us.round(3).tolist()})
    notes += _fill(deviation_us, whole, times, knots_us)
    return {
        "schema": 1,
        "name": name,
        "g_max_us": float(g_max_us),
        "g_us": knots_us.tolist(),
        "times_s": times,
        "probabilities": PROBABILITIES.tolist(),
        "deviation_us": (np.round(deviation_us, 3) + 0.0).tolist(),
        "provenance": {
            "source": source_note,
            "file": file_name,
            "sha256": sha256,
            "cells": len(programmed),
            "rows": len(cells),
            "fitted_by": f"bench.fit {VERSION}",
            "windows": windows,
            "notes": notes,
        },
    }


def _near(g_us: np.ndarray, knots_us: np.ndarray, half_us: np.ndarray) -> np.ndarray:
    """(knots, cells): is this cell in the window of this knot?"""
    return np.abs(g_us - knots_us[:, None]) <= half_us[:, None]


def _quantiles(cells: pd.DataFrame, knots_us: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At one time point: quantiles (knots, probabilities), cells in each window, and its half-width in uS."""
    g_us = cells.g_programmed_us.to_numpy()
    deviation_us = cells.g_us.to_numpy() - g_us
    half_us = _half_widths(knots_us)
    nearest = np.partition(np.abs(g_us - knots_us[:, None]), MIN_CELLS - 1, axis=1)[:, MIN_CELLS - 1]
    half_us = np.maximum(half_us, nearest)
    near = _near(g_us, knots_us, half_us)
    table = np.stack([np.quantile(deviation_us[window], PROBABILITIES) for window in near])
    return np.maximum(table, -knots_us[:, None]), near.sum(axis=1), half_us


def _fill(deviation_us: np.ndarray, whole: np.ndarray, times: list[float], knots_us: np.ndarray) -> list[str]:
    """Replace, in place, knots that a time point read incompletely; say which. The ends of time have to stay."""
    notes = []
    log_time = np.log10(times)
    for i, time in enumerate(times):
        gaps = np.flatnonzero(~whole[i])
        if not gaps.size:
            continue
        inner = 0 < i < len(times) - 1
        where = ", ".join(f"{knots_us[k]:g}" for k in gaps)
        done = "interpolated in log time from its neighbours" if inner else "kept, as the first or last time"
        notes.append(f"{time:g} s read less than {COVERAGE:.0%} of the cells near {where} uS: {done}")
        for k in gaps if inner else ():
            before = max(j for j in range(i) if whole[j, k] or j == 0)
            after = min(j for j in range(i + 1, len(times)) if whole[j, k] or j == len(times) - 1)
            share = (log_time[i] - log_time[before]) / (log_time[after] - log_time[before])
            deviation_us[i, k] = (1 - share) * deviation_us[before, k] + share * deviation_us[after, k]
    return notes


def blurred(table: dict[str, Any]) -> str:
    """One line that says where few cells made knots share cells with their neighbours; empty if nowhere."""
    usual = _half_widths(np.array(table["g_us"]))
    lines = []
    for window in table["provenance"]["windows"]:
        wide = np.array(window["half_width_us"]) > usual + 0.001
        if wide.any():
            widest = max(window["half_width_us"])
            lines.append(f"at {window['time_s']:g} s {wide.sum()} of {len(wide)}, up to +- {widest:g} uS")
    if not lines:
        return ""
    return (
        f"few cells: knots with fewer than {MIN_CELLS} cells near them were fitted to the nearest {MIN_CELLS}, which "
        f"blurs them ({'; '.join(lines)}); measure more cells, or spread them over all conductances"
    )


def _half_widths(knots_us: np.ndarray) -> np.ndarray:
    """Half the distance of each knot to its nearest neighbour, in uS."""
    spacing = np.diff(knots_us)
    return np.minimum([spacing[0], *spacing], [*spacing, spacing[-1]]) / 2


def write_table(table: dict[str, Any], out: Path) -> None:
    """Write the table and its checksum as JSON, one key a line, all or nothing; the same table gives the same bytes."""
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in table.items())
    write_text(out, sealed(f"{{\n{lines}\n}}"))


def fit_file(
    source: Path, out: Path, name: str | None = None, g_max_us: float = 40.0, source_note: str = ""
) -> dict[str, Any]:
    """Fit the cells in `source`, write the table to `out` and return it. Raises FitError."""
    cells = read_cells(source)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    table = fit(
        cells, name=name or out.stem, g_max_us=g_max_us, source_note=source_note, file_name=source.name, sha256=sha256
    )
    write_table(table, out)
    return table
