"""What judges alarms: what people received, and the journal beside the instruments' own ledger."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from devices.simulators.ledger import replies as ledger_replies
from telemetry.times import moment
from tests.faults.judge import microseconds, now, stored_samples
from tests.faults.lab import Lab

JOURNAL = """
    SELECT e.id, e.alarm_id, r.name, coalesce(i.name, ''), coalesce(c.key, ''), e.event, e.before, e.after,
        e.at, e.past, e.stored_at
    FROM alerts_alarmevent e JOIN alerts_alarm a ON a.id = e.alarm_id JOIN alerts_rule r ON r.id = a.rule_id
    LEFT JOIN devices_instrument i ON i.id = a.instrument_id
    LEFT JOIN devices_channel c ON c.id = a.channel_id
    WHERE e.stored_at >= %s ORDER BY e.id
"""
# The notices that carry each change that people are to hear of.
CARRIED = """
    SELECT e.id, a.text, e.event, e.at, array_remove(array_agg(DISTINCT n.id::text), NULL)
    FROM alerts_alarmevent e JOIN alerts_alarm a ON a.id = e.alarm_id
    LEFT JOIN alerts_noticeline l ON l.event_id = e.id LEFT JOIN alerts_notice n ON n.id = l.notice_id
    WHERE e.stored_at >= %s AND e.event = 'raise' AND e.after = 'unacknowledged' AND NOT e.past
        AND e.priority <= %s
    GROUP BY e.id, a.text ORDER BY e.id
"""
ALWAYS = datetime.fromisoformat("2000-01-01T00:00:00Z")
BEGINS, ENDS = "raise", "clear"

# ---- what people received


@dataclass(frozen=True)
class Post:
    """One message, as it came."""

    at: datetime
    id: str
    body: dict[str, Any]

    @property
    def title(self) -> str:
        return str(self.body["title"])

    @property
    def alarms(self) -> list[dict[str, Any]]:
        return list(self.body["alarms"])


class Receiver:
    """A webhook of the test's own. It can be away, and it can hang: take what comes and never answer."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self._answers = threading.Event()
        self._answers.set()
        self._server = self._listen(0)
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._answers.set()
        if self._thread.is_alive():
            self.leave()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alarms"

    def leave(self) -> None:
        """Be away: connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def come_back(self) -> None:
        if not self._thread.is_alive():
            self._server = self._listen(self.port)

    def hang(self) -> None:
        self._answers.clear()

    def go_on(self) -> None:
        self._answers.set()

    def since(self, moment: datetime) -> list[Post]:
        return [post for post in self.posts if post.at >= moment]

    def take(self, post: Post) -> None:
        self.posts.append(post)
        self._answers.wait(60)

    def _listen(self, port: int) -> "_Server":
        server = _Server(("127.0.0.1", port), _Handler)
        server.receiver = self
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="receiver", daemon=True
        )
        self._thread.start()
        return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # one that hangs
    receiver: Receiver


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["id"] == self.headers["Idempotency-Key"]
        self.server.receiver.take(Post(now(), body["id"], body))
        try:
            self.send_response(204)
            self.end_headers()
            self.wfile.flush()
        except OSError:
            pass  # who sent it has been killed, or did not wait any longer

    def log_message(self, *_words: Any) -> None:
        """No noise."""


def ids_by_change(posts: Iterable[Post]) -> dict[tuple[int, str, bool], set[str]]:
    """By alarm, the time it was raised, and whether it had ended: the ids under which that was said."""
    found: dict[tuple[int, str, bool], set[str]] = defaultdict(set)
    for post in posts:
        for alarm in post.alarms:
            found[alarm["id"], alarm["raised_at"], alarm["cleared_at"] is not None].add(post.id)
    return found


def doubled(posts: Iterable[Post]) -> list[Post]:
    """What came more than once: the later ones."""
    seen: set[str] = set()
    later = []
    for post in posts:
        if post.id in seen:
            later.append(post)
        seen.add(post.id)
    return later


def untold(lab: Lab, receiver: Receiver, since: datetime, least_priority: int) -> list[str]:
    """What began since then and nobody heard of, or heard under more than one id."""
    received = {post.id for post in receiver.posts}
    faults = []
    for number, text, event, at, notices in lab.rows(CARRIED, since, least_priority):
        if len(notices) != 1:
            faults.append(f"{number} {text} {event} {at}: is in {len(notices)} notices")
        elif notices[0] not in received:
            faults.append(f"{number} {text} {event} {at}: notice {notices[0]} was not received")
    return faults


# ---- the journal beside the ledger


class Noted(NamedTuple):
    """One row of the journal."""

    id: int
    alarm: int
    rule: str
    instrument: str
    key: str
    event: str
    before: str
    after: str
    at: datetime
    past: bool
    stored_at: datetime


class Span(NamedTuple):
    """An excursion: from its first reading to the first one after it; None: it is not over. In µs."""

    start: int
    end: int | None


@dataclass
class Comparison:
    """What was crossed by the ledger and is not in the journal, and the other way round."""

    crossed: int = 0
    past: int = 0  # of the journal's rows
    missed: list[tuple[str, Span]] = field(default_factory=list)
    invented: list[tuple[str, Span]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # where a state does not follow from the one before
    around: list[str] = field(default_factory=list)  # the first fault, for who reads of it

    @property
    def faults(self) -> list[object]:
        return [*self.missed, *self.invented, *self.broken]

    def __str__(self) -> str:
        return (
            f"{self.crossed} crossings; missed {len(self.missed)}: {self.missed[:5]};"
            f" invented {len(self.invented)}: {self.invented[:5]}; broken {self.broken[:5]}\n"
            + "\n".join(self.around)
        )


def journal(lab: Lab, since: datetime = ALWAYS) -> list[Noted]:
    return [Noted(*row) for row in lab.rows(JOURNAL, since)]


def compare(lab: Lab, rule: str, key: str, limits: Sequence[float], since: datetime) -> Comparison:
    """The journal of a rule without delays and bands on a channel of each thermostat, since a moment."""
    first = microseconds(since)
    rows = journal(lab)
    mine = [row for row in rows if row.rule == rule]
    told: dict[str, list[Noted]] = defaultdict(list)
    for row in mine:
        told[row.instrument].append(row)
    said = readings(lab, key)
    crossed = {name: excursions(values, limits[number]) for (number, name), values in said.items()}
    result = Comparison(broken=list(breaks(rows)), past=sum(row.past for row in mine if row.at >= since))
    for name in sorted({*crossed, *told}):
        expected = {span for span in crossed.get(name, ()) if span.end is None or span.end >= first}
        found = {span for span in spans(told[name]) if span.end is None or span.end >= first}
        result.crossed += len(expected)
        result.missed += [(name, span) for span in sorted(expected - found)]
        result.invented += [(name, span) for span in sorted(found - expected)]
    for name, span in [*result.missed, *result.invented][:1]:
        values = next(values for (_, other), values in said.items() if other == name)
        result.around = list(_around(span.start, values, told[name]))
    return result


def _around(time: int, values: Iterable[tuple[int, float]], rows: Iterable[Noted]) -> Iterator[str]:
    """What was read, and what was noted, within some seconds of a time."""
    near = 15_000_000
    read = [(at, f"{moment(at)} {value}") for at, value in values]
    noted = [
        (microseconds(row.at), f"{row.at}  {row.event} {row.past=} {row.id=} stored {row.stored_at}")
        for row in rows
    ]
    for at, words in sorted(read + noted):
        if abs(at - time) < near:
            yield words


def readings(lab: Lab, key: str) -> dict[tuple[int, str], list[tuple[int, float]]]:
    """What the instruments say they answered of a channel, in order, with the times of what is stored.

    By the instrument's number and name.
    """
    at = defaultdict(list)
    for sample in stored_samples(lab, ALWAYS):
        at[sample.key].append(sample)
    channel = int(key[2])
    found: dict[tuple[int, str], dict[int, float]] = defaultdict(dict)
    for reply in ledger_replies(lab.ledger):
        name, value = f"thermostat {reply.instrument}", reply.values.get(key)
        for sample in at[name, channel, reply.device_times[channel]]:
            if value is not None and sample.values.get(key) == value:
                found[reply.instrument, name][sample.at] = value
    return {of: sorted(said.items()) for of, said in found.items()}


def excursions(said: Iterable[tuple[int, float]], limit: float) -> list[Span]:
    """When a value was above a limit: from the first reading that was to the first that was not."""
    found: list[Span] = []
    start = None
    for time, value in said:
        if value > limit and start is None:
            start = time
        elif value <= limit and start is not None:
            found.append(Span(start, time))
            start = None
    return found if start is None else [*found, Span(start, None)]


def spans(rows: Iterable[Noted]) -> list[Span]:
    """What the journal of one alarm says of when it stood, in event time.

    The live track may have seen the middle of an excursion of which the beginning, or the end, came late.
    """
    found: list[Span] = []
    start = None
    for row in sorted(rows, key=lambda row: (row.at, row.id)):
        if row.event == BEGINS and start is None:
            start = microseconds(row.at)
        elif row.event == ENDS and start is not None:
            found.append(Span(start, microseconds(row.at)))
            start = None
    return found if start is None else [*found, Span(start, None)]


def breaks(rows: Iterable[Noted]) -> Iterable[str]:
    """Where an alarm is said to come from another state than the one it went to last."""
    stands: dict[int, str] = {}
    for row in rows:
        before = stands.get(row.alarm, "normal")
        if row.before != before:
            yield f"{row.instrument} {row.key} {row.event} {row.at}: from {row.before}, was {before}"
        stands[row.alarm] = row.after
