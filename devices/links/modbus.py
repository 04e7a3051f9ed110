"""Modbus by TCP and by serial line (RTU). pymodbus makes the questions, takes the answers apart and knows the
checksum; the bytes go over Labsite's own links, which have deadlines, bounds and the port's lock.

Where an answer begins and ends is found here: its length is known from the question, so that noise and echoes
before it, and late answers to earlier questions, are told from it.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from itertools import cycle
from typing import Any

from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Address, Link
from devices.links.stream import StreamLink, Take
from devices.links.tcp import TcpLink

REQUESTS: dict[str, type[ModbusPDU]] = {
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
}
BITS = ("coil", "discrete")
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, not done yet",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "no answer from the device behind the gateway",
}
TCP_FRAME_MIN, FRAME_MAX = 9, 260  # an exception; 253 bytes and the header

_decoder = DecodePDU(is_server=False)
_rtu, _socket = FramerRTU(_decoder), FramerSocket(_decoder)


class ModbusRefusal(ReplyError):
    """The device answered with an exception; `code` says which."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(EXCEPTIONS.get(code, f"exception {code}"))


class ModbusLink(Link):
    """The base of Modbus links. Settings: `unit`; `timeout`, in seconds, for each question; `retries`, how
    often one without an answer is asked again, where a serial line may have spoiled it."""

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        self.unit = int(self.settings.get("unit", 1))
        self.timeout = min(deadline, float(self.settings.get("timeout", deadline)))
        self.stream = self.new_stream()

    @classmethod
    def inner(cls, address: Address) -> Address:
        """The address of the stream of bytes that Modbus goes over."""
        return Address.parse("tcp" + address.url[len(address.scheme) :])

    @classmethod
    def check(cls, address: Address) -> None:
        try:
            TcpLink.check(cls.inner(address))
        except ConfigurationError:
            raise ConfigurationError(
                f"address {address.url!r} needs a host and a port, and nothing else: "
                f"{address.scheme}://192.168.1.50:502"
            ) from None

    def new_stream(self) -> StreamLink:
        return TcpLink(self.inner(self.address), self.deadline)

    async def open(self) -> None:
        await self.stream.open()

    async def close(self) -> None:
        await self.stream.close()

    async def read(self, table: str, address: int, count: int) -> list[int]:
        """Registers, or bits as 0 and 1, of the table named (`REQUESTS`).

        Raises ModbusRefusal if the device refuses, LinkError if it does not answer, or not to this question.
        """
        question = REQUESTS[table](dev_id=self.unit, address=address, count=count)
        size = (count + 7) // 8 if table in BITS else 2 * count
        answer = await self.exchange(question, size)
        pdu = _decoder.decode(answer) if answer else None
        if pdu is not None and pdu.isError() and pdu.function_code & 0x7F == question.function_code:
            raise ModbusRefusal(pdu.exception_code)
        if pdu is None or pdu.function_code != question.function_code or answer[1:2] != bytes([size]):
            raise self.error(f"no answer to what was asked: {answer.hex():.60}")
        values = pdu.bits if table in BITS else pdu.registers
        if len(values) < count:
            raise self.error(f"an answer that is too short: {answer.hex():.60}")
        return [int(value) for value in values[:count]]

    async def exchange(self, question: ModbusPDU, size: int) -> bytes:
        """What answers, from the function code on; `size` of its values in bytes. Raises LinkError."""
        raise NotImplementedError

    def error(self, reason: str) -> LinkError:
        return LinkError(f"{self.address.url}, unit {self.unit}: {reason}")


class ModbusTcpLink(ModbusLink):
    """`modbus+tcp://host:port`. Frames have numbers: a late answer is told from the next."""

    schemes = ("modbus+tcp",)

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        self._numbers = cycle(range(1, 65_536))

    async def exchange(self, question: ModbusPDU, size: int) -> bytes:  # noqa: ARG002
        question.transaction_id = next(self._numbers)
        request = _socket.buildFrame(question)
        self.stream.deadline = self.timeout
        return await self.stream.exchange(request, tcp_answer(request))


class ModbusRtuLink(ModbusLink):
    """`modbus+rtu+tcp://host:port`: a serial line's frames through a serial server that knows no Modbus."""

    schemes = ("modbus+rtu+tcp",)
    silence: float = 0.0  # seconds between frames; over TCP the server's business

    async def exchange(self, question: ModbusPDU, size: int) -> bytes:
        request = _rtu.buildFrame(question)
        for _ in range(1 + int(self.settings.get("retries", 0))):
            await asyncio.sleep(self.silence)
            with contextlib.suppress(ReplyError):  # silence
                return await self.stream.exchange(request, rtu_answer(request, size), self.timeout)
            # Frames have no numbers: a late answer must not meet the next question.
            await self.stream.settle(self.timeout / 2, self.timeout)
        raise self.error(f"no answer within {self.timeout:g} s")


def tcp_answer(request: bytes) -> Take:
    """Finds the answer that bears the request's number; what follows the header of it. Nothing (b"") for what
    is no Modbus."""
    number = request[:2]

    def take(received: bytearray) -> bytes | None:
        while len(received) >= 6:
            size = 6 + int.from_bytes(received[4:6], "big")
            if received[2:4] != b"\0\0" or not TCP_FRAME_MIN <= size <= FRAME_MAX:
                return b""
            if len(received) < size:
                return None
            frame = bytes(received[:size])
            del received[:size]
            if frame[:2] == number:
                return frame[7:]
        return None

    return take


def rtu_answer(request: bytes, size: int) -> Take:
    """Finds the answer with `size` bytes of values, or a refusal, with the right checksum; without unit and
    checksum."""
    unit, function = request[:2]
    beginnings = ((bytes([unit, function, size]), size + 5), (bytes([unit, function | 0x80]), 5))

    def take(received: bytearray) -> bytes | None:
        if received.startswith(request):  # an adapter that hears itself
            del received[: len(request)]
        for at in range(len(received)):
            for beginning, length in beginnings:
                frame = received[at : at + length]
                if frame.startswith(beginning) and len(frame) == length and _is_sound(frame):
                    return bytes(frame[1:-2])
        del received[:-FRAME_MAX]
        return None

    return take


def _is_sound(frame: bytearray) -> bool:
    return FramerRTU.check_CRC(bytes(frame[:-2]), int.from_bytes(frame[-2:], "big"))
