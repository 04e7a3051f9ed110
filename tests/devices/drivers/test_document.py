"""docs/drivers.md: the drivers in it are files, which are what the document shows, and work as it says."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices import drivers, lab_file
from devices.conformance import broken, declared, live
from devices.readings import RUN_STATES, Event, Quality, Reading, Run, Vector
from devices.wire import Batch
from labsite.onebox import ports
from tests.devices.drivers.scripted import ScriptedLink
from tests.devices.edge.doubles import order, rows
from tests.devices.edge.world import Line, World, until
from tests.servers import Process, dying_with_tests
from tests.waiting import until as until_so

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "drivers.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "docs" / "examples"
SHOWN = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```\n", DOCUMENT, re.DOTALL)
LINES_MAX = 40


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The examples as an installed package, declared as the document says."""
    declaration = re.search(r"```toml\n\[project\.entry-points\.\"(.*?)\"\]\n(.*?)```", DOCUMENT, re.DOTALL)
    assert declaration is not None
    described = tmp_path / "examples-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: examples\nVersion: 1.0\n")
    group, lines = declaration.groups()
    plate_reader = "lumen_s2 = plate_reader:LumenS2"
    (described / "entry_points.txt").write_text(f"[{group}]\n{lines.replace(chr(34), '')}{plate_reader}\n")
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.syspath_prepend(tmp_path)
    drivers.forget()
    yield tmp_path
    monkeypatch.undo()
    importlib.invalidate_caches()
    drivers.forget()
    for module in ("chiller", "plate_reader"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(("name", "text"), SHOWN, ids=[name for name, _ in SHOWN])
def test_what_the_document_shows_is_the_file(name: str, text: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text


def test_the_first_driver_is_no_longer_than_promised() -> None:
    (name, text), *_ = SHOWN
    assert name == "examples/chiller.py"
    assert len(text.splitlines()) <= LINES_MAX


def test_what_the_document_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", DOCUMENT):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target
    for path in re.findall(r"`((?:devices|tests|docs)/[\w/.]+)`", DOCUMENT):
        assert (ROOT / path).exists(), path
    states = re.search(r"`state` is one of (.*?), and", DOCUMENT)
    assert states is not None
    assert states[1].replace("`", "").split(", ") == list(RUN_STATES)
    for scheme in set(re.findall(r"`([a-z0-9+]+)://", DOCUMENT)):
        assert scheme in importlib.import_module("devices.links").LINKS, scheme
    lab = re.search(r"```toml\n(\[\[instrument\]\].*?)```", DOCUMENT, re.DOTALL)
    assert lab is not None
    assert lab_file.parse(lab[1], "drivers.md").of("instrument")[0].table["driver"] == "kelda_c20"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("20.03", "20.0", "6.4"), [(20.03, 0), (20.0, 0), (6.4, 0)]),
        (("!3", "20.0", "6.4"), [(None, 2), (20.0, 0), (6.4, 0)]),
        (("99", "20.0", ""), [(99.0, 2), (20.0, 0), (None, 2)]),
    ],
    ids=["normal", "sensor open", "too hot, no answer"],
)
async def test_the_chiller_is_read(package: Path, answers: Any, expected: Any) -> None:
    exchanges = zip(("PV?", "SP?", "FL?"), answers, strict=True)
    chiller = drivers.load("kelda_c20")(ScriptedLink(*exchanges), {})
    assert [(each.value, each.quality) for each in await chiller.read()] == expected


async def test_the_chiller_keeps_the_rules(package: Path, line: Line) -> None:
    answers = {b"ID?\n": b"KELDA C20\n", b"PV?\n": b"20.1\n", b"SP?\n": b"20\n", b"FL?\n": b"6\n"}
    line.answer = answers.get
    assert broken(declared.findings("kelda_c20")) == []
    assert broken(await live.findings("kelda_c20", line.address, {})) == []


@pytest.mark.parametrize("garbage", [b"\n", b"KELDA C19\n", b"\xff\xfe\n"])
async def test_another_instrument_is_not_read(package: Path, line: Line, garbage: bytes) -> None:
    line.answer = lambda request: garbage
    (finding,) = await live.findings("kelda_c20", line.address, {})
    assert "no Kelda C20; it says" in finding.fault


def test_the_commands_of_the_document_work(package: Path, tmp_path: Path) -> None:
    port = ports.free()
    environment = {"PYTHONPATH": f"{package}:{EXAMPLES}:{ROOT}", "PATH": "/usr/bin:/bin"}
    commands = [
        command.split("#")[0].replace("4001", str(port)).split()
        for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
        for command in block.splitlines()
    ]
    server, *others = commands
    assert server[-1] == "&"
    assert len(others) == 4
    with Process(
        dying_with_tests([sys.executable, ROOT / server[1], str(port)]), tmp_path / "log", environment
    ) as running:
        running.start()
        until_so(lambda: not ports.is_free("127.0.0.1", port), 10)
        told = []
        for command in others:
            words = [word if word != "10" else "0.1" for word in command[1:]]
            done = subprocess.run(
                [sys.executable, *words],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            told.append(done.stdout)
    assert "--option bath_high=…" in told[0]
    shape = re.compile(r"[\d.]+")
    example = re.search(r"```text\n(.*?)```", DOCUMENT, re.DOTALL)
    assert example is not None
    assert [shape.sub("", line).split() for line in told[1].splitlines()] == [
        shape.sub("", line).split() for line in example[1].splitlines()
    ]
    assert "16 of 16 rules kept" in told[3]


# ---- the one that speaks by itself


def said_by(module_line: str) -> Any:
    return importlib.import_module("plate_reader").what(module_line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "SCAN 1764000000000000 1 2.5",
            Reading("spectrum", Vector((1.0, 2.5)), Quality.GOOD, 1764000000000000),
        ),
        ("LAMP 812", Reading("lamp", 812)),
        ("DOOR open", Event("door", "the door is open")),
        ("RUN 7 40", Run("7", "scan", "running", progress=0.4)),
        ("RUN 7 100", Run("7", "scan", "completed", progress=1.0)),
        ("RUN 7 much", None),
        ("LAMP x", None),
        ("HELLO", None),
        ("", None),
    ],
)
def test_what_the_plate_reader_says_is_understood(package: Path, text: str, said: Any) -> None:
    assert said_by(text) == said


async def test_the_plate_reader_is_heard_between_polls(
    package: Path, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABSITE_SECRET_LUMEN", "pass")
    monkeypatch.setenv("LABSITE_SECRET_LUMEN_HOSTS", "127.0.0.1")
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes | None:
        asked.append(request)
        if request != b"SUBSCRIBE\n":
            return None
        return b"LAMP 812\nSCAN 1764000000000000 1 2.5\n\xff\xff\nDOOR open\nRUN 7 100\n"

    line.answer = answer
    world = World(tmp_path)
    options = {"password": {"secret": "LUMEN"}}
    world.tell(order("i", line.address, driver="lumen_s2", options=options))
    await until(lambda: world.tally.answered >= 2)
    await world.stop()
    assert asked == [b"LOGIN monitor pass\n", b"SUBSCRIBE\n"]
    assert [values for _, values in world.rows()] == [{"lamp": 812.0}]
    batches: list[Batch] = world.batches
    assert [vector.values for batch in batches for vector in batch.vectors] == [[1.0, 2.5]]
    assert [event.text for batch in batches for event in batch.events] == ["the door is open"]
    assert [(run.id, run.state) for batch in batches for run in batch.runs] == [("7", "completed")]
    assert rows(batches[0])


async def test_a_plate_reader_that_is_lost_is_told_by_the_next_read(
    package: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SAYS_WITHIN", 0.2)
    line.answer = lambda request: "close"
    found = await live.findings("lumen_s2", line.address, {})
    assert "closed by the other side" in found[0].fault
    line.answer = lambda request: b"LAMP 1\n" if request == b"SUBSCRIBE\n" else None
    assert broken(await live.findings("lumen_s2", line.address, {})) == []
