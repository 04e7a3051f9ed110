"""The API as a whole: who is let in, health, status, schema and documentation."""

import re
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from pytest_django import Settings
from rest_framework.throttling import SimpleRateThrottle

from devices.models import Edge, Heartbeat
from labsite import health
from tests import factories

API = "/api/v1/"
OPEN = {API + "health/"}
SOMETHING = {"uuid:pk": str(uuid.uuid4()), "pk": "1", "name": "thermostat"}


def paths(patterns: list[URLPattern | URLResolver] | None = None, prefix: str = "/") -> Iterator[str]:
    """Every path that the API answers, with something in place of its parameters."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from paths(pattern.url_patterns, path)
        elif path.startswith(API) and "(?:" not in path:  # of all that is nowhere
            yield (
                re.sub(r"\(\?P<(\w+)>.*?\)(?=/)|<([\w:]+)>", _filled, path).replace("^", "").replace("$", "")
            )


def _filled(parameter: re.Match[str]) -> str:
    return SOMETHING[parameter[1] or parameter[2]]


@pytest.mark.django_db
def test_nothing_but_health_answers_without_a_login(client: Client) -> None:
    walked = set(paths())
    assert {API + "instruments/", API + "schema/", API + "docs/", API + "status/", *OPEN} <= walked
    for path in walked - OPEN:
        for method in ("get", "post", "put", "patch", "delete", "head", "options"):
            assert getattr(client, method)(path).status_code in (401, 403), f"{method} {path}"


@pytest.fixture
def fresh_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "KEPT_S", 0.0)


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_health", "broker")
def test_health_is_good_while_database_and_broker_answer(client: Client) -> None:
    answer = client.get(API + "health/")
    assert answer.status_code == 200
    assert answer.json() == {"process": True, "database": True, "broker": True}


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_health")
def test_health_is_bad_while_the_broker_is_away(client: Client, settings: Settings) -> None:
    settings.BROKER_URL = "redis://127.0.0.1:1/0"
    answer = client.get(API + "health/")
    assert answer.status_code == 503
    assert answer.json() == {"process": True, "database": True, "broker": False}


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_health", "broker")
def test_health_is_bad_while_the_database_is_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    answer = client.get(API + "health/")
    assert answer.status_code == 503
    assert answer.json() == {"process": True, "database": False, "broker": True}


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_health")
def test_health_does_not_wait_for_a_broker_that_is_silent(client: Client, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.BROKER_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        begun = time.monotonic()
        assert client.get(API + "health/").json()["broker"] is False
        assert time.monotonic() - begun < health.TIMEOUT_S + 2


@pytest.mark.django_db
def test_one_health_check_serves_all_who_ask(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "KEPT_S", 60.0)
    verdict = health.check()
    monkeypatch.setattr(health, "ask_broker", lambda: pytest.fail("asked again"))
    assert client.get(API + "health/").json() == verdict


@pytest.mark.django_db
def test_status_tells_of_processes_edges_and_disk() -> None:
    now = timezone.now()
    Heartbeat.objects.create(process="beat", at=now - timedelta(seconds=3), fields={"orders": 7})
    factories.instrument()
    Edge.objects.update(heard_at=now, status={"spool": 12, "version": "1"})
    told = factories.client(factories.person(staff=False)).get(API + "status/").json()
    beat, ingest = told["processes"]
    assert (beat["process"], beat["said"]) == ("beat", {"orders": 7})
    assert 3 <= beat["age"] < 60
    assert (ingest["process"], ingest["at"], ingest["age"]) == ("ingest", None, None)
    (edge,) = told["edges"]
    assert (edge["name"], edge["leased"], edge["status"]["spool"]) == ("local", True, 12)
    assert edge["instruments"] == 2
    assert 0 < told["disk"]["free"] <= told["disk"]["total"]
    assert told["database_bytes"] > 0


def test_the_schema_is_valid_and_complete() -> None:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    assert "/api/v1/instruments/{id}/" in out.getvalue()


@pytest.mark.django_db
def test_the_documentation_is_served_from_here() -> None:
    page = factories.client(factories.person(staff=False)).get(API + "docs/")
    assert page.status_code == 200
    assert not foreign(page.content.decode())
    script = factories.client(factories.person("b")).get(API + "docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")
    policy = page["Content-Security-Policy"]
    assert "script-src" not in policy or "unsafe" not in policy.split("script-src")[1].split(";")[0]


def foreign(page: str) -> list[str]:
    """What a page would fetch from elsewhere."""
    return re.findall(r"""(?:src|href|action)=["']?((?:https?:)?//[^"'\s>]+)""", page)


@pytest.fixture
def forgetful_throttles() -> Iterator[None]:
    """Throttles count in the cache, which outlives a test."""
    cache.clear()
    yield
    cache.clear()


@pytest.mark.django_db
def test_json_nested_without_end_is_the_callers_mistake(client: Client) -> None:
    client.force_login(factories.person())
    answer = client.post(API + "instruments/", b"[" * 100_000, content_type="application/json")
    assert (answer.status_code, answer.json()) == (400, {"detail": "JSON parse error - nested too deep"})


@pytest.mark.django_db
@pytest.mark.usefixtures("forgetful_throttles")
def test_too_many_questions_are_put_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "KEPT_S", 60.0)
    monkeypatch.setattr(SimpleRateThrottle, "timer", lambda _: 0.0)  # all within one second
    codes = [client.get(API + "health/").status_code for _ in range(50)]
    assert 429 in codes


@pytest.mark.parametrize("path", ["", "nowhere/", "instruments/x/y/"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_where_there_is_nothing_programs_are_told_so_in_json(db: None, path: str, method: str) -> None:
    answer = getattr(factories.client(factories.person()), method)(API + path)
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])
    assert f"There is nothing at {API}{path}" in answer.json()["detail"]
    assert getattr(Client(), method)(API + path).status_code == 401


def test_a_missing_slash_is_added(db: None) -> None:
    answer = factories.client(factories.person()).get(API + "latest?page_size=1")
    assert (answer.status_code, answer["location"]) == (301, API + "latest/?page_size=1")
