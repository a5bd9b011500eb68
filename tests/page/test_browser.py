"""The page in a real browser, skipped where there is none or no Playwright: the answer, the leaderboard, a row."""

import re

import pytest

from bench.labels import percent
from bench.page import render
from bench.summary import summary

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]'")


def test_it_answers_which_method_how_sure_at_what_cost_and_how_to_run_it(opened, see_everything, shot):
    page = opened()
    answer = page.locator("#verdict")
    sync_api.expect(answer.locator("h3")).to_have_text(re.compile(r"^Use \w+"))
    for term in ("How good", "How sure", "Cost", "Run it"):
        sync_api.expect(answer.locator("dt", has_text=term)).to_be_visible()
    assert "bench run --method" in answer.locator("code").first.inner_text()
    assert "±" in answer.inner_text() and "training seed" in answer.inner_text()
    sync_api.expect(answer).to_contain_text("accuracy on average over the levels 0 to 0.3 of sigma (std of ln w)")
    sync_api.expect(answer).to_contain_text(re.compile(r"Network vgg8, preset standard, 5 methods of \d+ compared\."))
    sync_api.expect(answer).to_contain_text(re.compile(r"Of \w+, .* and \d+ more nothing is known here; Coverage has"))
    see_everything(page)
    shot(page, "light")


def test_the_device_as_measured_comes_first_and_what_training_is_worth_on_it_is_said(opened, cell, tmp_path):
    """Of spreads four times the measured ones nobody's chip is: nominal's figures at 1, and clean, stand there too."""
    records = [
        cell(method, "pcm", levels=(0.0, 0.5, 1.0, 2.0), power_w=power_w)
        for method, power_w in (("mtrd", 4e-3), ("nominal", 1e-3))
    ]
    for record in records:
        record["axis"] = {"name": "multiplier", "unit": "x all spreads"}
    path = tmp_path / "report.html"
    path.write_text(render.page(records, summary(records)))
    answer = opened(path).locator("#verdict")
    ours = sum(records[0]["levels"][2]["chips"]) / 12
    first = rf"^{ours:.2f} ± \S+% accuracy on the device as measured$"
    sync_api.expect(answer.locator(".facts dd p").first).to_have_text(re.compile(first))
    sync_api.expect(answer).to_contain_text("no chip there at most 5 points worse than without a device")
    mean = sum(records[1]["levels"][2]["chips"]) / 12
    said = rf"± \S+% on average, 90\.50% without a device and {mean:.2f} ± \S+% on the device as measured"
    sync_api.expect(answer).to_contain_text(re.compile(rf"\(nominal\): \d\d\.\d\d {said}"))
    sync_api.expect(answer).to_contain_text("5.2 mW while reading, at the last level (nominal: 1.3 mW)")


def test_what_was_not_measured_is_said_with_the_command_that_measures_it(opened):
    page = opened()
    page.get_by_label("Task").first.select_option("mnist")
    answer = page.locator("#verdict")
    sync_api.expect(answer).to_contain_text("Nothing was measured for mnist on rram yet")
    assert answer.locator("code").inner_text() == "bench run --method all --device rram --task mnist --preset standard"
    assert "rram on other tasks" in answer.inner_text()
    page.get_by_label("Device").first.select_option("pcm")
    sync_api.expect(answer).to_contain_text("pcm on other tasks")


def test_sorting_by_mouse_and_keyboard_moves_rows_within_their_block(opened):
    page = opened()
    block = page.locator(".board tbody", has_text="standard · cifar10 · vgg8 · rram1t1r")

    def methods() -> list[str]:
        return block.locator("tr.row th button").all_text_contents()

    assert methods() == ["mtrd", "noise_injection", "nominal", "vant"]
    head = page.locator("th", has=page.locator("[data-sort=power]"))
    page.locator("[data-sort=power]").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert methods() == ["nominal", "noise_injection", "mtrd", "vant"]
    assert page.evaluate("document.activeElement.dataset.sort") == "power", "the keyboard stays where it was"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert methods() == ["mtrd", "noise_injection", "nominal", "vant"], "what is missing is last either way"
    assert page.locator("th[aria-sort]").count() == 1


def test_filters_by_method_task_and_text(opened):
    page = opened()
    rows = page.locator(".board tr.row")
    every = rows.count()
    board = page.locator("#board-controls")
    board.get_by_label("Method").select_option("mtrd")
    assert set(page.locator(".board tr.row th button").all_text_contents()) == {"mtrd"}
    board.get_by_label("Task").select_option("language")
    assert rows.count() == 1
    sync_api.expect(page.locator("#board-count")).to_contain_text(f"1 row of {every}, in 1 comparison")
    board.get_by_role("button", name="Clear filters").click()
    assert rows.count() == every
    board.get_by_label("Text").fill("clip_w")
    assert page.locator(".board tr.row th button").all_text_contents() == ["noise_injection clip_w=2.5"]
    board.get_by_label("Text").fill("no such thing")
    sync_api.expect(page.locator("#board")).to_contain_text("No method fits")


def test_a_cost_that_older_records_lack_is_said_in_words(opened, older, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render.page(older, summary(older)))
    page = opened(path)
    row = page.locator(".board tr.row", has_text="nominal")
    for column in ("power", "total_passes"):
        sync_api.expect(row.locator(f"td.{column}")).to_have_text("not recorded")
    row.locator("th button").click()
    said = page.get_by_role("dialog").locator(".notice")
    sync_api.expect(said).to_contain_text("No passes: recorded before backward passes were counted")
    sync_api.expect(said).to_contain_text("No read power: recorded before read power was measured")
    assert said.locator("code").inner_text() == f"BENCH_HOME=$HOME/anew {older[0]['command']} --force"


def test_a_small_share_has_its_digits_as_in_tables(opened, cell, tmp_path):
    one = cell("mtrd", chips=250)
    one["levels"][-1]["chips"] = [90.0] + [10.0] * 249
    (tmp_path / "report.html").write_text(render.page([one], summary([one])))
    sync_api.expect(opened(tmp_path / "report.html").locator(".board td.yield")).to_have_text("0.4%")
    shown = [percent(share) for share in (0, 1 / 250, 0.12, 1 / 3, 0.996, 1)]
    assert shown == ["0%", "0.4%", "12%", "33%", "99.6%", "100%"]


def test_columns_can_be_left_out(opened):
    page = opened()
    assert page.locator("[data-sort=p5]").count() == 1
    page.get_by_label("tails, yield, power").uncheck()
    page.get_by_label("each level").uncheck()
    assert page.locator("[data-sort=p5], [data-sort=level0]").count() == 0
    sizes = page.evaluate(
        "[...document.querySelectorAll('.board tbody tr')].map(r => [...r.cells].reduce((n, c) => n + c.colSpan, 0))"
    )
    assert len(set(sizes)) == 1


def test_a_row_opens_with_its_chips_settings_versions_hardware_and_command(opened, everything, shots):
    page = opened()
    page.locator(".board tr.row", has_text="noise_injection clip_w=2.5").locator("td.score").click()
    dialog = page.get_by_role("dialog", name="noise_injection clip_w=2.5")
    sync_api.expect(dialog).to_be_visible()
    (record,) = [r for r in everything if r["evaluation"]["training"]["settings"]]
    for text in (record["command"], record["key"], "clip_w", "a core", "128", "torch"):
        sync_api.expect(dialog.get_by_text(text).first).to_be_visible()
    sync_api.expect(dialog.locator(".chart[data-drawn]").first).to_be_visible()
    dialog.get_by_role("group", name="Every chip").scroll_into_view_if_needed()
    marks = dialog.get_by_role("group", name="Every chip").locator(".scatterlayer .trace").first.locator(".points path")
    sync_api.expect(marks).to_have_count(sum(len(level["chips"]) for level in record["levels"]))
    page.screenshot(path=shots / "details.png")
    page.keyboard.press("Escape")
    sync_api.expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "noise_injection clip_w=2.5"


def test_a_row_shows_what_test_samples_are_taken_for(opened, everything, shots):
    """Wrong answers by a cross and a word for who hears the page, not by colour alone; on a phone the table scrolls."""
    key = next(r["key"] for r in everything if r["evaluation"]["training"]["task"] == "language")
    page = opened(address=f"#key-{key}", viewport={"width": 400, "height": 800})
    shown = page.get_by_role("table", name=re.compile("^Test samples of seed 0: what is given"))
    assert shown.locator("thead th[scope=col]").all_inner_texts() == ["sample", "1", "2"]
    assert shown.locator("tbody th[scope=row]").all_inner_texts() == [
        *("given", "wanted", "digital", "level 0", "level 0.1", "level 0.2", "level 0.3"),
    ]
    assert shown.locator("tbody tr").first.locator("td").all_inner_texts() == ["… six", "… 7"]
    assert shown.locator("tbody tr > td:nth-child(2)").all_text_contents() == [
        *("… six", "seven", "seven 0.90", "seven 0.80", "seven 0.70", "seven 0.60", "✗ wrong: one 0.50"),
    ]
    box = page.get_by_role("region", name=re.compile("^Test samples of seed 0"))
    assert box.evaluate("e => e.scrollWidth > e.clientWidth && document.body.scrollWidth <= innerWidth")
    box.scroll_into_view_if_needed()
    page.screenshot(path=shots / "samples-phone.png")


def test_a_row_opens_by_keyboard_and_by_address(opened, everything):
    page = opened()
    page.locator(".board tr.row th button").first.focus()
    page.keyboard.press("Enter")
    sync_api.expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("location.hash").startswith("#key-")
    page.get_by_role("button", name="Close").click()
    linked = opened(address=f"#key-{everything[0]['key']}")
    sync_api.expect(linked.get_by_role("dialog", name="nominal")).to_be_visible()


def test_the_command_is_copied(opened):
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    command = page.locator("#verdict code").first.inner_text()
    page.locator("#verdict").get_by_role("button", name="Copy").first.click()
    sync_api.expect(page.locator("#verdict .command button").first).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == command
    sync_api.expect(page.locator("#live")).to_have_text("Command copied")
