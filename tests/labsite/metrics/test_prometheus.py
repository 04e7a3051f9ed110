"""A real Prometheus scrapes the real web process by the configuration that is shipped; and its rules."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from devices.models import AccessToken, Edge, Heartbeat
from labsite.metrics import own
from telemetry.models import RollupMark, Sink
from tests.servers import Process, dying_with_tests
from tests.telemetry.factories import edge, instrument
from tests.waiting import until
from tests.web import Web, free_port, store

SHIPPED = settings.BASE_DIR / "docker" / "prometheus"
BOARDS = settings.BASE_DIR / "docker" / "grafana" / "dashboards"


def test_the_rules_say_what_they_should(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "labsite.rules.yml", tmp_path)
    shutil.copy(Path(__file__).with_name("rules.yml"), tmp_path)
    told = subprocess.run(
        ["promtool", "test", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture
def scraped(transactional_db: None, broker: str, tmp_path: Path) -> Any:
    """What a Prometheus answers that scrapes a lab of one bath."""
    bench = edge()
    Edge.objects.update(heard_at=timezone.now(), status=dict.fromkeys(told_by_edges(), 1.0))
    store(instrument(bench, "bath", keys=("t",)).channels.get(), 21.5)
    Heartbeat.objects.create(process="ingest", at=timezone.now(), fields={"readings": 12})
    now = timezone.now()
    RollupMark.objects.create(width="minute", closing=now, published=now)
    Sink.objects.create(name="dash", url="http://127.0.0.1:1", bucket="lab", at_time=now)
    _token, token = AccessToken.objects.create(User.objects.create_user("prometheus"), None, scope="read")
    for shipped in SHIPPED.iterdir():
        shutil.copy(shipped, tmp_path)
    (tmp_path / "labsite.token").write_text(token)
    with Web(tmp_path / "web").start() as web:
        config = (tmp_path / "prometheus.yml").read_text()
        config = re.sub(r"scrape_interval: \d+s", "scrape_interval: 1s", config)
        (tmp_path / "prometheus.yml").write_text(config.replace("127.0.0.1:8000", f"127.0.0.1:{web.port}"))
        port = free_port()
        command = ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
        command += ["--storage.tsdb.path=store"]
        program = dying_with_tests(["env", "-C", tmp_path, *command])
        with (
            Process(program, tmp_path / "prometheus.log").start(),
            httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=5.0) as client,
        ):
            yield client


def told_by_edges() -> list[str]:
    return [key for key, *_ in (*own.EDGE_GAUGES, *own.EDGE_COUNTERS)] + ["lateness_p50", "lateness_p99"]


def asked(client: httpx.Client, path: str, **question: str) -> Any:
    """What it answers; None while it does not."""
    try:
        answer = client.get(path, params=question)
    except httpx.TransportError:
        return None
    return answer.json().get("data") if answer.status_code == 200 else None


def test_prometheus_scrapes_what_is_shipped(scraped: httpx.Client) -> None:
    def values(expression: str) -> list[float]:
        found = asked(scraped, "/query", query=expression) or {"result": []}
        return [float(each["value"][1]) for each in found["result"]]

    until(lambda: values("labsite_reading") == [21.5], 30, "the reading is scraped")
    until(lambda: values("up") == [1.0, 1.0], 30, "both jobs are up")
    assert values('labsite_reading{instrument="bath",channel="t",edge="bench"}') == [21.5]
    groups = asked(scraped, "/rules")["groups"]
    assert sum(len(group["rules"]) for group in groups) == 16
    names = set(asked(scraped, "/label/__name__/values"))
    rules = (SHIPPED / "labsite.rules.yml").read_text()
    assert used(rules) <= names
    for expression in dashboards():
        assert asked(scraped, "/query", query=expression.replace("$instrument", "bath")) is not None, (
            expression
        )
        assert used(expression) <= names


def dashboards() -> list[str]:
    """What the dashboards ask of Prometheus."""
    boards = [json.loads(path.read_text()) for path in BOARDS.glob("*.json")]
    targets = [each for board in boards for panel in board["panels"] for each in panel["targets"]]
    return [target["expr"] for target in targets if "expr" in target]


def used(rules: str) -> set[str]:
    """The metrics that rules speak of."""
    return set(re.findall(r"\blabsite_\w+", rules))
