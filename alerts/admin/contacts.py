"""The admin of contacts, routes to them, and the notices that went there."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline

from alerts.admin.base import Edited, is_tried
from alerts.admin.forms import TRY, ContactForm, RouteForm, StepFormSet
from alerts.models import Attempt, Contact, Notice, Route, RouteStep
from alerts.notices import trials
from alerts.rules import editing
from devices.admin import ForStaff

TESTED_MOST = 5  # contacts at once: each may take ten seconds
LINES = 100  # of a notice that are shown


@admin.register(Contact)
class ContactAdmin(Edited):
    offers = ("add", "change", "delete")
    form = ContactForm
    list_display = ("name", "transport", "address", "enabled", "next", "user")
    list_filter = ("transport", "enabled")
    list_select_related = ("next", "user")
    search_fields = ("name", "address")
    actions = ("test",)
    fields = ("name", "transport", "address", "secret", "enabled", "next", "user")
    change_form_after_template = "alerts/test_contact.html"

    def save_whole(self, request: HttpRequest, obj: Contact, parts: list[Any] | None) -> None:  # noqa: ARG002
        editing.save_contact(obj, by=request.user)

    def delete_one(self, request: HttpRequest, obj: Contact) -> None:
        editing.delete_contact(obj, by=request.user)

    def why_it_stays(self, obj: Contact) -> str:
        return editing.why_contact_stays(obj)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """With the button for it: test the contact as it is saved."""
        context = {**(extra_context or {}), "try_button": TRY}
        contact = self.get_object(request, object_id) if object_id and is_tried(request) else None
        if contact is not None and self.has_change_permission(request, contact):
            context["tested"] = trials.test_contact(contact, by=request.user)
        return super().changeform_view(request, object_id, form_url, context)

    @admin.action(description=_("Test this contact: one notice"), permissions=["change"])
    def test(self, request: HttpRequest, chosen: QuerySet[Contact]) -> None:
        for contact in chosen[:TESTED_MOST]:
            tested = trials.test_contact(contact, by=request.user)
            level = messages.SUCCESS if tested.ok else messages.ERROR
            self.message_user(request, f"{contact}: {tested.words}", level)
        if chosen.count() > TESTED_MOST:
            words = _("The first %(count)d were tested.") % {"count": TESTED_MOST}
            self.message_user(request, words, messages.WARNING)


class StepInline(TabularInline):
    model = RouteStep
    formset = StepFormSet
    extra = 1
    fields = ("after", "contact")

    has_view_permission = has_add_permission = has_change_permission = has_delete_permission = (
        lambda self, request, obj=None: ForStaff.has_view_permission(self, request, obj)
    )


@admin.register(Route)
class RouteAdmin(Edited):
    offers = ("add", "change", "delete")
    form = RouteForm
    inlines = (StepInline,)
    list_display = ("name", "enabled", "least_priority", "contacts", "shown_tags", "start", "end", "zone")
    list_filter = ("enabled", "least_priority")
    search_fields = ("name", "tags")
    fieldsets: ClassVar = (
        (None, {"fields": ("name", "enabled")}),
        (_("What"), {"fields": ("alarms", "least_priority", "recoveries", "happenings", "tags", "daily")}),
        (_("When"), {"fields": ("days", ("start", "end"), "zone")}),
        (_("How often"), {"fields": (("window", "repeat"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        return super().get_queryset(request).prefetch_related("steps__contact")  # type: ignore[no-any-return]

    @admin.display(description=_("contacts"))
    def contacts(self, route: Route) -> str:
        return " → ".join(step.contact.name for step in route.steps.all())

    @admin.display(description=_("tags"))
    def shown_tags(self, route: Route) -> str:
        return " ".join(route.tags)

    def save_whole(self, request: HttpRequest, obj: Route, parts: list[RouteStep] | None) -> None:
        editing.save_route(obj, request.user, parts)

    def delete_one(self, request: HttpRequest, obj: Route) -> None:
        editing.delete_route(obj, by=request.user)


class AttemptInline(TabularInline):
    model = Attempt
    extra = 0
    fields = readonly_fields = ("at", "seconds", "error")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    has_view_permission = ForStaff.has_view_permission
    has_change_permission = has_delete_permission = has_add_permission


@admin.register(Notice)
class NoticeAdmin(ForStaff):
    inlines = (AttemptInline,)
    list_display = ("created_at", "contact", "kind", "state", "priority", "title", "tries", "sent_at")
    list_filter = ("state", "kind", "contact", "priority")
    list_select_related = ("contact",)
    search_fields = ("title", "contact__name")
    date_hierarchy = "created_at"
    show_full_result_count = False
    fields = (
        "id", "contact", "route", "kind", "state", "priority", "created_at", "due_at", "tries", "sent_at",
        "title", "text", "reference", "follows", "told",
    )  # fmt: skip
    readonly_fields = ("told",)

    @admin.display(description=_("tells of"))
    def told(self, notice: Notice) -> str:
        lines = notice.lines.select_related("alarm", "event", "happening").order_by("id")[:LINES]
        return format_html_join("", "<div>{}</div>", ((words_of(line),) for line in lines))


def words_of(line: Any) -> str:
    """What one line of a notice tells of."""
    if line.alarm is None:
        return line.happening.text if line.happening else ""
    return f"{line.alarm.text}: {line.event.get_event_display()}" if line.event else line.alarm.text
