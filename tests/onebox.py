"""A whole Labsite on one machine, started as `make run` does, in a folder of the test's own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from labsite.onebox import leftovers, ports
from labsite.onebox.postgres import Cluster
from labsite.onebox.redis import Broker
from tests.servers import Process, dying_with_tests
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
STARTED_S = 90


def environment(**given: str) -> dict[str, str]:
    """This one's, without what other tests or the caller's shell tell Labsite."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("LABSITE_")}
    for name in ("DJANGO_SETTINGS_MODULE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON"):
        own.pop(name, None)
    return {**own, **given}


class OneBox(Process):
    """`python -m labsite.onebox run`; ready when `start` returns."""

    def __init__(self, folder: Path, **given: str) -> None:
        self.folder = folder
        self.port = ports.free()
        self.given = environment(LABSITE_DATA=str(folder), LABSITE_PORT=str(self.port), **given)
        command = dying_with_tests([sys.executable, "-m", "labsite.onebox", "run"], "SIGTERM")
        super().__init__(command, folder.with_suffix(".out"), self.given)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        found = re.search(r"Password: +(\S+)", self.output)
        assert found, self.output
        return found[1]

    def start(self) -> Self:
        self.log.unlink(missing_ok=True)
        super().start()
        until(self.has_started, STARTED_S, "it says where it runs", every=0.1)
        return self

    def has_started(self) -> bool:
        assert self.running is not None, "not started"
        assert self.running.poll() is None, f"it ended: {self.output}"
        return "Ctrl-C" in self.output

    def command_line(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another `python -m labsite.onebox …` on the same folder."""
        return onebox(self.given, *arguments)

    def pids(self) -> list[int]:
        """Everything that was started for this folder and still runs."""
        cluster, broker = Cluster(self.folder / "postgres"), Broker(self.folder / "redis")
        servers = [
            *leftovers.owner_of(cluster.pid_file, cluster.data),
            *leftovers.owner_of(broker.pid_file, broker.folder),
        ]
        own = [pid for pid in leftovers.marked(self.folder) if leftovers.is_there(pid)]
        return [*own, *servers]

    def pid_of(self, program: str) -> int:
        """From `status`; 0 if it does not run."""
        found = re.search(
            rf"^ +{program} +RUNNING .*pid (\d+)", self.command_line("status").stdout, re.MULTILINE
        )
        return int(found[1]) if found else 0

    def manager(self) -> int:
        return int((self.folder / "supervisor.pid").read_text())

    def kill_all_managers(self) -> None:
        """Kill -9 of supervisor and of what looks after it, so that nobody is left to stop the others."""
        os.kill(self.pid, signal.SIGSTOP)
        os.kill(self.manager(), signal.SIGKILL)
        self.kill()

    @contextmanager
    def browser(self, password: str = "") -> Iterator[httpx.Client]:
        """A session as `admin`."""
        with httpx.Client(base_url=self.url, timeout=20) as client:
            client.get("/login/")
            form = {"username": "admin", "password": password or self.password}
            form["csrfmiddlewaretoken"] = client.cookies["csrftoken"]
            answer = client.post("/login/", data=form, headers={"Referer": self.url})
            assert answer.status_code == 302, answer.text
            yield client


def onebox(given: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labsite.onebox", *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=given, cwd=ROOT, timeout=120
    )


def rows(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    """All results of a list of the API's."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found
