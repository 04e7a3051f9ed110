"""Alarms in a real browser: by keyboard, by mouse, live, on a phone, without a script."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from alerts import services
from alerts.lifecycle import State
from alerts.models import Alarm, Source
from devices.models import Channel
from devices.services import OPERATOR
from tests import factories
from tests.alerts.factories import alarm, cleared, rule
from tests.system.colours import contrast, token
from tests.waiting import until
from tests.web import Web, cookies, notify, store

pytestmark = pytest.mark.django_db(transaction=True)

PHONE: ViewportSize = {"width": 320, "height": 640}
LONG = "A text without any place to break it in " + "x" * 60


def bath(name: str = "Bath 1") -> Channel:
    """An instrument with one channel."""
    instrument = factories.instrument(name)
    instrument.channels.all().delete()
    return Channel.objects.create(instrument=instrument, key="bath", label="Bath", unit="Cel", digits=2)


def hot(name: str = "Bath 1", **fields: Any) -> Alarm:
    """A channel that is too warm."""
    return alarm(bath(name), text=f"{name} above 30 °C", **fields)


def goto(page: Page, url: str = "/alarms/") -> None:
    """Open a page, and wait until it is live."""
    page.goto(url)
    expect(page.locator("#live")).to_have_text("Live")


def row(page: Page, of: Alarm) -> Locator:
    return page.locator(f"#alarm-{of.pk}")


def tally(page: Page) -> Locator:
    return page.locator("[data-tally]")


def becomes(of: Alarm, state: State) -> None:
    until(lambda: Alarm.objects.get(pk=of.pk).state == state, 5, f"the alarm becomes {state}")


def without(faults: list[str], *words: str) -> None:
    """Forget what the browser says of replies that are meant."""
    faults[:] = [fault for fault in faults if not any(word in fault for word in words)]


# ---- what people do


def test_the_keyboard_is_enough_to_acknowledge(page: Page) -> None:
    first, second = hot("Bath 1", at=-90), hot("Bath 2", at=-60)
    goto(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("acknowledge the alarm")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(row(page, first).get_by_role("link").first).to_be_focused()
    page.keyboard.press("a")
    becomes(first, State.ACKNOWLEDGED)
    expect(row(page, first)).to_contain_text("acknowledged")
    expect(row(page, second).get_by_role("link").first).to_be_focused()  # on to the next
    expect(page.locator("[data-says]")).to_have_text("Bath 1 above 30 °C: acknowledged")
    page.keyboard.press("a")
    becomes(second, State.ACKNOWLEDGED)
    expect(tally(page)).to_be_hidden()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("above 30 °C")
    page.go_back()
    expect(page.get_by_role("heading", name="Alarms", exact=True)).to_be_visible()


@pytest.mark.parametrize("where", ["alarms", "overview", "instrument", "alarm"])
def test_a_button_acknowledges_wherever_the_alarm_is_shown(page: Page, where: str) -> None:
    made = hot()
    urls = {
        "alarms": "/alarms/",
        "overview": "/",
        "instrument": reverse("instrument", args=[made.instrument_id]),
        "alarm": reverse("alarm", args=[made.pk]),
    }
    goto(page, urls[where])
    page.get_by_role("button", name="Acknowledge").click()
    becomes(made, State.ACKNOWLEDGED)
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    expect(row(page, made)).to_contain_text("ada")
    assert page.url.endswith(urls[where])


def test_shelving_takes_a_reason_and_a_time(page: Page) -> None:
    made = hot()
    goto(page)
    opener = row(page, made).locator("summary", has_text="Shelve")
    opener.click()
    reason = page.get_by_label("Why")
    expect(reason).to_be_focused()
    page.keyboard.press("Escape")
    expect(reason).to_be_hidden()
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(reason).to_be_focused()
    page.keyboard.press("Enter")  # without a reason nothing is sent
    expect(reason).to_be_visible()
    page.get_by_label("8 h").check(force=True)
    reason.fill("pump is being changed")
    reason.press("Enter")
    becomes(made, State.SHELVED)
    expect(page.get_by_role("heading", name="Set aside")).to_be_visible()
    expect(row(page, made)).to_contain_text("“pump is being changed”")
    shelved = Alarm.objects.get()
    assert shelved.aside_until is not None
    assert abs((shelved.aside_until - shelved.since).total_seconds() - 8 * 3600) < 5
    page.get_by_role("button", name="Unshelve").click()
    becomes(made, State.UNACKNOWLEDGED)
    expect(page.get_by_role("heading", name="Set aside")).to_have_count(0)


def test_who_was_slower_is_told_and_sees_how_it_stands(page: Page, faults: list[str]) -> None:
    made = hot()
    goto(page)
    row(page, made).hover()  # what others do waits
    services.acknowledge(made, factories.person("grace"), Source.MATRIX)
    expect(page.locator("[data-alarms-hint]")).to_contain_text("Alarms have changed.")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("[data-says] .error")).to_contain_text("there is nothing to acknowledge")
    expect(row(page, made)).to_contain_text("grace")
    expect(page.locator("[data-alarms-hint]")).to_be_hidden()
    without(faults, "409")


def test_a_comment_is_written_undisturbed(page: Page) -> None:
    made = hot()
    goto(page, reverse("alarm", args=[made.pk]))
    field = page.get_by_role("textbox", name="Comment")
    field.fill("I see")
    services.acknowledge(made, factories.person("grace"), Source.API)
    expect(page.locator("[data-alarms-hint]")).to_be_visible()
    expect(field).to_have_value("I see")
    field.press_sequentially(" it")
    field.press("Enter")
    expect(page.locator(".journal")).to_contain_text("“I see it”")
    expect(page.locator(".journal")).to_contain_text("grace, API")
    expect(field).to_have_value("")


def test_an_alarm_is_taken_out_of_service_and_put_back(page: Page) -> None:
    made = hot()
    goto(page, reverse("alarm", args=[made.pk]))
    page.get_by_text("Take out of service").first.click()
    page.get_by_label("Why").last.fill("sensor is at the workshop")
    page.get_by_label("Why").last.press("Enter")
    becomes(made, State.OUT)
    goto(page)
    expect(page.get_by_text("1 out of service")).to_be_visible()
    page.get_by_role("button", name="Put back").click()
    becomes(made, State.UNACKNOWLEDGED)


def test_who_is_signed_out_meanwhile_is_led_to_the_door(page: Page, faults: list[str]) -> None:
    made = hot()
    goto(page)
    page.context.clear_cookies()
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert Alarm.objects.get(pk=made.pk).state == State.UNACKNOWLEDGED
    without(faults, "401", "403")


def test_all_works_without_a_script(browser: Browser, web: Web, user: User) -> None:
    first, second = hot("Bath 1"), hot("Bath 2")
    with browser.new_context(base_url=web.url, java_script_enabled=False) as context:
        context.add_cookies([{"name": n, "value": v, "url": web.url} for n, v in cookies(user).items()])
        page = context.new_page()
        page.goto("/alarms/")
        row(page, first).get_by_role("button", name="Acknowledge").click()
        assert page.url.endswith(f"/alarms/#alarm-{first.pk}")
        expect(page.locator("[data-says]")).to_contain_text("Bath 1 above 30 °C: acknowledged")
        row(page, second).locator("summary", has_text="Shelve").click()
        row(page, second).get_by_label("Why").fill("pump is being changed")
        row(page, second).locator(".pop button").click()
        expect(row(page, second)).to_contain_text("“pump is being changed”")
    becomes(first, State.ACKNOWLEDGED)
    becomes(second, State.SHELVED)


# ---- live


def pointer(page: Page, made: Alarm) -> None:
    row(page, made).hover()


def focus(page: Page, made: Alarm) -> None:
    row(page, made).get_by_role("link").first.focus()


def form(page: Page, made: Alarm) -> None:
    row(page, made).locator("summary", has_text="Shelve").click()
    page.mouse.move(640, 5)


@pytest.mark.parametrize("reader", [pointer, focus, form])
def test_a_new_alarm_waits_while_the_reader_is_in_the_list(page: Page, reader: Callable[..., None]) -> None:
    made = hot("Bath 1")
    goto(page)
    reader(page, made)
    top = row(page, made).bounding_box()
    other, third = hot("Bath 2", priority=1), hot("Bath 3", priority=1)
    hint = page.locator("[data-alarms-hint]")
    expect(hint).to_contain_text("2 new alarms")
    expect(page.locator("[data-alarm]")).to_have_count(1)
    assert row(page, made).bounding_box() == top
    expect(tally(page)).to_contain_text("■ 3")  # the bar does not wait
    hint.get_by_role("button", name="Show").click()
    expect(page.locator("[data-alarm]")).to_have_count(3)
    expect(hint).to_be_hidden()
    for each in (other, third):
        expect(row(page, each)).to_be_visible()


def test_what_waited_comes_when_the_reader_has_left(page: Page) -> None:
    made = hot("Bath 1")
    goto(page)
    pointer(page, made)
    hot("Bath 2")
    expect(page.locator("[data-alarms-hint]")).to_contain_text("1 new alarm")
    page.mouse.move(640, 5)
    expect(page.locator("[data-alarm]")).to_have_count(2)
    expect(page.locator("[data-alarms-hint]")).to_be_hidden()


def test_alarms_come_and_go_by_themselves(page: Page) -> None:
    goto(page)
    expect(page.get_by_text("Nothing stands")).to_be_visible()
    expect(tally(page)).to_be_hidden()
    made = hot()
    expect(row(page, made)).to_be_visible()
    expect(tally(page)).to_contain_text("◆ 1")
    services.acknowledge(cleared(made), OPERATOR, Source.API)
    expect(page.get_by_text("Nothing stands")).to_be_visible()
    expect(page.get_by_text("The last alarm was")).to_be_visible()
    expect(tally(page)).to_be_hidden()


def test_what_is_open_stays_open(page: Page) -> None:
    made = hot("Bath 1")
    goto(page)
    row(page, made).get_by_text("Journal", exact=True).click()
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(640, 5)
    services.acknowledge(made, OPERATOR, Source.API)
    expect(row(page, made).locator(".journal")).to_contain_text("acknowledged")
    expect(row(page, made).locator(".journal")).to_be_visible()


@pytest.mark.parametrize("where", ["overview", "instrument", "alarms"])
def test_the_number_in_the_bar_is_live_on_every_page(page: Page, where: str) -> None:
    channel = bath("Bath 9")
    urls = {"overview": "/", "instrument": reverse("instrument", args=[channel.instrument_id])}
    goto(page, urls.get(where, "/alarms/"))
    expect(tally(page)).to_be_hidden()
    made = hot("Bath 1", priority=2)
    expect(tally(page)).to_contain_text("▲ 1")
    hot("Bath 2", priority=4)
    expect(tally(page)).to_contain_text("▲ 2")
    services.acknowledge(made, OPERATOR, Source.API)
    expect(tally(page)).to_contain_text("● 1")


def test_the_value_of_an_alarm_is_live_and_grows_old(page: Page) -> None:
    made = hot()
    assert made.channel is not None
    store(made.channel, 31.5)
    goto(page)
    value = row(page, made).locator("[data-value]")
    expect(value).to_have_text("31.50")
    store(made.channel, 32.25)
    notify()
    expect(value).to_have_text("32.25")
    expect(row(page, made).locator(".stale")).to_have_count(1)  # nobody reads it any more
    expect(value).to_have_text("32.25")


def test_a_flood_is_one_list(page: Page) -> None:
    instrument = factories.instrument("Bath 1")
    goto(page, "/")
    by = rule()
    for channel in instrument.channels.all():
        alarm(channel, by, text=f"Bath 1 {channel.key} above 30")
    count = instrument.channels.count()
    expect(tally(page)).to_contain_text(str(count))
    expect(page.get_by_role("link", name=f"All {count} alarms")).to_be_visible()
    expect(page.locator("[data-alarm]")).to_have_count(5)


# ---- how it looks


def everything() -> list[str]:
    """One alarm of each sort, with long words, and all pages that show them."""
    made = alarm(bath("Bath 1"), rule(key="bath", guidance=LONG), text=LONG, priority=1, reason=LONG)
    seen = hot("Bath 2", priority=2)
    services.acknowledge(seen, factories.person("grace"), Source.API, LONG)
    aside = hot("Bath 3", priority=3)
    services.shelve(aside, OPERATOR, Source.API, timezone.now() + timedelta(hours=1), LONG)
    child = hot("Bath 4", priority=4)
    Alarm.objects.filter(pk=child.pk).update(state=State.SUPPRESSED, cause=made)
    return [
        "/",
        "/alarms/",
        reverse("alarm", args=[made.pk]),
        reverse("instrument", args=[made.instrument_id]),
    ]


@pytest.mark.parametrize("viewport", [PHONE, {"width": 640, "height": 400}], ids=["phone", "200 % zoom"])
def test_nothing_scrolls_sideways(page: Page, viewport: ViewportSize) -> None:
    page.set_viewport_size(viewport)
    for url in everything():
        goto(page, url)
        for details in page.locator("main details").all():
            details.evaluate("(each) => { each.open = true; }")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], url


def test_what_is_touched_is_large_enough(page: Page) -> None:
    page.set_viewport_size(PHONE)
    for url in everything():
        goto(page, url)
        for details in page.locator("main details").all():
            details.evaluate("(each) => { each.open = true; }")
        small = page.evaluate(
            """[...document.querySelectorAll("button, .button, .ways a, summary, input:not([type=hidden])")]
            .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 44)
            .map((each) => each.outerHTML)"""
        )
        assert small == [], url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_filled_marks_can_be_read_in_both_themes(page: Page, scheme: Literal["light", "dark"]) -> None:
    everything()
    page.emulate_media(color_scheme=scheme)
    goto(page)
    raised = token(page, "--raised")
    words = {
        name: contrast(raised, token(page, f"--{name}")) for name in ("one", "two", "three", "four", "mark")
    }
    assert min(words.values()) >= 4.95, words
    chip = row(page, Alarm.objects.get(text=LONG)).locator(".chip").first
    expect(chip).to_have_text("■ 1 critical")
