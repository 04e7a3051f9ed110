"""Channels that a lab declares, read from replies in JSON of its simulator and of nobody's."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from devices.drivers.http_json import HttpJson
from devices.errors import ConfigurationError, DriverError, LinkError, ReplyError
from devices.links.base import Address
from devices.links.http import Answer, HttpLink
from devices.readings import Quality, Reading, Vector
from devices.simulators import http_json as simulated
from tests.devices.drivers.test_json_values import ANYTHING
from tests.devices.simulators.served import Clock, behind_a_door, driven

REPLY = {
    "name": "bench 3",
    "time": "2025-11-13T10:25:00.000812345Z",
    "uptime": 1_763_029_500.25,
    "value": 21.5,
    "outdoor": {"temperature": -3.25, "key with blanks": {"x": 5}},
    "sensors": [
        {"id": "a", "permille": 512, "on": True, "text": "23.5"},
        {"id": "b", "permille": None, "on": "off", "count": "7"},
    ],
    "spectrum": [1, 2.5, None, "4"],
}


class Server(HttpLink):
    """A link whose other side answers this JSON."""

    def __init__(self, reply: Any, status: int = 200) -> None:
        super().__init__(Address.parse("http://scripted/status"), 1.0)
        self.answer = Answer(status, {}, reply if isinstance(reply, bytes) else json.dumps(reply).encode())

    async def get(self, path: str = "", *, within: float | None = None) -> Answer:
        assert path == ""
        return self.answer


async def read(reply: Any, *rows: dict[str, Any], **options: Any) -> list[Reading]:
    driver = HttpJson(Server(reply), {"channels": list(rows), **options})
    await driver.open()
    return await driver.read()


# ---- values


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ({"path": "value"}, 21.5),
        ({"path": "outdoor.temperature"}, -3.25),
        ({"path": 'outdoor."key with blanks".x'}, 5.0),
        ({"path": "sensors[0].permille", "scale": 0.1, "offset": -1}, 50.2),
        ({"path": "sensors[-1].count", "kind": "int"}, 7),
        ({"path": "sensors[?id=='a'].permille | [0]", "kind": "int"}, 512),
        ({"path": "length(sensors)", "kind": "int"}, 2),
        ({"path": "sensors[0].text"}, 23.5),
        ({"path": "sensors[0].on", "kind": "bool"}, True),
        ({"path": "sensors[0].on"}, 1.0),
        ({"path": "sensors[1].on", "kind": "bool"}, False),
        ({"path": "name", "kind": "text"}, "bench 3"),
        ({"path": 'outdoor."key with blanks"', "kind": "text"}, '{"x": 5}'),
        ({"path": "spectrum", "kind": "vector", "scale": 2}, Vector((2.0, 5.0, None, 8.0))),
    ],
    ids=lambda found: found["path"] if isinstance(found, dict) else "",
)
async def test_values_are_found_by_their_paths(row: dict[str, Any], value: Any) -> None:
    (reading,) = await read(REPLY, {"key": "x", **row})
    assert (reading.quality, type(reading.value)) == (Quality.GOOD, type(value))
    assert reading.value == (pytest.approx(value) if type(value) is float else value)


@pytest.mark.parametrize(
    "row",
    [
        {"path": "missing"},
        {"path": "missing.too[3]"},
        {"path": "name.first"},
        {"path": "name"},
        {"path": "outdoor"},
        {"path": "sensors[1].permille"},
        {"path": "sensors[0].permille", "kind": "bool"},
        {"path": "missing", "kind": "text"},
        {"path": "abs(name)"},
        {"path": "value", "scale": 1e308},
        {"path": "value", "scale": 1e300, "kind": "int"},
    ],
    ids=lambda row: row["path"],
)
async def test_one_value_that_is_missing_or_wrong_costs_no_other(row: dict[str, Any]) -> None:
    readings = await read(
        REPLY, {"key": "before", "path": "value"}, {"key": "x", **row}, {"key": "z", "path": "value"}
    )
    assert readings == [Reading("before", 21.5), Reading("x", None, Quality.BAD), Reading("z", 21.5)]


@pytest.mark.parametrize("path", ["name", "missing", "`[]`"])
async def test_a_vector_that_is_none_is_left_out(path: str) -> None:
    assert await read(REPLY, {"key": "x", "path": path, "kind": "vector"}) == []


@pytest.mark.parametrize(
    ("path", "time"), [("time", 1_763_029_500_000_812), ("uptime", 1_763_029_500_250_000)]
)
async def test_readings_may_carry_the_instruments_own_time(path: str, time: int) -> None:
    readings = await read(REPLY, {"key": "x", "path": "value"}, {"key": "y", "path": "no"}, time_path=path)
    assert [reading.time for reading in readings] == [time, time]


async def test_a_time_that_is_not_there_is_a_reply_error() -> None:
    with pytest.raises(ReplyError, match="no time at boot"):
        await read(REPLY, {"key": "x", "path": "value"}, time_path="boot")


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (b"<html>", 200, "not JSON"),
        (b"", 200, "not JSON"),
        (b"5", 200, "neither an object nor a list"),
        ({"value": 1}, 404, "answered 404"),
        ({"value": 1}, 403, "wants a token or a password"),
        ({"value": 1}, 503, "answered 503 '{\"value\": 1}'"),
    ],
)
async def test_what_is_no_reply_is_a_reply_error(reply: Any, status: int, words: str) -> None:
    with pytest.raises(ReplyError, match=words):
        await HttpJson(Server(reply, status), {}).read()


async def test_without_being_told_it_reads_one_value() -> None:
    assert await HttpJson(Server({"value": 3}), {}).read() == [Reading("value", 3.0)]


# ---- options


def test_declared_channels_are_channels() -> None:
    rows = [{"key": "flow_1", "path": "f", "unit": "L/min", "digits": 2, "low": 0, "high": 5}]
    (channel,) = HttpJson.channels_for({"channels": rows})
    assert (channel.key, channel.label, channel.unit, channel.kind) == ("flow_1", "flow 1", "L/min", "float")
    assert (channel.digits, channel.low, channel.high) == (2, 0, 5)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "declare at least one"),
        ([{"key": "x"}], r"row 1 \(x\): path is missing"),
        ([{"key": "x", "path": "a["}], r"row 1 \(x\): path 'a\['"),
        ([{"key": "x", "path": ""}], "path ''"),
        ([{"key": "x", "path": "a" * 501}], "at most 500 characters"),
        ([{"key": "x", "path": "(" * 400}], "path"),
        ([{"key": "x", "path": "a", "scael": 2}], "did you mean scale"),
        ([{"key": "x", "path": "a", "scale": 0}], "scale is 0"),
        ([{"key": "x", "path": "a", "kind": "text", "scale": 2}], "scale and offset are for numbers"),
        ([{"key": "x", "path": "a", "kind": "double"}], "kind 'double' is none of"),
        ([{"key": "x", "path": "a"}, {"key": "x", "path": "b"}], "stands twice"),
        (["x"], "row 1"),
    ],
)
def test_rows_that_cannot_work_are_refused_in_words(rows: list[Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        HttpJson.checked_options({"channels": rows})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time_path": "a["}, "option time_path: path"),
        ({"token": {"secret": "A"}, "password": {"secret": "B"}}, "either a token or"),
        ({"user": "a:b"}, "colon"),
        ({"pin": "abc"}, "64 hexadecimal digits"),
    ],
)
def test_options_that_cannot_work_are_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        HttpJson.checked_options(options)


@settings(max_examples=100, deadline=None)
@given(
    reply=ANYTHING
    | st.dictionaries(st.sampled_from([*REPLY]), ANYTHING).map(lambda found: {**REPLY, **found}),
    path=st.sampled_from(["value", "sensors[0].permille", "sensors[*].on", "spectrum", "outdoor.*", "@"]),
    kind=st.sampled_from(["float", "int", "bool", "text", "vector"]),
)
async def test_nothing_that_json_can_say_upsets_it(reply: Any, path: str, kind: str) -> None:
    try:
        readings = await read(json.dumps(reply).encode(), {"key": "x", "path": path, "kind": kind})
    except DriverError:
        return
    kinds = {"float": float, "int": int, "bool": bool, "text": str, "vector": Vector}
    for reading in readings:
        assert reading.value is None or type(reading.value) is kinds[kind]
        assert not isinstance(reading.value, float) or math.isfinite(reading.value)


# ---- with its simulator, over the wire


EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "http_json.toml"


async def test_the_simulated_device_is_read_by_the_example_lab_file() -> None:
    options = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))["instrument"][0]["options"]
    noted: list[str] = []
    async with (
        behind_a_door(simulated.HttpJson, record=lambda _, text: noted.append(text)) as door,
        driven(door, **options, time_path="time") as driver,
    ):
        readings = await driver.read()
    values, _ = simulated.HttpJson.read_back(noted[0])
    told = {reading.key: reading.value for reading in readings}
    assert told == {key: pytest.approx(values[key]) for key in ("flow", "temperature", "pump")}
    assert len({reading.time for reading in readings} - {None}) == 1


async def test_a_token_opens_it() -> None:
    async with (
        behind_a_door(simulated.HttpJson, settings={"token": "abc"}) as door,
        driven(door) as driver,
    ):
        with pytest.raises(ReplyError, match="answered 401: it wants a token"):
            await driver.read()
        driver.secrets = {"token": "abc"}
        await driver.open()
        assert len(await driver.read()) == 1


async def test_a_pinned_certificate_is_taken_and_another_is_not() -> None:
    async with behind_a_door(simulated.HttpJson, settings={"tls": "on"}) as door:
        with pytest.raises(LinkError, match="certificate"):
            async with driven(door):
                pass
        with pytest.raises(LinkError, match="pinned"):
            async with driven(door, pin="00" * 32):
                pass
        async with driven(door, verify=False) as driver:
            assert len(await driver.read()) == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("hang", LinkError),
        ("close", LinkError),
        ("slow", LinkError),
        ("refuse", LinkError),
        ("garbage", ReplyError),
        ("error", ReplyError),
        ("missing", None),
        ("null", None),
    ],
)
async def test_after_each_fault_it_is_read_again(kind: str, error: type[DriverError] | None) -> None:
    clock = Clock()
    fault = f"{kind}:from=10,to=20" + (",delay=0.5" if kind == "slow" else "")
    async with behind_a_door(simulated.HttpJson, fault, clock=clock) as door, driven(door, 0.15) as driver:
        assert (await driver.read())[0].quality is Quality.GOOD
        clock.now += 15
        door.look()
        if error is None:
            assert [reading.quality for reading in await driver.read()] == [Quality.BAD]
        else:
            with pytest.raises(error):
                await driver.read()
        clock.now += 15
        door.look()
        assert (await driver.read())[0].quality is Quality.GOOD
