"""Rules that drivers propose, in the admin: the message after an instrument was added, and where it leads."""

import re

import pytest
from django.test import Client

from alerts.models import Rule
from alerts.rules import proposals
from devices import drivers
from devices.models import Edge, Instrument
from devices.services import OPERATOR
from tests import factories
from tests.devices.test_admin import Page

pytestmark = pytest.mark.django_db

URL = "/admin/alerts/rule/proposed/"
UPS_RULES = [template.name for template in drivers.load("must_ep20").alarms]


@pytest.fixture
def browser(client: Client) -> Client:
    factories.edge()
    client.force_login(factories.person())
    return client


@pytest.fixture
def ups() -> Instrument:
    return factories.instrument("UPS <A>", driver="must_ep20", address="serial:///dev/ttyUSB0")


def added(browser: Client, driver: str) -> str:
    """The page that comes after an instrument was added."""
    url = f"/admin/devices/instrument/add/?driver={driver}"
    fields = Page(browser.get(url).content.decode()).fields
    fields |= {"name": "New", "address": drivers.load(driver).example, "edge": str(Edge.objects.get().pk)}
    answer = browser.post(url, fields, follow=True)
    assert Instrument.objects.filter(name="New").exists(), answer.context["adminform"].form.errors
    return answer.content.decode()


def test_who_adds_an_instrument_is_led_to_its_drivers_rules(browser: Client) -> None:
    told = added(browser, "must_ep20")
    link = re.search(r'7 rules are proposed for this driver: <a [^>]*href="([^"]+)">add them</a>', told)
    assert link is not None
    page = browser.get(link[1]).content.decode()
    assert "New input voltage below 180.0 V, for 5 s." in page
    assert page.count('name="names"') == len(UPS_RULES) == 7


def test_nothing_is_told_where_nothing_is_proposed(browser: Client) -> None:
    assert "proposed for this driver" not in added(browser, "labsite_simulated")


def test_what_is_chosen_is_added_and_the_rest_stays_proposed(browser: Client, ups: Instrument) -> None:
    url = f"{URL}?instrument={ups.pk}"
    answer = browser.post(url, {"names": ["UPS battery low", "UPS load high"]}, follow=True)
    page = answer.content.decode()
    assert "2 rules are in force now." in page
    assert set(Rule.objects.filter(driver="must_ep20").values_list("name", flat=True)) == {
        "UPS battery low",
        "UPS load high",
    }
    assert page.count('name="names"') == len(UPS_RULES) - 2
    assert "UPS &lt;A&gt;" in page
    assert "0 rules are in force now." in browser.post(url, {}, follow=True).content.decode()
    told = browser.post(url, {"names": ["<b>"]}, follow=True).content.decode()
    assert "no rule &#x27;&lt;b&gt;&#x27; is proposed" in told
    proposals.accept(ups, None, OPERATOR)
    assert "For UPS &lt;A&gt; nothing more is proposed." in browser.get(url).content.decode()


def test_without_an_instrument_one_of_each_driver_is_shown(browser: Client, ups: Instrument) -> None:
    factories.instrument("UPS B", driver="must_ep20", address="serial:///dev/ttyUSB1")
    factories.instrument("Bath 1")
    page = browser.get(URL).content.decode()
    assert page.count('action="?instrument=') == 2
    assert "Thermostat too hot" in page


def test_the_action_of_the_list_leads_there(browser: Client, ups: Instrument) -> None:
    fields = {"action": "proposed_rules", "_selected_action": [str(ups.pk)]}
    answer = browser.post("/admin/devices/instrument/", fields)
    assert answer["Location"] == f"{URL}?instrument={ups.pk}"


def test_who_may_not_does_not_get_there(client: Client, ups: Instrument) -> None:
    assert client.get(URL).status_code == 302
    client.force_login(factories.person("reader", staff=False))
    assert client.post(f"{URL}?instrument={ups.pk}", {"names": UPS_RULES}).status_code == 302
    assert not Rule.objects.filter(driver="must_ep20").exists()


@pytest.mark.parametrize("pk", ["7", "4b7cfe1c-7a3f-4b0e-9d0e-6a0a1c3b9d11"])
def test_what_is_not_there_is_not_found(browser: Client, pk: str) -> None:
    assert browser.get(f"{URL}?instrument={pk}").status_code == 404
