"""The push door: a program brings the readings of instruments that nobody polls (docs/push.md)."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db.models import Q
from django.utils import timezone
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from devices.errors import Refused
from devices.models import AccessToken, Channel, Instrument
from devices.services import PUSH_DRIVER
from labsite import pipeline
from telemetry import pushed, store
from telemetry.pushed import Faults, Pushed, Source, Wrong


class PushedReadingSerializer(serializers.Serializer[Any]):
    """One reading: a `value`, or the `values` of a vector."""

    key = serializers.CharField(
        required=False, max_length=100, help_text="The channel's; one that there is not yet is made"
    )
    channel = serializers.IntegerField(required=False, help_text="The channel's `id`, in place of its key")
    time = serializers.DateTimeField(
        required=False, help_text="ISO 8601 (without a zone: UTC) or ms since 1970; now if left out"
    )
    value = serializers.JSONField(
        required=False, allow_null=True, help_text="A number, a text, true, false or null"
    )
    values = serializers.ListField(required=False, child=serializers.FloatField(allow_null=True))
    labels = serializers.ListField(
        required=False, child=serializers.CharField(), help_text="What each of `values` is of"
    )
    quality = serializers.ChoiceField(
        required=False, choices=list(pushed.QUALITIES), help_text="`good` if left out; without a value `bad`"
    )


class PushSerializer(serializers.Serializer[Any]):
    """Readings of one instrument whose driver is `push`."""

    instrument = serializers.CharField(help_text="Its `id` or its name")
    readings = PushedReadingSerializer(many=True)


class ConflictSerializer(serializers.Serializer[Any]):
    place = serializers.CharField(help_text="In the request, such as `readings[3]`")
    instrument = serializers.UUIDField()
    key = serializers.CharField()
    time = serializers.DateTimeField()
    stored = serializers.JSONField(allow_null=True, help_text="The value that stands; of a vector null")


class PushAnswerSerializer(serializers.Serializer[Any]):
    stored = serializers.IntegerField(help_text="Readings that are new")
    known = serializers.IntegerField(help_text="Readings that had been stored before, the very same")
    conflicts = ConflictSerializer(many=True, help_text="Not stored: another value stands at their time")


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "Too many bytes for one request: push fewer readings at once."


class PushThrottle(UserRateThrottle):
    scope = "push"
    rate = "20/second"


ONE_OR_MANY = PolymorphicProxySerializer(
    component_name="Pushes",
    serializers=[PushSerializer, PushSerializer(many=True)],
    resource_type_field_name=None,
    many=False,
)


class PushView(APIView):
    """Where programs bring readings of instruments with the driver `push`."""

    takes_readings = True
    throttle_classes = (PushThrottle,)

    @extend_schema(
        operation_id="readings_push",
        request=ONE_OR_MANY,
        responses={200: PushAnswerSerializer, 409: PushAnswerSerializer},
    )
    def post(self, request: Request) -> Response:
        """Store readings, each once: pushing the same again does no harm.

        400, and nothing is stored, if anything has not its form. 409 if another value is stored at the time
        of some readings: those are not stored, all others are.
        """
        now = timezone.now()
        faults = Faults()
        sources = pushed.sources(_content(request), faults)
        found = _instruments(sources, faults)
        _allowed(request, found)
        channels = _channels(sources, found)
        readings = [
            reading
            for source, instrument in zip(sources, found, strict=True)
            if instrument
            for reading in pushed.readings(
                source, instrument.pk, channels.get(instrument.pk, {}), now, faults
            )
        ]
        _bounded(readings, faults)
        if faults.found:
            raise ValidationError(faults.found)
        return _answer(*_pushed(readings, now))


def _content(request: Request) -> object:
    """Raises TooLarge, ParseError."""
    try:
        return request.data
    except RequestDataTooBig:
        raise TooLarge from None


def _instruments(sources: Sequence[Source], faults: Faults) -> list[Instrument | None]:
    """The instrument of each source; None where it is at fault."""
    named = {source.instrument for source in sources}
    chosen = Q(name__in=named) | Q(pk__in=[number for name in named if (number := _uuid(name))])
    by_word: dict[str, Instrument] = {}
    for each in Instrument.objects.filter(chosen, retired_at=None):
        by_word[each.name] = by_word[str(each.pk)] = each
    found = []
    for source in sources:
        instrument = by_word.get(source.instrument) or by_word.get(str(_uuid(source.instrument)))
        found.append(instrument if instrument and instrument.driver == PUSH_DRIVER else None)
        with faults.noted(source.place):
            if instrument is None:
                raise Wrong("instrument", f"There is no instrument {source.instrument[:80]!r}.")
            if found[-1] is None:
                raise Wrong("instrument", f"{instrument} is polled: its driver is not {PUSH_DRIVER}.")
    return found


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _allowed(request: Request, instruments: Iterable[Instrument | None]) -> None:
    """Raises PermissionDenied for those the token is not for, Refused for those out of service."""
    limits = request.auth.instruments if isinstance(request.auth, AccessToken) else []
    for instrument in instruments:
        if instrument and limits and instrument.pk not in limits:
            raise PermissionDenied(f"This token is not for instrument {instrument}.")
        if instrument and not instrument.in_service:
            raise Refused(f"{instrument} is out of service: nothing was stored")


def _channels(
    sources: Sequence[Source], instruments: Sequence[Instrument | None]
) -> dict[UUID, dict[int, str]]:
    """The keys of channels by number, of those instruments of which any channel is given by number."""
    wanted = {
        instrument.pk
        for source, instrument in zip(sources, instruments, strict=True)
        if instrument and any(isinstance(each, dict) and "channel" in each for each in source.readings)
    }
    found: dict[UUID, dict[int, str]] = {}
    for instrument, number, key in Channel.objects.filter(instrument__in=wanted).values_list(
        "instrument_id", "pk", "key"
    ):
        found.setdefault(instrument, {})[number] = key
    return found


def _bounded(readings: Sequence[Pushed], faults: Faults) -> None:
    with faults.noted(""):
        if sum(len(reading.values or ()) for reading in readings) > pushed.NUMBERS_MAX:
            raise Wrong("readings", f"More than {pushed.NUMBERS_MAX} numbers in vectors in one request.")


def _pushed(readings: list[Pushed], now: Any) -> tuple[list[Pushed], list[int], list[Any]]:
    """Each reading, how it fared, and what stands in its place if it conflicts. Raises ValidationError."""
    if not readings:
        return [], [], []
    batch, single, vectors = pushed.batch(readings)
    try:
        verdict = pipeline.push(batch, pushed.kinds(readings), now)
    except pipeline.NotTaken as refused:
        reading = (vectors if refused.vector else single)[refused.number]
        why = "The instrument has no room for another channel, or was another's at this time."
        raise ValidationError({f"{reading.place}.key": [why]}) from None
    stands = [verdict.stands.get(number) for number in range(len(single))] + [None] * len(vectors)
    return single + vectors, verdict.readings + verdict.vectors, stands


def _answer(readings: Sequence[Pushed], fates: Sequence[int], stands: Sequence[Any]) -> Response:
    conflicts = [
        {
            "place": reading.place,
            "instrument": reading.instrument,
            "key": reading.key,
            "time": reading.moment,
            "stored": stored,
        }
        for reading, fate, stored in zip(readings, fates, stands, strict=True)
        if fate == store.CONFLICT
    ]
    told = {"stored": fates.count(store.NEW), "known": fates.count(store.KNOWN), "conflicts": conflicts}
    return Response(
        PushAnswerSerializer(told).data, status.HTTP_409_CONFLICT if conflicts else status.HTTP_200_OK
    )
