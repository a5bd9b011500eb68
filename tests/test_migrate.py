"""A record of any schema that ever was loads for ever, and gives the row that it gave."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from bench import frame, migrate
from bench.errors import BenchError
from bench.markdown import leaderboard
from bench.reading import RECORD_SCHEMA, read_record
from bench.store import Records
from bench.summary import summary

FROZEN = Path(__file__).parent / "schemas"
SCHEMAS = sorted(int(path.stem) for path in FROZEN.glob("*.json"))


def test_every_schema_has_a_record_and_every_older_one_a_step() -> None:
    assert list(range(1, RECORD_SCHEMA + 1)) == SCHEMAS, "add tests/schemas/N.json and N.csv when the schema changes"
    assert sorted(migrate.STEPS) == SCHEMAS[:-1], "bench/migrate.py needs a step for each older schema"


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_record_of_each_schema_loads_and_gives_the_row_that_it_gave(schema: int, tmp_path: Path) -> None:
    path = FROZEN / f"{schema}.json"
    assert json.loads(path.read_text())["schema"] == schema, "as it was written"
    record = read_record(path)
    assert record["schema"] == RECORD_SCHEMA
    made = io.StringIO(newline="")
    frame.table([record]).to_csv(made, index=False, float_format="%.8g")
    rows = list(csv.DictReader(io.StringIO(made.getvalue(), newline="")))
    with (FROZEN / f"{schema}.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
    assert f"| {record['evaluation']['training']['method']} |" in leaderboard(summary([record]))
    # Written again it is of the present schema, and the same.
    assert read_record(Records(tmp_path).save(record)) == record


def test_steps_follow_one_another_up_to_the_present_schema() -> None:
    old: dict[str, Any] = {"schema": 1, "levels": [1, 2]}
    steps = {1: lambda r: r | {"points": r["levels"]}, 2: lambda r: {k: v for k, v in r.items() if k != "levels"}}
    assert migrate.current(old, 3, steps) == {"schema": 3, "points": [1, 2]}
    assert old == {"schema": 1, "levels": [1, 2]}, "the one that was read stays as it is"
    assert migrate.current({"schema": 2, "points": []}, 3, steps) == {"schema": 3, "points": []}
    for other in ({"schema": 3}, {"schema": 4}, {"schema": True}, {"schema": 0}, {"schema": "1"}, {}, [], None, 1):
        assert migrate.current(other, 3, steps) is other
    with pytest.raises(ValueError, match="it is no record of schema 1: 'levels'"):
        migrate.current({"schema": 1}, 3, steps)


def test_a_file_that_no_step_understands_is_broken_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.reading.RECORD_SCHEMA", 2)
    monkeypatch.setattr(migrate.current, "__defaults__", ({1: lambda record: record["levels"]["x"]},))
    (tmp_path / "1.json").write_text((FROZEN / "1.json").read_text())
    with pytest.raises(BenchError, match=r"is broken \(it is no record of schema 1: .*\); delete it"):
        read_record(tmp_path / "1.json")


def test_older_records_are_rewritten_with_a_checksum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    old = json.loads((FROZEN / "1.json").read_text())
    old_path = folder / f"old-{old['key']}.json"
    old_path.write_text((FROZEN / "1.json").read_text())
    new = json.loads((FROZEN / f"{RECORD_SCHEMA}.json").read_text())
    new_path = folder / f"new-{new['key']}.json"
    new_path.write_text((FROZEN / f"{RECORD_SCHEMA}.json").read_text())
    (folder / "broken.json").write_text("{")
    untouched = {path: path.read_bytes() for path in (new_path, folder / "broken.json")}
    before, _ = Records(tmp_path).load_all()
    written, (warning,) = migrate.rewrite(tmp_path)
    assert written == [old_path] and "broken.json is broken" in warning
    assert all(path.read_bytes() == data for path, data in untouched.items())
    made = json.loads(old_path.read_text())
    assert len(made.pop("sha256")) == 64 and made == old | {"schema": RECORD_SCHEMA} and [*made] == [*old]
    assert Records(tmp_path).load_all()[0] == before
    old_path.write_text(old_path.read_text().replace('"done"', '"dome"'))
    with pytest.raises(BenchError, match="its checksum is of another content"):
        read_record(old_path)
    assert migrate.rewrite(tmp_path)[0] == []
    with pytest.raises(BenchError, match="no records in"):
        migrate.rewrite(tmp_path / "nowhere")
    monkeypatch.setattr("sys.argv", ["migrate", str(tmp_path)])
    assert migrate.main() == 2
    told = capsys.readouterr()
    assert told.out == "0 records rewritten, 2 left as they are\n" and "bench: record" in told.err
