"""Becomes another program, after giving up root and tying itself to its parent where that is asked.

Run by path, with the standard library only: `python launch.py [--drop] [--die-with=SIGNAL] PROGRAM ARGUMENT…`
PostgreSQL refuses to run as root. With --drop root becomes `nobody`, but keeps the one capability that lets
it pass folders of mode 0700 (a checkout or a Python below /root), as an ambient one that is inherited by what
it starts.
"""

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


class CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class CapabilitySet(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def permitted() -> int:
    """The capabilities this process may use, as a bit mask."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm")), 16)


def drop_root() -> None:
    """From root to `nobody`, with the right to pass closed folders if root had it."""
    account = pwd.getpwnam("nobody")
    passes = next((cap for cap in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if permitted() & 1 << cap), None)
    check(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
    if passes is not None:
        # access(2), by which initdb looks for postgres, heeds the capability only with this.
        libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    mask = 0 if passes is None else 1 << passes
    sets = (CapabilitySet * 2)(CapabilitySet(mask, mask, mask), CapabilitySet(0, 0, 0))
    check(libc.capset(ctypes.byref(CapabilityHeader(CAPABILITY_VERSION_3, 0)), sets))
    if passes is not None:
        check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, passes, 0, 0))


def die_with_parent(number: int, parent: int) -> None:
    """Have the kernel send this signal when the parent ends. A change of user undoes it: call it last."""
    check(libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0))
    if os.getppid() != parent:
        sys.exit(1)


def main(arguments: list[str]) -> None:
    parent = os.getppid()
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option == "--drop" and os.geteuid() == 0:
            drop_root()
        elif option.startswith("--die-with="):
            die_with_parent(signal.Signals[option.partition("=")[2]], parent)
    os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
