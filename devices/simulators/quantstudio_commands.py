"""The commands of a simulated QuantStudio, and what each needs (protocol notes §2, §4, §5)."""

import base64
import binascii
import hashlib
import hmac
import io
import random
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devices.simulators.quantstudio_course import PROTOCOL, ZONES
from devices.simulators.quantstudio_files import SDS, RunFolder, base64_lines, matches
from devices.simulators.quantstudio_grammar import Call, Fault, parsed, quoted, spelled, substituted
from devices.simulators.quantstudio_machine import Machine

if TYPE_CHECKING:
    from devices.simulators.quantstudio import QuantStudio

LEVELS = ("Guest", "Observer", "Controller", "Administrator", "Full")
GUEST, OBSERVER, CONTROLLER = range(3)
PROPERTIES = (
    '-hardwareVersion=1 -maxSampleVolume=100.0 -minSampleVolume=1.0 -blockDescription="96 wells perform" '
    "-bootcodeVersion=1 -blockID=18 -lifeDegreesClimbed={climbed} -firmwareID=0 -lifeCycleCount={cycles} "
    "-runModes=Direct,Fast,Standard -blockSerial=26156382 -firmwareVersion=21"
)


@dataclass
class Later:
    """The final reply comes with the end of the run."""

    say: str = ""


@dataclass
class Accepted:
    """NEXT first, then OK."""

    say: str = ""


Answer = str | Later | Accepted
Handler = Callable[["Commands", Call], Answer]


class Commands:
    """One session's: it has its access level, its subscriptions, its challenge."""

    def __init__(self, simulator: "QuantStudio", session: int) -> None:
        self.simulator = simulator
        self.machine: Machine = simulator.machine
        self.session = session
        self.level = GUEST
        self.limit = simulator.open_level
        self.is_exclusive = self.is_stealthy = False
        self.topics: dict[str, bool] = {}  # and whether with a timestamp
        self.challenge = ""
        self.ends = False

    def run(self, line: str) -> Answer:
        """Carry out a command line without its number. Raises Fault."""
        name = line.split(maxsplit=1)[0] if line.split() else ""
        level, handler = COMMANDS.get(name.lower(), (GUEST, None))
        if handler is None:
            raise Fault("InvocationError", f"Unknown command: {name}")
        if self.level < level:
            raise Fault(
                "InsufficientAccess",
                f"This operation requires {LEVELS[level]} access or higher; "
                f"current level is {LEVELS[self.level]}",
                requiredAccess=LEVELS[level],
                currentAccess=LEVELS[self.level],
            )
        return handler(self, parsed(substituted(line, self._variable, self._nested, self._evaluated)))

    def _nested(self, line: str) -> str:
        answer = self.run(line)
        return answer if isinstance(answer, str) else ""

    def _variable(self, name: str) -> str | None:
        machine, course = self.machine, self.machine.running
        if course is None:
            return None
        place = machine.place
        values: dict[str, object] = {
            "runtitle": course.name,
            "runmacro": "qpcr",
            "protocol": "qpcr",
            "samplevolume": course.volume,
            "runmode": course.mode,
            "runstarttime": int(course.start),
            "logfolder": f"{course.name}/{SDS}",
            "filterfolder": f"{course.name}/{SDS}/filter",
            "stage": place.stage or None,
            "cycle": place.cycle,
            "step": place.step,
            "point": place.point,
        }
        value = values.get(name)
        return None if value is None else str(value)

    def _evaluated(self, expression: str) -> str:
        """The two forms that clients use."""
        fallback = re.fullmatch(r'\s*"\$\((.+)\)" or "(.*)"\s*', expression)
        if fallback:
            return quoted(self._nested(fallback[1]) or fallback[2])
        course, place = self.machine.running, self.machine.place
        if "-Stages'" in expression:
            return str(len(course.protocol)) if course else "-1"
        if "-Count'" in expression:
            known = course is not None and place.stage.isdecimal()
            return str(course.protocol[int(place.stage) - 1][0]) if course and known else "-1"
        raise Fault("ParseError", f"cannot evaluate {expression.strip()[:60]}")

    # ---- access

    def prove(self, call: Call) -> str:
        password = self.simulator.password
        if not password:  # none is set, so that any will do
            return ""
        proof = hmac.new(password.encode(), self.challenge.encode(), hashlib.md5).hexdigest()
        if not (self.challenge and call.words and hmac.compare_digest(proof, call.words[0])):
            raise Fault("AuthError", "Authentication failed")
        self.limit = CONTROLLER
        return ""

    def challenged(self, _call: Call) -> str:
        self.challenge = f"{self.simulator.chance.getrandbits(60):015x}c"
        return self.challenge

    def take_access(self, call: Call) -> str:
        wanted = [level for level in LEVELS if call.words and level.lower() == call.words[0].lower()]
        if not wanted:
            raise Fault("InvocationError", f"No such access level: {' '.join(call.words)}")
        level = LEVELS.index(wanted[0])
        if level > self.limit:
            text = f"Access is limited to {LEVELS[self.limit]}"
            raise Fault("AccessLevelExceeded", text, accessLimit=LEVELS[self.limit])
        if level > GUEST and self.simulator.is_taken(self):
            raise Fault("ExclusiveAccessGiven", "Another session has exclusive access")
        self.level = level
        self.is_exclusive = call.options.get("exclusive", "").lower() == "true"
        self.is_stealthy = call.options.get("stealth", "false").lower() in {"true", ""}
        text = f"Access -sessionid={self.session} -level={wanted[0]} -exclusive={self.is_exclusive}"
        self.machine.say("System", text)
        return ""

    def access(self, _call: Call) -> str:
        return f"-stealth={self.is_stealthy} -exclusive={self.is_exclusive} {LEVELS[self.level]}"

    def random_key(self, _call: Call) -> str:
        return f"{random.Random(self.simulator.seed).randrange(10**6):06}"  # noqa: S311 - a simulation

    # ---- the log

    def subscribe(self, call: Call) -> str:
        stamps = call.options.get("timestamp", "false").lower() in {"", "true"}
        self.topics |= dict.fromkeys(call.words, stamps)
        return ""

    def unsubscribe(self, call: Call) -> str:
        for topic in call.words:
            self.topics.pop(topic, None)
        return ""

    # ---- queries

    def progress(self, _call: Call) -> str:
        course, place = self.machine.running, self.machine.place
        mode, title = (course.mode, course.name) if course else ("-", "-")
        step, cycle, stage = place.step or "-", place.cycle or "-", place.stage or "-"
        return f"-RunMode={mode} -Step={step} -RunTitle={quoted(title)} -Cycle={cycle} -Stage={stage}"

    def seconds(self, call: Call) -> str:
        course, now = self.machine.running, self.machine.now
        if course is None:
            return "-"
        kind = call.name.lower()[:3]
        whole = {"ela": now - course.start, "rem": course.end - now, "est": course.end - course.start}[kind]
        return str(max(int(whole), 0))

    def protocol(self, _call: Call) -> str:
        stages = []
        for number, (repeat, steps) in enumerate(PROTOCOL, 1):
            lines = [
                f"    STEP {index} <multiline.step>\n      RAMP {' '.join([str(step.temperature)] * ZONES)}\n"
                f"      HOLD {step.hold:.0f}\n    </multiline.step>\n"
                for index, step in enumerate(steps, 1)
            ]
            stages.append(
                f"  STAGe -repeat={repeat} {number} <multiline.stage>\n{''.join(lines)}  </multiline.stage>\n"
            )
        return f"<multiline.protocol>\n{''.join(stages)}</multiline.protocol>"

    def properties(self, _call: Call) -> str:
        climbed = int(130_159 + 2_800 * len(self.machine.folders))
        return PROPERTIES.format(climbed=climbed, cycles=4_638 + len(self.machine.folders))

    # ---- files

    def listed(self, call: Call) -> str:
        glob = _path(call.words[0]) if call.words else ""
        now, folders = self.machine.now, self.machine.folders
        known = {path: folder for folder in folders.values() for path in folder.paths(now)}
        known |= {f"{name}/": folder for name, folder in folders.items()}
        found = [path for path in known if (matches(path, glob) if glob else path.endswith("/"))]
        if not found:
            raise Fault("NoMatch", f"No match for {glob}")
        if "verbose" in call.options:
            lines = [self._verbose(path, known[path]) for path in found]
        else:
            prefix = "experiments:" if call.name.lower().startswith("fil") else ""
            lines = [prefix + path for path in found]
        return "<quote.reply>\n" + "".join(f"{line}\n" for line in lines) + "</quote.reply>"

    def _verbose(self, path: str, folder: RunFolder) -> str:
        course, now = folder.course, self.machine.now
        changed = min(course.end, now)
        times = " ".join(f"-{kind}={changed:.2f}" for kind in ("mtime", "atime", "ctime"))
        if path.endswith("/"):
            run = f'-state={course.state} -run="{course.name}" -collected=False'
            return f'"{path}" -type=folder -size=0 {times} {run}'
        return f'"{path}" -type=file -size=4199 {times}'

    def read(self, call: Call) -> str:
        path = _path(call.words[0]) if call.words else ""
        folder = self.machine.folders.get(path.partition("/")[0])
        try:
            content = (
                folder.read(path, self.machine.now) if folder and not self.simulator.lacks(path) else None
            )
        except KeyError:
            content = None
        if content is None:
            name = path.rpartition("/")[2]
            raise Fault(
                "IOError",
                f"No such file or directory: '{name}'",
                message="No such file or directory",
                filename=name,
            )
        plain = call.options.get("encoding", "base64").lower() == "plain"
        return f"<quote>\n{content.decode() if plain else base64_lines(content)}</quote>"

    def zipped(self, call: Call) -> str:
        name = _path(call.words[0]).rstrip("/") if call.words else ""
        folder = self.machine.folders.get(name)
        if folder is None:
            raise Fault("NoMatch", f"No match for {name}")
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            for path in folder.paths(self.machine.now):
                archive.writestr(path.partition("/")[2], folder.read(path, self.machine.now))
        return f"<quote>\n{base64_lines(held.getvalue())}</quote>"

    def write(self, call: Call) -> str:
        path = _path(call.words[0]) if call.words else ""
        folder = self.machine.folders.get(path.partition("/")[0])
        body = re.search(r"<[\w.]+>(.*)</[\w.]+>", call.rest, re.DOTALL)
        if folder is not None and body is not None:
            try:
                folder.written[path] = base64.b64decode(body[1])
            except binascii.Error:
                raise Fault("InvocationError", "not base64") from None
        return ""

    # ---- control

    def switch(self, call: Call) -> str:
        self.machine.power = _is_on(call.words)
        return ""

    def open_drawer(self, _call: Call) -> str:
        self.machine.say("Debug", "Drawer Opening")
        self.machine.cover_position, self.machine.drawer = "Up", "Open"
        return ""

    def close_drawer(self, _call: Call) -> str:
        self.machine.say("Debug", "Drawer Closing")
        self.machine.drawer = "Closed"
        return ""

    def lower_cover(self, _call: Call) -> str:
        self.machine.cover_position = "Down"
        return ""

    def hold_block(self, call: Call) -> str:
        if not _is_on(call.words):
            self.machine.hold(None)
        elif len(call.words) > 1:
            self.machine.hold(_number(call.words[1]))
        else:
            self.machine.hold(self.machine.held_last)
        return ""

    def abort(self, call: Call) -> str:
        self._needs_run(call)
        self.machine.abort()
        return ""

    def stop(self, call: Call) -> str:
        self._needs_run(call)
        self.machine.stop()
        return ""

    def pause(self, call: Call) -> Answer:
        self._needs_run(call)
        self.machine.pause()
        return Accepted()

    def resume(self, call: Call) -> Answer:
        self._needs_run(call)
        self.machine.resume()
        return Accepted()

    def _needs_run(self, call: Call) -> None:
        course = self.machine.running
        if course is None or (call.words and call.words[0] != course.name):
            raise Fault("InvocationError", "no such run")

    def run_protocol(self, call: Call) -> Answer:
        if self.machine.course is not None:
            raise Fault("InvocationError", "a run is in progress")
        if len(call.words) < 2:
            raise Fault("InvocationError", "RP needs a protocol and a run")
        volume = _number(call.options.get("samplevolume", "50"))
        mode = call.options.get("runmode", "standard")
        name = call.words[1].replace(" ", "_")
        self.machine.begin(name, self.machine.settings.cycles, volume, mode)
        return Later()

    def set_light(self, call: Call) -> str:
        found = re.fullmatch(
            r"led:(red|green|blue|yellow|cyan|magenta|white)(on|off|blink)", call.name.lower()
        )
        self.machine.light = (found[1].upper(), found[2].upper()) if found else ("-", "OFF")
        return ""

    def leave(self, _call: Call) -> str:
        self.ends = True
        return ""


def _path(word: str) -> str:
    """Without its context."""
    return re.sub(r"^[A-Za-z_]+:", "", word)


def _is_on(words: list[str]) -> bool:
    word = words[0].lower() if words else ""
    if word not in {"on", "true", "1", "off", "false", "0"}:
        raise Fault("InvocationError", f"not on or off: {word}")
    return word in {"on", "true", "1"}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Fault("InvocationError", f"no number: {text}") from None


def _floats(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _done(_session: Commands, _call: Call) -> str:
    return ""


def _of(say: Callable[[Machine], str]) -> Handler:
    return lambda session, _call: say(session.machine)


# What changes nothing that this simulator shows.
_UNSEEN = (
    "EXPeriment:NEW", "EXPeriment:ZIPWRITE", "EXPeriment:COPy", "EXPeriment:DELETE", "EXPeriment:ATTRibutes=",
    "EXPeriment:RUN", "FILe:MOVE", "FILe:REMOVE", "FILe:COPy",
)  # fmt: skip
_TABLE: dict[str, tuple[int, Handler]] = {
    "HELP?": (GUEST, lambda _session, call: _helped(call)),
    "CHALlenge?": (GUEST, Commands.challenged),
    "AUTHenticate": (GUEST, Commands.prove),
    "ACCess": (GUEST, Commands.take_access),
    "ACCess?": (GUEST, Commands.access),
    "QUIT": (GUEST, Commands.leave),
    "SUBScribe": (OBSERVER, Commands.subscribe),
    "SUBScribe+": (OBSERVER, Commands.subscribe),
    "UNSubscribe": (OBSERVER, Commands.unsubscribe),
    "RETurn": (OBSERVER, lambda _session, call: call.rest),
    "ISTATus?": (OBSERVER, _of(lambda machine: machine.state)),
    "RUNProgress?": (OBSERVER, Commands.progress),
    "RUNTitle?": (OBSERVER, _of(lambda machine: quoted(machine.running.name) if machine.running else "-")),
    "REMainingTime?": (OBSERVER, Commands.seconds),
    "ELAPsedTime?": (OBSERVER, Commands.seconds),
    "ESTimatedTime?": (OBSERVER, Commands.seconds),
    "TBC:SETTings?": (OBSERVER, _of(Machine.targets)),
    "TBC:CONTrol?": (OBSERVER, _of(Machine.controls)),
    "TBC:SampleTemperatures?": (OBSERVER, _of(lambda machine: _floats(machine.zones(machine.now, "s")))),
    "TBC:BlockTemperatures?": (OBSERVER, _of(lambda machine: _floats(machine.zones(machine.now, "b")))),
    "TBC:CoverTemperatures?": (OBSERVER, _of(lambda machine: _floats([machine.cover(machine.now)]))),
    "TBC:ControlZones?": (OBSERVER, _of(lambda _machine: str(ZONES))),
    "TBC:PROPerties?": (OBSERVER, Commands.properties),
    "POWer?": (OBSERVER, _of(lambda machine: "On" if machine.power else "Off")),
    "DRAWer?": (OBSERVER, _of(lambda machine: machine.drawer)),
    "ENGage?": (OBSERVER, _of(lambda machine: machine.cover_position)),
    "COVer?": (OBSERVER, _of(lambda machine: "ON 105.0" if machine.running else "OFF 105.0")),
    "BLOCK?": (OBSERVER, _of(lambda m: f"{'OFF' if m.held is None else 'ON'} {m.held_last:.1f}")),
    "LST?": (OBSERVER, _of(lambda machine: "On" if machine.power else "Off")),
    "LED:LEDTemperature?": (OBSERVER, _of(lambda machine: f"{machine.led_temperature(machine.now):.6g}")),
    "LED:STATus?": (OBSERVER, _of(lambda machine: " ".join(machine.light))),
    "SYSTem:SETTings:NICKname?": (OBSERVER, lambda session, _call: quoted(session.simulator.nickname)),
    "PROTocol?": (OBSERVER, Commands.protocol),
    "EXPeriment:LIST?": (OBSERVER, Commands.listed),
    "FILe:LIST?": (OBSERVER, Commands.listed),
    "EXPeriment:READ?": (OBSERVER, Commands.read),
    "FILe:READ?": (OBSERVER, Commands.read),
    "EXPeriment:ZIPREAD?": (OBSERVER, Commands.zipped),
    "RANDom?": (CONTROLLER, Commands.random_key),
    "OPEN": (CONTROLLER, Commands.open_drawer),
    "CLOSE": (CONTROLLER, Commands.close_drawer),
    "COVerDOWN": (CONTROLLER, Commands.lower_cover),
    "POWer": (CONTROLLER, Commands.switch),
    "BLOCK": (CONTROLLER, Commands.hold_block),
    "AbortRun": (CONTROLLER, Commands.abort),
    "StopRun": (CONTROLLER, Commands.stop),
    "PAUSe": (CONTROLLER, Commands.pause),
    "RESume": (CONTROLLER, Commands.resume),
    "PROTocol": (CONTROLLER, _done),
    "RunProtocol": (CONTROLLER, Commands.run_protocol),
    "EXPeriment:WRITE": (CONTROLLER, Commands.write),
    "FILe:WRITE": (CONTROLLER, Commands.write),
    "LED:LightOFF": (CONTROLLER, Commands.set_light),
    **dict.fromkeys(_UNSEEN, (CONTROLLER, _done)),
    **{
        f"LED:{color}{mode}": (CONTROLLER, Commands.set_light)
        for color in ("RED", "GREEN", "BLUE", "YELLOW", "CYAN", "MAGENTA", "WHITE")
        for mode in ("ON", "OFF", "BLINK")
    },
}  # fmt: skip
COMMANDS = {form: entry for name, entry in _TABLE.items() for form in spelled(name)}


def _helped(call: Call) -> str:
    if len(call.words) > 1:
        raise Fault("InvocationError", "HELP? takes one name at most")
    return "<quote.reply>\n" + "".join(f"{name}\n" for name in sorted(_TABLE)) + "</quote.reply>"
