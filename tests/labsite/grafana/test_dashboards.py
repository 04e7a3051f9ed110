"""The dashboards that are shipped: as Grafana takes them, and each of their queries on a filled database."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pytest
import yaml
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from devices import drivers
from devices.models import Channel, Instrument, Latest, Run
from telemetry import partitions
from telemetry.models import Event, Gap
from tests import factories
from tests.alerts.factories import alarm
from tests.labsite.grafana.rules import DASHBOARD

GRAFANA = settings.BASE_DIR / "docker" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
ROLLED_UP = """
INSERT INTO rollup_{0} (channel_id, bucket, n, bad, min, max, sum, last, text)
SELECT id, date_trunc('{0}', %s - n * interval '1 {0}'), 1, 0, 1, 1, 1, 1,
    CASE WHEN kind = 'text' THEN 'on' END
FROM devices_channel, generate_series(1, 5) AS n
"""
READINGS = """
INSERT INTO sample (time, value, channel_id, quality, text)
SELECT %s - n * interval '1 s', CASE WHEN kind <> 'text' THEN n END, id, 0,
    CASE WHEN kind = 'text' THEN 'on' END
FROM devices_channel, generate_series(1, 5) AS n WHERE kind <> 'vector'
"""
SPANS = {
    "an hour": timedelta(hours=1),
    "a week": timedelta(days=7),
    "a year": timedelta(days=365),
}


def panels(board: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each query with the title of its panel; those of annotations and variables too."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["target"] | {"datasource": annotation["datasource"]}


QUERIES = [(name, title, target) for name, board in BOARDS.items() for title, target in panels(board)]


def of(uid: str) -> list[Any]:
    return [
        pytest.param(name, target, id=f"{name}: {title}")
        for name, title, target in QUERIES
        if target["datasource"]["uid"] == uid
    ]


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_as_grafana_takes_it(name: str) -> None:
    jsonschema.Draft202012Validator(DASHBOARD).validate(BOARDS[name])
    numbers = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(numbers) == len(set(numbers))
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not [pair for pair in combinations(places, 2) if overlap(*pair)]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[at] < other[at] + other[long] and other[at] < one[at] + one[long]
        for at, long in (("x", "w"), ("y", "h"))
    )


def test_there_is_one_for_each_of_the_five_instruments_and_labsite() -> None:
    drivers = {
        re.search(r"driver = '(\w+)'", variable["query"])[1]  # type: ignore[index]
        for board in BOARDS.values()
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    }
    assert drivers == {"thermostat", "quantstudio", "must_ep20", "metatron", "bme280"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 6


def test_sources_are_those_that_are_provisioned() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "labsite.yml").read_text())
    known = {source["uid"]: source["type"] for source in provisioned["datasources"]}
    used = {target["datasource"]["uid"]: target["datasource"]["type"] for _, _, target in QUERIES}
    assert used == known
    assert "password" not in json.dumps([source["jsonData"] for source in provisioned["datasources"]])


@pytest.fixture(scope="module")
def moment() -> datetime:
    return timezone.now().replace(microsecond=0)


@pytest.fixture
def lab(db: None, moment: datetime) -> list[Instrument]:
    """One instrument of each driver with a dashboard; readings, roll-ups, events, a run, a gap of each."""
    made = [
        instrument_of(driver) for driver in ("thermostat", "quantstudio", "must_ep20", "metatron", "bme280")
    ]
    partitions.make_ahead(moment)
    with connection.cursor() as cursor:
        cursor.execute(READINGS, [moment])
        for width in ("minute", "hour"):
            cursor.execute(ROLLED_UP.format(width), [moment])
    for each in made:
        Event.objects.create(instrument=each, time=moment, kind="door", text="opened")
        Run.objects.create(
            instrument=each, key="1", kind="run", state="completed", start=moment, told_at=moment
        )
        Gap.objects.create(edge=each.edge, instrument=each, start=moment, end=moment, reason="not connected")
    Latest.objects.bulk_create(
        Latest(channel=channel, time=moment, value=1.0, seen_at=moment, stored_at=moment)
        for channel in Channel.objects.all()
    )
    alarm(Channel.objects.filter(instrument=made[0])[0])
    return made


def instrument_of(driver: str) -> Instrument:
    address = drivers.load(driver).example
    return factories.instrument(f"The lab's {driver}", driver=driver, address=address)


def instrument_for(board: str, lab: list[Instrument]) -> str:
    (wanted,) = re.findall(r"driver = '(\w+)'", json.dumps(BOARDS[board])) or [lab[0].driver]
    return next(each.name for each in lab if each.driver == wanted)


def filled_in(sql: str, start: datetime, end: datetime, instrument: str) -> str:
    """The query with Grafana's macros and variables replaced, as its PostgreSQL source does."""
    words = {
        r"\$__timeFilter\((\w+)\)": rf"\1 BETWEEN '{start.isoformat()}' AND '{end.isoformat()}'",
        r"\$__timeFrom\(\)": f"'{start.isoformat()}'",
        r"\$__timeTo\(\)": f"'{end.isoformat()}'",
        r"\$__unixEpochFrom\(\)": str(int(start.timestamp())),
        r"\$__unixEpochTo\(\)": str(int(end.timestamp())),
        r"\$instrument\b": instrument.replace("'", "''"),
    }
    for word, meant in words.items():
        sql = re.sub(word, meant, sql)
    assert "$" not in sql
    return sql


@pytest.mark.parametrize("span", SPANS)
def test_each_query_of_the_database_answers(lab: list[Instrument], moment: datetime, span: str) -> None:
    """Also where readings or minutes are too many, and it takes the next coarser ones."""
    empty = []
    for name, title, target in QUERIES:
        if target["datasource"]["uid"] == "labsite-postgres":
            sql = filled_in(
                target["rawSql"],
                moment - SPANS[span],
                moment + timedelta(minutes=1),
                instrument_for(name, lab),
            )
            with connection.cursor() as cursor:
                cursor.execute(sql.replace("%", "%%"))
                columns = [column.name for column in cursor.description or ()]
                rows = cursor.fetchall()
            assert target["format"] == "table" or columns[0] == "time", title
            if not rows:
                empty.append(f"{name}: {title}")
    assert empty == []


def test_each_list_of_instruments_names_one(lab: list[Instrument]) -> None:
    variables = [
        (name, variable["query"])
        for name, board in BOARDS.items()
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    ]
    for name, query in variables:
        with connection.cursor() as cursor:
            cursor.execute(query)
            assert cursor.fetchall() == [(instrument_for(name, lab),)]


@pytest.mark.parametrize(("name", "target"), of("labsite-api"))
def test_each_question_of_the_api_answers(
    lab: list[Instrument], moment: datetime, name: str, target: dict[str, Any]
) -> None:
    words = {
        "${url}": "",
        "${instrument}": instrument_for(name, lab),
        "${__from}": str(round((moment - timedelta(hours=1)).timestamp() * 1000)),
        "${__to}": str(round((moment + timedelta(hours=1)).timestamp() * 1000)),
    }
    parts = urlsplit(target["url"].replace("${url}", ""))
    question = [(key, words.get(value, value)) for key, value in parse_qsl(parts.query)]
    answer = factories.client(User.objects.create_user("grafana")).get(parts.path, dict(question))
    assert answer.status_code == 200, answer.json()
    (row, *_rest) = answer.json()[target["root_selector"]]
    assert {column["selector"] for column in target["columns"]} <= set(row)


def test_a_reader_of_the_views_sees_nothing_else(db: None) -> None:
    """The role that docs/grafana.md makes."""
    document = (settings.BASE_DIR / "docs" / "grafana.md").read_text()
    (statements,) = re.findall(r"```sql\n(.*?)```", document, re.DOTALL)
    with connection.cursor() as cursor:
        cursor.execute(statements.replace("DATABASE labsite", f"DATABASE {connection.settings_dict['NAME']}"))
        cursor.execute("SET LOCAL ROLE grafana")
        cursor.execute("SELECT count(*) FROM named_reading")
        cursor.execute(
            "SELECT has_table_privilege('grafana', 'sample', 'select'),"
            " has_table_privilege('grafana', 'auth_user', 'select'),"
            " has_table_privilege('grafana', 'named_reading', 'insert')"
        )
        assert cursor.fetchone() == (False, False, False)
        cursor.execute("RESET ROLE")
