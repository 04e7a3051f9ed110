"""A simulated QuantStudio: its own wire, a qPCR run after the other, several clients at once."""

import asyncio
import json
import random
import re
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from devices.simulators.base import BadSetting, Client, Simulator
from devices.simulators.faults import Fault as Misfortune, Faults
from devices.simulators.quantstudio_commands import LEVELS, Accepted, Commands, Later
from devices.simulators.quantstudio_course import ZONES, wells
from devices.simulators.quantstudio_grammar import Fault, is_whole
from devices.simulators.quantstudio_machine import Line, Machine, Settings

COMMAND_BYTES_MAX = 8 << 20
TICK_MIN = 0.01  # seconds
FLOOD = b"x" * 262_144
FLOODED_MAX = 400
NO_STAMP = "-"  # in a ledger's text of a line that was sent without
LOG = "LOG\n"  # what a ledger's text of a whole log begins with
IDENT = re.compile(r"\s*([0-9]{1,10})\s+(.*)", re.DOTALL)


class QuantStudio(Simulator):
    """One machine; all its clients share its state."""

    driver = "quantstudio"
    connections_max = 30
    settings: ClassVar[Mapping[str, str]] = {
        "wire": "tcp or tls (default tcp)",
        "tls": "new, or old for TLS 1.0 as old firmware has it (default new)",
        "runs": "loop, once or none (default loop)",
        "pace": "how many times faster than a real one a run goes (default 1)",
        "cycles": "of amplification (default 40)",
        "title": "of runs; the seed and the time are added (default qpcr)",
        "delay": "seconds until the first run (default 5)",
        "password": "what raises a client's access to Controller (default none)",
        "open_level": "access without a password: Guest, Observer … (default Controller, or Guest with one)",
        "version": "of the firmware (default 1.3.0)",
    }
    faults_of_its_own = (
        "silent", "denied", "unclosed", "nesting", "endless", "stray", "warning", "next", "unstamped",
        "nofile", "zone", "clock",
    )  # fmt: skip

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        self.scheme = _one_of(settings.get("wire", "tcp"), "wire", ("tcp", "tls"))
        self.tls = _one_of(settings.get("tls", "new"), "tls", ("new", "old"))
        self.password = settings.get("password", "")
        level = settings.get("open_level", "Guest" if self.password else "Controller")
        self.open_level = LEVELS.index(_one_of(level, "open_level", LEVELS))
        self.version = settings.get("version", "1.3.0")
        self.nickname: str = f"simulated-qpcr{number + 1}"
        self.chance = random.Random(f"{seed} {number}")  # noqa: S311 - a simulation
        self._wall = time.time() - clock()
        setup = Settings(
            _one_of(settings.get("runs", "loop"), "runs", ("loop", "once", "none")),
            _above_zero(settings, "pace", 1.0),
            round(_above_zero(settings, "cycles", 40)),
            settings.get("title", "qpcr"),
            _above_zero(settings, "delay", 5.0) + 0.37 * number,
        )
        self.machine = Machine(seed * 100 + number, setup, self.now())
        self.sessions: list[Session] = []
        self._timer: asyncio.TimerHandle | None = None
        self._session = 474_800

    def now(self) -> float:
        """By its own clock."""
        fault = self.faults.standing("clock", self.number, self.elapsed)
        return self._wall + self.clock() + (fault.delay if fault else 0.0)

    def session(self, client: Client) -> "Session":
        self._session += 1
        session = Session(self, client, self._session)
        self.sessions.append(session)
        self.pump()
        return session

    def leave(self, session: "Session") -> None:
        if session in self.sessions:
            self.sessions.remove(session)
        if not self.sessions and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pump(self) -> None:
        """Let what is due happen, and see that what comes next does, too; a test may do so by hand."""
        self.machine.advance(self.now())
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.sessions:
            wait = max(self.machine.next_due() - self.now(), TICK_MIN)
            self._timer = loop.call_later(wait, self.pump)

    def is_taken(self, commands: Commands) -> bool:
        """Whether access cannot be had, as somebody else has it for himself."""
        others = (session.commands for session in self.sessions if session.commands is not commands)
        return any(other.is_exclusive for other in others) or self.suffers("denied")

    def lacks(self, path: str) -> bool:
        """Whether a file that should be there is not."""
        return "/filter/" in path and self.suffers("nofile")

    def suffers(self, kind: str) -> bool:
        fault = self.misfortune(kind)
        return fault is not None and self.faults.chance(fault.p)

    def misfortune(self, kind: str) -> Misfortune | None:
        return self.faults.standing(kind, self.number, self.elapsed) if self.faults.has(kind) else None

    def garbage(self, answer: bytes, random: random.Random) -> bytes:
        """Torn before its first value, or noise: the real wire has whole lines or none."""
        if random.random() < 0.5:
            return answer[: random.randint(1, 4)] + b"\n"
        noise = random.randbytes(random.randint(1, 200))
        return b"\xff" + noise.replace(b"\n", b"").replace(b"<", b"").replace(b"\r", b"") + b"\n"

    def adjust_tls(self, context: ssl.SSLContext) -> None:
        if self.tls == "old":
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
                context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        """A log line, or a filter set's wells as JSON; the device time is what they are stamped with."""
        if reply.startswith("{"):
            found = json.loads(reply)
            return {found["key"]: found["values"]}, (found["time"],)
        _, topic, stamp, text = reply.rstrip("\n").split(" ", 3)
        return _values(topic, text), () if stamp == NO_STAMP else (float(stamp),)

    @classmethod
    def read_all(cls, reply: str) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
        """A run's whole log that was read as a file has many lines."""
        if not reply.startswith(LOG):
            return [cls.read_back(reply)]
        return [cls.read_back(f"MESSage {line}") for line in reply.removeprefix(LOG).splitlines()]


class Session:
    """One client's conversation."""

    def __init__(self, simulator: QuantStudio, client: Client, number: int) -> None:
        self.simulator, self.client = simulator, client
        self.commands = Commands(simulator, number)
        self._heard = ""
        self._flooded = 0
        simulator.machine.listeners.append(self.log)
        self._send(
            f"READy -session={number} -product=QuantStudio3_5 -version={simulator.version} -build=001 "
            "-capabilities=Index"
        )

    def hear(self, chunk: bytes) -> None:
        self._heard += chunk.decode("utf-8", "replace")
        while "\n" in self._heard and not self.commands.ends:
            end = self._end_of_command()
            if end < 0:
                break
            line, self._heard = self._heard[:end].strip("\r\n "), self._heard[end + 1 :]
            if line:
                self._answer(line)
        if len(self._heard) > COMMAND_BYTES_MAX:
            self.client.reset()

    def end(self) -> None:
        machine = self.simulator.machine
        if self.log in machine.listeners:
            machine.listeners.remove(self.log)
        self.simulator.leave(self)

    def _end_of_command(self) -> int:
        """Where the first line ends that is outside of all tags."""
        end = self._heard.find("\n")
        while end >= 0 and not is_whole(self._heard[:end]):
            end = self._heard.find("\n", end + 1)
        return end

    # ---- replies

    def _answer(self, line: str) -> None:
        simulator = self.simulator
        simulator.pump()
        found = IDENT.fullmatch(line)
        ident, command = (found[1], found[2]) if found else (line, line)
        if not command.upper().startswith("AUTH"):
            simulator.machine.say("Debug", f"C: {' '.join(line.split())[:500]}")
        if simulator.suffers("stray"):
            self._send("OK 4294967295 25.0")
            self._send("this is no line of the protocol")
        if simulator.suffers("nesting"):
            self._send("OK 4294967294 <quote>\n<quote.reply>\n</quote>\n</quote.reply>")
        try:
            answer = self.commands.run(command)
        except Fault as fault:
            self._reply(f"ERRor {ident} {fault.body}")
            return
        if not isinstance(answer, str) or simulator.suffers("next"):
            self._reply(f"NEXT {ident}")
        if isinstance(answer, Later):
            simulator.machine.ended.append(lambda: self._reply(f"OK {ident}"))
            return
        said = answer.say if isinstance(answer, Accepted) else answer
        word = "WARNing" if simulator.suffers("warning") else "OK"
        self._reply(f"{word} {ident} {said}".rstrip(" "), self._noted(command, said))
        if self.commands.ends:
            self.client.close()

    def _reply(self, text: str, reading: str = "") -> None:
        self._send(text, reading)
        if "<quote>" not in text:
            self.simulator.machine.say("Debug", f"S: {' '.join(text.split())[:500]}")

    def _send(self, text: str, reading: str | bool = "") -> None:
        self.client.answer(f"{text}\n".encode(), reading=reading or False)

    def _noted(self, command: str, said: str) -> str:
        """What a filter data file or a run's log says, for the ledger."""
        if "/messages.log" in command and said.startswith("<quote>"):
            path = command.rsplit(maxsplit=1)[-1].strip('"')
            folder = self.simulator.machine.folders.get(path.partition("/")[0])
            return LOG + "\n".join(filter(_is_reading, folder.log)) if folder else ""
        if (
            "_filterdata.xml" not in command
            or "READ?" not in command.upper()
            or not said.startswith("<quote>")
        ):
            return ""
        machine = self.simulator.machine
        path = command.rsplit(maxsplit=1)[-1].strip('"')
        folder = machine.folders.get(path.partition("/")[0])
        found = folder.point_of(path, machine.now) if folder else None
        if folder is None or found is None:
            return ""
        point, excitation, emission = found
        key = f"fluorescence.x{excitation}-m{emission}"
        values = wells(folder.course, point, excitation)
        return json.dumps({"key": key, "values": values, "time": round(point.taken, 3)})

    # ---- the log

    def log(self, line: Line) -> None:
        stamp, topic, text = line
        simulator = self.simulator
        if topic not in self.commands.topics or simulator.suffers("silent"):
            return
        if simulator.suffers("unclosed"):
            self._send("MESSage Info Error in command: <quote> --> [InvocationError] no end")
        if simulator.suffers("endless") and self._flooded < FLOODED_MAX:
            self._flooded += 1
            self.client.answer(FLOOD)
            return
        has_stamp = self.commands.topics[topic] and not simulator.suffers("unstamped")
        if topic == "Temperature" and (fault := simulator.misfortune("zone")):
            text = _without(text, fault.channel)
        said = f"MESSage {topic} {stamp:.3f} {text}" if has_stamp else f"MESSage {topic} {text}"
        noted = said if has_stamp else f"MESSage {topic} {NO_STAMP} {text}"
        self._send(said, reading=noted if _is_reading(noted.removeprefix("MESSage ")) else "")


def _is_reading(line: str) -> bool:
    """Whether a line of the log carries values of channels."""
    topic, _, text = line.split(" ", 2)
    return topic in {"Temperature", "Time", "LEDStatus", "Run"} and bool(_values(topic, text))


def _without(text: str, zone: int) -> str:
    """A zone's sensor has failed."""
    pattern = ",".join([r"([^,\s]+)"] * ZONES)

    def spoiled(found: re.Match[str]) -> str:
        return "=" + ",".join("nan" if at == zone else value for at, value in enumerate(found.groups()))

    return re.sub("=" + pattern, spoiled, text)


def _values(topic: str, text: str) -> dict[str, Any]:
    """A log line's values by the driver's channels."""
    values: dict[str, Any] = {}
    if topic == "Temperature":
        for name, numbers in re.findall(r"-(\w+)=(\S+)", text):
            parts = [_float(part) for part in numbers.split(",")]
            if name in {"sample", "block"}:
                values |= {f"{name}.{zone}": value for zone, value in enumerate(parts, 1)}
            else:
                values[name] = parts[0]
    elif topic == "Time":
        values = {f"run.{name}": float(value) for name, value in re.findall(r"-(\w+)=(\S+)", text)}
    elif topic == "LEDStatus":
        names = {
            "Temperature": "temperature",
            "Current": "current",
            "Voltage": "voltage",
            "JuncTemp": "junction",
        }
        values = {f"led.{names[name]}": float(value) for name, value in re.findall(r"(\w+):(\S+)", text)}
    elif topic == "Run" and (found := re.fullmatch(r"(Stage|Cycle|Step) (\w+)", text)):
        name = found[1].lower()
        values = {f"run.{name}": int(found[2])} if found[2].isdecimal() else {}
        if name == "stage":
            values["run.stage_name"] = found[2]
    return values


def _float(text: str) -> float | None:
    return None if text == "nan" else float(text)


def _one_of(word: str, setting: str, allowed: tuple[str, ...]) -> str:
    if word not in allowed:
        raise BadSetting(f"setting {setting}: {word!r} is none of {', '.join(allowed)}")
    return word


def _above_zero(settings: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(settings.get(name, default))
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise BadSetting(f"setting {name}: {settings.get(name)!r} is no number above 0")
    return value
