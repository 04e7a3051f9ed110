"""The admin of what there is. Whatever is changed here goes through the services."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms import Field, ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin

from devices import services
from devices.errors import DriverError, Refused
from devices.forms import PREFIX, TEST, declared_options, driver_choices, form_for
from devices.models import LOCAL_EDGE, PUSH_EDGE, AccessToken, Channel, Edge, Instrument, Latest, Run
from devices.trials import Verdict

CHANGES = ("add", "change", "delete")


class ForStaff(ModelAdmin):
    """Until roles come: whoever is staff may do all that a page offers; `offers` says what that is."""

    offers: ClassVar[tuple[str, ...]] = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return bool(request.user.is_active and getattr(request.user, "is_staff", False))

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return "add" in self.offers and self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        retired = getattr(obj, "retired_at", None) is not None
        return "change" in self.offers and not retired and self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return "delete" in self.offers and self.has_view_permission(request)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """A refusal that only the service could know of (somebody was faster) is told, not a server error."""
        try:
            return super().changeform_view(request, *args, **kwargs)  # type: ignore[no-any-return]
        except (Refused, ValidationError, DriverError) as error:
            self.tell(request, error)
            return HttpResponseRedirect(request.get_full_path())

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """A refusal that only the service could know of is told."""
        try:
            return super().delete_view(request, *args, **kwargs)  # type: ignore[no-any-return]
        except Refused as error:
            self.tell(request, error)
            return HttpResponseRedirect(request.get_full_path())

    def each(self, request: HttpRequest, chosen: QuerySet[Any], act: Callable[[Any], object]) -> None:
        """Do it to each one chosen; say how many that were, and which refused and why."""
        done = 0
        for row in chosen:
            try:
                act(row)
            except (Refused, ValidationError, DriverError) as error:
                self.tell(request, error, f"{row}: ")
            else:
                done += 1
        if done:
            self.message_user(request, _("Done: %(count)d.") % {"count": done}, messages.SUCCESS)

    def tell(self, request: HttpRequest, error: Exception, who: str = "") -> None:
        words = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        self.message_user(request, who + words, messages.ERROR)


class RetiredFilter(admin.SimpleListFilter):
    """Shows what is not retired, unless asked."""

    title = _("retired")
    parameter_name = "retired"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [("yes", _("Yes")), ("all", _("All"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        if self.value() == "all":
            return queryset
        return queryset.filter(retired_at__isnull=self.value() != "yes")

    def choices(self, changelist: Any) -> Any:
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": _("No"),
        }
        for choice, title in self.lookup_choices:
            yield {
                "selected": self.value() == choice,
                "query_string": changelist.get_query_string({self.parameter_name: choice}),
                "display": title,
            }


@admin.register(Edge)
class EdgeAdmin(ForStaff):
    offers = ("add",)
    list_display = ("name", "heard_at", "key_version", "revision", "retired_at")
    list_filter = (RetiredFilter,)
    search_fields = ("name",)
    fields = (
        "name",
        "heard_at",
        "key_version",
        "revision",
        "instance",
        "boot",
        "spool",
        "status",
        "retired_at",
    )
    readonly_fields = fields[1:]
    actions = ("retire",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Edge]:
        return super().get_queryset(request).exclude(name=PUSH_EDGE)  # type: ignore[no-any-return]

    def get_fields(self, request: HttpRequest, obj: Edge | None = None) -> tuple[str, ...]:  # noqa: ARG002
        return self.fields if obj else ("name",)

    def save_model(self, request: HttpRequest, obj: Edge, form: Any, change: bool) -> None:  # noqa: ARG002
        obj.pk = services.save_edge(obj.name, by=request.user).pk

    @admin.action(description=_("Retire"), permissions=["add"])
    def retire(self, request: HttpRequest, chosen: QuerySet[Edge]) -> None:
        self.each(request, chosen, lambda edge: services.retire_edge(edge, by=request.user))


@admin.register(Instrument)
class InstrumentAdmin(ForStaff):
    offers = ("add", "change")
    list_display = ("name", "driver", "edge", "address", "interval", "in_service", "shown_tags", "demo")
    list_filter = (RetiredFilter, "edge", "driver", "in_service", "demo")
    list_select_related = ("edge",)
    search_fields = ("name", "address", "tags")
    actions: tuple[str, ...] = ("test_connection", "take_out_of_service", "put_into_service", "retire")
    change_form_after_template = "devices/test_connection.html"

    class Media:
        js = ("devices/driver.js",)

    def get_form(
        self, request: HttpRequest, obj: Instrument | None = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm]:  # type: ignore[type-arg]
        if self.has_change_permission(request, obj):
            kwargs.setdefault("form", form_for(shown_driver(request, obj)))
        return super().get_form(request, obj, change=change, **kwargs)  # type: ignore[no-any-return]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """With the button for it: test the connection as the form describes it, and save nothing."""
        context = {**(extra_context or {}), "test_button": TEST}
        if request.method == "POST" and TEST in request.POST:
            try:
                context["verdict"] = self._tested(request, object_id)
            except (Refused, ValidationError, DriverError) as error:
                self.tell(request, error)
        return super().changeform_view(request, object_id, form_url, context)

    def _tested(self, request: HttpRequest, object_id: str | None) -> Verdict | None:
        """None for what is not there, or not right: the form says so itself."""
        instrument = self.get_object(request, object_id) if object_id else None
        if not (instrument or self.has_add_permission(request)) or (object_id and not instrument):
            return None
        if not self.has_view_permission(request, instrument):
            return None
        form = self.get_form(request, instrument, change=bool(instrument))(request.POST, instance=instrument)
        if form.errors:
            return None
        (verdict,) = services.test_connections([form.instance], by=request.user)
        return verdict

    @admin.action(description=_("Test connection: one poll, nothing is stored"), permissions=["change"])
    def test_connection(self, request: HttpRequest, chosen: QuerySet[Instrument]) -> None:
        try:
            verdicts = services.test_connections(list(chosen), by=request.user)
        except (Refused, ValidationError, DriverError) as error:
            self.tell(request, error)
            return
        for verdict in verdicts:
            level = messages.SUCCESS if verdict.ok else messages.ERROR
            self.message_user(request, f"{verdict.instrument}: {verdict.summary}", level)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        local = Edge.objects.filter(name=LOCAL_EDGE, retired_at=None).first()
        return {"edge": local, **super().get_changeform_initial_data(request)}

    def get_fieldsets(self, request: HttpRequest, obj: Instrument | None = None) -> Any:
        if not self.has_change_permission(request, obj):
            return [(None, {"fields": (*InstrumentAdmin.shown, "options", "retired_at")})]
        driver = shown_driver(request, obj)
        options = [PREFIX + option.name for option in declared_options(driver)]
        left_out = ("edge", "address") if driver == services.PUSH_DRIVER else ()
        shown = [name for name in InstrumentAdmin.shown if name not in left_out]
        sets: list[Any] = [(None, {"fields": (*shown, "options_of")})]
        if options:
            sets.append((_("Options of the driver"), {"fields": options}))
        return sets

    shown: ClassVar = ("name", "driver", "edge", "address", "interval", "in_service", "tags")

    @admin.display(description=_("tags"))
    def shown_tags(self, instrument: Instrument) -> str:
        return " ".join(instrument.tags)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Field | None:
        if db_field.name == "edge":
            kwargs["queryset"] = Edge.objects.filter(retired_at=None).exclude(name=PUSH_EDGE)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[no-any-return]

    def save_model(self, request: HttpRequest, obj: Instrument, form: Any, change: bool) -> None:  # noqa: ARG002
        services.save_instrument(obj, by=request.user)

    @admin.action(description=_("Take out of service"), permissions=["change"])
    def take_out_of_service(self, request: HttpRequest, chosen: QuerySet[Instrument]) -> None:
        self.each(request, chosen, lambda instrument: set_service(instrument, request, on=False))

    @admin.action(description=_("Put into service"), permissions=["change"])
    def put_into_service(self, request: HttpRequest, chosen: QuerySet[Instrument]) -> None:
        self.each(request, chosen, lambda instrument: set_service(instrument, request, on=True))

    @admin.action(description=_("Retire: poll no more, keep the history"), permissions=["change"])
    def retire(self, request: HttpRequest, chosen: QuerySet[Instrument]) -> None:
        self.each(request, chosen, lambda row: services.retire_instrument(row, by=request.user))


def shown_driver(request: HttpRequest, instrument: Instrument | None) -> str:
    """Whose options the form shows: what was just chosen, else the instrument's driver, else the first."""
    asked = request.POST.get("driver") or request.GET.get("driver")
    present = instrument.driver if instrument else ""
    known = [name for name, _label in driver_choices(present)]
    if asked in known:
        return asked
    return present or known[0]


def set_service(instrument: Instrument, request: HttpRequest, *, on: bool) -> None:
    instrument.in_service = on
    services.save_instrument(instrument, by=request.user)


@admin.register(Channel)
class ChannelAdmin(ForStaff):
    """What drivers declare, and what instruments brought besides: to look at, but for how long it is kept."""

    offers = ("change",)
    list_display = ("label", "instrument", "key", "unit", "kind", "low", "high", "retention", "id")
    list_filter = ("instrument__edge", "kind", "retention")
    list_select_related = ("instrument",)
    search_fields = ("key", "label", "instrument__name")
    readonly_fields = (
        "instrument", "key", "label", "unit", "kind", "low", "high", "digits", "position",
    )  # fmt: skip
    fields = (*readonly_fields, "retention")
    actions = ("keep_standard", "keep_long")

    def save_model(self, request: HttpRequest, obj: Channel, form: Any, change: bool) -> None:  # noqa: ARG002
        services.keep_readings(obj, obj.retention, by=request.user)

    @admin.action(description=_("Keep readings as of class standard"), permissions=["change"])
    def keep_standard(self, request: HttpRequest, chosen: QuerySet[Channel]) -> None:
        self.keep(request, chosen, Channel.Retention.STANDARD)

    @admin.action(description=_("Keep readings as of class long"), permissions=["change"])
    def keep_long(self, request: HttpRequest, chosen: QuerySet[Channel]) -> None:
        self.keep(request, chosen, Channel.Retention.LONG)

    def keep(self, request: HttpRequest, chosen: QuerySet[Channel], retention: str) -> None:
        self.each(request, chosen, lambda row: services.keep_readings(row, retention, by=request.user))


@admin.register(Latest)
class LatestAdmin(ForStaff):
    list_display = ("channel", "value", "text", "quality", "time", "seen_at", "stored_at")
    list_filter = ("channel__instrument__edge",)
    list_select_related = ("channel__instrument",)
    search_fields = ("channel__key", "channel__instrument__name")


@admin.register(Run)
class RunAdmin(ForStaff):
    list_display = ("title", "instrument", "key", "kind", "state", "progress", "start", "end", "told_at")
    list_filter = ("state", "instrument__edge")
    list_select_related = ("instrument",)
    search_fields = ("title", "key", "instrument__name")


@admin.register(AccessToken)
class AccessTokenAdmin(ModelAdmin):
    """Tokens are made by `manage.py create_token`; here they are seen, without their hash, and revoked."""

    list_display = ("user", "scope", "instruments", "created", "expiry")
    list_select_related = ("user",)
    list_display_links = None
    search_fields = ("user__username",)
    fields = ("user", "scope", "instruments", "created", "expiry")

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False
