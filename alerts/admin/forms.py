"""The forms of rules, contacts and routes: what alerts.rules.checking finds wrong stands beside its field."""

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.forms import ActionForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from alerts.models import Contact, Override, Route, Rule
from alerts.notices.transports import NAMES
from alerts.rules import checking
from devices.forms import WordsField, driver_choices
from devices.readings import RUN_STATES

TRY = "_try"  # the button that tries what the form describes in place of saving it
DAYS = [
    (0, _("Monday")),
    (1, _("Tuesday")),
    (2, _("Wednesday")),
    (3, _("Thursday")),
    (4, _("Friday")),
    (5, _("Saturday")),
    (6, _("Sunday")),
]


class CheckedForm(forms.ModelForm):  # type: ignore[type-arg]
    """A row that is looked at as a whole, once each field is right by itself; saved by alerts.rules."""

    def __init__(self, data: Any = None, files: Any = None, **kwargs: Any) -> None:
        self.trying = data is not None and TRY in data
        super().__init__(data, files, **kwargs)

    def check(self) -> None:
        """Raises ValidationError."""

    def is_valid(self) -> bool:
        """Never where it is only tried: nothing is saved then."""
        return super().is_valid() and not self.trying

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            self.check()
        except ValidationError as error:
            for name, words in error.message_dict.items():
                self.add_error(name if name in self.fields else None, words)


class RuleForm(CheckedForm):
    driver = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    suppressed_in = forms.MultipleChoiceField(
        required=False,
        label=_("Suppressed while the instrument has a run that is"),
        choices=[(state, state) for state in RUN_STATES],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = Rule
        fields: ClassVar = "__all__"

    def __init__(self, data: Any = None, files: Any = None, **kwargs: Any) -> None:
        super().__init__(data, files, **kwargs)
        driver = self.fields.get("driver")
        if isinstance(driver, forms.ChoiceField):
            driver.choices = [("", "---------"), *driver_choices(self.instance.driver or "")]

    def check(self) -> None:
        checking.check_rule(self.instance)


class OverrideForm(CheckedForm):
    class Meta:
        model = Override
        fields: ClassVar = "__all__"

    def is_valid(self) -> bool:
        return forms.ModelForm.is_valid(self)

    def check(self) -> None:
        if self.instance.channel_id:
            checking.raise_wrong(checking.wrong_override(self.instance))


class ContactForm(CheckedForm):
    transport = forms.ChoiceField(choices=[(name, name) for name in NAMES], widget=UnfoldAdminSelectWidget)
    secret = forms.CharField(
        required=False,
        label=_("Name of the secret"),
        help_text=_(
            "Its value is in LABSITE_SECRET_… at the centre, or in the file that LABSITE_SECRET_…_FILE "
            "names. Of a webhook the key that signs, of Apprise the whole URL."
        ),
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    class Meta:
        model = Contact
        fields: ClassVar = "__all__"

    def check(self) -> None:
        checking.check_contact(self.instance)


class RouteForm(CheckedForm):
    happenings = WordsField(
        required=False,
        label=_("Kinds of events"),
        help_text=_("Told without being alarms, such as run.started, run.completed, run_action"),
    )
    tags = WordsField(
        required=False, help_text=_("Only of instruments with one of these tags; empty: of all")
    )
    days = forms.TypedMultipleChoiceField(
        required=False,
        label=_("Days"),
        choices=DAYS,
        coerce=int,
        empty_value=[],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("None marked: every day"),
    )

    class Meta:
        model = Route
        fields: ClassVar = "__all__"

    def check(self) -> None:
        checking.check_route(self.instance)


class StepFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """The steps of a route, of which there must be one."""

    def clean(self) -> None:
        super().clean()
        if not any(self.errors):
            try:
                checking.check_steps(rows(self))
            except ValidationError as error:
                raise ValidationError(error.messages) from None


def rows(formset: Any) -> list[Any]:
    """All that is to be there: as the form has it, and what somebody has added since it was opened."""
    wanted = [
        form.instance
        for form in formset.forms
        if form not in formset.deleted_forms and (form.instance.pk or form.has_changed())
    ]
    shown = {form.instance.pk for form in formset.forms}
    return [*wanted, *(row for row in formset.get_queryset() if row.pk not in shown)]


class ReasonForm(ActionForm):
    """Beside the choice of an action: why it is done."""

    reason = forms.CharField(
        required=False,
        label="",
        max_length=400,
        widget=UnfoldAdminTextInputWidget(
            attrs={"placeholder": _("Reason, where something is put aside"), "aria-label": _("Reason")}
        ),
    )
