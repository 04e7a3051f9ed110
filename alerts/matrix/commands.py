"""The commands of the bot: their words, what they need, and what they answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from django.contrib.auth.models import User

from alerts import services
from alerts.lifecycle import ASIDE, STANDING, UNACKNOWLEDGED, State
from alerts.matrix import asking, parsing
from alerts.matrix.asking import Picture
from alerts.matrix.content import Answer, first
from alerts.models import Alarm, MatrixRoom, Source
from alerts.notices import words
from devices import numbers
from devices.errors import Refused

CONTROL = "devices.change_instrument"
CONTROL_IS_OFF = "control is off in this version of Labsite: nothing was sent"
MUTED = timedelta(hours=1)
SHOWN = 20  # lines of a list
AT_ONCE = 200  # alarms of one message that are acknowledged or shelved by one word


@dataclass(frozen=True)
class Asked:
    """Who asks, in which room, about which alarms if it is about a message of ours."""

    user: User
    matrix_id: str
    room: MatrixRoom
    event_id: str
    alarms: Sequence[Alarm]
    now: datetime


@dataclass(frozen=True)
class Entry:
    """One command."""

    run: Callable[[Asked, str], Answer]
    form: str
    help: str
    controls: bool = field(default=False, kw_only=True)


def run(asked: Asked, command: parsing.Command) -> Answer:
    """The answer to a command. Raises Refused and PermissionDenied in words for the person."""
    entry = COMMANDS.get(command.name)
    if entry is None:
        return Answer.of(f"Unknown command: !{command.name}", ["!help tells what there is"])
    if entry.controls:
        if not asked.room.allow_control:
            raise Refused("instruments are not controlled from this room")
        services.require(asked.user, CONTROL)
    return entry.run(asked, command.rest)


# ---- asking


def status(asked: Asked, rest: str) -> Answer:
    return asking.status_of(rest, asked.now) if rest else asking.status(asked.now)


def latest(asked: Asked, rest: str) -> Answer:
    return asking.latest(rest, asked.now)


def plot(asked: Asked, rest: str) -> Picture:
    return asking.plot(rest, asked.now)


def alarms(asked: Asked, rest: str) -> Answer:  # noqa: ARG001
    standing = Alarm.objects.standing()
    lines = [line_of(alarm, asked.now) for alarm in standing]
    if not lines:
        return Answer("No alarm stands.")
    title = "One alarm stands:" if len(lines) == 1 else f"{len(lines)} alarms stand:"
    return Answer.of(title, first(lines, SHOWN))


def line_of(alarm: Alarm, now: datetime) -> str:
    """`#17 ▲ 2 high · UPS rack A input voltage below 180 V: unacknowledged, raised 3 min ago`."""
    raised = f", raised {numbers.age(alarm.raised_at, now)}" if alarm.raised_at else ""
    return f"#{alarm.pk} {words.headline(alarm)}: {State(alarm.state).label}{raised}"


def who(asked: Asked, rest: str) -> Answer:  # noqa: ARG001
    """Who may do what here, and who the asker is to Labsite."""
    may = {
        "acknowledge alarms": services.may(asked.user, services.ACKNOWLEDGE),
        "shelve alarms": services.may(asked.user, services.SHELVE),
        "control instruments": services.may(asked.user, CONTROL) and asked.room.allow_control,
    }
    rights = [f"you may {'' if allowed else 'not '}{what}" for what, allowed in may.items()]
    room = "commands and control" if asked.room.allow_control else "commands, not for control"
    people = "those whose Matrix id is entered in Labsite, each by their own rights"
    return Answer.of(
        f"{asked.matrix_id} is {asked.user.get_username()} to Labsite.",
        [*rights, f"this room is open for {room}, to {people}"],
    )


def help_(asked: Asked, rest: str) -> Answer:  # noqa: ARG001
    name = rest.removeprefix("!").lower()
    if not name:
        return Answer.of(
            "Commands:", [f"{entry.form} – {entry.help.split('. ')[0]}" for entry in COMMANDS.values()]
        )
    if name not in COMMANDS:
        return Answer.of(f"Unknown command: !{name}")
    return Answer.of(COMMANDS[name].form, [COMMANDS[name].help])


# ---- acknowledging and shelving


def acknowledge(asked: Asked, rest: str) -> Answer:
    alarm, comment = one_alarm(asked, rest, "!ack <alarm> [comment], such as !ack 17")
    services.acknowledge(alarm, asked.user, Source.MATRIX, comment)
    return Answer.of(f"acknowledged: {alarm.text}")


def shelve(asked: Asked, rest: str) -> Answer:
    form = "!shelve <alarm> <time> <reason>, such as !shelve 17 2h cable is being replaced"
    alarm, more = one_alarm(asked, rest, form)
    found = parsing.time_in(more)
    if found is None:
        raise Refused(f"for how long? {form}")
    until, reason = asked.now + found[0], found[1].strip()
    services.shelve(alarm, asked.user, Source.MATRIX, until, reason)
    return Answer.of(f"shelved until {until:%Y-%m-%d %H:%M} UTC: {alarm.text}")


def unshelve(asked: Asked, rest: str) -> Answer:
    alarm, _rest = one_alarm(asked, rest, "!unshelve <alarm>, such as !unshelve 17")
    services.unshelve(alarm, asked.user, Source.MATRIX)
    return Answer.of(f"unshelved: {alarm.text}")


def one_alarm(asked: Asked, rest: str, form: str) -> tuple[Alarm, str]:
    """The alarm that a command names by its number, or that of the message it answers."""
    named = parsing.number_in(rest)
    if named is None:
        if len(asked.alarms) == 1:
            return asked.alarms[0], rest
        raise Refused(f"which alarm? {form}")
    alarm = Alarm.objects.filter(pk=named[0]).first()
    if alarm is None:
        raise Refused(f"there is no alarm {named[0]}; !alarms lists those that stand")
    return alarm, named[1]


def acknowledge_shown(asked: Asked, comment: str) -> Answer:
    """All alarms of the message that was answered, as far as there is something to acknowledge."""
    services.require(asked.user, services.ACKNOWLEDGE)
    if not asked.alarms:
        raise Refused("which alarm? Answer the alarm's own message, or name it: !ack 17")
    waiting = [alarm for alarm in asked.alarms if alarm.state in UNACKNOWLEDGED]
    if not waiting:
        raise Refused("there is nothing to acknowledge any more")
    act = partial(services.acknowledge, by=asked.user, source=Source.MATRIX, comment=comment)
    return _each("acknowledged", waiting, act)


def shelve_shown(asked: Asked) -> Answer:
    """All alarms of the message, for an hour."""
    services.require(asked.user, services.SHELVE)
    standing = [alarm for alarm in asked.alarms if alarm.state in STANDING or alarm.state in ASIDE]
    if not standing:
        raise Refused("none of its alarms stands any more")
    until = asked.now + MUTED
    act = partial(services.shelve, by=asked.user, source=Source.MATRIX, until=until, reason="muted in Matrix")
    return _each(f"shelved until {until:%H:%M} UTC", standing, act)


def _each(done: str, alarms: Sequence[Alarm], act: Callable[[Alarm], object]) -> Answer:
    """Do it to each; one that somebody else was faster with does not hold up the others."""
    if len(alarms) > AT_ONCE:
        raise Refused(f"these are {len(alarms)} alarms, and at most {AT_ONCE} at once: use the page")
    lines = []
    for alarm in sorted(alarms, key=lambda alarm: alarm.edge_id or 0):  # turns are taken in one order
        try:
            act(alarm)
            lines.append(f"{done}: {alarm.text}")
        except Refused as error:
            lines.append(str(error))
    return Answer.of(lines[0]) if len(lines) == 1 else Answer.of(f"{len(lines)} alarms:", first(lines, SHOWN))


# ---- controlling


def machine_command(asked: Asked, rest: str) -> Answer:  # noqa: ARG001
    _instrument, command = asking.instrument_in(rest)
    if not command:
        raise Refused("which command? !command <machine> <command>")
    raise Refused(CONTROL_IS_OFF)


def machine_action(asked: Asked, rest: str) -> Answer:  # noqa: ARG001
    _instrument, more = asking.instrument_in(rest)
    if more:
        raise Refused(f"Machine {rest} not found")
    raise Refused(CONTROL_IS_OFF)


COMMANDS: dict[str, Entry] = {
    "status": Entry(status, "!status [machine]", "how all instruments are doing, or one of them in full."),
    "latest": Entry(latest, "!latest <instrument>", "its newest readings, each with its age."),
    "plot": Entry(
        plot,
        "!plot <channel> [hours]",
        "a picture of a channel, named by its instrument and itself: !plot UPS rack A input voltage 24.",
    ),
    "alarms": Entry(alarms, "!alarms", "the alarms that stand, with their numbers."),
    "ack": Entry(
        acknowledge,
        "!ack <alarm> [comment]",
        "acknowledges an alarm by its number. Or answer its message with “ack”, or react to it with 👍.",
    ),
    "shelve": Entry(
        shelve,
        "!shelve <alarm> <time> <reason>",
        "puts an alarm aside for 30m, 2h or 1d. Or react to its message with 🔕, for an hour.",
    ),
    "unshelve": Entry(unshelve, "!unshelve <alarm>", "takes it back."),
    "who": Entry(who, "!who", "who you are to Labsite, and what may be done here."),
    "command": Entry(
        machine_command,
        "!command <machine> <command>",
        "sends a machine a command in its own words.",
        controls=True,
    ),
    "open": Entry(machine_action, "!open <machine>", "opens the drawer.", controls=True),
    "close": Entry(
        machine_action, "!close <machine>", "closes the drawer and lowers the cover.", controls=True
    ),
    "abort": Entry(machine_action, "!abort <machine>", "aborts the run at once.", controls=True),
    "stop": Entry(machine_action, "!stop <machine>", "stops the run in order.", controls=True),
    "help": Entry(help_, "!help [command]", "this list, or more about one command."),
}
