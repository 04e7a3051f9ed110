"""The admin: pages render and fetch nothing from elsewhere; what they save goes through the services."""

import re
import uuid
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from devices import drivers, services
from devices.models import AccessToken, Channel, Edge, Instrument, Latest
from tests import factories

pytestmark = pytest.mark.django_db

ADD = "/admin/devices/instrument/add/"
LIST = "/admin/devices/instrument/"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Page(HTMLParser):
    """A form as a browser without script would send it, and every address that the page fetches from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.fetched: list[str] = []
        self.select = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag in ("script", "img", "iframe", "source"):
            self.fetched.append(given.get("src", ""))
        elif tag == "link" and given.get("rel") != "canonical":
            self.fetched.append(given.get("href", ""))
        name = given.get("name", "")
        if tag == "select":
            self.select = name
        elif tag == "option" and self.select and ("selected" in given or self.select not in self.fields):
            self.fields[self.select] = given.get("value", "")
        elif tag == "input" and name and given.get("type") == "checkbox":
            if "checked" in given:
                self.fields[name] = given.get("value", "on")
        elif tag == "input" and name and given.get("type") not in ("submit", "button"):
            self.fields[name] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self.select = ""


@pytest.fixture(autouse=True)
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(drivers.OWN, "probe", "tests.factories:Probe")


@pytest.fixture
def browser(client: Client) -> Client:
    factories.edge()
    client.force_login(factories.person())
    return client


def opened(browser: Client, url: str) -> Page:
    answer = browser.get(url)
    assert answer.status_code == 200, url
    return Page(answer.content.decode())


def errors(answer: Any) -> dict[str, Any]:
    return dict(answer.context["adminform"].form.errors)


def filled(page: Page, **fields: str) -> dict[str, str]:
    return {**page.fields, **fields}


def one_of_each() -> None:
    """A row of every model that the admin shows."""
    instrument = factories.instrument()
    channel = instrument.channels.all()[0]
    Latest.objects.create(channel=channel, time=NOW, value=1.0, seen_at=NOW, stored_at=NOW)
    factories.token_client(User.objects.get())
    Group.objects.create(name="operators")


def rows(model: type[Model]) -> list[Model]:
    return list(model._default_manager.all()[:1])


def test_every_page_renders_and_fetches_only_from_here(client: Client) -> None:
    client.force_login(factories.person("root", superuser=True))
    one_of_each()
    urls = ["/admin/", "/admin/password_change/"]
    for model, its_admin in admin.site._registry.items():
        names = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        urls.append(reverse(f"{names}_changelist"))
        urls += [reverse(f"{names}_change", args=[row.pk]) for row in rows(model)]
        request = client.get("/admin/").wsgi_request
        if its_admin.has_add_permission(request):
            urls.append(reverse(f"{names}_add"))
    assert len(urls) > 14
    for url in urls:
        page = opened(client, url)
        assert page.fetched, url
        assert not [source for source in page.fetched if source and not source.startswith("/")], url


def test_the_policy_of_the_admin_names_nobody_else(browser: Client) -> None:
    policy = browser.get("/admin/")["Content-Security-Policy"]
    assert not re.search(r"https?:|\*", policy)
    assert "'unsafe-eval'" in policy
    assert "'unsafe-eval'" not in browser.get("/api/v1/health/")["Content-Security-Policy"]


def test_staff_without_further_rights_may_work_and_others_may_not_enter(browser: Client) -> None:
    assert "Instruments" in browser.get("/admin/").content.decode()
    browser.force_login(factories.person("reader", staff=False))
    assert browser.get(LIST).status_code == 302


def test_an_instrument_is_added_by_the_form_of_its_driver(browser: Client) -> None:
    page = opened(browser, ADD + "?driver=probe")
    assert page.fields["option_mode"] == "fast"
    assert page.fields["option_count"] == "3"
    assert "option_invert" not in page.fields
    text = browser.get(ADD + "?driver=probe").content.decode()
    assert "Samples for one value. From 1 to 10. Default: 3." in text
    fields = filled(page, name="Level", edge=str(edge_id()), address=factories.ADDRESS, option_count="4")
    assert browser.post(ADD, fields).status_code == 302
    saved = Instrument.objects.get(name="Level")
    assert saved.options == {"count": 4}
    assert saved.channels.count() == 1


def edge_id() -> int:
    return Edge.objects.get(name="local").pk


def test_choosing_another_driver_brings_its_options_and_saves_nothing(browser: Client) -> None:
    page = opened(browser, ADD + "?driver=thermostat")
    fields = filled(page, name="Level", edge=str(edge_id()), address=factories.ADDRESS, driver="probe")
    assert page.fields["options_of"] != "probe"
    answer = browser.post(ADD, fields)
    assert list(errors(answer)) == ["driver"]
    again = Page(answer.content.decode())
    assert (again.fields["options_of"], again.fields["option_count"]) == ("probe", "3")
    assert again.fields["name"] == "Level"
    assert not Instrument.objects.filter(name="Level").exists()
    assert browser.post(ADD, again.fields).status_code == 302
    assert Instrument.objects.get(name="Level").driver == "probe"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"option_count": "11"}, "option_count"),
        ({"option_count": "few"}, "option_count"),
        ({"option_gain": "nan"}, "option_gain"),
        ({"option_mode": "medium"}, "option_mode"),
        ({"option_note": "a\0b"}, "option_note"),
        ({"address": "nowhere"}, "address"),
        ({"address": "edge://local"}, "address"),
        ({"interval": "0.01"}, "interval"),
        ({"name": ""}, "name"),
        ({"name": "Bath 1"}, "name"),
        ({"edge": ""}, "edge"),
        ({"driver": "samovar", "options_of": "thermostat"}, "driver"),
    ],
)
def test_an_error_is_shown_at_its_field(browser: Client, fields: dict[str, str], field: str) -> None:
    factories.instrument()
    page = opened(browser, ADD + "?driver=probe")
    right = filled(page, name="Level", edge=str(edge_id()), address=factories.ADDRESS)
    answer = browser.post(ADD, {**right, **fields})
    assert answer.status_code == 200
    assert list(errors(answer)) == [field]
    assert not Instrument.objects.filter(name="Level").exists()


def test_saving_what_nobody_changed_changes_nothing(browser: Client) -> None:
    saved = factories.instrument("Level", driver="probe", options={"note": " two  spaces "}, in_service=False)
    url = f"{LIST}{saved.pk}/change/"
    assert browser.post(url, opened(browser, url).fields).status_code == 302
    same = Instrument.objects.get(pk=saved.pk)
    assert (same.options, same.revision, same.in_service) == (saved.options, saved.revision, False)


def test_an_edit_is_saved(browser: Client) -> None:
    saved = factories.instrument("Level", driver="probe", options={"count": 5, "invert": True})
    url = f"{LIST}{saved.pk}/change/"
    page = opened(browser, url)
    assert page.fields["option_invert"] == "on"
    fields = filled(page, interval="0.5", option_mode="slow", option_count="")
    del fields["option_invert"]
    browser.post(url, fields)
    now = Instrument.objects.get(pk=saved.pk)
    assert now.interval == 0.5
    assert now.options == {"mode": "slow", "invert": False}
    assert now.revision > saved.revision


def test_a_retired_instrument_can_only_be_looked_at(browser: Client) -> None:
    saved = factories.instrument("Level", driver="probe")
    services.retire_instrument(saved, by=services.OPERATOR)
    url = f"{LIST}{saved.pk}/change/"
    assert "option_count" not in opened(browser, url).fields
    assert browser.post(url, {"name": "Back"}).status_code == 403
    assert str(saved.pk) not in browser.get(LIST).content.decode()
    assert str(saved.pk) in browser.get(LIST + "?retired=yes").content.decode()


def test_an_instrument_whose_driver_is_not_installed_can_be_looked_at(browser: Client) -> None:
    saved = factories.instrument()
    Instrument.objects.filter(pk=saved.pk).update(driver="samovar")
    page = opened(browser, f"{LIST}{saved.pk}/change/")
    assert page.fields["driver"] == "samovar"
    answer = browser.post(f"{LIST}{saved.pk}/change/", page.fields)
    assert list(errors(answer)) == ["driver"]


def test_actions_go_through_the_services(browser: Client) -> None:
    bath, host = factories.instrument(), Instrument.objects.get(driver=services.HOST_DRIVER)
    act(browser, "take_out_of_service", bath)
    assert not Instrument.objects.get(pk=bath.pk).in_service
    act(browser, "put_into_service", bath)
    assert Instrument.objects.get(pk=bath.pk).in_service
    told = act(browser, "retire", bath, host)
    assert "is retired with it" in told
    assert Instrument.objects.get(pk=bath.pk).retired_at is not None
    assert Instrument.objects.get(pk=host.pk).retired_at is None


def act(browser: Client, action: str, *chosen: Model) -> str:
    """Do an admin action; the page that comes next."""
    name = chosen[0]._meta.model_name
    fields = {"action": action, "_selected_action": [row.pk for row in chosen]}
    return browser.post(f"/admin/devices/{name}/", fields, follow=True).content.decode()


def test_an_edge_is_added_with_the_instrument_for_itself_and_retired(browser: Client) -> None:
    assert browser.post("/admin/devices/edge/add/", {"name": "bench"}).status_code == 302
    bench = Edge.objects.get(name="bench")
    assert bench.instruments.get().driver == services.HOST_DRIVER
    opened(browser, f"/admin/devices/edge/{bench.pk}/change/")
    assert "name" in errors(browser.post("/admin/devices/edge/add/", {"name": "No Name"}))
    act(browser, "retire", bench)
    bench.refresh_from_db()
    assert bench.retired_at is not None


def test_tokens_are_seen_without_their_hash_and_revoked(client: Client) -> None:
    root = factories.person("root", superuser=True)
    client.force_login(root)
    api = factories.token_client(root, "read")
    token = AccessToken.objects.get()
    page = client.get("/admin/devices/accesstoken/")
    shown = re.sub(r'value="[0-9a-f]+"', "", page.content.decode())  # the row's box must name the row
    assert token.digest not in shown
    assert token.token_key not in shown
    assert client.get("/admin/devices/accesstoken/add/").status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": token.pk, "post": "yes"}
    client.post("/admin/devices/accesstoken/", chosen)
    assert api.get("/api/v1/instruments/").status_code == 401


def test_what_drivers_and_instruments_say_is_not_edited(browser: Client) -> None:
    one_of_each()
    for name in ("channel", "latest"):
        assert browser.get(f"/admin/devices/{name}/add/").status_code == 403
    channel = Instrument.objects.get(name="Bath 1").channels.all()[0]
    browser.post(f"/admin/devices/channel/{channel.pk}/change/", {"label": "x", "retention": "standard"})
    assert Channel.objects.get(pk=channel.pk).label == channel.label


def test_what_is_not_there_is_not_found(browser: Client) -> None:
    assert browser.get(f"{LIST}{uuid.uuid4()}/change/").status_code == 302
