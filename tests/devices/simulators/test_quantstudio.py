"""The simulated QuantStudio against its protocol notes: transcripts (§10), acceptance list (§11)."""

import base64
import hashlib
import hmac
import json
import math
import random
import re
from collections.abc import Iterable
from xml.etree import ElementTree

import pytest

from devices.simulators.base import BadSetting
from devices.simulators.faults import Fault, Faults
from devices.simulators.quantstudio import QuantStudio
from devices.simulators.quantstudio_grammar import spelled
from tests.devices.simulators.served import Clock

GUEST = (
    'ERRor 0 [InsufficientAccess] -requiredAccess="Observer" -currentAccess="Guest" --> '
    "This operation requires Observer access or higher; current level is Guest"
)
OBSERVER = (
    'ERRor 9 [InsufficientAccess] -requiredAccess="Controller" -currentAccess="Observer" --> '
    "This operation requires Controller access or higher; current level is Observer"
)
IDLE = "-RunMode=- -Step=- -RunTitle=- -Cycle=- -Stage=-"
SIX = r"(\d+\.\d,){5}\d+\.\d"
SETTINGS = " ".join([*(f"-Zone{zone}=25.0" for zone in range(1, 7)), "-Fan1=44.0", "-Cover=105.0"])


class Overheard:
    """A client that notes what it is told."""

    def __init__(self) -> None:
        self.text = ""
        self.ledger: list[str] = []
        self.end = ""

    def answer(self, chunk: bytes, *, reading: bool | str = False) -> None:
        self.text += chunk.decode()
        if reading:
            self.ledger.append(chunk.decode() if reading is True else reading)

    def close(self) -> None:
        self.end = "closed"

    def reset(self) -> None:
        self.end = "reset"


class Bench:
    """A machine with a clock to turn, and one client after the other."""

    def __init__(self, faults: Iterable[str] = (), seed: int = 0, **settings: str) -> None:
        self.clock = Clock()
        parsed = Faults([Fault.parse(text, QuantStudio.faults_of_its_own) for text in faults])
        chosen = {"pace": "8", "cycles": "2", "delay": "1", "runs": "none", **settings}
        self.device = QuantStudio(0, seed, chosen, parsed, self.clock)
        self.join()

    def join(self) -> Overheard:
        self.client = Overheard()
        self.session = self.device.session(self.client)
        return self.client

    def say(self, text: str | bytes) -> str:
        """What is answered, without the last line's end."""
        self.client.text = ""
        self.session.hear(text if isinstance(text, bytes) else text.encode() + b"\n")
        return self.client.text.removesuffix("\n")

    def after(self, seconds: float) -> list[str]:
        """What is heard meanwhile, line by line; half a second at a time."""
        self.client.text = ""
        for _ in range(math.ceil(seconds * 2)):
            self.clock.now += 0.5
            self.device.pump()
        return self.client.text.splitlines()


def observing(faults: Iterable[str] = (), **settings: str) -> Bench:
    bench = Bench(faults, 0, **settings)
    assert bench.say("0 ACC Observer") == "OK 0"
    return bench


def controlling(**settings: str) -> Bench:
    bench = Bench((), 0, **settings)
    assert bench.say("0 ACC Controller") == "OK 0"
    return bench


def decoded(reply: str) -> str:
    found = re.fullmatch(r"OK \d+ <quote>\n(.*)</quote>", reply, re.DOTALL)
    assert found
    return base64.b64decode(found[1]).decode()


# ---- transcripts


def test_it_greets_first() -> None:
    greeting = "READy -session=474801 -product=QuantStudio3_5 -version=1.3.0 -build=001 -capabilities=Index\n"
    bench = Bench()
    assert bench.client.text == greeting
    assert bench.join().text == greeting.replace("474801", "474802")


def test_transcript_of_access() -> None:
    bench = Bench(password="correctpassword")
    assert bench.say("0 ISTAT?") == GUEST
    for number, (word, answer) in enumerate(
        [("wrongpassword", "ERRor 2 [AuthError] --> Authentication failed"), ("correctpassword", "OK 4")]
    ):
        challenge = bench.say(f"{2 * number + 1} CHAL?").split()[-1]
        assert re.fullmatch(r"[0-9a-f]*[a-f][0-9a-f]*", challenge)
        proof = hmac.new(word.encode(), challenge.encode(), hashlib.md5).hexdigest()
        assert bench.say(f"{2 * number + 2} AUTH {proof}") == answer
    for line, answer in [
        ("5 ACC -stealth=False -exclusive=False Observer", "OK 5"),
        ("6 ACC?", "OK 6 -stealth=False -exclusive=False Observer"),
        ("7 RunProgress?", f"OK 7 {IDLE}"),
        ("8 TBC:SETT?", f"OK 8 {SETTINGS}"),
        ("9 OPEN", OBSERVER),
        ("10 ACC -stealth=False -exclusive=False Controller", "OK 10"),
        ("11 OPEN", "OK 11"),
        ("12 DRAW?", "OK 12 Open"),
        ("13 ACC -stealth=False -exclusive=False Observer", "OK 13"),
        ("14 QUIT", "OK 14"),
    ]:
        assert bench.say(line) == answer
    assert bench.client.end == "closed"


def test_transcript_of_a_subscription_in_a_run() -> None:
    bench = observing(runs="once")
    assert bench.say("20 SUBS -timestamp Temperature Time Run LEDStatus") == "OK 20"
    lines = bench.after(45)
    course = bench.device.machine.course
    assert course is not None
    for pattern in (
        r"MESSage LEDStatus \d{10}\.\d{3} Temperature:\S+ Current:\S+ Voltage:\S+ JuncTemp:\S+",
        r'MESSage Run \d{10}\.\d{3} Collected -run="\S+" -stage=2 -cycle=1 -step=2 -point=1',
        rf"MESSage Temperature \d{{10}}\.\d{{3}} -sample={SIX} -heatsink=\S+ -cover=\S+ -block={SIX}",
        r"MESSage Time \d{10}\.\d{3} -elapsed=\d+ -active=\d+ -remaining=\d+",
    ):
        assert [line for line in lines if re.fullmatch(pattern, line)], pattern
    folder = f"{course.name}/apldbio/sds"
    stem = f"{folder}/filter/S02_C001_T02_P0001"
    listed = "".join(f"{stem}_{name}_filterdata.xml\n" for name in ("M1_X1", "M2_X2", "M4_X4"))
    assert (
        bench.say(f"21 EXP:LIST? {stem}_*_filterdata.xml") == f"OK 21 <quote.reply>\n{listed}</quote.reply>"
    )
    assert bench.say(f"23 EXP:READ? -encoding=base64 {folder}/none.xml") == (
        'ERRor 23 [IOError] -message="No such file or directory" -filename="none.xml" --> '
        "No such file or directory: 'none.xml'"
    )
    bench.say("24 ACC Controller")
    answer = bench.say("25 PAUSe").splitlines()
    assert [line for line in answer if not line.startswith("MESSage")] == ["NEXT 25", "OK 25"]


# ---- lines


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("ISTAT?", "OK ISTAT? Idle"),
        ("ACCess OBSERVER", "OK ACCess OBSERVER"),
        ("7 istat?\r", "OK 7 Idle"),
        ("4294967295 ISTATus?", "OK 4294967295 Idle"),
        ("1 drawer?", "OK 1 Closed"),
        ("1 DRAW?", "OK 1 Closed"),
        ("1 power?", "OK 1 On"),
        ("1 experiment:list? none*", "ERRor 1 [NoMatch] --> No match for none*"),
        ("1 NONSENSE", "ERRor 1 [InvocationError] --> Unknown command: NONSENSE"),
        ("1 HELP? A B", "ERRor 1 [InvocationError] --> HELP? takes one name at most"),
        ("1 ACC Administrator",
         'ERRor 1 [AccessLevelExceeded] -accessLimit="Controller" --> Access is limited to Controller'),
        ("1 TBC:ControlZones?", "OK 1 6"),
        ("1 RUNTitle?", "OK 1 -"),
        ("1 REMainingTime?", "OK 1 -"),
        ("1 BLOCK?", "OK 1 OFF 25.0"),
        ("1 LED:STATus?", "OK 1 BLUE ON"),
        ("1 SYST:SETT:NICK?", "OK 1 simulated-qpcr1"),
    ],
)  # fmt: skip
def test_commands_go_by_any_of_their_names(line: str, answer: str) -> None:
    assert observing().say(line) == answer


def test_the_variables_of_a_run_are_there_as_long_as_it_is() -> None:
    bench = observing(runs="once")
    assert bench.say("1 RET ${Protocol:--} ${SampleVolume:--} ${RunMode:--}") == "OK 1 - - -"
    assert "No such variable" in bench.say("2 RET ${Protocol}")
    bench.after(45)
    assert bench.say("3 RET ${Protocol} ${SampleVolume} ${RunMode}") == "OK 3 qpcr 50.0 standard"
    assert bench.say("4 PROT? ${Protocol}").startswith("OK 4 <multiline.protocol>\n")


def test_capitals_are_the_abbreviation() -> None:
    assert spelled("ACCess") == {"access", "acc"}
    assert spelled("TBC:SETTings?") == {"tbc:settings?", "tbc:sett?"}
    assert spelled("RunProtocol") == {"runprotocol", "rp"}


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("a b", "a b"),
        ("${RunTitle:--}", "-"),
        ("${Stage:--1} $(ISTAT?)", "-1 Idle"),
        ("$(TBC:SETT?)", f'"{SETTINGS}"'),
        ('$[ "$(ENG?)" or "unknown" ]', "Down"),
        ("$[ top.getChild('PROTOcolDEFinition').variables.get('${RunMacro}-Stages'.lower(), -1) ]", "-1"),
        ("$(RET $(ISTAT?))", "Idle"),
    ],
)
def test_ret_returns_its_arguments_with_all_put_in_their_places(arguments: str, answer: str) -> None:
    assert observing().say(f"1 RET {arguments}") == f"OK 1 {answer}"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [("${Nothing}", "ParseError"), ("$(NONSENSE)", "InvocationError"), ("$(A", "ParseError"),
     ("$[ 1+1 ]", "ParseError"), ("$(" * 50 + ")" * 50, "")],
)  # fmt: skip
def test_what_cannot_be_put_in_place_is_an_error(arguments: str, kind: str) -> None:
    assert observing().say(f"1 RET {arguments}").startswith(f"ERRor 1 [{kind}")


def test_commands_may_come_in_pieces_and_have_many_lines() -> None:
    bench = controlling()
    assert bench.say(b"1 IST") == ""
    assert bench.say(b"AT?\n2 POW?\n3 FILE:WRITE x <quote.base64>\nYQ==\n") == "OK 1 Idle\nOK 2 On"
    assert bench.say(b"</quote.base64>\n4 ISTAT?\n") == "OK 3\nOK 4 Idle"


def test_any_bytes_are_survived() -> None:
    bench = observing()
    chance = random.Random(1)
    for _ in range(200):
        bench.say(chance.randbytes(chance.randint(1, 80)) + b"\n")
    assert bench.join().text.startswith("READy")
    assert bench.say("1 ACC Observer") == "OK 1"


# ---- the log


def test_each_client_hears_what_it_subscribed_with_a_time_if_it_wants_one() -> None:
    bench = observing()
    first = bench.client
    bench.say("1 SUBS Temperature")
    second, session = bench.join(), bench.session
    bench.say("1 ACC Observer")
    session.hear(b"2 SUBS+ -timestamp=true LEDStatus Temperature\n3 UNS Temperature\n")
    first.text = ""
    bench.after(3)
    assert {line.split()[1] for line in first.text.splitlines()} == {"Temperature"}
    assert re.match(r"MESSage Temperature -sample", first.text)
    assert {line.split()[1] for line in second.text.splitlines()} == {"LEDStatus"}
    assert re.match(r"MESSage LEDStatus \d{10}\.\d{3} ", second.text)


def test_idle_it_logs_once_a_second() -> None:
    bench = observing()
    bench.say("1 SUBS Temperature LEDStatus Time")
    topics = [line.split()[1] for line in bench.after(60)]
    for topic in ("Temperature", "LEDStatus"):
        assert topics.count(topic) == pytest.approx(60, abs=1)  # as the seconds fall
    assert "Time" not in topics


def test_a_run_goes_its_way() -> None:
    bench = observing(runs="once")
    bench.say("1 SUBS -timestamp Run")
    lines = [line.split(" ", 3)[3] for line in bench.after(70)]
    words = [re.sub(r' "?[-q].*', "", line) for line in lines]
    assert words[:7] == ["Starting", "Setting sample volume to 50 microlitres", "Stage PRERUN", "Cycle 1",
                         "Ramping", "Ramped", "Lamp is warmed up"]  # fmt: skip
    step = ["Ramping", "Holding"]
    assert words[7:12] == ["Stage 1", "Cycle 1", "Step 1", *step]
    cycle = ["Step 1", *step, "Step 2", *step, "Acquiring", "Collected"]
    assert words[12:31] == ["Stage 2", "Cycle 1", *cycle, "Cycle 2", *cycle]
    assert words[-4:] == ["Stage POSTRun", "Cycle 1", "Ramping", "Ended"]
    assert words[-5] == "Completed"


def test_progress_is_told_a_little_before_the_log_does() -> None:
    bench = observing(runs="once", pace="1")
    bench.after(3)
    course = bench.device.machine.course
    assert course is not None
    written = {text: time for time, _, text in course.lines if text.startswith(("Stage", "Cycle", "Step"))}
    told = {f"Stage {place.stage}": time for time, place in reversed(course.places)}
    assert all(0.005 < written[text] - time < 0.25 for text, time in told.items() if text in written)


def test_files_are_there_before_the_log_says_so() -> None:
    bench = observing(runs="once")
    bench.after(2)
    course = bench.device.machine.course
    assert course is not None
    collected = [time for time, _, text in course.lines if text.startswith("Collected")]
    assert all(point.taken < time for point, time in zip(course.points, collected, strict=True))


# ---- files


def test_files_are_as_the_machine_writes_them() -> None:
    bench = observing(runs="once")
    bench.after(60)
    name = next(iter(bench.device.machine.folders))
    folder = f"{name}/apldbio/sds"
    root = ElementTree.fromstring(
        decoded(
            bench.say(f"1 EXP:READ? -encoding=base64 {folder}/filter/S02_C001_T02_P0001_M1_X1_filterdata.xml")
        )
    )
    assert len((root.findtext(".//WellData") or "").split()) == 96
    keys = {each.findtext("key"): each.findtext("value") for each in root.iter("Attribute")}
    assert keys["FILTER_SET"] == "x1-m1"
    assert len((keys["TEMPERATURE"] or "").split(",")) == 6
    quant = decoded(
        bench.say(f"2 EXP:READ? -encoding=base64 {folder}/quant/S02_C001_T02_P0001_M1_X1_E2.quant")
    )
    header, values = (line.split("\t") for line in quant.splitlines()[1:3])
    assert re.fullmatch(r"\d{10}\.\d{3}", dict(zip(header, values, strict=True))["Time"])
    log = decoded(
        bench.say("3 EXP:READ? -encoding=base64 ${LogFolder}/messages.log".replace("${LogFolder}", folder))
    )
    assert re.search(r'^Run \d{10}\.\d{3} Starting "', log, re.MULTILINE)
    listed = bench.say("4 EXP:LIST? -verbose */apldbio/sds/messages.log")
    assert re.search(rf'"{folder}/messages.log" -type=file -size=\d+ -mtime=\d+\.\d+', listed)
    assert f"{name}/" in bench.say("5 EXP:LIST?")
    assert re.search(r'-state=Running -run="', bench.say("6 EXP:LIST? -verbose *"))
    assert bench.say(f'7 EXP:ZIPREAD? "{name}"').startswith("OK 7 <quote>\nUEsD")


def test_the_log_of_a_run_holds_what_was_sent_word_for_word() -> None:
    bench = observing(runs="once")
    bench.say("1 SUBS -timestamp Temperature Time Run LEDStatus")
    lines = bench.after(30)
    name = next(iter(bench.device.machine.folders))
    log = decoded(bench.say(f"2 EXP:READ? {name}/apldbio/sds/messages.log")).splitlines()
    start = next(at for at, line in enumerate(lines) if "Starting" in line)
    assert {line.removeprefix("MESSage ") for line in lines[start:]} <= set(log)


# ---- control


def test_a_run_is_started_by_a_client_and_answered_at_its_end() -> None:
    bench = controlling()
    assert bench.say("5 RP -samplevolume=25 -runmode=fast proto my_run") == "NEXT 5"
    assert bench.say("6 RUNTitle?") == "OK 6 my_run"
    assert bench.say("7 RET ${SampleVolume} ${RunMode}") == "OK 7 25.0 fast"
    assert bench.say("8 RP proto other").startswith("ERRor 8 [InvocationError]")
    assert "OK 5" in bench.after(90)


@pytest.mark.parametrize(
    ("command", "word"), [("AbortRun ${RunTitle}", "Aborted"), ("StopRun ${RunTitle}", "Stopped")]
)
def test_a_run_is_ended_early(command: str, word: str) -> None:
    bench = controlling()
    bench.say("1 SUBS Run")
    bench.say("2 RP proto my_run")
    bench.after(30)
    assert "OK 3" in bench.say(f"3 {command}").splitlines()
    lines = bench.after(30)
    assert [line for line in lines if word in line] == [f'MESSage Run {word} "my_run"']
    assert lines[-1] == "OK 2"
    assert 'MESSage Run Ended "my_run"' in lines
    assert 'MESSage Run Completed "my_run"' not in lines
    assert "-state=Terminated" in bench.say("4 EXP:LIST? -verbose *")


def test_a_pause_holds_a_run_up() -> None:
    bench = controlling()
    bench.say("1 SUBS Run")
    bench.say("2 RP proto my_run")
    bench.after(30)
    bench.say("3 PAUSe")
    assert bench.after(60) == []
    assert bench.say("4 RESume").splitlines()[-1] == "OK 4"
    assert any("Ended" in line for line in bench.after(60))


@pytest.mark.parametrize(
    ("command", "query", "answer"),
    [
        ("POW OFF", "POW?", "Off"),
        ("POW false", "LST?", "Off"),
        ("BLOCK ON 60.0", "BLOCK?", "ON 60.0"),
        ("OPEN", "ENG?", "Up"),
        ("LED:GREENBLINK", "LED:STATus?", "GREEN BLINK"),
        ("LED:LightOFF", "LED:STATus?", "- OFF"),
    ],
)
def test_control_shows(command: str, query: str, answer: str) -> None:
    bench = controlling()
    assert bench.say(f"1 {command}") == "OK 1"
    assert bench.say(f"2 {query}") == f"OK 2 {answer}"


def test_a_held_block_warms() -> None:
    bench = controlling()
    bench.say("1 BLOCK ON 60.0")
    bench.after(120)
    assert float(bench.say("2 TBC:BlockTemperatures?").split()[2]) == pytest.approx(60, abs=1)


def test_exclusive_access_keeps_others_out() -> None:
    bench = controlling()
    bench.say("1 ACC -exclusive=True Controller")
    bench.join()
    assert bench.say("2 ACC Observer").startswith("ERRor 2 [ExclusiveAccessGiven]")


# ---- as a simulator


def test_the_same_seed_behaves_the_same() -> None:
    def wells(seed: int) -> str:
        bench = Bench(seed=seed, runs="none")
        course = bench.device.machine.begin("r", 2)
        return repr([bench.device.machine.folders["r"].read(path, course.end) for path in sorted(
            bench.device.machine.folders["r"].paths(course.end)) if path.endswith(".xml")])  # fmt: skip

    assert wells(1) == wells(1)
    assert wells(1) != wells(2)


def test_the_ledger_is_read_back_by_the_drivers_channels() -> None:
    bench = observing(runs="once")
    bench.say("1 SUBS -timestamp Temperature Time Run LEDStatus")
    bench.after(60)
    name = next(iter(bench.device.machine.folders))
    bench.say(
        f"2 EXP:READ? -encoding=base64 {name}/apldbio/sds/filter/S02_C001_T02_P0001_M2_X2_filterdata.xml"
    )
    found = [QuantStudio.read_back(reply) for reply in bench.client.ledger]
    keys = {key for values, _ in found for key in values}
    assert {"sample.1", "block.6", "cover", "heatsink", "run.elapsed", "run.cycle", "led.current"} <= keys
    assert len(json.loads(bench.client.ledger[-1])["values"]) == 96
    assert found[-1][0].keys() == {"fluorescence.x2-m2"}
    assert all(len(times) == 1 and times[0] > 1e9 for _, times in found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"wire": "serial"}, "wire"), ({"pace": "fast"}, "pace"), ({"cycles": "0"}, "cycles"),
     ({"open_level": "x"}, "open"), ({"colour": "x"}, "no setting colour")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Bench((), 0, **settings)


@pytest.mark.parametrize(
    ("fault", "line", "answer"),
    [
        ("warning", "1 ISTAT?", "WARNing 1 Idle"),
        ("next", "1 ISTAT?", "NEXT 1\nOK 1 Idle"),
        ("denied", "1 ACC Controller",
         "ERRor 1 [ExclusiveAccessGiven] --> Another session has exclusive access"),
        ("stray", "1 ISTAT?", "OK 4294967295 25.0\nthis is no line of the protocol\nOK 1 Idle"),
    ],
)  # fmt: skip
def test_faults_of_its_own(fault: str, line: str, answer: str) -> None:
    bench = observing([f"{fault}:from=1"])
    bench.clock.now += 1
    assert bench.say(line) == answer


def test_after_a_loop_of_runs_the_next_one_comes() -> None:
    bench = observing(runs="loop")
    bench.after(200)
    assert len(bench.device.machine.folders) >= 2
