"""Charts and grids of the page in a real browser: what they show, say and let a reader choose."""

import re

import pytest

from bench.page import render
from bench.summary import summary

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]'")


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
            sync_api.expect(charts.nth(i)).to_have_attribute("data-drawn", "true")
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


def test_every_caption_says_of_how_many_chips_and_seeds(opened):
    page = opened()
    captions = page.locator("#answer figcaption, #curves figcaption, #drift figcaption")
    assert captions.count() >= 4
    for said in captions.all_text_contents():
        assert re.search(r"; n = 12 chips a level, [12](–2)? training seeds?$", said), said
    page.locator(".board tr.row th button").first.click()
    inside = page.get_by_role("dialog").locator("figcaption").all_text_contents()
    assert len(inside) == 3 and all("; n = 12 chips a level, " in said for said in inside)


def test_grids_say_of_how_many_chips_and_seeds_they_are(opened):
    page = opened()
    crossed = page.locator("#crossed")
    sync_api.expect(crossed.locator(".scale")).to_contain_text("mean over n = 12 chips an entry, 1–2 training seeds")
    said = crossed.locator("td.shade").evaluate_all("cells => cells.map(cell => cell.title.split('; ')[1])")
    assert set(said) == {"n = 12 chips here, 1 training seed", "n = 12 chips here, 2 training seeds"}
    sync_api.expect(page.locator("#heatmap .scale")).to_contain_text("; n = 12 chips a level, 1–2 training seeds")


def test_what_was_compared_with_nothing_is_best_of_nothing(opened, cell, tmp_path):
    """A single method is in no overview; nor is a chip alone, where no chip differs, among the numbers of chips."""
    ideal = cell("nominal", "ideal", levels=(0.0,))
    records = [ideal, cell("nominal"), cell("mtrd")]
    path = tmp_path / "report.html"
    path.write_text(render.page(records, summary(records)))
    page = opened(path)
    assert page.locator("#overview-table tbody tr").count() == 1
    sync_api.expect(page.locator("#overview-table")).to_contain_text("1 place where a single method was measured")
    sync_api.expect(page.locator("#heatmap .scale")).to_contain_text("; n = 12 chips a level, 1 training seed")


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
    said = page.locator("#pictures img").first.get_attribute("alt")
    assert "what nominal makes of it without a device and on chip 0 of rram, level by level. accuracy of all" in said
    assert re.search(r"mean over chips: 0: 90\.00, 0\.1: \d\d\.\d\d", said)
    page.locator("#pictures figcaption button").first.click()
    dialog = page.get_by_role("dialog", name="nominal")
    assert dialog.locator("img").count() == 2
    sync_api.expect(dialog).to_contain_text(
        "then chip 0 at each level of sigma (std of ln w). Below each picture its own"
    )
    page.keyboard.press("Escape")
    neft = page.locator("#published-body > details", has_text="Qin et al. (NeFT), CIFAR-10")
    neft.locator("summary").first.click()
    neft.get_by_text("Not measured: what, why").click()
    sync_api.expect(neft).to_contain_text("neft_irs at each level on cifar10 vgg8: 8 times the work of vgg8_mtrd")
    sync_api.expect(neft.locator("code").nth(1)).to_contain_text("for level in 0.1 0.2 0.3 0.4; do bench run --method")
    page.get_by_text("Papers that methods and devices are from, without a figure here").click()
    sync_api.expect(page.locator("#published")).to_contain_text("Moro et al. (MAT): settings and networks were at")
    row = page.locator("#coverage tbody tr", has=page.get_by_role("rowheader", name="vant", exact=True))
    assert row.locator("td.broken").count() == 1, "a failed cell is shown as failed, not as missing"
    assert page.locator("#coverage code").inner_text().startswith("bench run --method all --device all --task cifar10")


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


def test_error_over_power_and_yield_at_a_level_are_drawn_and_told_in_numbers(opened):
    page = opened()
    page.locator("#curves-controls").get_by_label("Device").first.select_option("rram1t1r")
    power = page.get_by_role("group", name="Error versus read power")
    power.scroll_into_view_if_needed()
    sync_api.expect(power.locator(".scatterlayer .trace")).to_have_count(3)
    assert power.evaluate("chart => chart.layout.xaxis.type") == "log"
    figure = page.locator("#curves figure", has=power)
    figure.locator("summary").click()
    assert re.match(r"mtrd\s+0\s+3 mW\s+10\.00", figure.locator("tbody tr").first.inner_text())
    tails = page.locator("#curves figure", has=page.get_by_role("group", name="Yield curves"))
    tails.get_by_label("At sigma (std of ln w)").select_option("0.1")
    tails.locator("summary").click()
    shares = tails.locator("tbody tr").all_inner_texts()
    assert shares[0].count("100%") == 3 and shares[-1].count("0%") == 3
