"""The page for every reader: schemes, a phone, the keyboard, a screen reader, names that are markup."""

from typing import Any

import pytest

from bench.page import render
from bench.summary import summary

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: pip install -e '.[test]'")
PHONE = {"width": 360, "height": 740}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme, see_everything, shot):
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


def test_a_phone_scrolls_one_way(opened, see_everything, shot, shots):
    page = opened(viewport=PHONE)
    see_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    names = page.locator("#heatmap tbody th, #coverage tbody th")
    widths = names.evaluate_all("names => names.map(name => name.offsetWidth / name.closest('.scroll').clientWidth)")
    assert max(widths) < 0.6, "the names, which stay where they are, leave room for the numbers"
    shot(page, "phone")
    page.locator(".board tr.row th button").first.click()
    page.get_by_role("dialog").locator(".chart").first.scroll_into_view_if_needed()
    sync_api.expect(page.get_by_role("dialog").locator(".chart[data-drawn]").first).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")
    page.screenshot(path=shots / "phone-details.png")


def test_the_keyboard_gets_everywhere_from_the_skip_link_on(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    assert page.evaluate("document.activeElement.closest('section').id") == "answer"


def test_names_that_are_markup_stay_text(opened, cell, tmp_path, see_everything):
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
