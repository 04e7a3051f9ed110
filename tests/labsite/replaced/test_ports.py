"""The old addresses: ports of the web process on which an instrument answers as a program did."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from labsite.env import BadSetting
from labsite.onebox import programs
from labsite.replaced.moving import moved, root
from labsite.replaced.ports import Port, parse
from telemetry.models import ReplacedInterface
from tests.labsite.replaced import lab
from tests.servers import dying_with_tests
from tests.web import Web, free_port


def test_ports_are_read_from_the_environment() -> None:
    text = "thermostat=8001:Bath 1, ups=8080:UPS rack A,metatron=8081:0a7c1a1e-4a45-4b54-9b3c-111111111111"
    assert parse(text) == {
        8001: Port(8001, "thermostat", "Bath 1"),
        8080: Port(8080, "ups", "UPS rack A"),
        8081: Port(8081, "metatron", "0a7c1a1e-4a45-4b54-9b3c-111111111111"),
    }
    assert parse("") == {}
    assert root(Port(8080, "ups", "UPS rack A")) == "/replaced/ups-rack-a/ups"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bath=8001:Bath 1", "must begin with one of thermostat, ups, metatron"),
        ("ups=80800:UPS", "must be like ups=8001:Name"),
        ("ups=:UPS", "must be like"),
        ("ups=8080", "must be like"),
        ("ups=8080:UPS,metatron=8080:Q1", "names port 8080 twice"),
    ],
)
def test_a_fault_in_them_stops_the_start(text: str, words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("scope", "path", "scheme"),
    [
        ({"server": ("127.0.0.1", 8080)}, "/replaced/ups-rack-a/ups/metrics", "https"),
        ({"server": ("127.0.0.1", 8000)}, "/metrics", "http"),
        ({"server": None}, "/metrics", "http"),
        ({}, "/metrics", "http"),
        ({"server": ("/run/web.sock", None)}, "/metrics", "http"),
        ({"server": ("127.0.0.1", 8080), "path": "/static/labsite/a.css"}, "/static/labsite/a.css", "http"),
        ({"server": ("127.0.0.1", 8080), "path": "/admin/"}, "/replaced/ups-rack-a/ups/admin/", "https"),
    ],
)
def test_a_request_on_such_a_port_is_one_of_the_interface(
    scope: Mapping[str, Any], path: str, scheme: str
) -> None:
    asked = {"type": "http", "path": "/metrics", "scheme": "http", **scope}
    found = moved(asked, parse("ups=8080:UPS rack A"), https=True)
    assert (found["path"], found["scheme"]) == (path, scheme)


def test_the_web_process_listens_on_them_only_where_there_are_any() -> None:
    plain, old = programs.centre("127.0.0.1", 8000), programs.centre("127.0.0.1", 8000, replaced=True)
    assert plain[0].command[2:5] == ["uvicorn", "labsite.asgi:application", "--host"]
    assert old[0].command[2:] == ["labsite.web"]
    assert plain[1:] == old[1:]


class WebWithPorts(Web):
    """The web process as it is started where old addresses are configured."""

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        super().__init__(folder)
        names = {"thermostat": "Bath 1", "ups": "UPS rack A", "metatron": "Q1"}
        self.command = dying_with_tests([*self.command[: self.command.index("-m")], "-m", "labsite.web"])
        assert self.environment is not None
        self.environment |= {
            "LABSITE_PORT": str(self.port),
            "LABSITE_REPLACED_PORTS": ",".join(
                f"{kind}={port}:{names[kind]}" for kind, port in ports.items()
            ),
        }


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


@pytest.mark.django_db(transaction=True)
def test_each_program_answers_at_its_old_address(tmp_path: Path, taken: int) -> None:
    lab.says(lab.ups(), lab.UPS)
    lab.says(lab.thermostat(), lab.BATH)
    ports = {"thermostat": free_port(), "ups": free_port(), "metatron": taken}
    with WebWithPorts(tmp_path, ports).start() as web:
        bath, ups = (f"http://127.0.0.1:{ports[kind]}" for kind in ("thermostat", "ups"))
        assert httpx.get(f"{bath}/report").json()["temperature_ch0"] == 24.5
        assert httpx.get(f"{bath}/series", params={"from": 0}).json()[0]["temperature_ch1"] == 25.0
        with httpx.stream("GET", f"{bath}/data.csv") as answer:
            assert len(list(answer.iter_lines())) == 2
        assert httpx.get(f"{ups}/api/health").json()["status"] == "running"
        told = httpx.get(f"{ups}/api/telemetry").json()  # as the monitor's own client (test_web.py) shows it
        shown = f"{told.get('input_voltage', 0):.1f}V {told.get('battery_level', 0)}% {told.get('status')}"
        assert shown == "225.6V 100% online"
        page = httpx.get(ups)
        assert "UPS rack A" in page.text
        style = page.text.split('rel="stylesheet" href="')[1].split('"')[0]
        assert httpx.get(f"{ups}{style}").status_code == 200
        assert httpx.get(f"{ups}/login/").status_code == 404, "nothing else of Labsite is there"
        assert httpx.get(f"{ups}/api/health", headers={"host": "evil.example"}).status_code == 400
        assert httpx.get(f"{web.url}/login/").status_code == 200
        assert httpx.get(f"{web.url}/replaced/ups-rack-a/api/health").status_code == 200
        ReplacedInterface.objects.update(open=False)
        assert httpx.get(f"{ups}/api/health").status_code == 401
    assert f"cannot listen on port {taken}" in web.output
    assert "is the replaced program still running?" in web.output
