"""A lab as a file: edges and instruments written in TOML, compared with what there is, and put in force.

    [[edge]]
    name = "bench"

    [[instrument]]
    name = "Bath 1"
    driver = "thermostat"
    address = "tcp://192.168.1.26:23"
    edge = "bench"          # `local` if a new instrument names none
    interval = 1.0
    in_service = true

    [instrument.options]
    target = true
    password = { secret = "BATH" }      # of drivers that ask for one: its name, which the edge looks up

    [[instrument.options.channels]]     # of drivers whose channels a lab declares itself
    key = "level"

Names tell which is which. What the file leaves out stays as it is: whole edges and instruments (unless they
are to be pruned) and single keys of an instrument that there is already.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.items
from django.core.exceptions import ValidationError
from django.db import transaction

from devices import drivers, services
from devices.errors import ConfigurationError, Refused
from devices.models import INTERVAL_MAX, INTERVAL_MIN, LOCAL_EDGE, PUSH_EDGE, Edge, Instrument

KEYS: dict[str, dict[str, type]] = {
    "edge": {"name": str},
    "instrument": {
        "name": str,
        "driver": str,
        "edge": str,
        "interval": float,
        "address": str,
        "in_service": bool,
        "options": dict,
    },
}
REQUIRED = {"edge": ("name",), "instrument": ("name", "driver", "address")}
PUSHED = ("name", "driver")  # what is required of an instrument that nobody polls
TYPE_NAMES = {str: "text in quotes", float: "a number", bool: "true or false", dict: "a table"}

# A string over several lines may hold what looks like a table's header.
MULTI_LINE_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}', re.DOTALL)
HEADER = re.compile(r"\s*\[\[\s*\"?(edge|instrument)\"?\s*\]\]")


class LabFileError(Exception):
    """The file cannot be put in force; each line of the message names the file and the line or key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One table of the file: an edge or an instrument. `line` is its header's; None if it has no header."""

    kind: str
    table: dict[str, Any]
    path: str
    line: int | None
    key_lines: Mapping[str, int]

    @property
    def name(self) -> str:
        return str(self.table.get("name", ""))

    def error(self, message: str, key: str = "") -> str:
        """The message with the place that it speaks of."""
        line = self.key_lines.get(key, self.line)
        place = f"{self.path}:{line}" if line else self.path
        title = f"{self.kind} {self.name!r}" if self.name else f"a nameless {self.kind}"
        return f"{place}: {title}: {message}"


@dataclass(frozen=True, slots=True)
class Lab:
    """What a file says, checked for all that can be known without the database."""

    path: str
    edges: tuple[Entry, ...]
    instruments: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the diff: `sign` is + (new), ~ (changed) or − (retired)."""

    sign: str
    kind: str
    name: str
    details: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return "\n    ".join([f"{self.sign} {self.kind} {self.name}", *self.details])


# ---- reading


def read(path: Path) -> Lab:
    """The lab in a file. Raises LabFileError, with every fault that was found."""
    return parse(_text(path), str(path))


def parse(text: str, path: str) -> Lab:
    """The lab in a text; `path` is for messages. Raises LabFileError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LabFileError(_syntax_error(error, path, text)) from None
    faults = [
        f"{path}: {key!r} is no table of a lab file{suggestion(key, KEYS)}"
        for key in document
        if key not in KEYS
    ]
    places = _places(text)
    found: dict[str, list[Entry]] = {}
    for kind in KEYS:
        tables = document.get(kind, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            faults.append(f"{path}: write each {kind} as a table [[{kind}]]")
            continue
        found[kind] = _entries(kind, tables, path, places[kind])
        for entry in found[kind]:
            faults += _faults(entry)
        faults += _doubles(found[kind])
    if faults:
        raise LabFileError("\n".join(faults))
    return Lab(path, tuple(found["edge"]), tuple(found["instrument"]))


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known) or 'none'}"


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LabFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LabFileError(f"{path}: not UTF-8 at byte {error.start}") from None


def _syntax_error(error: tomllib.TOMLDecodeError, path: str, text: str) -> str:
    """tomllib's message with its place in front."""
    if found := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL):
        return f"{path}:{found[2]}: {found[1]} (column {found[3]})"
    message = str(error).removesuffix(" (at end of document)")
    return f"{path}:{text.count(chr(10)) + 1}: {message} (at the end of the file)"


@dataclass(frozen=True, slots=True)
class _Place:
    line: int
    key_lines: dict[str, int]


def _places(text: str) -> dict[str, list[_Place]]:
    """Where each [[edge]] and [[instrument]] stands, and in it each key; the parser does not tell."""
    plain = MULTI_LINE_STRING.sub(lambda string: '""' + "\n" * string[0].count("\n"), text)
    places: dict[str, list[_Place]] = {kind: [] for kind in KEYS}
    keys: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(plain.splitlines(), start=1):
        if header := HEADER.match(line):
            keys, prefix = {}, ""
            places[header[1]].append(_Place(number, keys))
        elif item := re.match(r"\s*\[\[\s*instrument\s*\.\s*options\s*\.\s*\"?([\w-]+)\"?", line):
            keys.setdefault(f"options.{item[1]}", number)
            prefix = "an item's "  # whose keys are no instrument's
        elif table := re.match(r"\s*\[\s*instrument\s*\.\s*\"?(\w+)\"?\s*\]", line):
            prefix = f"{table[1]}."
            keys.setdefault(table[1], number)
        elif key := re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line):
            keys.setdefault(prefix + key[1], number)
            keys.setdefault((prefix + key[1]).split(".")[0], number)
    return places


def _entries(kind: str, tables: list[dict[str, Any]], path: str, places: list[_Place]) -> list[Entry]:
    """The tables with their places; without, where they are not written under headers of their own."""
    if len(places) != len(tables):
        return [Entry(kind, table, path, None, {}) for table in tables]
    return [
        Entry(kind, table, path, place.line, place.key_lines)
        for table, place in zip(tables, places, strict=True)
    ]


def _faults(entry: Entry) -> list[str]:
    """What is wrong with an entry by itself."""
    known = KEYS[entry.kind]
    faults = [
        entry.error(f"unknown key {key!r}{suggestion(key, known)}", key)
        for key in entry.table
        if key not in known
    ]
    needed = PUSHED if _is_pushed(entry) else REQUIRED[entry.kind]
    faults += [entry.error(f"{key} is missing") for key in needed if key not in entry.table]
    if _is_pushed(entry):
        needless = [key for key in ("edge", "address") if key in entry.table]
        faults += [entry.error(f"what is pushed has no {key}", key) for key in needless]
    for key, kind in known.items():
        if key in entry.table and not _is(entry.table[key], kind):
            faults.append(entry.error(f"{key} must be {TYPE_NAMES[kind]}", key))
    interval = entry.table.get("interval")
    if _is(interval, float) and not INTERVAL_MIN <= interval <= INTERVAL_MAX:  # type: ignore[operator]
        faults.append(
            entry.error(
                f"interval is {interval} s; it must be from {INTERVAL_MIN} to {INTERVAL_MAX:.0f} s (a day)",
                "interval",
            )
        )
    if "name" in entry.table and not str(entry.table["name"]).strip():
        faults.append(entry.error("name is empty", "name"))
    return faults


def _is_pushed(entry: Entry) -> bool:
    return entry.kind == "instrument" and entry.table.get("driver") == services.PUSH_DRIVER


def _is(value: object, kind: type) -> bool:
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and not math.isnan(value)  # type: ignore[arg-type]
    return isinstance(value, kind)


def _doubles(entries: list[Entry]) -> list[str]:
    first: dict[str, Entry] = {}
    faults = []
    for entry in entries:
        if entry.name in first:
            before = first[entry.name].key_lines.get("name")
            where = f" in line {before}" if before else ""
            faults.append(entry.error(f"the name stands{where} already", "name"))
        first.setdefault(entry.name, entry)
    return faults


# ---- putting in force


def apply(lab: Lab, by: services.Person, *, prune: bool = False, dry_run: bool = False) -> list[Change]:
    """Make the database as the file says, in one transaction; the changes made, or that would be made.

    A dry run does the same and takes it back, so that it finds every error. `prune` retires what the file
    does not name. The first instrument of one's own retires those of the demo lab that are not named.
    Raises LabFileError, and then nothing has changed.
    """
    with transaction.atomic():
        changes = _apply(lab, by, prune)
        transaction.set_rollback(dry_run)
    return changes


def _apply(lab: Lab, by: services.Person, prune: bool) -> list[Change]:
    edges = {edge.name: edge for edge in Edge.objects.filter(retired_at=None).exclude(name=PUSH_EDGE)}
    instruments = {
        instrument.name: instrument
        for instrument in Instrument.objects.select_for_update(of=("self",))
        .filter(retired_at=None)
        .select_related("edge")
    }
    before = dict(instruments)
    changes = _add_edges(lab, edges, by)
    for entry in lab.instruments:
        changes += _put(entry, instruments.get(entry.name), edges, by)
    named = {entry.name for entry in lab.instruments}
    left_out = [instrument for name, instrument in before.items() if name not in named]
    changes += _retire_demo(lab, before, left_out, by)
    if prune:
        changes += _prune(lab, left_out, edges, by)
    return changes


def _said(entry: Entry, key_of: Callable[[str], str], act: Callable[[], Any]) -> Any:
    """Do it; what the services refuse is told with its place in the file."""
    try:
        return act()
    except ValidationError as error:
        raise LabFileError("\n".join(_validation_faults(entry, error))) from None
    except (ConfigurationError, Refused) as error:
        message = str(error)
        raise LabFileError(entry.error(message, key_of(message))) from None


def _validation_faults(entry: Entry, error: ValidationError) -> list[str]:
    if not hasattr(error, "error_dict"):
        return [entry.error(message) for message in error.messages]
    return [
        entry.error(
            message if key == "__all__" else f"{key}: {message}",
            _key_of(message) if key == "options" else key,
        )
        for key, messages in error.message_dict.items()
        for message in messages
    ]


def _key_of(message: str) -> str:
    """The key that a driver's or link's message speaks of: it begins with it."""
    if found := re.match(r"option (\w+)", message):
        return f"options.{found[1]}"
    word = message.split(" ", 1)[0]
    return word if word in KEYS["instrument"] else "options"


def _add_edges(lab: Lab, edges: dict[str, Edge], by: services.Person) -> list[Change]:
    """Make the edges that are not there yet; the local one also when instruments only imply it."""
    wanted = list(lab.edges)
    named = {entry.name for entry in wanted}
    polled = [entry for entry in lab.instruments if not _is_pushed(entry)]
    implied = [entry for entry in polled if entry.table.get("edge", LOCAL_EDGE) == LOCAL_EDGE]
    if implied and LOCAL_EDGE not in named:
        wanted.append(implied[0])
    changes = []
    for entry in wanted:
        name = entry.name if entry.kind == "edge" else LOCAL_EDGE
        if name not in edges:
            edges[name] = _said(entry, lambda _: "name", partial(services.save_edge, name, by=by))
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
    _said(entry, _key_of, partial(services.save_instrument, instrument, by=by))
    now = _shown(instrument)
    if now == was:
        return []
    if new:
        return [Change("+", "instrument", entry.name, tuple(f"{key}: {_toml(now[key])}" for key in now))]
    was, now = _by_item(was), _by_item(now)
    details = tuple(
        f"{key}: {_toml(was[key]) if key in was else '–'} → {_toml(now[key]) if key in now else '–'}"
        for key in {**was, **now}
        if was.get(key) != now.get(key)
    )
    return [Change("~", "instrument", entry.name, details or ("the same items in another order",))]


def _by_item(shown: Mapping[str, Any]) -> dict[str, Any]:
    """With each item of a list by itself, by its own key if all have one: what changed is then a line."""
    items: dict[str, Any] = {}
    for name, value in shown.items():
        if not isinstance(value, list):
            items[name] = value
            continue
        keys = [item.get("key") if isinstance(item, dict) else None for item in value]
        named = all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys)
        for place, item in enumerate(value, start=1):
            items[f"{name}[{keys[place - 1] if named else place}]"] = item
    return items


def _toml(value: Any) -> str:
    """A value as the file has it, in one line."""
    if isinstance(value, dict):
        pairs = (f"{tomlkit.key(name).as_string()} = {_toml(each)}" for name, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return "null" if value is None else tomlkit.item(value).as_string()


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
    if "interval" in table:
        instrument.interval = float(table["interval"])
    if "in_service" in table:
        instrument.in_service = table["in_service"]


def _checked(entry: Entry, driver_name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options in the types that the driver declares, so that 1 and 1.0 are no difference."""
    if driver_name not in drivers.names():
        return options  # an instrument kept from a package that is not installed now
    driver = _said(entry, lambda _: "driver", partial(drivers.load, driver_name))
    declared = {option.name: option for option in driver.options}
    for name in options:
        if name not in declared:
            message = f"{driver.label} has no option {name!r}{suggestion(name, declared)}"
            raise LabFileError(entry.error(message, f"options.{name}"))
    return {
        name: _said(entry, _key_of, partial(declared[name].checked, value)) for name, value in options.items()
    }


def _shown(instrument: Instrument) -> dict[str, Any]:
    """What a file can say of an instrument, for comparing and for the diff."""
    return {
        "driver": instrument.driver,
        "edge": instrument.edge.name,
        "address": instrument.address,
        "interval": instrument.interval,
        "in_service": instrument.in_service,
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
    own = any(not (entry.name in before and before[entry.name].demo) for entry in lab.instruments)
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
    named = {LOCAL_EDGE} | {entry.name for entry in lab.edges}
    for name in edges.keys() - named:
        if not _polls(edges[name]):
            services.retire_edge(edges[name], by=by)
            changes.append(Change("−", "edge", name))
    return changes


def _polls(edge: Edge) -> bool:
    """Whether it has instruments other than the one for itself."""
    standing = Instrument.objects.filter(edge=edge, retired_at=None)
    return standing.exclude(driver=services.HOST_DRIVER).exists()


# ---- writing


def export() -> str:
    """All edges and instruments as a lab file; the edges' instruments for themselves come with the edges."""
    document = tomlkit.document()
    edges = tomlkit.aot()
    for edge in Edge.objects.filter(retired_at=None).exclude(name=PUSH_EDGE):
        edges.append(_table({"name": edge.name}))
    instruments = tomlkit.aot()
    standing = Instrument.objects.filter(retired_at=None).exclude(driver=services.HOST_DRIVER)
    for instrument in standing.select_related("edge"):
        instruments.append(_instrument_table(instrument))
    for kind, tables in (("edge", edges), ("instrument", instruments)):
        if tables:
            document.append(kind, tables)
    return tomlkit.dumps(document)


def _instrument_table(instrument: Instrument) -> tomlkit.items.Table:
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
    table = _table(values)
    if instrument.demo:
        table["name"].comment("demo: simulated")
    if options := _options(instrument):
        table.append("options", _table(options))
    return table


def _table(values: Mapping[str, Any]) -> tomlkit.items.Table:
    table = tomlkit.table()
    for name, value in values.items():
        table.append(name, _inline(value) if isinstance(value, dict) else _without_nulls(value))
    return table


def _inline(value: Mapping[str, Any]) -> tomlkit.items.InlineTable:
    """A secret's name, in one line."""
    table = tomlkit.inline_table()
    table.update(_without_nulls(value))
    return table


def _without_nulls(value: Any) -> Any:
    """TOML has none; in JSON, as a form takes it, they stand for what is left out."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value if each is not None]
    return value
