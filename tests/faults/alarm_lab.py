"""The laboratory with rules, and with a route to a receiver; its instruments' values move as a test wants."""

import random
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

import psycopg

from tests.faults.alarms import Receiver
from tests.faults.judge import now
from tests.faults.killing import Killer
from tests.faults.lab import CENTRE, Lab
from tests.waiting import until

CALM, HIGH, LIMIT = 0.2, 1.4, 1.0  # A
NOISE_LIMITS = (32.0, 36.6, 15.5, 32.0)  # °C, where each instrument's second channel is kept
CURRENT, NOISE = "Current too high", "Noise"
MEDIUM = 3  # the least priority that people are told of; noise is below
ALARMS = f"""
[[rule]]
name = "{CURRENT}"
kind = "high"
driver = "thermostat"
key = "ch0.i_set"
high = {LIMIT}
priority = "high"
chatter_changes = 30000
guidance = "Look who turns it up."

[[rule]]
name = "{NOISE}"
kind = "high"
driver = "thermostat"
key = "ch1.temperature"
high = {NOISE_LIMITS[0]}
priority = "low"
chatter_changes = 30000
override = [
    {{{{ channel = "thermostat 1/ch1.temperature", high = {NOISE_LIMITS[1]} }}}},
    {{{{ channel = "thermostat 2/ch1.temperature", high = {NOISE_LIMITS[2]} }}}},
]

[[rule]]
name = "Channel stale or bad"
priority = "medium"

[[contact]]
name = "Receiver"
transport = "webhook"
address = "{{url}}"
secret = "RECEIVER"

[[route]]
name = "All but noise"
least_priority = "medium"
window = 1.0
steps = [{{{{ contact = "Receiver" }}}}]
"""
STANDS = """
    SELECT coalesce(i.name, ''), r.name, a.state FROM alerts_alarm a JOIN alerts_rule r ON r.id = a.rule_id
    LEFT JOIN devices_instrument i ON i.id = a.instrument_id
    WHERE a.state <> 'normal' AND a.state <> 'returned_unacknowledged' ORDER BY 1, 2
"""
UNDER = """
    SELECT coalesce(i.name, ''), r.name, a.state FROM alerts_alarm a JOIN alerts_rule r ON r.id = a.rule_id
    JOIN alerts_alarm c ON c.id = a.cause_id JOIN alerts_rule cr ON cr.id = c.rule_id
    LEFT JOIN devices_instrument i ON i.id = a.instrument_id WHERE cr.name = %s ORDER BY 1, 2
"""
UNSETTLED = """
    SELECT
        (SELECT count(*) FROM alerts_alarmevent WHERE told_at IS NULL)
        + (SELECT count(*) FROM alerts_notice WHERE state = 'waiting')
        + (SELECT count(*) FROM alerts_alarm WHERE pending_at IS NOT NULL OR past <> '{}'),
        (SELECT min(complete_at) FROM alerts_reach)
"""


class AlarmLab(Lab):
    """`receiver` is told of all that is of medium priority and above; `killer` chooses when central dies."""

    receiver: Receiver

    def _start(self, stack: ExitStack) -> None:
        self.receiver = stack.enter_context(Receiver())
        self.killer = Killer(self.folder / "killing")
        super()._start(stack)

    def start(self, name: str, command: Sequence[str] = (), **environment: str) -> None:
        if name in CENTRE:
            environment = {"LABSITE_SECRET_RECEIVER": "a word of the test", **environment}
        super().start(name, command, **environment)

    def lab_file(self, interval: float = 0) -> str:
        return super().lab_file(interval) + ALARMS.format(url=self.receiver.url)

    def start_to_be_killed(self, name: str, *moments: str) -> None:
        """Start a process that dies by its own hand, at the last of these moments."""
        self.killer.arm(*moments)
        self.start(name, **self.killer.environment)

    def until_dead(self, name: str, within: float = 40.0) -> None:
        """Wait until it has killed itself."""
        running = self.processes[name].running
        assert running is not None
        until(lambda: running.poll() is not None, within, f"{name} dies\n{self.logs()}")
        assert self.processes[name].wait() == -9, self.logs()
        assert not self.killer.is_armed

    def mend(self) -> None:
        """Make whole what a test has left broken."""
        self.killer.disarm()
        self.receiver.go_on()
        self.receiver.come_back()
        self.edge_wire.resume()
        self.instrument_wire.resume()
        for server in (self.postgres, self.redis):
            if server.running is None:
                server.start()
        for name in (*CENTRE, "edge"):
            process = self.processes[name]
            if process.running is not None and process.running.poll() is not None:
                process.wait()
            if process.running is None:
                self.start(name)

    # ---- instruments

    def set_current(self, number: int, amperes: float) -> None:
        """Set the current of an instrument's first channel, as somebody at the bench would."""
        with socket.create_connection(("127.0.0.1", self.first_port + number), 10) as link:
            link.sendall(f"output 0 i_set {amperes}\n".encode())
            assert link.makefile("rb").readline().strip() == b"{}"

    def calm_down(self) -> None:
        for number in range(self.instruments):
            self.set_current(number, CALM)

    @contextmanager
    def restless(self, seed: int, dwell: tuple[float, float]) -> Iterator[None]:
        """Have each instrument's current go up and down, for so many seconds each time."""
        stop = threading.Event()

        def move(number: int) -> None:
            chance = random.Random(seed * 100 + number)
            is_high = False
            while not stop.wait(chance.uniform(*dwell)):
                is_high = not is_high
                self.set_current(number, HIGH if is_high else CALM)

        threads = [threading.Thread(target=move, args=(number,)) for number in range(self.instruments)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
            self.calm_down()

    # ---- looking

    def change(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            connection.execute(statement, values)

    def set_rule(self, name: str, **fields: Any) -> None:
        words = ", ".join(f"{field} = %s" for field in fields)
        self.change(f"UPDATE alerts_rule SET {words} WHERE name = %s", *fields.values(), name)

    def standing(self) -> list[tuple[str, str, str]]:
        """(instrument, rule, state) of all that is not over, but for noise."""
        return [row for row in self.rows(STANDS) if row[1] != NOISE]

    def suppressed(self) -> list[tuple[str, str, str]]:
        return [row for row in self.standing() if row[2] == "suppressed"]

    def consequences(self, rule: str) -> list[tuple[str, str, str]]:
        """What stands suppressed under alarms of a rule."""
        return [row for row in self.rows(UNDER, rule) if row[2] == "suppressed"]

    def until_read(self, moment: datetime) -> None:
        """Wait until all that the edge has read up to a moment is here and judged."""
        left = max((moment - now()).total_seconds(), 0.0)
        until(
            lambda: self.rows("SELECT min(complete_at) FROM alerts_reach")[0][0] > moment,
            left + 30,
            f"readings up to {moment}\n{self.logs()}",
            every=0.2,
        )

    def settle(self, within: float = 60.0) -> None:
        """Wait until all that is read by now is judged, and all of that told."""
        start = now()
        last: list[tuple[Any, ...]] = []

        def is_settled() -> bool:
            nonlocal last
            if self.oldest_latest() <= start:
                return False
            last = self.rows(UNSETTLED)
            [(unfinished, complete)] = last
            return not unfinished and complete > start

        try:
            until(is_settled, within, every=0.2)
        except AssertionError:
            raise AssertionError(f"not settled: {last}\n{self.logs()}") from None

    def until_told(self, since: datetime, count: int = 1, within: float = 60.0) -> None:
        """Wait until so many messages have come since then."""
        try:
            until(lambda: len(self.receiver.since(since)) >= count, within)
        except AssertionError:
            titles = [post.title for post in self.receiver.since(since)]
            raise AssertionError(f"{count} messages, not {titles}\n{self.logs()}") from None
