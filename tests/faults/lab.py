"""A whole laboratory of real processes that a test may break, each process by itself."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from celery import Celery

from devices import wire
from devices.simulators.ledger import replies
from labsite.onebox import ports
from tests.faults.proxy import Proxy
from tests.servers import Postgres, Process, Redis, dying_with_tests
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
CELERY = (sys.executable, "-m", "celery", "-A", "labsite")
CENTRE = ("ingest", "central", "beat")
COMMANDS: dict[str, Sequence[str]] = {
    **{name: (sys.executable, "-m", "labsite.processes", name) for name in CENTRE},
    "edge": (sys.executable, "-m", "devices.edge"),
}


class Lab:
    """PostgreSQL, Redis, the centre's processes, one edge and simulated thermostats.

    Between the edge and the broker lies `edge_wire`, between the edge and the first instrument
    `instrument_wire`: proxies that can go silent. `ledger` holds every reply that an instrument sent.
    """

    edge_name = "bench"

    def __init__(
        self, folder: Path, instruments: int = 4, interval: float = 0.5, broker_of_edge: str = ""
    ) -> None:
        self.folder = folder
        self.instruments = instruments
        self.interval = interval
        self.ledger = folder / "ledger.sqlite"
        self.spool = folder / "spool"
        self.broker_of_edge = broker_of_edge
        self.processes: dict[str, Process] = {}
        self._stack = ExitStack()
        self.postgres = Postgres(folder / "postgres")
        self.redis = Redis(folder / "redis")

    # ---- start and end

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        stack.enter_context(self.postgres.start())
        stack.enter_context(self.redis.start())
        self.database = self.postgres.make_database()
        broker = urlsplit(self.redis.url)
        self.edge_wire = stack.enter_context(Proxy("127.0.0.1", broker.port or 0))
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("LABSITE_", "DJANGO_"))
            },
            "LABSITE_DATA": str(self.folder / "data"),
            "LABSITE_DATABASE_URL": self.database,
            "LABSITE_BROKER_URL": self.redis.url,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "default",
        }
        self.manage("migrate", "--verbosity", "0")
        self.start_instruments(stack)
        self.apply(self.lab_file())
        self.edge_environment = self._enrolled(broker._replace(netloc=self._through(broker.netloc)))
        for name in (*CENTRE, "edge"):
            self.start(name)
            stack.push(lambda *_, name=name: self._end(name))
        until(self.has_begun, 40, f"first readings stored\n{self.logs()}")

    def start_instruments(self, stack: ExitStack) -> None:
        """Start what the edge is to poll."""
        self.first_port = ports.free(run=self.instruments)
        self.addresses = self.start_simulator(stack)
        host = urlsplit(self.addresses[0])
        self.instrument_wire = stack.enter_context(Proxy(host.hostname or "", host.port or 0))
        self.addresses[0] = f"tcp://127.0.0.1:{self.instrument_wire.port}"

    def has_begun(self) -> bool:
        """Whether every instrument's first readings are stored."""
        return self.stored() >= self.instruments * 26

    def _through(self, netloc: str) -> str:
        """The broker's address as the edge sees it: through the wire that can go silent."""
        secret, _, _ = netloc.rpartition("@")
        return f"{secret}@127.0.0.1:{self.edge_wire.port}"

    def _enrolled(self, broker: Any) -> dict[str, str]:
        """The environment of the edge, out of what `manage.py enrol_edge` prints."""
        lines = self.manage("enrol_edge", self.edge_name).splitlines()
        words = [line.strip().removeprefix("export ").partition("=") for line in lines if "LABSITE_" in line]
        said = {name: value.strip("'\"") for name, _, value in words}
        return {
            **{name: value for name, value in self.environment.items() if not name.startswith("LABSITE_")},
            "LABSITE_EDGE": self.edge_name,
            "LABSITE_EDGE_KEY": said["LABSITE_EDGE_KEY"],
            "LABSITE_BROKER_URL": self.broker_of_edge or urlunsplit(broker),
            "LABSITE_SPOOL": str(self.spool),
        }

    def _end(self, name: str) -> None:
        if self.processes[name].running is not None:
            self.processes[name].stop(within=15)

    # ---- processes

    def start(self, name: str, command: Sequence[str] = (), **environment: str) -> None:
        """Start a process of the lab; `environment` adds to its own."""
        own = self.edge_environment if name == "edge" else self.environment
        words = command or COMMANDS[name]
        log = self.folder / "logs" / f"{name}.log"
        self.processes[name] = Process(dying_with_tests(words), log, {**own, **environment})
        self.processes[name].start()

    def stop(self, *names: str) -> None:
        for name in names:
            self.processes[name].send(signal.SIGTERM)
        for name in names:
            self.processes[name].wait(15)

    def kill(self, *names: str) -> None:
        for name in names:
            self.processes[name].kill()

    def start_simulator(self, stack: ExitStack | None = None, *faults: str) -> list[str]:
        """Start the simulated thermostats; their addresses, in order."""
        command = [sys.executable, "-m", "devices.simulators", "thermostat", "--count", str(self.instruments)]
        command += ["--listen", f"127.0.0.1:{self.first_port}", "--ledger", str(self.ledger), "--seed", "1"]
        command += [word for fault in faults for word in ("--fault", fault)]
        log = self.folder / "logs" / "simulator.log"
        log.unlink(missing_ok=True)
        process = Process(dying_with_tests(command), log, {**self.environment})
        self.processes["simulator"] = process.start()
        if stack is not None:
            stack.push(lambda *_: self._end("simulator"))
        until(lambda: len(self._announced()) == self.instruments, 20, "the simulators announce themselves")
        return [line["address"] for line in self._announced()]

    def _announced(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in self.processes["simulator"].output.splitlines() if line[:1] == "{"
        ]

    def manage(self, *words: str) -> str:
        """Run a management command; what it printed."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def lab_file(self, interval: float = 0) -> str:
        lines = [f'[[edge]]\nname = "{self.edge_name}"\n']
        for number, address in enumerate(self.addresses):
            lines.append(
                f'[[instrument]]\nname = "thermostat {number}"\ndriver = "thermostat"\n'
                f'edge = "{self.edge_name}"\naddress = "{address}"\ninterval = {interval or self.interval}\n'
            )
        return "\n".join(lines)

    def apply(self, text: str) -> str:
        path = self.folder / "lab.toml"
        path.write_text(text, encoding="utf-8")
        return self.manage("apply", str(path))

    # ---- looking

    def rows(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            return connection.execute(question, values).fetchall()

    def stored(self) -> int:
        """Readings of the thermostats at the centre."""
        return int(
            self.rows(
                "SELECT count(*) FROM sample s JOIN devices_channel c ON c.id = s.channel_id "
                "JOIN devices_instrument i ON i.id = c.instrument_id WHERE i.driver = 'thermostat'"
            )[0][0]
        )

    def oldest_latest(self) -> datetime:
        """The time of the latest reading of the instrument that is furthest behind."""
        question = (
            "SELECT min(newest) FROM (SELECT max(l.time) AS newest FROM devices_instrument i "
            "JOIN devices_channel c ON c.instrument_id = i.id JOIN devices_latest l ON l.channel_id = c.id "
            "WHERE i.driver = 'thermostat' AND i.retired_at IS NULL GROUP BY i.id) each"
        )
        return self.rows(question)[0][0]  # type: ignore[no-any-return]

    def until_answered(self, moment: datetime) -> None:
        """Wait until every instrument has sent a reply after that moment."""
        limit = moment.timestamp() * 1e6

        def answered() -> bool:
            late = {reply.instrument for reply in replies(self.ledger) if reply.sent_at > limit}
            return len(late) == self.instruments

        left = moment.timestamp() - datetime.now(UTC).timestamp()
        until(
            answered, max(left, 0) + 10, f"every instrument answers after {moment}\n{self.logs()}", every=0.2
        )

    def gaps(self, reason: str, since: datetime) -> list[tuple[Any, ...]]:
        return self.rows('SELECT * FROM gap WHERE reason = %s AND "end" >= %s', reason, since)

    def beat_looked(self) -> datetime:
        """The time of beat's last word of itself."""
        return self.rows("SELECT at FROM devices_heartbeat WHERE process = 'beat'")[0][0]  # type: ignore[no-any-return]

    def instrument_id(self, name: str) -> str:
        return str(self.rows("SELECT id FROM devices_instrument WHERE name = %s", name)[0][0])

    def deliver(self, parcel: wire.Parcel) -> None:
        """Bring a parcel as the edge itself would: signed with its key, through the broker."""
        version, _, key = self.edge_environment["LABSITE_EDGE_KEY"].partition(":")
        message = wire.seal(parcel, self.edge_name, int(version), bytes.fromhex(key))
        with Celery(broker=self.redis.url) as app:
            app.send_task("labsite.ingest", (message,), queue="ingest", ignore_result=True)

    def waiting(self, queue: str) -> int:
        """Messages in a queue of the broker."""
        with redis.Redis.from_url(self.redis.url) as client:
            return int(client.llen(queue))

    def logs(self) -> str:
        return "\n".join(self._tails())

    def _tails(self) -> Iterator[str]:
        for name, process in self.processes.items():
            yield f"--- {name}\n{process.output[-3000:]}"
