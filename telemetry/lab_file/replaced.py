"""Interfaces of replaced programs in a lab file.

[[replaced]]
instrument = "Bath 1"
kind = "thermostat"       # or ups, metatron
open = true               # answers without a login, as the program did
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from devices.lab_file import Change, Entry, Kind, Lab, LabFileError
from devices.lab_file.changes import added, changed
from devices.lab_file.force import said
from devices.lab_file.tables import suggestion
from devices.models import Instrument
from devices.services import Person
from telemetry import interfaces
from telemetry.models import ReplacedInterface

PLAIN = ("enabled", "open", "options")


def _faults(entry: Entry) -> Iterable[str]:
    kind, words = entry.table.get("kind"), ReplacedInterface.Kind.values
    if isinstance(kind, str) and kind not in words:
        yield entry.error(f"kind: {kind!r} is none{suggestion(kind, words)}", "kind")


REPLACED = Kind(
    "replaced",
    {"instrument": str, "kind": str, "enabled": bool, "open": bool, "options": dict},
    required=("instrument", "kind"),
    faults=_faults,
    names=("instrument", "kind"),
)


class Replaced:
    """Which instrument answers as which program did."""

    kinds = (REPLACED,)

    def apply(self, lab: Lab, by: Person, *, prune: bool) -> list[Change]:
        known = {_name(each): each for each in _standing().select_for_update(of=("self",))}
        entries = {entry.name: entry for entry in lab.of("replaced")}
        changes = [change for entry in entries.values() for change in _put(entry, known, by)]
        if prune:
            for name in sorted(known.keys() - entries.keys()):
                interfaces.delete(known[name], by=by)
                changes.append(Change("−", "replaced", name))
        return changes

    def export(self) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
        yield "replaced", [_table(each) for each in _standing()]


INTERFACES = Replaced()


def _standing() -> Any:
    return ReplacedInterface.objects.filter(instrument__retired_at=None).select_related("instrument")


def _name(interface: ReplacedInterface) -> str:
    return f"{interface.instrument.name} {interface.kind}"


def _put(entry: Entry, known: Mapping[str, ReplacedInterface], by: Person) -> list[Change]:
    """Make or change one as its entry says; what the entry leaves out stays."""
    interface = known.get(entry.name)
    was = None if interface is None else _shown(interface)
    interface = interface or ReplacedInterface(instrument=_instrument(entry), kind=entry.table["kind"])
    for key in PLAIN:
        if key in entry.table:
            setattr(interface, key, entry.table[key])
    now = _shown(interface)
    if now == was:
        return []
    said(entry, lambda field, _: field, partial(interfaces.save, interface, by=by))
    return [added("replaced", entry.name, now) if was is None else changed("replaced", entry.name, was, now)]


def _instrument(entry: Entry) -> Instrument:
    standing = Instrument.objects.filter(retired_at=None)
    found = standing.filter(name=entry.table["instrument"]).first()
    if found is None:
        near = suggestion(entry.table["instrument"], standing.values_list("name", flat=True))
        message = f"there is no instrument {entry.table['instrument']!r}{near}"
        raise LabFileError(entry.error(message, "instrument"))
    return found


def _shown(interface: ReplacedInterface) -> dict[str, Any]:
    return {"enabled": interface.enabled, "open": interface.open, "options": interface.options}


def _table(interface: ReplacedInterface) -> dict[str, Any]:
    """What is otherwise than where nothing is said."""
    usual = _shown(ReplacedInterface())
    values = {key: value for key, value in _shown(interface).items() if value != usual[key]}
    return {"instrument": interface.instrument.name, "kind": interface.kind, **values}
