"""The form of an instrument: built from what its driver declares, one field per option."""

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorDict
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from devices import drivers, services
from devices.drivers.base import SECRET_NAME, Driver, Option, Secret
from devices.errors import ConfigurationError
from devices.models import Instrument

PREFIX = "option_"
TEST = "_test"  # the button that tests the connection in place of saving


def declared_options(driver_name: str) -> tuple[Option, ...]:
    """A driver's options; none if it cannot be loaded."""
    driver = driver_or_none(driver_name)
    return driver.options if driver else ()


def driver_or_none(name: str) -> type[Driver] | None:
    try:
        return drivers.load(name)
    except ConfigurationError:
        return None


def driver_choices(present: str) -> list[tuple[str, str]]:
    """What can be chosen: all drivers but the edges' own, and the instrument's present one whatever it is."""
    names = [name for name in drivers.names() if name != services.HOST_DRIVER]
    if present and present not in names:
        names.append(present)
    return [(name, _driver_label(name)) for name in names]


def _driver_label(name: str) -> str:
    driver = driver_or_none(name)
    return f"{driver.label} ({name})" if driver else f"{name} (not installed)"


class ListField(forms.CharField):
    """A list, written as JSON; errors say in which line. What its items must be, the driver says."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 10, "spellcheck": "false", "class": "font-mono"})

    def prepare_value(self, value: Any) -> Any:
        """An object to a line, as far as they fit."""
        return listed(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        text = (super().to_python(value) or "").strip()
        if not text:
            return None
        try:
            items = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValidationError(
                _("No JSON: %(message)s, in line %(line)d, column %(column)d"),
                params={"message": error.msg, "line": error.lineno, "column": error.colno},
            ) from None
        except (ValueError, RecursionError) as error:
            raise ValidationError(_("No JSON: %(message)s"), params={"message": str(error)}) from None
        if not isinstance(items, list):
            raise ValidationError(_("A list is needed: [ … ], with its items between commas"))
        return items

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial) != data)


def listed(items: list[Any]) -> str:
    """A list as JSON that a person edits: one item to a line."""
    lines = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in items)
    return f"[\n{lines}\n]" if items else "[]"


class WordsField(forms.CharField):
    """Words between blanks or commas, for a list of them."""

    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return " ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return (super().to_python(value) or "").replace(",", " ").split()

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(self.prepare_value(initial)) != self.to_python(data))


class SecretField(forms.CharField):
    """The name of a secret, never the secret itself."""

    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return value.get("secret", "") if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        name = (super().to_python(value) or "").strip()
        if not name:
            return ""
        if not SECRET_NAME.fullmatch(name):
            # Not shown again: a person may have written the password itself.
            raise ValidationError(
                _("Only the secret's name belongs here, in capitals, digits and underscores, such as QPCR_1")
            )
        return {"secret": name}

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


SPECIAL: Mapping[type, type[forms.Field]] = {list: ListField, Secret: SecretField}


def option_field(option: Option) -> forms.Field:
    """A form's field for one option, with its help, default and limits."""
    common: dict[str, Any] = {
        "label": option.name.replace("_", " ").capitalize(),
        "help_text": _help(option),
        "required": False,
    }
    if option.kind is bool:
        return forms.BooleanField(widget=UnfoldBooleanSwitchWidget, **common)
    if special := SPECIAL.get(option.kind):
        return special(**common)
    if option.choices:
        choices = [(choice, choice) for choice in option.choices]
        return forms.ChoiceField(choices=choices, widget=UnfoldAdminSelectWidget, **common)
    if option.kind is int:
        return forms.IntegerField(
            min_value=_whole(option.low),
            max_value=_whole(option.high),
            widget=UnfoldAdminIntegerFieldWidget,
            **common,
        )
    if option.kind is float:
        return forms.FloatField(
            min_value=option.low, max_value=option.high, widget=UnfoldAdminDecimalFieldWidget, **common
        )
    return forms.CharField(strip=False, widget=UnfoldAdminTextInputWidget, **common)


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def _help(option: Option) -> str:
    parts = [option.help]
    if option.low is not None and option.high is not None:
        parts.append(f"From {option.low:g} to {option.high:g}.")
    elif option.low is not None:
        parts.append(f"At least {option.low:g}.")
    elif option.high is not None:
        parts.append(f"At most {option.high:g}.")
    if option.kind is Secret:
        parts.append(
            "Write the secret's name, such as QPCR: the edge reads LABSITE_SECRET_QPCR or the file named in "
            "LABSITE_SECRET_QPCR_FILE, and gives it only to the hosts in LABSITE_SECRET_QPCR_HOSTS."
        )
    elif option.kind is list:
        parts.append("A list in JSON.")
        parts += [f"Default: {json.dumps(option.default, ensure_ascii=False)}."] if option.default else []
    elif option.default != "":
        parts.append(f"Default: {option.default}.")
    return " ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts if part)


def form_for(driver_name: str) -> type["InstrumentForm"]:
    """The form class of instruments with this driver."""
    fields = {PREFIX + option.name: option_field(option) for option in declared_options(driver_name)}
    return type("InstrumentForm", (InstrumentForm,), {**fields, "driver_name": driver_name})


class InstrumentForm(forms.ModelForm):  # type: ignore[type-arg]
    """An instrument and its options. Made by `form_for`; saved by the service.

    If the driver that was sent is another than the one whose options were shown, nothing is saved: the form
    comes back with the options of the driver that was chosen. So it works without script.
    """

    driver_name: ClassVar = ""
    driver = forms.ChoiceField(widget=UnfoldAdminSelectWidget, help_text=_("What kind of instrument it is"))
    tags = WordsField(
        required=False,
        help_text=_(
            "Words by which rules and routes choose instruments, such as a room or a project; "
            "blanks or commas between them"
        ),
    )
    options_of = forms.CharField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = Instrument
        fields = ("name", "driver", "edge", "address", "interval", "in_service", "tags")

    def __init__(self, data: Any = None, files: Any = None, **kwargs: Any) -> None:
        self.options = {option.name: option for option in declared_options(self.driver_name)}
        self.switched = data is not None and data.get("options_of", self.driver_name) != self.driver_name
        self.testing = data is not None and TEST in data
        if self.switched:
            data = self._with_defaults(data)
        super().__init__(data, files, **kwargs)
        self._prepare()

    def _with_defaults(self, data: Any) -> Any:
        """What was sent, with the chosen driver's defaults where the other driver's options were."""
        data = data.copy()
        data["options_of"] = self.driver_name
        for name, option in self.options.items():
            data.pop(PREFIX + name, None)
            if option.kind is not bool or option.default:
                default = option.default
                data[PREFIX + name] = listed(default) if isinstance(default, list) else str(default)
        return data

    def _prepare(self) -> None:
        choice = cast("forms.ChoiceField", self.fields["driver"])
        choice.choices = driver_choices(self.instance.driver)
        self.initial["driver"] = self.initial["options_of"] = self.driver_name
        for name, option in self.options.items():
            self.initial[PREFIX + name] = self.instance.options.get(name, option.default)
        driver = driver_or_none(self.driver_name)
        if driver and "address" in self.fields:
            self.fields["address"].help_text = _("A URL, such as %(example)s") % {"example": driver.example}

    def is_valid(self) -> bool:
        """Never where the connection is only tested: nothing is saved then."""
        return super().is_valid() and not self.testing

    def full_clean(self) -> None:
        if not self.switched:
            super().full_clean()
            return
        self._errors = ErrorDict()
        self.cleaned_data: dict[str, Any] = {}
        label = _driver_label(self.driver_name)
        self.add_error(
            "driver", _("Now the options of %(driver)s are shown: save again.") % {"driver": label}
        )

    def _post_clean(self) -> None:
        """Let the service look at the instrument as a whole, once each field is right by itself."""
        super()._post_clean()  # type: ignore[misc]
        self.instance.options = self._chosen_options()
        if self.errors:
            return
        try:
            services.check_instrument(self.instance)
        except ValidationError as error:
            self._show(error)

    def _chosen_options(self) -> dict[str, Any]:
        """What was chosen otherwise than the default, or was set before."""
        before: Mapping[str, Any] = self.instance.options
        chosen = {}
        for name, option in self.options.items():
            value = self.cleaned_data.get(PREFIX + name)
            if value is None or (value == "" and option.kind is not str) or (value == "" and option.choices):
                continue  # left empty: the default
            if value != option.default or name in before:
                chosen[name] = value
        return chosen

    def _show(self, error: ValidationError) -> None:
        """Put what the service found wrong beside the field it speaks of."""
        if not hasattr(error, "error_dict"):
            self.add_error(None, error)
            return
        for key, messages in error.message_dict.items():
            for message in messages:
                self.add_error(self._field_of(key, message), message)

    def _field_of(self, key: str, message: str) -> str | None:
        option = re.match(r"option (\w+)", message)
        if option and PREFIX + option[1] in self.fields:
            return PREFIX + option[1]
        return key if key in self.fields else None
