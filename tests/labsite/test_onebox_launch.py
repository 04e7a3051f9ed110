"""How the embedded servers are started: not as root, below closed folders, and ending with their parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labsite.onebox import account, leftovers, ports, programs
from labsite.onebox.console import Console, serious
from tests.waiting import until

LOOK = "import os, sys; print(os.geteuid(), os.access(sys.argv[1], os.X_OK), open(sys.argv[1]).read())"


def test_a_server_is_not_root_but_passes_folders_that_only_root_may(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("text")
    program.chmod(0o755)
    command = account.launched(sys.executable, "-c", LOOK, str(program))
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert told == ["65534" if os.geteuid() == 0 else str(os.geteuid()), "True", "text"]


def test_a_server_ends_with_the_process_that_started_it() -> None:
    sleeper = account.launched("sleep", "600", die_with="SIGKILL")
    parent = f"import subprocess, time; print(subprocess.Popen({sleeper!r}).pid, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        pid = int(started.stdout.readline())
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", 10, "it became the program")
        started.send_signal(signal.SIGKILL)
        until(lambda: not leftovers.is_there(pid), 10, "the server ended too")


def test_a_port_is_kept_from_start_to_start(tmp_path: Path) -> None:
    first = ports.kept(tmp_path / "port")
    assert ports.kept(tmp_path / "port") == first
    assert first in ports.KEPT_RANGE


def test_a_deep_data_folder_has_its_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20) / "data"
    assert programs.socket_path(Path("/srv/labsite")) == Path("/srv/labsite/supervisor.sock")
    assert len(str(programs.socket_path(deep))) <= programs.LONGEST_SOCKET
    programs.make_socket_folder(deep)
    folder = programs.socket_path(deep).parent
    assert folder.stat().st_mode & 0o077 == 0
    folder.rmdir()


def test_a_percent_sign_in_a_path_is_not_for_supervisor_to_expand(tmp_path: Path) -> None:
    text = programs.configuration(tmp_path / "100%", tmp_path, [], [programs.edge()])
    assert "100%%" in text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("2026-01-01T00:00:00.000Z WARNING labsite.x: away", "WARNING labsite.x: away"),
        ("2026-01-01 00:00:00.000 UTC [7] FATAL:  no", "FATAL:  no"),
        ("2026-01-01 00:00:00,000 WARN exited: ingest", "WARN exited: ingest"),
        ('{"time": "…", "level": "ERROR", "logger": "x", "message": "broken"}', "ERROR broken"),
        ('{"time": "…", "level": "INFO", "logger": "x", "message": "an ERROR"}', ""),
        ("2026-01-01T00:00:00.000Z INFO labsite.x: fine", ""),
        ("    raise ERROR", ""),
        ("{ not JSON", ""),
    ],
)
def test_what_a_person_is_shown(line: str, shown: str) -> None:
    assert serious(line) == shown


def test_the_terminal_follows_logs_over_rotation_and_holds_back_a_flood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, stamp = tmp_path / "web.log", "2026-01-01T00:00:00.000Z"
    log.write_text(f"{stamp} ERROR x: old\n")
    console = Console(tmp_path)
    console.skip()
    with log.open("a") as file:
        file.write(f"{stamp} ERROR x: before\n")
    log.rename(tmp_path / "web.log.1")
    log.write_text("".join(f"{stamp} ERROR x: number {number}\n" for number in range(50)))
    (tmp_path / "supervisor.log").write_text("2026-01-01 00:00:00,000 WARN exited: web\n")
    console.show()
    shown = capsys.readouterr().out
    assert "x: before" in shown
    assert "x: number 0" in shown
    assert "x: number 49" not in shown
    assert "x: old" not in shown
    assert "exited: web" in shown
    console.since -= 60
    console.show()
    assert "more lines; see `make logs`" in capsys.readouterr().out
    console.close()
