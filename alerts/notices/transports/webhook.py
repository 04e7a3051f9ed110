"""Webhooks: the notice as JSON, by POST, signed. docs/notices.md describes what is sent."""

import hashlib
import hmac
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from alerts.models import Contact
from alerts.notices.transports.base import TransportError
from alerts.notices.words import Message
from devices import secrets
from devices.errors import ConfigurationError

VERSION = 1
PATIENCE = (3.0, 6.0)  # seconds: to connect, and for each part of the answer
ASKS_FOR_PATIENCE = (429, 503)
NOT_FINAL = (408, 425, *ASKS_FOR_PATIENCE)
RETRY_MOST = 3600.0


def check(contact: Contact) -> None:
    """Raises ConfigurationError."""
    if urlsplit(contact.address).scheme not in ("http", "https") or not urlsplit(contact.address).hostname:
        raise ConfigurationError("the contact has no address like https://example.org/hook")
    if contact.secret:
        secrets.of(contact.secret)


def send(contact: Contact, message: Message) -> str:
    """Post it, once and to nowhere else: redirects are not followed. Returns the status."""
    check(contact)
    body = encode(message)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Labsite",
        "X-Labsite-Notice": message.id,
        "Idempotency-Key": message.id,
    }
    if contact.secret:
        headers["X-Labsite-Signature"] = signature(secrets.of(contact.secret), body, int(time.time()))
    host = urlsplit(contact.address).hostname
    try:
        answer = requests.post(
            contact.address, body, headers=headers, timeout=PATIENCE, allow_redirects=False, stream=True
        )
    except requests.RequestException as error:
        raise _not_reached(host, error) from None
    with answer:
        _judge(f"{host} answered {answer.status_code}", answer)
    return str(answer.status_code)


def encode(message: Message) -> bytes:
    """The body: JSON in UTF-8, times in ISO 8601."""
    said: dict[str, Any] = {"version": VERSION, **asdict(message)}
    del said["html"]
    return json.dumps(said, ensure_ascii=False, default=datetime.isoformat).encode()


def signature(secret: str, body: bytes, at: int) -> str:
    """`t=…,v1=…`: HMAC-SHA256 of the time in seconds since 1970, a point and the body, in hexadecimal."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _judge(words: str, answer: requests.Response) -> None:
    """Raises TransportError unless it was taken."""
    code = answer.status_code
    if 200 <= code < 300:
        return
    if code in ASKS_FOR_PATIENCE:
        raise TransportError(words, retry_after=_retry_after(answer.headers.get("Retry-After", "")))
    if 300 <= code < 400:
        raise TransportError(f"{words}: redirects are not followed")
    # A proxy's 502 or 504 says nothing of what became of it behind there.
    raise TransportError(words, final=400 <= code < 500 and code not in NOT_FINAL, unsure=code >= 500)


def _retry_after(text: str) -> float | None:
    """Seconds, or a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(text) if text.strip().isdigit() else _seconds_until(parsedate_to_datetime(text))
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.0), RETRY_MOST) or None


def _seconds_until(at: datetime) -> float:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()


def _not_reached(host: str | None, error: requests.RequestException) -> TransportError:
    """In our own words: those of the library hold the address, which may be a secret by itself."""
    reason = error.args[0] if error.args else None
    cause = reason.reason if isinstance(reason, MaxRetryError) else reason
    if isinstance(error, requests.exceptions.SSLError):
        return TransportError(f"{host}: no TLS that can be trusted", away=True)
    if isinstance(cause, NewConnectionError | ConnectTimeoutError):
        return TransportError(f"{host} cannot be reached", away=True)
    if isinstance(error, requests.Timeout):
        return TransportError(f"no answer of {host} within {PATIENCE[1]:g} s", unsure=True, away=True)
    return TransportError(f"{host} broke off", unsure=True, away=True)
