"""Edges and instruments in a lab file."""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from devices import drivers, services
from devices.errors import ConfigurationError
from devices.lab_file.changes import Change, added, changed
from devices.lab_file.force import said
from devices.lab_file.reading import is_one_of
from devices.lab_file.tables import Entry, Kind, Lab, LabFileError, suggestion
from devices.lab_file.writing import NOTE
from devices.models import INTERVAL_MAX, INTERVAL_MIN, LOCAL_EDGE, PUSH_EDGE, Edge, Instrument


def _instrument_faults(entry: Entry) -> Iterable[str]:
    if _is_pushed(entry):
        for key in ("edge", "address"):
            if key in entry.table:
                yield entry.error(f"what is pushed has no {key}", key)
    elif "address" not in entry.table:
        yield entry.error("address is missing")
    interval = entry.table.get("interval")
    if is_one_of(interval, float) and not INTERVAL_MIN <= interval <= INTERVAL_MAX:  # type: ignore[operator]
        yield entry.error(
            f"interval is {interval} s; it must be from {INTERVAL_MIN} to {INTERVAL_MAX:.0f} s (a day)",
            "interval",
        )


EDGE = Kind("edge", {"name": str})
INSTRUMENT = Kind(
    "instrument",
    {
        "name": str,
        "driver": str,
        "edge": str,
        "interval": float,
        "address": str,
        "in_service": bool,
        "tags": list[str],
        "options": dict,
    },
    required=("name", "driver"),
    faults=_instrument_faults,
)


class Inventory:
    """What there is: edges and instruments."""

    kinds = (EDGE, INSTRUMENT)

    def apply(self, lab: Lab, by: services.Person, *, prune: bool) -> list[Change]:
        edges = {edge.name: edge for edge in Edge.objects.filter(retired_at=None).exclude(name=PUSH_EDGE)}
        instruments = {
            instrument.name: instrument
            for instrument in Instrument.objects.select_for_update(of=("self",))
            .filter(retired_at=None)
            .select_related("edge")
        }
        before = dict(instruments)
        changes = _add_edges(lab, edges, by)
        for entry in lab.of("instrument"):
            changes += _put(entry, instruments.get(entry.name), edges, by)
        named = {entry.name for entry in lab.of("instrument")}
        left_out = [instrument for name, instrument in before.items() if name not in named]
        changes += _retire_demo(lab, before, left_out, by)
        if prune:
            changes += _prune(lab, left_out, edges, by)
        return changes

    def export(self) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
        """The edges' instruments for themselves come with the edges."""
        edges = Edge.objects.filter(retired_at=None).exclude(name=PUSH_EDGE)
        yield "edge", [{"name": edge.name} for edge in edges]
        standing = Instrument.objects.filter(retired_at=None).exclude(driver=services.HOST_DRIVER)
        yield "instrument", [_table_of(instrument) for instrument in standing.select_related("edge")]


INVENTORY = Inventory()


def _is_pushed(entry: Entry) -> bool:
    return entry.kind == "instrument" and entry.table.get("driver") == services.PUSH_DRIVER


def _key_of(field: str, message: str) -> str:
    """The key that a driver's, link's or form's message speaks of: a driver's begins with it."""
    if field not in ("", "options"):
        return field
    if found := re.match(r"option (\w+)", message):
        return f"options.{found[1]}"
    word = message.split(" ", 1)[0]
    return word if word in INSTRUMENT.keys else "options"


def _add_edges(lab: Lab, edges: dict[str, Edge], by: services.Person) -> list[Change]:
    """Make the edges that are not there yet; the local one also when instruments only imply it."""
    wanted = list(lab.of("edge"))
    named = {entry.name for entry in wanted}
    polled = [entry for entry in lab.of("instrument") if not _is_pushed(entry)]
    implied = [entry for entry in polled if entry.table.get("edge", LOCAL_EDGE) == LOCAL_EDGE]
    if implied and LOCAL_EDGE not in named:
        wanted.append(implied[0])
    changes = []
    for entry in wanted:
        name = entry.name if entry.kind == "edge" else LOCAL_EDGE
        if name not in edges:
            edges[name] = said(entry, lambda *_: "name", partial(services.save_edge, name, by=by))
            changes.append(Change("+", "edge", name))
    return changes


def _put(
    entry: Entry, instrument: Instrument | None, edges: Mapping[str, Edge], by: services.Person
) -> list[Change]:
    """Make or change one instrument as its entry says."""
    new = instrument is None
    instrument = instrument or Instrument(name=entry.name)
    was: dict[str, Any] = {} if new else _shown(instrument)
    _take_over(entry, instrument, edges, new=new)
    if not new and _shown(instrument) == was:
        return []
    said(entry, _key_of, partial(services.save_instrument, instrument, by=by))
    now = _shown(instrument)
    if now == was:
        return []
    return [added("instrument", entry.name, now) if new else changed("instrument", entry.name, was, now)]


def _take_over(entry: Entry, instrument: Instrument, edges: Mapping[str, Edge], *, new: bool) -> None:
    """Write the entry's keys onto the instrument; the options of another driver do not stay."""
    table = entry.table
    if not _is_pushed(entry) and (new or "edge" in table):
        name = table.get("edge", LOCAL_EDGE)
        if name not in edges:
            raise LabFileError(entry.error(f"there is no edge {name!r}{suggestion(name, edges)}", "edge"))
        instrument.edge = edges[name]
    same_driver = not new and instrument.driver == table["driver"]
    stay = instrument.options if same_driver else {}
    instrument.driver = table["driver"]
    if not same_driver and instrument.driver not in drivers.names():
        message = f"there is no driver {instrument.driver!r}{suggestion(instrument.driver, drivers.names())}"
        raise LabFileError(entry.error(message, "driver"))
    instrument.address = table.get("address", services.PUSH_ADDRESS)
    instrument.options = _checked(entry, instrument.driver, {**stay, **table.get("options", {})})
    instrument.tags = list(dict.fromkeys(table.get("tags", instrument.tags)))
    if "interval" in table:
        instrument.interval = float(table["interval"])
    if "in_service" in table:
        instrument.in_service = table["in_service"]


def _checked(entry: Entry, driver_name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options in the types that the driver declares, so that 1 and 1.0 are no difference."""
    if driver_name not in drivers.names():
        return options  # an instrument kept from a package that is not installed now
    driver = said(entry, lambda *_: "driver", partial(drivers.load, driver_name))
    declared = {option.name: option for option in driver.options}
    for name in options:
        if name not in declared:
            message = f"{driver.label} has no option {name!r}{suggestion(name, declared)}"
            raise LabFileError(entry.error(message, f"options.{name}"))
    return {
        name: said(entry, _key_of, partial(declared[name].checked, value)) for name, value in options.items()
    }


def _shown(instrument: Instrument) -> dict[str, Any]:
    """What a file can say of an instrument, for comparing and for the diff."""
    return {
        "driver": instrument.driver,
        "edge": instrument.edge.name,
        "address": instrument.address,
        "interval": instrument.interval,
        "in_service": instrument.in_service,
        **({"tags": instrument.tags} if instrument.tags else {}),
        **{f"options.{name}": value for name, value in _options(instrument).items()},
    }


def _options(instrument: Instrument) -> dict[str, Any]:
    """The options in their declared types (the database turns 1e300 into an integer), as far as they are."""
    try:
        checked = drivers.load(instrument.driver).checked_options(instrument.options)
    except ConfigurationError:
        return dict(instrument.options)
    return {name: checked[name] for name in instrument.options}


def _retire_demo(
    lab: Lab, before: Mapping[str, Instrument], left_out: list[Instrument], by: services.Person
) -> list[Change]:
    """An own lab ends the demonstration: retire those of its instruments that the file does not name."""
    own = any(not (entry.name in before and before[entry.name].demo) for entry in lab.of("instrument"))
    demo = [instrument for instrument in left_out if instrument.demo]
    if not own or not demo:
        return []
    if len(demo) == sum(instrument.demo for instrument in before.values()):
        services.retire_demo(by=by)
    else:
        for instrument in demo:
            services.retire_instrument(instrument, by=by)
    return [Change("−", "instrument", instrument.name, ("demo",)) for instrument in demo]


def _prune(
    lab: Lab, left_out: list[Instrument], edges: Mapping[str, Edge], by: services.Person
) -> list[Change]:
    """Retire what the file does not name, but for the local edge and the edges' own instruments."""
    changes = []
    standing = Instrument.objects.filter(pk__in=[instrument.pk for instrument in left_out], retired_at=None)
    for instrument in standing.exclude(driver=services.HOST_DRIVER):
        services.retire_instrument(instrument, by=by)
        changes.append(Change("−", "instrument", instrument.name))
    named = {LOCAL_EDGE} | {entry.name for entry in lab.of("edge")}
    for name in edges.keys() - named:
        if not _polls(edges[name]):
            services.retire_edge(edges[name], by=by)
            changes.append(Change("−", "edge", name))
    return changes


def _polls(edge: Edge) -> bool:
    """Whether it has instruments other than the one for itself."""
    standing = Instrument.objects.filter(edge=edge, retired_at=None)
    return standing.exclude(driver=services.HOST_DRIVER).exists()


def _table_of(instrument: Instrument) -> dict[str, Any]:
    values = {
        "name": instrument.name,
        "driver": instrument.driver,
        "edge": instrument.edge.name,
        "interval": instrument.interval,
        "address": instrument.address,
        "in_service": instrument.in_service,
    }
    if instrument.driver == services.PUSH_DRIVER:
        del values["edge"], values["address"]
    if instrument.tags:
        values["tags"] = instrument.tags
    if instrument.demo:
        values[NOTE] = "demo: simulated"
    if options := _options(instrument):
        values["options"] = options
    return values
