"""What an edge process is told through its environment, checked before anything starts."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SPOOL_BYTES = 1 << 30
SPOOL_BYTES_MIN = 1 << 20
COMMIT_MIN_S, COMMIT_MAX_S = 0.1, 5.0
EDGE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
KEY = re.compile(r"(\d{1,5}):([0-9a-fA-F]{64})")


class BadSetting(Exception):
    """An environment variable that cannot be used; the message is for the person who set it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One edge: its name, its broker, its key and where it keeps what it must not lose."""

    name: str
    broker_url: str
    key_version: int
    key: bytes
    folder: Path
    spool_bytes: int = SPOOL_BYTES
    commit_every: float = 1.0  # seconds; what a power cut loses at most

    @property
    def queue(self) -> str:
        """The broker queue this edge reads."""
        return f"edge.{self.name}"

    def key_of(self, edge: str, version: int) -> bytes | None:
        """The key that a message in the name of `edge` must be signed with; an edge knows only its own."""
        return self.key if (edge, version) == (self.name, self.key_version) else None

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises BadSetting naming the variable."""
        name = _needed(environment, "LABSITE_EDGE", "the edge's name, as `manage.py enrol_edge` prints it")
        if not EDGE_NAME.fullmatch(name):
            raise BadSetting(
                f"LABSITE_EDGE is {name!r}; a name has letters a-z, digits and hyphens, at most 40"
            )
        version, key = _key(environment)
        folder = _needed(environment, "LABSITE_SPOOL", "the folder where readings wait for the centre")
        return cls(
            name,
            _broker(environment),
            version,
            key,
            _folder(folder),
            _spool_bytes(environment),
            _commit_every(environment),
        )


def _needed(environment: Mapping[str, str], variable: str, what: str) -> str:
    if text := environment.get(variable, "").strip():
        return text
    raise BadSetting(f"{variable} is not set; it is {what}")


def _broker(environment: Mapping[str, str]) -> str:
    url = _needed(environment, "LABSITE_BROKER_URL", "like redis://:password@host:6379/0")
    try:
        parts = urlsplit(url)
        usable = bool(parts.scheme) and (bool(parts.hostname) or bool(parts.path)) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        # Not shown: a broker's URL carries its password.
        raise BadSetting("LABSITE_BROKER_URL is no URL; write it like redis://:password@host:6379/0")
    return url


def _key(environment: Mapping[str, str]) -> tuple[int, bytes]:
    text = environment.get("LABSITE_EDGE_KEY", "").strip()
    if path := environment.get("LABSITE_EDGE_KEY_FILE", "").strip():
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BadSetting(f"LABSITE_EDGE_KEY_FILE: cannot read {path}: {reason}") from None
    if not text:
        raise BadSetting(
            "LABSITE_EDGE_KEY (or LABSITE_EDGE_KEY_FILE) is not set; `manage.py enrol_edge` prints it"
        )
    match = KEY.fullmatch(text)
    if match is None:
        raise BadSetting("LABSITE_EDGE_KEY must be <version>:<64 hexadecimal digits>")
    return int(match[1]), bytes.fromhex(match[2])


def _folder(text: str) -> Path:
    folder = Path(text).expanduser().absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSetting(f"LABSITE_SPOOL: cannot make the folder {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadSetting(f"LABSITE_SPOOL: the folder {folder} cannot be written")
    return folder


def _commit_every(environment: Mapping[str, str]) -> float:
    text = environment.get("LABSITE_COMMIT_S", "").strip() or "1"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not COMMIT_MIN_S <= seconds <= COMMIT_MAX_S:
        raise BadSetting(f"LABSITE_COMMIT_S is {text!r}; write seconds, {COMMIT_MIN_S} to {COMMIT_MAX_S}")
    return seconds


def _spool_bytes(environment: Mapping[str, str]) -> int:
    text = environment.get("LABSITE_SPOOL_BYTES", "").strip()
    if not text:
        return SPOOL_BYTES
    if not text.isdecimal() or int(text) < SPOOL_BYTES_MIN:
        raise BadSetting(
            f"LABSITE_SPOOL_BYTES is {text!r}; write a number of bytes, at least {SPOOL_BYTES_MIN}"
        )
    return int(text)
