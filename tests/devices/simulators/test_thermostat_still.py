"""Physics switched off: what thousands of simulated thermostats on a small machine say."""

import json

import pytest

from tests.devices.simulators.served import Bench


@pytest.mark.parametrize("physics", ["on", "off"])
def test_only_time_goes_on_without_physics(physics: str) -> None:
    device = Bench(physics=physics, preset="demo")
    answers = [json.loads(line)[0] for _ in range(5) for line in device.after(1.0).say("report")]
    times = [answer["time"] for answer in answers]
    assert times == sorted(set(times))
    assert (len({answer["adc"] for answer in answers}) == 1) == (physics == "off")
