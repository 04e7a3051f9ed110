"""Which interface a path leads to, and who may ask it."""

from collections.abc import Mapping
from typing import Any

import pytest

from devices.models import AccessToken
from labsite.replaced.doors import found
from telemetry.models import ReplacedInterface
from tests.factories import client, instrument, person, token_client
from tests.labsite.replaced import lab

pytestmark = pytest.mark.django_db

CALIBRATION = {"content_type": "application/json"}


def close(**fields: Any) -> None:
    ReplacedInterface.objects.update(**{"open": False, **fields})


def test_an_interface_is_closed_unless_somebody_opened_it() -> None:
    ups = lab.ups()
    close()
    for path in ("", "api/telemetry", "api/health", "metrics", "nothing"):
        answer = lab.ask(ups, path)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert lab.ask("ups-rack-b", "metrics").status == 401, "nor does it tell what there is"


@pytest.mark.parametrize("scope", [AccessToken.Scope.READ, ""])
def test_a_token_reads_a_closed_one(scope: str) -> None:
    lab.ups()
    close()
    api = token_client(person("guest", staff=False), scope)
    assert api.get("/replaced/ups-rack-a/api/health").status_code == 200
    assert api.get("/replaced/ups-rack-b/api/health").status_code == 404


def test_a_session_reads_a_closed_one_and_another_scope_does_not() -> None:
    lab.ups()
    close()
    assert client(person("guest", staff=False)).get("/replaced/ups-rack-a/metrics").status_code == 200
    pushing = token_client(person(), AccessToken.Scope.PUSH)
    assert pushing.get("/replaced/ups-rack-a/metrics").status_code == 403


@pytest.mark.parametrize(
    ("is_open", "staff", "scope", "code"),
    [
        (True, None, None, 503),
        (True, False, "", 403),
        (True, True, "read", 403),
        (True, True, "write", 503),
        (False, None, None, 401),
        (False, False, "", 403),
        (False, True, "write", 503),
    ],
    ids=["open", "open, guest", "open, reading", "open, staff", "closed", "closed, guest", "closed, staff"],
)
def test_an_act_needs_the_permission_where_there_is_a_login(
    is_open: bool, staff: bool | None, scope: str | None, code: int
) -> None:
    q1 = lab.metatron()
    close(open=is_open)
    path = "api/control/start_calibration"
    if staff is None:
        assert lab.ask(q1, path, "POST", b"{}", **CALIBRATION).status == code
    else:
        api = token_client(person("who", staff=staff), scope or "")
        assert api.post(f"/replaced/q1/{path}", {}).status_code == code


def test_a_wrong_token_is_refused_at_an_open_one_too() -> None:
    assert lab.ask(lab.ups(), "metrics", authorization="Bearer 0123").status == 401


@pytest.mark.parametrize("changes", [{"enabled": False}, {"instrument__retired_at": True}], ids=str)
def test_what_is_switched_off_or_retired_does_not_answer(changes: Mapping[str, Any]) -> None:
    ups = lab.ups()
    if "enabled" in changes:
        close(enabled=False)
    else:
        type(ups).objects.update(retired_at=ups.created_at)
    answer = client(person()).get("/replaced/ups-rack-a/metrics")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})


def test_an_instrument_is_found_by_slug_and_by_id() -> None:
    ups = lab.ups()
    for word in ("ups-rack-a", "UPS-Rack-A", str(ups.pk), str(ups.pk).upper(), ups.pk.hex):
        assert lab.ask(word, "api/health").status == 200
    assert lab.ask("ups", "api/health").status == 401


def test_a_name_that_two_share_as_a_slug_is_nobodys() -> None:
    first = lab.ups()
    second = lab.answering(
        instrument("UPS (rack) A", driver="must_ep20", address="serial:///dev/ttyUSB1"), "ups"
    )
    assert found("ups-rack-a", "metrics")[0] is None
    for each in (first, second):
        interface, path = found(str(each.pk), "metrics")
        assert interface is not None
        assert (interface.instrument, path) == (each, "metrics")


def test_of_several_programs_the_one_that_knows_the_path_answers() -> None:
    bath = lab.thermostat()
    figure = {"channel": "ch0.temperature"}
    lab.answering(bath, "metatron", psi=figure, rho=figure, omega=figure)
    lab.says(bath, lab.BATH)
    assert "temperature_ch0" in lab.ask(bath, "report").text
    assert "psi" in lab.ask(bath, "api/status").text
    assert "psi" in lab.ask(bath, "metatron/api/status").text
    assert lab.ask(bath, "thermostat/api/status").text == '{"detail":"Not Found"}'


def test_whatever_a_client_takes_it_gets_the_one_form() -> None:
    answer = lab.ask(lab.ups(), "api/health", accept="text/html;q=0.9, image/png")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
