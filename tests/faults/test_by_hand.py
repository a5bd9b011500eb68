"""Records that were changed by hand and sealed again: no checksum tells them, and no reader stumbles over them."""

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import comparison, frame, latex, markdown, published, seal, terminal, verify
from bench.errors import BenchError
from bench.keys import key_of
from bench.page import data
from bench.reading import read_record
from bench.store import Records
from bench.summary import summary
from devices._seal import sealed

Record = dict[str, Any]
DEEP: Any = []
for _ in range(940):
    DEEP = [DEEP]
JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, -7.5, 3, 1e-300, 9e49, -9e49, 9e99, 10**49, 10**60, 10**400),
    *("", "x", "NaN", "=HYPERLINK(1)", "\x1b[31m", "0" * 16, [], [1.0], ["x"], [None], {}, {"m": "x"}, {"m": [2.0]}),
    *([[[[]]]], DEEP, [9e49, -9e49]),
)


@pytest.fixture(scope="module")
def originals(committed: tuple[str, Record]) -> list[Record]:
    """Three records, two of one table and seed; then them again of another seed, and before one with all that a
    record may have.
    """
    folder = Path(__file__).parents[2] / "results"
    records, _ = Records(folder).load_all()
    found = [r for r in records if r["status"] == "done" and r.get("found")][:1]
    group = summary(records)[0]
    found += [r for r in records if r["key"] in {key for row in group.rows for key in row.keys}][:2]
    whole = copy.deepcopy(found[0])
    for level in whole["levels"]:
        level |= {"details": {"m": [1.0, 2.0]}, "read_power_w": 1e-3, "read_energy_j": 1e-6}
    whole |= {"clean_details": {"m": 1.5}, "adaptation": {"samples_a_chip": 32, "forward_passes": 640}}
    whole |= {"analog_weights": 1000, "found": {"a": 1.0}}
    made = [whole, *copy.deepcopy(found)]
    for record in made:
        record["evaluation"]["training"]["seed"] += 1  # another run, so that it is beside the one that it came from
    return [*found, *made]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to everything in a record; of a list, to the first and the last."""
    if path:
        yield path
    found = value.items() if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for name, inner in found if isinstance(value, dict) else [*found[:1], *found[-1:]]:
        yield from places(inner, (*path, name))


def changed(record: Record, luck: random.Random) -> Record:
    """A record with a field replaced, removed, renamed, or doubled under another name."""
    made = copy.deepcopy(record)
    *way, last = luck.choice(list(places(made)))
    owner: Any = made
    for step in way:
        owner = owner[step]
    how = luck.choice(("junk", "junk", "junk", "junk", "gone", "renamed", "all"))
    if how == "junk" or how == "all":
        junk = luck.choice(JUNK)
        owner[last] = [junk] * len(owner[last]) if how == "all" and isinstance(owner[last], list) else junk
    else:
        value = owner.pop(last)
        if how == "renamed" and isinstance(owner, dict):
            owner["renamed"] = value
        elif how == "renamed":
            owner += [value, value]
    return made


def write(results: Path, record: Record, name: str = "x") -> Path:
    """Seal it, under a key that is right if there can be one."""
    if isinstance(record.get("evaluation"), dict) and "key" in record:
        record["key"] = key_of(record["evaluation"])
    path = results / "records" / f"{name}-{record.get('key', '0' * 16)!s:.16}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(seal.sealed(record))
    return path


def read(results: Path) -> tuple[int, list[str]]:
    """Whatever report, advise, show, compare and verify make of the records; how many there are, and the warnings."""
    records, warnings = Records(results).load_all()
    groups, console = summary(records), Console(file=open("/dev/null", "w"), width=120)  # noqa: SIM115
    assert markdown.leaderboard(groups) and latex.leaderboard(groups) and published.markdown(records)
    table = frame.table(records).to_csv(index=False)
    assert not any(ord(c) < 32 and c != "\n" for c in table) and "\n=" not in table and ",=" not in table
    assert json.dumps(data.collect(records, groups), allow_nan=False)
    terminal.render(records, console)
    terminal.advice(records, console)
    for record in records:
        terminal.record(record, console, results)
        told(lambda record=record: verify.cell_of(record))
    methods = sorted({r["evaluation"]["training"]["method"] for r in records})
    for method in methods[1:]:
        told(lambda method=method: comparison.compare(methods[0], method, results))
    return len(records), warnings


def told(act: Callable[[], Any]) -> None:
    """It works, or says in one line why not."""
    try:
        act()
    except BenchError as error:
        assert "\n" not in str(error)


def test_a_record_changed_by_hand_is_told_or_read_by_all(tmp_path, originals):
    luck, accepted = random.Random(1), 0
    for other in originals[:3]:
        write(tmp_path, copy.deepcopy(other))
    usual = len(list((tmp_path / "records").iterdir()))
    for _ in range(200):
        made = changed(luck.choice(originals[3:]), luck)
        try:
            path = write(tmp_path, made, "y")
        except (ValueError, RecursionError):  # JSON has no such thing, or json.dumps goes no deeper
            continue
        many, warnings = read(tmp_path)
        assert usual <= many <= usual + 1 and many + len(warnings) == usual + 1, made
        accepted += many > usual
        path.unlink()
    assert 20 < accepted < 150


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["levels"][0].update(details="x"), r"levels|0\.details is 'x', must be dict"),
        (lambda r: r["levels"][0].update(details=None), "0.details is None, must be dict"),
        (lambda r: r["levels"][0]["chips"].__setitem__(0, 9e99), r"chips.0 is 9e\+99, must be int"),
        (lambda r: r.update(found=[1.0]), "found is .*, must be dict"),
        (lambda r: r.update(adaptation=None), "adaptation is None, must be dict"),
        (lambda r: r["environment"].update(peak_memory_mib=10**400), "peak_memory_mib is 1000"),
        (lambda r: r["clean_details"].update(m="x"), "clean_details.m is 'x', must be int"),
        (lambda r: r["levels"][0]["details"].update(m=[]), "details of a level must be of at least one chip"),
        (lambda r: r["evaluation"].update(times_s=None), "evaluation.times_s is None, must be list"),
        (lambda r: r["evaluation"]["training"]["settings"].update(a=DEEP), "more than 50 deep"),
        (lambda r: r["levels"][0].update(read_energy_j="=HYPERLINK(1)"), "read_energy_j is '=HYPER"),
        (lambda r: r["levels"][0].update(chips=[1.0] * 100_001), "has 100,001 chips, must have at most 100,000"),
        (lambda r: r["evaluation"].update(levels=list(range(1001))), "1,001 levels or times, must be at most 1,000"),
    ],
)
def test_fields_that_readers_stumbled_over_are_named(tmp_path, originals, change, said):
    made = copy.deepcopy(originals[3])
    change(made)
    with pytest.raises(BenchError, match=said) as caught:
        read_record(write(tmp_path, made))
    assert "\n" not in str(caught.value)


def test_a_record_under_another_s_name_is_told(tmp_path, originals):
    store, (one, other) = Records(tmp_path), originals[:2]
    path = store.path(one)
    path.parent.mkdir()
    path.write_bytes(seal.sealed(other))
    with pytest.raises(BenchError, match=f"its key is {other['key']}, its name says '{one['key']}'"):
        store.load(one["key"])
    path.write_bytes(seal.sealed(other | {"key": one["key"]}))
    with pytest.raises(BenchError, match=f"key {one['key']} is not that of its evaluation"):
        store.load(one["key"])
    assert store.load_all()[0] == []


def test_a_record_that_is_in_two_files_counts_once(tmp_path, originals):
    for name in ("a", "b"):
        path = write(tmp_path, copy.deepcopy(originals[0]), name)
    records, (warning,) = Records(tmp_path).load_all()
    assert records == [originals[0]] and f"record {path} is left out: a-" in warning
    assert Records(tmp_path).load(originals[0]["key"]) == originals[0]


def test_a_field_that_is_there_twice_is_told(tmp_path, originals):
    path = write(tmp_path, copy.deepcopy(originals[0]))
    body = path.read_text().rpartition(',\n "sha256"')[0].replace('"status"', '"status": "failed", "status"', 1)
    path.write_text(sealed(body + "}"))
    with pytest.raises(BenchError, match="'status' is in it twice"):
        read_record(path)


def test_what_is_no_file_or_too_large_is_not_read(tmp_path, originals):
    whole = write(tmp_path, copy.deepcopy(originals[0]))
    os.mkfifo(whole.with_name("a.json"))
    whole.with_name("b.json").symlink_to("/dev/zero")
    with whole.with_name("c.json").open("wb") as file:
        file.truncate(1 << 40)
    records, warnings = Records(tmp_path).load_all()
    assert records == [originals[0]] and len(warnings) == 3
    assert sum("it is no regular file" in warning for warning in warnings) == 2
    assert "larger than 16 MiB, the most that is read" in warnings[2]


def test_compare_tells_of_broken_records(tmp_path, originals, caplog):
    for other in originals[:3]:
        write(tmp_path, copy.deepcopy(other))
    (tmp_path / "records" / "broken.json").write_text("{")
    told(lambda: comparison.compare("hwa", "nominal", tmp_path))
    assert "broken.json is broken" in caplog.text
