"""What a driver declares, without an instrument."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from devices import drivers, links
from devices.conformance import Finding
from devices.conformance.templates import template_faults
from devices.drivers.base import CHANNEL_KINDS, UNSTORABLE, Channel, Driver, Option
from devices.errors import ConfigurationError

try:
    from ucumvert import get_ucum_parser
except ImportError:  # an edge has no need of it
    get_ucum_parser = None

KEY_LENGTH, LABEL_LENGTH, UNIT_LENGTH = 100, 120, 30  # of the centre's columns
UNKNOWN_OPTION = "surely_not_an_option"
_parser = get_ucum_parser() if get_ucum_parser else None
_units: dict[str, str] = {"": ""}


def findings(name: str, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """All that can be said of a driver by itself; with `options` also of the channels it has with them."""
    try:
        driver = drivers.load(name)
    except ConfigurationError as error:
        return [Finding("loads", str(error))]
    found = [Finding("loads"), _described(driver), _example(driver), _options(driver), _strangers(driver)]
    found += [_channels(driver, options or {}), _units_of(driver, options or {})]
    return [*found, _alarms(driver, options or {})]


def unit_fault(unit: str) -> str:
    """Why this is no UCUM code; "" if it is one, or nobody here knows."""
    if unit not in _units and _parser is not None:
        try:
            _parser.parse(unit)
            _units[unit] = ""
        except Exception as error:  # noqa: BLE001 - its grammar's own, of many kinds
            _units[unit] = f"unit {unit!r} is no UCUM code ({type(error).__name__})"
    return _units.get(unit, "")


def _joined(rule: str, faults: Iterable[str], note: str = "") -> Finding:
    return Finding(rule, "; ".join(faults), note)


def _described(driver: type[Driver]) -> Finding:
    faults = []
    if not str(getattr(driver, "label", "")).strip():
        faults.append("it has no label")
    if not (driver.__doc__ or "").strip():
        faults.append("it has no docstring")
    if not getattr(driver, "schemes", ()):
        faults.append("it names no schemes of addresses")
    return _joined("says what it is", faults, str(getattr(driver, "label", "")))


def _example(driver: type[Driver]) -> Finding:
    try:
        address = links.check(driver.example)
    except (ConfigurationError, AttributeError) as error:
        return Finding("gives an example address", str(error))
    fault = "" if address.scheme in driver.schemes else f"{driver.example} is none of its schemes"
    return Finding("gives an example address", fault, driver.example)


def _options(driver: type[Driver]) -> Finding:
    faults = [f"option {name} twice" for name, count in _counted(driver.options) if count > 1]
    faults += [f"option {option.name} has no help" for option in driver.options if not option.help.strip()]
    for option in driver.options:
        try:
            if option.checked(option.default) != option.default:
                faults.append(f"option {option.name}: its default is not of its own kind")
        except ConfigurationError as error:
            faults.append(f"{error}: its default is refused")
    try:
        driver.checked_options({})
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        faults.append(f"without options: {type(error).__name__}: {error}")
    return _joined("explains its options", faults, ", ".join(option.name for option in driver.options))


def _counted(options: Iterable[Option]) -> list[tuple[str, int]]:
    return Counter(option.name for option in options).most_common()


def _strangers(driver: type[Driver]) -> Finding:
    """A misspelt option must not be passed over."""
    try:
        driver.checked_options({UNKNOWN_OPTION: 1})
    except ConfigurationError:
        return Finding("refuses options it does not have")
    except Exception as error:  # noqa: BLE001
        return Finding("refuses options it does not have", f"by {type(error).__name__}")
    return Finding("refuses options it does not have", f"it takes {UNKNOWN_OPTION}")


def _channels(driver: type[Driver], options: Mapping[str, Any]) -> Finding:
    try:
        channels = channels_of(driver, options)
    except Exception as error:  # noqa: BLE001
        return Finding("declares its channels", f"{type(error).__name__}: {error}")
    faults = [
        f"channel {key} twice"
        for key, count in Counter(channel.key for channel in channels).items()
        if count > 1
    ]
    faults += [fault for channel in channels for fault in _channel_faults(channel)]
    return _joined("declares its channels", faults, str(len(channels)))


def channels_of(driver: type[Driver], options: Mapping[str, Any]) -> tuple[Channel, ...]:
    return tuple(driver.channels_for(driver.checked_options(options)))


def _channel_faults(channel: Channel) -> Iterator[str]:
    key = channel.key
    if not key or len(key) > KEY_LENGTH or UNSTORABLE.search(key):
        yield f"key {key[:40]!r} is not of 1 to {KEY_LENGTH} storable characters"
    if not channel.label.strip() or len(channel.label) > LABEL_LENGTH:
        yield f"channel {key}: its label is not of 1 to {LABEL_LENGTH} characters"
    if channel.kind not in CHANNEL_KINDS:
        yield f"channel {key}: kind {channel.kind!r} is none of {', '.join(CHANNEL_KINDS)}"
    limits = [limit for limit in (channel.low, channel.high) if limit is not None]
    if not all(map(math.isfinite, limits)) or limits != sorted(limits):
        yield f"channel {key}: normal from {channel.low} to {channel.high}"


def _alarms(driver: type[Driver], options: Mapping[str, Any]) -> Finding:
    """The rules that it proposes. Channels that a lab declares itself are not known here."""
    try:
        channels = {*driver.channels, *channels_of(driver, options)}
    except Exception:  # noqa: BLE001 - told above
        channels = set(driver.channels)
    names = ", ".join(template.name for template in driver.alarms)
    return _joined("proposes rules that can work", template_faults(driver.alarms, channels), names)


def _units_of(driver: type[Driver], options: Mapping[str, Any]) -> Finding:
    try:
        units = {channel.unit for channel in channels_of(driver, options)}
    except Exception:  # noqa: BLE001 - told above
        units = set()
    faults = [f"unit {unit!r} is too long" for unit in units if len(unit) > UNIT_LENGTH]
    faults += [fault for unit in sorted(units) if (fault := unit_fault(unit))]
    unchecked = "" if _parser else " (not checked: ucumvert is not installed)"
    return _joined("has units in UCUM", faults, " ".join(sorted(units)).strip() + unchecked)
