"""One key per edge and version, derived from a master key that is kept outside the database."""

import time
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from devices.models import Edge

REMEMBERED_S = 2.0  # so that a rotation or a retirement acts within seconds in every process


class _Enrolment(NamedTuple):
    version: int  # 0: there is no such edge, or it is retired
    until: float


_enrolments: dict[str, _Enrolment] = {}


@lru_cache(maxsize=4096)
def derive(name: str, version: int) -> bytes:
    """The key of an edge whether it exists or not: HKDF-SHA256 (RFC 5869), 32 bytes."""
    purpose = f"labsite edge {name} v{version}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(settings.EDGE_MASTER_KEY)


def key_of(name: str, version: int) -> bytes | None:
    """The key to open an edge's message with; None if the edge is unknown or retired, or its key too old.

    The version before the current one is still taken, so that a rotation needs no hurry at the edge.
    """
    current = _current_version(name)
    if not current or version not in (current, current - 1):
        return None
    return derive(name, version)


def as_text(name: str, version: int) -> str:
    """The key as LABSITE_EDGE_KEY takes it."""
    return f"{version}:{derive(name, version).hex()}"


def forget() -> None:
    """Ask the database again, in this process, for every edge."""
    _enrolments.clear()


def _current_version(name: str) -> int:
    now = time.monotonic()
    known = _enrolments.get(name)
    if known is None or known.until < now:
        if len(_enrolments) > 10_000:  # names that were made up
            _enrolments.clear()
        found = Edge.objects.filter(name=name, retired_at=None).values_list("key_version", flat=True).first()
        known = _enrolments[name] = _Enrolment(found or 0, now + REMEMBERED_S)
    return known.version
