"""How people define computed channels, calibrations and storage policies. Each function asks first whether
this person may; what could not work as it is described is refused by ValidationError, by field.
"""

import logging
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import numpy as np
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max, ProtectedError
from django.utils import timezone

from devices import drivers
from devices.errors import ConfigurationError, Refused
from devices.models import Channel, Instrument, Latest
from devices.readings import Quality
from devices.services import RETENTION, Operator, Person, require_staff
from telemetry.computing import calibration as curves, computed as computing, recompute as again
from telemetry.computing.formulas import FormulaError, parse
from telemetry.computing.recompute import Again
from telemetry.models import AnySample, Calibration, ComputedChannel, StoragePolicy
from telemetry.roster import KEY_LENGTH_MAX, usable
from telemetry.thinning import sifting

CALIBRATED = ".calibrated"  # behind the key of the raw channel
NUMBERS = ("float", "int", "bool")  # kinds of channels that can be computed with
UNIT = re.compile(r"[!-~]{0,30}")
UNITS = {"°C": "Cel", "°F": "[degF]", "Ω": "Ohm", "µ": "u", "°": "deg"}
DIGITS_MAX = 15
HEARTBEAT_MAX = 7 * 86_400.0

logger = logging.getLogger(__name__)

Wrong = dict[str, list[str]]  # what is wrong, by field


# ---- computed channels


@transaction.atomic
def save_computed(computed: ComputedChannel, by: Person) -> ComputedChannel:
    """Save a derived channel, new or changed, together with its channel; of a calibrated one all but what it
    is computed from. A channel that was computed before and has only its history is taken up again."""
    require_staff(by)
    channel = computed.channel
    _lock(channel.instrument_id)
    check_computed(computed)
    if not channel.pk:
        _place(channel)
    channel.save()
    computed.channel = channel
    computed.save()
    logger.info("computed channel %s is saved by %s", computed, name_of(by))
    return computed


@transaction.atomic
def delete_computed(computed: ComputedChannel, by: Person) -> None:
    """Compute a derived channel no more. Its history stays; without any, the channel goes too.

    Raises Refused while another is computed from it, and for a calibrated one.
    """
    require_staff(by)
    _lock(computed.channel.instrument_id)
    if computed.source_id:
        raise Refused(f"{computed} is there because of its calibrations: delete those")
    _refuse_while_used(computed.channel)
    logger.info("computed channel %s is deleted by %s", computed, name_of(by))
    _forget(computed)


def check_computed(computed: ComputedChannel) -> None:
    """Raises ValidationError, by field."""
    channel = computed.channel
    wrong = _wrong_channel(channel)
    if not channel.pk:
        wrong |= _wrong_key(channel)
    if not computed.source_id:
        wrong |= _wrong_formula(computed)
    if wrong:
        raise ValidationError(wrong)


def _wrong_channel(channel: Channel) -> Wrong:
    wrong: Wrong = {}
    channel.label = channel.label.strip() or channel.key
    if channel.instrument.retired_at:
        wrong["instrument"] = ["this instrument is retired"]
    if len(channel.label) > 120:
        wrong["label"] = ["at most 120 characters"]
    if fault := unit_fault(channel.unit):
        wrong["unit"] = [fault]
    limits = {name: each for name in ("low", "high") if (each := getattr(channel, name)) is not None}
    for name, limit in limits.items():
        if not math.isfinite(limit):
            wrong[name] = ["a finite number is needed"]
    if len(limits) == 2 and not wrong and limits["low"] >= limits["high"]:
        wrong["high"] = ["it must be above “normal from”"]
    if channel.digits is not None and not 0 <= channel.digits <= DIGITS_MAX:
        wrong["digits"] = [f"from 0 to {DIGITS_MAX}"]
    return wrong


def unit_fault(unit: str) -> str:
    """Why this is no unit in UCUM, as far as its characters tell; "" if it may be one."""
    if UNIT.fullmatch(unit):
        return ""
    hints = (f"{theirs} is {code}" for theirs, code in UNITS.items() if theirs in unit)
    return "; ".join(["a unit in UCUM is needed, such as Cel, % or m3/h", *hints])


def _wrong_key(channel: Channel) -> Wrong:
    """Of a channel that is to be made."""
    if not usable(channel.key):
        return {"key": [f"1 to {KEY_LENGTH_MAX} printable characters are needed"]}
    standing = _former(channel)
    if channel.key in _declared(channel.instrument):
        return {"key": [f"the driver {channel.instrument.driver} itself reports {channel.key!r}"]}
    if standing and ComputedChannel.objects.filter(channel=standing).exists():
        return {"key": [f"{channel.instrument} has a computed channel {channel.key!r} already"]}
    if standing and Latest.objects.filter(channel=standing).exists():
        return {"key": [f"{channel.instrument} itself reports {channel.key!r}"]}
    return {}


def _declared(instrument: Instrument) -> set[str]:
    try:
        driver = drivers.load(instrument.driver)
        return {each.key for each in driver.channels_for(driver.checked_options(instrument.options))}
    except ConfigurationError:
        return set()  # of a package that is not installed now


def _wrong_formula(computed: ComputedChannel) -> Wrong:
    """What is wrong with it: by itself, by the channels it names, and by what they are computed from."""
    channel = computed.channel
    try:
        formula = parse(computed.formula)
    except FormulaError as error:
        return {"formula": [str(error)]}
    there = dict(Channel.objects.filter(instrument=channel.instrument_id).values_list("key", "kind"))
    there[channel.key] = "float"
    if faults := list(_wrong_inputs(formula.keys, there)):
        return {"formula": faults}
    if ring := computing.ring(_needs(channel.instrument_id) | {channel.key: formula.keys}):
        return {"formula": [f"it would be computed from itself: {' ← '.join(ring)}"]}
    return {}


def _wrong_inputs(keys: Iterable[str], there: Mapping[str, str]) -> Iterator[str]:
    for key in keys:
        if key not in there:
            near = get_close_matches(key, there, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}"
            yield f"its instrument has no channel {key!r}; {hint}"
        elif there[key] not in NUMBERS:
            yield f"channel {key!r} is of kind {there[key]}: a number is needed"


def _needs(instrument: Any) -> dict[str, tuple[str, ...]]:
    """From which keys each computed channel of an instrument is computed."""
    rows = ComputedChannel.objects.filter(channel__instrument=instrument)
    found = {}
    for key, formula, source in rows.values_list("channel__key", "formula", "source__key"):
        found[key] = (source,) if source else parse(formula).keys
    return found


@dataclass(frozen=True, slots=True)
class Preview:
    """What a formula gives of the latest readings. `value` None: no number."""

    value: float | None
    quality: int
    inputs: list[Latest]


def preview(computed: ComputedChannel, by: Person) -> Preview:
    """Try a derived channel, saved or not, on the latest readings. Raises ValidationError."""
    require_staff(by)
    if wrong := _wrong_formula(computed):
        raise ValidationError(wrong)
    formula = parse(computed.formula)
    rows = Latest.objects.filter(channel__instrument=computed.channel.instrument_id)
    latest = {row.channel.key: row for row in rows.select_related("channel")}
    inputs = [latest[key] for key in formula.keys if key in latest]
    if len(inputs) < len(formula.keys) or any(row.value is None for row in inputs):
        return Preview(None, Quality.BAD, inputs)
    value = float(formula.of([np.array([row.value], np.float64) for row in inputs])[0])
    quality = max(row.quality & computing.CLASS for row in inputs)
    return Preview(value, quality, inputs) if math.isfinite(value) else Preview(None, Quality.BAD, inputs)


def _refuse_while_used(channel: Channel) -> None:
    for key, needs in _needs(channel.instrument_id).items():
        if channel.key in needs:
            raise Refused(f"{key!r} is computed from {channel.key!r}: change that first")


def _forget(computed: ComputedChannel) -> None:
    """With its latest reading, so that it does not look like one that fell silent."""
    channel = computed.channel
    ComputedChannel.objects.filter(pk=computed.pk).delete()
    Latest.objects.filter(channel=channel).delete()
    if not AnySample.objects.filter(channel_id=channel.pk).exists():
        try:
            with transaction.atomic():
                channel.delete()
        except ProtectedError:
            return  # alarms were raised of it


def _place(channel: Channel) -> None:
    """Behind the others; as the one that was there before, if there was."""
    others = Channel.objects.filter(instrument=channel.instrument_id)
    last = others.aggregate(last=Max("position"))["last"]
    channel.position = 0 if last is None else last + 1
    channel.kind = "float"
    channel.retention = RETENTION[channel.instrument.demo]
    if former := _former(channel):
        channel.pk, channel.position, channel.retention = former.pk, former.position, former.retention


def _former(channel: Channel) -> Channel | None:
    return Channel.objects.filter(instrument=channel.instrument_id, key=channel.key).first()


def _lock(instrument: Any) -> None:
    """Who defines something of an instrument takes turns: two changes must not close a ring together."""
    Instrument.objects.select_for_update(no_key=True).get(pk=instrument)


# ---- calibrations


@transaction.atomic
def save_calibration(calibration: Calibration, by: Person, unit: str | None = None) -> Calibration:
    """Save a calibration, new or changed. The first one of a channel makes the calibrated channel beside it.

    `unit`: of the calibrated channel; the raw one's if it is new, as it is if not given.
    """
    require_staff(by)
    _lock(calibration.channel.instrument_id)
    check_calibration(calibration, unit)
    if not calibration.pk:
        calibration.by = None if isinstance(by, Operator) else by  # type: ignore[assignment]
    calibration.save()
    logger.info("calibration %s is saved by %s", calibration, name_of(by))
    calibrated = ComputedChannel.objects.filter(source=calibration.channel).select_related("channel").first()
    if calibrated is None:
        channel = calibrated_of(calibration.channel, unit)
        _place(channel)
        channel.retention = calibration.channel.retention
        channel.save()
        ComputedChannel.objects.create(channel=channel, source=calibration.channel)
    elif unit is not None and unit != calibrated.channel.unit:
        calibrated.channel.unit = unit
        calibrated.channel.save(update_fields=["unit"])
    return calibration


@transaction.atomic
def delete_calibration(calibration: Calibration, by: Person) -> None:
    """Forget a calibration; what was computed with it stays until it is computed again. With the last one the
    calibrated channel is computed no more. Raises Refused while another is computed from that."""
    require_staff(by)
    _lock(calibration.channel.instrument_id)
    others = Calibration.objects.filter(channel=calibration.channel).exclude(pk=calibration.pk)
    calibrated = ComputedChannel.objects.filter(source=calibration.channel).select_related("channel").first()
    if calibrated and not others.exists():
        _refuse_while_used(calibrated.channel)
        _forget(calibrated)
    logger.info("calibration %s is deleted by %s", calibration, name_of(by))
    calibration.delete()


def check_calibration(calibration: Calibration, unit: str | None = None) -> None:
    """Raises ValidationError, by field."""
    wrong: Wrong = {}
    try:
        calibration.full_clean()
    except ValidationError as error:
        raise _without_constraint(error) from None
    try:
        curves.curve(calibration.kind, calibration.numbers)
    except curves.NumbersError as error:
        wrong["numbers"] = [str(error)]
    if fault := unit_fault(unit or ""):
        wrong["unit"] = [fault]
    if faults := list(_wrong_raw(calibration.channel)):
        wrong["channel"] = faults
    if wrong:
        raise ValidationError(wrong)


def _without_constraint(error: ValidationError) -> ValidationError:
    """What Django says of a constraint is said of the field that a person can change."""
    wrong = error.message_dict
    if "__all__" in wrong:
        del wrong["__all__"]
        wrong["valid_from"] = ["the channel has a calibration from this time on already"]
    return ValidationError(wrong)


def _wrong_raw(channel: Channel) -> Iterator[str]:
    if channel.instrument.retired_at:
        yield "its instrument is retired"
    if channel.kind not in NUMBERS:
        yield f"a channel of kind {channel.kind} has no numbers to calibrate"
    if ComputedChannel.objects.filter(channel=channel, source__isnull=False).exists():
        yield "it is calibrated itself: calibrate the raw channel"
    elif not ComputedChannel.objects.filter(source=channel).exists():
        yield from _wrong_key(calibrated_of(channel)).get("key", [])


def calibrated_of(raw: Channel, unit: str | None = None) -> Channel:
    """The channel for a raw one's true values, not saved."""
    return Channel(
        instrument=raw.instrument,
        key=raw.key + CALIBRATED,
        label=f"{raw.label[:107]} (calibrated)",
        unit=raw.unit if unit is None else unit,
        digits=raw.digits,
        low=raw.low,
        high=raw.high,
    )


# ---- storage policies


@transaction.atomic
def save_policy(policy: StoragePolicy, by: Person) -> StoragePolicy:
    """Save a channel's storage policy, new or changed; it holds for what comes from now on."""
    require_staff(by)
    check_policy(policy)
    sifting.release(policy.channel, timezone.now())
    policy.save()
    logger.info("storage policy %s is saved by %s", policy, name_of(by))
    return policy


@transaction.atomic
def delete_policy(policy: StoragePolicy, by: Person) -> None:
    """From now on each reading is stored, beginning with the one that was held back last."""
    require_staff(by)
    sifting.release(policy.channel, timezone.now())
    logger.info("storage policy %s is deleted by %s", policy, name_of(by))
    StoragePolicy.objects.filter(pk=policy.pk).delete()  # who asked for it may still name it


def check_policy(policy: StoragePolicy) -> None:
    """Raises ValidationError, by field."""
    policy.full_clean(validate_unique=False)
    wrong: Wrong = {}
    kind = policy.channel.kind
    if policy.mode == StoragePolicy.Mode.DEAD_BAND:
        if kind not in NUMBERS:
            wrong["mode"] = [f"a channel of kind {kind} has no dead-band: store it on change"]
        elif not 0 < policy.dead_band < math.inf:
            wrong["dead_band"] = ["a number above 0 is needed"]
    elif policy.dead_band:
        wrong["dead_band"] = ["on change there is none: leave it at 0"]
    if not policy.heartbeat <= HEARTBEAT_MAX:
        wrong["heartbeat"] = [f"at most {HEARTBEAT_MAX:.0f} s (a week)"]
    if wrong:
        raise ValidationError(wrong)


# ---- computing again


def recompute(
    channel: Channel,
    by: Person,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    dry_run: bool = False,
    seconds: float = math.inf,
) -> Again:
    """Compute what is stored of a channel again, and of what is computed from it; how much changed.

    Stops after so many seconds: what is left begins after `through`. Outside a transaction.
    """
    require_staff(by)
    now = timezone.now()
    until = time.monotonic() + seconds
    done = Again()
    for chunk in again.chunks(channel, start, end or now, now, dry_run=dry_run):
        done += chunk
        if time.monotonic() > until:
            break
    return done


def name_of(by: Person) -> str:
    """How a log calls a person."""
    return by.name if isinstance(by, Operator) else by.get_username()
