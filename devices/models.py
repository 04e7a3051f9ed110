"""What there is: edges, the instruments on them, their channels, and each channel's latest reading."""

import uuid
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from knox.models import AbstractAuthToken

from devices.readings import RUN_ENDED

LOCAL_EDGE = "local"  # the one-machine edge
PUSH_EDGE = "(pushed)"  # that of instruments which push their readings: no machine, a name none can have
INTERVAL_MIN = 0.1
INTERVAL_MAX = 86_400.0

edge_name = RegexValidator(
    r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", _("An edge's name: letters a–z, digits and hyphens, at most 40.")
)

tag = RegexValidator(r"^[\w.-]{1,40}$", _("A tag: letters, digits, -, . and _, at most 40."))


class Edge(models.Model):
    """A machine beside instruments, on which one edge worker polls them."""

    name = models.CharField(_("name"), max_length=40, unique=True, validators=[edge_name])
    key_version = models.PositiveSmallIntegerField(_("key version"), default=1)
    key_heard = models.PositiveSmallIntegerField(default=1, editable=False)  # the newest it signed with
    revision = models.BigIntegerField(_("revision"), default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True, editable=False)

    # What the edge last said of itself.
    instance = models.UUIDField(null=True, editable=False)
    boot = models.CharField(max_length=40, default="", editable=False)
    spool = models.UUIDField(null=True, editable=False)
    heard_at = models.DateTimeField(_("heard"), null=True, editable=False)
    status = models.JSONField(default=dict, editable=False)

    class Meta:
        verbose_name = _("edge")
        verbose_name_plural = _("edges")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def queue(self) -> str:
        """The broker queue this edge reads."""
        return f"edge.{self.name}"


class Instrument(models.Model):
    """One device that is polled: by which driver, at what address, how often, from which edge.

    A trigger in the database counts `revision` and the edge's own revision up at each change that the edge
    must hear of, whoever makes it, notes the time, and tells beat (migration `devices/0006_tags`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True)
    driver = models.CharField(_("driver"), max_length=60)
    edge = models.ForeignKey(Edge, models.PROTECT, related_name="instruments", verbose_name=_("edge"))
    address = models.CharField(
        _("address"), max_length=300, help_text=_("A URL, such as tcp://192.168.1.26:23")
    )
    options = models.JSONField(_("options"), default=dict, blank=True)
    interval = models.FloatField(
        _("interval"),
        default=1.0,
        validators=[MinValueValidator(INTERVAL_MIN), MaxValueValidator(INTERVAL_MAX)],
        help_text=_("Seconds between polls, from 0.1 to 86400"),
    )
    in_service = models.BooleanField(
        _("in service"), default=True, help_text=_("Polled; without the mark it is left alone")
    )
    tags = ArrayField(
        models.CharField(max_length=40, validators=[tag]),
        default=list,
        blank=True,
        verbose_name=_("tags"),
        help_text=_("Words by which rules and routes choose instruments, such as a room or a project"),
    )
    demo = models.BooleanField(_("demo"), default=False, editable=False)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True, editable=False)
    revision = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    ordered_at = models.DateTimeField(default=timezone.now, editable=False)  # since when it is as it is

    class Meta:
        verbose_name = _("instrument")
        verbose_name_plural = _("instruments")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(interval__gte=INTERVAL_MIN, interval__lte=INTERVAL_MAX),
                name="interval_from_tenth_of_a_second_to_a_day",
            ),
        ]
        indexes = [
            models.Index(
                fields=["edge", "id"],
                condition=models.Q(in_service=True, retired_at=None),
                name="standing_orders",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Assignment(models.Model):
    """From when to when an instrument was this edge's; readings of other times are refused."""

    instrument = models.ForeignKey(Instrument, models.CASCADE, related_name="assignments")
    edge = models.ForeignKey(Edge, models.PROTECT, related_name="assignments")
    since = models.DateTimeField()
    until = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instrument"], condition=models.Q(until=None), name="one_edge_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} at {self.edge_id} from {self.since}"


class Cadence(models.Model):
    """How an instrument was to be polled from a time on; a trigger notes each change (migration 0007)."""

    instrument = models.ForeignKey(Instrument, models.CASCADE, db_index=False, related_name="cadences")
    edge = models.ForeignKey(Edge, models.CASCADE, db_index=False, related_name="+")
    since = models.DateTimeField()
    interval = models.FloatField()
    in_service = models.BooleanField()  # and not retired
    polled = models.BooleanField()  # by an edge; else it pushes, and nothing is ever due

    class Meta:
        ordering = ["instrument", "since"]
        constraints = [models.UniqueConstraint(fields=["instrument", "since"], name="one_cadence_per_time")]

    def __str__(self) -> str:
        return f"{self.instrument_id} every {self.interval:g} s from {self.since}"


class Channel(models.Model):
    """One quantity an instrument reports. Its number is what a sample carries."""

    class Retention(models.TextChoices):
        """How long raw readings are kept (telemetry.families); roll-ups of all channels are kept alike."""

        STANDARD = "standard", _("standard")
        DEMO = "demo", _("demo")
        LONG = "long", _("long")

    id = models.AutoField(primary_key=True)
    instrument = models.ForeignKey(
        Instrument, models.CASCADE, related_name="channels", verbose_name=_("instrument")
    )
    key = models.CharField(_("key"), max_length=100)
    label = models.CharField(_("label"), max_length=120)
    unit = models.CharField(_("unit"), max_length=30, blank=True)
    kind = models.CharField(_("kind"), max_length=10, default="float")
    low = models.FloatField(_("normal from"), null=True, blank=True)
    high = models.FloatField(_("normal to"), null=True, blank=True)
    digits = models.SmallIntegerField(_("decimal places"), null=True, blank=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    retention = models.CharField(
        _("retention class"),
        max_length=20,
        choices=Retention.choices,
        default=Retention.STANDARD,
        help_text=_("How long its single readings are kept; a change holds for those that come from now on"),
    )

    class Meta:
        verbose_name = _("channel")
        verbose_name_plural = _("channels")
        ordering = ["instrument", "position", "id"]
        constraints = [
            models.UniqueConstraint(fields=["instrument", "key"], name="one_channel_per_instrument_and_key")
        ]

    def __str__(self) -> str:
        return f"{self.instrument} {self.label}"


class Latest(models.Model):
    """The newest reading of a channel, by order of arrival: the instrument's present state.

    When it cannot be read, its last value stays here with its time and is bad.
    """

    channel = models.OneToOneField(Channel, models.CASCADE, primary_key=True, related_name="latest")
    time = models.DateTimeField()
    value = models.FloatField(null=True)
    quality = models.SmallIntegerField(default=0)
    text = models.TextField(null=True)  # noqa: DJ001 - absent is not the same as empty
    seen_at = models.DateTimeField()  # the last poll that was answered, also when nothing had changed
    stored_at = models.DateTimeField()  # by the centre's clock

    class Meta:
        verbose_name = _("latest reading")
        verbose_name_plural = _("latest readings")

    def __str__(self) -> str:
        return f"{self.channel_id}: {self.value}"


class Run(models.Model):
    """A run of an instrument (a qPCR run, a calibration), as the latest word on it says."""

    instrument = models.ForeignKey(
        Instrument, models.CASCADE, db_index=False, related_name="runs", verbose_name=_("instrument")
    )
    key = models.CharField(_("key"), max_length=200)  # the instrument's own name of it
    kind = models.CharField(_("kind"), max_length=60)
    title = models.CharField(_("title"), max_length=300, blank=True)
    state = models.CharField(_("state"), max_length=20)  # one of devices.readings.RUN_STATES
    progress = models.FloatField(_("progress"), null=True)  # 0 to 1
    start = models.DateTimeField(_("from"), null=True)
    end = models.DateTimeField(_("to"), null=True)
    fields = models.JSONField(_("fields"), default=dict)
    told_at = models.DateTimeField(_("as of"))
    flags = models.SmallIntegerField(default=0)  # devices.readings.Flag, of the times

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["instrument", "key"], name="one_run_per_instrument_and_key")
        ]

    def __str__(self) -> str:
        return self.title or self.key

    @property
    def over_at(self) -> datetime | None:
        """When it had ended, as far as that is known; None while it goes on."""
        return self.end or (self.told_at if self.state in RUN_ENDED else None)


class Trial(models.Model):
    """A test of a connection: one poll that a person asked for, and what came of it; forgotten in an hour."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    edge = models.ForeignKey(Edge, models.CASCADE, related_name="+", db_index=False)
    instrument = models.UUIDField()  # which may not be saved yet
    asked_at = models.DateTimeField(db_index=True)
    tried = models.JSONField(null=True)  # the edge's answer, a wire.Tried

    def __str__(self) -> str:
        return f"{self.instrument} at {self.asked_at}"


class Heartbeat(models.Model):
    """The last word of a process of the centre."""

    process = models.CharField(max_length=60, primary_key=True)
    at = models.DateTimeField()
    fields = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.process} {self.at}"


class AccessToken(AbstractAuthToken):
    """A bearer token, stored hashed. An empty scope: all that its user may do."""

    class Scope(models.TextChoices):
        READ = "read"
        PUSH = "push"
        WRITE = "write"

    scope = models.CharField(_("scope"), max_length=10, blank=True, default="")
    # By id, so that a token does not come to mean all instruments when the last of its own is deleted.
    instruments = ArrayField(
        models.UUIDField(),
        default=list,
        blank=True,
        verbose_name=_("instruments"),
        help_text=_("Those it may push readings of; none: all"),
    )

    class Meta(AbstractAuthToken.Meta):
        verbose_name = _("access token")
        verbose_name_plural = _("access tokens")

    def __str__(self) -> str:
        # knox's own shows the hash, which has no place on pages and in logs.
        return f"{self.user} {self.scope or 'all'} {self.created:%Y-%m-%d}"
