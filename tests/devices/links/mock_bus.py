"""I2C buses that no kernel has: umockdev answers the ioctls of programs started with its library before libc.

The buses are served from this process, by umockdev's own thread; `Program` is such a program: the real smbus2
under our own link, in a process of its own, as the library must be there when it starts.
"""

import ctypes
import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

import pytest

PRELOAD = "libumockdev-preload.so.0"
I2C_SLAVE, I2C_FUNCS, I2C_SLAVE_FORCE, I2C_RDWR, I2C_SMBUS = 0x703, 0x705, 0x706, 0x707, 0x720
FUNCTIONS = 0x0EFF0009  # plain I2C and SMBus, blocks included
QUICK, BYTE, BYTE_DATA, WORD_DATA, I2C_BLOCK = 0, 1, 2, 3, 8
SIZES = {BYTE: 1, BYTE_DATA: 1, WORD_DATA: 2}
UNION = 34  # bytes that SMBus transfers exchange: a length and at most 32, and one to spare

Handler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class Chips(Protocol):
    """What sits on a bus. Raises OSError for what the kernel would report."""

    def read(self, place: int, first: int, count: int) -> bytes: ...

    def read_on(self, place: int, count: int) -> bytes: ...

    def write(self, place: int, chunk: bytes) -> None: ...


def why_not() -> str:
    """Why there can be no such buses here; empty if there can."""
    try:
        ctypes.CDLL("libumockdev.so.0")
    except OSError:
        return "umockdev is missing: scripts/debian.sh installs it"
    return "" if shutil.which("umockdev-wrapper") else "umockdev's preload library is missing"


def require() -> None:
    """Skip where umockdev is missing; but not in CI, where that would hide a hole."""
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


class _Library:
    """The few functions of libumockdev and GObject that are needed."""

    def __init__(self) -> None:
        mock, gobject = ctypes.CDLL("libumockdev.so.0"), ctypes.CDLL("libgobject-2.0.so.0")
        glib = ctypes.CDLL("libglib-2.0.so.0")
        pointer, size, error = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p

        def function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
            found = getattr(library, name)
            found.restype, found.argtypes = result, arguments
            return found

        self.testbed = function(mock, "umockdev_testbed_new", pointer)
        self.root = function(mock, "umockdev_testbed_get_root_dir", pointer, pointer)
        self.add = function(
            mock, "umockdev_testbed_add_from_string", ctypes.c_int, pointer, ctypes.c_char_p, error
        )
        self.handler = function(mock, "umockdev_ioctl_base_new", pointer)
        self.attach = function(
            mock, "umockdev_testbed_attach_ioctl", ctypes.c_int, pointer, ctypes.c_char_p, pointer, error
        )
        self.request = function(mock, "umockdev_ioctl_client_get_request", ctypes.c_ulong, pointer)
        self.argument = function(mock, "umockdev_ioctl_client_get_arg", pointer, pointer)
        self.complete = function(
            mock, "umockdev_ioctl_client_complete", None, pointer, ctypes.c_long, ctypes.c_int
        )
        self.resolve = function(mock, "umockdev_ioctl_data_resolve", pointer, pointer, size, size, error)
        self.retrieve = function(
            mock, "umockdev_ioctl_data_retrieve", None, pointer, pointer, ctypes.POINTER(ctypes.c_int)
        )
        self.update = function(
            mock, "umockdev_ioctl_data_update", None, pointer, size, ctypes.c_char_p, ctypes.c_int
        )
        self.connect = function(
            gobject,
            "g_signal_connect_data",
            ctypes.c_ulong,
            pointer,
            ctypes.c_char_p,
            Handler,
            pointer,
            pointer,
            ctypes.c_int,
        )
        self.ref = function(gobject, "g_object_ref", pointer, pointer)
        self.unref = function(gobject, "g_object_unref", None, pointer)
        self.free = function(glib, "g_free", None, pointer)


class _Memory:
    """A piece of the calling program's memory; what is written goes back with the answer."""

    def __init__(self, library: _Library, pointer: int) -> None:
        self._library, self._pointer = library, pointer

    def at(self, offset: int, length: int) -> "_Memory":
        """What the pointer at `offset` points to."""
        found = self._library.resolve(self._pointer, offset, length, None)
        if not found:
            raise OSError(errno.EFAULT, "a null pointer")
        self._library.unref(found)  # the whole keeps its parts until the answer
        return _Memory(self._library, found)

    def read(self) -> bytes:
        start, length = ctypes.c_void_p(), ctypes.c_int()
        self._library.retrieve(self._pointer, ctypes.byref(start), ctypes.byref(length))
        try:
            return ctypes.string_at(start.value or 0, length.value)
        finally:
            self._library.free(start)

    def write(self, chunk: bytes) -> None:
        self._library.update(self._pointer, 0, chunk, len(chunk))


class MockBuses:
    """Buses by their numbers. What `chips` of a bus raises reaches the program as the errno it is."""

    def __init__(self, **chips: Chips) -> None:
        """`i2c_1=…` is `/dev/i2c-1`."""
        self._library = _Library()
        self._testbed = self._library.testbed()
        root = self._library.root(self._testbed)
        self.root = ctypes.string_at(root).decode()
        self._library.free(root)
        self.mistakes: list[BaseException] = []  # of this module or the chips
        self.transfers = 0
        self._hangs = threading.Event()
        self._held: list[int] = []
        self._places: dict[int, int] = {}  # of the program's open files
        self._kept: list[Any] = []
        self._handlers: list[int] = []
        for name, each in chips.items():
            self._add(name.replace("_", "-"), each)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "UMOCKDEV_DIR": self.root, "LD_PRELOAD": PRELOAD}

    def hang(self) -> None:
        """From now on no transfer ends."""
        self._hangs.set()

    def go_on(self) -> None:
        """All that hang end, not acknowledged."""
        self._hangs.clear()
        held, self._held = self._held, []
        for client in held:
            self._library.complete(client, -1, errno.EREMOTEIO)
            self._library.unref(client)

    def close(self) -> None:
        self.go_on()
        for handler in self._handlers:
            self._library.unref(handler)
        self._library.unref(self._testbed)
        assert not self.mistakes, self.mistakes

    def _add(self, name: str, chips: Chips) -> None:
        library = self._library
        described = f"P: /devices/{name}\nN: {name}\nE: DEVNAME=/dev/{name}\nE: SUBSYSTEM=i2c-dev\n\n"
        assert library.add(self._testbed, described.encode(), None)
        handler = library.handler()
        callback = Handler(lambda _handler, client, _data: self._handle(chips, client))
        self._kept.append(callback)
        self._handlers.append(handler)
        library.connect(handler, b"handle-ioctl", callback, None, None, 0)
        assert library.attach(self._testbed, f"/dev/{name}".encode(), handler, None)

    # ---- one ioctl; in umockdev's thread

    def _handle(self, chips: Chips, client: int) -> bool:
        request = self._library.request(client)
        if self._hangs.is_set() and request != I2C_FUNCS:
            self._held.append(self._library.ref(client))
            return True
        try:
            result, number = self._answer(chips, client, request), 0
        except OSError as error:
            result, number = -1, error.errno or errno.EIO
        except BaseException as error:  # noqa: BLE001 - nothing must reach umockdev's thread
            self.mistakes.append(error)
            result, number = -1, errno.EPROTO
        self._library.complete(client, result, number)
        return True

    def _answer(self, chips: Chips, client: int, request: int) -> int:
        argument = _Memory(self._library, self._library.argument(client))
        if request in {I2C_SLAVE, I2C_SLAVE_FORCE}:
            self._places[client] = int.from_bytes(argument.read(), sys.byteorder)
            return 0
        if request == I2C_FUNCS:
            argument.at(0, 8).write(struct.pack("L", FUNCTIONS))
            return 0
        self.transfers += 1
        if request == I2C_SMBUS:
            _smbus(chips, self._places[client], argument.at(0, 16))
            return 0
        if request == I2C_RDWR:
            return _messages(chips, argument.at(0, 16))
        raise OSError(errno.ENOTTY, "no I2C ioctl")


def _smbus(chips: Chips, place: int, call: _Memory) -> None:
    is_read, command, size = struct.unpack_from("BBxxI", call.read())
    if size == QUICK or (size == BYTE and not is_read):
        chips.write(place, b"" if size == QUICK else bytes([command]))
        return
    union = call.at(8, UNION)
    given = union.read()
    if size == BYTE:
        union.write(chips.read_on(place, 1))
    elif size == I2C_BLOCK and is_read:
        union.write(given[:1] + chips.read(place, command, given[0]))
    elif size == I2C_BLOCK:
        chips.write(place, bytes([command]) + given[1 : 1 + given[0]])
    elif is_read:
        union.write(chips.read(place, command, SIZES[size]))
    else:
        chips.write(place, bytes([command]) + given[: SIZES[size]])


def _messages(chips: Chips, call: _Memory) -> int:
    (count,) = struct.unpack_from("8xI", call.read())
    messages = call.at(0, 16 * count)
    for number, (place, flags, length) in enumerate(struct.iter_unpack("HHHxx8x", messages.read())):
        chunk = messages.at(16 * number + 8, length)
        if flags & 1:
            chunk.write(chips.read_on(place, length))
        else:
            chips.write(place, chunk.read())
    return int(count)


class Program:
    """`smbus_program.py`, told what to do line by line."""

    def __init__(self, buses: MockBuses) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.devices.links.smbus_program"],
            cwd=Path(__file__).parents[3],
            env=buses.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def does(self, what: str, **arguments: Any) -> Any:
        """What it returned. Raises `Failed` if that was an error."""
        self.begin(what, **arguments)
        return self.end()

    def begin(self, what: str, **arguments: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self._process.stdin.flush()

    def end(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the program has ended"
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"], answer["text"])
        return answer["result"]

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


class Failed(Exception):
    """What went wrong in the program: the error's class and its words."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text = kind, text
