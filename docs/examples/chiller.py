"""Kelda C20 recirculating chiller: one line for each question, manual rev. 3."""

from devices.drivers.base import Channel, Driver, Option
from devices.errors import ReplyError
from devices.links.base import LineLink
from devices.readings import Quality, Reading

QUESTIONS = {"bath": b"PV?\n", "setpoint": b"SP?\n", "flow": b"FL?\n"}


class KeldaC20(Driver):
    """Kelda C20 chiller: bath temperature, setpoint and flow."""

    label = "Kelda C20 chiller"
    schemes = ("tcp", "serial")
    example = "tcp://192.168.1.30:4001"
    options = (Option("bath_high", float, 90.0, "A bath above this, in °C, is marked bad", low=0, high=200),)
    channels = (
        Channel("bath", "Bath temperature", "Cel", low=5, high=40, digits=2),
        Channel("setpoint", "Setpoint", "Cel", digits=1),
        Channel("flow", "Flow", "L/min", low=2, digits=1),
    )
    link: LineLink

    async def open(self) -> None:
        answer = await self.link.ask(b"ID?\n")
        if not answer.startswith(b"KELDA C20"):
            raise ReplyError(f"no Kelda C20; it says {answer!r:.60}")

    async def read(self) -> list[Reading]:
        return [self._reading(key, await self.link.ask(question)) for key, question in QUESTIONS.items()]

    def _reading(self, key: str, answer: bytes) -> Reading:
        try:
            value = float(answer)
        except ValueError:  # "!3": this sensor is open; the others are not
            return Reading(key, None, Quality.BAD)
        plausible = key != "bath" or value <= self.settings["bath_high"]
        return Reading(key, value, Quality.GOOD if plausible else Quality.BAD)
