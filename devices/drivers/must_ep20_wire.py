"""Frames of the MUST EP20: Modbus RTU, of which it needs one question, "read these registers"."""

from devices.errors import ReplyError

READ = 0x03
REFUSED = 0x80  # added to the function
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, not done yet",
    6: "busy",
}
PASSING = (5, 6)  # it may answer if asked again
SHOWN = 16  # bytes of what came instead of a reply


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = tuple(map(_crc_of_byte, range(256)))


def crc(frame: bytes | bytearray) -> bytes:
    """CRC-16/MODBUS as it is sent: low byte first. Of a frame with its right CRC it is two zeros."""
    value = 0xFFFF
    for byte in frame:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


def framed(body: bytes) -> bytes:
    return body + crc(body)


def read_request(unit: int, start: int, count: int) -> bytes:
    return framed(bytes((unit, READ)) + start.to_bytes(2, "big") + count.to_bytes(2, "big"))


class Refusal(ReplyError):
    """An exception reply: it understood and will not."""

    def __init__(self, code: int) -> None:
        super().__init__(f"it refuses: exception {code}, {EXCEPTIONS.get(code, 'unknown')}")
        self.is_passing = code in PASSING


class Reply:
    """Finds the reply to a read request in what comes: `take` of `StreamLink.exchange`; the registers' bytes.

    Noise, an echo of the request and frames of other units or to other requests are passed over. Where two
    replies have come, the first was late and the last is the one. Raises Refusal, and ReplyError for a reply
    that is whole but spoiled. Keeps no more than one frame.
    """

    def __init__(self, unit: int, count: int) -> None:
        self._head = bytes((unit, READ, 2 * count))
        self._refusal = bytes((unit, READ | REFUSED))
        self._size = 5 + 2 * count
        self._kept = 0
        self.heard = b""  # the beginning of what came
        self.is_whole = False  # a frame came, right or spoiled

    def __call__(self, received: bytearray) -> bytes | None:
        self.heard = (self.heard + received[self._kept : self._kept + SHOWN])[:SHOWN]
        found, spoiled = None, False
        while received:
            if received.startswith(self._refusal):
                size = 5
            elif received.startswith(self._head):
                size = self._size
            elif self._head.startswith(received) or self._refusal.startswith(received):
                break
            else:
                self._skip(received)
                continue
            if len(received) < size:
                break
            self.is_whole = True
            frame = bytes(received[:size])
            if crc(frame) != b"\0\0":
                spoiled = True
                self._skip(received)
                continue
            if size == 5:
                raise Refusal(frame[2])
            found = frame[3:-2]
            del received[:size]
        self._kept = len(received)
        if found is None and spoiled and not received:
            raise ReplyError("a reply with a wrong checksum")
        return found

    def _skip(self, received: bytearray) -> None:
        """To where a frame may begin next."""
        at = received.find(self._head[:1], 1)
        del received[: at if at > 0 else len(received)]
