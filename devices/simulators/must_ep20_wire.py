"""Modbus RTU as a simulated MUST EP20 speaks it, and the ways in which its replies come out broken."""

from collections.abc import Callable, Iterator
from typing import Protocol

READ, WRITE = 3, 16
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, BUSY = 1, 2, 3, 6
REQUEST_BYTES_MAX = 260


class Registers(Protocol):
    """What the frames are about."""

    unit: int

    def registers(self, start: int, count: int) -> list[int] | None: ...

    def write(self, register: int, values: list[int]) -> bool: ...

    def note(self, start: int, block: list[int]) -> str: ...


def checksum(frame: bytes | bytearray) -> bytes:
    """CRC-16/MODBUS bit by bit, as its definition says."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            carry = value & 1
            value >>= 1
            if carry:
                value ^= 0xA001
    return bytes((value & 0xFF, value >> 8))


def framed(*parts: int | bytes) -> bytes:
    body = b"".join(bytes([part]) if isinstance(part, int) else part for part in parts)
    return body + checksum(body)


def requests(heard: bytearray, unit: int) -> Iterator[bytes]:
    """The requests to this unit with a right checksum in what was heard, which are taken from it; all else is
    passed over in silence."""
    while len(heard) >= 8:
        if heard[0] == unit:
            size = 9 + heard[6] if heard[1] == WRITE else 8
            if size > len(heard):
                break
            frame = bytes(heard[:size])
            if checksum(frame[:-2]) == frame[-2:]:
                del heard[:size]
                yield frame
                continue
        del heard[0]
    del heard[:-REQUEST_BYTES_MAX]


def answer(device: Registers, request: bytes) -> tuple[bytes, str]:
    """The reply, and what of it goes into the ledger."""
    unit, function = request[:2]
    start, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    if function == READ:
        block = device.registers(start, count)
        if block is None:
            return framed(unit, function | 0x80, ILLEGAL_ADDRESS), ""
        payload = b"".join(value.to_bytes(2, "big") for value in block)
        return framed(unit, function, len(payload), payload), device.note(start, block)
    if function == WRITE:
        values = [int.from_bytes(request[at : at + 2], "big") for at in range(7, len(request) - 3, 2)]
        if len(values) != count or not device.write(start, values):
            return framed(unit, function | 0x80, ILLEGAL_VALUE), ""
        return framed(request[:6]), ""
    return framed(unit, function | 0x80, ILLEGAL_FUNCTION), ""


def _again(reply: bytes, at: int, byte: int) -> bytes:
    """With another byte, and the checksum right for that."""
    return framed(reply[:at], byte, reply[at + 1 : -2])


def _zeros(_request: bytes, reply: bytes) -> bytes:
    """Of the large blocks, where it can be told from a reply."""
    return framed(reply[:3], bytes(len(reply) - 5)) if len(reply) >= 25 else bytes(len(reply))


# Fault: what becomes of a reply, and whether it is in there still.
SPOILED: dict[str, tuple[Callable[[bytes, bytes], bytes], bool]] = {
    "crc": (lambda _, reply: reply[:-1] + bytes([reply[-1] ^ 0xFF]), False),
    "short": (lambda _, reply: reply[: min(20, len(reply) - 1)], False),
    "foreign": (lambda _, reply: _again(reply, 0, reply[0] + 1), False),
    "function": (lambda _, reply: _again(reply, 1, 4), False),
    "length": (lambda _, reply: _again(reply, 2, reply[2] - 2), False),
    "noise": (lambda _, reply: b"\x00\xff\x55" + reply, True),
    "echo": (lambda request, reply: request + reply, True),
    "trailing": (lambda _, reply: reply + b"\x00\xff", True),
    "zeros": (_zeros, False),
    "blank": (lambda _, reply: bytes(len(reply)), False),
    "busy": (lambda _, reply: framed(reply[0], reply[1] | 0x80, BUSY), False),
    "refusal": (lambda _, reply: framed(reply[0], reply[1] | 0x80, ILLEGAL_ADDRESS), False),
}
