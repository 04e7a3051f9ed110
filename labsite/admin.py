"""The admin of people and groups, in unfold's look, and of batches that the pipeline rejected."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin, UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from devices.admin import ForStaff
from devices.errors import Refused
from labsite import pipeline
from telemetry.models import RejectedBatch

# Importing their module has registered Django's own.
admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(BaseUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):
    pass


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
