"""The interfaces of programs that Labsite replaces: which instrument answers as which program did."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from devices.models import Instrument


class ReplacedInterface(models.Model):
    """An instrument answers as the program did that read it before, so that its clients carry on."""

    class Kind(models.TextChoices):
        THERMOSTAT = "thermostat", _("thermostat logger")
        UPS = "ups", _("UPS monitor")
        METATRON = "metatron", _("Metatron Telemetry")

    instrument = models.ForeignKey(
        Instrument, models.CASCADE, related_name="replaced", verbose_name=_("instrument")
    )
    kind = models.CharField(_("program"), max_length=12, choices=Kind.choices)
    enabled = models.BooleanField(_("enabled"), default=True)
    open = models.BooleanField(
        _("open"),
        default=False,
        help_text=_(
            "It answers without a login, as the program did; without the mark a login or token is needed"
        ),
    )
    options = models.JSONField(
        _("options"), default=dict, blank=True, help_text=_("Of the program: see docs/replaced.md")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        db_table = "replaced_interface"
        verbose_name = _("interface of a replaced program")
        verbose_name_plural = _("interfaces of replaced programs")
        ordering = ["instrument__name", "kind"]
        constraints = [
            models.UniqueConstraint(
                fields=["instrument", "kind"], name="one_interface_per_instrument_and_kind"
            )
        ]

    def __str__(self) -> str:
        return f"{self.instrument} as {self.get_kind_display()}"
