"""Line protocol, held against influxdb_client's."""

import warnings
from math import inf, nan

from hypothesis import given, strategies as st
from influxdb_client.client.write.point import Point

from telemetry.sinks.lines import head, line

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
values = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), names, st.none())
tags = st.dictionaries(names, st.text('ab ,=\\\n"ä', max_size=4), max_size=3)


@given(names, tags, st.dictionaries(names, values, max_size=4), st.integers(0, 2**62))
def test_lines_are_those_of_influxdb_client(
    measurement: str, tagged: dict[str, str], fields: dict[str, object], time: int
) -> None:
    point = Point(measurement).time(time)
    for key, word in tagged.items():
        point.tag(key, word)
    for key, value in fields.items():
        point.field(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of a measurement that would be a comment
        expected = point.to_line_protocol()
    assert line(head(measurement, tagged), fields, time) == expected  # type: ignore[arg-type]


def test_what_is_no_number_is_left_out() -> None:
    assert line("m", {"a": nan, "b": inf, "c": None}, 1) == ""
    assert line("m", {"a": 25.0, "b": 1e21, "c": 2, "d": True, "e": 'say "x\\"'}, 1) == (
        'm a=25,b=1e+21,c=2i,d=true,e="say \\"x\\\\\\"" 1'
    )
