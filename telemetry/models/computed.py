"""Which readings of a channel are stored, and channels that are computed from others at ingest."""

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from devices.models import Channel


class StoragePolicy(models.Model):
    """Of this channel not each reading is stored; without a policy each is. Alarms are judged by all."""

    class Mode(models.TextChoices):
        CHANGE = "change", _("on change")
        DEAD_BAND = "dead_band", _("dead-band")

    channel = models.OneToOneField(
        Channel, models.CASCADE, primary_key=True, related_name="storage_policy", verbose_name=_("channel")
    )
    mode = models.CharField(_("mode"), max_length=10, choices=Mode.choices)
    dead_band = models.FloatField(
        _("dead-band"),
        default=0.0,
        validators=[MinValueValidator(0.0)],
        help_text=_("In the channel's unit: what differs less from the last stored value is not stored"),
    )
    heartbeat = models.FloatField(
        _("heartbeat"),
        default=300.0,
        validators=[MinValueValidator(1.0)],
        help_text=_("Seconds after which a reading is stored though nothing changed"),
    )

    class Meta:
        db_table = "storage_policy"
        verbose_name = _("storage policy")
        verbose_name_plural = _("storage policies")

    def __str__(self) -> str:
        return f"{self.channel}: {self.get_mode_display()}"


class PolicyState(models.Model):
    """Where the live track of a channel with a policy stands: its last stored reading, and the one after it
    that was held back."""

    channel = models.OneToOneField(Channel, models.CASCADE, primary_key=True, related_name="+")
    time = models.DateTimeField()
    value = models.FloatField(null=True)
    quality = models.SmallIntegerField(default=0)
    text = models.TextField(null=True)  # noqa: DJ001 - absent is not the same as empty
    held_time = models.DateTimeField(null=True)
    held_value = models.FloatField(null=True)
    held_quality = models.SmallIntegerField(default=0)
    held_text = models.TextField(null=True)  # noqa: DJ001

    class Meta:
        db_table = "policy_state"

    def __str__(self) -> str:
        return f"{self.channel_id} at {self.time}"


class Unstored(models.Model):
    """How many readings of a channel were received in an hour and, by its policy, not stored."""

    pk = models.CompositePrimaryKey("channel_id", "bucket")
    channel = models.ForeignKey(Channel, models.CASCADE, db_index=False, related_name="+")
    bucket = models.DateTimeField()
    n = models.IntegerField()

    class Meta:
        db_table = "unstored"

    def __str__(self) -> str:
        return f"{self.n} of {self.channel_id} at {self.bucket}"


class ComputedChannel(models.Model):
    """A channel whose readings are computed at ingest: by a formula, or by another's calibration."""

    channel = models.OneToOneField(
        Channel, models.CASCADE, primary_key=True, related_name="computed", verbose_name=_("channel")
    )
    formula = models.TextField(
        _("formula"), blank=True, default="", help_text=_("Over keys of channels of the same instrument")
    )
    source = models.OneToOneField(
        Channel,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="calibrated",
        verbose_name=_("calibrated from"),
    )

    class Meta:
        db_table = "computed_channel"
        verbose_name = _("computed channel")
        verbose_name_plural = _("computed channels")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(formula="", source__isnull=False)
                | (~models.Q(formula="") & models.Q(source=None)),
                name="computed_by_formula_or_calibration",
            )
        ]

    def __str__(self) -> str:
        return str(self.channel)


class Calibration(models.Model):
    """How a channel's raw values become true ones, from a date on until the next calibration."""

    class Kind(models.TextChoices):
        POLYNOMIAL = "polynomial", _("polynomial")
        TABLE = "table", _("table")

    channel = models.ForeignKey(
        Channel, models.CASCADE, related_name="calibrations", verbose_name=_("raw channel")
    )
    valid_from = models.DateTimeField(_("valid from"))
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    numbers = models.JSONField(
        _("numbers"),
        help_text=_("Of a polynomial its coefficients, constant first; of a table [raw, true] pairs"),
    )
    note = models.CharField(_("note"), max_length=300, blank=True, default="")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        db_table = "calibration"
        verbose_name = _("calibration")
        verbose_name_plural = _("calibrations")
        ordering = ["channel", "valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["channel", "valid_from"], name="one_calibration_per_time")
        ]

    def __str__(self) -> str:
        return f"{self.channel} from {self.valid_from:%Y-%m-%d}"


class DefinitionMark(models.Model):
    """Counts changes of what ingest must know of channels: computed ones, calibrations, policies, retention
    classes. Triggers of the database count it up (migration 0003)."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    revision = models.BigIntegerField(default=1)

    class Meta:
        db_table = "definition_mark"

    def __str__(self) -> str:
        return str(self.revision)
