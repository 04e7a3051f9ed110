"""From a value that crosses its limit to the message in an encrypted Matrix room: through a whole Labsite on
one machine and a real homeserver, seen by a client of its own.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.alerts.matrix.person import Person, Said
from tests.benchmarks import report
from tests.onebox import ROOT, OneBox, rows
from tests.synapse import Synapse
from tests.waiting import until

CROSSINGS = int(os.environ.get("LABSITE_BENCH_CROSSINGS", "60"))
TARGET_S = 1.0
LAB = """
[[instrument]]
name = "probe"
driver = "http_json"
address = "http://127.0.0.1:{port}/"
interval = 0.2

[[instrument.options.channels]]
key = "level"
path = "level"

[[rule]]
name = "level high"
kind = "high"
channel = "probe/level"
high = 0.5
chatter_changes = 30000

[[contact]]
name = "room"
transport = "matrix"
address = "{room}"

[[route]]
name = "all"
window = 0
recoveries = false
steps = [{{ contact = "room" }}]
"""


class Probe:
    """An instrument whose level is set here; `crossed`: when it last rose (seconds since 1970)."""

    def __init__(self) -> None:
        self.level, self.crossed = 0.0, 0.0
        probe = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = json.dumps({"level": probe.level}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self.server.server_port

    @contextmanager
    def serving(self) -> Iterator["Probe"]:
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()

    def rise(self) -> None:
        self.level, self.crossed = 1.0, time.time()


def apply(box: OneBox, text: str) -> None:
    path = box.folder.parent / "lab.toml"
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "manage.py", "apply", str(path)]
    subprocess.run(command, check=True, env=box.given, cwd=ROOT, capture_output=True)


@dataclass
class Course:
    """From each crossing to its message, and from the reading that told of it, in seconds."""

    box: OneBox
    probe: Probe
    anna: Person
    bot: str
    room: str
    from_crossing: list[float] = field(default_factory=list)
    from_reading: list[float] = field(default_factory=list)

    def run(self) -> None:
        with self.box.browser() as api:
            while len(self.from_crossing) < CROSSINGS:
                until(lambda: not standing(api), 20, "the last alarm has returned", every=0.05)
                time.sleep(random.uniform(0.0, 1.0))  # anywhere between two polls and two commits
                self.cross(api)

    def cross(self, api: httpx.Client) -> None:
        before = len(self.heard())
        self.probe.rise()
        said = until(lambda: self.heard()[before:], 20, f"message {before + 1}", 0.005)[0]
        arrived = time.time() - (time.monotonic() - said.at)
        self.from_crossing.append(arrived - self.probe.crossed)
        (alarm,) = rows(api, "/api/v1/alarms/?instrument_name=probe")
        raised = datetime.fromisoformat(alarm["raised_at"])
        self.from_reading.append(arrived - raised.timestamp())
        self.probe.level = 0.0

    def heard(self) -> list[Said]:
        return self.anna.of(self.bot, self.room, "level")


def standing(api: httpx.Client) -> bool:
    found = rows(api, "/api/v1/alarms/?instrument_name=probe")
    return any(alarm["state"] == "unacknowledged" for alarm in found)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        synapse = stack.enter_context(Synapse(folder / "synapse").start())
        bot = synapse.make_user("labsite")
        anna = stack.enter_context(Person(synapse.url, synapse.make_user("anna"), folder / "anna"))
        room = anna.make_room(bot)
        probe = stack.enter_context(Probe().serving())
        box = OneBox(
            folder / "data",
            LABSITE_DEMO="0",
            LABSITE_MATRIX_HOMESERVER=synapse.url,
            LABSITE_MATRIX_USER="labsite",
            LABSITE_MATRIX_PASSWORD="labsite",
        )
        stack.enter_context(box.start())
        apply(box, LAB.format(port=probe.port, room=room))
        until(lambda: anna.has_joined(room, bot), 40, "the bot has joined", every=0.1)
        course = Course(box, probe, anna, bot, room)
        course.run()
    late, read = sorted(course.from_crossing), sorted(course.from_reading)
    report(
        "alarm, crossing to message in the room",
        value=late[int(len(late) * 0.99)],
        unit="s, p99",
        target=f"<= {TARGET_S:g}",
        met=late[int(len(late) * 0.99)] <= TARGET_S,
        p50=late[len(late) // 2],
        from_the_reading_p99=read[int(len(read) * 0.99)],
        from_the_reading_p50=read[len(read) // 2],
        crossings=len(late),
    )


if __name__ == "__main__":
    main()
