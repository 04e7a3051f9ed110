"""The admin of people and groups, in unfold's look, of rejected batches, and of instruments' rules."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin, UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _, ngettext
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from alerts.rules import proposals
from devices.admin import ForStaff, InstrumentAdmin as BaseInstrumentAdmin
from devices.errors import Refused
from devices.models import Instrument
from labsite import pipeline
from telemetry.models import RejectedBatch

# Importing their module has registered Django's own.
admin.site.unregister(User)
admin.site.unregister(Group)
admin.site.unregister(Instrument)


@admin.register(User)
class UserAdmin(BaseUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):
    pass


@admin.register(Instrument)
class InstrumentAdmin(BaseInstrumentAdmin):
    """Whoever adds an instrument is told of the rules that its driver proposes."""

    actions: tuple[str, ...] = (*BaseInstrumentAdmin.actions, "proposed_rules")

    def response_add(self, request: HttpRequest, obj: Instrument, *args: Any, **kwargs: Any) -> HttpResponse:
        if count := len(proposals.proposed(obj)):
            told = ngettext(
                "%(count)d rule is proposed for this driver",
                "%(count)d rules are proposed for this driver",
                count,
            )
            link = format_html(
                '{}: <a class="underline" href="{}">{}</a>',
                told % {"count": count},
                _proposed(obj),
                _("add them"),
            )
            self.message_user(request, link, messages.INFO)
        return super().response_add(request, obj, *args, **kwargs)  # type: ignore[no-any-return]

    @admin.action(description=_("Rules that its driver proposes"), permissions=["change"])
    def proposed_rules(self, request: HttpRequest, chosen: QuerySet[Instrument]) -> HttpResponse:  # noqa: ARG002
        return HttpResponseRedirect(_proposed(chosen[0]))


def _proposed(instrument: Instrument) -> str:
    return f"{reverse('admin:proposed_rules')}?instrument={instrument.pk}"


@admin.register(RejectedBatch)
class RejectedBatchAdmin(ForStaff):
    list_display = ("rejected_at", "edge", "sequence", "stored", "reason")
    list_filter = ("edge", "stored")
    list_select_related = ("edge",)
    search_fields = ("reason",)
    fields = ("edge", "spool", "sequence", "shift", "stored", "reason", "rejected_at")
    actions = ("try_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RejectedBatch]:
        """Without the batches themselves, which may be large."""
        return super().get_queryset(request).defer("packed")  # type: ignore[no-any-return]

    @admin.action(description=_("Try to store again"), permissions=["try_again"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[RejectedBatch]) -> None:
        self.each(request, chosen, reingest)

    def has_try_again_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)


def reingest(rejected: RejectedBatch) -> None:
    """Try a batch again. Raises Refused with what is still wrong."""
    if reason := pipeline.reingest(rejected, timezone.now()):
        raise Refused(reason)
