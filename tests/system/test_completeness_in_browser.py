"""The page of completeness in a real browser: on a phone, at 200 %, light and dark."""

from typing import Literal

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.labsite.test_completeness_page import polled
from tests.system.colours import contrast, token

pytestmark = pytest.mark.django_db(transaction=True)

PHONE: ViewportSize = {"width": 320, "height": 640}


@pytest.fixture
def seen(page: Page) -> Page:
    polled("A name without any place to break it in " + "x" * 39, range(100, 120), explained=True)
    polled("Chiller", range(300, 303), explained=False)
    page.goto("/completeness/?span=12h")
    expect(page.locator("table.complete tbody tr")).to_have_count(2)
    return page


@pytest.mark.parametrize("viewport", [PHONE, {"width": 640, "height": 400}], ids=["phone", "200 % zoom"])
@pytest.mark.parametrize("span", ["12h", "7d"])
def test_nothing_scrolls_sideways(seen: Page, viewport: ViewportSize, span: str) -> None:
    seen.set_viewport_size(viewport)
    seen.goto(f"/completeness/?span={span}")
    assert seen.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    small = seen.evaluate(
        """[...document.querySelectorAll("main button, main .button, main select, main th a")]
        .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 44)
        .map((each) => each.outerHTML)"""
    )
    assert small == [] or viewport != PHONE


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_both_themes(seen: Page, scheme: Literal["light", "dark"]) -> None:
    seen.emulate_media(color_scheme=scheme)
    lost = seen.locator(".lost-all")
    expect(lost).to_have_text("■ 3 readings are missing and nothing explains it.")
    assert contrast(token(seen, "--one"), token(seen, "--one-ground")) >= 4.95
    assert contrast(token(seen, "--quiet"), token(seen, "--ground")) >= 4.95
    box = seen.locator("tbody .strip i.lost").first
    assert box.evaluate("(each) => each.getBoundingClientRect().height") >= 14


def test_what_is_complete_is_quiet(seen: Page) -> None:
    """No colour where nothing is missing; and which hours are not, a screen reader hears."""
    full = seen.locator("tbody .strip i.full").first
    assert full.evaluate("(each) => getComputedStyle(each).backgroundSize") == "100% 0px"
    strip = seen.locator("tbody .strip").first
    assert ", 3 lost" in (strip.get_attribute("aria-label") or "")
