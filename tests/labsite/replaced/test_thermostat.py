"""The thermostat logger's interface: which rows, how they are streamed, and a poll at once."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from devices import edge_keys, trials
from devices.models import Instrument
from labsite.pulse import Pulse, pulse
from labsite.replaced import stored
from labsite.replaced.thermostat_rows import COLUMNS, FIELDS
from tests.devices.test_trial_api import AnsweringEdge, tried
from tests.factories import person, token_client
from tests.labsite.replaced import lab
from tests.telemetry.factories import NOW, NOW_US

NOW_MS = NOW_US // 1000
SEED = (
    "temperature", "i_tec", "pid_output", "adc", "sens", "i_set", "dac_value", "dac_feedback", "tec_i",
    "tec_u_meas", "pid_engaged", "current_swapped", "interval",
)  # fmt: skip


@pytest.fixture
def bath(db: None, monkeypatch: pytest.MonkeyPatch) -> Instrument:
    """Two rows of the last ten minutes, one that is older."""
    lab.is_now(monkeypatch)
    made = lab.thermostat()
    for seconds, shift in ((-700.0, 0.0), (-60.0, 1.0), (-1.0, 2.0)):
        lab.says(made, lab.BATH | {"ch0.temperature": 20.0 + shift}, seconds)
    return made


def rows(bath: Instrument, query: str = "") -> list[dict[str, Any]]:
    answer = lab.ask(bath, f"series{query}")
    assert answer.status == 200
    found: list[dict[str, Any]] = json.loads(answer.body)
    return found


def test_there_are_28_columns_in_the_loggers_order(bath: Instrument) -> None:
    assert FIELDS == SEED
    header = next(csv.reader(io.StringIO(lab.ask(bath, "data.csv").text)))
    pairs = [f"{field}_ch{number}" for field in SEED for number in (0, 1)]
    assert (len(header), header) == (28, ["time", "ts", *pairs])
    assert list(rows(bath)[0])[:28] == header


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [21.0, 22.0]),
        (f"?from={NOW_MS - 700_000}", [20.0, 21.0, 22.0]),
        (f"?from={NOW_MS - 699_999}", [21.0, 22.0]),
        (f"?to={NOW_MS - 60_000}", [21.0]),
        (f"?to={NOW_MS - 60_001}", []),
        (f"?from={NOW_MS - 60_000}&to={NOW_MS - 60_000}", [21.0]),
        ("?from=0&to=99999999999999999999", [20.0, 21.0, 22.0]),
        ("?from=-5", [20.0, 21.0, 22.0]),
        (f"?from={NOW_MS}&to=0", []),
    ],
)
def test_rows_from_one_time_to_another_both_belonging_to_it(
    bath: Instrument, query: str, found: list[float]
) -> None:
    assert [row["temperature_ch0"] for row in rows(bath, query)] == found


def test_the_whole_file_and_a_part_of_it(bath: Instrument) -> None:
    def lines(query: str) -> int:
        return lab.ask(bath, f"data.csv{query}").text.count("\n")

    assert (lines(""), lines(f"?from={NOW_MS - 60_000}"), lines("?to=0")) == (4, 3, 1)


@pytest.mark.parametrize("name", ["from", "to"])
def test_what_is_no_number_is_refused_as_fastapi_does(bath: Instrument, name: str) -> None:
    answer = lab.ask(bath, f"series?{name}=yesterday")
    (problem,) = json.loads(answer.body)["detail"]
    assert (answer.status, problem["type"], problem["loc"]) == (422, "int_parsing", ["query", name])


def test_grafana_reads_the_rows_by_their_time(bath: Instrument) -> None:
    """As the Infinity source does: an array of objects, one column of it ms since 1970, others numbers."""
    for row in rows(bath, "?from=0"):
        moment = datetime.fromtimestamp(row["ts"] / 1000, UTC)
        assert moment == datetime.fromisoformat(row["time"]).replace(microsecond=moment.microsecond)
        assert isinstance(row["temperature_ch0"], float)
        assert isinstance(row["pid_engaged_ch0"], bool)


def test_many_rows_come_in_windows(bath: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more of them in memory than one window has."""
    monkeypatch.setattr(stored, "WINDOW", 60)
    times = [-4_000.0 + second for second in range(3_000)]
    lab.says_often(bath, {"ch0.temperature": 25.0, "ch1.temperature": 26.0}, times[:2_000])
    lab.says_often(bath, {"ch0.temperature": 25.0, "ch1.temperature": 26.0}, times[2_000:])
    sizes = [len(found) for found in stored.windows(bath, datetime(1970, 1, 1, tzinfo=UTC), NOW)]
    assert (sum(sizes), max(sizes)) == (3_003, 60)
    assert len(rows(bath, "?from=0")) == lab.ask(bath, "data.csv").text.count("\n") - 1 == 3_003


def test_nothing_stored_is_an_empty_array_and_a_header_alone(db: None) -> None:
    bath = lab.thermostat()
    assert lab.ask(bath, "series").body == b"[]"
    assert lab.ask(bath, "data.csv").text.count("\n") == 1
    answer = lab.ask(bath, "report")
    assert (answer.status, json.loads(answer.body)) == (503, {"detail": "nothing was read of Bath 1 yet"})


def test_what_cannot_be_read_any_more_keeps_its_last_row(bath: Instrument) -> None:
    before = lab.ask(bath, "report").body
    lab.says(bath, dict.fromkeys(lab.BATH), -0.5)
    assert lab.ask(bath, "report").body == before
    assert len(rows(bath)) == 2


def test_an_unplugged_sensor_is_null_beside_the_others(bath: Instrument) -> None:
    lab.says(bath, lab.UNPLUGGED, -0.5)
    told = json.loads(lab.ask(bath, "report").body)
    assert (told["temperature_ch0"], told["sens_ch0"], told["temperature_ch1"]) == (None, None, 25.0)


@pytest.mark.parametrize(
    ("method", "path", "code", "words"),
    [
        ("GET", "x", 404, "Not Found"),
        ("POST", "report", 405, "Method Not Allowed"),
        ("GET", "save_once", 405, ""),
    ],
)
def test_what_it_did_not_know(bath: Instrument, method: str, path: str, code: int, words: str) -> None:
    answer = lab.ask(bath, path, method)
    assert answer.status == code
    assert words in json.loads(answer.body)["detail"]


def test_a_row_is_read_with_few_questions(bath: Instrument, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(4):
        lab.ask(bath, "report")


# ---- /save_once


@pytest.fixture
def polled(broker: str, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringEdge]:
    """A thermostat whose edge answers polls."""
    edge_keys.forget()
    pulse.__dict__ |= Pulse().__dict__
    monkeypatch.setattr(trials, "ANSWER_WITHIN_S", 2.0)
    lab.thermostat()
    edge = AnsweringEdge(broker)
    yield edge
    edge.close()


def test_a_poll_at_once_answers_with_what_was_read(polled: AnsweringEdge) -> None:
    answer = lab.ask("bath-1", "save_once", "POST")
    row = json.loads(answer.body)
    assert (answer.status, row["temperature_ch0"], row["temperature_ch1"]) == (200, 21.5, None)
    assert list(row)[2:] == list(COLUMNS)
    assert len(polled.asked) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM samples")
        assert cursor.fetchone() == (0,), "the instrument's own polls are what is stored"


def test_a_poll_that_finds_the_instrument_away_says_so(polled: AnsweringEdge) -> None:
    polled.reply = lambda poll: tried(poll, "tcp://192.168.1.26:23: connection refused")
    answer = lab.ask("bath-1", "save_once", "POST")
    assert (answer.status, json.loads(answer.body)["detail"]) == (
        502,
        "tcp://192.168.1.26:23: connection refused",
    )


def test_a_poll_that_the_edge_does_not_answer_ends_in_time(polled: AnsweringEdge) -> None:
    polled.reply = lambda poll: None
    answer = lab.ask("bath-1", "save_once", "POST")
    assert answer.status == 504
    assert json.loads(answer.body)["detail"].startswith("Edge local did not answer within 2 s")


def test_only_staff_polls_where_there_is_a_login(polled: AnsweringEdge) -> None:
    url = "/replaced/bath-1/save_once"
    assert token_client(person("guest", staff=False)).post(url).status_code == 403
    assert token_client(person()).post(url).status_code == 200


def test_what_is_out_of_service_is_left_alone(polled: AnsweringEdge) -> None:
    Instrument.objects.update(in_service=False)
    answer = lab.ask("bath-1", "save_once", "POST")
    assert (answer.status, json.loads(answer.body)["detail"]) == (409, "Bath 1 is out of service")
    assert polled.asked == []
