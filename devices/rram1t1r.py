"""1T1R RRAM as measured: differential pairs of foundry cells, .01 s to 10^5 s after programming.

Source: A. Levy, RRAM relaxation data, technology C (MIT licence, 2021): 16,292 cells programmed to
0 to 40 uS and read again up to 10^5 s later. Each weight is a differential pair of such cells, the
unused one at zero conductance; formulas in devices/_measured.py, the fit in bench/fit.py.
Deviations: cells are independent; a cell keeps its quantile over time, though measured cells wander
(rank correlation of 1 s and 10^5 s: 0.29); of the 4 s reading, which skipped cells by their result,
only the part up to 4 uS is used; "programmed to 0" is what the 200 least conducting cells did.
"""

from pathlib import Path

from devices._measured import Measured


class Rram1t1r(Measured):
    """Measured 1T1R cells in differential pairs, g_max = 40 uS."""

    name = "rram1t1r"
    source = "A. Levy, RRAM relaxation data, technology C"
    times_s = (0.01, 1e5)
    default_time_s = 1e5
    table_file = Path(__file__).parent / "data" / "rram1t1r.json"
