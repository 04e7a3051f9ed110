"""The books that ingest keeps of what came in which batch."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from devices.models import Edge


class Delivery(models.Model):
    """A batch that is at the centre; rows up to the spool's mark are pruned."""

    pk = models.CompositePrimaryKey("edge_id", "spool", "sequence")
    edge = models.ForeignKey(Edge, models.CASCADE, db_index=False, related_name="+")
    spool = models.UUIDField()
    sequence = models.BigIntegerField()

    class Meta:
        db_table = "batch"

    def __str__(self) -> str:
        return f"{self.edge_id} {self.spool} {self.sequence}"


class SpoolMark(models.Model):
    """Every batch of this spool up to `through` is at the centre."""

    pk = models.CompositePrimaryKey("edge_id", "spool")
    edge = models.ForeignKey(Edge, models.CASCADE, db_index=False, related_name="+")
    spool = models.UUIDField()
    through = models.BigIntegerField()

    class Meta:
        db_table = "spool_mark"

    def __str__(self) -> str:
        return f"{self.edge_id} {self.spool} through {self.through}"


class RejectedBatch(models.Model):
    """A batch of which something could not be stored, byte for byte; `manage.py reingest` tries it again."""

    edge = models.ForeignKey(Edge, models.CASCADE, related_name="rejected", verbose_name=_("edge"))
    spool = models.UUIDField(_("spool"))
    sequence = models.BigIntegerField(_("sequence"))
    shift = models.BigIntegerField(_("shift of its times, µs"), default=0)
    packed = models.BinaryField()
    reason = models.TextField(_("reason"))
    stored = models.BooleanField(_("the rest is stored"))  # only single readings were refused
    rejected_at = models.DateTimeField(_("rejected"), default=timezone.now)

    class Meta:
        db_table = "rejected_batch"
        verbose_name = _("rejected batch")
        verbose_name_plural = _("rejected batches")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["edge", "spool", "sequence"], name="one_rejection_per_batch")
        ]

    def __str__(self) -> str:
        return f"{self.spool} {self.sequence}: {self.reason}"
