"""Rules, contacts and routes in a lab file.

    [[rule]]
    name = "Bath too warm"
    kind = "high"
    channel = "Bath 1/ch0.temperature"  # or instrument = …, or any of driver, edge and tag; with key = "ch*"
    high = 40.0
    deadband = 0.5
    on_delay = 10
    priority = "high"
    suppressed_by = "Bath in maintenance"
    guidance = "Look at the pump."

    [[rule.override]]                   # what is otherwise for one of its channels
    channel = "Bath 2/ch0.temperature"
    high = 60.0

    [[contact]]
    name = "Bench room"
    transport = "matrix"
    address = "!bench:example.org"

    [[route]]
    name = "Working hours"
    days = ["mon", "tue", "wed", "thu", "fri"]
    start = "08:00"
    end = "18:00"
    zone = "Europe/Berlin"
    steps = [{ contact = "Bench room" }, { contact = "On call", after = 600 }]

Secrets are only named: `secret = "HOOK"` stands for LABSITE_SECRET_HOOK at the centre.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from alerts.lab_file.contacts import Contacts
from alerts.lab_file.routes import Routes
from alerts.lab_file.rows import put
from alerts.lab_file.rules import Rules
from devices.lab_file import Change, Lab
from devices.services import Person

RULES, CONTACTS, ROUTES = Rules(), Contacts(), Routes()


class Alarms:
    """What should not be so, and who is told."""

    kinds = (RULES.kind, CONTACTS.kind, ROUTES.kind)

    def apply(self, lab: Lab, by: Person, *, prune: bool) -> list[Change]:
        changes = [*put(RULES, lab, by), *put(CONTACTS, lab, by), *put(ROUTES, lab, by)]
        if prune:  # whom a route tells stays
            for rows in (ROUTES, CONTACTS, RULES):
                changes += rows.prune(lab, by)
        return changes

    def export(self) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
        for rows in (RULES, CONTACTS, ROUTES):
            yield rows.kind.name, rows.tables()


ALARMS = Alarms()
