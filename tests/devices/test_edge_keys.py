"""Edge keys, and the command that enrols an edge."""

import logging
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from devices import edge_keys, services
from devices.models import Edge
from tests import factories

OPENSSL = "bac49435e027ab3520b1f7b9ed891fc9dde316c498dd71ebe84ffea3e56e961e"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    edge_keys.forget()


def test_the_key_is_hkdf_of_name_and_version(settings: Settings) -> None:
    settings.EDGE_MASTER_KEY = bytes(32)
    edge_keys.derive.cache_clear()
    # Made with `openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:00… -kdfopt info:… HKDF`.
    assert edge_keys.derive("nina", 1).hex() == OPENSSL
    edge_keys.derive.cache_clear()


def test_keys_differ_by_edge_and_version() -> None:
    keys = {edge_keys.derive(name, version) for name in ("nina", "emil") for version in (1, 2)}
    assert len(keys) == 4


@pytest.mark.parametrize(("version", "taken"), [(1, False), (2, True), (3, True), (4, False), (0, False)])
def test_the_current_key_and_the_one_before_are_taken(version: int, taken: bool) -> None:
    Edge.objects.create(name="nina", key_version=3)
    assert (edge_keys.key_of("nina", version) is not None) is taken


def test_an_unknown_or_retired_edge_has_no_key() -> None:
    edge = factories.edge("nina")
    assert edge_keys.key_of("nobody", 1) is None
    assert edge_keys.key_of("nina", 1) is not None
    services.retire_edge(edge, services.OPERATOR)
    edge_keys.forget()
    assert edge_keys.key_of("nina", 1) is None


def test_a_retired_edge_comes_back_with_another_key() -> None:
    services.retire_edge(factories.edge("nina"), services.OPERATOR)
    factories.edge("nina")
    edge_keys.forget()
    assert edge_keys.key_of("nina", 1) is None
    assert edge_keys.key_of("nina", 3) is not None


def enrol(*arguments: str) -> str:
    out = StringIO()
    call_command("enrol_edge", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_enrolling_prints_what_starts_the_edge(settings: Settings) -> None:
    lines = enrol("nina").splitlines()
    assert "export LABSITE_EDGE=nina" in lines
    assert f"export LABSITE_BROKER_URL={settings.BROKER_URL_FOR_EDGES}" in lines
    assert f"export LABSITE_EDGE_KEY=1:{edge_keys.derive('nina', 1).hex()}" in lines
    assert lines[-1] == "python -m devices.edge"
    assert enrol("nina").splitlines() == lines


def test_the_broker_is_named_as_other_hosts_reach_it(settings: Settings) -> None:
    settings.BROKER_URL_FOR_EDGES = "redis://:word@192.168.1.5:16379/0"
    assert "export LABSITE_BROKER_URL=redis://:word@192.168.1.5:16379/0" in enrol("nina").splitlines()


def test_rotation_counts_the_key_version_up_and_logs_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    enrol("nina")
    assert f"2:{edge_keys.derive('nina', 2).hex()}" in enrol("nina", "--rotate")
    for version in (1, 2):
        assert edge_keys.derive("nina", version).hex() not in caplog.text


def test_a_name_that_cannot_be_used_is_said_in_one_line() -> None:
    with pytest.raises(CommandError, match="letters a–z"):
        enrol("Nina!")
