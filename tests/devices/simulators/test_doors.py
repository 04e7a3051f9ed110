"""Doors: by what wire a simulated instrument is reached, and what its client is told."""

import asyncio
import os
import random
import ssl
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from devices.errors import LinkError
from devices.links.base import Address
from devices.links.tcp import TlsLink
from devices.simulators import tls
from devices.simulators.base import Client, FileSimulator, Session, Simulator
from devices.simulators.faults import Faults
from devices.simulators.tcp import Door
from tests.devices.simulators.served import behind_a_door
from tests.waiting import until


class Parrot(Simulator):
    """Greets, repeats each line, and notes another text of it."""

    driver = "parrot"
    scheme = "tcp"

    def session(self, client: Client) -> Session:
        client.answer(b"hello\n")
        return Repeating(client)

    def garbage(self, answer: bytes, random: random.Random) -> bytes:
        return b"squawk %d of %d\n" % (random.randint(1, 1), len(answer))

    def address(self, host: str, port: int) -> str:
        return f"{super().address(host, port)}/perch"


class Repeating:
    def __init__(self, client: Client) -> None:
        self.client = client

    def hear(self, chunk: bytes) -> None:
        for line in chunk.splitlines(keepends=True):
            self.client.answer(line, reading=f"heard {len(line)}")

    def end(self) -> None:
        pass


class OldParrot(Parrot):
    scheme = "tls"

    def address(self, host: str, port: int) -> str:
        return f"tls://{host}:{port}"

    def adjust_tls(self, context: ssl.SSLContext) -> None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1


class Diary(FileSimulator):
    """Writes how often it wrote."""

    driver = "diary"
    every: ClassVar[float] = 0.01
    pages = 0

    def write(self, folder: Path) -> list[str]:
        self.pages += 1
        (folder / "page").write_text(str(self.pages))
        return [f"page {self.pages}"]

    @classmethod
    def read_back(cls, reply: str) -> tuple[Mapping[str, Any], tuple[float, ...]]:  # type: ignore[override]
        raise NotImplementedError


async def exchanged(address: str, line: bytes) -> list[bytes]:
    """The greeting, and what came back."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    greeting = await reader.readline()
    writer.write(line)
    lines = [greeting, await reader.readline()]
    writer.close()
    await writer.wait_closed()
    return lines


async def test_a_client_is_greeted_and_the_text_it_is_given_is_noted() -> None:
    noted: list[tuple[int, str]] = []
    async with behind_a_door(
        Parrot, number=3, record=lambda number, text: noted.append((number, text))
    ) as door:
        assert door.address.startswith("tcp://127.0.0.1:")
        assert door.address.endswith("/perch")
        assert await exchanged(door.address, b"polly\n") == [b"hello\n", b"polly\n"]
    assert noted == [(3, "heard 6")]


async def test_a_simulator_has_its_own_garbage_and_what_was_spoilt_is_not_noted() -> None:
    noted: list[str] = []
    async with behind_a_door(Parrot, "garbage", record=lambda _, text: noted.append(text)) as door:
        assert await exchanged(door.address, b"polly\n") == [b"squawk 1 of 6\n"] * 2
    assert noted == []


async def test_an_unplugged_instrument_is_gone_until_it_is_plugged_in_again() -> None:
    async with behind_a_door(Parrot) as door:
        door.simulator.is_plugged = False
        door.look()
        with pytest.raises(ConnectionRefusedError):
            await exchanged(door.address, b"polly\n")
        door.simulator.is_plugged = True
        door.look()
        assert (await exchanged(door.address, b"polly\n"))[1] == b"polly\n"


class ModernParrot(OldParrot):
    def adjust_tls(self, context: ssl.SSLContext) -> None:
        pass


@pytest.mark.parametrize("kind", [OldParrot, ModernParrot])
async def test_every_answer_goes_out_under_tls_also_with_the_end_of_the_handshake(kind: type[Parrot]) -> None:
    async with behind_a_door(kind) as door:
        wanted = {"pin": tls.fingerprint(), "old_protocols": True}
        link = TlsLink(Address.parse(door.address), 5.0, wanted)
        await link.open()
        for _ in range(5):
            assert await link.ask(b"polly\n") in (b"hello", b"polly")
        await link.close()


async def test_an_instrument_under_tls_sets_its_own_protocol() -> None:
    async with behind_a_door(OldParrot) as door:
        address = Address.parse(door.address)
        modern = TlsLink(address, 5.0, {"pin": tls.fingerprint()})
        with pytest.raises(LinkError):
            await modern.open()
        old = TlsLink(address, 5.0, {"pin": tls.fingerprint(), "old_protocols": True})
        await old.open()
        assert await old.ask(b"polly\n") in (b"hello", b"polly")
        await modern.close()
        await old.close()


async def test_files_are_written_until_the_instrument_is_switched_off(tmp_path: Path) -> None:
    noted: list[str] = []
    async with behind_a_door(
        Diary, where=str(tmp_path / "diary"), record=lambda _, text: noted.append(text)
    ) as door:
        folder = tmp_path / "diary"
        assert door.address == folder.as_uri()
        await asyncio.to_thread(until, lambda: len(noted) > 2, every=0.005)
        assert (folder / "page").read_text() == str(len(noted))
        door.simulator.is_plugged = False
        door.look()
        written = len(noted)
        assert not folder.exists()
        await asyncio.sleep(0.03)
        assert len(noted) == written
        door.simulator.is_plugged = True
        door.look()
        assert (folder / "page").read_text() == str(written + 1)


async def test_files_without_a_place_of_their_own_are_removed_at_the_end() -> None:
    async with behind_a_door(Diary) as door:
        folder = urlsplit(door.address).path
        assert os.path.exists(folder)  # noqa: ASYNC240, PTH110
    assert not os.path.exists(os.path.dirname(folder))  # noqa: ASYNC240, PTH110, PTH120


async def test_a_port_is_counted_from_where_it_shall_be() -> None:
    parrot = Parrot(0, 0, {}, Faults(), lambda: 0.0)
    door = Door.at(parrot, "127.0.0.1:0", 4, None)
    port = urlsplit(door.address).port or 0
    await door.close()
    door = Door.at(parrot, f"127.0.0.1:{port - 4}", 4, None)
    assert urlsplit(door.address).port == port
    await door.close()
