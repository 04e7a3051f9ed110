"""Contacts in a lab file. Their secrets are only named."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

from alerts.lab_file.rows import Draft, Rows, named, word_faults
from alerts.models import Contact, RouteStep
from alerts.rules import checking, editing
from devices.lab_file import Change, Entry, Kind, LabFileError
from devices.lab_file.tables import suggestion
from devices.services import Person

PLAIN = ("transport", "address", "secret", "enabled")


def _faults(entry: Entry) -> Iterable[str]:
    return word_faults(entry, "transport", checking.TRANSPORTS)


class Contacts(Rows[Contact, models.Model]):
    kind = Kind(
        "contact",
        {
            "name": str,
            "transport": str,
            "address": str,
            "secret": str,
            "enabled": bool,
            "next": str,
            "user": str,
        },
        required=("name", "transport"),
        faults=_faults,
    )
    other = "next"

    def rows(self) -> models.QuerySet[Contact]:
        return Contact.objects.select_related("user")

    def drafts(self, rows: Iterable[Contact]) -> Iterable[Draft[Contact, models.Model]]:
        by_id = {contact.pk: contact for contact in rows}
        for contact in rows:
            contact.next = by_id.get(contact.next_id or 0)
        return [Draft(contact, []) for contact in rows]

    def new(self, entry: Entry) -> Draft[Contact, models.Model]:
        return Draft(Contact(name=entry.name), [])

    def take(
        self,
        entry: Entry,
        draft: Draft[Contact, models.Model],
        known: Mapping[str, Draft[Contact, models.Model]],
    ) -> None:
        contact, table = draft.row, entry.table
        for key in PLAIN:
            if key in table:
                setattr(contact, key, table[key])
        if "next" in table:
            contact.next = named(entry, "next", known)
        if "user" in table:
            contact.user = _user(entry)

    def shown(self, draft: Draft[Contact, models.Model]) -> dict[str, Any]:
        contact = draft.row
        shown = {key: getattr(contact, key) for key in PLAIN}
        shown |= {"next": contact.next.name} if contact.next else {}
        return shown | ({"user": contact.user.get_username()} if contact.user else {})

    def save(self, draft: Draft[Contact, models.Model], by: Person) -> None:
        editing.save_contact(draft.row, by)

    def drop(self, draft: Draft[Contact, models.Model], by: Person) -> Change | None:
        """Whom a route or another contact names stays; who was told something is only switched off."""
        contact = draft.row
        is_named = RouteStep.objects.filter(contact=contact).exists()
        if is_named or Contact.objects.filter(next=contact).exists():
            return None
        if not contact.notices.exists():
            editing.delete_contact(contact, by)
            return Change("−", "contact", contact.name)
        if not contact.enabled:
            return None
        contact.enabled = False
        editing.save_contact(contact, by)
        return Change("~", "contact", contact.name, ("enabled: true → false", "it stays for its notices"))


def _user(entry: Entry) -> Any:
    users, name = get_user_model().objects, entry.table["user"]
    if not name:
        return None
    found = users.filter(username=name).first()
    if found is None:
        there = users.values_list("username", flat=True)
        raise LabFileError(entry.error(f"there is no user {name!r}{suggestion(name, there)}", "user"))
    return found
