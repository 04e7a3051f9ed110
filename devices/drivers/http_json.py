"""Any instrument that answers GET with JSON: its address is asked, paths lead into the reply.

Paths are JMESPath (https://jmespath.org): `outdoor.temperature`, `sensors[0].value`, `"key with blanks".x`,
`sensors[?id=='a'].value | [0]`.
"""

import json
from collections.abc import Mapping
from typing import Any

from devices.drivers import declared, json_paths, json_values
from devices.drivers.base import Channel, Option
from devices.drivers.declared import KindRow
from devices.drivers.http_base import HTTP_OPTIONS, HttpDriver
from devices.errors import ConfigurationError, ReplyError
from devices.links.base import Link
from devices.readings import Reading, Value, Vector

VECTOR_MAX = 10_000
TRUE, FALSE = {"true", "on", "yes", "1"}, {"false", "off", "no", "0"}


class JsonRow(KindRow, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One channel: where its value stands, and by how much it is to be multiplied and moved."""

    path: str
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        json_paths.check(self.path)
        if self.kind not in ("float", "int", "vector") and (self.scale != 1.0 or self.offset != 0.0):
            raise ValueError(f"scale and offset are for numbers, not for {self.kind}")
        if self.scale == 0.0:
            raise ValueError("scale is 0")


class HttpJson(HttpDriver):
    """Instrument with JSON over HTTP."""

    label = "JSON over HTTP"
    example = "http://192.168.1.40/status"
    options = (
        Option(
            "channels",
            list,
            [{"key": "value", "path": "value"}],
            'What is read: a list of objects like {"key": "flow", "label": "flow", "unit": "L/min", "path": '
            '"sensors[0].flow", "kind": "float", "scale": 0.1, "offset": 0}. path: JMESPath; kind: float, '
            "int, bool, text or vector; value = scale × what is found + offset",
        ),
        Option(
            "time_path",
            str,
            "",
            "Path to the instrument's own time of its values, RFC 3339 or UNIX seconds; empty: the edge's",
        ),
        Option("redirects", bool, False, "Follow redirects to the same host and port"),
        *HTTP_OPTIONS,
    )

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        self._rows = declared.rows("channels", self.settings["channels"], JsonRow)

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        if not checked["channels"]:
            raise ConfigurationError("option channels: declare at least one")
        declared.rows("channels", checked["channels"], JsonRow)
        if checked["time_path"]:
            try:
                json_paths.check(checked["time_path"])
            except ValueError as error:
                raise ConfigurationError(f"option time_path: {error}") from None
        return checked

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        found = cls.checked_options(options)["channels"]
        return tuple(row.channel() for row in declared.rows("channels", found, JsonRow))

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return not options.get("time_path")

    @classmethod
    def link_settings(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().link_settings(options), "redirects": options["redirects"]}

    async def read(self) -> list[Reading]:
        reply, _ = await self.ask()
        if not isinstance(reply, dict | list):
            raise ReplyError(f"{self.link.address.url}: {reply!r:.100} is neither an object nor a list")
        time = self._time(reply)
        values = ((row, _value(row, json_paths.look(row.path, reply))) for row in self._rows)
        return [reading for row, value in values for reading in row.told(value, time)]

    def _time(self, reply: Any) -> int | None:
        """The instrument's own. Raises ReplyError if there should be one and is none."""
        path = self.settings["time_path"]
        if not path:
            return None
        found = json_paths.look(path, reply)
        time = json_values.moment(found) if isinstance(found, str) else json_values.unix(found)
        if time is None:
            raise ReplyError(f"{self.link.address.url}: no time at {path}: {found!r:.60}")
        return time


def _value(row: JsonRow, found: Any) -> Value:
    if row.kind == "text":
        return _text(found)
    if row.kind == "bool":
        return _truth(found)
    if row.kind == "vector":
        if not isinstance(found, list) or not 0 < len(found) <= VECTOR_MAX:
            return None
        return Vector(tuple(_scaled(row, value) for value in found))
    scaled = _scaled(row, found)
    if row.kind == "int" and scaled is not None:
        return json_values.whole(float(round(scaled)))
    return scaled


def _scaled(row: JsonRow, found: Any) -> float | None:
    """Numbers may stand in quotes, as many small devices write them."""
    if isinstance(found, str) and len(found) <= 40 and found.isascii() and "_" not in found:
        try:
            found = float(found)
        except ValueError:
            return None
    number = float(found) if isinstance(found, bool) else json_values.number(found)
    return None if number is None else json_values.number(number * row.scale + row.offset)


def _truth(found: Any) -> bool | None:
    word = str(found).strip().lower() if isinstance(found, str) else None
    if word in TRUE or word in FALSE:
        return word in TRUE
    if isinstance(found, bool) or found in (0, 1):
        return bool(found)
    return None


def _text(found: Any) -> str | None:
    """Objects and lists as JSON."""
    if found is None or isinstance(found, str):
        return json_values.text(found)
    return json_values.text(json.dumps(found, ensure_ascii=False))
