"""The API of what there is: edges, drivers, instruments, channels and the latest readings."""

import math
from functools import cache
from typing import Any, ClassVar

from django.http import Http404
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    extend_schema_serializer,
)
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import BaseRouter

from devices import drivers, services
from devices.drivers.base import Driver, Option, OptionValue
from devices.errors import ConfigurationError
from devices.filters import ChannelFilter, EdgeFilter, InstrumentFilter, LatestFilter, check_parameters
from devices.models import (
    INTERVAL_MAX,
    INTERVAL_MIN,
    LOCAL_EDGE,
    PUSH_EDGE,
    Channel,
    Edge,
    Instrument,
    Latest,
)
from devices.readings import QUALITY_MASK, Flag, Quality


class EdgeSerializer(serializers.ModelSerializer[Edge]):
    class Meta:
        model = Edge
        fields: ClassVar = ["id", "name", "key_version", "revision", "created_at", "retired_at", "heard_at"]
        read_only_fields: ClassVar = ["key_version", "revision", "created_at", "retired_at", "heard_at"]

    def create(self, validated_data: dict[str, Any]) -> Edge:
        return services.save_edge(validated_data["name"], by=self.context["request"].user)


class EdgeViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.CreateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Edge],
):
    """The machines beside the instruments. Deleting one retires it."""

    queryset = Edge.objects.exclude(name=PUSH_EDGE)
    serializer_class = EdgeSerializer
    filterset_class = EdgeFilter
    ordering = "name"

    def perform_destroy(self, instance: Edge) -> None:
        services.retire_edge(instance, by=self.request.user)


class InstrumentSerializer(serializers.ModelSerializer[Instrument]):
    address = serializers.CharField(
        required=False,
        max_length=300,
        help_text="A URL, such as tcp://192.168.1.26:23; needless with the driver `push`",
    )
    edge = serializers.SlugRelatedField(
        slug_field="name",
        queryset=Edge.objects.filter(retired_at=None),
        required=False,
        help_text=f"Name of the edge that polls it; `{LOCAL_EDGE}` if left out",
    )
    options = serializers.DictField(
        required=False, help_text="The driver's options (see drivers/); those left out have their defaults"
    )
    interval = serializers.FloatField(
        default=1.0,
        help_text=f"Seconds between polls, from {INTERVAL_MIN} to {INTERVAL_MAX:.0f}",
        error_messages={"invalid": "A number of seconds is needed."},
    )

    class Meta:
        model = Instrument
        fields: ClassVar = [
            "id", "name", "driver", "edge", "address", "options", "interval", "in_service",
            "tags", "demo", "revision", "created_at", "retired_at",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["id", "demo", "revision", "created_at", "retired_at"]

    def validate_interval(self, value: float) -> float:
        if not math.isfinite(value) or not INTERVAL_MIN <= value <= INTERVAL_MAX:
            raise serializers.ValidationError(
                f"The interval is {value:g} s; it must be {INTERVAL_MIN} to {INTERVAL_MAX:.0f} s (a day)."
            )
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("driver", self.instance and self.instance.driver) == services.PUSH_DRIVER:
            return attrs
        if "address" not in attrs and not self.partial:
            raise serializers.ValidationError({"address": ["This field is required."]})
        if self.instance is None and "edge" not in attrs:
            attrs["edge"] = Edge.objects.filter(name=LOCAL_EDGE, retired_at=None).first()
            if attrs["edge"] is None:
                raise serializers.ValidationError({"edge": ["There is no edge `local`: name one."]})
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Instrument:
        return services.save_instrument(Instrument(**validated_data), by=self.context["request"].user)

    def update(self, instance: Instrument, validated_data: dict[str, Any]) -> Instrument:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        return services.save_instrument(instance, by=self.context["request"].user)


class TestRequestSerializer(serializers.Serializer[Any]):
    """What is to be tried in place of what is saved."""

    __test__ = False  # no test, whatever its name says

    address = serializers.CharField(required=False, max_length=300)
    options = serializers.DictField(required=False, help_text="All of them: those left out have defaults")


class TestRowSerializer(serializers.Serializer[Any]):
    __test__ = False

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    unit = serializers.CharField()
    value = serializers.JSONField(allow_null=True, help_text="Of a vector the first 100 numbers")
    quality = serializers.CharField(allow_blank=True, help_text="Empty: the instrument said nothing of it")
    time = serializers.DateTimeField(allow_null=True, help_text="The instrument's own stamp, if it has one")
    length = serializers.IntegerField(help_text="Of a vector; else 0")


class TestSerializer(serializers.Serializer[Any]):
    """What came of a test of a connection."""

    __test__ = False

    ok = serializers.BooleanField()
    error = serializers.CharField(allow_blank=True, help_text="In words, what went wrong")
    waited = serializers.FloatField(source="tried.waited", default=None, help_text="Seconds, for its turn")
    connect = serializers.FloatField(
        source="tried.connect", default=None, help_text="Seconds to connect; 0 if it was connected already"
    )
    read = serializers.FloatField(source="tried.read", default=None, help_text="Seconds to read")
    shared = serializers.BooleanField(
        source="tried.shared", default=False, help_text="Over the connection that its polls use"
    )
    readings = TestRowSerializer(many=True, source="rows")
    told = serializers.ListField(child=serializers.CharField(), help_text="Events and runs, a line each")


class InstrumentViewSet(viewsets.ModelViewSet[Instrument]):
    """What is polled. Deleting one retires it: its history stays. Options given in an edit replace all."""

    queryset = Instrument.objects.select_related("edge")
    serializer_class = InstrumentSerializer
    filterset_class = InstrumentFilter
    ordering = "name"

    def perform_destroy(self, instance: Instrument) -> None:
        services.retire_instrument(instance, by=self.request.user)

    @extend_schema(request=TestRequestSerializer, responses={200: TestSerializer, 504: TestSerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Test the connection: one poll at its edge, of which nothing is stored. Takes up to 12 s.

        504 if the edge does not answer; what the instrument did wrong is no error of the request.
        """
        instrument = self.get_object()
        changes = TestRequestSerializer(data=request.data)
        changes.is_valid(raise_exception=True)
        for name, value in changes.validated_data.items():
            setattr(instrument, name, value)
        (verdict,) = services.test_connections([instrument], by=request.user)
        code = status.HTTP_504_GATEWAY_TIMEOUT if verdict.silence else status.HTTP_200_OK
        return Response(TestSerializer(verdict).data, code)


class ChannelSerializer(serializers.ModelSerializer[Channel]):
    instrument_name = serializers.CharField(source="instrument.name", read_only=True)

    class Meta:
        model = Channel
        fields: ClassVar = [
            "id", "instrument", "instrument_name", "key", "label", "unit", "kind", "low", "high",
            "digits", "position", "retention",
        ]  # fmt: skip
        read_only_fields: ClassVar = [name for name in fields if name != "retention"]

    def update(self, instance: Channel, validated_data: dict[str, Any]) -> Channel:
        retention = validated_data.get("retention", instance.retention)
        return services.keep_readings(instance, retention, by=self.context["request"].user)


class ChannelViewSet(mixins.UpdateModelMixin, viewsets.ReadOnlyModelViewSet[Channel]):
    """The quantities that instruments report. `id` is what samples/ is asked by.

    What they are the drivers say; how long single readings are kept (`retention`) can be changed.
    """

    http_method_names = ["get", "head", "options", "patch"]

    queryset = Channel.objects.filter(instrument__retired_at=None).select_related("instrument")
    serializer_class = ChannelSerializer
    filterset_class = ChannelFilter
    ordering = "id"


def finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if value is not None and math.isfinite(value) else None


@cache
def quality_name(stored: int) -> str:
    """`good`, `uncertain` or `bad`, from a stored quality with its flags."""
    return Quality(stored & QUALITY_MASK).name.lower()


@cache
def flag_names(stored: int) -> list[str]:
    return [flag.name.lower() for flag in Flag if stored & flag and flag.name]


class QualityField(serializers.ChoiceField):
    """How far a reading can be trusted, as a word."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[quality.name.lower() for quality in Quality], **kwargs)


class LatestSerializer(serializers.Serializer[Latest]):
    channel = serializers.IntegerField(help_text="The channel's `id`")
    instrument = serializers.UUIDField()
    instrument_name = serializers.CharField()
    key = serializers.CharField()
    unit = serializers.CharField()
    time = serializers.DateTimeField(
        help_text="When `value` was read, also when that is no longer the present"
    )
    value = serializers.FloatField(
        allow_null=True,
        help_text="The last one there was: while the channel cannot be read it stays, with its `time`, and "
        "`quality` is `bad`; null if there was none yet",
    )
    text = serializers.CharField(allow_null=True, help_text="Beside a bad number, why it is bad")
    quality = QualityField(help_text="`bad`: `value` is not the present; its age is that of `time`")
    flags = serializers.ListField(child=serializers.CharField())
    seen_at = serializers.DateTimeField(help_text="The last poll that was answered")
    stored_at = serializers.DateTimeField(help_text="By the centre's clock")

    def to_representation(self, latest: Latest) -> dict[str, Any]:
        """As declared above, without the cost of a field object for each of thousands of values."""
        channel = latest.channel
        return {
            "channel": latest.channel_id,
            "instrument": channel.instrument_id,
            "instrument_name": channel.instrument.name,
            "key": channel.key,
            "unit": channel.unit,
            "time": latest.time,
            "value": finite(latest.value),
            "text": latest.text,
            "quality": quality_name(latest.quality),
            "flags": flag_names(latest.quality),
            "seen_at": latest.seen_at,
            "stored_at": latest.stored_at,
        }


TOLD_OF_LATEST = (
    *("time", "value", "quality", "text", "seen_at", "stored_at"),
    *("channel__key", "channel__unit", "channel__instrument", "channel__instrument__name"),
)


class LatestViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Latest]):
    """Each channel's newest reading, by order of arrival; of one that cannot be read the last, as bad."""

    queryset = (
        Latest.objects.filter(channel__instrument__retired_at=None)
        .select_related("channel__instrument")
        .only(*TOLD_OF_LATEST)
    )
    serializer_class = LatestSerializer
    filterset_class = LatestFilter
    ordering = "channel_id"


class OptionSerializer(serializers.Serializer[Option]):
    name = serializers.CharField()
    kind = serializers.SerializerMethodField()
    default = serializers.SerializerMethodField(method_name="option_default")
    help = serializers.CharField()
    choices = serializers.ListField(child=serializers.CharField())
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)

    @extend_schema_field(serializers.ChoiceField(choices=["str", "int", "float", "bool", "list", "secret"]))
    def get_kind(self, option: Option) -> str:
        return option.kind.__name__.lower()

    @extend_schema_field(
        {"oneOf": [{"type": kind} for kind in ("string", "number", "boolean", "array", "object")]}
    )
    def option_default(self, option: Option) -> OptionValue:
        return option.default


@extend_schema_serializer(component_name="DriverChannel")
class DeclaredChannelSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    unit = serializers.CharField()
    kind = serializers.CharField()
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    digits = serializers.IntegerField(allow_null=True)


class DriverSerializer(serializers.Serializer[Any]):
    """A driver's declaration, or why it cannot be used."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    schemes = serializers.ListField(child=serializers.CharField(), help_text="Of addresses it can be given")
    example = serializers.CharField(help_text="Such an address")
    options = OptionSerializer(many=True)
    channels = DeclaredChannelSerializer(many=True, help_text="With the default options")
    error = serializers.CharField(allow_blank=True, help_text="Why it does not load; else empty")


def declaration(name: str) -> dict[str, Any]:
    """What the API tells of a driver; one that does not load is told with its error."""
    try:
        driver = drivers.load(name)
    except ConfigurationError as error:
        return {"name": name, "label": name, "schemes": (), "example": "", "options": (), "channels": (),
                "error": str(error)}  # fmt: skip
    return {
        "name": name,
        "label": driver.label,
        "schemes": driver.schemes,
        "example": driver.example,
        "options": driver.options,
        "channels": declared_channels(driver),
        "error": "",
    }


def declared_channels(driver: type[Driver]) -> tuple[Any, ...]:
    return driver.channels_for(driver.checked_options({}))


class DriverViewSet(viewsets.ViewSet):
    """The kinds of instruments there are: options, limits, channels and an example address."""

    lookup_field = "name"
    lookup_value_regex = "[^/]+"

    @extend_schema(responses=DriverSerializer(many=True))
    def list(self, request: Request) -> Response:
        check_parameters(request, ())
        return Response(DriverSerializer([declaration(name) for name in drivers.names()], many=True).data)

    @extend_schema(
        responses=DriverSerializer, parameters=[OpenApiParameter("name", str, OpenApiParameter.PATH)]
    )
    def retrieve(self, request: Request, name: str) -> Response:  # noqa: ARG002
        if name not in drivers.names():
            raise Http404
        return Response(DriverSerializer(declaration(name)).data)


def register(router: BaseRouter) -> None:
    """Add this app's routes."""
    router.register("edges", EdgeViewSet)
    router.register("drivers", DriverViewSet, basename="driver")
    router.register("instruments", InstrumentViewSet)
    router.register("channels", ChannelViewSet)
    router.register("latest", LatestViewSet)
