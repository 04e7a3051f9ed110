"""Labs as files: `apply` and `export`."""

import uuid

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from devices import drivers, lab_file, services
from devices.models import Edge, Instrument
from tests import factories

pytestmark = pytest.mark.django_db

LAB = """\
[[edge]]
name = "bench"

[[instrument]]
name = "Bath 1"
driver = "thermostat"
address = "tcp://192.168.1.26:23"

[[instrument]]
name = "Level"
driver = "probe"
edge = "bench"
interval = 0.5
address = "tcp://192.168.1.9:99"
in_service = false

[instrument.options]
mode = "slow"
gain = 2
"""


@pytest.fixture(autouse=True)
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(drivers.OWN, "probe", "tests.factories:Probe")


def applied(text: str, *, prune: bool = False, dry_run: bool = False) -> list[str]:
    """The changes that a lab's text makes, as lines of the diff."""
    lab = lab_file.parse(text, "lab.toml")
    changes = lab_file.apply(lab, by=services.OPERATOR, prune=prune, dry_run=dry_run)
    return [str(change).splitlines()[0] for change in changes]


def own() -> dict[str, Instrument]:
    """The instruments that are not the edges' own."""
    standing = Instrument.objects.filter(retired_at=None).exclude(driver=services.HOST_DRIVER)
    return {instrument.name: instrument for instrument in standing}


def fault(text: str) -> str:
    """What is said of a text that cannot be put in force."""
    before = sorted(Instrument.objects.values_list("id", "name", "revision", "retired_at"))
    with pytest.raises(lab_file.LabFileError) as refused:
        applied(text)
    assert sorted(Instrument.objects.values_list("id", "name", "revision", "retired_at")) == before
    return str(refused.value)


def test_a_file_is_put_in_force_and_the_second_time_changes_nothing() -> None:
    assert applied(LAB) == ["+ edge bench", "+ edge local", "+ instrument Bath 1", "+ instrument Level"]
    level = own()["Level"]
    assert (level.edge.name, level.interval, level.in_service) == ("bench", 0.5, False)
    assert level.options == {"mode": "slow", "gain": 2.0}
    assert own()["Bath 1"].edge.name == "local"
    assert applied(LAB) == []


def test_a_change_is_told_key_by_key() -> None:
    applied(LAB)
    lab = lab_file.parse(LAB.replace("0.5", "2").replace('"slow"', '"fast"'), "lab.toml")
    (change,) = lab_file.apply(lab, by=services.OPERATOR)
    assert str(change).splitlines() == [
        "~ instrument Level",
        "    interval: 0.5 → 2.0",
        '    options.mode: "slow" → "fast"',
    ]


def test_tags_are_told_as_a_list() -> None:
    tagged = LAB + '\n[[instrument]]\nname = "Bath 2"\ndriver = "thermostat"\n'
    tagged += f'address = "{factories.ADDRESS}"\ntags = ["room-214", "pcr", "pcr"]\n'
    applied(tagged)
    assert own()["Bath 2"].tags == ["room-214", "pcr"]
    assert applied(tagged) == []
    lab = lab_file.parse(tagged.replace('"pcr", "pcr"', '"ß"'), "lab.toml")
    (change,) = lab_file.apply(lab, by=services.OPERATOR)
    assert str(change).splitlines()[1:] == ['    tags: ["room-214", "pcr"] → ["room-214", "ß"]']
    assert 'tags = ["room-214", "ß"]' in lab_file.export()
    assert applied(lab_file.export()) == []


def test_what_the_file_leaves_out_stays() -> None:
    applied(LAB)
    factories.instrument("Other")
    bath = own()["Bath 1"]
    bath.interval, bath.in_service = 7.0, False
    services.save_instrument(bath, by=services.OPERATOR)
    assert applied(LAB) == []
    assert own()["Bath 1"].interval == 7.0
    assert "Other" in own()


def test_the_options_of_another_driver_do_not_stay() -> None:
    applied(LAB)
    moved = LAB.replace('driver = "probe"', 'driver = "thermostat"').split("[instrument.options]")[0]
    assert applied(moved) == ["~ instrument Level"]
    assert own()["Level"].options == {}


def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    told = applied(LAB, dry_run=True)
    assert not Edge.objects.exists()
    assert not Instrument.objects.exists()
    assert applied(LAB) == told


def test_pruning_retires_what_the_file_leaves_out() -> None:
    applied(LAB)
    factories.instrument("Other", edge=factories.edge("attic"))
    told = applied(LAB, prune=True)
    assert told == ["− instrument Other", "− edge attic"]
    assert Edge.objects.get(name="attic").retired_at is not None
    assert applied(LAB, prune=True) == []
    assert Instrument.objects.filter(driver=services.HOST_DRIVER, retired_at=None).count() == 2


def test_pruning_keeps_the_edge_of_an_instrument_that_the_file_names() -> None:
    applied(LAB)
    assert applied(LAB.replace('[[edge]]\nname = "bench"\n', ""), prune=True) == []


def test_the_first_own_instrument_retires_the_demo_lab() -> None:
    factories.instrument("Demo 1", demo=True)
    assert applied('[[edge]]\nname = "bench"') == ["+ edge bench"]
    assert "Demo 1" in own()
    assert "− instrument Demo 1" in applied(LAB)
    assert set(own()) == {"Bath 1", "Level"}


def test_a_demo_instrument_that_the_file_names_stays() -> None:
    factories.instrument("Demo 1", demo=True)
    factories.instrument("Mine")
    assert applied(lab_file.export()) == []
    assert set(own()) == {"Demo 1", "Mine"}


def test_export_and_apply_change_nothing() -> None:
    applied(LAB)
    text = lab_file.export()
    assert applied(text) == []
    assert applied(text, prune=True) == []


def test_an_exported_lab_comes_up_the_same_elsewhere() -> None:
    applied(LAB)
    text = lab_file.export()
    Instrument.objects.all().delete()
    Edge.objects.all().delete()
    applied(text)
    assert lab_file.export() == text


# No NUL and no half surrogate pairs: a database's text cannot hold them.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["fast", "slow"]),
        "note": TEXTS,
        "count": st.integers(1, 10),
        "gain": st.floats(min_value=-1e300, allow_nan=False, allow_infinity=False) | st.integers(-9, 10**30),
        "invert": st.booleans(),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=OPTIONS, name=st.text("ab \"'\\#=[]ß", min_size=1, max_size=20).filter(str.strip))
def test_any_option_survives_the_round_trip(options: dict[str, object], name: str) -> None:
    unique = f"{name}{uuid.uuid4()}"
    saved = factories.instrument(unique, driver="probe", options=options)
    text = lab_file.export()
    assert applied(text) == []
    lab = lab_file.parse(text, "lab.toml")
    (entry,) = [entry for entry in lab.of("instrument") if entry.name == unique]
    assert entry.table.get("options", {}) == saved.options
    Instrument.objects.filter(pk=saved.pk).delete()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[instrument]\n", "lab.toml:1: "),
        ("[[edge]]\nname = ", "lab.toml:2: "),
        ("[[edges]]\nname = 'a'", "'edges' is no table of a lab file; did you mean 'edge'?"),
        ("[edge]\nname = 'a'", "write each edge as a table [[edge]]"),
        ("[[edge]]\nname = 'Not So'", "lab.toml:2: edge 'Not So': name: An edge's name"),
        ("[[edge]]\nnmae = 'a'", "lab.toml:2: a nameless edge: unknown key 'nmae'; did you mean 'name'?"),
        ("[[edge]]\n", "lab.toml:1: a nameless edge: name is missing"),
        (LAB.replace("interval = 0.5", "intervall = 0.5"), "lab.toml:13: instrument 'Level': unknown key"),
        (
            LAB.replace("interval = 0.5", "interval = 0.05"),
            "lab.toml:13: instrument 'Level': interval is 0.05",
        ),
        (LAB.replace("interval = 0.5", "interval = nan"), "interval must be a number"),
        (LAB.replace("interval = 0.5", "interval = '1'"), "interval must be a number"),
        (LAB.replace("= false", "= 0"), "lab.toml:15: instrument 'Level': in_service must be true or false"),
        (LAB.replace('edge = "bench"', 'edge = "bensh"'), "there is no edge 'bensh'; did you mean 'bench'?"),
        (LAB.replace('"probe"', '"prob"'), "lab.toml:11: instrument 'Level': there is no driver 'prob'; did"),
        (
            LAB.replace("mode =", "mod ="),
            "lab.toml:18: instrument 'Level': Probe has no option 'mod'; did you",
        ),
        (LAB.replace('"slow"', '"slw"'), "lab.toml:18: instrument 'Level': option mode: 'slw' is none of"),
        (LAB.replace("gain = 2", "gain = inf"), "lab.toml:19: instrument 'Level': option gain: inf is not"),
        (LAB.replace("tcp://192.168.1.9:99", "nowhere"), "lab.toml:14: instrument 'Level': address"),
        (
            LAB.replace("Level", "Bath 1"),
            "lab.toml:10: instrument 'Bath 1': the name stands in line 5 already",
        ),
        (LAB.replace('"Level"', f'"{"x" * 81}"'), "lab.toml:10:"),
        (
            LAB.replace("in_service = false", "tags = ['a', 1]"),
            "lab.toml:15: instrument 'Level': tags must be a",
        ),
        (LAB.replace("in_service = false", "tags = ['a b']"), "lab.toml:15: instrument 'Level': tags: "),
        ("instrument = [{name = 'a'}]", "lab.toml: instrument 'a': driver is missing"),
    ],
)
def test_an_error_names_the_place_and_changes_nothing(text: str, said: str) -> None:
    assert said in fault(text)


def test_all_faults_of_a_file_are_told_at_once() -> None:
    said = fault(LAB.replace("= false", "= 0").replace("interval = 0.5", "intervall = 0.5"))
    assert len(said.splitlines()) == 2


def test_a_header_in_a_long_string_is_no_header() -> None:
    text = LAB + 'note = """\n[[instrument]]\nname = 1\n"""\n\n[[edge]]\nnmae = "a"\n'
    assert "lab.toml:26: a nameless edge: unknown key 'nmae'" in fault(text)


def test_an_error_late_in_the_file_takes_back_what_came_before() -> None:
    assert "192.168.1.9" in fault(LAB.replace("tcp://192.168.1.9:99", "carrier-pigeon://192.168.1.9"))
    assert not Edge.objects.exists()


PARTS = """
[[instrument]]
name = "Level"
driver = "probe"
address = "tcp://192.168.1.9:99"

[instrument.options]
word = { secret = "LEVEL_1" }
count = 4

[[instrument.options.parts]]
key = "a"
name = "not the instrument's"

[[instrument.options.parts]]
key = "b"
limits = [1, 2.5]
more = { deep = true }
"""


def test_lists_and_secrets_are_written_as_tables() -> None:
    applied(PARTS)
    options = own()["Level"].options
    assert options["word"] == {"secret": "LEVEL_1"}
    assert options["parts"] == [
        {"key": "a", "name": "not the instrument's"},
        {"key": "b", "limits": [1, 2.5], "more": {"deep": True}},
    ]
    assert applied(PARTS) == []
    exported = lab_file.export()
    assert 'word = {secret = "LEVEL_1"}' in exported
    assert exported.count("[[instrument.options.parts]]") == 2
    assert applied(exported) == []


def test_a_change_of_a_list_is_told_item_by_item() -> None:
    applied(PARTS)
    text = PARTS.replace("2.5", "3.5").replace('key = "a"', 'key = "c"')
    (change,) = lab_file.apply(lab_file.parse(text, "lab.toml"), by=services.OPERATOR)
    parts = str(change).splitlines()[2].split("→")
    assert "limits = [1, 2.5]" in parts[0]
    assert parts[1] == ' { key = "b", limits = [1, 3.5], more = { deep = true } }'
    assert [line.split(":")[0] for line in str(change).splitlines()[1:]] == [
        "    options.parts[a]",
        "    options.parts[b]",
        "    options.parts[c]",
    ]
    assert str(change).endswith('[c]: – → { key = "c", name = "not the instrument\'s" }')
    first, second = text.split("[[instrument.options.parts]]")[1:]
    turned = text.replace(first, "@").replace(second, first).replace("@", second + "\n")
    (change,) = lab_file.apply(lab_file.parse(turned, "lab.toml"), by=services.OPERATOR)
    assert str(change).splitlines()[1:] == ["    the same items in another order"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            'key = "b"',
            'kee = "b"',
            "lab.toml:11: instrument 'Level': options: option parts: item 2 has no key",
        ),
        ('"LEVEL_1"', '"level 1"', "lab.toml:8: instrument 'Level': option word is a secret"),
        ('{ secret = "LEVEL_1" }', '"hunter2"', "lab.toml:8: instrument 'Level': option word is a secret"),
        (
            "limits = [1, 2.5]",
            "limits = 1979-05-27",
            "lab.toml:11: instrument 'Level': option parts: not JSON",
        ),
        ('key = "a"', "key = nan", "lab.toml:11: instrument 'Level': option parts: not JSON"),
    ],
)
def test_what_is_wrong_in_a_list_or_a_secret_is_told_with_its_place(
    before: str, after: str, said: str
) -> None:
    with pytest.raises(lab_file.LabFileError) as refused:
        applied(PARTS.replace(before, after))
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_nulls_of_a_form_are_left_out_of_a_file() -> None:
    options = {"parts": [{"key": "a", "low": None, "more": [None, 1]}]}
    factories.instrument("Level", driver="probe", options=options)
    exported = lab_file.export()
    assert "low" not in exported
    assert lab_file.parse(exported, "x").of("instrument")[0].table["options"] == {
        "parts": [{"key": "a", "more": [1]}]
    }
