"""Line protocol: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/. Arithmetic only.

The escaping is that of influxdb_client's Point, which a test compares; that library's import takes 46 MB.
"""

from collections.abc import Mapping
from math import isfinite

Value = bool | int | float | str

_MEASUREMENT = str.maketrans({",": r"\,", " ": r"\ ", "\n": r"\n", "\t": r"\t", "\r": r"\r"})
_KEY = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\n", "\t": r"\t", "\r": r"\r"})
_TEXT = str.maketrans({'"': r"\"", "\\": r"\\"})


def head(measurement: str, tags: Mapping[str, str]) -> str:
    """Measurement and tags, in the order of their keys; a tag without a value is left out."""
    shown = [f"{escaped(key)}={tag_value(value)}" for key, value in sorted(tags.items()) if key and value]
    return ",".join([measurement.translate(_MEASUREMENT), *shown])


def escaped(key: str) -> str:
    """The key of a tag or a field."""
    return key.translate(_KEY)


def tag_value(value: str) -> str:
    shown = value.translate(_KEY)
    return f"{shown} " if shown.endswith("\\") else shown  # else it would escape what follows


def number(value: float) -> str:
    """A finite number, as short as it can be written."""
    shown = repr(value)
    return shown.removesuffix(".0")


def text(value: str) -> str:
    return f'"{value.translate(_TEXT)}"'


def field_value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return text(value)
    return f"{value}i" if isinstance(value, int) else number(value)


def line(of: str, fields: Mapping[str, Value | None], time: int) -> str:
    """A point at a time in ns; "" if it has no field. What is None or no finite number is left out."""
    shown = [
        f"{escaped(key)}={field_value(value)}"
        for key, value in sorted(fields.items())
        if value is not None and not (isinstance(value, float) and not isfinite(value))
    ]
    return f"{of} {','.join(shown)} {time}" if shown else ""
