"""What the replaced programs' own files mean: the lab file of each can be applied and says what they said."""

import stat
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from alerts.models import Contact, Route, Rule
from devices.models import Instrument
from devices.services import OPERATOR
from labsite import lab_file
from labsite.import_config import CannotImport, Meant, meant, written
from labsite.replaced.ports import parse
from telemetry.models import ReplacedInterface, Sink
from tests import factories

FILES = Path(__file__).parent / "files"
QS_MONITOR = FILES / "qs_monitor" / "config.toml"
METATRON = FILES / "metatron" / "metatron_telemetry.toml"
THERMOSTAT = FILES / "thermostat" / "server.py"
UPS = FILES / "ups" / "config.yaml"
FILAMENT_BOX = FILES / "filament_box" / "config.yaml"
SECRETS = ("very-secret-token", "bot-password", "mqtt-password", "env-password", "CHANGE_ME")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder."""
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path / "data")
    return tmp_path / "data"


def of(path: Path, variables: Mapping[str, str] | None = None, command_line: str = "") -> Meant:
    return meant([path], variables or {}, command_line)


def command(*words: str | Path, **options: Any) -> str:
    out = StringIO()
    call_command("import_config", *map(str, words), stdout=out, **options)
    return out.getvalue()


def in_file(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", [QS_MONITOR, METATRON, THERMOSTAT, UPS, FILAMENT_BOX], ids=lambda p: p.parent.name
)
def test_what_is_printed_can_be_applied_and_comes_back(path: Path, folder: Path) -> None:
    factories.edge()
    printed = command(path)
    lab = lab_file.parse(printed, "printed")
    assert lab_file.apply(lab, OPERATOR)
    assert lab_file.apply(lab, OPERATOR) == [], "once is enough"
    exported = lab_file.parse(lab_file.export(), "exported")
    assert lab_file.apply(exported, OPERATOR) == []
    assert not [word for word in SECRETS if word in printed], "no secret is printed"


@pytest.mark.django_db
def test_all_of_them_are_one_laboratory_together(folder: Path) -> None:
    factories.edge()
    printed = command(QS_MONITOR, METATRON, THERMOSTAT, UPS, FILAMENT_BOX, "--apply")
    assert set(Instrument.objects.exclude(driver="edge_host").values_list("name", "driver")) == {
        ("QS5-1", "quantstudio"), ("QS5-2", "quantstudio"), ("Metatron", "metatron"),
        ("Thermostat", "thermostat"), ("UPS", "must_ep20"), ("Filament box", "bme280"),
    }  # fmt: skip
    assert "+ instrument QS5-1" in printed
    (ports,) = [line.split("=", 1)[1] for line in printed.splitlines() if "LABSITE_REPLACED_PORTS=" in line]
    assert {port.kind: port.number for port in parse(ports).values()} == {
        "metatron": 8080, "thermostat": 8000, "ups": 8081,
    }  # fmt: skip
    assert ReplacedInterface.objects.filter(open=True).count() == 3


# ---- secrets


@pytest.mark.django_db
def test_secrets_go_into_files_that_only_their_owner_reads(folder: Path) -> None:
    printed = command(QS_MONITOR, UPS, FILAMENT_BOX)
    words = {path.name: path.read_text(encoding="utf-8").strip() for path in (folder / "secrets").iterdir()}
    assert words == {
        "QS_MONITOR": "very-secret-token",
        "MATRIX_PASSWORD": "bot-password",
        "MQTT_PASSWORD": "mqtt-password",
        "FILAMENT_BOX": "env-password",
    }
    for path in (folder / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        variable = f"LABSITE_{'' if path.name.startswith('M') else 'SECRET_'}{path.name}_FILE"
        assert f"#   {variable}={path}\n" in printed


@pytest.mark.django_db
def test_a_secret_that_is_there_stays(folder: Path, tmp_path: Path) -> None:
    command(UPS)
    path = folder / "secrets" / "MQTT_PASSWORD"
    assert "is there with another word" not in command(UPS)
    path.write_text("another\n", encoding="utf-8")
    printed = command(UPS)
    assert f"{path} is there with another word and stays" in printed
    assert path.read_text(encoding="utf-8") == "another\n"


@pytest.mark.parametrize("text", ["mqtt:\n  password: hunter2: no\n", "mqtt:\n\tpassword: hunter2\n"])
def test_a_broken_file_is_told_by_its_line_and_not_by_what_stands_there(tmp_path: Path, text: str) -> None:
    with pytest.raises(CannotImport, match=r"config.yaml:2: this is not YAML") as found:
        of(in_file(tmp_path, "config.yaml", text))
    assert "hunter2" not in str(found.value)


def test_notes_name_settings_and_not_what_they_are(tmp_path: Path) -> None:
    text = UPS.read_text(encoding="utf-8").replace("topic:", "client_key: hunter2\n  topic:")
    what = of(in_file(tmp_path, "config.yaml", text))
    assert [note for note in what.notes if "mqtt.client_key" in note]
    assert "hunter2" not in written(what, {})


def test_what_a_file_says_cannot_end_a_comment(tmp_path: Path) -> None:
    text = '[[machines]]\nhost = "h"\n"x\\n[[edge]]" = 1\n[matrix]\nuser = "a\\n[[edge]]\\nname = \\"b\\""\n'
    printed = written(of(in_file(tmp_path, "config.toml", text)), {})
    assert "[[edge]]" in printed
    assert not [line for line in printed.splitlines() if line.startswith("[[edge]]")]


# ---- each program


@pytest.mark.django_db
def test_qs_monitor(folder: Path) -> None:
    factories.edge()
    printed = command(QS_MONITOR, "--apply")
    machine = Instrument.objects.get(name="QS5-2")
    assert (machine.address, machine.options, machine.tags) == (
        "tls://192.168.1.41:7443",
        {"verify": False},
        ["qpcr"],
    )
    sink = Sink.objects.get()
    assert (sink.api, sink.schema, sink.url, sink.org, sink.bucket, sink.secret, sink.only) == (
        "v2", "qs-monitor", "http://influx.lab:8086", "lab", "qpcr", "QS_MONITOR", {"driver": "quantstudio"},
    )  # fmt: skip
    assert (sink.batch_size, sink.flush_interval) == (200, 5.0)
    assert dict(Contact.objects.values_list("name", "address")) == {
        "Room qpcr": "#qpcr:example.org",
        "Room 2": "!abc:example.org",
    }
    route = Route.objects.get()
    assert [step.contact.name for step in route.steps.all()] == ["Room qpcr"], "the first room only"
    assert (route.alarms, route.tags, "run.failed" in route.happenings) == (False, ["qpcr"], True)
    for line in (
        "LABSITE_MATRIX_HOMESERVER=https://matrix.example.org",
        "LABSITE_MATRIX_USER=qpcrbot",
        "LABSITE_MATRIX_ALLOW_VERIFICATION=1",
        "config.toml:8: machines[1].lane: not carried over",
        "config.toml:23: matrix.session_file: Labsite's bot logs in anew",
        "config.toml:26: matrix.allow_control: what a person may do goes by",
        "config.toml:29: global.reconnect_wait_seconds: it had no effect",
    ):
        assert f"#   {line}" in printed


@pytest.mark.parametrize(
    ("variables", "port", "host"),
    [
        ({}, 8080, "0.0.0.0"),
        ({"METATRON_SERVER__PORT": "9000"}, 9000, "0.0.0.0"),
        ({"METATRON__SERVER__PORT": "9001"}, 9001, "0.0.0.0"),
        ({"METATRON__SERVER__PORT": "9001", "METATRON_SERVER__PORT": "9000"}, 9000, "0.0.0.0"),
        ({"METATRON_SERVER__HOST": "127.0.0.1"}, 8080, None),
        ({"METATRON__SERVER__HOST": "10.0.0.5", "METATRON_SERVER__PORT": ""}, 8080, "10.0.0.5"),
        ({"METATRON_SERVER__PORT": "many"}, 8080, "0.0.0.0"),
    ],
)
def test_metatron_is_told_by_variables_more_than_by_its_file(
    variables: dict[str, str], port: int, host: str | None
) -> None:
    what = of(METATRON, variables)
    assert what.environment["LABSITE_REPLACED_PORTS"] == f"metatron={port}:Metatron"
    assert what.environment.get("LABSITE_REPLACED_HOST") == host
    near = {"0.0.0.0": "127.0.0.1", None: "127.0.0.1"}.get(host, host)
    assert what.tables["instrument"][0]["address"] == f"http://{near}:{port}"


def test_metatron_by_variables_alone() -> None:
    what = meant([], {"METATRON_SERVER__PORT": "9000", "TELEMETRY_PORT": "3000"})
    assert what.environment["LABSITE_REPLACED_PORTS"] == "metatron=9000:Metatron"
    assert "$TELEMETRY_PORT: TELEMETRY_PORT: no program ever read it" in what.notes


def test_metatrons_page_is_not_carried_over() -> None:
    assert (
        "metatron_telemetry.toml:4: server.static_dir: its page is not served by Labsite: docs/replaced.md"
        in of(METATRON).notes
    )


def test_the_loggers_constants_are_read_and_nothing_is_run() -> None:
    what = of(THERMOSTAT)
    (instrument,) = what.tables["instrument"]
    assert (instrument["address"], instrument["interval"]) == ("tcp://192.168.1.26:23", 1.0)
    assert what.environment == {"LABSITE_REPLACED_PORTS": "thermostat=8000:Thermostat"}
    notes = "\n".join(what.notes)
    assert "server.py:9: CSV_PATH: its rows are taken over by `manage.py import_history`" in notes
    assert "server.py:10: FIELDS: vref: the interface has the usual 28 columns only" in notes
    assert "server.py:14: WINDOW is computed" in notes
    assert "port 8000 is also that of Labsite's own pages" in notes


def test_the_logger_may_have_served_itself(tmp_path: Path) -> None:
    text = 'HOST = "10.0.0.9"\nPOLL_PERIOD = 0.01\nif __name__ == "__main__":\n'
    text += '    uvicorn.run(app, host="0.0.0.0", port=8001)\n'
    what = of(in_file(tmp_path, "server.py", text))
    assert what.environment == {
        "LABSITE_REPLACED_PORTS": "thermostat=8001:Thermostat",
        "LABSITE_REPLACED_HOST": "0.0.0.0",
    }
    assert what.tables["instrument"][0]["interval"] == 0.1, "no more often than that"


@pytest.mark.django_db
def test_ups_monitor(folder: Path) -> None:
    factories.edge()
    printed = command(UPS, "--apply")
    ups = Instrument.objects.get(name="UPS")
    assert (ups.address, ups.interval) == ("serial:///dev/ttyUSB0", 30.0)
    rules = Rule.objects.filter(driver="must_ep20")
    limits = {(rule.key, rule.kind): rule.low or rule.high or rule.value for rule in rules}
    assert limits == {
        ("status", "equals"): "battery", ("input_voltage", "low"): 180.0, ("battery_level", "low"): 20.0,
        ("temperature", "high"): 40.0, ("load_percent", "high"): 80.0,
    }  # fmt: skip
    low = rules.get(key="input_voltage")
    assert low.suppressed_by is not None
    assert low.suppressed_by.key == "status", "0 V without mains is no low voltage"
    assert ReplacedInterface.objects.get().options == {"mqtt_topic": "ups/telemetry"}
    for line in (
        "LABSITE_REPLACED_PORTS=ups=8081:UPS",
        "LABSITE_REPLACED_HOST=0.0.0.0",
        "LABSITE_MQTT_URL=mqtt://broker.lab:1883",
        "LABSITE_MQTT_USER=ups",
        "LABSITE_LOG_LEVEL=DEBUG",
        "config.yaml:8: monitoring.max_errors: Labsite tries again for as long as it takes",
        "config.yaml:10: battery.capacity_ah: Labsite shows what the UPS says, without estimates",
    ):
        assert f"#   {line}" in printed


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", ("/dev/ttyUSB0", 30.0, 8081, "mqtt://broker.lab:1883")),
        ("python mustmon.py /dev/ttyS1", ("/dev/ttyS1", 30.0, 8081, "mqtt://broker.lab:1883")),
        ("/dev/ttyS1 --interval 5", ("/dev/ttyS1", 5.0, 8081, "mqtt://broker.lab:1883")),
        ("--web-port 80 --mqtt-port 0", ("/dev/ttyUSB0", 30.0, 80, "mqtt://broker.lab:0")),
        ("mustmon.py --mqtt-broker other", ("/dev/ttyUSB0", 30.0, 8081, "mqtt://other:1883")),
    ],
)
def test_the_ups_monitors_command_line_counts_more(line: str, wanted: tuple[Any, ...]) -> None:
    what = of(UPS, command_line=line)
    (instrument,) = what.tables["instrument"]
    ports = parse(what.environment["LABSITE_REPLACED_PORTS"])
    assert (
        instrument["address"].removeprefix("serial://"),
        instrument["interval"],
        *ports,
        what.environment["LABSITE_MQTT_URL"],
    ) == wanted


@pytest.mark.parametrize(
    ("mqtt", "line", "url"),
    [
        ("{broker: b}", "", None),
        ("{enabled: false, broker: b}", "", None),
        ("{enabled: true}", "", "mqtt://localhost:1883"),
        ("{enabled: false, broker: b}", "--mqtt-broker c", "mqtt://c:1883"),
        ("{enabled: true, broker: b, port: null}", "", "mqtt://b:1883"),
    ],
)
def test_a_broker_in_the_file_does_not_switch_mqtt_on(
    tmp_path: Path, mqtt: str, line: str, url: str | None
) -> None:
    text = f"serial: {{port: /dev/ttyUSB0}}\nmonitoring: {{interval: 30}}\nmqtt: {mqtt}\n"
    what = of(in_file(tmp_path, "config.yaml", text), command_line=line)
    assert what.environment.get("LABSITE_MQTT_URL") == url


def test_the_containers_port_stands_for_that_of_the_command_line() -> None:
    variables = {"UPS_SERIAL_PORT": "/dev/ttyACM0"}
    assert of(UPS, variables).tables["instrument"][0]["address"] == "serial:///dev/ttyACM0"
    assert of(UPS, variables, "/dev/ttyS1").tables["instrument"][0]["address"] == "serial:///dev/ttyS1"


def test_a_ups_without_a_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotImport, match="told no serial port"):
        of(in_file(tmp_path, "config.yaml", "monitoring: {interval: 30}\n"))


@pytest.mark.django_db
def test_filament_box(folder: Path) -> None:
    """Its .env is found beside it."""
    factories.edge()
    printed = command(FILAMENT_BOX, "--apply")
    box, sink = Instrument.objects.get(name="Filament box"), Sink.objects.get()
    assert (box.address, box.interval, box.options) == ("i2c://1/0x77", 0.25, {"sea_level": 1020.5})
    assert (sink.api, sink.url, sink.bucket, sink.user, sink.secret, sink.schema, sink.measurement) == (
        "v1", "http://influxdb:8086", "influx", "writer", "FILAMENT_BOX", "filament-box", "environment",
    )  # fmt: skip
    assert (sink.tags, sink.only, sink.batch_size, sink.flush_interval, sink.alert_threshold) == (
        {"location": "shelf"}, {"tag": "filament-box"}, 5000, 2.0, 5,
    )  # fmt: skip
    for line in (
        ".env:4: INFLUXDB_PORT is no whole number: it is left out, as the program did",
        "config.yaml:19: retry.persist_on_alert: all readings are kept, whatever a sink does",
        "config.yaml:23: persistence.db_path: its unsent batches are taken over by `manage.py import_h",
    ):
        assert f"#   {line}" in printed


def test_real_variables_count_more_than_env_and_that_more_than_the_file() -> None:
    (sink,) = of(FILAMENT_BOX, {"INFLUXDB_USERNAME": "real", "INFLUXDB_PORT": "8087"}).tables["sink"]
    assert (sink["user"], sink["url"]) == ("real", "http://influxdb:8087")


def test_tags_that_are_no_json_leave_those_of_the_file(tmp_path: Path) -> None:
    path = in_file(tmp_path, "config.yaml", FILAMENT_BOX.read_text(encoding="utf-8"))
    what = of(path, {"DATA_COLLECTION_TAGS": "{location: x"})
    assert what.tables["sink"][0]["tags"] == {"location": "filamentbox", "device": "pi-zero-1"}
    assert (
        "$DATA_COLLECTION_TAGS: DATA_COLLECTION_TAGS is no JSON object: it is left out, as the program did"
        in (what.notes)
    )


def test_a_later_version_has_its_database_elsewhere(tmp_path: Path) -> None:
    text = "data_collection: {read_interval: 1}\ndatabase:\n  type: influxdb\n"
    text += "  influxdb: {host: h, database: d}\nheating_control: {enabled: true}\n"
    what = of(in_file(tmp_path, "config.yaml", text))
    assert (what.tables["sink"][0]["url"], what.tables["sink"][0]["bucket"]) == ("http://h:8086", "d")
    assert "config.yaml:5: heating_control.enabled: Labsite does not switch relays" in what.notes


# ---- what it is


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.toml", "[lab]\nx = 1\n", "of none of the replaced programs"),
        ("config.toml", "[machines\n", "config.toml:1: this is not TOML"),
        ("server.py", "HOST = 'x'\nPOLL_PERIOD = (\n", "server.py:2: this is not Python"),
        ("config.yaml", "- a\n", "a mapping of settings is needed"),
        ("config.ini", "", ".toml, .yaml, .yml, .py and .env are read"),
        ("config.yaml", "data_collection: {read_interval: 1}\n", "influxdb.database is needed"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(CannotImport, match=words.replace(".", r"\.")):
        of(in_file(tmp_path, name, text))


def test_a_file_that_is_not_there_and_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(CannotImport, match="No such file"):
        of(tmp_path / "config.toml")
    with pytest.raises(CannotImport, match="name a file of the replaced program"):
        meant([], {})


def test_two_files_of_one_program_are_not_mixed() -> None:
    with pytest.raises(CannotImport, match="take over one after the other"):
        meant([UPS, UPS], {})


@pytest.mark.django_db
def test_the_command_tells_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Nothing was changed"):
        command(in_file(tmp_path, "config.toml", "[lab]\n"))
    with pytest.raises(CommandError, match="is that of the UPS monitor"):
        command(METATRON, command_line="/dev/ttyUSB0")
