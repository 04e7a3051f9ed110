"""Rules: what should not be so, of which channels, and how much it matters."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from devices.models import Channel, Edge, Instrument
from devices.readings import RUN_STATES


class RuleKind(models.TextChoices):
    """What a rule looks at. The last ones are of instruments, edges, contacts and sinks, not of channels."""

    HIGH = "high", _("above a limit")
    LOW = "low", _("below a limit")
    OUTSIDE = "outside", _("outside a range")
    EQUALS = "equals", _("is a value")
    DIFFERS = "differs", _("is not a value")
    RATE = "rate", _("changes too fast")
    STALE = "stale", _("stale or bad")
    EVENT = "event", _("an event")
    NO_PROGRESS = "no_progress", _("a run makes no progress")
    NOT_CONNECTED = "not_connected", _("instrument not connected")
    EDGE_SILENT = "edge_silent", _("edge silent")
    UNDELIVERED = "undelivered", _("a notice cannot be delivered")
    SINK_NOT_FED = "sink_not_fed", _("a sink is not fed")

    @property
    def is_of_values(self) -> bool:
        """Whether a reading's value decides."""
        return self in VALUE_KINDS


VALUE_KINDS = (
    RuleKind.HIGH,
    RuleKind.LOW,
    RuleKind.OUTSIDE,
    RuleKind.EQUALS,
    RuleKind.DIFFERS,
    RuleKind.RATE,
)


class Priority(models.IntegerChoices):
    """How much an alarm matters; 1 comes first."""

    CRITICAL = 1, _("critical")
    HIGH = 2, _("high")
    MEDIUM = 3, _("medium")
    LOW = 4, _("low")


class Rule(models.Model):
    """What is not to be: of one channel or of all that match, from which value, for how long.

    A rule is of one `channel`; or of one `instrument`; or of all with this `driver`, `edge` and `tag`, where
    each that is empty means any. `key` names the channels within them (* and ? are wildcards; empty: all).
    """

    name = models.CharField(_("name"), max_length=120, unique=True)
    kind = models.CharField(_("kind"), max_length=20, choices=RuleKind)
    enabled = models.BooleanField(_("enabled"), default=True)
    priority = models.SmallIntegerField(_("priority"), choices=Priority, default=Priority.MEDIUM)
    guidance = models.TextField(_("guidance"), blank=True, help_text=_("What to do when it is raised"))

    channel = models.ForeignKey(
        Channel, models.CASCADE, null=True, blank=True, related_name="rules", verbose_name=_("channel")
    )
    instrument = models.ForeignKey(
        Instrument, models.CASCADE, null=True, blank=True, related_name="rules", verbose_name=_("instrument")
    )
    driver = models.CharField(_("driver"), max_length=60, blank=True)
    key = models.CharField(_("channel key"), max_length=100, blank=True)
    tag = models.CharField(_("tag"), max_length=40, blank=True)
    edge = models.ForeignKey(
        Edge, models.CASCADE, null=True, blank=True, related_name="rules", verbose_name=_("edge")
    )

    low = models.FloatField(_("low limit"), null=True, blank=True)
    high = models.FloatField(
        _("high limit"), null=True, blank=True, help_text=_("Of a rate: in the channel's unit per minute")
    )
    value = models.CharField(
        _("value"), max_length=200, blank=True, help_text=_("A number, a text, true or false")
    )
    deadband = models.FloatField(
        _("dead-band"),
        default=0.0,
        validators=[MinValueValidator(0.0)],
        help_text=_("How far inside the limit it must come back before the alarm clears"),
    )
    seconds = models.FloatField(
        _("seconds"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1)],
        help_text=_(
            "Stale: after so long (empty: by the interval). No progress: for so long. Rate: measured over it"
        ),
    )
    event_kind = models.CharField(_("event kind"), max_length=60, blank=True)
    event_text = models.CharField(
        _("text within the event"), max_length=200, blank=True, help_text=_("Capitals do not matter")
    )
    on_delay = models.FloatField(_("on-delay, s"), default=0.0, validators=[MinValueValidator(0.0)])
    off_delay = models.FloatField(_("off-delay, s"), default=0.0, validators=[MinValueValidator(0.0)])
    latch = models.BooleanField(_("latch"), default=False, help_text=_("It stands until it is reset"))
    suppressed_by = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="suppresses",
        verbose_name=_("suppressed while this one stands"),
        help_text=_("An alarm of that rule at the same instrument, or at its edge"),
    )
    suppressed_in = ArrayField(
        models.CharField(max_length=20, choices=[(state, state) for state in RUN_STATES]),
        default=list,
        blank=True,
        verbose_name=_("suppressed while the instrument has a run that is"),
    )
    chatter_changes = models.PositiveSmallIntegerField(_("chatter: raised more than"), default=6)
    chatter_seconds = models.FloatField(_("times in, s"), default=600.0, validators=[MinValueValidator(1.0)])
    built_in = models.BooleanField(_("comes with Labsite"), default=False, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("rule")
        verbose_name_plural = _("rules")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(deadband__gte=0) & Q(on_delay__gte=0) & Q(off_delay__gte=0),
                name="no_negative_bands_and_delays",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Override(models.Model):
    """What of a rule is otherwise for one of its channels; empty: as the rule says."""

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="overrides", verbose_name=_("rule"))
    channel = models.ForeignKey(Channel, models.CASCADE, related_name="overrides", verbose_name=_("channel"))
    enabled = models.BooleanField(_("enabled"), default=True)
    low = models.FloatField(_("low limit"), null=True, blank=True)
    high = models.FloatField(_("high limit"), null=True, blank=True)
    value = models.CharField(_("value"), max_length=200, blank=True)
    deadband = models.FloatField(_("dead-band"), null=True, blank=True)
    seconds = models.FloatField(_("seconds"), null=True, blank=True)
    on_delay = models.FloatField(_("on-delay, s"), null=True, blank=True)
    off_delay = models.FloatField(_("off-delay, s"), null=True, blank=True)
    priority = models.SmallIntegerField(_("priority"), choices=Priority, null=True, blank=True)

    class Meta:
        verbose_name = _("override")
        verbose_name_plural = _("overrides")
        constraints = [
            models.UniqueConstraint(fields=["rule", "channel"], name="one_override_per_rule_and_channel")
        ]

    def __str__(self) -> str:
        return f"{self.rule} for {self.channel}"


class Revision(models.Model):
    """Changes with every change of rules, overrides and routes (a trigger does it, migration 0001): who has
    compiled them looks here whether they are still the same. One row."""

    number = models.BigIntegerField(default=0)

    class Meta:
        db_table = "alerts_revision"

    def __str__(self) -> str:
        return str(self.number)
