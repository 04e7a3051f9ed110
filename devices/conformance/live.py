"""What a driver does with an instrument before it: opens, reads, closes, and leaves nothing behind."""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any

from devices import drivers
from devices.conformance import Finding
from devices.conformance.declared import channels_of
from devices.conformance.watch import Belongings, Held, held
from devices.drivers.base import Channel
from devices.edge.session import DEADLINE
from devices.edge.trial import SAYS_WITHIN, words
from devices.edge.visit import Heard, Visit
from devices.errors import DriverError
from devices.readings import RUN_STATES, Event, Quality, Reading, Run, Said, Vector

HELD_MAX = 0.05  # seconds
CYCLES, READS = 2, 3
TRIES = 3  # to be found guilty of holding the loop a driver must do it each time
SILENCE = 0.2  # seconds after closing, in which nothing more may be said
EARLIEST, LATEST = 946_684_800_000_000, 4_102_444_800_000_000  # 2000 and 2100, in µs of UTC


class Listener(Heard):
    """Looks at all that a driver says."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        super().__init__()
        self.kinds = {channel.key: channel.kind for channel in channels}
        self.faults: dict[str, None] = {}  # in order, each once
        self.undeclared: set[str] = set()
        self.is_over = False
        self.late = 0

    def take(self, said: Iterable[Said]) -> None:
        said = list(said)
        self.late += len(said) if self.is_over else 0
        for one in said:
            for fault in faults_of(one, self.kinds):
                self.faults[fault] = None
            if isinstance(one, Reading) and one.key not in self.kinds:
                self.undeclared.add(one.key)
        super().take(one for one in said if isinstance(one, Reading | Event | Run))


async def findings(
    name: str, url: str, options: Mapping[str, Any], deadline: float = DEADLINE
) -> list[Finding]:
    """Open, read and close this instrument a few times, watched."""
    listener = Listener(channels_of(drivers.load(name), options))
    warmed_up = await _once(name, url, options, deadline, listener)
    if warmed_up:
        return [Finding("opens and reads", warmed_up)]
    before = Belongings()
    found = [Finding("opens and reads")]
    faults = [await _once(name, url, options, deadline, listener) for _ in range(CYCLES)]
    found.append(Finding("opens again after it was closed", "; ".join(filter(None, faults))))
    found.append(Finding("can be broken off", await _broken_off(name, url, options, deadline, listener)))
    await asyncio.sleep(SILENCE)
    late = f"it told {listener.late} things" if listener.late else ""
    found.append(Finding("is silent once it is closed", late))
    found.append(Finding("leaves nothing behind", "; ".join(await before.left_behind())))
    found.append(Finding("says what can be stored", "; ".join(listener.faults)))
    found.append(_said(listener))
    worst = await _worst_held(name, url, options, deadline)
    fault = f"for {worst.worst * 1000:.0f} ms by {worst.what}" if worst.worst > HELD_MAX else ""
    found.append(Finding("does not hold up the event loop", fault, f"{worst.worst * 1000:.1f} ms at most"))
    return found


async def _once(name: str, url: str, options: Mapping[str, Any], deadline: float, listener: Listener) -> str:
    """Open, read some times, close; what went wrong."""
    visit = Visit(name, url, options, listener.take, deadline)
    stage = "opening it"
    listener.is_over = False
    try:
        async with asyncio.timeout(deadline):
            driver = await visit.open()
        stage = "reading it"
        for _ in range(READS):
            async with asyncio.timeout(deadline):
                listener.take(await driver.read())
        if driver.link.listens:
            await listener.until_all(driver.channels_for(driver.settings), SAYS_WITHIN)
            async with asyncio.timeout(deadline):
                listener.take(await driver.read())  # which tells of a link lost since
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return words(error, stage)
    finally:
        await visit.close()
        listener.is_over = True
    return ""


async def _broken_off(
    name: str, url: str, options: Mapping[str, Any], deadline: float, listener: Listener
) -> str:
    """A deadline may cut in anywhere: at the first wait of a read, and of an opening."""
    for reads in (True, False):
        visit = Visit(name, url, options, listener.take, deadline)
        listener.is_over = False
        try:
            if reads:
                await visit.open()
            work = asyncio.ensure_future(visit.driver.read() if reads else visit.open())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            work.cancel()
            await asyncio.wait([work], timeout=deadline)
            if not work.done():
                return f"it goes on {'reading' if reads else 'opening'} when it is cancelled"
        except DriverError as error:
            return str(error)
        finally:
            await visit.close()
            listener.is_over = True
        raised = None if work.cancelled() else work.exception()
        if raised is not None and not isinstance(raised, DriverError):
            return f"{type(raised).__name__}: {raised}"
    return ""


async def _worst_held(name: str, url: str, options: Mapping[str, Any], deadline: float) -> Held:
    """The least of some tries, so that what happens once, to anybody, is no fault."""
    found = []
    for _ in range(TRIES):
        listener = Listener(())
        with held() as watched:
            await _once(name, url, options, deadline, listener)
        found.append(watched)
        if watched.worst <= HELD_MAX:
            break
    return min(found, key=lambda watched: watched.worst)


def _said(listener: Listener) -> Finding:
    declared, said = listener.kinds.keys(), listener.readings.keys()
    missing = sorted(declared - said)
    note = f"{len(declared & said)} of {len(declared)} channels"
    if missing:
        note += f"; nothing of {', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}"
    if listener.undeclared:
        note += f"; not declared: {', '.join(sorted(listener.undeclared)[:8])}"
    fault = "not one of its channels" if declared and not declared & said else ""
    return Finding("says something of its channels", fault, note)


# ---- what is said


def faults_of(said: object, kinds: Mapping[str, str]) -> list[str]:
    """What is wrong with one thing that a driver said."""
    if isinstance(said, Reading):
        return [f"{said.key}: {fault}" for fault in _reading_faults(said, kinds.get(said.key, ""))]
    if isinstance(said, Run):
        fault = "" if said.state in RUN_STATES else f"run state {said.state!r} is none of {RUN_STATES}"
        return [text for text in (fault, _time_fault(said.time)) if text]
    if isinstance(said, Event):
        return [text for text in (_time_fault(said.time),) if text]
    return [f"{said!r:.60} is no reading, event or run"]


def _reading_faults(reading: Reading, kind: str) -> list[str]:
    faults = [_time_fault(reading.time)]
    value = reading.value
    if reading.quality not in set(Quality):
        faults.append(f"its quality is {reading.quality!r}")
    if value is None:
        faults.append("good, but without a value" if reading.quality == Quality.GOOD else "")
    elif not _is_of_kind(value, kind):
        faults.append(f"{value!r:.40} is no {kind}")
    return [fault for fault in faults if fault]


def _is_of_kind(value: object, kind: str) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "vector":
        return isinstance(value, Vector)
    if kind == "bool":
        return isinstance(value, bool) or value in (0, 1)
    if kind == "int":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return True


def _time_fault(time: object) -> str:
    if time is None or (isinstance(time, int) and EARLIEST < time < LATEST):
        return ""
    return f"time {time!r} is no µs of UTC since 1970"
