"""What was measured: samples and vectors, their roll-ups, what happened, and where it all goes."""

from telemetry.models.computed import (
    Calibration,
    ComputedChannel,
    DefinitionMark,
    PolicyState,
    StoragePolicy,
    Unstored,
)
from telemetry.models.deliveries import Delivery, RejectedBatch, SpoolMark
from telemetry.models.happenings import Event, Gap, TextHash
from telemetry.models.readings import (
    AnySample,
    AnyVector,
    Reading,
    Sample,
    SampleDemo,
    SampleFar,
    SampleLong,
    VectorReading,
    VectorSample,
    VectorSampleDemo,
    VectorSampleFar,
    VectorSampleLong,
)
from telemetry.models.replaced import ReplacedInterface
from telemetry.models.rollups import (
    DirtyBucket,
    DropMark,
    FormerClass,
    Rollup,
    RollupHour,
    RollupMark,
    RollupMinute,
)
from telemetry.models.sinks import OutboxFloor, SetAside, Sink

__all__ = [
    "AnySample",
    "AnyVector",
    "Calibration",
    "ComputedChannel",
    "DefinitionMark",
    "Delivery",
    "DirtyBucket",
    "DropMark",
    "Event",
    "FormerClass",
    "Gap",
    "OutboxFloor",
    "PolicyState",
    "Reading",
    "RejectedBatch",
    "ReplacedInterface",
    "Rollup",
    "RollupHour",
    "RollupMark",
    "RollupMinute",
    "Sample",
    "SampleDemo",
    "SampleFar",
    "SampleLong",
    "SetAside",
    "Sink",
    "SpoolMark",
    "StoragePolicy",
    "TextHash",
    "Unstored",
    "VectorReading",
    "VectorSample",
    "VectorSampleDemo",
    "VectorSampleFar",
    "VectorSampleLong",
]
