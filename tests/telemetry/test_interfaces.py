"""Which instrument answers as which replaced program did: API, admin and lab file."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from devices.lab_file import LabFileError
from devices.services import OPERATOR
from labsite import lab_file
from telemetry import interfaces
from telemetry.models import ReplacedInterface
from tests.factories import client, instrument, person

pytestmark = pytest.mark.django_db

FIGURES = {
    "psi": {"channel": "ch0.temperature", "low": 20.0, "high": 30.0},
    "rho": {"channel": "ch1.temperature"},
    "omega": {"channel": "ch0.tec_i"},
}
URL = "/api/v1/replaced/"


def interface(kind: str = "thermostat", **fields: Any) -> ReplacedInterface:
    return ReplacedInterface(kind=kind, instrument=instrument(), **fields)


def test_staff_makes_changes_and_deletes_an_interface() -> None:
    api, bath = client(person()), instrument()
    made = api.post(URL, {"instrument": str(bath.pk), "kind": "thermostat"})
    assert (made.status_code, made.data["open"], made.data["enabled"]) == (201, False, True)
    url = f"{URL}{made.data['id']}/"
    assert api.patch(url, {"open": True}).data["open"] is True
    assert api.get(URL, {"instrument_name": "Bath 1"}).data["results"][0]["kind"] == "thermostat"
    assert api.post(URL, {"instrument": str(bath.pk), "kind": "thermostat"}).status_code == 400
    assert api.delete(url).status_code == 204
    assert not ReplacedInterface.objects.exists()


def test_who_is_not_staff_only_reads() -> None:
    saved = interfaces.save(interface(), OPERATOR)
    api = client(person("guest", staff=False))
    assert api.get(URL).data["results"][0]["instrument_name"] == "Bath 1"
    assert api.patch(f"{URL}{saved.pk}/", {"open": True}).status_code == 403
    with pytest.raises(PermissionDenied):
        interfaces.save(saved, person("other", staff=False))


@pytest.mark.parametrize(
    ("kind", "options", "field", "words"),
    [
        ("ups", {}, "kind", "such as input_voltage"),
        ("thermostat", {"zone": "UTC"}, "options", "unknown field `zone`"),
        ("metatron", {}, "options", "psi: which channel?"),
        ("metatron", {**FIGURES, "psi": {"channel": "x"}}, "options", "psi: there is no channel 'x'"),
        ("metatron", {**FIGURES, "psi": {"channel": "ch0.tec_i", "low": 1.0}}, "options", "belong together"),
        (
            "metatron",
            {**FIGURES, "psi": {"channel": "ch0.tec_i", "low": 1.0, "high": 1.0}},
            "options",
            "two different",
        ),
        ("metatron", {**FIGURES, "health": {"scs": ["thermostate"]}}, "options", "no driver 'thermostate'"),
        ("metatron", {**FIGURES, "every": 0.5}, "options", "from 1 to 3600"),
        ("metatron", {**FIGURES, "mode": 5}, "options", "mode: Expected `str`"),
    ],
)
def test_what_could_not_answer_is_refused(kind: str, options: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        interfaces.save(interface(kind, options=options), OPERATOR)
    assert words in "; ".join(refused.value.message_dict[field])


@pytest.mark.parametrize("topic", ["ups/#", "/ups", "ups/", "$SYS/ups", "a+b"])
def test_a_topic_nobody_can_be_told_on_is_refused(topic: str) -> None:
    ups = instrument("UPS", driver="must_ep20", address="serial:///dev/ttyUSB0")
    row = ReplacedInterface(kind="ups", instrument=ups, options={"mqtt_topic": "ups/telemetry"})
    interfaces.save(row, OPERATOR)
    row.options = {"mqtt_topic": topic}
    with pytest.raises(ValidationError, match="a topic is needed"):
        interfaces.save(row, OPERATOR)


def test_an_instrument_has_an_interface_of_each_kind_once() -> None:
    first = interfaces.save(interface(), OPERATOR)
    interfaces.save(
        ReplacedInterface(kind="metatron", instrument=first.instrument, options=FIGURES), OPERATOR
    )
    with pytest.raises(ValidationError):
        interfaces.save(ReplacedInterface(kind="thermostat", instrument=first.instrument), OPERATOR)


LAB = """
[[replaced]]
instrument = "Bath 1"
kind = "thermostat"
open = true

[[replaced]]
instrument = "Bath 1"
kind = "metatron"

[replaced.options]
psi = {channel = "ch0.temperature", low = 20.0, high = 30.0}
rho = {channel = "ch1.temperature"}
omega = {channel = "ch0.tec_i"}
"""


def applied(text: str, **how: Any) -> list[str]:
    return [str(change) for change in lab_file.apply(lab_file.parse(text, "lab.toml"), OPERATOR, **how)]


def test_a_lab_file_says_it_and_is_written_back() -> None:
    instrument()
    changes = applied(LAB)
    assert changes[0].startswith("+ replaced Bath 1 thermostat\n    enabled: true\n    open: true")
    assert applied(LAB) == []
    written = lab_file.export()
    assert applied(written) == []
    ReplacedInterface.objects.all().delete()
    assert len(applied(written)) == 2
    assert ReplacedInterface.objects.get(kind="metatron").options == FIGURES


def test_pruning_deletes_those_left_out() -> None:
    instrument()
    applied(LAB)
    kept = lab_file.export().partition("[[replaced]]")[0]
    assert [line for line in applied(kept, prune=True) if "replaced" in line] == [
        "− replaced Bath 1 metatron",
        "− replaced Bath 1 thermostat",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[replaced]]\ninstrument = "Bath"\nkind = "ups"', "there is no instrument 'Bath'"),
        ('[[replaced]]\ninstrument = "Bath 1"\nkind = "upss"', "did you mean 'ups'?"),
        ('[[replaced]]\ninstrument = "Bath 1"\nkind = "ups"', "lab.toml:3: replaced 'Bath 1 ups': kind: "),
        (LAB + LAB, "it stands in line 3 already"),
        ('[[replaced]]\nkind = "ups"', "instrument is missing"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, words: str) -> None:
    instrument()
    with pytest.raises(LabFileError, match=words.replace("?", "\\?")):
        applied(text)


def test_the_admin_says_beside_the_field_what_could_not_work() -> None:
    bath, browser = instrument(), client(person(superuser=True))
    url = "/admin/telemetry/replacedinterface/add/"
    given = {"instrument": str(bath.pk), "kind": "ups", "enabled": "on", "options": "{}"}
    assert "such as input_voltage" in browser.post(url, given, format="multipart").content.decode()
    assert browser.post(url, {**given, "kind": "thermostat"}, format="multipart").status_code == 302
    assert ReplacedInterface.objects.get().open is False
