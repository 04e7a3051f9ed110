"""QuantStudio, the files of a run: filter data, their times, and what is in the plate (protocol notes §4)."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from xml.etree import ElementTree

from devices.drivers.quantstudio_log import SECOND, STAMPS_FROM, STAMPS_TO, Point, number, whole
from devices.errors import ReplyError
from devices.readings import Event, Quality, Reading, Said, Vector

WELLS_MAX = 10_000
NAME_MAX = 120
FILTER_FILE = re.compile(r"S(\d+)_C(\d+)_T(\d+)_P(\d+)_M(\d+)_X(\d+)_filterdata\.xml\Z")
QUANT_FILE = re.compile(r"(S\d+_C\d+_T\d+_P\d+_M\d+_X\d+)(?:_filterdata)?_E(\d+)\.quant\Z")


class Plate(NamedTuple):
    """What one filter set saw at one point."""

    filter_set: str
    rows: int
    columns: int
    wells: tuple[float | None, ...]  # row by row
    attributes: dict[str, str]


def filter_data(text: str) -> list[Plate]:
    """The plates of a filter data file. Raises ReplyError."""
    plates = [_plate(element) for element in _parsed(text).iter("PlateData")]
    if not plates:
        raise ReplyError("a filter data file without a plate")
    return plates


def _plate(element: ElementTree.Element) -> Plate:
    rows, columns = (whole((element.findtext(name) or "").strip()) or 0 for name in ("Rows", "Cols"))
    wells = tuple(number(word) for word in (element.findtext("WellData") or "").split())
    if not 0 < rows * columns <= WELLS_MAX or len(wells) != rows * columns:
        raise ReplyError(f"filter data of {len(wells)} wells for {rows} rows and {columns} columns")
    attributes = {
        (each.findtext("key") or "").strip(): (each.findtext("value") or "").strip()[: NAME_MAX * 10]
        for each in element.iter("Attribute")
    }
    name = attributes.get("FILTER_SET", "").lower()
    if not re.fullmatch(r"x\d{1,3}-m\d{1,3}", name):
        raise ReplyError(f"filter data of no filter set: {name!r:.40}")
    return Plate(name, rows, columns, wells, attributes)


def well_names(rows: int, columns: int) -> tuple[str, ...]:
    """A1, A2 … row by row."""
    return tuple(f"{_row(row)}{column + 1}" for row in range(rows) for column in range(columns))


def _row(row: int) -> str:
    return (_row(row // 26 - 1) if row >= 26 else "") + chr(65 + row % 26)


def conditions(text: str) -> dict[str, float]:
    """The numbers of a quant file's [conditions], by the names of its header. Raises ReplyError."""
    lines = text.splitlines()
    try:
        start = next(at for at, line in enumerate(lines) if line.strip().lower() == "[conditions]")
        names, values = (lines[start + more].split("\t") for more in (1, 2))
    except (StopIteration, IndexError):
        raise ReplyError("a quant file without conditions") from None
    pairs = (
        (name.strip()[:NAME_MAX], number(value.strip())) for name, value in zip(names, values, strict=False)
    )
    return {name: value for name, value in pairs if name and value is not None}


def time_of(found: dict[str, float]) -> int | None:
    """When the exposure was taken, in µs of UTC."""
    seconds = found.get("Time", 0.0)
    return round(seconds * SECOND) if STAMPS_FROM < seconds < STAMPS_TO else None


def last_quants(paths: Iterable[str]) -> dict[str, str]:
    """Of each filter set's quant files the last exposure's, by the stem they share with its filter data."""
    last: dict[str, tuple[int, str]] = {}
    for path in paths:
        found = QUANT_FILE.search(path)
        if found:
            last[found[1]] = max(last.get(found[1], (-1, "")), (int(found[2][:9]), path))
    return {stem: path for stem, (_, path) in last.items()}


def plate_setup(text: str) -> tuple[int, int, dict[str, str]]:
    """Rows, columns and the samples by well. Raises ReplyError."""
    root = _parsed(text)
    rows, columns = (whole((root.findtext(name) or "").strip()) for name in ("Rows", "Columns"))
    if not (rows and columns):
        kind = re.fullmatch(r"TYPE_(\d{1,3})X(\d{1,3})", (root.findtext(".//PlateKind/Type") or "").strip())
        rows, columns = (int(kind[1]), int(kind[2])) if kind else (8, 12)
    if not 0 < rows * columns <= WELLS_MAX:
        raise ReplyError(f"a plate of {rows} rows and {columns} columns")
    names = well_names(rows, columns)
    samples: dict[str, str] = {}
    for feature in root.iter("FeatureMap"):
        if "sample" in {(each.text or "").strip() for each in feature.iterfind("Feature/Id")}:
            for value in feature.iter("FeatureValue"):
                index = whole((value.findtext("Index") or "").strip())
                name = next((each.text or "" for each in value.iterfind(".//Sample/Name")), "").strip()
                if index is not None and index < len(names) and name:
                    samples.setdefault(names[index], name[:NAME_MAX])
    return rows, columns, samples


def _parsed(text: str) -> ElementTree.Element:
    """Raises ReplyError. Without a document type there are no entities, and nothing grows or is fetched."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ReplyError("a file with a document type, which no such file has")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - see above
    except (ElementTree.ParseError, ValueError) as error:
        raise ReplyError(f"a file that is no XML: {error}") from None


# ---- what is told of them


def fluorescence(point: Point, plate: Plate, exposure: dict[str, float]) -> list[Said]:
    """A plate as a vector, and what else is known of it as an event; both at the exposure's own time, or
    else at that of the line that told of the point: the same however often it is read."""
    time = time_of(exposure) or point.time
    labels = well_names(plate.rows, plate.columns)
    attributes = plate.attributes
    fields: dict[str, Any] = {
        "run_name": point.run,
        "filter_set": plate.filter_set,
        "stage": point.stage,
        "cycle": point.cycle,
        "step": point.step,
        "point": point.point,
        "rows": plate.rows,
        "columns": plate.columns,
        "temperature_read": [number(word) for word in attributes.get("TEMPERATURE", "").split(",")[:100]],
        "temperature_set": _set_points(point),
        "exposure": whole(attributes.get("EXPOSURE")),
        "type": attributes.get("TYPE", "")[:NAME_MAX],
        "conditions": dict(list(exposure.items())[:100]),
    }
    text = f"{point.run} {point.stem} {plate.filter_set}"
    return [
        Reading(f"fluorescence.{plate.filter_set}", Vector(plate.wells, labels), Quality.GOOD, time),
        Event("filterdata", text, fields, time),
    ]


def _set_points(point: Point) -> list[float]:
    zones = [(re.fullmatch(r"Zone(\d{1,3})", name), value) for name, value in point.targets]
    return [value for _, value in sorted((int(found[1]), value) for found, value in zones if found)]


def samples(run: str, text: str, time: int | None) -> Event:
    """What is in the wells. Raises ReplyError."""
    rows, columns, found = plate_setup(text)
    return Event(
        "platesetup", run, {"run_name": run, "rows": rows, "columns": columns, "samples": found}, time
    )
