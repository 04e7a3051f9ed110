"""Computed channels, calibrations and storage policies in a lab file.

    [[computed]]
    channel = "Room/dew_point"                  # a key that the instrument does not report itself
    formula = "dew_point(temperature, humidity)"
    unit = "Cel"

    [[calibration]]
    channel = "Bath 1/ch0.temperature"          # makes Bath 1/ch0.temperature.calibrated
    from = 2026-01-15T00:00:00Z
    polynomial = [0.12, 0.998]                  # the constant first; or table = [[0.0, 0.1], [50.0, 49.8]]

    [[storage]]
    channel = "Bath 1/ch1.temperature"
    mode = "dead_band"                          # or change, or all
    dead_band = 0.05
    heartbeat = 300.0

A calibrated channel may have a [[computed]] of its own, without a formula, for its label and unit.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from devices.errors import Refused
from devices.lab_file import Change, Entry, Kind, Lab, LabFileError
from devices.lab_file.changes import added, changed
from devices.lab_file.force import said
from devices.lab_file.tables import suggestion
from devices.models import Channel, Instrument
from devices.services import Person
from telemetry import defining
from telemetry.computing.formulas import FormulaError, parse
from telemetry.defining import CALIBRATED
from telemetry.models import Calibration, ComputedChannel, StoragePolicy

ALL = "all"  # the mode of a channel without a policy
MODES = (ALL, *StoragePolicy.Mode.values)
CURVES = tuple(Calibration.Kind.values)
OF_CHANNEL = ("label", "unit", "digits", "low", "high")
FIELDS = {"key": "channel", "instrument": "channel", "valid_from": "from"}  # a service's → the file's


def _formula_faults(entry: Entry) -> Iterable[str]:
    formula = entry.table.get("formula")
    if isinstance(formula, str):
        try:
            parse(formula)
        except FormulaError as error:
            yield entry.error(str(error), "formula")


def _curve_faults(entry: Entry) -> Iterable[str]:
    if sum(kind in entry.table for kind in CURVES) != 1:
        yield entry.error(f"either {' or '.join(CURVES)} is needed")


def _mode_faults(entry: Entry) -> Iterable[str]:
    mode = entry.table.get("mode")
    if isinstance(mode, str) and mode not in MODES:
        yield entry.error(f"mode: {mode!r} is none{suggestion(mode, MODES)}", "mode")
    if mode == ALL and (others := entry.table.keys() - {"channel", "mode"}):
        yield entry.error(f"where all is stored there is no {min(others)}", min(others))


COMPUTED = Kind(
    "computed",
    {"channel": str, "formula": str, "label": str, "unit": str, "digits": int, "low": float, "high": float},
    required=("channel",),
    faults=_formula_faults,
    names=("channel",),
)
CALIBRATION = Kind(
    "calibration",
    {"channel": str, "from": date, "polynomial": list[float], "table": list[list[float]], "note": str},
    required=("channel", "from"),
    faults=_curve_faults,
    names=("channel", "from"),
)
STORAGE = Kind(
    "storage",
    {"channel": str, "mode": str, "dead_band": float, "heartbeat": float},
    required=("channel", "mode"),
    faults=_mode_faults,
    names=("channel",),
)


class Definitions:
    """What is computed from what is measured, and what of it all is stored."""

    kinds = (COMPUTED, CALIBRATION, STORAGE)

    def apply(self, lab: Lab, by: Person, *, prune: bool) -> list[Change]:
        changes = []
        for entry in _in_order([*lab.of("computed"), *lab.of("calibration")]):
            put = _put_computed if entry.kind == "computed" else _put_calibration
            changes += put(entry, by)
        for entry in lab.of("storage"):
            changes += _put_storage(entry, by)
        return changes + (_pruned(lab, by) if prune else [])

    def export(self) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
        written = [(_name(each.channel), _written(each)) for each in _computed()]
        yield "computed", [{"channel": name, **values} for name, values in written if values]
        yield (
            "calibration",
            [
                {"channel": _name(each.channel), "from": each.valid_from, **_shown_calibration(each)}
                for each in _calibrations()
            ],
        )
        yield "storage", [{"channel": _name(each.channel), **_shown_policy(each)} for each in _policies()]


DEFINITIONS = Definitions()


def _computed() -> Any:
    rows = ComputedChannel.objects.filter(channel__instrument__retired_at=None)
    return rows.select_related("channel__instrument", "source").order_by("channel")


def _calibrations() -> Any:
    rows = Calibration.objects.filter(channel__instrument__retired_at=None)
    return rows.select_related("channel__instrument").order_by("channel", "valid_from")


def _policies() -> Any:
    rows = StoragePolicy.objects.filter(channel__instrument__retired_at=None)
    return rows.select_related("channel__instrument").order_by("channel")


# ---- names


class Place(NamedTuple):
    """Where a channel is, or is to be."""

    instrument: Instrument
    key: str


def _name(channel: Channel) -> str:
    return f"{channel.instrument.name}/{channel.key}"


def _place(entry: Entry) -> Place:
    """The place at `instrument/key`; both may hold strokes: of several the one that has a channel counts."""
    path = str(entry.table["channel"])
    keys = {path[: stroke.start()]: path[stroke.end() :] for stroke in re.finditer("/", path)}
    if not keys:
        raise LabFileError(entry.error(f"{path!r} is no channel: write “Instrument/key”", "channel"))
    standing = Instrument.objects.filter(retired_at=None)
    places = [Place(each, keys[each.name]) for each in standing.filter(name__in=keys)]
    if not places:
        name = path.rpartition("/")[0]
        near = suggestion(name, standing.values_list("name", flat=True))
        raise LabFileError(entry.error(f"there is no instrument {name!r}{near}", "channel"))
    there = [each for each in places if each.instrument.channels.filter(key=each.key).exists()]
    if len(there) > 1:
        raise LabFileError(entry.error(f"{path!r} may be two channels", "channel"))
    return max(there or places, key=lambda each: len(each.instrument.name))


def _channel(entry: Entry) -> Channel:
    instrument, key = _place(entry)
    found = instrument.channels.select_related("instrument").filter(key=key).first()
    if found is None:
        near = suggestion(key, instrument.channels.values_list("key", flat=True))
        raise LabFileError(entry.error(f"{instrument} has no channel {key!r}{near}", "channel"))
    return found


def _key_of(field: str, message: str) -> str:  # noqa: ARG001 - as others take it
    return FIELDS.get(field, field)


# ---- making and changing


def _in_order(entries: list[Entry]) -> Iterator[Entry]:
    """Each after what it is computed from; where that goes in a ring, saving says so."""
    makes: dict[Place, list[Entry]] = {}
    needs: dict[Place, set[Place]] = {}
    for entry in entries:
        place = _place(entry)
        wanted = {place}
        if entry.kind == "calibration":
            place = Place(place.instrument, place.key + CALIBRATED)
        else:
            keys = parse(entry.table["formula"]).keys if "formula" in entry.table else ()
            wanted = {Place(place.instrument, key) for key in keys}
        makes.setdefault(place, []).append(entry)
        needs.setdefault(place, set()).update(wanted)
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError:
        order = list(makes)
    for place in order:  # calibrations make the channel that a [[computed]] only describes
        yield from sorted(makes.get(place, ()), key=lambda entry: entry.kind)


def _put_computed(entry: Entry, by: Person) -> list[Change]:
    instrument, key = _place(entry)
    computed = _computed().filter(channel__instrument=instrument, channel__key=key).first()
    was = _shown(computed) if computed else None
    if computed is None:
        computed = ComputedChannel(channel=Channel(instrument=instrument, key=key))
    if computed.source and "formula" in entry.table:
        raise LabFileError(entry.error("a calibrated channel has no formula", "formula"))
    computed.formula = entry.table.get("formula", computed.formula)
    for name in OF_CHANNEL:
        if name in entry.table:
            setattr(computed.channel, name, entry.table[name])
    if was is not None and _shown(computed) == was:
        return []
    said(entry, _key_of, partial(defining.save_computed, computed, by))
    if was is None:
        return [added("computed", entry.name, _written(computed))]
    return [changed("computed", entry.name, was, _shown(computed))]


def _put_calibration(entry: Entry, by: Person) -> list[Change]:
    channel, since = _channel(entry), _moment(entry.table["from"])
    calibration = _calibrations().filter(channel=channel, valid_from=since).first()
    was = _shown_calibration(calibration) if calibration else None
    calibration = calibration or Calibration(channel=channel, valid_from=since)
    (calibration.kind,) = (kind for kind in CURVES if kind in entry.table)
    calibration.numbers = entry.table[calibration.kind]
    calibration.note = entry.table.get("note", calibration.note)
    now = _shown_calibration(calibration)
    if now == was:
        return []
    save = partial(defining.save_calibration, calibration, by)
    said(entry, lambda field, _: calibration.kind if field == "numbers" else FIELDS.get(field, field), save)
    return [
        added("calibration", entry.name, now) if was is None else changed("calibration", entry.name, was, now)
    ]


def _put_storage(entry: Entry, by: Person) -> list[Change]:
    channel = _channel(entry)
    policy = _policies().filter(channel=channel).first()
    if entry.table["mode"] == ALL:
        if policy is None:
            return []
        defining.delete_policy(policy, by)
        return [Change("−", "storage", entry.name)]
    was = _shown_policy(policy) if policy else None
    policy = policy or StoragePolicy(channel=channel)
    policy.mode = entry.table["mode"]
    policy.dead_band = 0.0 if policy.mode == StoragePolicy.Mode.CHANGE else policy.dead_band
    for name in ("dead_band", "heartbeat"):
        if name in entry.table:
            setattr(policy, name, float(entry.table[name]))
    now = _shown_policy(policy)
    if now == was:
        return []
    said(entry, _key_of, partial(defining.save_policy, policy, by))
    return [added("storage", entry.name, now) if was is None else changed("storage", entry.name, was, now)]


def _moment(given: date) -> datetime:
    """A date is its midnight; without a zone it is UTC."""
    found = given if isinstance(given, datetime) else datetime.combine(given, time())
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


# ---- leaving out


def _pruned(lab: Lab, by: Person) -> list[Change]:
    """What the file does not name goes; but what something that it names is computed from stays."""
    named = {str(entry.table["channel"]) for entry in lab.of("storage")}
    policies = {name: each for each in _policies() if (name := _name(each.channel)) not in named}
    for policy in policies.values():
        defining.delete_policy(policy, by)
    changes = [Change("−", "storage", name) for name in policies]
    left = {_title(each): each for each in (*_left_out_computed(lab), *_left_out_calibrations(lab))}
    while gone := [title for title, each in left.items() if _is_deleted(each, by)]:
        changes += [Change("−", *title) for title in gone]
        left = {title: each for title, each in left.items() if title not in gone}
    return changes


Definition = ComputedChannel | Calibration


def _left_out_computed(lab: Lab) -> list[Definition]:
    named = {str(entry.table["channel"]) for entry in lab.of("computed")}
    return [each for each in _computed() if not each.source_id and _name(each.channel) not in named]


def _left_out_calibrations(lab: Lab) -> list[Definition]:
    named = {(str(entry.table["channel"]), _moment(entry.table["from"])) for entry in lab.of("calibration")}
    return [each for each in _calibrations() if (_name(each.channel), each.valid_from) not in named]


def _title(each: Definition) -> tuple[str, str]:
    if isinstance(each, Calibration):
        return "calibration", f"{_name(each.channel)} {each.valid_from}"
    return "computed", _name(each.channel)


def _is_deleted(each: Definition, by: Person) -> bool:
    """Not as long as something else is computed from it."""
    try:
        if isinstance(each, Calibration):
            defining.delete_calibration(each, by)
        else:
            defining.delete_computed(each, by)
    except Refused:
        return False
    return True


# ---- as a file says it


def _shown(computed: ComputedChannel) -> dict[str, Any]:
    """All that a file can say of it; without what is null."""
    found = {"formula": computed.formula} if computed.formula else {}
    own = {name: getattr(computed.channel, name) for name in OF_CHANNEL}
    return found | {name: value for name, value in own.items() if value is not None}


def _written(computed: ComputedChannel) -> dict[str, Any]:
    """What is otherwise than where nothing is said."""
    if computed.source:
        usual = defining.calibrated_of(computed.source)
    else:
        usual = Channel(label=computed.channel.key)
    shown = _shown(computed)
    return {name: value for name, value in shown.items() if value != getattr(usual, name, None)}


def _shown_calibration(calibration: Calibration) -> dict[str, Any]:
    return {calibration.kind: calibration.numbers, **({"note": calibration.note} if calibration.note else {})}


def _shown_policy(policy: StoragePolicy) -> dict[str, Any]:
    band = {"dead_band": policy.dead_band} if policy.dead_band else {}
    return {"mode": policy.mode, **band, "heartbeat": policy.heartbeat}
