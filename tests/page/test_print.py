"""The page on paper: black on white, nothing is cut off, and charts are drawn that nobody scrolled to."""

import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from bench.page import render
from bench.store import Records
from bench.summary import summary

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]'")
A4 = 711  # CSS pixels across a sheet between the margins that the page asks for: 210 mm less 2 x 11 mm


def strokes(pdf: bytes) -> int:
    """Lines and curves that a PDF draws; text and ground are none."""
    found = 0
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            drawn = zlib.decompress(stream)
        except zlib.error:  # a picture or a font of another kind
            continue
        found += len(re.findall(rb"^[-\d. ]+ [lc]\r?$", drawn, re.MULTILINE))
    return found


def test_charts_that_nobody_scrolled_to_are_printed(opened):
    page = opened()
    charts = page.locator("main .chart")
    assert page.locator("main .chart[data-drawn]").count() < charts.count()
    printed = page.pdf(prefer_css_page_size=True)
    assert page.locator("main .chart[data-drawn]").count() == charts.count() >= 5
    page.add_style_tag(content=".chart { visibility: hidden }")
    assert strokes(printed) > strokes(page.pdf(prefer_css_page_size=True)) + 40 * charts.count()


def on_paper(page: Any) -> None:
    """As wide as a sheet, with the style of print and the charts that it draws."""
    page.emulate_media(media="print")
    page.set_viewport_size({"width": A4, "height": 1000})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    sync_api.expect(page.locator("main .chart:not([data-drawn])")).to_have_count(0)
    page.wait_for_timeout(300)  # Plotly draws once more


def test_nothing_is_wider_than_a_sheet(opened, shots):
    page = opened()
    page.evaluate("document.querySelectorAll('main details').forEach(details => { details.open = true; })")
    on_paper(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= A4
    cut = """[...document.querySelectorAll('main .scroll')].filter(
        box => box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1
            || getComputedStyle(box).overflow !== 'visible').map(box => box.getAttribute('aria-label'))"""
    assert page.evaluate(cut) == []
    wide = f"""[...document.querySelectorAll('main table, main td, main th, main img, main .chart .main-svg')].filter(
        each => each.getBoundingClientRect().right > {A4} + 1).map(each => each.outerHTML.slice(0, 120))"""
    assert page.evaluate(wide) == []
    blank = """[...document.querySelectorAll('main .chart')].filter(
        chart => !chart.querySelector('.scatterlayer path') || !chart.querySelector('.xtick text')
            || chart.getBoundingClientRect().height < 150).map(chart => chart.getAttribute('aria-label'))"""
    assert page.evaluate(blank) == []
    page.screenshot(path=shots / "print.png", full_page=True)


def test_what_is_committed_fits_on_a_sheet(opened, tmp_path):
    """Real names and numbers are wider than constructed ones."""
    records, _ = Records(Path(__file__).parents[2] / "results").load_all()
    path = tmp_path / "report.html"
    path.write_text(render.page(records, summary(records)))
    page = opened(path)
    page.evaluate("document.querySelectorAll('main details').forEach(details => { details.open = true; })")
    on_paper(page)
    wide = f"""[...document.querySelectorAll('main table')].filter(
        each => each.getBoundingClientRect().right > {A4} + 1).map(each => each.outerHTML.slice(0, 120))"""
    assert page.evaluate(wide) == [] and page.evaluate("document.documentElement.scrollWidth") <= A4


def test_it_prints_in_black_on_white(opened, see_everything):
    page = opened(scheme="dark")
    see_everything(page)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert len(page.pdf()) > 20_000
