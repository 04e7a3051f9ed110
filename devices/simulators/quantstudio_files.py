"""The files of a simulated run, as the machine writes them (protocol notes §4)."""

import base64
from fnmatch import fnmatchcase
from xml.sax.saxutils import escape

from devices.simulators.quantstudio_course import (
    COLUMNS,
    COVER,
    EXPOSURES,
    FILTERS,
    ROWS,
    Course,
    Point,
    wells,
)

SDS = "apldbio/sds"


def filter_xml(course: Course, point: Point, excitation: int, emission: int) -> str:
    """What one filter set saw at one point; no time inside."""
    attributes = {
        "FILTER_SET": f"x{excitation}-m{emission}",
        "STAGE": point.stage,
        "CYCLE": point.cycle,
        "STEP": point.step,
        "POINT": point.point,
        "EXPOSURE": sum(EXPOSURES),
        "TYPE": "QUANT",
        "TEMPERATURE": ",".join(f"{zone:.4f}" for zone in point.temperatures),
    }
    listed = "".join(
        f"      <Attribute><key>{key}</key><value>{value}</value></Attribute>\n"
        for key, value in attributes.items()
    )
    values = " ".join(repr(value) for value in wells(course, point, excitation))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<PlatePointDataCollection>\n  <Name>FilterData</Name>\n'
        f"  <PlatePointData>\n    <Stage>{point.stage}</Stage><Cycle>{point.cycle}</Cycle>"
        f"<Step>{point.step}</Step><Point>{point.point}</Point>\n    <PlateData>\n"
        f"      <Rows>{ROWS}</Rows><Cols>{COLUMNS}</Cols>\n      <WellData>{values}</WellData>\n{listed}"
        "    </PlateData>\n  </PlatePointData>\n</PlatePointDataCollection>\n"
    )


def quant(point: Point, exposure: int) -> str:
    """What was measured at one exposure, and when."""
    temperature = sum(point.temperatures) / len(point.temperatures)
    taken = point.taken - 0.2 * (len(EXPOSURES) - exposure)
    names = ("BlockTemperature", "SampleTemperature", "CoverTemperature", "Time", "Exposure", "SampleVolume")
    values = (
        f"{temperature:.3f}",
        f"{temperature:.3f}",
        f"{COVER}",
        f"{taken:.3f}",
        EXPOSURES[exposure - 1],
        50.0,
    )
    tabbed = ["\t".join(map(str, line)) for line in (names, values)]
    regions = "\n".join(f"{region}\t{1000.0 + exposure:.1f}\t400\t0" for region in ("IA1", "OA1"))
    return "\n".join(
        ["[conditions]", *tabbed, "", "[quant]", "region\tquant\tcount\tsaturation", regions, ""]
    )


def plate_setup(samples: list[str]) -> str:
    """What is in the wells, row by row."""
    values = "".join(
        f"    <FeatureValue><Index>{index}</Index><FeatureItem><Sample><Name>{escape(name)}</Name></Sample>"
        "</FeatureItem></FeatureValue>\n"
        for index, name in enumerate(samples)
        if name
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Plate>\n  <Name></Name>\n'
        f"  <Rows>{ROWS}</Rows><Columns>{COLUMNS}</Columns>\n"
        f"  <PlateKind><Name>96-Well</Name><Type>TYPE_{ROWS}X{COLUMNS}</Type></PlateKind>\n"
        "  <FeatureMap><Feature><Id>sample</Id><Name>sample</Name></Feature>\n"
        f"{values}  </FeatureMap>\n</Plate>\n"
    )


def sample_names() -> list[str]:
    return [
        "NTC" if column == COLUMNS - 1 else f"dilution 1e-{row // 2}"
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]


class RunFolder:
    """A run's files, made when they are read; `log` are the lines that are kept with it."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.log: list[str] = []
        self.written: dict[str, bytes] = {}

    def paths(self, now: float) -> list[str]:
        folder = f"{self.course.name}/{SDS}"
        found = [f"{folder}/messages.log", f"{folder}/plate_setup.xml", *self.written]
        for point in self.course.collected(now):
            for excitation, emission in FILTERS:
                stem = f"{point.stem}_M{emission}_X{excitation}"
                found.append(f"{folder}/filter/{stem}_filterdata.xml")
                found += [f"{folder}/quant/{stem}_E{number}.quant" for number in range(1, len(EXPOSURES) + 1)]
        return found

    def point_of(self, path: str, now: float) -> tuple[Point, int, int] | None:
        """Of a filter data file: the point, excitation and emission."""
        name = path.rpartition("/")[2]
        for point in self.course.collected(now):
            for excitation, emission in FILTERS:
                if name.startswith(f"{point.stem}_M{emission}_X{excitation}_"):
                    return point, excitation, emission
        return None

    def read(self, path: str, now: float) -> bytes:
        """Raises KeyError."""
        if path in self.written:
            return self.written[path]
        if path not in self.paths(now):
            raise KeyError(path)
        if path.endswith("/messages.log"):
            return "".join(f"{line}\n" for line in self.log).encode()
        if path.endswith("/plate_setup.xml"):
            return plate_setup(sample_names()).encode()
        found = self.point_of(path, now)
        if found is None:
            raise KeyError(path)
        point, excitation, emission = found
        if path.endswith(".xml"):
            return filter_xml(self.course, point, excitation, emission).encode()
        return quant(point, int(path.rpartition("_E")[2].removesuffix(".quant"))).encode()


def matches(path: str, glob: str) -> bool:
    """As a shell does: a star does not cross a slash."""
    parts, patterns = path.rstrip("/").split("/"), glob.rstrip("/").split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def base64_lines(content: bytes) -> str:
    return base64.encodebytes(content).decode().rstrip("\n")
