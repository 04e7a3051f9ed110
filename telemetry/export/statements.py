"""The statements whose rows, as COPY writes them, are an export: each is one snapshot, and no longer held."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from psycopg import sql

from devices.models import Channel
from devices.readings import Flag, Quality
from telemetry.export.question import Layout, Question
from telemetry.series import statements as series
from telemetry.series.choice import HOUR, MINUTE, ORIGIN, Resolution
from telemetry.series.statements import Asked, Form, Published

FORMULAS = "=+-@\t\r\n"  # what a spreadsheet program would take a text for that begins so
LONG_SPANS = {Resolution.MINUTE: timedelta(days=28), Resolution.HOUR: timedelta(days=364)}
WIDE_SPANS = {Resolution.RAW: timedelta(days=1), **LONG_SPANS}

COPY = "COPY ({}) TO STDOUT (FORMAT csv)"
QUALITY = "CASE s.quality & 3 {} END".format(
    " ".join(f"WHEN {quality.value} THEN '{quality.name.lower()}'" for quality in Quality)
)
FLAG = "CASE WHEN s.quality & {0.value} <> 0 THEN '{1}' END"
FLAG = "CASE WHEN s.quality & {0.value} <> 0 THEN '{1}' END"
FLAGS = "CASE WHEN s.quality >= {} THEN concat_ws(' ', {}) END".format(
    min(Flag).value, ", ".join(FLAG.format(flag, str(flag.name).lower()) for flag in Flag)
)
READINGS = """
SELECT s.time, {whose}, {element} s.value, {quality}, {flags}, {text} FROM samples AS s
WHERE s.channel_id = {channel} AND s.time >= {start} AND s.time < {end} ORDER BY s.time
"""
ELEMENTS = """
SELECT s.time, {whose}, {label}, e.value, {quality}, {flags}, NULL FROM vector_samples AS s
CROSS JOIN LATERAL unnest(s."values") WITH ORDINALITY AS e(value, place)
WHERE s.channel_id = {channel} AND s.time >= {start} AND s.time < {end} ORDER BY s.time, e.place
"""
ROLLED = """
SELECT b.bucket, {whose}, n, bad, low, mean, high, last, {text} FROM ({buckets}) AS b ORDER BY b.bucket
"""
WIDE = """
SELECT s.time, {columns} FROM samples AS s
WHERE s.channel_id = ANY({channels}::int4[]) AND s.time >= {start} AND s.time < {end}
GROUP BY s.time ORDER BY s.time
"""
WIDE_ROLLED = "SELECT b.bucket, {columns} FROM ({buckets}) AS b GROUP BY b.bucket ORDER BY b.bucket"

FORMS = {"text": series.TEXTS, "vector": series.VECTORS}


def statements(question: Question, published: Published, *, escape: bool) -> Iterator[sql.Composed]:
    """COPY statements, in the order of their rows. `escape`: texts so that they are no formulas."""
    layout = _wide if question.layout is Layout.WIDE else _long
    for statement in layout(question, published, escape=escape):
        yield sql.SQL(COPY).format(statement)


def escaped(text: str) -> str:
    """The same text, which no spreadsheet program takes for a formula."""
    return f"'{text}" if text.startswith(tuple(FORMULAS)) else text


def _long(question: Question, published: Published, *, escape: bool) -> Iterator[sql.Composed]:
    first, last = question.around
    for channel in question.channels:
        whose = _whose(channel, escape=escape)
        if question.resolution is Resolution.RAW:
            form = ELEMENTS if channel.kind == "vector" else READINGS
            yield sql.SQL(form).format(
                whose=whose,
                element=sql.SQL("NULL," if question.has_vectors else ""),
                label=_text("coalesce(s.labels[e.place], (e.place - 1)::text)", escape=escape),
                quality=sql.SQL(QUALITY),
                flags=sql.SQL(FLAGS),
                text=_text("s.text", escape=escape),
                channel=channel.pk,
                start=first,
                end=last,
            )
            continue
        for start, end in spans(first, last, LONG_SPANS[question.resolution]):
            asked = _asked(question, [channel.pk], start, end, published)
            yield sql.SQL(ROLLED).format(
                whose=whose,
                text=_text("b.text", escape=escape),
                buckets=series.buckets(asked, FORMS.get(channel.kind, series.STATES)),
            )


def _wide(question: Question, published: Published, *, escape: bool) -> Iterator[sql.Composed]:
    first, last = question.around
    for start, end in spans(first, last, WIDE_SPANS[question.resolution]):
        if question.resolution is Resolution.RAW:
            yield sql.SQL(WIDE).format(
                columns=sql.SQL(", ").join(
                    column for channel in question.channels for column in _cells(channel, escape=escape)
                ),
                channels=[channel.pk for channel in question.channels],
                start=start,
                end=end,
            )
        else:
            yield sql.SQL(WIDE_ROLLED).format(
                columns=sql.SQL(", ").join(
                    column for channel in question.channels for column in _rolled(channel, escape=escape)
                ),
                buckets=sql.SQL(" UNION ALL ").join(
                    sql.SQL("SELECT * FROM ({}) AS part").format(series.buckets(asked, form))
                    for form, asked in _by_form(question, start, end, published)
                ),
            )


def _by_form(
    question: Question, start: datetime, end: datetime, published: Published
) -> Iterator[tuple[Form, Asked]]:
    for form in (series.NUMBERS, series.TEXTS):
        chosen = [each.pk for each in question.channels if (each.kind == "text") == (form is series.TEXTS)]
        if chosen:
            yield form, _asked(question, chosen, start, end, published)


def _asked(
    question: Question, channels: list[int], start: datetime, end: datetime, published: Published
) -> Asked:
    width = MINUTE if question.resolution is Resolution.MINUTE else HOUR
    return Asked(channels, start, end, question.resolution, width, published)


def _cells(channel: Channel, *, escape: bool) -> list[sql.Composed]:
    """Of the readings of one time, which are one for each channel at most."""
    value = _text("s.text", escape=escape) if channel.kind == "text" else sql.SQL("s.value")
    return [
        sql.SQL("max({}) FILTER (WHERE s.channel_id = {})").format(cell, channel.pk)
        for cell in (value, sql.SQL(QUALITY))
    ]


def _rolled(channel: Channel, *, escape: bool) -> list[sql.Composed]:
    cells = [sql.SQL("b.low"), sql.SQL("b.mean"), sql.SQL("b.high")]
    return [
        sql.SQL("max({}) FILTER (WHERE b.channel_id = {})").format(cell, channel.pk)
        for cell in ([_text("b.text", escape=escape)] if channel.kind == "text" else cells)
    ]


def _whose(channel: Channel, *, escape: bool) -> sql.Composed:
    words = (channel.instrument.name, channel.key, channel.unit)
    told = [sql.Literal((escaped(word) if escape else word) or None) for word in words]
    return sql.SQL(", ").join([sql.Literal(channel.pk), *told])


def _text(expression: str, *, escape: bool) -> sql.Composable:
    if not escape:
        return sql.SQL(expression)
    return sql.SQL("CASE WHEN {0} ~ {1} THEN '''' || {0} ELSE {0} END").format(
        sql.SQL(expression), sql.Literal(f"^[{FORMULAS.replace('-', '')}-]")
    )


def spans(start: datetime, end: datetime, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """A time in parts, which begin where buckets of this length do."""
    while start < end:
        part_end = min(ORIGIN + ((start - ORIGIN) // length + 1) * length, end)
        yield start, part_end
        start = part_end
