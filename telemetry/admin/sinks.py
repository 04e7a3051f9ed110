"""The admin of sinks and of the points that they refused. What is changed here goes through sinks.editing."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _

from devices.admin import ForStaff
from telemetry.models import SetAside, Sink
from telemetry.sinks import editing, standing


class SinkForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Sink
        fields: ClassVar = editing.DESCRIPTION

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            editing.check_sink(self.instance)
        except ValidationError as error:
            for name, words in error.message_dict.items():
                self.add_error(name if name in self.fields else None, words)


@admin.register(Sink)
class SinkAdmin(ForStaff):
    offers = ("add", "change", "delete")
    form = SinkForm
    list_display = ("name", "schema", "url", "bucket", "shown_state", "waiting", "points", "error")
    list_filter = ("enabled", "schema", "api")
    search_fields = ("name", "url", "bucket")
    actions = ("test", "enable", "disable", "start_at_present")
    readonly_fields = ("shown_state", "waiting", "at_time", "points", "failures", "retry_at", "error")
    fieldsets: ClassVar = (
        (None, {"fields": ("name", "enabled")}),
        (_("Where"), {"fields": ("api", "url", "org", "bucket", "user", "secret")}),
        (_("What"), {"fields": ("schema", "measurement", "tags", "only")}),
        (_("How"), {"fields": ("batch_size", "flush_interval", "gzip", "alert_threshold")}),
        (_("How it stands"), {"fields": readonly_fields}),
    )

    @admin.display(description=_("state"))
    def shown_state(self, sink: Sink) -> str:
        return str(standing.STATES[standing.state(sink)])

    @admin.display(description=_("waiting"))
    def waiting(self, sink: Sink) -> str:
        """How much, and since when."""
        if not sink.pk:
            return "–"
        found = standing.backlogs([sink])[sink.pk]
        if not found.rows or found.since is None:
            return "–"
        return f"{filesizeformat(found.bytes)}, {timesince(found.since, timezone.now())}"

    def save_model(self, request: HttpRequest, obj: Sink, form: Any, change: bool) -> None:  # noqa: ARG002
        editing.save_sink(obj, by=request.user)

    def delete_model(self, request: HttpRequest, obj: Sink) -> None:
        editing.delete_sink(obj, by=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Sink]) -> None:
        for sink in queryset:
            editing.delete_sink(sink, by=request.user)

    def get_deleted_objects(self, objs: Iterable[Model], request: HttpRequest) -> Any:  # noqa: ARG002
        """Without the points set aside, which go along."""
        chosen = list(objs)
        return [str(each) for each in chosen], {str(_("sinks")): len(chosen)}, set(), []

    @admin.action(description=_("Test: would it take points? None is written"), permissions=["change"])
    def test(self, request: HttpRequest, chosen: QuerySet[Sink]) -> None:
        for sink in chosen:
            tested = editing.test_sink(sink, by=request.user)
            level = messages.SUCCESS if tested.ok else messages.ERROR
            self.message_user(request, f"{sink}: {tested.words}", level)

    @admin.action(description=_("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, chosen: QuerySet[Sink]) -> None:
        self.each(request, chosen, lambda sink: editing.set_enabled(sink, request.user, on=True))

    @admin.action(description=_("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, chosen: QuerySet[Sink]) -> None:
        self.each(request, chosen, lambda sink: editing.set_enabled(sink, request.user, on=False))

    @admin.action(description=_("Start at the present, whatever was missed"), permissions=["change"])
    def start_at_present(self, request: HttpRequest, chosen: QuerySet[Sink]) -> None:
        self.each(request, chosen, lambda sink: editing.start_at_present(sink, request.user))


@admin.register(SetAside)
class SetAsideAdmin(ForStaff):
    list_display = ("at", "sink", "reason", "line")
    list_filter = ("sink",)
    list_select_related = ("sink",)
    search_fields = ("line", "reason")
    show_full_result_count = False
