"""The push door: what a program brings is stored once, by the same steps as an edge's readings."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings, strategies as st
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle

from devices import services
from devices.models import PUSH_EDGE, AccessToken, Channel, Edge, Instrument, Latest
from devices.readings import Flag, Quality
from telemetry import pushed
from telemetry.models import Sample, SampleFar, VectorSample
from telemetry.roster import CHANNELS_MAX
from tests import factories
from tests.telemetry.factories import url

pytestmark = pytest.mark.django_db

URL = "/api/v1/readings/"
NOON = "2026-11-20T12:00:00Z"
NOON_MS = 1_795_176_000_000
STATEMENTS = 26  # of one push, however many readings; savepoints are statements too
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def forgetful_throttles() -> Iterator[None]:
    """Throttles count in the cache, which outlives a test."""
    cache.clear()
    yield
    cache.clear()


def source(name: str = "SCS", **fields: Any) -> Instrument:
    fields = {"driver": "push", **fields}
    return services.save_instrument(Instrument(name=name, **fields), by=services.OPERATOR)


@pytest.fixture
def scs() -> Instrument:
    return source()


@pytest.fixture
def api() -> APIClient:
    return factories.token_client(factories.person("program", staff=False), "push")


def push(api: APIClient, *readings: Row, to: str = "SCS") -> Any:
    return api.post(URL, {"instrument": to, "readings": list(readings)})


def one(value: object, seconds: float = 0, key: str = "psi", **more: Any) -> Row:
    return {"key": key, "time": NOON_MS + 1000 * seconds, "value": value, **more}


def stored(table: Any = Sample) -> list[tuple[str, float, float | str | None]]:
    """(key, seconds from noon, value or text)."""
    keys = dict(Channel.objects.values_list("pk", "key"))
    return [
        (
            keys[row.channel_id],
            round(row.time.timestamp() - NOON_MS / 1000, 6),
            row.value if row.text is None else row.text,
        )
        for row in table.objects.order_by("channel_id", "time")
    ]


def answered(answer: Any) -> tuple[int, int, int, int]:
    told = answer.json()
    return answer.status_code, told["stored"], told["known"], len(told["conflicts"])


# ---- what is stored


def test_readings_are_stored_shown_and_known_when_they_come_again(api: APIClient, scs: Instrument) -> None:
    readings = [
        one(0.9),
        {"key": "omega", "time": "2026-11-20T13:00:01.000001+01:00", "value": 7},
        one("Explore", key="mode", quality="uncertain"),
        one(True, key="ready"),
        one(None, 5, key="rho"),
    ]
    assert answered(push(api, *readings)) == (200, 5, 0, 0)
    assert answered(push(api, *readings, to=str(scs.pk))) == (200, 0, 5, 0)
    assert sorted(stored(), key=str) == sorted(
        [
            ("psi", 0, 0.9),
            ("omega", 1.000001, 7.0),
            ("mode", 0, "Explore"),
            ("ready", 0, 1.0),
            ("rho", 5, None),
        ],
        key=str,
    )
    assert dict(scs.channels.values_list("key", "kind")) == {
        "psi": "float", "omega": "float", "mode": "text", "ready": "bool", "rho": "float",
    }  # fmt: skip
    latest = {row.channel.key: row for row in Latest.objects.select_related("channel")}
    assert (latest["psi"].value, latest["psi"].quality) == (0.9, Flag.INSTRUMENT_TIME)
    assert (latest["mode"].text, latest["mode"].quality) == (
        "Explore",
        Flag.INSTRUMENT_TIME | Quality.UNCERTAIN,
    )
    assert latest["rho"].quality == Flag.INSTRUMENT_TIME | Quality.BAD


def test_a_reading_without_a_time_is_of_now(api: APIClient, scs: Instrument) -> None:
    before = timezone.now()
    push(api, {"key": "psi", "value": 1.0})
    sample = Sample.objects.get()
    assert before <= sample.time <= timezone.now()
    assert sample.quality == Quality.GOOD


def test_vectors_are_stored_once(api: APIClient, scs: Instrument) -> None:
    wells = {"key": "wells", "time": NOON, "values": [1.5, None, 3], "labels": ["A1", "A2", 'A"3']}
    assert answered(push(api, wells, wells)) == (200, 1, 1, 0)
    assert answered(push(api, wells)) == (200, 0, 1, 0)
    other = push(api, {**wells, "values": [1.5, None, 4]}, {**wells, "labels": None})
    assert answered(other) == (409, 0, 0, 2)
    row = VectorSample.objects.get()
    assert (row.values, row.labels) == ([1.5, None, 3.0], ["A1", "A2", 'A"3'])
    assert (Channel.objects.get().kind, Latest.objects.get().text) == ("vector", "3 values")


def test_another_value_of_the_same_time_is_refused_singly(api: APIClient, scs: Instrument) -> None:
    push(api, one(1.0), one("idle", key="mode"))
    answer = push(api, one(1.0), one(2.0), one("busy", key="mode"), one(3.0, 1), one(4.0, 1))
    assert answered(answer) == (409, 1, 1, 3)
    assert [
        (each["place"], each["key"], each["time"], each["stored"]) for each in answer.json()["conflicts"]
    ] == [
        ("readings[1]", "psi", NOON, 1.0),
        ("readings[2]", "mode", NOON, "idle"),
        ("readings[4]", "psi", "2026-11-20T12:00:01Z", 3.0),
    ]
    assert stored() == [("psi", 0, 1.0), ("psi", 1, 3.0), ("mode", 0, "idle")]


def test_several_instruments_in_one_request(api: APIClient, scs: Instrument) -> None:
    source("Second")
    body = [
        {"instrument": "SCS", "readings": [one(1.0), one(2.0, 1)]},
        {"instrument": "Second", "readings": [one(3.0)]},
        {"instrument": str(scs.pk), "readings": [one(9.0)]},
    ]
    answer = api.post(URL, body)
    assert answered(answer) == (409, 3, 0, 1)
    assert answer.json()["conflicts"][0]["place"] == "[2].readings[0]"
    assert stored() == [("psi", 0, 1.0), ("psi", 1, 2.0), ("psi", 0, 3.0)]


def test_a_channel_is_named_by_key_or_by_number(api: APIClient, scs: Instrument) -> None:
    push(api, one(1.0))
    channel = scs.channels.get()
    assert answered(push(api, {"channel": channel.pk, "time": NOON, "value": 1.0})) == (200, 0, 1, 0)
    elsewhere = source("Second")
    strange = push(api, {"channel": channel.pk, "value": 1.0}, to="Second")
    assert (strange.status_code, list(strange.json())) == (400, ["readings[0].channel"])
    assert not elsewhere.channels.exists()


def test_what_is_shown_does_not_go_back(api: APIClient, scs: Instrument) -> None:
    push(api, one(2.0, 60), one(1.0))
    push(api, one(1.5, 30))
    assert Latest.objects.get().value == 2.0
    push(api, one(3.0, 90))
    assert Latest.objects.get().value == 3.0


def test_a_time_that_cannot_be_right_is_flagged_and_stays_known(
    api: APIClient, scs: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = {"key": "psi", "time": (timezone.now() + timedelta(hours=1)).isoformat(), "value": 1.0}
    assert answered(push(api, ahead)) == (200, 1, 0, 0)
    assert SampleFar.objects.get().quality == Flag.FAR | Flag.INSTRUMENT_TIME
    later = timezone.now() + timedelta(hours=2)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert answered(push(api, ahead)) == (200, 0, 1, 0)
    push(api, one(2.0))
    assert Latest.objects.get().value == 2.0
    assert not Sample.objects.filter(time__gt=timezone.now()).exists()


def test_old_readings_get_partitions(api: APIClient, scs: Instrument) -> None:
    readings = [one(float(day), -86_400 * day) for day in (0, 40, 80)]
    assert answered(push(api, *readings)) == (200, 3, 0, 0)
    assert len(stored()) == 3


# ---- what is refused whole

WRONG: dict[str, tuple[Any, str]] = {
    "no object": (7, "instrument"),
    "no instrument": ({"readings": []}, "instrument"),
    "unknown instrument": ({"instrument": "nobody", "readings": []}, "instrument"),
    "polled instrument": ({"instrument": "Bath 1", "readings": []}, "instrument"),
    "no readings": ({"instrument": "SCS"}, "readings"),
    "readings no list": ({"instrument": "SCS", "readings": {}}, "readings"),
    "a field too many": ({"instrument": "SCS", "readings": [], "reading": 1}, "reading"),
    "in a list": ([{"instrument": "SCS", "readings": []}, {"instrument": "SCS"}], "[1].readings"),
    "too many": ({"instrument": "SCS", "readings": [one(1.0)] * 10_001}, "readings"),
}
WRONG_READINGS: dict[str, tuple[Any, str]] = {
    "no object": (1.0, "value"),
    "no value": ({"key": "psi"}, "value"),
    "value a list": (one([1.0]), "value"),
    "huge value": (one(10**400), "value"),
    "a text with NUL": (one("a\0b"), "value"),
    "half a surrogate": (one("\ud800"), "value"),
    "a long text": (one("x" * 4001), "value"),
    "a good nothing": (one(None, quality="good"), "quality"),
    "no such quality": (one(1.0, quality="best"), "quality"),
    "a quality of a number": (one(1.0, quality=0), "quality"),
    "no key": ({"value": 1.0}, "key"),
    "key and channel": (one(1.0, channel=1), "key"),
    "key a number": (one(1.0, key=7), "key"),  # type: ignore[arg-type]
    "a long key": (one(1.0, key="x" * 101), "key"),
    "an unprintable key": (one(1.0, key="a\nb"), "key"),
    "channel a text": ({"channel": "1", "value": 1.0}, "channel"),
    "channel true": ({"channel": True, "value": 1.0}, "channel"),
    "no time": ({"key": "psi", "time": "yesterday", "value": 1.0}, "time"),
    "time a list": ({"key": "psi", "time": [], "value": 1.0}, "time"),
    "time true": ({"key": "psi", "time": True, "value": 1.0}, "time"),
    "before all times": ({"key": "psi", "time": -1, "value": 1.0}, "time"),
    "after all times": ({"key": "psi", "time": 1e300, "value": 1.0}, "time"),
    "the year 1": ({"key": "psi", "time": "0001-01-01T00:00:00+14:00", "value": 1.0}, "time"),
    "value and values": (one(1.0, values=[1.0]), "values"),
    "values no list": ({"key": "w", "values": 1.0}, "values"),
    "a text in values": ({"key": "w", "values": [1.0, "2"]}, "values[1]"),
    "labels of a value": (one(1.0, labels=["A1"]), "labels"),
    "labels of other length": ({"key": "w", "values": [1.0], "labels": []}, "labels"),
    "a label of a number": ({"key": "w", "values": [1.0], "labels": [1]}, "labels[0]"),
    "a field too many": (one(1.0, vlaue=2.0), "vlaue"),
}


@pytest.mark.parametrize(("body", "place"), WRONG.values(), ids=WRONG)
def test_a_request_without_form_names_what_is_wrong(
    api: APIClient, scs: Instrument, body: Any, place: str
) -> None:
    factories.instrument("Bath 1")
    answer = api.post(URL, body)
    assert (answer.status_code, list(answer.json())) == (400, [place])


@pytest.mark.parametrize(("wrong", "field"), WRONG_READINGS.values(), ids=WRONG_READINGS)
def test_one_wrong_reading_refuses_all_and_is_named(
    api: APIClient, scs: Instrument, wrong: Any, field: str
) -> None:
    body = json.dumps({"instrument": "SCS", "readings": [one(1.0), wrong, one(2.0, 1)]})
    answer = api.generic("POST", URL, body, content_type="application/json")
    assert (answer.status_code, list(answer.json())) == (400, [f"readings[1].{field}"])
    assert not Sample.objects.exists()
    assert not Channel.objects.exists()


def test_no_more_than_some_faults_are_told(api: APIClient, scs: Instrument) -> None:
    assert len(push(api, *[one([])] * 100).json()) == pushed.FAULTS_MAX


def test_too_many_numbers_in_vectors_are_refused(
    api: APIClient, scs: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushed, "NUMBERS_MAX", 3)
    answer = push(api, *[{"key": "w", "values": [1.0, 2.0]}] * 2)
    assert (answer.status_code, list(answer.json())) == (400, ["readings"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 400),
        (b'{"instrument": "SCS", "readings": [{"key": "psi", "value": NaN}]}', 400),
        (b"[" * 100_000, 400),
        (b'"' + b"x" * 8_000_000 + b'"', 413),
        (b"\xff", 400),
    ],
    ids=["cut short", "NaN", "nested", "too large", "no UTF-8"],
)
def test_what_is_no_usable_json_is_refused(api: APIClient, scs: Instrument, body: bytes, code: int) -> None:
    answer = api.generic("POST", URL, body, content_type="application/json")  # type: ignore[arg-type]
    assert answer.status_code == code


def test_an_instrument_has_room_for_so_many_channels(api: APIClient, scs: Instrument) -> None:
    Channel.objects.bulk_create(
        Channel(instrument=scs, key=f"k{number}", label="k") for number in range(CHANNELS_MAX)
    )
    for wrong in ({"key": "new", "value": 1.0}, {"key": "new", "values": [1.0]}):
        answer = push(api, one(1.0, key="k1"), wrong)
        assert (answer.status_code, list(answer.json())) == (400, ["readings[1].key"])
    assert not Sample.objects.exists()
    assert push(api, one(1.0, key="k1")).status_code == 200


def test_what_was_polled_before_is_pushed_from_its_move_on(api: APIClient) -> None:
    bath = factories.instrument("Bath 1")
    bath.driver, bath.options = "push", {}
    services.save_instrument(bath, by=services.OPERATOR)
    assert bath.edge.name == PUSH_EDGE
    early = push(api, one(1.0, -86_400 * 3), to="Bath 1")
    assert (early.status_code, list(early.json())) == (400, ["readings[0].key"])
    assert push(api, {"key": "psi", "value": 1.0}, to="Bath 1").status_code == 200


def test_an_instrument_out_of_service_takes_nothing(api: APIClient) -> None:
    source(in_service=False)
    answer = push(api, one(1.0))
    assert answer.status_code == 409
    assert "out of service" in answer.json()["detail"]
    assert not Sample.objects.exists()


# ---- who may


@pytest.mark.parametrize(
    ("scope", "staff", "code"),
    [("push", False, 200), ("push", True, 200), ("read", True, 403), ("write", True, 200), ("", False, 403)],
)
def test_pushing_needs_its_scope_or_staff(scs: Instrument, scope: str, staff: bool, code: int) -> None:
    api = factories.token_client(factories.person(staff=staff), scope)
    assert push(api, one(1.0)).status_code == code
    assert push(APIClient(), one(1.0)).status_code == 401


def limited(*words: str) -> APIClient:
    said: list[str] = []
    user = factories.person("program", staff=False)

    class Said:
        def write(self, text: str, *_: object) -> None:
            said.append(text)

        def flush(self) -> None:
            pass

    call_command("create_token", user.username, *words, stdout=Said(), stderr=Said())
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {said[-1].strip()}")
    return api


def test_a_token_may_be_for_some_instruments_only(scs: Instrument) -> None:
    source("Second")
    source("Third")
    api = limited("--scope", "push", "--instrument", "SCS", "--instrument", "Second")
    assert push(api, one(1.0)).status_code == 200
    both = [{"instrument": name, "readings": [one(2.0)]} for name in ("Second", "Third")]
    answer = api.post(URL, both)
    assert answer.status_code == 403
    assert "Third" in answer.json()["detail"]
    assert len(stored()) == 1


def test_a_token_for_instruments_that_are_gone_is_for_none(scs: Instrument) -> None:
    api = limited("--scope", "push", "--instrument", "SCS")
    source("Second")
    Instrument.objects.filter(pk=scs.pk).delete()
    assert push(api, one(1.0), to="Second").status_code == 403


@pytest.mark.parametrize(
    "words",
    [("--instrument", "SCS"), ("--scope", "push", "--instrument", "nobody")],
    ids=["no push", "no such instrument"],
)
def test_a_token_that_makes_no_sense_is_not_made(scs: Instrument, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        limited(*words)
    assert not AccessToken.objects.exists()


def test_pushes_are_throttled(api: APIClient, scs: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimpleRateThrottle, "timer", lambda _: 0.0)  # all within one second
    codes = [push(api).status_code for _ in range(25)]
    assert set(codes) == {200, 429}


# ---- cost and company


def test_a_push_costs_no_statement_for_each_reading(
    api: APIClient, scs: Instrument, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for start, statements in ((0, STATEMENTS + 15), (300, STATEMENTS)):  # the first makes channels
        readings = [one(float(n), n, key=f"k{n % 7}") for n in range(start, start + 300)]
        with django_assert_max_num_queries(statements):
            push(api, *readings)
    assert len(stored()) == 600


def test_pages_hear_of_what_is_new(transactional_db: None) -> None:
    source()
    api = factories.token_client(factories.person(), "push")
    with psycopg.connect(url(), autocommit=True) as listener:
        listener.execute("LISTEN labsite_live")
        for value in (1.0, 1.0, 2.0):
            push(api, one(value))
        push(api, one(3.0, 1))
        heard = [notice.payload for notice in listener.notifies(timeout=5, stop_after=2)]
        heard += [notice.payload for notice in listener.notifies(timeout=0)]
    assert heard == [str(Edge.objects.get(name=PUSH_EDGE).pk)] * 2


def test_two_who_push_at_once_store_each_reading_once(transactional_db: None) -> None:
    source()
    source("Second")
    user = factories.person()
    readings = [one(float(number), number, key=f"k{number % 3}") for number in range(40)]

    def work(seed: int) -> int:
        try:
            mine = random.Random(seed).sample(readings, len(readings))
            names = ["SCS", "Second"] if seed % 2 else ["Second", "SCS"]
            api = factories.token_client(user, "push")
            answers = [
                api.post(URL, [{"instrument": name, "readings": mine[start : start + 10]} for name in names])
                for start in range(0, 40, 10)
            ]
            assert {answer.status_code for answer in answers} == {200}
            return sum(answer.json()["stored"] for answer in answers)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(work, range(4)))
    assert sum(counts) == len(stored()) == 80


READINGS = st.lists(
    st.builds(
        lambda key, second, value: one(value, second, key=key),
        st.sampled_from("ab"),
        st.integers(-3, 3),
        st.sampled_from([1.0, 2, "x", None, True]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(readings=READINGS, random_=st.randoms(use_true_random=False))
def test_of_each_channel_and_time_the_first_value_stands(readings: list[Row], random_: random.Random) -> None:
    cache.clear()
    with transaction.atomic():
        source()
        api = factories.token_client(factories.person(), "push")
        first: dict[tuple[str, int], Any] = {}
        for reading in readings:
            value = reading["value"]
            first.setdefault(
                (reading["key"], reading["time"]), float(value) if isinstance(value, bool) else value
            )
        counted = [0, 0]
        rest = readings
        while rest:
            size = random_.randint(1, 4)
            told = push(api, *rest[:size]).json()
            counted = [counted[0] + told["stored"], counted[1] + told["known"] + len(told["conflicts"])]
            rest = rest[size:]
        assert counted == [len(first), len(readings) - len(first)]
        found = {(key, NOON_MS + 1000 * seconds): value for key, seconds, value in stored()}
        assert found == first
        transaction.set_rollback(True)
