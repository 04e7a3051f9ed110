"""The pages in a real browser on the real web process: live, by keyboard, on a phone, in the dark."""

import itertools
from datetime import timedelta
from typing import Literal

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import BrowserContext, Locator, Page, ViewportSize, expect

from devices import numbers
from devices.models import Channel, Instrument
from telemetry import partitions
from telemetry.models import Gap, Sample
from tests import factories
from tests.system.colours import channels, colour, contrast, luminance, rgb, token
from tests.waiting import until
from tests.web import Web, notify, store

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a long password"
PHONE: ViewportSize = {"width": 320, "height": 640}
LONG = "A name without any place to break it in " + "x" * 38


def bath(name: str = "Bath 1", **fields: object) -> Channel:
    """An instrument with one channel that has a normal range."""
    instrument = factories.instrument(name, **fields)
    instrument.channels.all().delete()
    return Channel.objects.create(
        instrument=instrument, key="bath", label="Bath", unit="Cel", low=10, high=20, digits=2
    )


def say(channel: Channel, value: float | None, **fields: object) -> None:
    store(channel, value, **fields)
    notify()


def card(page: Page, name: str = "Bath 1") -> Locator:
    return page.locator("article", has=page.get_by_role("link", name=name, exact=True))


def test_signing_in_and_out(context: BrowserContext, user: User) -> None:
    user.set_password(PASSWORD)
    user.save()
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_label("User name")).to_be_focused()
    for password in ("wrong", PASSWORD):
        page.get_by_label("User name").fill("ada")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        if password == "wrong":
            expect(page.get_by_role("alert")).to_contain_text("correct username and password")
    expect(page.get_by_text("No instruments yet")).to_be_visible()
    page.get_by_text("ada", exact=True).click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_values_change_by_themselves(page: Page) -> None:
    channel = bath()
    say(channel, 15.0)
    page.reload()
    expect(page.locator("#live")).to_have_text("Live")
    shown = card(page)
    expect(shown.locator("[data-value]")).to_have_text("15.00")
    say(channel, 1016.5)
    expect(shown.locator("[data-value]")).to_have_text(f"1{numbers.THIN_SPACE}016.50", timeout=2000)
    expect(shown.locator(".state")).to_have_text("Outside normal")
    say(channel, 1016.5, quality=2, text="connection refused")  # the last value, as ingest keeps it
    expect(shown.locator(".state")).to_have_text("Not connected")
    expect(shown.locator("[data-value]")).to_have_text(f"1{numbers.THIN_SPACE}016.50")
    expect(shown).to_have_class("card look stale")
    assert colour(shown.locator("[data-value]")) == token(page, "--quiet")
    assert colour(shown.locator("[data-age]")) == token(page, "--three")
    expect(shown.locator("[data-reason]")).to_have_text("connection refused")


def test_a_lost_channel_among_others_keeps_its_value_with_its_age(page: Page) -> None:
    channel = bath(interval=60)
    other = Channel.objects.create(instrument=channel.instrument, key="b", label="Flow", position=1)
    say(other, 4.0)
    say(channel, 15.0, time=timezone.now() - timedelta(minutes=4), quality=2)
    for url in ("/", reverse("instrument", args=[channel.instrument_id])):
        page.goto(url)
        expect(page.locator(".state").first).to_have_text("1 value missing")
        row = page.locator(f"[data-channel='{channel.pk}']")
        expect(row.locator("[data-value]")).to_have_text("15.00")
        expect(row.locator("[data-why]")).to_have_text("not valid")
        expect(row.locator("[data-own-age]")).to_contain_text("4 min")
        assert colour(row.locator("[data-own-age]")) == token(page, "--three")
        expect(page.get_by_text("4 min")).to_have_count(1)


def test_a_channel_takes_one_line_and_no_button_is_cut_off(page: Page) -> None:
    instrument = factories.instrument("Thermostat bench 2")
    for channel in instrument.channels.all():
        say(channel, 12345.6789)
    page.set_viewport_size({"width": 1400, "height": 900})
    for url in ("/", reverse("instrument", args=[instrument.pk])):
        page.goto(url)
        heights = page.evaluate("[...document.querySelectorAll('.row')].map((row) => row.clientHeight)")
        assert max(heights) < 34, url
    expect(page.locator("[data-choose]:visible")).to_have_count(8)
    page.get_by_text("18 more").click()
    expect(page.locator("[data-choose]:visible")).to_have_count(26)
    page.get_by_role("button", name="CH1 time since start").click()
    page.reload()
    expect(page.get_by_role("button", name="CH1 time since start")).to_be_visible()


def test_a_value_grows_old_by_the_pages_own_clock(page: Page) -> None:
    channel = bath()
    say(channel, 15.0)
    page.reload()
    shown = card(page)
    expect(shown.locator(".state")).to_have_text("Normal")
    expect(shown.locator(".state")).to_have_text("Silent", timeout=8000)
    expect(shown).to_have_class("card look stale")
    expect(shown.locator("[data-value]")).to_have_text("15.00")
    expect(page.locator("[data-count=speaking]")).to_have_text("0")
    assert colour(shown.locator("[data-age]")) == token(page, "--three")
    say(channel, 15.0)
    expect(shown.locator(".state")).to_have_text("Normal")


def test_a_page_whose_server_is_gone_says_so_and_comes_back(
    context: BrowserContext, page: Page, web: Web, faults: list[str]
) -> None:
    channel = bath()
    say(channel, 15.0)
    page.reload()
    expect(page.locator("#live")).to_have_text("Live")
    web.stop()
    expect(page.locator("#live")).to_contain_text("No connection for")
    expect(card(page).locator(".state")).to_have_text("Silent", timeout=8000)
    web.start()
    expect(page.locator("#live")).to_have_text("Live", timeout=20_000)
    say(channel, 16.0)
    expect(card(page).locator("[data-value]")).to_have_text("16.00")
    faults[:] = [
        fault for fault in faults if "ERR_CONNECTION_REFUSED" not in fault and "ERR_INCOMPLETE" not in fault
    ]


def test_signing_out_elsewhere_is_noticed_when_the_stream_is_refused(
    page: Page, web: Web, faults: list[str]
) -> None:
    page.context.clear_cookies()
    web.stop()
    web.start()
    expect(page.locator("#live")).to_have_text("Signed out", timeout=20_000)
    faults[:] = [fault for fault in faults if "Failed to load resource" not in fault and "ERR_" not in fault]


def test_an_edit_elsewhere_waits_for_the_reader(page: Page) -> None:
    channel = bath()
    say(channel, 15.0)
    page.reload()
    expect(page.locator("#live")).to_have_text("Live")
    Instrument.objects.filter(pk=channel.instrument_id).update(name="Bath one")
    expect(page.get_by_text("Instruments were added or edited.")).to_be_visible()
    expect(card(page)).to_be_visible()
    page.get_by_role("link", name="Show", exact=True).click()
    expect(card(page, "Bath one")).to_be_visible()


def test_the_keyboard_is_enough(page: Page) -> None:
    for name in ("Bath 1", "Bath 2"):
        say(bath(name), 15.0)
    page.reload()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("bath 2")
    expect(card(page, "Bath 1")).to_be_hidden()
    expect(card(page, "Bath 2")).to_be_visible()
    page.keyboard.press("Escape")
    expect(card(page, "Bath 1")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.get_by_role("link", name="Bath 1", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Bath 1", level=1)).to_be_visible()
    page.go_back()
    expect(card(page)).to_be_visible()


def test_the_chart_shows_the_hour_its_gap_and_what_comes(page: Page) -> None:
    channel = bath(interval=5)
    now = timezone.now()
    partitions.make_ahead(now)
    away = (now - timedelta(minutes=30), now - timedelta(minutes=18))
    times = (now - timedelta(seconds=5 * n) for n in range(720))
    Sample.objects.bulk_create(
        Sample(time=at, channel_id=channel.pk, value=15 + (at.timestamp() % 600) / 300)
        for at in times
        if not away[0] < at < away[1]
    )
    instrument = channel.instrument
    Gap.objects.create(
        edge=instrument.edge, instrument=instrument, start=away[0], end=away[1], reason="not connected"
    )
    say(channel, 15.0)
    page.goto(reverse("instrument", args=[instrument.pk]))
    expect(page.get_by_role("button", name="Bath")).to_have_attribute("aria-pressed", "true")
    # 12 of 60 minutes are shaded, and the trace is there.
    until(lambda: 0.1 < share(page, "--gap") < 0.25, what="a shaded gap")
    until(lambda: share(page, "--trace") > 0.001, what="a trace")
    say(channel, 19.0)
    expect(page.locator(".now [data-value]")).to_have_text("19.00")
    page.get_by_role("button", name="Bath").click()
    expect(page.get_by_role("button", name="Bath")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#chart canvas")).to_have_count(0)


@pytest.mark.parametrize("viewport", [PHONE, {"width": 640, "height": 400}], ids=["phone", "200 % zoom"])
def test_nothing_scrolls_sideways(page: Page, viewport: ViewportSize) -> None:
    channel = bath(LONG[:80])
    Channel.objects.filter(pk=channel.pk).update(label=LONG, digits=6)
    say(channel, -123456.789012)
    text = Channel.objects.create(
        instrument=channel.instrument, key="t", label="State", kind="text", position=1
    )
    say(text, None, text="a" * 200)
    page.set_viewport_size(viewport)
    for url in ("/", reverse("instrument", args=[channel.instrument_id]), "/login/", "/?find=nothing"):
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], url


def test_what_is_touched_is_large_enough(page: Page) -> None:
    say(bath(), 15.0)
    page.set_viewport_size(PHONE)
    for url in ("/", reverse("instrument", args=[Instrument.objects.get(name="Bath 1").pk])):
        page.goto(url)
        small = page.evaluate(
            """[...document.querySelectorAll("button, .button, .ways a, .bar input, summary")]
            .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 44)
            .map((each) => each.outerHTML)"""
        )
        assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    grounds = [token(page, name) for name in ("--ground", "--surface", "--raised")]
    words = [
        token(page, name) for name in ("--text", "--quiet", "--ink", "--one", "--two", "--three", "--four")
    ]
    pairs = list(itertools.product(words, grounds))
    pairs += [(token(page, f"--{n}"), token(page, f"--{n}-ground")) for n in ("one", "two", "three", "four")]
    poor = {pair: round(contrast(*pair), 2) for pair in pairs if contrast(*pair) < 4.95}
    assert poor == {}
    assert (luminance(grounds[0]) < 0.2) == (scheme == "dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == rgb(grounds[0])


def test_the_pages_that_come_with_libraries_keep_to_their_policy(page: Page) -> None:
    say(bath(), 15.0)
    for url in (
        reverse("admin:index"),
        reverse("admin:devices_instrument_changelist"),
        reverse("admin:devices_instrument_add"),
        reverse("docs"),
    ):
        page.goto(url, wait_until="networkidle")


def test_script_and_server_write_numbers_alike(page: Page) -> None:
    values = [
        (v, d) for v in (25.0031, -0.0004, 1234567.0, 1e12, 1.234e-5, 0.0, -98765.4321) for d in (None, 0, 3)
    ]
    seconds = [0.04, 9.96, 59.6, 252, 3599.7, 7500, 266_400, -3]
    modules = "import('/static/labsite/numbers.js')"
    shown = page.evaluate(f"(v) => {modules}.then((m) => v.map(([n, d]) => m.number(n, d)))", values)
    assert shown == [numbers.number(*each) for each in values]
    shown = page.evaluate(f"(v) => {modules}.then((m) => v.map((s) => m.duration(s)))", seconds)
    assert shown == [numbers.duration(each) for each in seconds]


def test_the_chart_invents_nothing(page: Page) -> None:
    shown = page.evaluate(
        """async () => {
            const { Chart, decimals, lone } = await import("/static/labsite/chart.js");
            const chart = { gaps: [{ start: 2500, end: 3000, channel: null }], interval: 1, apart: 0 };
            const table = { times: [1000, 2000, 3000, 9000], values: [1, 2, 3, 4] };
            return [Chart.prototype.broken.call(chart, 1, table), [2.5, 0.25, 5, 0.002].map(decimals),
                lone({ data: [[], [1, null, 2, undefined, null, 3, 4]] }, 1, false)];
        }"""
    )
    times, values = shown[0]
    assert values == [1, 2, None, 3, None, 4]
    assert times == [1, 2, 2.501, 3, 3.001, 9]
    assert shown[1:] == [[1, 2, 0, 3], [0, 2]]


def share(page: Page, name: str) -> float:
    """How much of the chart has this colour."""
    return float(
        page.evaluate(
            """([red, green, blue]) => {
                const canvas = document.querySelector("#chart canvas");
                if (!canvas) return 0;
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                let same = 0;
                for (let at = 0; at < data.length; at += 4) {
                  const off = [red, green, blue].map((part, which) => Math.abs(data[at + which] - part));
                  if (Math.max(...off) < 5 && data[at + 3] > 200) same += 1;
                }
                return same / (data.length / 4);
            }""",
            channels(token(page, name)),
        )
    )
