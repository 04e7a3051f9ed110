"""Rules and their overrides in a lab file."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django.db.models import Q, QuerySet

from alerts.lab_file.rows import PRIORITIES, Draft, Rows, named, word_faults
from alerts.models import Override, Priority, Rule, RuleKind
from alerts.rules import editing, kinds
from devices.lab_file import Change, Entry, Kind, LabFileError
from devices.lab_file.tables import suggestion
from devices.models import Channel, Edge, Instrument
from devices.readings import RUN_STATES
from devices.services import Person

VALUE = (str, bool, float)
LIMITS: dict[str, Any] = {
    "low": float,
    "high": float,
    "value": VALUE,
    "deadband": float,
    "seconds": float,
    "on_delay": float,
    "off_delay": float,
}
OVERRIDE = Kind(
    "override",
    {"channel": str, "enabled": bool, **LIMITS, "priority": str},
    required=("channel",),
)
KEYS: dict[str, Any] = {
    "name": str,
    "kind": str,
    "enabled": bool,
    "priority": str,
    "channel": str,
    "instrument": str,
    "driver": str,
    "key": str,
    "tag": str,
    "edge": str,
    **LIMITS,
    "event_kind": str,
    "event_text": str,
    "latch": bool,
    "suppressed_by": str,
    "suppressed_in": list[str],
    "chatter_changes": int,
    "chatter_seconds": float,
    "guidance": str,
    "override": list[dict[str, Any]],
}
PLAIN = (
    "kind", "enabled", "driver", "key", "tag", *LIMITS, "event_kind", "event_text", "latch", "suppressed_in",
    "chatter_changes", "chatter_seconds", "guidance",
)  # fmt: skip


def _faults(entry: Entry) -> Iterable[str]:
    yield from word_faults(entry, "kind", RuleKind.values)
    yield from word_faults(entry, "priority", PRIORITIES)
    yield from word_faults(entry, "suppressed_in", RUN_STATES)
    overrides = entry.table.get("override")
    for number, each in enumerate(overrides if isinstance(overrides, list) else (), start=1):
        if isinstance(each, dict):
            yield from word_faults(entry, "priority", PRIORITIES, f"override[{number}].", each)


class Rules(Rows[Rule, Override]):
    kind = Kind("rule", KEYS, items={"override": OVERRIDE}, faults=_faults)
    other = "suppressed_by"
    fields: ClassVar = {"overrides": "override"}

    def rows(self) -> QuerySet[Rule]:
        return Rule.objects.select_related("channel__instrument", "instrument", "edge")

    def drafts(self, rows: Iterable[Rule]) -> Iterable[Draft[Rule, Override]]:
        by_id = {rule.pk: rule for rule in rows}
        drafts = {rule.pk: Draft[Rule, Override](rule, []) for rule in rows}
        for rule in rows:  # the same objects throughout: a change of one is seen from the others
            rule.suppressed_by = by_id.get(rule.suppressed_by_id or 0)
        for override in Override.objects.filter(rule__in=by_id).select_related("channel__instrument"):
            drafts[override.rule_id].parts.append(override)
        return drafts.values()

    def new(self, entry: Entry) -> Draft[Rule, Override]:
        if "kind" not in entry.table:
            raise LabFileError(entry.error("kind is missing"))
        return Draft(Rule(name=entry.name), [])

    def take(
        self, entry: Entry, draft: Draft[Rule, Override], known: Mapping[str, Draft[Rule, Override]]
    ) -> None:
        rule, table = draft.row, entry.table
        if table.get("kind", rule.kind) != rule.kind:
            _forget(rule, (*kinds.BY_KIND, "deadband"))  # limits of another kind do not stay
        if any(key in table for key in kinds.SCOPE):
            _forget(rule, kinds.SCOPE)  # what it is of is said as a whole
        for key in PLAIN:
            if key in table:
                setattr(rule, key, _taken(key, table[key]))
        if "priority" in table:
            rule.priority = PRIORITIES[table["priority"]]
        _take_scope(entry, rule)
        if "suppressed_by" in table:
            rule.suppressed_by = named(entry, "suppressed_by", known)
        if "override" in table:
            draft.parts_given = True
            draft.parts = [
                _override(entry, number, each) for number, each in enumerate(table["override"], start=1)
            ]

    def shown(self, draft: Draft[Rule, Override]) -> dict[str, Any]:
        rule = draft.row
        shown = {key: getattr(rule, key) for key in PLAIN} | {
            "priority": word(rule.priority),
            "channel": rule.channel and path_of(rule.channel),
            "instrument": rule.instrument and rule.instrument.name,
            "edge": rule.edge and rule.edge.name,
            "suppressed_by": rule.suppressed_by and rule.suppressed_by.name,
            "override": _shown_overrides(draft.parts),
        }
        return {key: shown[key] for key in KEYS if shown.get(key) is not None}

    def written(self, draft: Draft[Rule, Override]) -> dict[str, Any]:
        """Those that come with Labsite are there elsewhere, too: what is usual in others is said of them."""
        if not draft.row.built_in:
            return super().written(draft)
        kind = draft.row.kind
        shown: dict[str, Any] = {"seconds": 0.0, "edge": "", "suppressed_by": "", **self.shown(draft)}
        scope = [key for key in kinds.SCOPE if shown.get(key)] or ["edge"]  # one key of it says all of it
        silent = {key for key in (*kinds.BY_KIND, "deadband") if not kinds.takes(kind, key)}
        silent |= set(kinds.SCOPE) - (set(scope) & set(kinds.SCOPES.get(kind, kinds.SCOPE)))
        return {key: shown[key] for key in KEYS if key in shown and key not in silent}

    def save(self, draft: Draft[Rule, Override], by: Person) -> None:
        editing.save_rule(draft.row, by, draft.parts if draft.parts_given else None)

    def is_writable(self, draft: Draft[Rule, Override]) -> bool:
        """Not one that is only of what is retired."""
        rule = draft.row
        instrument = rule.channel.instrument if rule.channel else rule.instrument
        return not (instrument and instrument.retired_at) and not (rule.edge and rule.edge.retired_at)

    def drop(self, draft: Draft[Rule, Override], by: Person) -> Change | None:
        """With its alarms their journal would go: where there is one, the rule is only switched off."""
        rule = draft.row
        if rule.built_in or not self.is_writable(draft):
            return None
        if not rule.alarms.exists():
            editing.delete_rule(rule, by)
            return Change("−", "rule", rule.name)
        if not rule.enabled:
            return None
        editing.set_enabled(rule, by, on=False)
        return Change("~", "rule", rule.name, ("enabled: true → false", "it stays for its alarms' journal"))


def _forget(rule: Rule, names: Iterable[str]) -> None:
    usual = Rule()
    for name in names:
        setattr(rule, name, getattr(usual, name))


def _taken(key: str, value: Any) -> Any:
    if key == "value":
        return value_text(value)
    if key == "seconds":
        return float(value) or None  # 0 takes it back
    return float(value) if KEYS[key] is float else value


def value_text(value: str | float) -> str:
    """What a rule compares with, as it is stored: a text, a number, true or false."""
    return value if isinstance(value, str) else str(value).lower()


def word(priority: int) -> str:
    return Priority(priority).name.lower()


# ---- what a rule is of


def _take_scope(entry: Entry, rule: Rule) -> None:
    table = entry.table
    if table.get("channel"):
        rule.channel = channel_at(entry, table["channel"], "channel")
    if table.get("instrument"):
        standing = Instrument.objects.filter(retired_at=None)
        found = standing.filter(name=table["instrument"]).first()
        if found is None:
            raise _no("instrument", table["instrument"], standing.values_list("name", flat=True), entry)
        rule.instrument = found
    if table.get("edge"):
        edges = Edge.objects.filter(retired_at=None)
        edge = edges.filter(name=table["edge"]).first()
        if edge is None:
            raise _no("edge", table["edge"], edges.values_list("name", flat=True), entry)
        rule.edge = edge


def _no(what: str, name: str, there: Iterable[str], entry: Entry) -> LabFileError:
    return LabFileError(entry.error(f"there is no {what} {name!r}{suggestion(name, there)}", what))


def path_of(channel: Channel) -> str:
    return f"{channel.instrument.name}/{channel.key}"


def channel_at(entry: Entry, path: str, place: str) -> Channel:
    """The channel at `instrument/key`; both may hold slashes. Raises LabFileError."""
    parts = path.split("/")
    ways = [("/".join(parts[:at]), "/".join(parts[at:])) for at in range(1, len(parts))]
    if not ways:
        raise LabFileError(entry.error(f"{path!r} is no channel: write “Instrument/key”", place))
    standing = Channel.objects.filter(instrument__retired_at=None).select_related("instrument")
    wanted = Q()
    for name, key in ways:
        wanted |= Q(instrument__name=name, key=key)
    found = list(standing.filter(wanted)[:2])
    if len(found) == 1:
        return found[0]
    raise LabFileError(entry.error(_why_none(path, ways, several=bool(found)), place))


def _why_none(path: str, ways: list[tuple[str, str]], *, several: bool) -> str:
    if several:
        return f"{path!r} may be two channels: name one by instrument and key"
    for name, key in ways:
        instrument = Instrument.objects.filter(name=name, retired_at=None).first()
        if instrument:
            keys = instrument.channels.values_list("key", flat=True)
            more = "; one that is yet to come is named by instrument and key"
            return f"{name!r} has no channel {key!r}{suggestion(key, keys)}{more}"
    names = Instrument.objects.filter(retired_at=None).values_list("name", flat=True)
    return f"there is no instrument {ways[0][0]!r}{suggestion(ways[0][0], names)}"


# ---- overrides


def _override(entry: Entry, number: int, table: Mapping[str, Any]) -> Override:
    override = Override(channel=channel_at(entry, table["channel"], f"override[{number}].channel"))
    for key in ("enabled", *LIMITS):
        if key in table:
            value = table[key]
            setattr(override, key, value_text(value) if key == "value" else value)
            if LIMITS.get(key) is float:
                setattr(override, key, float(value))
    if "priority" in table:
        override.priority = PRIORITIES[table["priority"]]
    return override


def _shown_overrides(overrides: Iterable[Override]) -> list[dict[str, Any]] | None:
    """In the order of their channels; those of retired instruments left out."""
    tables = []
    for override in overrides:
        if override.channel.instrument.retired_at is None:
            table: dict[str, Any] = {"channel": path_of(override.channel)}
            table |= {} if override.enabled else {"enabled": False}
            given = {key: getattr(override, key) for key in LIMITS}
            table |= {key: value for key, value in given.items() if value not in (None, "")}
            table |= {"priority": word(override.priority)} if override.priority else {}
            tables.append(table)
    return sorted(tables, key=lambda table: table["channel"]) or None
