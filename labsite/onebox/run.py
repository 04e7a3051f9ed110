"""Labsite on one machine: start everything, say where it is, stay, stop everything."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from labsite import settings
from labsite.onebox import account, leftovers, lock, ports, programs
from labsite.onebox.console import Console
from labsite.onebox.postgres import Cluster
from labsite.onebox.programs import Program
from labsite.onebox.redis import Broker

STOP_S = 10.0
MANAGER_S = 15.0
HEALTHY_S = 60.0
LOOK_S = 0.5
LOCAL_COMMIT_S = "0.25"  # of the edge beside the centre: PostgreSQL writes to this disk as often, too

# glibc keeps up to eight heaps per core for threads, and what was freed in them: memory that does nothing.
THRIFT = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072"}


class CannotStart(Exception):
    """A reason for a person, in one line."""


class Labsite:
    """All that runs on one data folder."""

    def __init__(self) -> None:
        self.folder = settings.DATA_DIR
        self.logs = self.folder / "logs"
        self.cluster = Cluster(self.folder / "postgres")
        self.broker = Broker(self.folder / "redis", settings.BROKER_LISTEN)
        self.console = Console(self.logs)
        self.manager: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """From start to stop. Raises CannotStart, or lock.Taken if another one runs on this folder."""
        with lock.Lock(self.folder, address()):
            catch_signals()
            try:
                self.start()
                self.watch()
            except KeyboardInterrupt:
                print("Labsite is stopping …", flush=True)
            finally:
                ignore_signals()
                self.stop()
                self.console.close()
        print("Labsite has stopped.", flush=True)

    def start(self) -> None:
        """Servers first, then what the database needs, then everything else."""
        if found := leftovers.end(self.folder, self.cluster, self.broker):
            print(f"Ended what an earlier start had left behind ({found} processes).", flush=True)
        if reason := ports.obstacle(settings.HOST, settings.PORT):
            where = f"cannot listen on port {settings.PORT} of {settings.HOST}"
            raise CannotStart(f"{where}: {reason}; LABSITE_HOST and LABSITE_PORT choose another place")
        print("Labsite is starting …", flush=True)
        servers = self.servers()
        self.configure(servers, [])
        self.start_manager()
        prepared = self.prepare()
        which = {
            "matrix": bool(settings.MATRIX_HOMESERVER),
            "mqtt": bool(settings.MQTT_URL),
            "replaced": bool(settings.REPLACED_PORTS),
        }
        wanted = [*programs.centre(settings.HOST, settings.PORT, **which), programs.edge()]
        if prepared["demo"]:
            wanted.append(programs.demo(self.folder, prepared["demo_port"], prepared["demo"]))
        self.configure(servers, wanted)
        self.console.skip()
        self.control.reloadConfig()
        self.control.addProcessGroup(programs.PROGRAMS)
        if not self.comes_true(self.is_healthy, HEALTHY_S):
            print("Not everything answers yet; `make status` and `make logs` tell more.", flush=True)
        print(welcome(prepared), flush=True)

    def servers(self) -> list[Program]:
        """The embedded servers, but for those that the user brings."""
        found = []
        if settings.DATABASE_IS_EMBEDDED:
            self.cluster.prepare()
            found.append(Program("postgres", self.cluster.command(), stop_signal="INT"))
        if settings.BROKER_IS_EMBEDDED:
            self.broker.prepare()
            found.append(Program("redis", self.broker.command()))
        return found

    def configure(self, servers: list[Program], others: list[Program]) -> None:
        text = programs.configuration(self.folder, settings.BASE_DIR, servers, others)
        (self.folder / "supervisor.conf").write_text(text, encoding="utf-8")

    def start_manager(self) -> None:
        """Start supervisor. It ends with this process, and ends all others then."""
        programs.make_socket_folder(self.folder)
        self.logs.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.folder / "supervisor.conf")]
        with (self.logs / "supervisor-output.log").open("ab") as output:
            self.manager = subprocess.Popen(
                account.launched(*command, die_with="SIGTERM", drop=False),
                cwd=settings.BASE_DIR,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for this process; it stops the others in order
            )
        if not self.comes_true(self.manager_answers, MANAGER_S):
            raise CannotStart(f"the process manager does not answer; see {self.logs / 'supervisor.log'}")

    def environment(self) -> dict[str, str]:
        """What all processes find in their environment, beside what this one was given."""
        # Where it is set, Celery loads Django, also at the edge, which has no use for it.
        given = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        return {
            **given,
            **THRIFT,
            leftovers.MARK: str(self.folder),
            "LABSITE_DATA": str(self.folder),
            "LABSITE_BROKER_URL": settings.BROKER_URL,
            "LABSITE_EDGE": "local",
            "LABSITE_EDGE_KEY_FILE": str(self.folder / "edge-local.key"),
            "LABSITE_COMMIT_S": os.environ.get("LABSITE_COMMIT_S", LOCAL_COMMIT_S),
            "LABSITE_SPOOL": str(self.folder / "edge-local"),
        }

    def prepare(self) -> dict[str, Any]:
        """Have the database brought up to date, in a process of its own."""
        command = [sys.executable, "manage.py", "prepare_onebox"]
        done = subprocess.run(
            command,
            check=False,
            cwd=settings.BASE_DIR,
            env=self.environment(),
            capture_output=True,
            text=True,
            start_new_session=True,
        )
        (self.logs / "prepare.log").write_text(done.stderr, encoding="utf-8")
        if done.returncode != 0:
            raise CannotStart(done.stderr.strip().rsplit("\n", 1)[-1].removeprefix("CommandError: "))
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    # ---- running

    @property
    def control(self) -> Any:
        return control(self.folder)

    def manager_answers(self) -> bool:
        try:
            return bool(self.control.getState())
        except OSError:
            return False

    def is_healthy(self) -> bool:
        """Whether all processes run, and the web server says that it reaches the others."""
        states = {process["statename"] for process in self.control.getAllProcessInfo()}
        return states == {"RUNNING"} and health_answers()

    def comes_true(self, question: Callable[[], bool], within: float) -> bool:
        end = time.monotonic() + within
        while not question():
            if time.monotonic() > end:
                return False
            self.look_after_manager()
            time.sleep(0.1)
        return True

    def look_after_manager(self) -> None:
        if self.manager and (code := self.manager.poll()) is not None:
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise CannotStart(f"the process manager ended {how}; everything else was stopped; start again")

    def watch(self) -> None:
        """Stay, and show warnings, until a signal comes."""
        while True:
            self.look_after_manager()
            self.console.show()
            time.sleep(LOOK_S)

    # ---- stopping

    def stop(self) -> None:
        """Stop everything in order, and make sure of it."""
        if self.manager is None:
            return
        try:
            self.control.shutdown()
        except (OSError, Fault):  # it is stopping already, or is no more
            self.manager.terminate()
        try:
            self.manager.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.manager.kill()
        leftovers.end(self.folder, self.cluster, self.broker)


def control(folder: Path) -> Any:
    """Supervisor's commands (http://supervisord.org/api.html); OSError when it does not run."""
    transport = SupervisorTransport(None, None, serverurl=f"unix://{programs.socket_path(folder)}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def address() -> str:
    """Where a browser on this machine finds Labsite."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.PORT}/"


def health_answers() -> bool:
    try:
        with urllib.request.urlopen(f"{address()}api/v1/health/", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def welcome(prepared: dict[str, Any]) -> str:
    """What to open, and as whom."""
    lines = ["", f"  Labsite runs at {address()}"]
    if prepared["first_start"]:
        lines.append("  User name:      admin")
        given = "the one in LABSITE_ADMIN_PASSWORD"
        lines.append(f"  Password:       {prepared['admin_password'] or given}")
        if prepared["admin_password"]:
            lines.append("  The password is shown this once; change it at your first log-in.")
    lines += ["", "  Ctrl-C stops everything. Warnings follow below.", ""]
    return "\n".join(lines)


def catch_signals() -> None:
    """Ctrl-C, a service manager and a closed terminal all stop Labsite in order."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
