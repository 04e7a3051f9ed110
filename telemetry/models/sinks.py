"""Copies of what is stored, in other databases: where they are, and how far each is."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Sink(models.Model):
    """An InfluxDB that is fed from the outbox, in order, from its own position on."""

    class Api(models.TextChoices):
        V1 = "v1", _("InfluxDB before 1.8: /write")
        V2 = "v2", _("InfluxDB 1.8 and later: /api/v2/write")

    class Schema(models.TextChoices):
        LABSITE = "labsite", "Labsite"
        QS_MONITOR = "qs-monitor", "qs-monitor"
        FILAMENT_BOX = "filament-box", "filament box"

    name = models.SlugField(_("name"), max_length=40, unique=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    api = models.CharField(_("interface"), max_length=4, choices=Api.choices, default=Api.V2)
    # No URLField: it takes no host of one word, as a neighbour in a container has.
    url = models.CharField(_("URL"), max_length=300, help_text=_("Such as http://influx.lab:8086"))
    org = models.CharField(_("organisation"), max_length=100, blank=True, default="")
    bucket = models.CharField(_("bucket or database"), max_length=100)
    user = models.CharField(_("user"), max_length=100, blank=True, default="")
    secret = models.CharField(
        _("secret"),
        max_length=40,
        blank=True,
        default="",
        help_text=_("The name of the password or token: NAME for the variable LABSITE_SECRET_NAME"),
    )
    schema = models.CharField(_("schema"), max_length=20, choices=Schema.choices, default=Schema.LABSITE)
    measurement = models.CharField(
        _("measurement"), max_length=100, blank=True, default="", help_text=_("Empty: that of the schema")
    )
    tags = models.JSONField(_("tags"), default=dict, blank=True, help_text=_("Added to each point"))
    only = models.JSONField(
        _("only"),
        default=dict,
        blank=True,
        help_text=_('Only instruments of these: {"driver": …, "edge": …, "tag": …}'),
    )
    batch_size = models.PositiveIntegerField(
        _("batch size"), default=5000, validators=[MinValueValidator(1), MaxValueValidator(50_000)]
    )
    flush_interval = models.FloatField(
        _("flush interval"),
        default=1.0,
        validators=[MinValueValidator(0.1), MaxValueValidator(3600.0)],
        help_text=_("Seconds that points wait for a batch to fill"),
    )
    gzip = models.BooleanField(_("gzip"), default=True)
    alert_threshold = models.PositiveSmallIntegerField(
        _("alert after"), default=5, validators=[MinValueValidator(1)], help_text=_("Failures in a row")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    # Where it is in the outbox: everything up to this entry is there. xid8 fits.
    at_xid = models.DecimalField(max_digits=20, decimal_places=0, default=0, editable=False)
    at_id = models.BigIntegerField(default=0, editable=False)
    at_time = models.DateTimeField(_("fed up to"), null=True, editable=False)
    points = models.BigIntegerField(_("points written"), default=0, editable=False)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0, editable=False)
    retry_at = models.DateTimeField(_("next attempt"), null=True, editable=False)
    error = models.TextField(_("last error"), blank=True, default="", editable=False)
    must_rebuild = models.BooleanField(_("to be rebuilt"), default=False, editable=False)
    rebuild = models.JSONField(default=dict, editable=False)  # how far the last one has come; {} at its end

    class Meta:
        db_table = "sink"
        verbose_name = _("sink")
        verbose_name_plural = _("sinks")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class SetAside(models.Model):
    """A point that a sink refused, with its words."""

    sink = models.ForeignKey(Sink, models.CASCADE, related_name="set_aside", verbose_name=_("sink"))
    line = models.TextField(_("line"))
    reason = models.TextField(_("reason"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        db_table = "set_aside"
        verbose_name = _("point set aside")
        verbose_name_plural = _("points set aside")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.line[:80]}: {self.reason[:80]}"


class OutboxFloor(models.Model):
    """What the outbox no longer holds, or never held: everything up to this position. One row at most."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    xid = models.DecimalField(max_digits=20, decimal_places=0)
    row = models.BigIntegerField()
    moved_at = models.DateTimeField()

    class Meta:
        db_table = "outbox_floor"

    def __str__(self) -> str:
        return f"{self.xid} {self.row}"
