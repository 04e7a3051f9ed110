"""Servers for sinks: influxdb 1.6.7, VictoriaMetrics for /api/v2/write, and one that follows a script."""

import gzip
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
import requests
from django.db import connection

from tests.devices.mosquitto import free_port
from tests.servers import Process, dying_with_tests
from tests.waiting import until

INFLUXD = shutil.which("influxd")
VICTORIA = shutil.which("victoria-metrics")
needs_influxd = pytest.mark.skipif(
    INFLUXD is None and not os.environ.get("CI"), reason="Debian's package influxdb is not installed"
)
needs_victoria = pytest.mark.skipif(
    VICTORIA is None and not os.environ.get("CI"), reason="Debian's package victoria-metrics is not installed"
)

CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
logging-enabled = false
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
{data}
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
{http}
[monitor]
store-enabled = false
[continuous_queries]
enabled = false
"""


class Influx(Process):
    """An influxdb of its own; it keeps its port and its files when it is killed and started again."""

    def __init__(
        self, folder: Path, http: str = "", data: str = "", user: str = "", password: str = ""
    ) -> None:
        assert INFLUXD is not None, "install Debian's package influxdb"
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.auth = (user, password) if user else None
        config = folder / "influxdb.conf"
        config.write_text(CONFIG.format(rpc=free_port(), port=self.port, folder=folder, http=http, data=data))
        super().__init__(dying_with_tests([INFLUXD, "-config", config]), folder / "log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        super().start()
        until(self.answers, 20, f"influxd answers: {self.output[-2000:]}")
        return self

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/ping", timeout=1).status_code == 204
        except requests.RequestException:
            return False

    def ask(self, question: str, database: str = "lab", *, anonymous: bool = False) -> list[dict[str, Any]]:
        """The rows of an answer, as objects with the tags that were grouped by."""
        answer = requests.post(
            f"{self.url}/query",
            {"q": question, "db": database, "epoch": "ns"},
            auth=None if anonymous else self.auth,
            timeout=10,
        )
        (result,) = answer.json()["results"]
        assert "error" not in result, result
        return [
            {**series.get("tags", {}), **dict(zip(series["columns"], row, strict=True))}
            for series in result.get("series", [])
            for row in series["values"]
        ]

    def count(self, field: str = "value", measurement: str = "/.*/", database: str = "lab") -> int:
        """How many points have this field."""
        rows = self.ask(f"SELECT count({field}) FROM {measurement}", database)
        return sum(row["count"] for row in rows)


class Victoria(Process):
    """A VictoriaMetrics of its own, which keeps every millisecond."""

    def __init__(self, folder: Path) -> None:
        assert VICTORIA is not None, "install Debian's package victoria-metrics"
        self.port = free_port()
        words = [
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={folder / 'files'}",
            "-dedup.minScrapeInterval=1ms",
            "-retentionPeriod=10y",
            "-memory.allowedBytes=64MB",
            "-loggerLevel=WARN",
        ]
        super().__init__(dying_with_tests([VICTORIA, *words]), folder / "log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        super().start()
        until(self.answers, 20, f"victoria-metrics answers: {self.output[-2000:]}")
        return self

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def series(self, match: str) -> dict[tuple[str, ...], dict[int, float]]:
        """Of each series its values by ms since 1970, by measurement and field, instrument and channel."""
        requests.get(f"{self.url}/internal/force_flush", timeout=10)
        answer = requests.get(f"{self.url}/api/v1/export", {"match[]": match}, timeout=10)
        found = {}
        for row in map(json.loads, answer.text.splitlines()):
            name = row["metric"]
            key = tuple(name.get(label, "") for label in ("__name__", "instrument", "channel"))
            found[key] = dict(zip(row["timestamps"], row["values"], strict=True))
        return found

    def count(self, match: str = '{__name__=~".+_value"}') -> int:
        return sum(len(values) for values in self.series(match).values())


POINT = re.compile(r'(?:[^\n"]|"(?:[^"\\]|\\.)*")+')  # a line; a text may hold several


class Answer:
    """What a scripted server says next."""

    def __init__(self, status: int, body: str = "", hang: float = 0.0, **headers: str) -> None:
        self.status, self.body, self.hang, self.headers = status, body, hang, headers


Script = Callable[[list[str], dict[str, str]], Answer]


class Scripted:
    """A server that answers each write as it is told, and remembers what it took."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.taken: list[str] = []
        self.requests: list[tuple[str, dict[str, str], list[str]]] = []
        self.let_go = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                lines = POINT.findall(body.decode())
                headers = {name.lower(): value for name, value in self.headers.items()}
                owner.requests.append((self.path, headers, lines))
                answer = owner.script(lines, headers)
                connection.close()  # of this thread, if it had one
                if answer.hang:
                    owner.let_go.wait(answer.hang)
                if answer.status < 300:
                    owner.taken += lines
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name.replace("_", "-"), value)
                said = answer.body.encode()
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def each(*answers: Answer) -> Script:
    """One after the other; the last one for ever."""
    left: Iterator[Answer] = iter(answers)
    last = answers[-1]
    return lambda lines, headers: next(left, last)


def elapsed(since: float) -> float:
    return time.monotonic() - since
