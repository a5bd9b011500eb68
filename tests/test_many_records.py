"""10,000 records load and make a leaderboard in 5 s and 1 GB; here a tenth of them."""

from pathlib import Path

import pytest

from bench.store import Records
from bench.timing import records

COMMITTED = Path(__file__).parent.parent / "results"
USUAL_PACE_S = 0.04  # of a million additions on an idle core; a busy one may take as much longer


def test_a_thousand_records_take_a_second(tmp_path):
    """Twice a tenth of the time of ten thousand: other programs on the machine slow more than the pace tells."""
    records.multiply(COMMITTED, 1000, tmp_path)
    found = records.measure(tmp_path)
    assert (found.records, found.warnings) == (1000, 0)
    assert found.load_s + found.leaderboard_s < 2 * 5 * 0.1 * max(1.0, found.pace_s / USUAL_PACE_S), found
    assert found.memory_mib < 1000
    assert (tmp_path / "LEADERBOARD.md").stat().st_size > 10_000


def test_copies_differ_in_key_and_seed_and_are_of_the_same_tables(tmp_path):
    known, _ = Records(COMMITTED).load_all()
    records.multiply(COMMITTED, 2 * len(known), tmp_path)
    made, warnings = Records(tmp_path).load_all()
    assert not warnings and len({record["key"] for record in made}) == 2 * len(known)
    seeds = [record["evaluation"]["training"]["seed"] for record in made]
    assert sum(seed >= 1000 for seed in seeds) == pytest.approx(len(known), abs=len(known) / 5)
