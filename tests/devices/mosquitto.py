"""A real broker for tests: Debian's mosquitto, as a process of the test's own."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needed = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"), reason="Debian's package mosquitto is not installed"
)


class Broker:
    """It can be stopped and started again on its port; what it keeps is in its folder."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{more or 'allow_anonymous true'}\n"
            f"persistence true\npersistence_location {folder}/\nuser root\nlog_dest none\n"
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        assert PROGRAM is not None, "install Debian's package mosquitto"
        self._process = await asyncio.create_subprocess_exec(PROGRAM, "-c", str(self._config))
        for _ in range(200):
            with socket.socket() as probe:
                probe.setblocking(False)
                try:
                    await asyncio.get_running_loop().sock_connect(probe, ("127.0.0.1", self.port))
                except OSError:
                    assert self._process.returncode is None, "mosquitto does not start"
                    await asyncio.sleep(0.01)
                else:
                    return
        raise AssertionError("mosquitto does not listen")

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            await process.wait()

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(19)  # SIGSTOP

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(18)  # SIGCONT


@asynccontextmanager
async def serving(folder: Path, more: str = "") -> AsyncIterator[Broker]:
    broker = Broker(folder, more)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what nobody tells; not for ever."""
    async with asyncio.timeout(6):
        while not is_so():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
