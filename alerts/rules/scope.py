"""Which rules are of a channel, as people ask it; judging has alerts.judging.rulebook for all at once."""

from alerts.judging.rulebook import OF_CHANNELS, Place, watches_channel, watches_instrument
from alerts.models import Rule
from devices.models import Channel


def watches(rule: Rule, channel: Channel) -> bool:
    """Whether a rule is of this channel; its switch and its overrides left aside."""
    if rule.kind not in OF_CHANNELS or channel.kind == "vector":
        return False
    place = Place(
        channel.pk,
        channel.instrument_id,
        channel.key,
        channel.label,
        channel.unit,
        channel.kind,
        channel.digits,
    )
    return watches_instrument(rule, channel.instrument) and watches_channel(rule, place)


def rules_of(channel: Channel) -> list[Rule]:
    """The rules that are of a channel."""
    return [rule for rule in Rule.objects.all() if watches(rule, channel)]
