"""A row of the replaced thermostat logger, as CSV and as JSON: names, order and spelling (notes §11).

The logger wrote its own time over the device's; that one is kept here beside the 28 columns, in JSON.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

FIELDS = (
    "temperature", "i_tec", "pid_output", "adc", "sens", "i_set", "dac_value", "dac_feedback", "tec_i",
    "tec_u_meas", "pid_engaged", "current_swapped", "interval",
)  # fmt: skip
COLUMNS = {f"{field}_ch{number}": f"ch{number}.{field}" for field in FIELDS for number in (0, 1)}
MORE = {f"device_time_ch{number}": f"ch{number}.device_time" for number in (0, 1)}
KEYS = (*COLUMNS.values(), *MORE.values())  # of the channels
HEADER = ",".join(("time", "ts", *COLUMNS)) + "\n"
BOOLEAN = ("ch0.pid_engaged", "ch1.pid_engaged")


class Row(NamedTuple):
    """What was read at one time, by the channels' keys."""

    time: datetime
    values: Mapping[str, float | bool | None]

    @property
    def is_empty(self) -> bool:
        """As when the device could not be read: the logger wrote nothing then."""
        return all(value is None for value in self.values.values())


def as_json(row: Row) -> dict[str, Any]:
    """All columns, null where there is nothing; what is beside them only if it is there."""
    told: dict[str, Any] = {"time": _iso(row.time), "ts": _ms(row.time)}
    told |= {column: row.values.get(key) for column, key in COLUMNS.items()}
    return told | {column: row.values[key] for column, key in MORE.items() if row.values.get(key) is not None}


def as_csv(rows: Iterable[Row]) -> str:
    """A line each. No value needs quotes: they are numbers, True and False."""
    return "".join(
        ",".join(
            (_iso(row.time), str(_ms(row.time)), *(_cell(row.values.get(key)) for key in COLUMNS.values()))
        )
        + "\n"
        for row in rows
    )


def value(key: str, stored: float | None) -> float | bool | None:
    """A stored value in the logger's type."""
    return bool(stored) if key in BOOLEAN and stored is not None else stored


def _cell(value: float | bool | None) -> str:
    return "" if value is None else str(value)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


def _ms(time: datetime) -> int:
    return int(time.replace(microsecond=0).timestamp()) * 1000 + time.microsecond // 1000
