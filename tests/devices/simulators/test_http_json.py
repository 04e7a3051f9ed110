"""The simulated device, asked without a wire, and what simulated HTTP servers have in common."""

import asyncio
import json
from itertools import pairwise

import pytest

from devices.links.base import Address
from devices.simulators.faults import Fault, Faults
from devices.simulators.http import Request
from devices.simulators.http_json import HttpJson
from tests.devices.simulators.served import Clock, behind_a_door


def simulated(*faults: str, seed: int = 0, **settings: str) -> tuple[HttpJson, Clock]:
    clock = Clock()
    parsed = Faults([Fault.parse(text, HttpJson.faults_of_its_own) for text in faults])
    return HttpJson(0, seed, settings, parsed, clock), clock


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("HEAD", "/status", {}, 200),
        ("POST", "/status", {}, 405),
        ("GET", "/else", {}, 404),
    ],
)
def test_what_is_asked_is_answered(method: str, path: str, headers: dict[str, str], status: int) -> None:
    assert simulated()[0].respond(Request(method, path, {}, headers, b"")).status == status


def test_values_go_their_way_the_same_with_the_same_seed() -> None:
    def told(seed: int) -> list[float]:
        device, clock = simulated(seed=seed)
        values = []
        for _ in range(300):
            clock.now += 5
            values.append(json.loads(device.respond(Request("GET", "/", {}, {}, b"")).body)["value"])
        return values

    first = told(1)
    assert first == told(1) != told(2)
    assert 1.5 < max(first) - min(first) < 5
    assert max(abs(a - b) for a, b in pairwise(first)) < 0.5


def test_the_ledger_reads_back_what_was_sent() -> None:
    device, _ = simulated(value="7.5")
    response = device.respond(Request("GET", "/", {}, {}, b""))
    assert isinstance(response.reading, str)
    values, times = HttpJson.read_back(response.reading)
    assert (values["value"], values["pump"], times) == (7.5, True, (1.0,))
    assert 11 < values["flow"] < 14
    assert 15 < values["temperature"] < 21


@pytest.mark.parametrize("kind", ["missing", "null"])
def test_of_a_reply_that_lacks_values_the_ledger_has_the_others(kind: str) -> None:
    device, _ = simulated(kind)
    response = device.respond(Request("GET", "/", {}, {}, b""))
    assert isinstance(response.reading, str)
    assert json.loads(response.body).get("value") is None
    values, _ = HttpJson.read_back(response.reading)
    assert (values["value"], values["temperature"], values["pump"]) == (None, None, True)
    assert 11 < values["flow"] < 14


@pytest.mark.parametrize(
    ("sent", "begin"),
    [
        (b"hello\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"GET /%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n"),
    ],
)
async def test_a_connection_ends_after_what_is_no_request_and_where_it_should(
    sent: bytes, begin: bytes
) -> None:
    async with behind_a_door(HttpJson) as door:
        address = Address.parse(door.address)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(begin)


async def test_requests_that_come_together_are_answered_in_turn() -> None:
    async with behind_a_door(HttpJson) as door:
        address = Address.parse(door.address)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        one = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        writer.write(one + one[:-2])
        writer.write(b"connection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.index(b'"count": 1') < answer.index(b'"count": 2')


@pytest.mark.parametrize("seed", range(30))
def test_garbage_is_never_an_answer(seed: int) -> None:
    device, _ = simulated("garbage", seed=seed)
    answer = b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"value": 21}'
    delivery = Faults([Fault.parse("garbage")], seed).deliver(answer, 0, 0.0, device.garbage)
    assert delivery is not None
    ((_, spoilt),) = delivery.pieces
    head, _, body = spoilt.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1"):
        assert body == b'{"valu'
        assert b"content-length: 6" in head
    else:
        assert spoilt.startswith(b"\xff")
