"""The API of what was measured."""

from rest_framework.routers import BaseRouter

from telemetry.api.completeness import CompletenessViewSet
from telemetry.api.computed import CalibrationViewSet, ComputedChannelViewSet, StoragePolicyViewSet
from telemetry.api.exports import ExportViewSet
from telemetry.api.gaps import GapViewSet
from telemetry.api.happenings import EventViewSet, RunViewSet
from telemetry.api.replaced import ReplacedInterfaceViewSet
from telemetry.api.samples import SampleViewSet
from telemetry.api.series import SeriesViewSet
from telemetry.api.sinks import SinkViewSet
from telemetry.api.storage import StorageViewSet
from telemetry.api.vectors import VectorViewSet


def register(router: BaseRouter) -> None:
    """Add this app's routes."""
    router.register("samples", SampleViewSet, basename="sample")
    router.register("series", SeriesViewSet, basename="series")
    router.register("export", ExportViewSet, basename="export")
    router.register("vectors", VectorViewSet, basename="vector")
    router.register("events", EventViewSet)
    router.register("sinks", SinkViewSet)
    router.register("runs", RunViewSet)
    router.register("replaced", ReplacedInterfaceViewSet)
    router.register("gaps", GapViewSet, basename="gap")
    router.register("completeness", CompletenessViewSet, basename="completeness")
    router.register("storage", StorageViewSet, basename="storage")
    router.register("computed-channels", ComputedChannelViewSet)
    router.register("calibrations", CalibrationViewSet)
    router.register("storage-policies", StoragePolicyViewSet)
