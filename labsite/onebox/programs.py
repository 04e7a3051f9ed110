"""What runs on one machine, as a configuration of supervisor."""

import hashlib
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_SOCKET = 90  # a Unix socket's path is 107 bytes at most, and supervisor adds its pid while it starts

# Stopping goes from the last group to the first, all programs of a group at once: the programs have 4 s, then
# the servers 4 s, so that everything stops within 10 s.
SERVERS = "servers"
PROGRAMS = "labsite"
STOP_S = 4

# What only people, pages and the API need is not loaded by the workers; Django's checks, which would load it,
# are done once before anything is started.
LEAN = {"LABSITE_WITHOUT_DOORS": "1", "CELERY_SKIP_CHECKS": "1"}

HEAD = """\
[supervisord]
nodaemon=true
silent=true
directory={project}
logfile={logs}/supervisor.log
logfile_maxbytes=2MB
logfile_backups=2
pidfile={folder}/supervisor.pid
childlogdir={logs}
strip_ansi=true
{user}

[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

# A program that keeps dying is started again for ever, after a wait that grows by a second each time.
PROGRAM = """
[program:{name}]
command={command}
environment={environment}
autorestart=true
startsecs=1
startretries=1000000
stopsignal={stop_signal}
stopwaitsecs={stop_seconds}
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""

GROUP = """
[group:{name}]
programs={programs}
priority={priority}
"""


@dataclass(frozen=True)
class Program:
    """One process that is kept running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"


def centre(
    host: str, port: int, *, matrix: bool = False, mqtt: bool = False, replaced: bool = False
) -> list[Program]:
    """The processes of the centre, as design and README name them; bot and bridge only where wanted."""
    uvicorn = ["uvicorn", "labsite.asgi:application", "--host", host, "--port", str(port)]
    uvicorn += [
        "--timeout-graceful-shutdown",
        "2",
        "--no-proxy-headers",
        "--no-access-log",
        "--no-server-header",
    ]
    return [
        Program("web", python("labsite.web") if replaced else python(*uvicorn)),
        *(Program(name, python("labsite.processes", name), LEAN) for name in ("beat", "ingest", "central")),
        *([Program("matrixbot", [sys.executable, "manage.py", "matrixbot"], LEAN)] if matrix else []),
        *([Program("mqttbridge", [sys.executable, "manage.py", "mqttbridge"], LEAN)] if mqtt else []),
    ]


def edge() -> Program:
    """The edge on the centre's own machine; its settings are in the environment."""
    return Program("edge-local", python("devices.edge"))


def demo(folder: Path, port: int, names: Sequence[str]) -> Program:
    """The simulated instruments of the demo lab, from this port on."""
    where = ["--listen", f"127.0.0.1:{port}", "--folder", str(demo_folder(folder))]
    return Program("demo", python("devices.simulators", "lab", *names, *where))


def demo_folder(folder: Path) -> Path:
    """What the demo lab keeps in the data folder."""
    return folder / "demo"


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def configuration(
    folder: Path, project: Path, servers: Sequence[Program], programs: Sequence[Program]
) -> str:
    """The text of supervisor.conf."""
    logs = escaped(str(folder / "logs"))
    head = HEAD.format(
        project=escaped(str(project)),
        logs=logs,
        folder=escaped(str(folder)),
        socket=escaped(str(socket_path(folder))),
        user="user=root" if os.geteuid() == 0 else "",
    )
    parts = [head]
    for priority, (group, members) in enumerate([(SERVERS, servers), (PROGRAMS, programs)], start=1):
        if members:
            names = ",".join(program.name for program in members)
            parts.append(GROUP.format(name=group, programs=names, priority=priority))
        parts += [section(program, logs) for program in members]
    return "".join(parts)


def section(program: Program, logs: str) -> str:
    return PROGRAM.format(
        name=program.name,
        command=escaped(shlex.join(program.command)),
        environment=",".join(f'{name}="{value}"' for name, value in program.environment.items()),
        stop_signal=program.stop_signal,
        stop_seconds=STOP_S,
        logs=logs,
    )


def escaped(text: str) -> str:
    """Supervisor expands %(name)s."""
    return text.replace("%", "%%")


def socket_path(folder: Path) -> Path:
    """Where supervisor listens: in the data folder, or, if that is too deep, where temporary files are."""
    path = folder / "supervisor.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"labsite-{os.geteuid()}-{digest}" / "supervisor.sock"


def make_socket_folder(folder: Path) -> None:
    """Raises PermissionError if somebody else made that folder before."""
    parent = socket_path(folder).parent
    parent.mkdir(mode=0o700, exist_ok=True)
    if parent.stat().st_uid != os.geteuid():
        raise PermissionError(f"{parent} belongs to another account")
