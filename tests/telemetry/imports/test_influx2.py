"""InfluxDB 2, by its own client, from a server that speaks annotated CSV as it does."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from devices.models import Channel, Instrument
from telemetry.imports.base import Unreadable
from telemetry.imports.influx1 import Asked
from telemetry.imports.influx2 import Flux
from telemetry.imports.schemas import SCHEMAS
from telemetry.models import AnySample
from tests.telemetry.factories import edge, instrument

pytestmark = pytest.mark.django_db

START = timezone.now().replace(microsecond=0) - timedelta(hours=3)
POINTS = 2_000


def table(number: int, kind: str, field: str, rows: list[tuple[str, str]], **tags: str) -> str:
    """One table of an answer, as InfluxDB 2 writes it (CRLF, three lines of annotations)."""
    names = list(tags)
    head = [
        f"#datatype,string,long,dateTime:RFC3339,{kind},string,string{',string' * len(names)}",
        f"#group,false,false,false,false,true,true{',true' * len(names)}",
        f"#default,_result,,,,,{',' * len(names)}",
        ",".join(["", "result", "table", "_time", "_value", "_field", "_measurement", *names]),
    ]
    body = [
        ",".join(["", "", str(number), time, value, field, "temperature", *tags.values()])
        for time, value in rows
    ]
    return "\r\n".join([*head, *body]) + "\r\n\r\n"


def rfc(seconds: float) -> str:
    moment = START + timedelta(seconds=seconds)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"  # to the ns


class Bucket:
    """Answers /api/v2/query; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.status, self.pieces = 200, [b""]
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.asked.append(json.loads(body))
                owner.tokens.append(self.headers["Authorization"])
                self.send_response(owner.status)
                is_well = owner.status == 200
                self.send_header("Content-Type", "text/csv" if is_well else "application/json")
                self.end_headers()
                for piece in owner.pieces:
                    self.wfile.write(piece)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket()
    zone = table(
        0,
        "double",
        "sample",
        [(rfc(n), str(n)) for n in range(POINTS)],
        loc="zones",
        machine="qpcr1",
        zone="0",
    )
    others = table(1, "double", "heatsink", [(rfc(0), "35.7")], loc="heatsink", machine="qpcr1")
    others += table(2, "string", "note", [(rfc(0), "hello")], loc="heatsink", machine="qpcr1")
    made.pieces = [zone.encode(), others.encode()]
    yield made
    made.close()


@pytest.fixture
def qpcr(monkeypatch: pytest.MonkeyPatch) -> Instrument:
    monkeypatch.setenv("LABSITE_SECRET_INFLUX", "the-token")
    made = instrument(edge(), "qPCR", keys=[])
    Instrument.objects.filter(pk=made.pk).update(driver="quantstudio")
    return made


def words(bucket: Bucket, *more: str) -> list[str]:
    of = ["--bucket", "my ${bucket}", "--org", "lab", "--token", "INFLUX", "--instrument", "qPCR"]
    return ["import_history", "influx2", bucket.url, *of, "--schema", "qs-monitor", *more]


def test_the_qpcr_monitors_points(
    bucket: Bucket, qpcr: Instrument, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command(*words(bucket, "--tag", "machine=qpcr1", "--from", "2026-11-01"))
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"taken: {POINTS + 1}")
    assert told[-1] == "fields left out: temperature.note"
    sample = Channel.objects.get(instrument=qpcr, key="sample.1")
    assert AnySample.objects.filter(channel_id=sample.pk).count() == POINTS
    assert AnySample.objects.filter(channel_id=sample.pk).earliest("time").time == START
    (question,) = (each["query"] for each in bucket.asked)
    assert question == (
        'from(bucket: "my \\${bucket}")\n'
        "  |> range(start: 2026-11-01T00:00:00.000000Z)\n"
        '  |> filter(fn: (r) => r._measurement == "temperature" or r._measurement == "run_time" or '
        'r._measurement == "lamp" or r._measurement == "run_status")\n'
        '  |> filter(fn: (r) => r["machine"] == "qpcr1")'
    )
    assert bucket.tokens == ["Token the-token"]
    call_command(*words(bucket))
    assert capsys.readouterr().out.splitlines()[:2] == ["taken: 0", f"known: {POINTS + 1}"]


def test_what_the_server_refuses(bucket: Bucket, qpcr: Instrument) -> None:
    bucket.status, bucket.pieces = 401, [b'{"code":"unauthorized","message":"unauthorized access"}']
    with pytest.raises(CommandError, match="401 unauthorized access") as told:
        call_command(*words(bucket))
    assert "the-token" not in str(told.value)


def test_an_answer_that_ends_in_an_error(bucket: Bucket, qpcr: Instrument) -> None:
    """InfluxDB tells in the middle of the answer, with status 200, that it gives up."""
    error = (
        "#datatype,string,string",
        "#group,true,true",
        "#default,,",
        ",error,reference",
        ",out of memory,8",
    )
    bucket.pieces.append("\r\n".join(error).encode() + b"\r\n")
    with pytest.raises(CommandError, match="out of memory"):
        call_command(*words(bucket))
    assert AnySample.objects.count() == POINTS + 1, "what came before is taken"


def test_a_server_that_is_not_there(qpcr: Instrument) -> None:
    asked = Asked("http://127.0.0.1:9", "b", SCHEMAS["qs-monitor"], end=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(Unreadable, match=r"^http://127.0.0.1:9: "):
        list(Flux(asked, "lab", "token").points())
