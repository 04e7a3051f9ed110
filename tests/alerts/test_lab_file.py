"""Rules, contacts and routes as tables of a lab file."""

import json
from datetime import time

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from alerts.models import Contact, Notice, Priority, Route, Rule
from devices.lab_file import LabFileError
from devices.models import Instrument
from devices.services import OPERATOR, retire_instrument
from labsite import lab_file
from tests import factories
from tests.alerts import factories as alarms

pytestmark = pytest.mark.django_db

RULES = """\
[[rule]]
name = "Bath too warm"
kind = "high"
driver = "thermostat"
key = "ch*.temperature"
high = 40
deadband = 0.5
on_delay = 10
priority = "high"
suppressed_by = "Bath away"
guidance = "Look at the pump."

[[rule.override]]
channel = "Bath 1/ch1.temperature"
high = 60
priority = "low"

[[rule.override]]
channel = "Bath 1/ch0.temperature"
enabled = false

[[rule]]
name = "Bath away"
kind = "not_connected"
instrument = "Bath 1"
suppressed_in = ["paused"]

[[rule]]
name = "PID off"
kind = "equals"
channel = "Bath 1/ch0.pid_engaged"
value = false
"""
ONE = '{ channel = "Bath 1/ch1.temperature"'
CONTACTS = """\
[[contact]]
name = "First"
transport = "webhook"
address = "https://example.org/alarms"
secret = "HOOK"
next = "Second"

[[contact]]
name = "Second"
transport = "email"
address = "lab@example.org"
user = "ada"

[[route]]
name = "Day"
least_priority = "medium"
tags = ["room-214"]
days = ["mon", "fri"]
start = "08:00"
end = 18:30:00
zone = "Europe/Berlin"
repeat = 900
daily = "07:15"
happenings = ["run.completed"]
steps = [{ contact = "First" }, { contact = "Second", after = 600 }]
"""


@pytest.fixture(autouse=True)
def lab() -> None:
    factories.edge()
    factories.instrument("Bath 1")
    factories.person("ada")


def own() -> str:
    """What is in the file that is not the lab's devices."""
    return lab_file.export()


def applied(text: str, *, prune: bool = False, dry_run: bool = False) -> list[str]:
    changes = lab_file.apply(lab_file.parse(text, "lab.toml"), OPERATOR, prune=prune, dry_run=dry_run)
    return [str(change).splitlines()[0] for change in changes]


def details(text: str) -> list[str]:
    (change,) = lab_file.apply(lab_file.parse(text, "lab.toml"), OPERATOR)
    return [line.strip() for line in str(change).splitlines()]


def test_rules_are_put_in_force_and_the_second_time_nothing_changes() -> None:
    assert applied(RULES) == ["+ rule Bath too warm", "+ rule Bath away", "+ rule PID off"]
    warm = Rule.objects.get(name="Bath too warm")
    assert (warm.high, warm.deadband, warm.on_delay, warm.priority) == (40.0, 0.5, 10.0, Priority.HIGH)
    assert warm.suppressed_by == Rule.objects.get(name="Bath away")
    found = warm.overrides.order_by("channel__key").values_list("channel__key", "enabled", "high", "priority")
    assert list(found) == [("ch0.temperature", False, None, None), ("ch1.temperature", True, 60.0, 4)]
    off = Rule.objects.select_related("channel").get(name="PID off")
    assert (off.channel and off.channel.key, off.value) == ("ch0.pid_engaged", "false")
    assert applied(RULES) == []
    assert applied(own(), prune=True) == []


def test_a_change_is_told_key_by_key_and_override_by_override() -> None:
    applied(RULES)
    assert details(RULES.replace("high = 60\n", "").replace("deadband = 0.5", "deadband = 1")) == [
        "~ rule Bath too warm",
        "deadband: 0.5 → 1.0",
        "override[2]: " + ONE + ', high = 60.0, priority = "low" } → ' + ONE + ', priority = "low" }',
    ]


def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    told = applied(RULES + CONTACTS, dry_run=True)
    assert not Contact.objects.exists()
    assert not Rule.objects.filter(built_in=False).exists()
    assert applied(RULES + CONTACTS) == told


def test_keys_that_are_left_out_stay_and_overrides_go_only_if_it_is_said() -> None:
    applied(RULES)
    assert applied('[[rule]]\nname = "Bath too warm"\npriority = "low"') == ["~ rule Bath too warm"]
    warm = Rule.objects.get(name="Bath too warm")
    assert (warm.high, warm.guidance, warm.overrides.count()) == (40.0, "Look at the pump.", 2)
    assert applied('[[rule]]\nname = "Bath too warm"\noverride = []') == ["~ rule Bath too warm"]
    assert warm.overrides.count() == 0


def test_another_kind_takes_no_limits_along_and_another_scope_nothing_of_the_scope() -> None:
    applied(RULES)
    text = '[[rule]]\nname = "PID off"\nkind = "high"\ninstrument = "Bath 1"\nkey = "ch0.tec_i"\nhigh = 1'
    assert applied(text) == ["~ rule PID off"]
    off = Rule.objects.get(name="PID off")
    assert (off.value, off.channel, off.key) == ("", None, "ch0.tec_i")


def test_what_can_be_empty_is_taken_back() -> None:
    applied(RULES + CONTACTS)
    taken_back = """
    [[rule]]
    name = "Bath too warm"
    suppressed_by = ""
    [[contact]]
    name = "First"
    transport = "webhook"
    next = ""
    [[contact]]
    name = "Second"
    transport = "email"
    user = ""
    [[route]]
    name = "Day"
    start = ""
    end = ""
    daily = ""
    repeat = 0
    days = []
    """
    assert len(applied(taken_back)) == 4
    day = Route.objects.get()
    assert [day.start, day.end, day.daily, day.repeat, day.days] == [None, None, None, None, []]
    assert not Contact.objects.exclude(next=None, user=None).exists()
    assert applied(taken_back) == []


def test_rules_that_name_each_other_may_stand_in_any_order_and_be_turned_round() -> None:
    rule = '[[rule]]\nname = "{}"\nkind = "high"\nkey = "a"\nhigh = 1\nsuppressed_by = "{}"\n'
    applied(rule.format("A", "B") + rule.format("B", ""))
    applied(rule.format("A", "") + rule.format("B", "A"))
    assert dict(Rule.objects.filter(built_in=False).values_list("name", "suppressed_by__name")) == {
        "A": None,
        "B": "A",
    }
    assert "it would come back to itself" in fault(rule.format("A", "B") + rule.format("B", "A"))
    assert "it would come back to itself" in fault(rule.format("C", "D") + rule.format("D", "C"))


def test_contacts_and_routes_are_put_in_force() -> None:
    assert applied(CONTACTS) == ["+ contact First", "+ contact Second", "+ route Day"]
    first = Contact.objects.select_related("next__user").get(name="First")
    assert first.next is not None
    assert first.next.user == User.objects.get(username="ada")
    day = Route.objects.get()
    assert (day.days, day.start, day.end, day.daily) == ([0, 4], time(8), time(18, 30), time(7, 15))
    assert list(day.steps.values_list("contact__name", "after")) == [("First", 0.0), ("Second", 600.0)]
    assert applied(CONTACTS) == []
    assert applied(own(), prune=True) == []
    written = own()
    assert 'steps = [{contact = "First", after = 0.0}, {contact = "Second", after = 600.0}]' in written
    assert 'start = "08:00"' in written
    assert details(CONTACTS.replace("after = 600", "after = 60"))[1] == (
        'steps[2]: { contact = "Second", after = 600.0 } → { contact = "Second", after = 60.0 }'
    )


def test_no_secret_is_in_the_file() -> None:
    applied(CONTACTS)
    assert 'secret = "HOOK"' in own()
    said = fault(CONTACTS.replace('"HOOK"', '"hunter2"'))
    assert "lab.toml:5: contact 'First': secret: only its name belongs here" in said
    assert "hunter2" not in said


# ---- what the file leaves out


def test_pruning_deletes_what_has_no_history_and_switches_off_what_has() -> None:
    applied(RULES + CONTACTS)
    bath = Instrument.objects.get(name="Bath 1")
    alarms.alarm(bath, Rule.objects.get(name="Bath away"))
    notice(Contact.objects.get(name="Second"))
    devices = lab_file.export().split("[[rule]]")[0]
    assert applied(devices) == []
    told = applied(devices, prune=True)
    assert told == [
        "− route Day", "− contact First", "~ contact Second", "~ rule Bath away", "− rule Bath too warm",
        "− rule PID off",
    ]  # fmt: skip
    assert Rule.objects.filter(built_in=True, enabled=True).count() == len(alarms.BUILT_IN)
    assert list(Rule.objects.filter(built_in=False).values_list("name", "enabled")) == [("Bath away", False)]
    assert list(Contact.objects.values_list("name", "enabled")) == [("Second", False)]
    assert applied(devices, prune=True) == []


def notice(contact: Contact) -> Notice:
    now = timezone.now()
    return Notice.objects.create(contact=contact, kind="test", created_at=now, due_at=now)


def test_pruning_keeps_whom_a_route_or_a_contact_names() -> None:
    applied(CONTACTS)
    devices, rest = lab_file.export().split("[[contact]]", 1)
    route = "[[route]]" + rest.split("[[route]]")[1]
    assert applied(devices + route, prune=True) == []
    first, *_others = CONTACTS.split("\n[[")
    assert applied(devices + first, prune=True) == ["− route Day"]


def test_rules_that_come_with_labsite_are_named_to_be_changed_and_never_pruned() -> None:
    silent = '[[rule]]\nname = "Edge silent"\nseconds = 60\nenabled = false\n'
    assert applied(silent) == ["~ rule Edge silent"]
    written = own()
    assert applied(written, prune=True) == []
    devices = written.split("[[rule]]")[0]
    assert applied(devices, prune=True) == []
    rule = Rule.objects.get(name="Edge silent")
    assert (rule.seconds, rule.enabled) == (60.0, False)
    assert "it keeps its kind" in fault(silent + 'kind = "undelivered"')


def test_what_is_of_retired_instruments_is_neither_written_nor_pruned() -> None:
    applied(RULES)
    factories.instrument("Bath 2")
    retire_instrument(Instrument.objects.get(name="Bath 1"), OPERATOR)
    written = own()
    assert "Bath 1" not in written
    assert "PID off" not in written
    assert "Bath too warm" in written
    # It is suppressed by a rule that cannot be said any more.
    assert applied(written, prune=True) == []
    assert Rule.objects.filter(built_in=False).count() == 3
    assert Rule.objects.get(name="Bath too warm").overrides.count() == 2


# ---- what is wrong is told with its place


def fault(text: str) -> str:
    before = Rule.objects.count(), Contact.objects.count(), Route.objects.count(), own()
    with pytest.raises(LabFileError) as refused:
        applied(text)
    assert (Rule.objects.count(), Contact.objects.count(), Route.objects.count(), own()) == before
    return str(refused.value)


def changed(before: str, after: str) -> str:
    text = RULES + CONTACTS
    assert before in text
    return text.replace(before, after, 1)


FAULTS: list[tuple[str, str, str]] = [
    (
        'kind = "high"',
        'kind = "hihg"',
        "lab.toml:3: rule 'Bath too warm': kind: 'hihg' is none; did you mean 'high'?",
    ),
    ('kind = "high"\n', "", "lab.toml:1: rule 'Bath too warm': kind is missing"),
    ("high = 40", 'high = "40"', "lab.toml:6: rule 'Bath too warm': high must be a number"),
    ("high = 40", "hihg = 40", "lab.toml:6: rule 'Bath too warm': unknown key 'hihg'; did you mean 'high'?"),
    ("high = 40\n", "", "rule 'Bath too warm': high: a rule of kind"),
    ("high = 40", "high = inf", "lab.toml:6: rule 'Bath too warm': high: "),
    ("high = 40", "value = 3", "lab.toml:6: rule 'Bath too warm': value: a rule of kind"),
    (
        'priority = "high"',
        'priority = "urgent"',
        "lab.toml:9: rule 'Bath too warm': priority: 'urgent' is none",
    ),
    (
        'priority = "low"',
        'priority = "lo"',
        "lab.toml:16: rule 'Bath too warm': priority: 'lo' is none; did you",
    ),
    (
        "high = 60",
        "hight = 60",
        "lab.toml:15: rule 'Bath too warm': override 1: unknown key 'hight'; did you",
    ),
    ("high = 60", "high = true", "lab.toml:15: rule 'Bath too warm': override 1: high must be a number"),
    (
        "high = 60",
        "value = 1",
        "lab.toml:13: rule 'Bath too warm': overrides: Bath 1 CH1 temperature: val",
    ),
    (
        "enabled = false",
        "enabled = 0",
        "lab.toml:20: rule 'Bath too warm': override 2: enabled must be true or",
    ),
    (
        "ch1.temperature",
        "ch1.temprature",
        "lab.toml:14: rule 'Bath too warm': 'Bath 1' has no channel 'ch1.te",
    ),
    (
        "Bath 1/ch1.temperature",
        "Bath/ch1",
        "lab.toml:14: rule 'Bath too warm': there is no instrument 'Bath'; did",
    ),
    ("Bath 1/ch1.temperature", "Bath 1", "lab.toml:14: rule 'Bath too warm': 'Bath 1' is no channel: write"),
    (
        '"Bath away"',
        '"Bath awry"',
        "lab.toml:10: rule 'Bath too warm': there is no rule 'Bath awry'; did you mean",
    ),
    (
        'instrument = "Bath 1"',
        'instrument = "Bath"',
        "lab.toml:25: rule 'Bath away': there is no instrument 'Bat",
    ),
    (
        'instrument = "Bath 1"',
        'edge = "loca"',
        "lab.toml:25: rule 'Bath away': there is no edge 'loca'; did you",
    ),
    (
        'driver = "thermostat"',
        'driver = "termostat"',
        "lab.toml:4: rule 'Bath too warm': driver: no driver 'te",
    ),
    (
        '["paused"]',
        '["pausd"]',
        "lab.toml:26: rule 'Bath away': suppressed_in: 'pausd' is none; did you mean 'paus",
    ),
    (
        '["paused"]',
        '"paused"',
        "lab.toml:26: rule 'Bath away': suppressed_in must be a list of texts in quotes",
    ),
    (
        "value = false",
        "value = []",
        "rule 'PID off': value must be text in quotes or true or false or a number",
    ),
    (
        '"webhook"',
        '"webhok"',
        "lab.toml:35: contact 'First': transport: 'webhok' is none; did you mean 'webhook'?",
    ),
    ("https://", "https://me:secret@", "lab.toml:36: contact 'First': address: no name and no password"),
    (
        '"Second"\n',
        '"Secund"\n',
        "lab.toml:38: contact 'First': there is no contact 'Secund'; did you mean 'Second'?",
    ),
    (
        'user = "ada"',
        'user = "adda"',
        "lab.toml:44: contact 'Second': there is no user 'adda'; did you mean 'ada'?",
    ),
    ('"medium"', '"middle"', "lab.toml:48: route 'Day': least_priority: 'middle' is none"),
    ('"fri"', '"fry"', "lab.toml:50: route 'Day': days: 'fry' is none; did you mean 'fri'?"),
    ('"08:00"', '"8 o\'clock"', "lab.toml:51: route 'Day': start must be a time of day such as \"08:00\""),
    (
        '"08:00"',
        "8",
        "lab.toml:51: route 'Day': start must be text in quotes or a time of day such as 08:00:00",
    ),
    ('start = "08:00"\n', "", "lab.toml:46: route 'Day': start: working hours need both"),
    ("Europe/Berlin", "Europe/Berlijn", "lab.toml:53: route 'Day': zone: no time zone 'Europe/Berlijn'"),
    ("repeat = 900", "repeat = 5", "lab.toml:54: route 'Day': repeat: "),
    (
        '"First" }',
        '"Frist" }',
        "lab.toml:57: route 'Day': there is no contact 'Frist'; did you mean 'First'?",
    ),
    ("after = 600", "after = -1", "lab.toml:57: route 'Day': steps: "),
    (
        "after = 600",
        "aftr = 600",
        "lab.toml:57: route 'Day': step 2: unknown key 'aftr'; did you mean 'after'?",
    ),
    ("[{ contact", "[3, { contact", "lab.toml:57: route 'Day': steps must be a list of tables"),
]


@pytest.mark.parametrize(("before", "after", "said"), FAULTS)
def test_an_error_names_the_place_and_changes_nothing(before: str, after: str, said: str) -> None:
    assert said in fault(changed(before, after))


def test_two_channels_of_one_path_are_told() -> None:
    odd = factories.instrument("Bath 1/ch0")
    odd.channels.create(key="x", label="x")
    Instrument.objects.get(name="Bath 1").channels.create(key="ch0/x", label="y")
    text = '[[rule]]\nname = "X"\nkind = "high"\nchannel = "Bath 1/ch0/x"\nhigh = 1\n'
    assert "may be two channels" in fault(text)


def test_what_is_written_is_in_the_order_of_reading() -> None:
    applied(RULES + CONTACTS)
    heads = [line for line in own().splitlines() if line.startswith("[[") and "." not in line]
    assert json.dumps(list(dict.fromkeys(heads))) == json.dumps(
        ["[[edge]]", "[[instrument]]", "[[rule]]", "[[contact]]", "[[route]]"]
    )
