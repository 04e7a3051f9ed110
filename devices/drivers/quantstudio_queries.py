"""QuantStudio, the polled part: what is asked, and which channels the answers are (protocol notes §4).

Every command is noted in the log of the run under way. So all that is asked again and again goes into one
command: `RET` returns its arguments after the machine has put the nested commands' answers in their places.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from devices.drivers.quantstudio_log import TIMES, number, reading, whole
from devices.drivers.quantstudio_wire import options_of, words_of
from devices.errors import ReplyError
from devices.readings import Quality, Reading

TEXT_MAX = 300
END = "end."
UNKNOWN = "unknown"

Parse = Callable[[str], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Query:
    """A question and the channels that its answer holds. `nested`: how it stands within a RET."""

    command: str
    keys: tuple[str, ...]
    parse: Parse
    nested: str = ""

    @property
    def within(self) -> str:
        return self.nested or f"$({self.command})"

    def readings(self, answer: str) -> list[Reading]:
        """A reading for each channel; bad ones for what cannot be used. Never raises."""
        try:
            values = self.parse(answer)
        except ReplyError:
            return self.bad()
        filled = [*values, *[None] * len(self.keys)][: len(self.keys)]
        return [
            none(key) if value == ABSENT else reading(key, value)
            for key, value in zip(self.keys, filled, strict=True)
        ]

    def bad(self) -> list[Reading]:
        return [Reading(key, None, Quality.BAD) for key in self.keys]


def none(key: str) -> Reading:
    """The machine answers, and has no such value now: neither good nor missing."""
    return Reading(key, None, Quality.UNCERTAIN)


ABSENT = "\0absent"  # the machine says that there is none now, as of a run's cycle between runs


# ---- how answers are read


def _text(answer: str) -> list[str]:
    return [" ".join(words_of(answer))[:TEXT_MAX]]


def _state(answer: str) -> list[str]:
    """A word like Idle; blank where the machine does not know."""
    return [_text(answer)[0] or UNKNOWN]


def _switch(answer: str) -> list[bool | None]:
    words = words_of(answer)
    return [on(words[0]) if words else None]


def on(word: str | None) -> bool | None:
    return {"on": True, "true": True, "1": True, "up": True, "off": False, "false": False, "0": False}.get(
        (word or "").lower()
    )


def _heating(answer: str) -> list[Any]:
    """`ON 105.0`: whether it is on, and at what."""
    words = [*words_of(answer), "", ""]
    return [on(words[0]), number(words[1])]


def _numbers(answer: str) -> list[float | None]:
    return [number(word) for word in words_of(answer)]


def _amount(answer: str) -> list[Any]:
    """Seconds or microlitres; `-` where there is no run."""
    words = words_of(answer)
    return [ABSENT if words == ["-"] else number(words[0]) if words else None]


def _light(answer: str) -> list[str]:
    words = [*words_of(answer), UNKNOWN, UNKNOWN]
    return [words[0][:TEXT_MAX], words[1][:TEXT_MAX]]


def _named(names: Iterable[str], read: Callable[[str | None], Any]) -> Parse:
    """Options by their names."""
    chosen = tuple(names)

    def parse(answer: str) -> list[Any]:
        options = options_of(answer)[0]
        return [read(options.get(name)) for name in chosen]

    return parse


def _count(text: str | None) -> Any:
    """A counter; `-` or -1 where there is none now."""
    return ABSENT if text in {"-", "-1"} else whole(text)


def _progress(answer: str) -> list[Any]:
    """As there is a run or not, each field by itself: in PRERUN some are `-`."""
    options = options_of(answer)[0]
    texts = [
        options[name][:TEXT_MAX] if name in options else None for name in ("RunMode", "RunTitle", "Stage")
    ]
    return [*texts, *(_count(options.get(name)) for name in ("Cycle", "Step"))]


def _run_status(answer: str) -> list[Any]:
    """Eight words: title, stage, stages, cycle, cycles, step, point, state."""
    words = words_of(answer)
    if len(words) < 8:
        raise ReplyError(f"a run's status of {len(words)} words")
    _, stages, _, cycles, _, point, _ = words[-7:]
    return [_count(stages), _count(cycles), _count(point)]


RUN_CHANNELS = frozenset(f"run.{name}" for name in ("stage", "stage_name", "cycle", "step", *TIMES))


def run_as_asked(keys: Iterable[str], readings: Iterable[Reading]) -> list[Reading]:
    """Channels that its log tells only as they change, or in a run, from what a poll has brought."""
    found = {reading.key: reading for reading in readings}
    told = []
    for key in keys:
        name = key.removeprefix("run.")
        source = found.get("progress.stage" if name.startswith("stage") else f"progress.{name}")
        if name in TIMES:  # in a run the next second brings them, with the machine's own time
            told.append(none(key))
        elif source is not None and source.quality is not Quality.BAD:
            value = whole(str(source.value)) if name == "stage" else source.value
            told.append(none(key) if value in (None, "-") else Reading(key, value))
    return told


# ---- what is asked

_STAGES = (
    "$[ top.getChild('PROTOcolDEFinition').variables.get('${RunMacro}-Stages'.lower(), -1) ]",
    "$[ top.getChild('PROTOcolDEFinition').variables.get('${RunMacro}-Stage${Stage}-Count'.lower(), -1) ]",
)
RUN_STATUS = Query(
    f"RET ${{RunTitle:--}} ${{Stage:--1}} {_STAGES[0]} ${{Cycle:--1}} {_STAGES[1]} ${{Step:--1}}"
    " ${Point:--1} $(ISTAT?)",
    ("progress.stages", "progress.cycles", "progress.point"),
    _run_status,
)
START = Query("RET ${RunStartTime:--}", ("progress.started",), _amount, "${RunStartTime:--}")
# Two questions: a name may hold blanks, and a RET's answer has no quotes left.
PROTOCOL = Query("RET ${Protocol:--}", ("progress.protocol",), _text, "${Protocol:--}")
VOLUME = Query("RET ${SampleVolume:--}", ("progress.volume",), _amount, "${SampleVolume:--}")
PROGRESS = Query(
    "RunProgress?",
    ("progress.mode", "progress.title", "progress.stage", "progress.cycle", "progress.step"),
    _progress,
)
STATE = Query("ISTAT?", ("state",), _state)
NAME = Query("SYST:SETT:NICK?", ("machine.name",), _text)
ZONES = Query("TBC:ControlZones?", ("block.zones",), lambda answer: [whole(answer.strip())])
PROPERTIES = (
    ("hardwareVersion", "hardware", "hardware version", ""),
    ("maxSampleVolume", "volume_max", "greatest sample volume", "uL"),
    ("minSampleVolume", "volume_min", "least sample volume", "uL"),
    ("blockDescription", "description", "block", ""),
    ("bootcodeVersion", "bootcode", "boot code version", ""),
    ("blockID", "id", "block id", ""),
    ("lifeDegreesClimbed", "degrees_climbed", "degrees climbed in its life", "Cel"),
    ("firmwareID", "firmware_id", "block firmware id", ""),
    ("lifeCycleCount", "cycles", "cycles in its life", ""),
    ("runModes", "run_modes", "run modes", ""),
    ("blockSerial", "serial", "block serial number", ""),
    ("firmwareVersion", "firmware", "block firmware version", ""),
)
COUNTED = {"maxSampleVolume", "minSampleVolume", "lifeDegreesClimbed", "lifeCycleCount"}


def _properties(answer: str) -> list[Any]:
    options = options_of(answer)[0]
    return [
        number(options.get(name)) if name in COUNTED else options.get(name, "")[:TEXT_MAX] or ABSENT
        for name, *_ in PROPERTIES
    ]


PROP = Query("TBC:PROP?", tuple(f"block.{key}" for _, key, _, _ in PROPERTIES), _properties)
ONCE = (NAME, ZONES, PROP)


def asked(zones: int) -> tuple[Query, ...]:
    """What goes into one RET at each poll, for a block of so many zones."""
    names = [*(f"Zone{zone}" for zone in range(1, zones + 1)), "Fan1", "Cover"]
    places = [*map(str, range(1, zones + 1)), "fan", "cover"]
    return (
        STATE,
        PROGRESS,
        Query("POW?", ("power",), _switch),
        Query("DRAW?", ("drawer",), _state),
        Query("ENG?", ("cover.position",), _state, '$[ "$(ENG?)" or "unknown" ]'),
        Query("cover?", ("cover.heating", "cover.target"), _heating),
        Query("BLOCK?", ("block.heating", "block.target"), _heating),
        Query("LST?", ("lamp",), _switch),
        Query("LED:STATus?", ("light.color", "light.mode"), _light),
        Query("LED:LEDTemperature?", ("asked.led.temperature",), _numbers),
        Query("TBC:SETT?", tuple(f"target.{place}" for place in places), _named(names, number)),
        Query("TBC:CONT?", tuple(f"control.{place}" for place in places), _named(names, on)),
        Query("TBC:SampleTemperatures?", _per_zone("asked.sample", zones), _numbers),
        Query("TBC:BlockTemperatures?", _per_zone("asked.block", zones), _numbers),
        Query("TBC:CoverTemperatures?", ("asked.cover",), _numbers),
        Query("REMainingTime?", ("progress.remaining",), _amount),
        Query("ELAPsedTime?", ("progress.elapsed",), _amount),
        Query("ESTimatedTime?", ("progress.estimated",), _amount),
        START,
        PROTOCOL,
        VOLUME,
    )


def _per_zone(key: str, zones: int) -> tuple[str, ...]:
    return tuple(f"{key}.{zone}" for zone in range(1, zones + 1))


def together(queries: Sequence[Query]) -> str:
    """One command for all; each answer stands behind its mark, as one without words leaves no trace."""
    return " ".join(["RET", *(f"q{at}. {query.within}" for at, query in enumerate(queries)), END])


def apart(queries: Sequence[Query], answer: str) -> list[str]:
    """The answer of each query; "" for one without words. Raises ReplyError for an answer cut short."""
    words = words_of(answer)
    if not words or words[-1] != END:
        raise ReplyError(f"an answer without its end: {answer[-60:]!r}")
    found: list[str] = []
    position = 0
    for at in range(len(queries)):
        if words[position : position + 1] != [f"q{at}."]:
            raise ReplyError(f"an answer without mark q{at}.: {answer[:100]!r}")
        next_mark = f"q{at + 1}." if at + 1 < len(queries) else END
        try:
            end = words.index(next_mark, position + 1)
        except ValueError:
            raise ReplyError(f"an answer without mark {next_mark}: {answer[:100]!r}") from None
        found.append(" ".join(words[position + 1 : end]))
        position = end
    return found
