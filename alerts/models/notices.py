"""Contacts, routes to them, and notices: what people are told, when, and what became of it."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from alerts.models.rules import Priority


class Contact(models.Model):
    """Somebody, or some place, that can be told something.

    `address`: a Matrix room (`!id:server` or `#alias:server`) or user, an e-mail address, a webhook's URL.
    `secret` names a secret as instruments' options do: the centre reads `LABSITE_SECRET_<NAME>` (or `_FILE`).
    For a webhook it is the key that signs, for Apprise the whole URL, which holds the password.
    """

    name = models.CharField(_("name"), max_length=80, unique=True)
    transport = models.CharField(_("transport"), max_length=20)  # alerts.notices.transports; or matrix
    address = models.CharField(_("address"), max_length=400, blank=True)
    secret = models.CharField(
        _("name of the secret"), max_length=40, blank=True, help_text=_("Its value is in LABSITE_SECRET_…")
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    next = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("next contact"),
        help_text=_("Who is told what cannot be delivered here"),
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="contacts"
    )
    hold_until = models.DateTimeField(null=True, editable=False)  # it is away, or asked for patience
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Route(models.Model):
    """Which alarms and happenings go to which contacts, and when.

    The first step is told at once, later ones when nobody has acknowledged by then.
    """

    name = models.CharField(_("name"), max_length=80, unique=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    alarms = models.BooleanField(_("alarms"), default=True)
    least_priority = models.SmallIntegerField(
        _("least priority"), choices=Priority, default=Priority.LOW
    )  # and all above it
    recoveries = models.BooleanField(_("also when they return to normal"), default=True)
    happenings = ArrayField(
        models.CharField(max_length=60),
        default=list,
        blank=True,
        verbose_name=_("kinds of events"),
        help_text=_("Told without being alarms, such as run.started, run.completed, run_action"),
    )
    tags = ArrayField(
        models.CharField(max_length=40),
        default=list,
        blank=True,
        verbose_name=_("tags"),
        help_text=_("Only of instruments with one of these; empty: of all"),
    )
    days = ArrayField(
        models.SmallIntegerField(),
        default=list,
        blank=True,
        verbose_name=_("days"),
        help_text=_("0 Monday to 6 Sunday; empty: every day"),
    )
    start = models.TimeField(_("from"), null=True, blank=True)
    end = models.TimeField(_("to"), null=True, blank=True)  # before `start`: over midnight
    zone = models.CharField(_("time zone"), max_length=60, default="UTC")
    window = models.FloatField(_("grouped within, s"), default=10.0, validators=[MinValueValidator(0.0)])
    repeat = models.FloatField(
        _("repeated every, s"),
        null=True,
        blank=True,
        validators=[MinValueValidator(10.0)],
        help_text=_("Until it is acknowledged; empty: told once"),
    )
    daily = models.TimeField(
        _("daily word at"), null=True, blank=True, help_text=_("That all is well, or what stands")
    )
    daily_told_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class RouteStep(models.Model):
    """One contact of a route, told after so many seconds without an acknowledgement."""

    route = models.ForeignKey(Route, models.CASCADE, related_name="steps", verbose_name=_("route"))
    after = models.FloatField(_("after, s"), default=0.0, validators=[MinValueValidator(0.0)])
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="steps", verbose_name=_("contact"))

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        ordering = ["route", "after", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["route", "after", "contact"], name="one_step_per_contact_and_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.route} → {self.contact} after {self.after:g} s"


class NoticeKind(models.TextChoices):
    ALARM = "alarm", _("alarm")
    RECOVERY = "recovery", _("return to normal")
    REPEAT = "repeat", _("reminder")
    ESCALATION = "escalation", _("escalation")
    CHATTER = "chatter", _("chatter")
    CALM = "calm", _("end of chatter")
    HAPPENING = "happening", _("event")
    DAILY = "daily", _("daily word")
    TEST = "test", _("test")


class NoticeState(models.TextChoices):
    WAITING = "waiting", _("waiting")
    SENT = "sent", _("sent")
    FAILED = "failed", _("not delivered")
    DROPPED = "dropped", _("not sent: old news")


class Notice(models.Model):
    """One message to one contact. Its id goes with it, so that a repeat can be told from a second one.

    What it says is put together when it is sent, out of its lines and how their alarms stand by then: while
    it waits (for its window, or for a server that is away) more lines may join it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="notices", verbose_name=_("contact"))
    route = models.ForeignKey(
        Route, models.SET_NULL, null=True, related_name="notices", verbose_name=_("route")
    )
    kind = models.CharField(_("kind"), max_length=12, choices=NoticeKind)
    step = models.FloatField(default=0.0)  # `after` of the route's step
    state = models.CharField(_("state"), max_length=10, choices=NoticeState, default=NoticeState.WAITING)
    priority = models.SmallIntegerField(
        _("priority"), choices=Priority, null=True
    )  # the highest of its lines
    created_at = models.DateTimeField(_("made"))
    due_at = models.DateTimeField(_("due"))  # not before this, also after a failed attempt
    tries = models.PositiveSmallIntegerField(_("attempts"), default=0)
    sent_at = models.DateTimeField(_("sent"), null=True)
    title = models.CharField(_("title"), max_length=400, blank=True)  # as it was sent
    text = models.TextField(_("text"), blank=True)  # as it was sent
    reference = models.CharField(max_length=300, blank=True)  # the transport's own name of it: a Matrix event
    follows = models.ForeignKey(
        "self", models.SET_NULL, null=True, related_name="followers", verbose_name=_("follows")
    )  # what it repeats, escalates or stands in for

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state=NoticeState.WAITING), name="notices_waiting"),
            models.Index(fields=["contact", "created_at"], name="notices_of_contact"),
            models.Index(fields=["created_at"], name="notices_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.contact} at {self.created_at}"


class NoticeLine(models.Model):
    """One change of an alarm, or one happening, that a notice tells of."""

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="lines")
    event = models.ForeignKey("alerts.AlarmEvent", models.CASCADE, null=True, related_name="lines")
    alarm = models.ForeignKey("alerts.Alarm", models.CASCADE, null=True, related_name="lines")
    happening = models.ForeignKey("alerts.Happening", models.CASCADE, null=True, related_name="lines")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["notice", "event", "happening"], nulls_distinct=False, name="one_line_per_change"
            )
        ]

    def __str__(self) -> str:
        return f"{self.notice_id}: {self.event_id or self.happening_id}"


class Attempt(models.Model):
    """One try to deliver a notice; `error` is "" when it was taken."""

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="attempts")
    at = models.DateTimeField(_("at"))
    seconds = models.FloatField(_("seconds"))
    error = models.CharField(_("error"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.notice_id} at {self.at}: {self.error or 'sent'}"
