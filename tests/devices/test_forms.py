"""The form's fields for lists, written as JSON, and for secrets, of which only the name is written."""

import html
from typing import Any

import pytest
from django.test import Client
from hypothesis import given, strategies as st

from devices import drivers
from devices.drivers.base import Option, Secret
from devices.forms import ListField, listed, option_field
from devices.models import Edge, Instrument
from tests import factories
from tests.devices.test_admin import ADD, LIST, errors

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(drivers.OWN, "probe", "tests.factories:Probe")


@pytest.fixture
def browser(client: Client) -> Client:
    factories.edge()
    client.force_login(factories.person())
    return client


def level(**fields: str) -> dict[str, str]:
    edge = Edge.objects.get(name="local").pk
    given = {"name": "Level", "driver": "probe", "options_of": "probe", "edge": str(edge), "interval": "1"}
    return {**given, "address": factories.ADDRESS, **fields}


def saved() -> dict[str, Any]:
    options: dict[str, Any] = Instrument.objects.get(name="Level").options
    return options


def test_lists_and_secrets_are_saved_as_the_driver_takes_them(browser: Client) -> None:
    parts = '[\n  {"key": "a", "gain": 1.5},\n  {"key": "ä"}\n]'
    assert browser.post(ADD, level(option_parts=parts, option_word=" QPCR_1 ")).status_code == 302
    assert saved() == {"parts": [{"key": "a", "gain": 1.5}, {"key": "ä"}], "word": {"secret": "QPCR_1"}}


def test_they_are_shown_as_they_are_written(browser: Client) -> None:
    options = {"parts": [{"key": "a", "gain": 1.5}, {"key": "ä<"}], "word": {"secret": "QPCR_1"}}
    instrument = factories.instrument("Level", driver="probe", options=options)
    url = f"{LIST}{instrument.pk}/change/"
    text = html.unescape(browser.get(url).content.decode())
    assert '[\n  {"key": "a", "gain": 1.5},\n  {"key": "ä<"}\n]</textarea>' in text
    assert 'value="QPCR_1"' in text
    assert "LABSITE_SECRET_QPCR_HOSTS" in text
    form = browser.get(url).context["adminform"].form
    again = {name: form[name].value() for name in ("option_parts", "option_word")}
    fields = {name: form.fields[name].prepare_value(value) for name, value in again.items()}
    assert browser.post(url, level(**fields)).status_code == 302
    assert saved() == options


def test_tags_are_written_as_words(browser: Client) -> None:
    assert browser.post(ADD, level(tags=" room-214,pcr  ß ,")).status_code == 302
    instrument = Instrument.objects.get(name="Level")
    assert instrument.tags == ["room-214", "pcr", "ß"]
    url = f"{LIST}{instrument.pk}/change/"
    assert 'value="room-214 pcr ß"' in browser.get(url).content.decode()
    assert "Level" in browser.get(LIST + "?q=room-2").content.decode()
    assert "tags" in errors(browser.post(url, level(tags="a/b")))
    assert browser.post(url, level(tags="")).status_code == 302
    assert Instrument.objects.get(name="Level").tags == []


def test_what_is_left_empty_is_the_default(browser: Client) -> None:
    assert browser.post(ADD, level(option_parts=" ", option_word="")).status_code == 302
    assert saved() == {}


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"option_parts": '[{"key": "a"},\n {"key": }]'}, "option_parts", "in line 2, column 10"),
        ({"option_parts": '{"key": "a"}'}, "option_parts", "A list is needed"),
        ({"option_parts": '[{"key": "a"}, {}]'}, "option_parts", "option parts: item 2 has no key"),
        ({"option_parts": '[{"key": "a", "x": NaN}]'}, "option_parts", "not JSON"),
        ({"option_parts": '[{"key": "\\u0000"}]'}, "option_parts", "cannot be stored"),
        ({"option_parts": "[" * 100_000}, "option_parts", "No JSON"),
        ({"option_word": "hunter2"}, "option_word", "Only the secret's name"),
        ({"option_word": "A" * 41}, "option_word", "Only the secret's name"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(
    browser: Client, fields: dict[str, str], field: str, said: str
) -> None:
    answer = browser.post(ADD, level(**fields))
    assert list(errors(answer)) == [field]
    assert said in html.unescape(str(errors(answer)[field]))
    assert not Instrument.objects.filter(name="Level").exists()
    if field == "option_parts" and len(fields[field]) < 100:
        assert fields[field] in html.unescape(answer.content.decode()), "what was typed is not lost"


def test_choosing_another_driver_shows_the_defaults_of_its_lists(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [{"key": "a"}]
    monkeypatch.setattr(factories.Probe, "options", (Option("parts", list, given, "Parts"),))
    monkeypatch.setattr(factories.Probe, "checked_options", classmethod(lambda cls, options: dict(options)))
    answer = browser.post(ADD, level(options_of="thermostat"))
    assert '[\n  {"key": "a"}\n]</textarea>' in html.unescape(answer.content.decode())
    assert 'Default: [{"key": "a"}].' in html.unescape(answer.content.decode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(items=st.lists(JSON, min_size=1, max_size=5))
def test_a_list_that_is_shown_and_sent_again_is_the_same(items: list[Any]) -> None:
    field = ListField(required=False)
    assert field.clean(field.prepare_value(items)) == items
    assert not field.has_changed(items, listed(items))


def test_the_help_of_a_secret_says_where_it_is_found() -> None:
    text = str(option_field(Option("password", Secret, "", "For the log")).help_text)
    assert text.startswith("For the log. Write the secret's name, such as QPCR")
    assert text.endswith(".")
