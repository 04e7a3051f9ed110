"""A sink is filled from PostgreSQL: the same points as if it had been fed, however often, with an end."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.utils import timezone

from devices.errors import Refused
from devices.models import Channel, Instrument, Run
from devices.services import OPERATOR
from devices.wire import Batch, EventRow, RunRow, VectorRow
from labsite import pipeline
from telemetry import outbox
from telemetry.models import SetAside, Sink
from telemetry.outbox import Position
from telemetry.sinks import editing, rebuild
from telemetry.sinks.drain import Drain
from tests.telemetry import factories
from tests.telemetry.factories import new_spool, parcel
from tests.telemetry.sinks.factories import now_us, sink, stored
from tests.telemetry.sinks.servers import Answer, Scripted, each

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3_600_000_000


@pytest.fixture
def bath() -> Instrument:
    made = factories.instrument(factories.edge())
    Channel.objects.create(instrument=made, key="wells", label="wells", kind="vector")
    return made


def everything(of: Instrument) -> None:
    """Readings of two days, texts, a vector, events of one time, a run."""
    now = now_us()
    for day in range(2):
        stored(of, "a", [1.5, None, 2.25], since=now - day * 24 * HOUR - HOUR)
    more = Batch(
        instruments=[str(of.pk)],
        keysets=[["b"]],
        rows=[0, 0, now - 5_000_000],
        values=[None],
        texts={"0": 'say "x", \\ y'},
        labels=[["A1", 'B "2"']],
        vectors=[VectorRow(0, "wells", now - 4_000_000, [0.5, None], labels=0)],
        events=[
            EventRow(0, now - 3_000_000, "log", "first line\nsecond", {"b": 1, "a": ["ü"]}),
            EventRow(0, now - 3_000_000, "log", "another", {}),
        ],
        runs=[RunRow(0, now - 2_000_000, "r1", "qpcr", "running", "My run", 0.5, now - 9_000_000)],
    )
    outcome = pipeline.ingest(of.edge, parcel(more, spool=new_spool()), timezone.now())
    assert not outcome.rejected


def fed(of: Sink) -> None:
    drain = Drain(of.pk)
    while (following := drain.step(timezone.now())) and (following.at_once or following.at):
        pass
    drain.close()


def command(*words: str) -> str:
    out = StringIO()
    call_command("rebuild_sink", *words, stdout=out)
    return out.getvalue()


def test_it_gives_the_points_that_feeding_gave(bath: Instrument) -> None:
    with Scripted(each(Answer(204))) as server:
        copy = sink(server.url)
        everything(bath)
        fed(copy)
        first, server.taken = server.taken, []
        assert len(first) == 6 + 1 + 2 + 2 + 1
        assert "12 points written, 0 refused" in command("copy")
        assert sorted(server.taken) == sorted(first)
        server.taken = []
        command("copy", "--from=-2h")
        assert len(server.taken) == 12 - 3
        copy.refresh_from_db()
        assert copy.rebuild == {}
        assert not copy.must_rebuild


def test_what_is_stored_while_it_is_filled_comes_from_the_outbox(bath: Instrument) -> None:
    """A sink that has lost its place: from the moment the filling begins, nothing is missed."""
    during: list[str] = []

    def script(lines: list[str], headers: dict[str, str]) -> Answer:
        if not during:
            during.append("once")
            stored(bath, "b", [7.0])  # in the midst of it
        return Answer(204)

    with Scripted(script) as server:
        copy = sink(server.url)
        stored(bath, "a", [1.0])
        (row,) = outbox.following(Position(0, 0), 10, 10**6)
        Sink.objects.update(at_xid=0, at_id=0)
        outbox.raise_floor(row.position, timezone.now())
        assert Drain(copy.pk).step(timezone.now()) is None
        copy.refresh_from_db()
        assert copy.must_rebuild
        assert "rebuild_sink copy" in copy.error
        with pytest.raises(CommandError, match="more is missing"):
            command("copy", "--from=-1m")
        server.taken.clear()
        during.clear()
        command("copy")
        rebuilt = Sink.objects.get()
        assert (rebuilt.must_rebuild, rebuilt.error) == (False, "")
        fed(copy)
        assert {line.split("value=")[1].split(" ")[0] for line in server.taken} == {"1", "7"}


def test_interrupted_it_goes_on_where_it_was(bath: Instrument) -> None:
    other = factories.instrument(bath.edge, "second")
    with Scripted(each(Answer(204))) as server:
        copy = sink(server.url, alert_threshold=2, batch_size=2)
        now = now_us()
        for of in (bath, other):
            for day in range(3):
                stored(of, "a", [float(day)], since=now - day * 24 * HOUR - HOUR)
        writes = iter([Answer(204), Answer(204), Answer(503)])
        server.script = lambda lines, headers: next(writes, Answer(503))
        told: list[Any] = []
        filling = rebuild.Rebuild(copy, told.append, told.append)
        with pytest.raises(Refused, match="run it again to go on"):
            filling.fill(None, None)
        copy.refresh_from_db()
        assert copy.rebuild["are_readings_done"] is False
        assert len(server.taken) == 2
        assert any(isinstance(each, float) and each >= 1 for each in told)  # it waited between tries
        server.script = each(Answer(204))
        command("copy")
        assert len(server.taken) == 6
        assert len(set(server.taken)) == 6  # what was done is not done again


def test_it_takes_little_memory_at_once(bath: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 10)
    with Scripted(each(Answer(204))) as server:
        sink(server.url, batch_size=7)
        stored(bath, "a", [float(number) for number in range(95)])
        command("copy")
        assert len(server.taken) == 95
        assert max(len(lines) for _, _, lines in server.requests) <= 7


def test_what_is_refused_is_counted_and_kept_for_people(bath: Instrument) -> None:
    """By the server, and what cannot be points at all."""
    with Scripted(each(Answer(400, "partial write: points beyond retention policy dropped=2"))) as server:
        sink(server.url)
        stored(bath, "a", [1.0, 2.0])
        far_too_long = VectorRow(0, "wells", now_us(), [0.0] * 2001, labels=-1)
        long = Batch(instruments=[str(bath.pk)], keysets=[], rows=[], values=[], vectors=[far_too_long])
        pipeline.ingest(bath.edge, parcel(long, spool=new_spool()), timezone.now())
        assert "0 points written, 3 refused" in command("copy")
        reasons = sorted(SetAside.objects.values_list("reason", flat=True))
        assert reasons[0] == "2001 values: more than 2000"
        assert len(reasons) == 3


def test_a_run_is_one_point_that_tells_how_it_stands(bath: Instrument) -> None:
    with Scripted(each(Answer(204))) as server:
        copy = sink(server.url)
        everything(bath)
        Run.objects.update(state="completed", progress=1.0, end=timezone.now() + timedelta(hours=1))
        fed(copy)
        (line,) = [line for line in server.taken if line.startswith("runs,")]
        assert 'key="r1"' in line
        assert 'state="completed"' in line
        events = [line for line in server.taken if line.startswith("events,")]
        assert len({line.rsplit(" ", 1)[1] for line in events}) == 2  # of one µs, and told apart
        assert (
            json.dumps({"a": ["ü"], "b": 1}, ensure_ascii=False).replace('"', '\\"') in events[0] + events[1]
        )


def test_a_name_that_is_none() -> None:
    with pytest.raises(CommandError, match="there is no sink 'nope'; there are: none"):
        command("nope")
    sink("http://127.0.0.1:1")
    with pytest.raises(CommandError, match="no time"):
        command("copy", "--from", "yesterday-ish")
    assert editing.find("copy").enabled
    with pytest.raises(PermissionDenied):
        editing.save_sink(Sink(name="x"), type(OPERATOR)(is_staff=False))
