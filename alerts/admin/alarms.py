"""The admin of alarms: how they stand, what people do with them, their journal; and what happened besides."""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from alerts import services
from alerts.admin.forms import ReasonForm
from alerts.lifecycle import STANDING, State
from alerts.models import Alarm, AlarmEvent, Happening, Source
from devices.admin import ForStaff


class StandingFilter(admin.SimpleListFilter):
    """Shows those that stand, unless others are asked for."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [*State.choices, ("any", _("All"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        if self.value() == "any":
            return queryset
        return queryset.filter(state__in=[self.value()] if self.value() else STANDING)

    def choices(self, changelist: Any) -> Any:
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": _("Standing"),
        }
        for choice, title in self.lookup_choices:
            yield {
                "selected": self.value() == choice,
                "query_string": changelist.get_query_string({self.parameter_name: choice}),
                "display": title,
            }


@admin.register(Alarm)
class AlarmAdmin(ForStaff):
    list_display = ("text", "state", "priority", "raised_at", "cleared_at", "acknowledged_by", "aside_until")
    list_filter = (StandingFilter, "priority", "rule__kind", "edge")
    list_select_related = ("acknowledged_by",)
    search_fields = ("text", "rule__name", "instrument__name")
    ordering = ("priority", "raised_at", "id")
    action_form = ReasonForm
    actions = (
        "acknowledge", "reset", "shelve_for_an_hour", "shelve_for_a_shift", "unshelve", "take_out_of_service",
        "return_to_service",
    )  # fmt: skip
    fields = (
        "text", "state", "since", "priority", "guidance", "rule", "edge", "instrument", "channel", "contact",
        "sink", "value", "reason", "cause", "raised_at", "cleared_at", "acknowledged_at", "acknowledged_by",
        "aside_by", "aside_reason", "aside_until", "whole_journal",
    )  # fmt: skip
    readonly_fields = ("guidance", "whole_journal")

    @admin.display(description=_("guidance"))
    def guidance(self, alarm: Alarm) -> str:
        return alarm.rule.guidance

    @admin.display(description=_("journal"))
    def whole_journal(self, alarm: Alarm) -> str:
        url = reverse("admin:alerts_alarmevent_changelist")
        return format_html('<a href="{}?alarm__id__exact={}">{}</a>', url, alarm.pk, _("All that happened"))

    def has_act_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @admin.action(description=_("Acknowledge"), permissions=["act"])
    def acknowledge(self, request: HttpRequest, chosen: QuerySet[Alarm]) -> None:
        said = _reason(request)
        self.each(request, chosen, lambda each: services.acknowledge(each, request.user, Source.ADMIN, said))

    @admin.action(description=_("Reset"), permissions=["act"])
    def reset(self, request: HttpRequest, chosen: QuerySet[Alarm]) -> None:
        said = _reason(request)
        self.each(request, chosen, lambda each: services.reset(each, request.user, Source.ADMIN, said))

    @admin.action(description=_("Shelve for 1 h (needs a reason)"), permissions=["act"])
    def shelve_for_an_hour(self, request: HttpRequest, chosen: QuerySet[Alarm]) -> None:
        self._aside(request, chosen, services.shelve, timedelta(hours=1))

    @admin.action(description=_("Shelve for 8 h (needs a reason)"), permissions=["act"])
    def shelve_for_a_shift(self, request: HttpRequest, chosen: QuerySet[Alarm]) -> None:
        self._aside(request, chosen, services.shelve, timedelta(hours=8))

    @admin.action(description=_("Take back from the shelf"), permissions=["act"])
    def unshelve(self, request: HttpRequest, chosen: QuerySet[Alarm]) -> None:
        self.each(request, chosen, lambda each: services.unshelve(each, request.user, Source.ADMIN))

    @admin.action(description=_("Out of service for 7 days (needs a reason)"), permissions=["act"])
    def take_out_of_service(self, request: HttpRequest, chosen: QuerySet[Alarm]) -> None:
        self._aside(request, chosen, services.remove, timedelta(days=7))

    @admin.action(description=_("Put into service"), permissions=["act"])
    def return_to_service(self, request: HttpRequest, chosen: QuerySet[Alarm]) -> None:
        self.each(request, chosen, lambda each: services.put_back(each, request.user, Source.ADMIN))

    def _aside(self, request: HttpRequest, chosen: QuerySet[Alarm], put: Any, span: timedelta) -> None:
        reason, until = _reason(request), timezone.now() + span
        if not reason:
            self.message_user(request, _("A reason in words is needed beside the action."), messages.ERROR)
            return
        self.each(request, chosen, lambda each: put(each, request.user, Source.ADMIN, until, reason))


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:400]


@admin.register(AlarmEvent)
class JournalAdmin(ForStaff):
    list_display = ("stored_at", "alarm", "event", "before", "after", "at", "past", "by", "source", "comment")
    list_filter = ("event", "priority", "past", "source")
    list_select_related = ("alarm", "by")
    search_fields = ("alarm__text", "comment")
    date_hierarchy = "stored_at"
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "alarm__id__exact" or super().lookup_allowed(lookup, value, request)


@admin.register(Happening)
class HappeningAdmin(ForStaff):
    list_display = ("time", "instrument", "kind", "text", "stored_at", "told_at")
    list_filter = ("kind", "instrument__edge")
    list_select_related = ("instrument",)
    search_fields = ("instrument__name", "kind", "text")
    date_hierarchy = "time"
    show_full_result_count = False
