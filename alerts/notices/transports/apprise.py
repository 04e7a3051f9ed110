"""Whatever the Apprise library speaks. The contact's secret is the whole URL (or several).

Several are apart by spaces.
"""

import logging
import warnings
from functools import cache
from importlib import import_module
from typing import Any

from alerts.models import Contact, Priority
from alerts.notices.transports.base import TransportError
from alerts.notices.words import Message
from devices import secrets
from devices.errors import ConfigurationError

PATIENCE = 8.0
TYPES = {Priority.CRITICAL: "FAILURE", Priority.HIGH: "FAILURE", Priority.MEDIUM: "WARNING"}


def check(contact: Contact) -> None:
    """Raises ConfigurationError, without the URL."""
    _services(contact)


def send(contact: Contact, message: Message) -> str:
    """Hand it to the library, which says no more than whether it was taken."""
    services = _services(contact)
    library = _library()
    is_over = message.kind == "recovery" or not message.standing
    kind = "SUCCESS" if is_over else TYPES.get(Priority(message.priority or Priority.LOW), "INFO")
    body = message.text.partition("\n")[2]
    told = services.notify(
        body=body, title=message.title, notify_type=getattr(library.NotifyType, kind),
        body_format=library.NotifyFormat.TEXT, interpret_escapes=False, timeout=PATIENCE,
    )  # fmt: skip
    if told:
        return ""
    names = ", ".join(sorted({str(service.service_name) for service in services}))
    if told.status == library.AppriseResultStatus.TIMEOUT:
        raise TransportError(f"{names}: no answer within {PATIENCE:g} s", away=True)
    # It has no id by which the other side could take a second one for the first: later changes may join.
    raise TransportError(f"{names}: not taken")


def _services(contact: Contact) -> Any:
    if not contact.secret:
        raise ConfigurationError("the contact names no secret that holds the Apprise URL")
    library = _library()
    services = library.Apprise(asset=library.AppriseAsset(async_mode=False, app_id="Labsite"))
    for url in secrets.of(contact.secret).split():
        if not services.add(url):
            raise ConfigurationError(f"the secret {contact.secret} is no URL that Apprise understands")
    return services


@cache
def _library() -> Any:
    """Loaded when it is needed: it is large. It logs payloads and addresses, so its log is not ours."""
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():  # of what its hundred modules import
        warnings.simplefilter("ignore")
        library = import_module("apprise")
        library.Apprise.instantiate("json://localhost")
    return library
