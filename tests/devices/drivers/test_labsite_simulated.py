"""Made-up values: the same for the same time and seed, and of the shape that was asked for."""

import math
import statistics
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices import links
from devices.drivers.labsite_simulated import LabsiteSimulated
from devices.drivers.labsite_simulated_waveforms import in_window, walk
from devices.errors import ConfigurationError
from devices.links.base import Address, Link
from devices.readings import Quality, Vector

T0 = 1_767_225_600.0  # 2026-01-01, and a whole number of every period used here
LINK = Link(Address.parse("simulated://local"), 1.0)


def values(channel: dict[str, Any], times: list[float], seed: int = 0) -> list[Any]:
    made = LabsiteSimulated(LINK, {"channels": [{"key": "a", **channel}], "seed": seed})
    return [made.at(time)[0].value for time in times]


def over(seconds: float, count: int) -> list[float]:
    return [T0 + seconds * number / count for number in range(count)]


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ({"waveform": "sine"}, [0, 1, 0, -1]),
        ({"waveform": "triangle"}, [0, 1, 0, -1]),
        ({"waveform": "ramp"}, [-1, -0.5, 0, 0.5]),
        ({"waveform": "square"}, [1, 1, -1, -1]),
        ({"waveform": "square", "duty": 0.25}, [1, -1, -1, -1]),
        ({"waveform": "sine", "phase": 0.25}, [1, 0, -1, 0]),
        ({"waveform": "constant", "mean": 4.5}, [4.5] * 4),
        ({"waveform": "sine", "mean": 10, "amplitude": 2}, [10, 12, 10, 8]),
        ({"waveform": "ramp", "amplitude": 100, "kind": "int"}, [-100, -50, 0, 50]),
        ({"waveform": "square", "kind": "bool"}, [True, True, False, False]),
        ({"waveform": "cycle", "values": [5, 7]}, [5, 5, 7, 7]),
        ({"waveform": "cycle", "values": ["a", "b", "c", "d"], "kind": "text"}, ["a", "b", "c", "d"]),
        ({"waveform": "cycle", "values": [True, False], "kind": "bool"}, [True, True, False, False]),
        ({"waveform": "cycle", "values": [1, 2], "phase": 0.5}, [2, 2, 1, 1]),
    ],
)
def test_shapes(channel: dict[str, Any], expected: list[Any]) -> None:
    found = values({"period": 60.0, **channel}, over(60, 4))
    assert found == [
        value if isinstance(value, str) else pytest.approx(value, abs=1e-6) for value in expected
    ]
    assert {type(value) for value in found} == {
        {"float": float, "int": int, "bool": bool, "text": str}[channel.get("kind", "float")]
    }


def test_a_vector_is_the_shape_along_a_period() -> None:
    (vector,) = values({"kind": "vector", "size": 4, "period": 60.0}, [T0])
    assert vector.values == pytest.approx((0, 1, 0, -1), abs=1e-6)


@pytest.mark.parametrize("waveform", ["sine", "noise", "walk"])
def test_the_same_time_and_seed_give_the_same_another_seed_another(waveform: str) -> None:
    channel = {"waveform": waveform, "noise": 0.1, "spike": 5.0, "spike_every": 10.0, "dropout_every": 20.0}
    times = over(120, 200)
    first = values(channel, times)
    assert values(channel, times) == first
    assert values(channel, times[::-1]) == first[::-1]
    assert values(channel, times, seed=1) != first


def test_channels_differ_in_their_noise() -> None:
    rows = [{"key": key, "waveform": "noise"} for key in ("a", "b")]
    made = LabsiteSimulated(LINK, {"channels": rows})
    first, second = made.at(T0)
    assert first.value != second.value


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    found = values({"waveform": "constant", "mean": 3.0, "noise": 0.5}, over(1_000, 5_000))
    assert statistics.mean(found) == pytest.approx(3.0, abs=0.05)
    assert statistics.stdev(found) == pytest.approx(0.5, rel=0.05)


def test_a_walk_wanders_without_leaps() -> None:
    found = [walk(time, 60.0, 0) for time in over(1_000, 10_000)]
    assert max(abs(a - b) for a, b in pairwise(found)) < 0.3
    assert max(found) - min(found) > 2
    assert max(map(abs, found)) < 6


def test_spikes_and_dropouts_last_as_long_as_was_asked_for() -> None:
    channel = {
        "waveform": "constant",
        "spike": 10.0,
        "spike_every": 50.0,
        "spike_for": 5.0,
        "dropout_every": 100.0,
        "dropout_for": 10.0,
    }
    made = LabsiteSimulated(LINK, {"channels": [{"key": "a", **channel}]})
    readings = [made.at(time)[0] for time in over(10_000, 20_000)]
    bad = [reading for reading in readings if reading.quality is Quality.BAD]
    assert len(bad) / len(readings) == pytest.approx(0.1, abs=0.01)
    assert all(reading.value is None for reading in bad)
    high = [reading for reading in readings if reading.value == 10.0]
    assert len(high) / len(readings) == pytest.approx(0.09, abs=0.02)


def test_there_is_one_window_in_each_span() -> None:
    for number in range(20):
        inside = [in_window(T0 + 10 * number + n / 100, 10.0, 1.0, 0) for n in range(1_000)]
        assert 98 <= sum(inside) <= 101
        assert sum(a != b for a, b in pairwise(inside)) <= 2


async def test_it_is_read_without_anything_at_the_other_end() -> None:
    link = await links.connect(links.check("simulated://local"), 1.0)
    made = LabsiteSimulated(link, {})
    await made.open()
    (reading,) = await made.read()
    assert reading.key == "temperature"
    assert isinstance(reading.value, float)
    assert 15 < reading.value < 27
    await made.close()
    await link.close()


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.fixed_dictionaries(
        {"key": st.just("a")},
        optional={
            "waveform": st.sampled_from(
                ["sine", "square", "triangle", "ramp", "noise", "walk", "constant", "cycle"]
            ),
            "kind": st.sampled_from(["float", "int", "bool", "text", "vector"]),
            "mean": numbers,
            "amplitude": numbers,
            "period": numbers,
            "phase": numbers,
            "noise": numbers,
            "values": st.lists(numbers | st.booleans() | st.text(max_size=3), max_size=4),
            "spike": numbers,
            "spike_every": numbers,
            "dropout_every": numbers,
        },
    ),
    st.floats(0, 4e9),
)
def test_what_is_accepted_can_be_read(channel: dict[str, Any], at: float) -> None:
    try:
        made = LabsiteSimulated(LINK, {"channels": [channel]})
    except ConfigurationError:
        return
    (declared,) = made.channels_for(made.settings)
    if declared.kind == "vector" and not made.at(at):
        return  # there are no bad ones
    (reading,) = made.at(at)
    kind = {"float": float, "int": int, "bool": bool, "text": str, "vector": Vector}[declared.kind]
    assert reading.value is None or isinstance(reading.value, kind)
    if isinstance(reading.value, float):
        assert math.isfinite(reading.value)


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ({"waveform": "circle"}, "Invalid enum value 'circle'"),
        ({"period": 0}, r"period is at least 0\.001 s"),
        ({"duty": 1.5}, "duty is a share"),
        ({"noise": -1}, "not below 0"),
        ({"waveform": "cycle"}, "needs some"),
        ({"values": [1]}, "belong to the waveform"),
        ({"kind": "text"}, "a text channel has"),
        ({"waveform": "cycle", "values": ["a", 1], "kind": "text"}, r"value 1\.0 is not of kind text"),
        ({"waveform": "cycle", "values": ["a"]}, "value 'a' is not of kind float"),
        ({"kind": "vector", "size": 0}, "size is from 1"),
    ],
)
def test_channels_that_cannot_be_are_refused(channel: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        LabsiteSimulated.checked_options({"channels": [{"key": "a", **channel}]})


def test_no_other_address_is_simulated() -> None:
    with pytest.raises(ConfigurationError, match="simulated://local"):
        links.check("simulated://elsewhere")
