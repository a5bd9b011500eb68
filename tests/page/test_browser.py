"""The page in a real browser, from disk and without a network. Skipped where there is no Chromium or no Playwright."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.page import render
from bench.summary import summary

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: pip install -e '.[test]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
WIDE, PHONE = {"width": 1360, "height": 900}, {"width": 360, "height": 740}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        # Root has no sandbox to put a browser in.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, made: Path) -> Iterator[Open]:
    """Open the page; afterwards: it complained of nothing, and asked for nothing but itself."""
    troubles: list[str] = []
    contexts = []

    def follow(route: Any) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            troubles.append(f"request of {route.request.url}")
            route.abort()

    def open_(path: Path = made, *, address: str = "", viewport: dict = WIDE, scheme: str = "light") -> Any:
        context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        context.route("**/*", follow)
        page = context.new_page()
        page.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(path.as_uri() + address)
        page.wait_for_selector("#verdict > *")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert troubles == []


def methods_of_first_block(page: Any) -> list[str]:
    return page.locator(".board tbody").first.locator("tr.row th button").all_inner_texts()


def shot(page: Any, name: str) -> None:
    page.add_style_tag(content="#board { content-visibility: visible }")
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def see_everything(page: Any) -> None:
    """Scroll through, so that every chart is drawn, and come back."""
    for section in page.locator("main > section").all():
        section.scroll_into_view_if_needed()
        page.wait_for_timeout(60)
    page.evaluate("scrollTo(0, 0)")


def test_it_answers_which_method_how_sure_at_what_cost_and_how_to_run_it(opened):
    page = opened()
    answer = page.locator("#verdict")
    sync_api.expect(answer.locator("h3")).to_have_text(re.compile(r"^Use \w+"))
    for term in ("How good", "How sure", "Cost", "Run it"):
        sync_api.expect(answer.locator("dt", has_text=term)).to_be_visible()
    assert "bench run --method" in answer.locator("code").first.inner_text()
    assert "±" in answer.inner_text() and "training seed" in answer.inner_text()
    see_everything(page)
    shot(page, "light")


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
        return block.locator("tr.row th button").all_inner_texts()

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
    assert set(page.locator(".board tr.row th button").all_inner_texts()) == {"mtrd"}
    board.get_by_label("Task").select_option("language")
    assert rows.count() == 1
    sync_api.expect(page.locator("#board-count")).to_contain_text(f"1 row of {every}, in 1 comparison")
    board.get_by_role("button", name="Clear filters").click()
    assert rows.count() == every
    board.get_by_label("Text").fill("clip_w")
    assert page.locator(".board tr.row th button").all_inner_texts() == ["noise_injection clip_w=2.5"]
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
    assert said.locator("code").inner_text() == f"{older[0]['command']} --force"


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


def test_a_row_opens_with_its_chips_settings_versions_hardware_and_command(opened, everything):
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
    page.screenshot(path=SHOTS / "details.png")
    page.keyboard.press("Escape")
    sync_api.expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "noise_injection clip_w=2.5"


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


def test_hovering_a_curve_tells_its_value_and_interval(opened):
    page = opened()
    chart = page.locator("#curves .chart").first
    chart.scroll_into_view_if_needed()
    sync_api.expect(chart.locator(".scatterlayer .points path").first).to_be_visible()
    mark = chart.locator(".scatterlayer .trace").nth(1).locator(".points path").last.bounding_box()
    page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    said = chart.locator(".hoverlayer .hovertext")
    sync_api.expect(said).to_be_visible()
    assert re.search(r"0\.3: \d\d\.\d\d ± \d\.\d\d%", said.text_content())
    assert "12 chips a level" in said.text_content()


def test_a_curve_is_zoomed_and_its_methods_are_chosen(opened):
    page = opened()
    chart = page.locator("#curves .chart").first
    chart.scroll_into_view_if_needed()
    lines = chart.locator(".scatterlayer .trace .points")
    sync_api.expect(lines.first).to_be_attached()
    before = lines.count()
    page.locator("#curves-body").get_by_label("nominal", exact=True).uncheck()
    sync_api.expect(lines).to_have_count(before - 2)  # the line and its band
    whole = page.evaluate("document.querySelector('#curves .chart').layout.xaxis.range")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    page.mouse.up()
    zoomed = page.evaluate("document.querySelector('#curves .chart')._fullLayout.xaxis.range")
    assert zoomed[1] - zoomed[0] < 0.2, whole
    page.locator("#curves-body").get_by_role("button", name="none").click()
    sync_api.expect(lines).to_have_count(0)


def test_a_variant_has_an_open_marker_and_a_broken_line_in_legends_and_charts(opened):
    page = opened()
    charts = page.locator("#curves .chart")
    for name, is_open in (("noise_injection clip_w=2.5", True), ("noise_injection", False)):
        box = page.locator("#curves-body").get_by_label(name, exact=True).locator("xpath=..")
        assert box.locator(".swatch .open").count() == is_open
        assert bool(box.locator(".swatch path").first.get_attribute("stroke-dasharray")) == is_open
        for i in range(charts.count()):
            charts.nth(i).scroll_into_view_if_needed()
            page.wait_for_function("i => document.querySelectorAll('#curves .chart')[i].dataset.drawn", arg=i)
            symbols = charts.nth(i).evaluate(
                "(chart, name) => chart.data.filter(line => line.name === name).map(line => line.marker.symbol)", name
            )
            assert [symbol.endswith("-open") for symbol in symbols] == [is_open]


def test_a_bar_joins_scores_that_cannot_be_told_apart(opened):
    page = opened()
    chart = page.locator("#curves").get_by_role("group", name="Scores, and which can be told apart")
    chart.scroll_into_view_if_needed()
    names = chart.locator(".ytick text")
    sync_api.expect(names.first).to_have_text("mtrd")
    assert names.all_text_contents()[-1] == "nominal"
    bars = chart.locator(".shapelayer path")
    before = bars.count()
    assert before >= 1
    page.locator("#curves-body").get_by_role("button", name="none").click()
    sync_api.expect(bars).to_have_count(0)


def test_charts_are_sent_nowhere(opened):
    page = opened()
    buttons = page.locator("#verdict .modebar-btn")
    sync_api.expect(buttons.first).to_be_attached()
    names = {button.get_attribute("aria-label") for button in buttons.all()}
    assert names == {"Download plot", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}


def test_every_chart_has_its_numbers_as_a_table(opened):
    page = opened()
    numbers = page.locator("#curves details").first
    numbers.locator("summary").click()
    first = numbers.locator("tbody tr").first
    assert re.match(r"mtrd\s+90\.00\s+\d\d\.\d\d ± ", first.inner_text())


def test_charts_are_drawn_when_they_come_into_view(opened):
    page = opened()
    assert page.locator("#drift .chart[data-drawn]").count() == 0
    page.locator("#drift").scroll_into_view_if_needed()
    sync_api.expect(page.locator("#drift .chart[data-drawn]")).to_be_visible()
    assert page.locator("#drift .xtick text").all_text_contents() == ["1 s", "1 h", "1 d"]


def test_grids_pictures_and_published_figures(opened, everything):
    page = opened()
    cell = page.locator("#heatmap td", has_text="85.4").first
    assert cell.evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert page.locator("#crossed tbody tr").count() == 3 and page.locator("#crossed td.shade").count() == 9
    assert page.locator("#pictures img").count() == 2
    assert page.locator("#pictures img").first.get_attribute("alt").startswith("Before and after: nominal on rram")
    assert page.locator("#published details").count() >= 4
    row = page.locator("#coverage tbody tr", has=page.get_by_role("rowheader", name="vant", exact=True))
    assert row.locator("td.broken").count() == 1, "a failed cell is shown as failed, not as missing"
    assert page.locator("#coverage code").inner_text().startswith("bench run --method all --device all --task cifar10")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    page = opened(scheme=scheme)
    see_everything(page)
    page.evaluate("document.querySelectorAll('main details').forEach(details => { details.open = true; })")
    assert serious(page) == []
    page.evaluate("scrollTo(0, 0)")
    page.locator(".board tr.row th button").first.click()
    sync_api.expect(page.get_by_role("dialog").locator(".chart[data-drawn]").first).to_be_visible()
    assert serious(page) == []
    page.keyboard.press("Escape")
    if scheme == "dark":
        shot(page, "dark")


def serious(page: Any) -> list[str]:
    found = axe.Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]


def test_a_phone_scrolls_one_way(opened):
    page = opened(viewport=PHONE)
    see_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(page, "phone")
    page.locator(".board tr.row th button").first.click()
    page.get_by_role("dialog").locator(".chart").first.scroll_into_view_if_needed()
    sync_api.expect(page.get_by_role("dialog").locator(".chart[data-drawn]").first).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")
    page.screenshot(path=SHOTS / "phone-details.png")


def test_the_keyboard_gets_everywhere_from_the_skip_link_on(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    assert page.evaluate("document.activeElement.closest('section').id") == "answer"


def test_it_prints_in_black_on_white(opened):
    page = opened(scheme="dark")
    see_everything(page)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert len(page.pdf()) > 20_000


def test_a_perplexity_that_grows_tenfold_is_drawn_on_a_logarithmic_axis(opened, cell, tmp_path):
    records = [cell(m, task="language", metric=("perplexity", "", False), chips=10) for m in ("nominal", "mtrd", "hwa")]
    for record in records:
        for i, level in enumerate(record["levels"]):
            level["chips"] = [chip * 4**i for chip in level["chips"]]
    path = tmp_path / "report.html"
    path.write_text(render.page(records, summary(records)))
    page = opened(path)
    chart = "document.querySelector('#curves .chart')"
    page.locator("#curves .chart").first.scroll_into_view_if_needed()
    page.wait_for_selector("#curves .chart[data-drawn]")
    assert page.evaluate(f"{chart}.layout.yaxis.type") == "log"
    assert page.evaluate(f"{chart}.layout.yaxis.title.text") == "perplexity"
    assert "undefined" not in page.locator("main").inner_text() and "NaN" not in page.locator("main").inner_text()


def test_names_that_are_markup_stay_text(opened, cell, tmp_path):
    bad = "</script><img src=x onerror=alert(1)>\u2028<a href=javascript:alert(1)>"
    records = [cell(bad, bad, bad, settings={bad: bad}), cell("nominal", bad, bad)]
    for record in records:
        record["command"], record["environment"] = f"bench {bad}", {bad: bad, "created": bad, "commit": bad}
        record["axis"]["name"] = record["task"]["metric"] = bad
    records.append(cell(bad, "pcm", status="failed") | {"error": bad})
    path = tmp_path / "report.html"
    path.write_text(render.page(records, summary(records)))
    page = opened(path)
    see_everything(page)
    page.locator(".board tr.row th button").first.click()
    sync_api.expect(page.get_by_role("dialog").locator(".chart[data-drawn]").first).to_be_visible()
    assert page.locator("img, a[href^='javascript']").count() == 0
    assert "onerror=alert(1)" in page.locator("#verdict").inner_text()
