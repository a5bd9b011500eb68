"""The fit against cells whose conditional quantiles are known in closed form."""

import gzip
import json
import os
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from bench import fit
from bench.fit import FitError

CELLS = 24_000
TIMES = (1.0, 100.0, 1e4)


def mean_us(g_us: np.ndarray, time_s: float) -> np.ndarray:
    return -0.02 * g_us * (1 + np.log10(time_s))


def std_us(g_us: np.ndarray, time_s: float) -> np.ndarray:
    return (0.3 + 0.03 * g_us) * (1 + 0.5 * np.log10(time_s))


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    """Cells with a Gaussian deviation whose mean and spread depend on conductance and time."""
    rng = np.random.default_rng(0)
    g = rng.uniform(0, 40, CELLS)
    draws = rng.standard_normal(CELLS)
    frames = [pd.DataFrame({"cell": np.arange(CELLS), "time_s": 0.0, "g_us": g, "g_programmed_us": g})]
    frames += [frames[0].assign(time_s=t, g_us=np.maximum(g + mean_us(g, t) + std_us(g, t) * draws, 0)) for t in TIMES]
    return pd.concat(frames, ignore_index=True).assign(time_point_s=lambda f: f.time_s)


def quantile(table: dict, time_s: float, g_us: float, p: float) -> float:
    row = table["deviation_us"][table["times_s"].index(time_s)][table["g_us"].index(g_us)]
    return float(np.interp(p, table["probabilities"], row))


def test_recovers_known_quantiles(cells: pd.DataFrame) -> None:
    table = fit.fit(cells, name="known", g_max_us=40)
    assert table["times_s"] == list(TIMES)
    for time in TIMES:
        for g in (10.0, 20.0, 30.0, 38.0):
            sigma = float(std_us(np.array(g), time))
            for p in (0.02, 0.25, 0.5, 0.75, 0.98):
                truth = float(mean_us(np.array(g), time)) + sigma * NormalDist().inv_cdf(p)
                # 1,200 cells a window: the standard error of a quantile is .03 sigma in the middle, .08 at 2 %
                assert quantile(table, time, g, p) == pytest.approx(truth, abs=(0.12 if 0.1 < p < 0.9 else 0.3) * sigma)


def test_conductance_is_never_negative_and_quantiles_rise(cells: pd.DataFrame) -> None:
    table = fit.fit(cells, name="known", g_max_us=40)
    deviation = np.array(table["deviation_us"])
    assert (deviation + np.array(table["g_us"])[:, None] >= 0).all()
    assert (np.diff(deviation, axis=-1) >= 0).all()


def test_stuck_cells_stay(cells: pd.DataFrame) -> None:
    stuck = cells.copy()
    stuck.loc[(stuck.cell % 20 == 0) & (stuck.time_s > 0), "g_us"] = 0.0  # 5 % at zero conductance
    table = fit.fit(stuck, name="stuck", g_max_us=40)
    for g in (10.0, 20.0, 30.0):
        # Half a knot spacing is 1 uS: the atom at -g is smeared by no more than that
        assert quantile(table, 100.0, g, 0.0) == pytest.approx(-g, abs=1.01)
        assert quantile(table, 100.0, g, 0.035) == pytest.approx(-g, abs=1.01)
        assert quantile(table, 100.0, g, 0.07) > -g / 2


def test_a_time_that_skipped_cells_by_their_result_is_interpolated(cells: pd.DataFrame) -> None:
    # At 100 s only cells that fell were read: taken at face value, every quantile would be too low
    chosen = (
        (cells.time_s == 100) & (cells.g_programmed_us > 20) & (cells.g_us > cells.g_programmed_us + mean_us(30, 100))
    )
    whole, part = (fit.fit(c, name="part", g_max_us=40) for c in (cells, cells[~chosen]))
    for p in (0.25, 0.5, 0.75):
        assert quantile(part, 100.0, 30.0, p) == pytest.approx(quantile(whole, 100.0, 30.0, p), abs=0.1)
        assert quantile(part, 100.0, 10.0, p) == quantile(whole, 100.0, 10.0, p)
    assert any("100 s" in note and "interpolated" in note for note in part["provenance"]["notes"])
    assert whole["provenance"]["notes"] == []


def test_few_cells_widen_the_window(cells: pd.DataFrame) -> None:
    table = fit.fit(cells[cells.cell < 1500], name="few", g_max_us=40)
    for window in table["provenance"]["windows"]:
        assert min(window["cells"]) >= fit.MIN_CELLS
        assert max(window["half_width_us"]) > 1
    assert fit.blurred(table).startswith("few cells: ") and "23 of 23" in fit.blurred(table)
    many = fit.fit(cells, name="many", g_max_us=40)
    assert "at 1 s" not in fit.blurred(many) or "of 23" in fit.blurred(many)
    with pytest.raises(FitError, match=r"on 200 cells or more: the most, 150 cells, at 1 s$"):
        fit.fit(cells[cells.cell < 150], name="few", g_max_us=40)
    with pytest.raises(FitError, match="on 200 cells or more: none was read at all"):
        fit.fit(cells[cells.time_s == 0], name="none", g_max_us=40)
    with pytest.raises(FitError, match="g_max 80 uS: .* at most a tenth more than that, 4[34]"):
        fit.fit(cells, name="far", g_max_us=80)
    fit.fit(cells, name="near", g_max_us=43.5)


def as_headerless(cells: pd.DataFrame) -> str:
    rows = pd.DataFrame({"cell": cells.cell, "time": cells.time_s, "r": 1.0, "g": cells.g_us * 1e-6})
    rows = rows.assign(p=cells.g_programmed_us * 1e-6, level=0, point=cells.time_point_s)
    return rows.to_csv(sep="\t", header=False, index=False)


def test_csv_with_header_equals_tsv_without(cells: pd.DataFrame, tmp_path: Path) -> None:
    cells = cells[cells.cell < 2000]
    tsv, csv = tmp_path / "cells.tsv.gz", tmp_path / "cells.csv"
    tsv.write_bytes(gzip.compress(as_headerless(cells).encode()))
    columns = ["g_programmed_us", "time_s", "operator", "cell", "g_us"]
    cells.assign(operator="someone").to_csv(csv, columns=columns, index=False)
    first, second = (fit.fit_file(path, tmp_path / "lab.json", None, 40.0, "a lab") for path in (tsv, csv))
    assert (first["name"], first["provenance"]["source"]) == ("lab", "a lab")
    assert first["times_s"] == second["times_s"] == list(TIMES)
    np.testing.assert_allclose(first["deviation_us"], second["deviation_us"], atol=1.1e-3)


def test_same_file_same_bytes_and_nothing_left_over(cells: pd.DataFrame, tmp_path: Path) -> None:
    source = tmp_path / "cells.tsv"
    source.write_text(as_headerless(cells[cells.cell < 2000]))
    outs = [tmp_path / folder / "lab.json" for folder in ("a", "b")]
    for out in outs:
        table = fit.fit_file(source, out, "lab", 40.0, "")
        written = json.loads(out.read_text())
        assert len(written.pop("sha256")) == 64 and written == table
        assert [p.name for p in out.parent.iterdir()] == ["lab.json"]
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert str(tmp_path) not in outs[0].read_text()
    assert outs[0].stat().st_size < 150_000


HEADER = "cell,time_s,g_s,g_programmed_s\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "1,0,2e-5,2e-5\n1,one,2e-5,2e-5\n", "line 3, column time_s: 'one'; a number of at least 0"),
        (HEADER + "1,0,2e-5,2e-5\n\n1,-1,2e-5,2e-5\n", "line 4, column time_s: '-1'"),
        (HEADER + "1,0,2e-5,2e-5\n1,1,2e-5\n", "line 3, column g_programmed_s: nothing"),
        (HEADER + "1,0,2e-5,2e-5\n,0,2e-5,2e-5\n", "line 3, column cell: nothing; the label of a cell is needed"),
        (HEADER + " ,0,2e-5,2e-5\n", "line 2, column cell: nothing"),
        (
            HEADER + "a,0,2e-5,2e-5\nNA,0,2e-5,2e-5\nNA,1,2e-5,2.1e-5\n",
            "line 4: cell NA has g_programmed_s 2.1e-5, but 2e-5 on line 3; one value is needed",
        ),
        (HEADER + "1,0,inf,2e-5\n", "line 2, column g_s: 'inf'; a finite number"),
        (HEADER + "1,0,20,20\n", r"column g_s reaches 2e\+07 uS; _s means siemens"),
        ("cell,g_us,g_programmed_us\n1,20,20\n", "line 1: no column time_s; needed are"),
        ("cell,time_s,g_uS,g_programmed_us\n1,1,20,20\n", "no column g_s; g_uS: did you mean g_us.; needed"),
        ("cell,time_s,conductance,g_programmed_s\n1,0,2e-5,2e-5\n", "line 1: no column g_s; needed are"),
        (HEADER, "line 2: no readings"),
        ("1\t0\t2e-5\n", "line 1: 3 columns and no header"),
        (HEADER + "1,0,2e-5,2e-5,7\n", "not readable as .tsv or .csv.*line 2"),
        ("", "not readable"),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(FitError, match=message) as error:
        fit.read_cells(path)
    assert str(error.value).startswith("bad.csv: ") and "\n" not in str(error.value)


def test_a_broken_or_absent_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(b"1\t2\n" * 1000)[:40])
    for name in ("cut.tsv.gz", "absent.tsv"):
        wrong = "there is no such file$" if name == "absent.tsv" else "not readable"
        with pytest.raises(FitError, match=f"{name}: {wrong}"):
            fit.read_cells(tmp_path / name)


def test_cells_are_read_from_a_regular_file_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cells.tsv")
    for path in (tmp_path / "cells.tsv", Path("/dev/zero"), tmp_path):
        with pytest.raises(FitError, match="no regular file"):
            fit.read_cells(path)


def test_the_command_says_which_conductances_weights_use(cells: pd.DataFrame, tmp_path: Path, cli) -> None:
    strong = cells[cells.cell < 6000].assign(
        g_us=lambda f: 20 * f.g_us, g_programmed_us=lambda f: 20 * f.g_programmed_us
    )
    strong.to_csv(tmp_path / "strong.csv", index=False)
    for asked, told in (([], "0 to 40 uS"), (["--g-max", "800"], "0 to 800 uS")):
        ended = cli("device", "fit", tmp_path / "strong.csv", "--out", tmp_path / "strong.json", *asked)
        assert ended.code == 0 and f"weights use {told} (--g-max)" in ended.out
