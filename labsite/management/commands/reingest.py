"""Tries batches again that could not be stored."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from labsite import pipeline
from telemetry.models import RejectedBatch


class Command(BaseCommand):
    help = "Try rejected batches again; what can be stored now is stored once and forgotten as rejected."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--id", type=int, help="only this rejected batch")

    def handle(self, *args: Any, **options: Any) -> None:
        rejected = RejectedBatch.objects.order_by("pk")
        if options["id"] is not None:
            rejected = rejected.filter(pk=options["id"])
        for batch in rejected.iterator(chunk_size=10):
            still = pipeline.reingest(batch, timezone.now())
            self.stdout.write(f"{batch.spool} {batch.sequence}: {still or 'stored'}")
