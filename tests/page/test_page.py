"""What the page holds, read from its text without a browser."""

import json
import random
import re

import numpy as np
import pytest
from PIL import Image

from bench import advice, columns, markdown, missing, published
from bench.page import data, render, tails
from bench.summary import summary

TIMES = (1.0, 3600.0, 86_400.0)


def parts(text: str) -> tuple[dict, dict]:
    """(data, images) as the browser reads them."""
    found = re.findall(r'<script type="application/json" id="(?:data|images)">(.*?)</script>', text, re.DOTALL)
    return tuple(map(json.loads, found))


def rows_of(found: dict) -> list[dict]:
    return [row for group in found["groups"] for row in group["rows"]]


def page(records: list[dict], *more) -> str:
    return render.page(records, summary(records), *more)


def collected(records: list[dict]) -> dict:
    return data.collect(records, summary(records))


def test_rows_are_those_of_the_summary(everything, made):
    found, _ = parts(made.read_text())
    groups = summary(everything)
    assert [group["title"] for group in found["groups"]] == [group.title for group in groups]
    for i, group in enumerate(groups):
        assert found["groups"][i]["tied"] == list(map(list, group.tied))
        advised = advice.advise(group)
        use = found["groups"][i]["use"]
        assert (None if use is None else group.rows[use]) == advised.use
        assert found["groups"][i]["advice"] == advice.sentences(advised)
        for row, shown in zip(group.rows, found["groups"][i]["rows"], strict=True):
            assert (shown["label"], shown["rank_text"]) == (row.label, columns.rank(row))
            assert shown["command"] == row.command and shown["keys"] == list(row.keys)
            if row.score is not None:
                assert shown["score"] == pytest.approx(list(row.score), rel=1e-5)
                assert [at[0] for at in shown["points"]] == pytest.approx(
                    [at.mean for at in row.points.values()], rel=1e-5
                )


def test_a_record_brings_chips_settings_versions_and_hardware(cell):
    found = collected([cell("mtrd", settings={"temperature": 3.0}, device_settings={"stuck_on": 0.01})])
    (record,) = rows_of(found)[0]["records"]
    assert record["settings"] == {"temperature": "3.0", "device.stuck_on": "0.01"}
    assert [len(chips) for chips in record["chips"]] == [1, 12, 12, 12]
    assert record["versions"]["recipe"] == "2" and record["budget"]["batch_size"] == "128"
    assert found["environments"][record["tested"]]["hardware"] == "a core"


def test_yield_is_the_share_of_chips_that_reach_a_threshold_mean_over_seeds(cell):
    records = [cell("mtrd", seed=seed) for seed in (0, 1)]
    found = collected(records)
    limits, (row,) = found["groups"][0]["thresholds"], rows_of(found)
    assert len(limits) <= tails.MOST + 2 and all(np.diff(limits) > 0)
    for point in range(4):
        values = [np.array(record["levels"][point]["chips"]) for record in records]
        expected = [np.mean([np.mean(chips >= limit) for chips in values]) for limit in limits]
        assert row["yields"][point] == pytest.approx(expected, abs=1e-5)
    assert row["yields"][0][0] == 1 and row["yields"][3][-1] == 0


def test_what_older_records_lack_is_said_with_the_command_that_has_it(older):
    (group,) = summary(older)
    notes = columns.notes(group)
    assert any(
        line.startswith("no passes of nominal: recorded before backward passes were counted; the command of a row with")
        for line in notes
    )
    assert any(line.startswith("no read power of nominal: recorded before read power was measured") for line in notes)
    text = markdown.leaderboard([group])
    (costs,) = [line for line in text.split("\n") if line.startswith("| nominal |") and "1,000" in line]
    (tails,) = [line for line in text.split("\n") if line.startswith("| nominal | ideal")]
    assert costs.count("not recorded") == 2 and tails.endswith("| not recorded |") and "| mtrd | " in text
    found = {row["label"]: row for row in rows_of(collected(older))}
    assert [one["what"] for one in found["nominal"]["missing"]] == ["passes", "read power"]
    assert found["nominal"]["again"] == f"BENCH_HOME=$HOME/anew {older[0]['command']} --force"
    assert (found["mtrd"]["missing"], found["mtrd"]["again"]) == ([], "")


def test_a_device_without_cells_lacks_no_read_power(cell):
    (group,) = summary([cell("nominal"), cell("mtrd")])
    assert missing.notes(group) == [] and [missing.of(row, group) for row in group.rows] == [[], []]
    command, forced = (f"bench run --seed 0{more}  # and 2 more like it" for more in ("", " --force"))
    assert missing.again(command, [missing.POWER]) == forced, "a sweep of the network that is there has it"
    assert missing.again(command, [missing.PASSES]) == f"BENCH_HOME=$HOME/anew {forced}"


def test_where_lower_is_better_yield_falls_towards_lower_thresholds(cell):
    found = collected([cell("mtrd", task="language", metric=("perplexity", "perplexity", False))])
    shares = rows_of(found)[0]["yields"][3]
    assert shares == sorted(shares) and shares[0] < shares[-1] == 1


@pytest.mark.parametrize("values", [[50.0], [0.0, 0.0], [1e-9, 2e-9], [1e6, 1e6 + 1], [-3.0, 31.4]])
def test_thresholds_are_few_and_hold_all_chips(cell, values):
    record = cell()
    for level in record["levels"]:
        level["chips"] = values
    limits = tails.thresholds([record])
    assert limits[0] <= min(values) and limits[-1] >= max(values) and 1 <= len(limits) <= tails.MOST + 2
    assert tails.thresholds([cell(status="failed")]) == []


def test_chips_that_met_a_part_of_the_test_set_have_no_yield(cell):
    record = cell()
    record["levels"][2]["samples"] = 100
    (row,) = rows_of(collected([record]))
    assert row["yields"][2] is None and row["yields"][1] is not None


def test_a_comparison_says_how_long_after_programming_its_chips_are_read(cell):
    timed = cell("mtrd", "pcm")
    timed["evaluation"]["time_s"] = 86_400.0
    for record, said in ((timed, "1 d"), (cell("mtrd"), ""), (cell("mtrd", "pcm", times=TIMES), "")):
        (group,) = collected([record])["groups"]
        assert group["read_at"] == said


def test_cells_count_finished_and_failed_runs_on_their_own_device(cell):
    records = [cell(seed=0), cell(seed=1), cell(seed=2, status="failed"), cell("mtrd", "pcm", status="failed")]
    records += [cell("mtrd", "rram", trained_on="pcm")]
    place = {"preset": "standard", "task": "cifar10"}
    assert collected(records)["cells"] == [
        place | {"device": "pcm", "method": "mtrd", "done": 0, "failed": 1},
        place | {"device": "rram", "method": "nominal", "done": 2, "failed": 1},
    ]


def test_a_matrix_is_of_all_that_was_trained_somewhere_and_tested_elsewhere(cell):
    crossed = [cell("mtrd", "pcm", trained_on="rram", preset="standard*", levels=(0.2,), seed=s) for s in (0, 1)]
    own = [cell("mtrd", device) for device in ("rram", "pcm")]
    assert collected(own)["matrices"] == []
    (matrix,) = collected([*crossed, *own])["matrices"]
    assert (matrix["rows"], matrix["columns"]) == (["pcm 0.2", "rram 0.2"], ["pcm 0.2"])
    entries = {(row, column): mean for row, column, mean, *_ in matrix["entries"]}
    own_mean = np.mean(own[1]["levels"][2]["chips"])
    crossed_mean = np.mean([record["levels"][0]["chips"] for record in crossed])
    assert entries == {
        ("pcm 0.2", "pcm 0.2"): pytest.approx(own_mean, rel=1e-5),
        ("rram 0.2", "pcm 0.2"): pytest.approx(crossed_mean, rel=1e-5),
    }
    assert [sizes for *_, sizes, _ in matrix["entries"]] == [[12], [12]]
    assert [seeds for *_, seeds in matrix["entries"]] == [[0], [0, 1]]


def test_a_place_of_a_matrix_where_no_chip_can_differ_counts_no_chips(cell):
    clean = cell("mtrd", "pcm", trained_on="rram", preset="standard*", levels=(0.0,))
    single = cell("mtrd", "pcm", trained_on="rram", preset="standard*", levels=(0.2,), chips=1)
    single["evaluation"]["chips"] |= {"minimum": 1, "maximum": 1}
    for record in (clean, single):
        record["levels"][0]["chips"] = record["levels"][0]["chips"][:1]
    sizes = [e[-2] for record in (clean, single) for m in collected([record])["matrices"] for e in m["entries"]]
    assert sizes == [[], [1]], "one chip by wish is one chip"


def test_sweeps_of_time_that_differ_in_device_settings_are_drawn_together(cell):
    settings = {"device_settings": {"drift_compensation": False}}
    records = [cell(times=TIMES), cell(times=TIMES, **settings), cell(times=TIMES[:2]), cell()]
    found = collected(records)
    (together,) = found["together"]
    assert [found["groups"][i]["labels"] for i in together["groups"]] == [["1 s", "1 h", "1 d"]] * 2
    assert together["settings"] == ["", " drift_compensation=False"]


def test_readings_are_error_over_milliwatts(cell):
    records = [cell(method, power_w=2e-3) for method in ("nominal", "mtrd")]
    found = collected(records)
    row = next(row for row in rows_of(found) if row["label"] == "mtrd")
    assert found["groups"][0]["error"] == "100 - accuracy (%)"
    point, power, error, low, high = row["readings"][2]
    assert (point, power) == (2, pytest.approx(2.4))
    chips = next(r for r in records if r["evaluation"]["training"]["method"] == "mtrd")["levels"][2]["chips"]
    assert low < error == pytest.approx(100 - np.mean(chips), rel=1e-5) and error < high


def test_published_rows_have_ours_of_the_same_question(cell):
    ours = cell("noise_injection", network="vgg8_mtrd", levels=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5))
    ours["evaluation"]["training"]["level"] = 0.3
    rows = [row for row in collected([ours])["published"] if row["ours"]]
    (row,) = rows
    assert row["trained"] == "noise_injection at 0.3" and row["theirs"][5] == 75.39
    (our,) = row["ours"]
    assert our["gaps"][5] == pytest.approx(np.mean(ours["levels"][5]["chips"]) - 75.39, rel=1e-4)
    assert our["setting"] == "10 + 3 epochs, batch 128, rate 0.1; 10 to 20 chips; bf16"


def test_where_a_paper_trained_a_network_for_every_level_ours_are_too(cell):
    records = []
    for level in (0.1, 0.3):
        record = cell("neft_ovf", "rram1", network="vgg8", levels=(0.0, 0.1, 0.2, 0.3, 0.4))
        record["evaluation"]["training"]["level"] = level
        records.append(record)
    (found,) = [c for c in published.compare(records) if c.ours]
    assert found.trained == "neft_ovf at each level" and found.row.values[0.3] == 72.5
    levels = records[0]["levels"]
    assert found.ours[0].means == (None, pytest.approx(np.mean(levels[1]["chips"])), None,
                                   pytest.approx(np.mean(levels[3]["chips"])), None)  # fmt: skip


def test_the_same_records_in_any_order_give_the_same_page(everything):
    shuffled = random.Random(1).sample(everything, len(everything))
    assert page(everything) == page(shuffled)


def test_a_record_more_changes_few_lines(everything, cell):
    before, after = (page(some).split("\n") for some in (everything, [*everything, cell("sam", "gaussian")]))
    assert len(set(after) - set(before)) < 12


def test_nothing_that_a_record_says_is_markup(cell):
    bad = "</script><!--<script>&\u2028 \x1b[31m"
    record = cell("mtrd", settings={bad: bad})
    record["environment"] |= {bad: bad, "deep": {"er": [bad]}}
    record["task"]["metric"] = record["axis"]["name"] = record["command"] = bad
    text = page([record, cell(bad, bad, bad, status="failed") | {"error": bad}])
    assert text.count("</script>") == page([]).count("</script>") == 4
    assert "\x1b" not in text and "\u2028" not in text and "<!--<" not in text
    found, _ = parts(text)
    assert {row["command"] for row in rows_of(found)} >= {"</script><!--<script>& [31m"}


def test_no_address_is_loaded_and_no_script_but_ours_runs(made):
    text = made.read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy and policy.count("'sha256-") == 2
    loaded = re.findall(r"<(?:link|script|img|iframe)\b[^>]*\b(?:href|src)=\"([^\"]*)", text.split("<script>")[0])
    assert loaded == ["data:,"]


def test_what_nobody_knows_is_null(cell):
    record = cell("mtrd")
    record["evaluation"]["chips"] |= {"minimum": 1, "maximum": 1}
    for level in record["levels"]:
        level["chips"], level["first_stage"] = level["chips"][:1], 1
    found, _ = parts(page([record]))
    assert rows_of(found)[0]["score"][1:] == [None, None] and rows_of(found)[0]["rank"] is None


def test_pictures_are_those_of_finished_records_and_of_no_other_file(cell, tmp_path):
    records = [cell(seed=seed) for seed in range(4)]
    records[3] |= {"key": "../../../secret"}
    folder = tmp_path / "a" / "b" / "pictures"
    folder.mkdir(parents=True)
    for record in (records[0], records[1]):
        Image.new("L", (8, 8)).save(folder / f"{record['key']}.png")
    (folder / f"{records[2]['key']}.png").write_text("<svg onload=alert(1)>")
    Image.new("L", (8, 8)).save(tmp_path.parent / "secret.png")
    _, images = parts(page(records, folder))
    assert sorted(images["pictures"]) == sorted(record["key"] for record in records[:2])
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in images["pictures"].values())
    assert images["left_out"] == 1


def test_pictures_have_what_room_is_left(cell, tmp_path):
    records = [cell(seed=seed) for seed in range(3)]
    for record in records:
        noise = np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{record['key']}.png")
    bare = len(page(records, None).encode())
    text = page(records, tmp_path, bare + 30_000)
    _, images = parts(text)
    assert (len(images["pictures"]), images["left_out"]) == (2, 1)
    assert len(text.encode()) <= bare + 30_000


def test_where_pictures_are_left_out_every_comparison_has_some(cell, tmp_path):
    records = [cell(m, device) for device in ("rram", "stuck") for m in ("nominal", "mtrd", "hwa")]
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8))
    for record in records:
        noise.save(tmp_path / f"{record['key']}.png")
    bare = len(page(records, None).encode())
    _, images = parts(page(records, tmp_path, bare + 30_000))
    best = {row.keys[0] for group in summary(records) for row in group.rows[:1]}
    assert set(images["pictures"]) == best and images["left_out"] == 4


def test_500_cells_take_less_than_8_mb(cell):
    devices = [f"device{i}" for i in range(100)]
    sample = {"given": "▁" * 35, "wanted": "automobile", "answers": ["automobile 0.98"] * 7, "right": [True, False] * 3}
    samples = [sample | {"right": [*sample["right"], False]}] * 6
    levels = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    records = [
        cell(f"method{i}", device, levels=levels, chips=20, power_w=1e-3, settings={"strength": 0.1, "kind": "some"})
        | {"samples": samples}
        for device in devices
        for i in range(5)
    ]
    for i, record in enumerate(records):
        record["environment"] = record["training_environment"] = record["environment"] | {
            "created": f"2030-01-{i % 28 + 1:02}"
        }
    text = page(records)
    assert len(records) == 500 and len(rows_of(collected(records[:40]))) == 40
    assert len(text.encode()) <= 8_000_000, len(text.encode())


def test_samples_that_records_share_are_on_the_page_once(cell):
    records = [
        cell("nominal", given=("a", "b")),
        cell("mtrd", given=("a", "b")),
        cell("hwa", given=("c",)),
        cell("sam"),
    ]
    records[1]["levels"].reverse()
    for sample in records[1]["samples"]:
        sample["answers"][1:], sample["right"][1:] = sample["answers"][:0:-1], sample["right"][:0:-1]
    found = collected(records)
    assert sorted(found["samples"].values()) == [[["a", "seven"], ["b", "seven"]], [["c", "seven"]]]
    shown = {row["method"]: row["records"][0]["samples"] for row in rows_of(found)}
    assert shown["sam"] is None
    assert shown["nominal"] == shown["mtrd"], "in the order of the page's levels"
    assert shown["nominal"]["wrong"] == [[4], [4]], "of the digital network and four levels, the last"
    assert shown["nominal"]["answers"][0] == ["seven 0.90", "seven 0.80", "seven 0.70", "seven 0.60", "one 0.50"]
    assert found["samples"][shown["hwa"]["of"]] == [["c", "seven"]]


def test_no_records_make_a_page_too():
    found, images = parts(page([]))
    assert rows_of(found) == [] and found["about"]["records"] == 0 and images == {"pictures": {}, "left_out": 0}


def test_plotly_is_the_packages_bundle_with_its_licence():
    head = render._plotly()[:300]
    assert re.search(r"plotly\.js v\d+\.\d+", head) and "MIT license" in head
