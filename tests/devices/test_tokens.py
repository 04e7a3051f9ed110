"""Bearer tokens: made by a command, stored hashed, held to their scope."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from devices.models import AccessToken
from tests import factories

pytestmark = pytest.mark.django_db

URL = "/api/v1/instruments/"


def made(*words: str) -> str:
    out = StringIO()
    call_command("create_token", *words, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def bearer(text: str) -> APIClient:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return api


def test_the_command_prints_a_token_that_works_and_is_stored_hashed() -> None:
    user = factories.person()
    text = made(user.username, "--days", "7")
    (token,) = AccessToken.objects.all()
    assert text not in (token.digest, token.token_key)
    assert token.expiry is not None
    assert timedelta(days=6) < token.expiry - timezone.now() < timedelta(days=8)
    assert text[:15] not in str(token)
    assert token.digest not in str(token)
    assert bearer(text).get(URL).status_code == 200


@pytest.mark.parametrize(
    "words", [("nobody",), ("staff", "--days", "0"), ("staff", "--scope", "all"), ("off",)]
)
def test_what_cannot_be_made_is_said(words: tuple[str, ...]) -> None:
    factories.person()
    off = factories.person("off")
    off.is_active = False
    off.save()
    with pytest.raises(CommandError):
        made(*words)
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize(
    ("scope", "staff", "reads", "writes"),
    [
        ("", True, 200, 201),
        ("write", True, 200, 201),
        ("read", True, 200, 403),
        ("push", True, 403, 403),
        ("", False, 200, 403),
        ("write", False, 200, 403),
        ("read", False, 200, 403),
    ],
)
def test_a_token_does_no_more_than_its_scope_and_its_user_may(
    scope: str, staff: bool, reads: int, writes: int
) -> None:
    factories.edge()
    api = factories.token_client(factories.person(staff=staff), scope)
    assert api.get(URL).status_code == reads
    bath = {"name": "Bath 1", "driver": "thermostat", "address": factories.ADDRESS}
    assert api.post(URL, bath).status_code == writes


def test_a_token_ends() -> None:
    api = factories.token_client(factories.person(), expiry=timedelta(seconds=-1))
    answer = api.get(URL)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_token_of_somebody_who_left_is_refused() -> None:
    user = factories.person()
    api = factories.token_client(user)
    user.is_active = False
    user.save()
    assert api.get(URL).status_code == 401


@pytest.mark.parametrize("text", ["", "wrong", "two words", "\xff"])
def test_what_is_no_token_is_refused(text: str) -> None:
    assert bearer(text).get(URL).status_code == 401
