"""InfluxDB 2: a question in Flux by influxdb's own client, its answer read as it comes."""

from collections.abc import Iterator
from datetime import UTC, datetime

from influxdb_client.client.flux_csv_parser import FluxQueryException
from influxdb_client.client.flux_table import FluxRecord
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from devices.edges import microseconds
from telemetry.imports.base import Source, Told, Unreadable
from telemetry.imports.influx1 import Asked, told_of

TIMEOUT_MS = 120_000
OWN = ("result", "table")  # columns that are no tags, as are those that begin with _
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Flux(Source):
    """A bucket of InfluxDB 2."""

    place = "point"

    def __init__(self, asked: Asked, org: str, token: str) -> None:
        super().__init__()
        self._asked, self._org, self._token = asked, org, token
        self._left_out: set[str] = set()

    def points(self) -> Iterator[Told]:
        url = self._asked.url
        try:
            with InfluxDBClient(url, self._token, org=self._org, timeout=TIMEOUT_MS) as client:
                records = client.query_api().query_stream(self._question())
                for place, record in enumerate(records, start=1):
                    told = self._told(record, place)
                    if told is not None:
                        yield told
        except ApiException as error:
            raise Unreadable(f"{url}: {error.status} {error.message or error.reason or ''}"[:400]) from None
        except FluxQueryException as error:  # told in the middle of an answer
            raise Unreadable(f"{url}: {error.message!s:.300}") from None
        except (HTTPError, OSError, ValueError) as error:
            raise Unreadable(f"{url}: {type(error).__name__}: {error!s:.200}") from None
        if self._left_out:
            self.notes.append(f"fields left out: {', '.join(sorted(self._left_out))[:300]}")

    def _question(self) -> str:
        asked = self._asked
        lines = [f"from(bucket: {_text(asked.database)})"]
        stop = f", stop: {_rfc(asked.end)}" if asked.end else ""
        lines.append(f"range(start: {_rfc(asked.start or EPOCH)}{stop})")
        if asked.measurements:
            names = " or ".join(f"r._measurement == {_text(each)}" for each in asked.measurements)
            lines.append(f"filter(fn: (r) => {names})")
        lines += [
            f"filter(fn: (r) => r[{_text(name)}] == {_text(value)})" for name, value in asked.tags.items()
        ]
        return "\n  |> ".join(lines)

    def _told(self, record: FluxRecord, place: int) -> Told | None:
        values = record.values
        tags = {
            name: value
            for name, value in values.items()
            if isinstance(value, str) and not name.startswith("_") and name not in OWN
        }
        measurement, field = str(values.get("_measurement", "")), str(values.get("_field", ""))
        key = self._asked.schema(measurement, tags, field)
        if key is None:
            self._left_out.add(f"{measurement}.{field}")
            return None
        return told_of(key, microseconds(values["_time"]), values.get("_value"), place)


def _text(word: str) -> str:
    """A string of Flux, in which ${…} would be computed."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def _rfc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
