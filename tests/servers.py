"""Real servers for tests, on free loopback ports. Each dies with the test run, whatever ends that."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import psycopg
from psycopg.sql import SQL, Identifier

from labsite.onebox import account, postgres, redis
from tests.waiting import until


class Embedded(Protocol):
    """What the product's embedded servers have in common."""

    def prepare(self) -> None: ...
    def command(self, *, die_with: str = "") -> list[str]: ...
    def answers(self) -> bool: ...


class Process:
    """A program that can be stopped, killed and started again. It dies with pytest."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.command = command
        self.log = log
        self.environment = environment
        self.running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.running is not None, "not started"
        return self.running.pid

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def start(self) -> Self:
        assert self.running is None, "started already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [str(word) for word in self.command], stdout=log, stderr=log, env=self.environment
            )
        return self

    def send(self, number: signal.Signals) -> None:
        assert self.running is not None, "not started"
        self.running.send_signal(number)

    def wait(self, within: float = 10.0) -> int:
        """The exit code, once it has ended."""
        assert self.running is not None, "not started"
        code = self.running.wait(within)
        self.running = None
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 10.0) -> int:
        """Ask it to end; kill it if it does not."""
        self.send(number)
        try:
            return self.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill -9."""
        self.send(signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.running is not None:
            self.stop()


def dying_with_tests(command: Sequence[str | Path], number: str = "SIGKILL") -> list[str]:
    """The same command, ended by the kernel when the test run ends."""
    return account.launched(*command, die_with=number, drop=False)


class Server(Process):
    """An embedded server, ready when `start` returns."""

    stop_signal = signal.SIGTERM
    death_signal = "SIGKILL"

    def __init__(self, embedded: Embedded, folder: Path) -> None:
        embedded.prepare()
        super().__init__(embedded.command(die_with=self.death_signal), folder / "log")
        self.embedded = embedded

    def start(self) -> Self:
        super().start()
        until(self.ready, 20, f"{type(self).__name__} answers: {self.output[-2000:]}")
        return self

    def ready(self) -> bool:
        assert self.running is not None, "not started"
        assert self.running.poll() is None, f"it ended: {self.output[-2000:]}"
        return self.embedded.answers()

    def stop(self, number: signal.Signals | None = None, within: float = 10.0) -> int:
        return super().stop(number or self.stop_signal, within)

    def restart(self) -> Self:
        self.stop()
        return self.start()


class Postgres(Server):
    """A PostgreSQL of its own: `url()`, `start`, `stop`, `restart`, `kill`."""

    stop_signal = signal.SIGINT
    death_signal = "SIGQUIT"

    def __init__(self, folder: Path) -> None:
        self.cluster = postgres.Cluster(folder)
        super().__init__(self.cluster, folder)

    def url(self, database: str = postgres.DATABASE) -> str:
        return self.cluster.url(database)

    def make_database(self, name: str = postgres.DATABASE) -> str:
        """The URL of a database of this name, made if there is none."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as database:
            if not database.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                database.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self.url(name)


class Redis(Server):
    """A Redis of its own; it keeps nothing on disk, so a restart wipes it."""

    def __init__(self, folder: Path) -> None:
        self.broker = redis.Broker(folder)
        super().__init__(self.broker, folder)

    @property
    def url(self) -> str:
        return self.broker.url()
