"""The admin of computed channels, and of calibrations and the storage policy beside their channel. What is
changed here goes through telemetry.defining."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline, TabularInline
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from devices.admin import ChannelAdmin as BaseChannelAdmin, ForStaff
from devices.errors import Refused
from devices.models import Channel, Instrument
from devices.numbers import number, unit
from telemetry import defining
from telemetry.models import Calibration, ComputedChannel, StoragePolicy

TRY = "_try"  # the button that tries the formula in place of saving it
RECOMPUTING_S = 20.0  # that one click computes again for
OF_CHANNEL = ("label", "unit", "digits", "low", "high")

admin.site.unregister(Channel)


def told_by_field(form: Any, error: ValidationError) -> None:
    """Say what a service finds wrong beside the field it speaks of."""
    for name, words in error.message_dict.items():
        form.add_error(name if name in form.fields else None, words)


# ---- computed channels


class ComputedForm(forms.ModelForm):  # type: ignore[type-arg]
    """A computed channel and what is said of the channel itself."""

    instrument = forms.ModelChoiceField(
        Instrument.objects.none(), label=_("Instrument"), widget=UnfoldAdminSelectWidget
    )
    key = forms.CharField(
        label=_("Key"), max_length=100, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    )
    label = forms.CharField(
        required=False, label=_("Label"), max_length=120, widget=UnfoldAdminTextInputWidget
    )
    unit = forms.CharField(
        required=False,
        label=_("Unit"),
        help_text=_("In UCUM, such as Cel, % or g/m3"),
        widget=UnfoldAdminTextInputWidget,
    )
    digits = forms.IntegerField(
        required=False, label=_("Decimal places"), widget=UnfoldAdminIntegerFieldWidget
    )
    low = forms.FloatField(required=False, label=_("Normal from"), widget=UnfoldAdminDecimalFieldWidget)
    high = forms.FloatField(required=False, label=_("Normal to"), widget=UnfoldAdminDecimalFieldWidget)
    formula = forms.CharField(
        required=False,
        label=_("Formula"),
        help_text=_(
            "Over keys of channels of the same instrument, such as dew_point(temperature, humidity); keys "
            "that are no names in braces: {ch-0} / 2"
        ),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false", "class": "font-mono"}),
    )

    class Meta:
        model = ComputedChannel
        fields = ("formula",)

    def __init__(self, data: Any = None, files: Any = None, **kwargs: Any) -> None:
        self.trying = data is not None and TRY in data
        super().__init__(data, files, **kwargs)
        instruments: Any = self.fields["instrument"]
        instruments.queryset = Instrument.objects.filter(retired_at=None)
        if self.instance.pk:
            channel = self.instance.channel
            names = ("instrument", "key", *OF_CHANNEL)
            self.initial.update({name: getattr(channel, name) for name in names})
            self.fields["instrument"].disabled = self.fields["key"].disabled = True
            self.fields["formula"].disabled = bool(self.instance.source_id)

    def is_valid(self) -> bool:
        """Never where the formula is only tried: nothing is saved then."""
        return super().is_valid() and not self.trying

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        given = self.cleaned_data
        channel = self.instance.channel if self.instance.pk else Channel()
        channel.instrument, channel.key = given["instrument"], given["key"]
        for name in OF_CHANNEL:
            setattr(channel, name, given[name])
        self.instance.channel = channel
        try:
            defining.check_computed(self.instance)
        except ValidationError as error:
            told_by_field(self, error)


@admin.register(ComputedChannel)
class ComputedChannelAdmin(ForStaff):
    offers = ("add", "change", "delete")
    form = ComputedForm
    fields = ("instrument", "key", "formula", *OF_CHANNEL)
    list_display = ("channel", "shown_key", "formula", "source")
    list_filter = ("channel__instrument__edge",)
    list_select_related = ("channel__instrument", "source__instrument")
    search_fields = ("channel__key", "channel__label", "channel__instrument__name", "formula")
    actions = ("compute_again",)
    change_form_after_template = "telemetry/formula_preview.html"

    @admin.display(description=_("key"), ordering="channel__key")
    def shown_key(self, computed: ComputedChannel) -> str:
        return computed.channel.key

    def save_model(self, request: HttpRequest, obj: ComputedChannel, form: Any, change: bool) -> None:  # noqa: ARG002
        defining.save_computed(obj, by=request.user)

    def delete_model(self, request: HttpRequest, obj: ComputedChannel) -> None:
        defining.delete_computed(obj, by=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ComputedChannel]) -> None:
        self.each(request, queryset, lambda row: defining.delete_computed(row, by=request.user))

    def get_deleted_objects(self, objs: Iterable[Model], request: HttpRequest) -> Any:  # noqa: ARG002
        """The history stays."""
        chosen = list(objs)
        return [str(each) for each in chosen], {str(_("computed channels")): len(chosen)}, set(), []

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """With the button for it: try the formula as the form has it, and save nothing."""
        context = {**(extra_context or {}), "try_button": TRY}
        if request.method == "POST" and TRY in request.POST:
            context["previewed"] = self._previewed(request, object_id)
        return super().changeform_view(request, object_id, form_url, context)

    def _previewed(self, request: HttpRequest, object_id: str | None) -> dict[str, Any] | None:
        """None for what is not there, or not right: the form says so itself."""
        computed = self.get_object(request, object_id) if object_id else None
        if (object_id and computed is None) or not self.has_change_permission(request, computed):
            return None
        form = self.get_form(request, computed, change=bool(computed))(request.POST, instance=computed)
        if form.errors or form.instance.source_id:
            return None
        found = defining.preview(form.instance, by=request.user)
        channel = form.instance.channel
        value = f"{number(found.value, channel.digits)} {unit(channel.unit)}".strip()
        return {"value": value, "inputs": found.inputs}

    @admin.action(description=_("Compute again what is stored"), permissions=["change"])
    def compute_again(self, request: HttpRequest, chosen: QuerySet[ComputedChannel]) -> None:
        for computed in chosen:
            try:
                done = defining.recompute(computed.channel, request.user, seconds=RECOMPUTING_S)
            except Refused as error:
                self.tell(request, error, f"{computed}: ")
                continue
            words = _("%(channel)s: up to %(through)s %(changed)d values changed, %(added)d added") % {
                "channel": computed,
                "through": f"{done.through:%Y-%m-%d %H:%M}" if done.through else "–",
                "changed": done.changed,
                "added": done.added,
            }
            self.message_user(request, words, messages.SUCCESS)


# ---- beside the channel


class Beside:
    """What staff changes on the page of a channel."""

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return ForStaff.has_view_permission(self, request, obj)  # type: ignore[arg-type]

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission


class CalibrationForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Calibration
        fields = ("valid_from", "kind", "numbers", "note")

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            defining.check_calibration(self.instance)
        except ValidationError as error:
            told_by_field(self, error)


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = StoragePolicy
        fields = ("mode", "dead_band", "heartbeat")

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            defining.check_policy(self.instance)
        except ValidationError as error:
            told_by_field(self, error)


class CalibrationInline(Beside, TabularInline):
    model = Calibration
    form = CalibrationForm
    fk_name = "channel"
    extra = 0
    ordering = ("valid_from",)


class PolicyInline(Beside, StackedInline):
    model = StoragePolicy
    form = PolicyForm
    extra = 0
    max_num = 1


@admin.register(Channel)
class ChannelAdmin(BaseChannelAdmin):
    """With how its raw values become true ones, and which of its readings are stored."""

    inlines: ClassVar = (PolicyInline, CalibrationInline)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: ARG002
        of_calibrations = formset.model is Calibration
        save: Any = defining.save_calibration if of_calibrations else defining.save_policy
        delete: Any = defining.delete_calibration if of_calibrations else defining.delete_policy
        wanted = formset.save(commit=False)
        for row in formset.deleted_objects:
            delete(row, by=request.user)
        for row in wanted:
            save(row, by=request.user)
