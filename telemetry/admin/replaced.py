"""The admin of interfaces of replaced programs."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from devices.admin import ForStaff
from devices.models import Instrument
from telemetry import interfaces
from telemetry.models import ReplacedInterface


class InterfaceForm(forms.ModelForm):  # type: ignore[type-arg]
    """Says beside each field what could not work."""

    class Meta:
        model = ReplacedInterface
        fields = ("instrument", "kind", "enabled", "open", "options")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["instrument"].queryset = Instrument.objects.filter(retired_at=None)  # type: ignore[attr-defined]

    def clean_options(self) -> Any:
        return self.cleaned_data["options"] or {}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            interfaces.check(self.instance)
        except ValidationError as error:
            for name, words in error.message_dict.items():
                self.add_error(name if name in self.fields else None, words)


@admin.register(ReplacedInterface)
class ReplacedInterfaceAdmin(ForStaff):
    offers = ("add", "change", "delete")
    form = InterfaceForm
    list_display = ("instrument", "kind", "enabled", "open")
    list_filter = ("kind", "enabled", "open")
    list_select_related = ("instrument",)
    search_fields = ("instrument__name",)

    def save_model(self, request: HttpRequest, obj: ReplacedInterface, form: Any, change: bool) -> None:  # noqa: ARG002
        interfaces.save(obj, by=request.user)

    def delete_model(self, request: HttpRequest, obj: ReplacedInterface) -> None:
        interfaces.delete(obj, by=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ReplacedInterface]) -> None:
        for interface in queryset:
            interfaces.delete(interface, by=request.user)
