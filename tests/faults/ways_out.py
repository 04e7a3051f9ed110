"""A laboratory that feeds all ways out at once: two kinds of InfluxDB, MQTT and Prometheus."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from tests.devices.mosquitto import free_port
from tests.faults.lab import ROOT, Lab
from tests.labsite.mqtt.kit import Mosquitto
from tests.servers import Process, dying_with_tests
from tests.telemetry.sinks.servers import Influx, Victoria
from tests.waiting import until

SINKS = """
[[sink]]
name = "old"
api = "v1"
url = "{influx}"
bucket = "lab"
flush_interval = 0.5

[[sink]]
name = "new"
api = "v2"
url = "{victoria}"
org = "lab"
bucket = "lab"
flush_interval = 0.5
"""
STORED = """
    SELECT i.name, c.key, (extract(epoch FROM s.time) * 1000000)::int8, s.value
    FROM samples s JOIN devices_channel c ON c.id = s.channel_id
    JOIN devices_instrument i ON i.id = c.instrument_id
    WHERE s.value IS NOT NULL AND i.driver = 'thermostat'
"""

Point = tuple[str, str, int, float]  # instrument, channel, time in µs (or ms), value


class Prometheus(Process):
    """It scrapes the lab's web process by the configuration that is shipped, each second."""

    def __init__(self, folder: Path, web: int) -> None:
        folder.mkdir(parents=True)
        for shipped in (ROOT / "docker" / "prometheus").iterdir():
            shutil.copy(shipped, folder)
        config = (folder / "prometheus.yml").read_text().replace("127.0.0.1:8000", f"127.0.0.1:{web}")
        config = re.sub(r"scrape_interval: \d+s", "scrape_interval: 1s", config)
        config = re.sub(r" +authorization:\n.*\n", "", config)  # the network is one that may scrape
        (folder / "prometheus.yml").write_text(config)
        self.port = free_port()
        words = ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{self.port}"]
        super().__init__(dying_with_tests(["env", "-C", folder, *words]), folder / "log")

    def value(self, expression: str) -> float | None:
        """What a question for one number is answered; None while it is not."""
        try:
            answer = requests.get(
                f"http://127.0.0.1:{self.port}/api/v1/query", params={"query": expression}, timeout=2
            )
        except requests.RequestException:
            return None
        found = answer.json()["data"]["result"] if answer.status_code == 200 else []
        return float(found[0]["value"][1]) if found else None


class WaysOut(Lab):
    """What goes out is in `outs`, by name; each can be killed and started again."""

    outs: Mapping[str, Process]

    def _start(self, stack: ExitStack) -> None:
        self.influx = Influx(self.folder / "influx")
        self.victoria = Victoria(self.folder / "victoria")
        self.mosquitto = Mosquitto(self.folder / "mosquitto")
        self.web_port = free_port()
        self.prometheus = Prometheus(self.folder / "prometheus", self.web_port)
        self.outs = {
            "influx": self.influx,
            "victoria": self.victoria,
            "mosquitto": self.mosquitto,
            "prometheus": self.prometheus,
        }
        for out in self.outs.values():
            stack.enter_context(out.start())
        super()._start(stack)
        self._start_doors(stack)

    def _start_doors(self, stack: ExitStack) -> None:
        """The processes that show the present: pages with `/metrics`, and the MQTT bridge."""
        web = ["-m", "uvicorn", "labsite.asgi:application", "--port", str(self.web_port)]
        self.start("web", [sys.executable, *web], LABSITE_METRICS_NETWORKS="127.0.0.1/32")
        url = f"mqtt://127.0.0.1:{self.mosquitto.port}"
        self.start(
            "mqttbridge", [sys.executable, str(ROOT / "manage.py"), "mqttbridge"], LABSITE_MQTT_URL=url
        )
        for name in ("web", "mqttbridge"):
            stack.push(lambda *_, name=name: self._end(name))
        until(
            lambda: self.prometheus.value("sum(up)") == 2, 40, f"Prometheus scrapes\n{self.logs()}", every=0.2
        )

    def lab_file(self, interval: float = 0) -> str:
        sinks = SINKS.format(influx=self.influx.url, victoria=self.victoria.url)
        return super().lab_file(interval) + sinks

    # ---- looking

    def in_postgres(self, per_ms: int = 1) -> set[Point]:
        """All that is stored; times in µs, or cut to so many of them."""
        return {(name, key, time // per_ms, value) for name, key, time, value in self.rows(STORED)}

    def in_influx(self) -> set[Point]:
        rows: list[dict[str, Any]] = self.influx.ask(
            "SELECT value FROM thermostat GROUP BY instrument, channel"
        )
        return {(row["instrument"], row["channel"], row["time"] // 1000, row["value"]) for row in rows}

    def in_victoria(self) -> set[Point]:
        """It keeps milliseconds."""
        return {
            (instrument, channel, time, value)
            for (_name, instrument, channel), values in self.victoria.series(
                '{__name__="thermostat_value"}'
            ).items()
            for time, value in values.items()
        }

    def backlog(self) -> int:
        """Entries of the outbox that a sink has not passed."""
        question = (
            "SELECT count(*) FROM outbox o JOIN sink s ON (o.xid, o.id) > (s.at_xid::text::xid8, s.at_id)"
            " WHERE o.xid < pg_snapshot_xmin(pg_current_snapshot())"
        )
        return int(self.rows(question)[0][0])


def given() -> float:
    """Seconds for which each way out is away: a minute and more when there is time."""
    return float(os.environ.get("LABSITE_OUTAGE_S", "10"))
