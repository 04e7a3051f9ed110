"""Alarms: where each rule stands for each thing it watches; and the journal, which is also the outbox."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from alerts.lifecycle import STANDING, Event, State
from alerts.models.notices import Contact
from alerts.models.rules import Priority, Rule
from devices.models import Channel, Edge, Instrument, Run
from telemetry.models import Sink


class Source(models.TextChoices):
    """Where a change came from."""

    INGEST = "ingest", _("readings")
    TIMER = "timer", _("clock")
    API = "api", _("API")
    PAGE = "page", _("page")
    ADMIN = "admin", _("admin")
    MATRIX = "matrix", _("Matrix")
    COMMAND = "command", _("command line")


class AlarmQuerySet(models.QuerySet["Alarm"]):
    def standing(self) -> "AlarmQuerySet":
        """Those that a person should see, in the order of the list: by priority, then the oldest first."""
        return self.filter(state__in=STANDING).order_by("priority", "raised_at", "id")


class Alarm(models.Model):
    """One rule on one thing it watches: a channel, instrument, edge, contact or sink.

    It is made at the first trouble. Whoever changes a row holds the lock of its edge (`alerts.changes.turn`).
    `held`, `unknown`, `pending_at`, `due_at` and `judged_at` are what `alerts.judging.conditions` remembers
    from one reading to the next.
    """

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="alarms", verbose_name=_("rule"))
    edge = models.ForeignKey(
        Edge, models.CASCADE, null=True, related_name="alarms", verbose_name=_("edge")
    )  # that of the instrument; None: of a contact or a sink
    instrument = models.ForeignKey(
        Instrument, models.CASCADE, null=True, related_name="alarms", verbose_name=_("instrument")
    )
    channel = models.ForeignKey(
        Channel, models.CASCADE, null=True, related_name="alarms", verbose_name=_("channel")
    )
    contact = models.ForeignKey(
        Contact, models.CASCADE, null=True, related_name="alarms", verbose_name=_("contact")
    )
    sink = models.ForeignKey(Sink, models.CASCADE, null=True, related_name="alarms", verbose_name=_("sink"))

    state = models.CharField(_("state"), max_length=24, choices=State, default=State.NORMAL)
    since = models.DateTimeField(_("since"))  # of the state, in event time
    priority = models.SmallIntegerField(_("priority"), choices=Priority, default=Priority.MEDIUM)
    text = models.CharField(_("alarm"), max_length=400)  # instrument, what, limit
    value = models.FloatField(_("value"), null=True)  # the newest that was judged, as far as it is a number
    reason = models.CharField(_("reason"), max_length=400, blank=True)  # in the instrument's or edge's words
    cause = models.ForeignKey(
        "self", models.SET_NULL, null=True, related_name="consequences", verbose_name=_("cause")
    )  # whose consequence it is; such a one is suppressed
    raised_at = models.DateTimeField(_("raised"), null=True)
    cleared_at = models.DateTimeField(_("returned"), null=True)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("by")
    )
    aside_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("by")
    )  # who shelved it or took it out of service
    aside_reason = models.CharField(_("reason"), max_length=400, blank=True)
    aside_until = models.DateTimeField(_("until"), null=True)  # when that ends by itself

    active = models.BooleanField(_("active"), default=False)  # the condition holds, delays included
    held = models.BooleanField(default=False)  # by the last good reading, dead-band included
    unknown = models.BooleanField(default=False)  # the newest reading was no good one
    pending_at = models.DateTimeField(null=True)  # since when `held` differs from `active`
    due_at = models.DateTimeField(null=True)  # when that will count, if it stays so
    judged_at = models.DateTimeField(null=True)  # up to this reading
    memory = models.JSONField(default=dict)  # what else the kind of rule remembers
    past = models.JSONField(default=dict)  # the same for readings that came late
    chatter_at = models.DateTimeField(null=True)  # since when it chatters and is not told
    version = models.PositiveIntegerField(default=0)  # counts changes
    objects = AlarmQuerySet.as_manager()

    class Meta:
        verbose_name = _("alarm")
        verbose_name_plural = _("alarms")
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "edge", "instrument", "channel", "contact", "sink"],
                nulls_distinct=False,
                name="one_alarm_per_rule_and_thing",
            )
        ]
        indexes = [
            models.Index(
                fields=["edge"],
                condition=~Q(state=State.NORMAL) | Q(active=True) | Q(held=True) | ~Q(past={}),
                name="alarms_at_work",
            ),
            models.Index(fields=["priority", "raised_at"], condition=Q(state__in=STANDING), name="standing"),
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="alarms_due"),
            models.Index(fields=["id"], condition=Q(chatter_at__isnull=False), name="alarms_chattering"),
        ]
        permissions = [
            ("acknowledge_alarm", "Can acknowledge and comment on alarms, and reset them"),
            ("shelve_alarm", "Can shelve and unshelve alarms"),
            ("remove_alarm", "Can take alarms out of service and put them back"),
        ]

    def __str__(self) -> str:
        return self.text


class AlarmEvent(models.Model):
    """The journal: one change of an alarm. With `told_at` NULL it is in the outbox, too.

    `past`: learnt so late that it is history only. `at` is event time, `stored_at` the centre's clock.
    """

    alarm = models.ForeignKey(Alarm, models.CASCADE, related_name="journal", verbose_name=_("alarm"))
    event = models.CharField(_("event"), max_length=12, choices=Event)
    before = models.CharField(_("from"), max_length=24, choices=State)
    after = models.CharField(_("to"), max_length=24, choices=State)
    at = models.DateTimeField(_("at"))
    stored_at = models.DateTimeField(_("noted"))
    past = models.BooleanField(_("learnt late"), default=False)
    priority = models.SmallIntegerField(_("priority"), choices=Priority)
    value = models.FloatField(_("value"), null=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("by")
    )
    source = models.CharField(_("through"), max_length=10, choices=Source, default=Source.INGEST)
    comment = models.CharField(_("comment"), max_length=1000, blank=True)
    until = models.DateTimeField(_("until"), null=True)
    told_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("journal entry")
        verbose_name_plural = _("journal")
        ordering = ["-stored_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["alarm", "event", "at"], condition=Q(past=True), name="one_past_change_per_time"
            )
        ]
        indexes = [
            models.Index(fields=["alarm", "at"], name="journal_of_alarm"),
            models.Index(fields=["stored_at", "id"], name="journal_by_time"),
            models.Index(fields=["id"], condition=Q(told_at=None), name="journal_outbox"),
        ]

    def __str__(self) -> str:
        return f"{self.alarm}: {self.event} at {self.at}"


class Reach(models.Model):
    """Up to when all readings of an edge are at the centre: what a clock may judge goes no further."""

    edge = models.OneToOneField(Edge, models.CASCADE, primary_key=True, related_name="reach")
    complete_at = models.DateTimeField()  # by the edge's readings
    stored_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.edge_id} up to {self.complete_at}"


class Happening(models.Model):
    """Something normal that people asked to hear of: a run that began or ended, an event of some kind.

    Kinds are those of events, and of runs `run.started`, `run.paused`, `run.completed`, `run.failed`,
    `run.aborted`, `run.lost`. With `told_at` NULL it is in the outbox.
    """

    instrument = models.ForeignKey(
        Instrument, models.CASCADE, related_name="happenings", verbose_name=_("instrument")
    )
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+", verbose_name=_("run"))
    time = models.DateTimeField(_("time"))
    kind = models.CharField(_("kind"), max_length=60)
    text = models.TextField(_("text"))
    stored_at = models.DateTimeField(_("noted"))
    told_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("happening")
        verbose_name_plural = _("happenings")
        ordering = ["-id"]
        indexes = [models.Index(fields=["id"], condition=Q(told_at=None), name="happenings_outbox")]

    def __str__(self) -> str:
        return f"{self.kind}, {self.time}: {self.text[:60]}"
