"""What people do with sinks. Each function asks first whether this person may."""

import logging
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import secrets
from devices.errors import ConfigurationError, Refused
from devices.services import Operator, Person
from telemetry import outbox
from telemetry.models import Sink
from telemetry.sinks.client import Client
from telemetry.sinks.outcome import Verdict

DESCRIPTION = (
    "name", "enabled", "api", "url", "org", "bucket", "user", "secret", "schema", "measurement", "tags",
    "only", "batch_size", "flush_interval", "gzip", "alert_threshold",
)  # fmt: skip
CONDITIONS = ("driver", "edge", "tag", "instrument")
ASKED_FOR = re.compile(r"{(?!(?:instrument|driver|edge)})")

logger = logging.getLogger(__name__)


def name_of(by: Person) -> str:
    return by.name if isinstance(by, Operator) else by.get_username()


def require_staff(by: Person) -> None:
    """Raises PermissionDenied unless this is an active member of staff."""
    if not (by.is_active and getattr(by, "is_staff", False)):
        raise PermissionDenied("only staff may see and change sinks")


@transaction.atomic
def save_sink(sink: Sink, by: Person) -> Sink:
    """Save a new or changed sink. Raises ValidationError.

    A new one starts at the present; one that was disabled goes on where it was, if the outbox has that still.
    """
    require_staff(by)
    check_sink(sink)
    was = Sink.objects.select_for_update().filter(pk=sink.pk).first() if sink.pk else None
    changed = [*DESCRIPTION, "failures", "retry_at", "error"]
    if sink.enabled and not (was and was.enabled):
        others = Sink.objects.filter(enabled=True).exclude(pk=sink.pk).exists()
        present = outbox.present(timezone.now(), fed=others)
        if was is None or not was.at_xid:
            sink.at_xid, sink.at_id = present
            changed += ["at_xid", "at_id"]
    sink.failures, sink.retry_at, sink.error = 0, None, was.error if was and was.must_rebuild else ""
    sink.save(update_fields=changed if was else None)
    outbox.wake()
    logger.info("sink %s is saved by %s", sink, name_of(by))
    return sink


def set_enabled(sink: Sink, by: Person, *, on: bool) -> None:
    """Feed it, or do not: what is stored while it is disabled is not kept for it."""
    sink.enabled = on
    save_sink(sink, by)


@transaction.atomic
def start_at_present(sink: Sink, by: Person) -> None:
    """Feed it from now on, whatever it has missed."""
    require_staff(by)
    others = Sink.objects.filter(enabled=True).exclude(pk=sink.pk).exists()
    at = outbox.present(timezone.now(), fed=others)
    Sink.objects.filter(pk=sink.pk).update(
        at_xid=at.xid, at_id=at.id, must_rebuild=False, rebuild={}, failures=0, retry_at=None, error=""
    )
    outbox.wake()
    logger.info("sink %s starts at the present, says %s", sink, name_of(by))


def delete_sink(sink: Sink, by: Person) -> None:
    """Forget a sink; what is in its database stays there."""
    require_staff(by)
    logger.info("sink %s is deleted by %s", sink, name_of(by))
    sink.delete()


@dataclass(frozen=True, slots=True)
class Tested:
    """Whether a sink would take points, and the words for who asked."""

    ok: bool
    words: str


def test_sink(sink: Sink, by: Person) -> Tested:
    """Whether its server is there and would take points; none is written. Takes up to 15 s."""
    require_staff(by)
    try:
        client = Client(sink)
    except ConfigurationError as error:
        return Tested(ok=False, words=str(error))
    try:
        outcome, version = client.test()
    finally:
        client.close()
    if outcome.verdict is Verdict.ACCEPTED:
        server = urlsplit(sink.url).netloc + (f" ({version})" if version else "")
        return Tested(ok=True, words=_("%(server)s takes points") % {"server": server})
    if outcome.verdict is Verdict.NO_DATABASE:
        words = _("%(words)s; it is made at the first write, if the user may") % {"words": outcome.words}
        return Tested(ok=False, words=words)
    return Tested(ok=False, words=outcome.words)


# ---- what can work


def check_sink(sink: Sink) -> None:
    """Raises ValidationError, by field."""
    faults: dict[str, Any] = {}
    try:
        sink.full_clean()
    except ValidationError as error:
        faults = dict(error.error_dict)
    for name, words in (
        ("url", _fault_of_url(sink.url)),
        ("secret", _fault_of_secret(sink)),
        ("measurement", _fault_of_measurement(sink.measurement)),
        ("tags", _fault_of_tags(sink.tags)),
        ("only", _fault_of_only(sink.only)),
    ):
        if words and name not in faults:
            faults[name] = [words]
    if faults:
        raise ValidationError(faults)


def _fault_of_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or not url.isprintable() or " " in url:
        return _("It begins with http:// or https:// and a host.")
    if parts.username is not None or parts.password is not None:
        return _("User and password do not go into the URL: name the user and a secret.")
    return _("It ends before any ? and #.") if parts.query or parts.fragment else ""


def _fault_of_secret(sink: Sink) -> str:
    if sink.secret and not secrets.NAME.fullmatch(sink.secret):
        return _("A secret is named by capitals, digits and underscores.")
    if sink.api == Sink.Api.V1 and sink.secret and not sink.user:
        return _("A password needs a user.")
    return ""


def _fault_of_measurement(measurement: str) -> str:
    if measurement.startswith(("#", "_")) or not measurement.isprintable() or measurement.endswith("\\"):
        return _("It begins with neither # nor _, has only printable characters, and ends with no backslash.")
    return ""


def _fault_of_tags(tags: Any) -> str:
    if not isinstance(tags, dict):
        return _('Write an object, such as {"room": "214"}.')
    for key, value in tags.items():
        if not isinstance(value, str) or not key or key.startswith("_") or not (key + value).isprintable():
            return _("A tag has a name that does not begin with _, and a text of printable characters.")
        if ASKED_FOR.search(value):
            return _("In braces there may be {instrument}, {driver} or {edge}.")
    return ""


def _fault_of_only(only: Any) -> str:
    if not isinstance(only, dict):
        return _('Write an object, such as {"driver": "thermostat"}.')
    for key, words in only.items():
        if key not in CONDITIONS:
            return _("%(key)s is none of %(known)s.") % {"key": repr(key), "known": ", ".join(CONDITIONS)}
        listed = words if isinstance(words, list) else [words]
        if not listed or not all(isinstance(word, str) and word for word in listed):
            return _("%(key)s is a word or a list of words.") % {"key": key}
    return ""


def find(name: str) -> Sink:
    """The sink of this name. Raises Refused."""
    sink = Sink.objects.filter(name=name).first()
    if sink is None:
        there = ", ".join(Sink.objects.values_list("name", flat=True)) or "none"
        raise Refused(f"there is no sink {name!r}; there are: {there}")
    return sink
