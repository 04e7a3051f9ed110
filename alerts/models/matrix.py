"""What the Matrix bot knows: people, rooms, what it has sent where, and which commands it has seen."""

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from alerts.models.notices import Notice

matrix_id = RegexValidator(r"^@[^:\s]+:\S+$", _("A Matrix id, such as @anna:example.org."))
matrix_address = RegexValidator(
    r"^[!#@][^:\s]+(:\S+)?$", _("A room (!id:server or #alias:server), or a person (@name:server).")
)


class MatrixPerson(models.Model):
    """Whose rights somebody in a Matrix room has: those of this user, whatever the room."""

    matrix_id = models.CharField(_("Matrix id"), max_length=255, unique=True, validators=[matrix_id])
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="matrix_ids", verbose_name=_("user")
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("Matrix person")
        verbose_name_plural = _("Matrix people")
        ordering = ["matrix_id"]

    def __str__(self) -> str:
        return self.matrix_id


class MatrixRoom(models.Model):
    """A room that the bot joins, and what may be done from there.

    The rooms of contacts are added by the bot itself, for telling only. `room_id` is where the address led.
    """

    address = models.CharField(
        _("room"),
        max_length=255,
        unique=True,
        validators=[matrix_address],
        help_text=_("!id:server or #alias:server; @name:server is a room of two with that person"),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    allow_commands = models.BooleanField(
        _("commands"), default=True, help_text=_("People may ask and acknowledge here, each by their rights")
    )
    allow_control = models.BooleanField(
        _("control"), default=False, help_text=_("Commands here may control instruments; needs commands, too")
    )
    room_id = models.CharField(max_length=255, blank=True, editable=False)
    problem = models.CharField(_("problem"), max_length=300, blank=True, editable=False)
    joined_at = models.DateTimeField(_("joined"), null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("Matrix room")
        verbose_name_plural = _("Matrix rooms")
        ordering = ["address"]

    def __str__(self) -> str:
        return self.address


class MatrixMessage(models.Model):
    """A notice as it stands in a room. Without a `root` it is one itself: its alarms' thread hangs on it.

    `shown`: the text that it has by now. While one of its alarms stands it is `open`, and edited as that
    changes.
    """

    room_id = models.CharField(max_length=255)
    event_id = models.CharField(max_length=255, unique=True)
    notice = models.OneToOneField(Notice, models.CASCADE, related_name="matrix_message")
    root = models.ForeignKey("self", models.CASCADE, null=True, related_name="thread")
    shown = models.TextField()
    versions = models.BigIntegerField(default=-1)  # of its alarms, added up, when that was last looked at
    open = models.BooleanField(default=True)
    sent_at = models.DateTimeField()

    class Meta:
        verbose_name = _("Matrix message")
        verbose_name_plural = _("Matrix messages")
        indexes = [models.Index(fields=["id"], condition=Q(open=True), name="matrix_open_messages")]

    def __str__(self) -> str:
        return f"{self.event_id} in {self.room_id}"


class CommandOutcome(models.TextChoices):
    """What became of a command."""

    DONE = "done", _("done")
    REFUSED = "refused", _("refused")
    TOO_OLD = "too_old", _("too old, not run")
    LIMITED = "limited", _("too many, not run")
    FAILED = "failed", _("went wrong")


class MatrixCommand(models.Model):
    """A command that was seen, by the event it came with: the same event is never run twice.

    It is written with what it has done, in one transaction; while `answered_at` is NULL the answer is owed.
    """

    event_id = models.CharField(max_length=255, unique=True)
    room_id = models.CharField(max_length=255)
    sender = models.CharField(_("sender"), max_length=255)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("user")
    )
    text = models.CharField(_("command"), max_length=1000)
    thread = models.CharField(max_length=255, blank=True)  # the root of the thread it was said in
    outcome = models.CharField(_("outcome"), max_length=10, choices=CommandOutcome)
    answer = models.TextField(_("answer"), blank=True)
    html = models.TextField(blank=True)
    seen_at = models.DateTimeField(_("seen"), default=timezone.now)
    answered_at = models.DateTimeField(_("answered"), null=True)

    class Meta:
        verbose_name = _("Matrix command")
        verbose_name_plural = _("Matrix commands")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["sender", "seen_at"], name="matrix_commands_of_sender"),
            models.Index(fields=["id"], condition=Q(answered_at=None), name="matrix_answers_owed"),
        ]

    def __str__(self) -> str:
        return f"{self.sender}: {self.text}"


class MatrixStranger(models.Model):
    """Somebody whom Labsite does not know, and who was told so, once."""

    matrix_id = models.CharField(_("Matrix id"), max_length=255, unique=True)
    told_at = models.DateTimeField(_("told"))

    class Meta:
        verbose_name = _("Matrix stranger")
        verbose_name_plural = _("Matrix strangers")
        ordering = ["-told_at"]

    def __str__(self) -> str:
        return self.matrix_id
