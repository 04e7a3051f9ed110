"""A simulated Sinara 8451 Thermostat: every command of its firmware, in four dialects, byte for byte.

Section numbers are those of the protocol notes.
"""

import asyncio
import json
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from devices.simulators.base import BadSetting, Client, Simulator
from devices.simulators.faults import Faults
from devices.simulators.rust_text import e32, e64, single
from devices.simulators.thermostat_channel import KELVIN, Settings, TecChannel

T = TypeVar("T")

LINE_BYTES_MAX = 64
INVALID = '{ "error": "invalid input" }'
DONE = "{}"
NOTHING_SAVED = '{{"error": "flash config not found"}}'  # so doubled, and no JSON, in the firmware
NO_FAN = '{ "warning": "this thermostat doesn\'t have a fan!" }'
POOR_FAN = '{ "warning": "this fan doesn\'t have full PWM support. Use it at your own risk!" }'

# Conversion time of one channel in ms, by post-filter rate; the ADC takes both channels in turn (§9).
CONVERSION_MS = {16.667: 60, 16.67: 60, 20.0: 55, 21.25: 52, 25.0: 50, 27.0: 48, 27.27: 48, None: 100}


@dataclass(frozen=True)
class Dialect:
    """What differs from one generation of the firmware to the next (§7)."""

    output: str
    b_p: str
    max_v: float
    current: float = 2.0
    shows_ranges: bool = False  # each limit as an object of value and greatest value
    has_polarity: bool = True
    streams: bool = False
    rates: tuple[float, ...] = (16.67, 20.0, 21.25, 27.0)


DIALECTS = {
    "A": Dialect("pwm", "s-h", 5.0, current=3.0, shows_ranges=True, has_polarity=False, streams=True),
    "B": Dialect("pwm", "s-h", 4.0, shows_ranges=True),
    "C": Dialect("pwm", "s-h", 4.0),
    "D": Dialect("output", "b-p", 4.3, rates=(16.667, 20.0, 25.0, 27.27)),
}
HARDWARE = {"1.0": (1, 0), "2.0": (2, 0), "2.2": (2, 2)}

_LIMITS = [f"output {n} {name}" for n in (0, 1) for name in ("max_i_pos 1.5", "max_i_neg 1.5", "max_v 4")]
_GAINS = [f"pid {n} {name}" for n in (0, 1) for name in ("kp 0.3", "ki 0.02")]
_BOTH = ["pid 0 target 20", "pid 1 target 32", "output 0 pid", "output 1 pid"]
_UNPLUGGED = ["pid 1 target 36.6", "output 1 pid"]
_RESTLESS = ["pid 1 kp 1.6", "pid 1 ki 0.6", "pid 1 target 15.5", "output 0 i_set 0.25", "output 1 pid"]

# How instruments are left before the start: unplugged channels and commands; one after the other by number.
PRESETS: dict[str, list[tuple[set[int], list[str]]]] = {
    "factory": [(set(), [])],
    "demo": [
        (set(), [*_LIMITS, *_GAINS, *_BOTH, "save"]),
        ({0}, [*_LIMITS, *_GAINS, *_UNPLUGGED, "save"]),
        (set(), [*_LIMITS, *_GAINS, *_RESTLESS, "save"]),
    ],
}


class Thermostat(Simulator):
    """One device; all its clients share its state."""

    driver = "thermostat"
    connections_max = 4
    settings: ClassVar[Mapping[str, str]] = {
        "dialect": "generation of the firmware: A, B, C or D (default D)",
        "hwrev": "hardware revision: 1.0, 2.0 or 2.2, which has a fan (default 2.0)",
        "preset": f"state at the start: {' or '.join(PRESETS)} (default demo)",
        "physics": "on, or off: values stand still and only time goes on, for thousands on a small machine",
    }
    faults_of_its_own = ("unplug", "short", "nan", "restart")

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        self.dialect = _one_of(DIALECTS, settings.get("dialect", "D"), "dialect")
        self.hardware = _one_of(HARDWARE, settings.get("hwrev", "2.0"), "hwrev")
        preset = _one_of(PRESETS, settings.get("preset", "demo"), "preset")
        self._moves = _one_of({"on": True, "off": False}, settings.get("physics", "on"), "physics")
        self._still: list[str] = []
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - a simulation
        self.room = chance.uniform(21.0, 25.0)
        self._salts = (chance.getrandbits(16), chance.getrandbits(16))
        self.sessions: set[ThermostatSession] = set()
        self.is_gone = False
        self._restarts_now = False
        self.flash: dict[int, Settings] = {}
        self.ipv4 = "192.168.1.26/24"
        self.gateway = ""
        self._commands = commands_of(self.dialect)
        self._boot()
        self.unplugged, lines = preset[number % len(preset)]
        words = commands_of(DIALECTS["D"])
        for line in lines:
            self._do(words, line)

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        reports = json.loads(re.sub(r":-?inf\b", ":null", reply), parse_constant=lambda _: None)
        times = tuple(report["time"] for report in reports)
        values = {
            f"ch{report['channel']}.{'device_time' if name == 'time' else name}": value
            for report in reports
            for name, value in report.items()
            if name != "channel"
        }
        return values, times

    # ---- what clients do

    def session(self, client: Client) -> "ThermostatSession":
        session = ThermostatSession(self, client)
        self.sessions.add(session)
        return session

    def is_on(self) -> bool:
        return not self.is_gone

    def answers(self, line: str) -> list[str]:
        """The lines that answer a command other than those that concern one connection."""
        self.advance()
        return self._do(self._commands, line)

    def _do(self, commands: "Commands", line: str) -> list[str]:
        for pattern, command in commands:
            if match := pattern.fullmatch(line):
                self._report = ""
                return command(self, *match.groups())
        return [INVALID]

    # ---- time

    def _boot(self) -> None:
        """As after power-up or reset: all from flash, the load as warm as it was."""
        warm = [channel.temperature for channel in getattr(self, "channels", ())] or [self.room, self.room]
        self.channels = tuple(TecChannel(n, self._salts[n], warm[n]) for n in (0, 1))
        for channel in self.channels:
            channel.current_max = self.dialect.current
            channel.settings = replace(self.flash.get(channel.number, Settings(rate=self.dialect.rates[0])))
        self._booted = self.clock()
        self._fan_is_automatic = True
        self._fan_pwm = 0
        self._fan_curve = (1.0, 0.0, 0.0)
        self._report = ""
        self._restart_adc(0)

    def _uptime_ms(self) -> int:
        return int((self.clock() - self._booted) * 500) * 2  # the main loop wakes every 2 ms

    def _restart_adc(self, at_ms: int) -> None:
        """Begin to take the channels in turn, with the present filters."""
        self._adc_since = at_ms
        self._taken = [0, 0]
        first, second = (CONVERSION_MS[channel.settings.rate] for channel in self.channels)
        self._offsets = (first, first + second)
        self._cycle_ms = first + second

    def advance(self) -> None:
        """Take the samples that have been due since the last look."""
        running = self._uptime_ms() - self._adc_since
        for channel, offset in zip(self.channels, self._offsets, strict=True):
            due = (running - offset) // self._cycle_ms + 1
            count = due - self._taken[channel.number]
            if count > 0:
                self._taken[channel.number] = due
                self._report = ""
                channel.plugged = self._is_plugged(channel.number)
                channel.shorted = self._has(channel.number, "short")
                channel.speaks_nan = self._has(channel.number, "nan")
                at_ms = self._adc_since + offset + (due - 1) * self._cycle_ms
                channel.advance(count, at_ms, self._cycle_ms, self._ambient())

    def next_sample_in(self) -> float:
        """Seconds until either channel is sampled next."""
        running = self._uptime_ms() - self._adc_since
        waits = [offset - running % self._cycle_ms for offset in self._offsets]
        return min(wait if wait > 0 else wait + self._cycle_ms for wait in waits) / 1000

    def _ambient(self) -> float:
        """The room breathes a little, so that curves are worth looking at."""
        return self.room + 0.4 * math.sin(self.elapsed / 143.0 + self._salts[0])

    def _is_plugged(self, number: int) -> bool:
        return number not in self.unplugged and not self._has(number, "unplug")

    def _has(self, number: int, kind: str) -> bool:
        """Whether this channel has such a fault now."""
        fault = self.faults.standing(kind, self.number, self.elapsed)
        return fault is not None and fault.channel == number

    def restarts(self) -> bool:
        """Restart at the beginning of such a fault, as by its watchdog; whether it has."""
        before, self._restarts_now = self._restarts_now, self._stands("restart")
        if not self._restarts_now or before:
            return False
        self.restart()
        return True

    def _stands(self, kind: str) -> bool:
        return self.faults.standing(kind, self.number, self.elapsed) is not None

    # ---- reports and settings

    def report(self) -> str:
        """The answer to `report`; the same text until something changes."""
        if self._still:
            return e64(self._uptime_ms() / 1000).join(self._still)
        self.advance()
        if not self._report:
            first, second = self.channels
            self._report = f"[{first.report()},{second.report()}]"
            if not self._moves and all(self._taken):
                self._still = re.split(r'(?<="time":)[^,]*', self._report)
        return self._report

    def show_report(self) -> list[str]:
        return [self.report()]

    def show_output(self) -> list[str]:
        return self._both(self._output)

    def _output(self, channel: TecChannel) -> str:
        settings, dialect = channel.settings, self.dialect
        greatest = (dialect.current, dialect.max_v, dialect.current, dialect.current)
        values = (settings.i_set, settings.max_v, settings.max_i_pos, settings.max_i_neg)
        texts = [e64(value) for value in values]
        if dialect.shows_ranges:
            texts = [f'{{"value":{e64(v)},"max":{e64(m)}}}' for v, m in zip(values, greatest, strict=True)]
        centre = '"vref"' if channel.centre is None else e32(channel.centre)
        polarity = f',"polarity":"{settings.polarity}"' if dialect.has_polarity else ""
        return (
            f'{{"channel":{channel.number},"center":{centre},"i_set":{texts[0]},"max_v":{texts[1]}'
            f',"max_i_pos":{texts[2]},"max_i_neg":{texts[3]}{polarity}}}'
        )

    def show_pid(self) -> list[str]:
        names = ("kp", "ki", "kd", "output_min", "output_max")
        return self._both(
            lambda channel: (
                f'{{"channel":{channel.number},"parameters":'
                f"{_fields({name: e32(getattr(channel.settings, name)) for name in names})}"
                f',"target":{e64(channel.settings.target)}}}'
            )
        )

    def show_b_p(self) -> list[str]:
        return self._both(
            lambda channel: (
                f'{{"channel":{channel.number},"params":'
                f"{_fields({name: e64(getattr(channel.settings, name)) for name in ('t0', 'r0', 'b')})}}}"
            )
        )

    def show_postfilter(self) -> list[str]:
        return self._both(
            lambda channel: (
                f'{{"channel":{channel.number},"rate":'
                f"{'null' if channel.settings.rate is None else e32(single(channel.settings.rate))}}}"
            )
        )

    def _both(self, shown: Callable[[TecChannel], str]) -> list[str]:
        return [f"[{','.join(map(shown, self.channels))}]"]

    # ---- setters

    def set_limit(self, number: str, name: str, value: str) -> list[str]:
        greatest = self.dialect.max_v if name == "max_v" else self.dialect.current
        limit = min(max(_number(value), 0.0), greatest)
        if self.dialect.shows_ranges:  # these read back what the PWM can make of it
            limit = math.floor(limit / greatest * 65_535) / 65_535 * greatest
        setattr(self._channel(number).settings, name, limit)
        return [DONE]

    def set_current(self, number: str, value: str) -> list[str]:
        channel = self._channel(number)
        channel.settings.engaged = False
        channel.set_current(_number(value))
        channel.driving = True
        return [DONE]

    def engage(self, number: str) -> list[str]:
        self._channel(number).settings.engaged = True
        return [DONE]

    def set_polarity(self, number: str, polarity: str) -> list[str]:
        self._channel(number).settings.polarity = polarity
        return [DONE]

    def set_centre(self, number: str, value: str) -> list[str]:
        self._channel(number).centre = None if value == "vref" else single(_number(value))
        return [DONE]

    def set_pid(self, number: str, name: str, value: str) -> list[str]:
        parameter = _number(value) if name == "target" else single(_number(value))
        setattr(self._channel(number).settings, name, parameter)
        return [DONE]

    def set_b_p(self, number: str, name: str, value: str) -> list[str]:
        parameter = _number(value) + (KELVIN if name == "t0" else 0.0)
        setattr(self._channel(number).settings, name, parameter)
        return [DONE]

    def set_rate(self, number: str, value: str) -> list[str]:
        wanted = _number(value)
        self._channel(number).settings.rate = min(self.dialect.rates, key=lambda rate: abs(rate - wanted))
        self._restart_adc(self._uptime_ms())
        return [DONE]

    def set_no_rate(self, number: str) -> list[str]:
        self._channel(number).settings.rate = None
        self._restart_adc(self._uptime_ms())
        return [DONE]

    def load(self, number: str | None) -> list[str]:
        return [self._load(channel) for channel in self._chosen(number)]

    def _load(self, channel: TecChannel) -> str:
        saved = self.flash.get(channel.number)
        if saved is None:
            return NOTHING_SAVED
        channel.settings = replace(saved)
        self._restart_adc(self._uptime_ms())
        return DONE

    def save(self, number: str | None) -> list[str]:
        chosen = self._chosen(number)
        for channel in chosen:
            settings = replace(channel.settings)
            if settings.engaged:
                settings.i_set = 0.0
            self.flash[channel.number] = settings
        return [DONE for _ in chosen]

    def _chosen(self, number: str | None) -> list[TecChannel]:
        return list(self.channels) if number is None else [self._channel(number)]

    def _channel(self, number: str) -> TecChannel:
        return self.channels[int(number)]

    # ---- the device as a whole

    def show_address(self) -> list[str]:
        gateway = f',"gateway":"{self.gateway}"' if self.gateway else ""
        return [f'{{"addr":"{self.ipv4}"{gateway}}}']

    def set_address(self, address: str, prefix: str, gateway: str | None) -> list[str]:
        """The answer still comes from the old address; then every connection is dead."""
        self.ipv4 = f"{_octets(address)}/{int(prefix)}"
        self.gateway = _octets(gateway) if gateway else ""
        self.is_gone = int(prefix) > 32  # the firmware crashes with it at every start
        return [DONE]

    def show_hardware(self) -> list[str]:
        major, minor = self.hardware
        has_fan = self.hardware == (2, 2)
        curve = (1.0, 0.0, 0.0, 0.04, 1.0) if has_fan else (0.0,) * 5
        names = ("fan_k_a", "fan_k_b", "fan_k_c", "min_fan_pwm", "max_fan_pwm")
        settings = {name: e32(single(value)) for name, value in zip(names, curve, strict=True)}
        settings["fan_pwm_freq_hz"] = "25000" if has_fan else "0"
        settings["fan_available"] = "true" if has_fan else "false"
        settings["fan_pwm_recommended"] = "false"
        return [f'{{"rev":{{"major":{major},"minor":{minor}}},"settings":{_fields(settings)}}}']

    def show_fan(self) -> list[str]:
        if self.hardware != (2, 2):
            return ["null"]
        strongest = max(abs(channel.current()) for channel in self.channels)
        a, b, c = self._fan_curve
        share = a * (strongest / 2) ** 2 + b * strongest / 2 + c
        pwm = min(max(int(100 * share), 0), 100) if self._fan_is_automatic else self._fan_pwm
        texts = {"fan_pwm": str(pwm), "abs_max_tec_i": e32(single(strongest))}
        texts["auto_mode"] = "true" if self._fan_is_automatic else "false"
        texts |= {name: e32(k) for name, k in zip(("k_a", "k_b", "k_c"), self._fan_curve, strict=True)}
        return [_fields(texts)]

    def set_fan(self, value: str) -> list[str]:
        if self.hardware != (2, 2):
            return [NO_FAN]
        self._fan_is_automatic = value == "auto"
        if not self._fan_is_automatic:
            self._fan_pwm = min(max(int(value), 1), 100)
        return [POOR_FAN]

    def set_fan_curve(self, a: str, b: str, c: str) -> list[str]:
        self._fan_curve = (single(_number(a)), single(_number(b)), single(_number(c)))
        return [DONE]

    def set_default_fan_curve(self) -> list[str]:
        self._fan_curve = (1.0, 0.0, 0.0)
        return [DONE]

    def restart(self) -> None:
        self._boot()
        self.drop_clients()

    def drop_clients(self) -> None:
        for session in tuple(self.sessions):
            session.client.reset()


class ThermostatSession:
    """One connection: its unfinished line, and whether reports stream."""

    def __init__(self, device: Thermostat, client: Client) -> None:
        self.device = device
        self.client = client
        self._line = bytearray()
        self._streaming: asyncio.TimerHandle | None = None

    def hear(self, chunk: bytes) -> None:
        if self.device.restarts():
            return
        if chunk == b"report\n" and not self._line:  # all that most clients ever say
            self.client.answer(self.device.report().encode() + b"\n", reading=True)
            return
        for byte in chunk:
            if byte not in b"\r\n":
                if len(self._line) < LINE_BYTES_MAX:  # the rest is silently dropped
                    self._line.append(byte)
            elif self._line:
                line = self._line.decode("latin-1")
                self._line.clear()
                self._obey(line)

    def end(self) -> None:
        self._stop_streaming()
        self.device.sessions.discard(self)

    def _obey(self, line: str) -> None:
        if self.device.dialect.streams and line.startswith("report mode"):
            self._answer(self._mode(line))
        elif line == "quit":
            self.client.close()
        elif line == "reset":
            self.device.restart()
        elif line == "dfu":
            self.device.is_gone = True
            self.device.drop_clients()
        else:
            for answer in self.device.answers(line):
                self._answer(answer, reading=line.startswith("report"))
            if line.startswith("ipv4 ") and line.strip() != "ipv4" and answer == DONE:
                self.client.close()

    def _answer(self, text: str, *, reading: bool = False) -> None:
        self.client.answer(text.encode() + b"\n", reading=reading and text != INVALID)

    # ---- reports that come by themselves (§8)

    def _mode(self, line: str) -> str:
        if line == "report mode":
            return f'{{ "report": {"true" if self._streaming else "false"} }}'
        if line not in ("report mode on", "report mode off"):
            return INVALID
        self._stop_streaming()
        if line == "report mode on":
            self._wait_for_sample()
        return DONE

    def _wait_for_sample(self) -> None:
        wait = self.device.next_sample_in() + 0.001
        self._streaming = asyncio.get_running_loop().call_later(wait, self._stream)

    def _stream(self) -> None:
        self._wait_for_sample()
        self._answer(self.device.report(), reading=True)

    def _stop_streaming(self) -> None:
        if self._streaming:
            self._streaming.cancel()
            self._streaming = None


# ---- the grammar (§3): what is checked there about blanks is in these patterns

Command = Callable[..., list[str]]
Commands = list[tuple[re.Pattern[str], Command]]

_CHANNEL = "([01])"
_NUMBER = r"(-*(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
_OCTETS = r"([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)"


def commands_of(dialect: Dialect) -> Commands:
    """The words that a generation of the firmware knows. One blank stands for one or more, `_` for any."""
    patterns: list[tuple[str, Command]] = [
        ("report_", Thermostat.show_report),
        (f"{dialect.output}_", Thermostat.show_output),
        (f"{dialect.output} {_CHANNEL} (max_i_pos|max_i_neg|max_v) {_NUMBER}", Thermostat.set_limit),
        (f"{dialect.output} {_CHANNEL} i_set {_NUMBER}", Thermostat.set_current),
        (f"{dialect.output} {_CHANNEL} pid", Thermostat.engage),
        (f"center {_CHANNEL} (?:{_NUMBER}|(vref))", _centre),
        ("pid_", Thermostat.show_pid),
        (f"pid {_CHANNEL} (target|kp|ki|kd|output_min|output_max) {_NUMBER}", Thermostat.set_pid),
        (f"{dialect.b_p}_", Thermostat.show_b_p),
        (f"{dialect.b_p} {_CHANNEL} (t0|r0|b) {_NUMBER}", Thermostat.set_b_p),
        ("postfilter_", Thermostat.show_postfilter),
        (f"postfilter {_CHANNEL} off", Thermostat.set_no_rate),
        (f"postfilter {_CHANNEL} rate {_NUMBER}", Thermostat.set_rate),
        (f"load(?: {_CHANNEL})?_", Thermostat.load),
        (f"save(?: {_CHANNEL})?_", Thermostat.save),
        ("ipv4_", Thermostat.show_address),
        (f"ipv4 {_OCTETS}/([0-9]{{1,9}})(?:_| {_OCTETS})", Thermostat.set_address),
        ("fan_", Thermostat.show_fan),
        ("fan (auto|[0-9]{1,9})", Thermostat.set_fan),
        (f"fcurve {_NUMBER} {_NUMBER} {_NUMBER}", Thermostat.set_fan_curve),
        ("fcurve default", Thermostat.set_default_fan_curve),
        ("hwrev", Thermostat.show_hardware),
    ]
    if dialect.has_polarity:
        patterns.append((f"{dialect.output} {_CHANNEL} polarity (normal|reversed)", Thermostat.set_polarity))
    return [(_compiled(pattern), command) for pattern, command in patterns]


def _compiled(pattern: str) -> re.Pattern[str]:
    words = re.sub(r"_(?=$|\|)", " *", pattern.replace(" ", " +"))
    return re.compile(words)


def _centre(device: Thermostat, number: str, value: str | None, vref: str | None) -> list[str]:
    return device.set_centre(number, value or vref or "")


def _number(text: str) -> float:
    """Several minus signs are one."""
    number = float(text.lstrip("-"))
    return -number if text.startswith("-") else number


def _octets(text: str) -> str:
    return ".".join(str(int(octet) % 256) for octet in text.split("."))


def _fields(texts: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}"


def _one_of(table: Mapping[str, T], word: str, setting: str) -> T:
    try:
        return table[word]
    except KeyError:
        raise BadSetting(f"setting {setting}: {word!r} is none of {', '.join(table)}") from None
