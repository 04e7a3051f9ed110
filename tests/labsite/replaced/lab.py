"""Instruments that answer as replaced programs did, what they said, and a client that has no login."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient
from django.utils import timezone

from devices.models import Instrument
from devices.services import OPERATOR
from devices.wire import Batch, RunRow
from labsite import pipeline
from labsite.replaced.doors import slug
from telemetry import interfaces
from telemetry.models import ReplacedInterface
from tests import factories
from tests.telemetry.factories import NOW, at, new_spool, parcel

GOLDEN = Path(__file__).parent / "golden"
Value = float | bool | str | None

BATH = {
    f"ch{number}.{key}": value
    for number, shift in ((0, 0.0), (1, 0.5))
    for key, value in {
        "temperature": 24.5 + shift,
        "tec_i": 0.265 + shift,
        "pid_engaged": bool(number),
        "pid_output": 0.267 + shift,
        "i_set": 0.267,
        "tec_u_meas": 0.4000000000000004,
        "dac_value": 1.6335,
        "dac_feedback": 1.633,
        "i_tec": 1.606,
        "adc": 0.697428566064153,
        "sens": 7467.966307221274,
        "interval": 0.12,
        "device_time": 910.18 + shift,
    }.items()
}
UNPLUGGED: dict[str, Value] = {
    **BATH,
    "ch0.temperature": None,
    "ch0.adc": None,
    "ch0.sens": None,
}
UPS: dict[str, Value] = {
    "status": "online", "input_voltage": 225.6, "output_voltage": 224.8, "battery_level": 100,
    "battery_voltage": 13.6, "battery_current": 1.6, "load_percent": 14, "load_power": 138,
    "temperature": 33.0, "input_frequency": 50.1, "frequency": 50.1, "work_state": "line", "fault": "none",
    "alarm.battery_low": False, "alarm.overload": False, "alarm.battery_high": False,
    "alarm.parameter_error": False,
}  # fmt: skip
METATRON: dict[str, Value] = {
    "psi": 0.897, "rho": 0.898, "omega": 0.847, "resonance": 0.68, "algorithm": "VQE", "mode": "Explore",
    "scs_ready": True, "dionice_ready": True, "qdash_ready": True, "backend.name": "local_sim",
    "backend.provider": "local", "backend.num_qubits": 13, "backend.is_simulator": True, "backend.mode": "",
    "available_backends": "local_sim",
}  # fmt: skip


def thermostat(**fields: Any) -> Instrument:
    return answering(factories.instrument("Bath 1", **fields), "thermostat")


def ups(**fields: Any) -> Instrument:
    made = factories.instrument(
        "UPS rack A", driver="must_ep20", address="serial:///dev/ttyUSB0", interval=2.0, **fields
    )
    return answering(made, "ups")


def metatron(**fields: Any) -> Instrument:
    made = factories.instrument("Q1", driver="metatron", address="http://127.0.0.1:9", **fields)
    return answering(made, "metatron")


def answering(instrument: Instrument, kind: str, **options: Any) -> Instrument:
    """The instrument, answering as such a program to everybody."""
    interface = ReplacedInterface(instrument=instrument, kind=kind, open=True, options=options)
    interfaces.save(interface, OPERATOR)
    return instrument


def says(
    instrument: Instrument,
    values: Mapping[str, Value],
    seconds: float = -1.0,
    quality: Mapping[str, int] | None = None,
    runs: Iterable[RunRow] = (),
) -> None:
    """It was read so many seconds from NOW, and that has come in; None is a bad reading without a value."""
    keys = list(values)
    batch = Batch(
        instruments=[str(instrument.pk)],
        keysets=[keys],
        rows=[0, 0, at(seconds)],
        values=[None if isinstance(value, str | None) else float(value) for value in values.values()],
        qualities=[(quality or {}).get(key, 2 if values[key] is None else 0) for key in keys],
        texts={str(i): value for i, value in enumerate(values.values()) if isinstance(value, str)},
        runs=list(runs),
    )
    outcome = pipeline.ingest(instrument.edge, parcel(batch, spool=new_spool()), NOW)
    assert not outcome.rejected


def says_often(instrument: Instrument, values: Mapping[str, float], seconds: Sequence[float]) -> None:
    """The same values at each of these times."""
    times = [at(second) for second in seconds]
    batch = Batch(
        instruments=[str(instrument.pk)],
        keysets=[list(values)],
        rows=[
            part for before, time in zip([0, *times], times, strict=False) for part in (0, 0, time - before)
        ],
        values=[value for _ in times for value in values.values()],
    )
    assert not pipeline.ingest(instrument.edge, parcel(batch, spool=new_spool()), NOW).rejected


def is_now(monkeypatch: pytest.MonkeyPatch, moment: datetime = NOW) -> None:
    """What answers takes this for the present."""
    monkeypatch.setattr(timezone, "now", lambda: moment)


@dataclass(frozen=True)
class Answer:
    """What came; streams are read to their end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


async def _content(response: HttpResponse | StreamingHttpResponse) -> bytes:
    if isinstance(response, StreamingHttpResponse):
        return b"".join([part async for part in response.streaming_content])  # type: ignore[union-attr]
    return bytes(response.content)


def ask(
    instrument: Instrument | str, path: str, method: str = "GET", body: bytes = b"", **headers: str
) -> Answer:
    """Ask as a client without a login does."""
    word = instrument if isinstance(instrument, str) else slug(instrument.name)
    kind = headers.pop("content_type", "")
    return async_to_sync(_asked)(f"/replaced/{word}/{path}", method, body, kind, headers)


async def _asked(path: str, method: str, body: bytes, kind: str, headers: Mapping[str, str]) -> Answer:
    """In one loop: a stream is read as the server reads it, by the same thread as the request."""
    client = AsyncClient()
    if kind and not body:  # of which the client does not send the type
        headers = {**headers, "content-type": kind}
    response: Any = await client.generic(method, path, body, content_type=kind, headers=headers)
    return Answer(response.status_code, response.headers, await _content(response))


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()
