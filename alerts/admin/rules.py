"""The admin of rules, with what is otherwise for single channels, and their back-test."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline

from alerts.admin.base import Edited, is_tried
from alerts.admin.forms import TRY, OverrideForm, RuleForm
from alerts.models import Override, Rule
from alerts.rules import editing
from alerts.rules.editing import Tried
from devices.admin import ForStaff
from devices.errors import Refused

DAYS = 7.0  # that a back-test looks at, unless another number is asked for
TIMES = 100  # that it shows


class OverrideInline(TabularInline):
    model = Override
    form = OverrideForm
    extra = 0
    autocomplete_fields = ("channel",)
    fields = (
        "channel", "enabled", "low", "high", "value", "deadband", "seconds", "on_delay", "off_delay",
        "priority",
    )  # fmt: skip

    has_view_permission = has_add_permission = has_change_permission = has_delete_permission = (
        lambda self, request, obj=None: ForStaff.has_view_permission(self, request, obj)
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Override]:
        return super().get_queryset(request).select_related("channel__instrument")  # type: ignore[no-any-return]


@admin.register(Rule)
class RuleAdmin(Edited):
    offers = ("add", "change", "delete")
    form = RuleForm
    inlines = (OverrideInline,)
    list_display = ("name", "kind", "of", "shown_priority", "enabled", "built_in")
    list_filter = ("enabled", "kind", "priority", "driver", "built_in")
    list_select_related = ("channel__instrument", "instrument", "edge")
    search_fields = ("name", "driver", "key", "tag", "guidance")
    actions = ("back_test", "switch_on", "switch_off")
    autocomplete_fields = ("channel", "instrument", "suppressed_by")
    change_form_after_template = "alerts/back_test.html"
    fieldsets: ClassVar = (
        (None, {"fields": ("name", "kind", "enabled", "priority", "guidance")}),
        (
            _("Of what"),
            {
                "fields": ("channel", "instrument", "driver", "edge", "tag", "key"),
                "description": _(
                    "One channel; or one instrument; or all with this driver, edge and tag, where each that "
                    "is empty means any. The key names the channels within them (* and ? are wildcards)."
                ),
            },
        ),
        (
            _("When"),
            {
                "fields": (
                    ("low", "high"), ("value", "deadband"), "seconds", ("event_kind", "event_text"),
                    ("on_delay", "off_delay"), "latch",
                )
            },
        ),
        (_("When not"), {"fields": ("suppressed_by", "suppressed_in")}),
        (_("Chatter"), {"fields": (("chatter_changes", "chatter_seconds"),)}),
    )  # fmt: skip

    @admin.display(description=_("of"))
    def of(self, rule: Rule) -> str:
        """What it is of, in a few words."""
        if rule.channel:
            return str(rule.channel)
        of_all = [rule.driver, rule.edge and str(rule.edge), rule.tag and f"#{rule.tag}"]
        where = str(rule.instrument) if rule.instrument else " ".join(str(each) for each in of_all if each)
        return f"{where} {rule.key}".strip()

    @admin.display(description=_("priority"), ordering="priority")
    def shown_priority(self, rule: Rule) -> str:
        return rule.get_priority_display()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        stays = isinstance(obj, Rule) and obj.built_in
        return super().has_delete_permission(request, obj) and not stays

    def save_whole(self, request: HttpRequest, obj: Rule, parts: list[Override] | None) -> None:
        editing.save_rule(obj, request.user, parts)

    def delete_one(self, request: HttpRequest, obj: Rule) -> None:
        editing.delete_rule(obj, by=request.user)

    def why_it_stays(self, obj: Rule) -> str:
        return editing.why_rule_stays(obj)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """With the button for it: try the rule as the form describes it, and save nothing."""
        context = {
            **(extra_context or {}),
            "try_button": TRY,
            "days": request.POST.get("days") or f"{DAYS:g}",
            "days_most": f"{editing.DAYS_MOST:g}",
        }
        if is_tried(request):
            try:
                context["tried"] = self._tried(request, object_id)
            except (Refused, ValidationError) as error:
                self.tell(request, error)
            else:
                context["times"] = context["tried"].found.raised[:TIMES] if context["tried"] else []
        return super().changeform_view(request, object_id, form_url, context)

    def _tried(self, request: HttpRequest, object_id: str | None) -> Tried | None:
        """None for what is not there, or not right: the form says so itself."""
        rule = self.get_object(request, object_id) if object_id else None
        if (object_id and rule is None) or not self.has_change_permission(request, rule):
            return None
        form = self.get_form(request, rule, change=bool(rule))(request.POST, instance=rule)
        if form.errors:
            return None
        return editing.back_test(form.instance, _days(request), by=request.user)

    @admin.action(description=_("Back-test over the last 7 days"), permissions=["change"])
    def back_test(self, request: HttpRequest, chosen: QuerySet[Rule]) -> None:
        for rule in chosen:
            try:
                tried = editing.back_test(rule, DAYS, by=request.user)
            except (Refused, ValidationError) as error:
                self.tell(request, error, f"{rule}: ")
            else:
                self.message_user(request, f"{rule}: {tried.summary}", messages.SUCCESS)

    @admin.action(description=_("Switch on"), permissions=["change"])
    def switch_on(self, request: HttpRequest, chosen: QuerySet[Rule]) -> None:
        self.each(request, chosen, lambda rule: editing.set_enabled(rule, by=request.user, on=True))

    @admin.action(description=_("Switch off"), permissions=["change"])
    def switch_off(self, request: HttpRequest, chosen: QuerySet[Rule]) -> None:
        self.each(request, chosen, lambda rule: editing.set_enabled(rule, by=request.user, on=False))


def _days(request: HttpRequest) -> float:
    """Raises Refused."""
    try:
        days = float(request.POST.get("days") or DAYS)
    except ValueError:
        days = 0.0
    if not 0 < days <= editing.DAYS_MOST:
        raise Refused(f"a back-test looks at up to {editing.DAYS_MOST:g} days")
    return days
