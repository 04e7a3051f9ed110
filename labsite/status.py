"""How Labsite is doing: each process's and each edge's last word, the ingest, the disk."""

import shutil
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q
from django.utils import timezone
from rest_framework import serializers

from devices.models import PUSH_EDGE, Edge, Heartbeat

LEASE_S = 15.0  # an edge not heard for so long no longer holds its name
EXPECTED = ("beat", "ingest")
IN_SERVICE = Count("instruments", Q(instruments__in_service=True, instruments__retired_at=None))


class ProcessSerializer(serializers.Serializer[Any]):
    process = serializers.CharField()
    at = serializers.DateTimeField(allow_null=True, help_text="Its last word; null: never heard")
    age = serializers.FloatField(allow_null=True, help_text="Seconds since then")
    said = serializers.DictField()


class EdgeStatusSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    heard_at = serializers.DateTimeField(allow_null=True)
    age = serializers.FloatField(allow_null=True, help_text="Seconds since it was heard")
    leased = serializers.BooleanField(help_text=f"A process holds the name: heard within {LEASE_S:.0f} s")
    instance = serializers.UUIDField(allow_null=True, help_text="The process that holds or held the name")
    spool = serializers.UUIDField(allow_null=True)
    revision = serializers.IntegerField()
    instruments = serializers.IntegerField(help_text="In service on it")
    status = serializers.DictField(help_text="What it says of itself: spool, backlog, offset, version …")


class DiskSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="Bytes")
    free = serializers.IntegerField(help_text="Bytes")


class StatusSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    processes = ProcessSerializer(many=True)
    edges = EdgeStatusSerializer(many=True)
    disk = DiskSerializer(help_text="Where the data folder lies")
    database_bytes = serializers.IntegerField()


def now() -> dict[str, Any]:
    """Everything at this moment, as StatusSerializer shows it."""
    at = timezone.now()
    return {
        "at": at,
        "processes": processes(at),
        "edges": edges(at),
        "disk": disk(),
        "database_bytes": database_bytes(),
    }


def processes(at: datetime) -> list[dict[str, Any]]:
    """Those that must be there, heard or not, then all others that were heard."""
    heard = {beat.process: beat for beat in Heartbeat.objects.order_by("process")}
    told = []
    for name in dict.fromkeys([*EXPECTED, *heard]):
        beat = heard.get(name)
        told.append(
            {
                "process": name,
                "at": beat.at if beat else None,
                "age": age(beat.at if beat else None, at),
                "said": beat.fields if beat else {},
            }
        )
    return told


def edges(at: datetime) -> list[dict[str, Any]]:
    counted = Edge.objects.filter(retired_at=None).exclude(name=PUSH_EDGE).annotate(polled=IN_SERVICE)
    return [
        {
            "name": edge.name,
            "heard_at": edge.heard_at,
            "age": age(edge.heard_at, at),
            "leased": edge.heard_at is not None and (at - edge.heard_at).total_seconds() < LEASE_S,
            "instance": edge.instance,
            "spool": edge.spool,
            "revision": edge.revision,
            "instruments": edge.polled,
            "status": edge.status,
        }
        for edge in counted
    ]


def age(then: datetime | None, at: datetime) -> float | None:
    return None if then is None else round((at - then).total_seconds(), 3)


def disk() -> dict[str, int]:
    usage = shutil.disk_usage(settings.DATA_DIR)
    return {"total": usage.total, "free": usage.free}


def database_bytes() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])
