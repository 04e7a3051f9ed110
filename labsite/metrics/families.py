"""Families of metrics, filled from rows, and written as whoever asks can read them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

Value = float | int | None
Labels = Sequence[str]


class Collector(Protocol):
    def collect(self) -> Iterable[Metric]: ...


def gauge(name: str, told: str, rows: Iterable[tuple[Labels, Value]], labels: Labels = ()) -> Metric:
    """A figure that rises and falls; rows without a value are left out."""
    return _filled(GaugeMetricFamily(name, told, labels=labels), rows)


def counter(name: str, told: str, rows: Iterable[tuple[Labels, Value]], labels: Labels = ()) -> Metric:
    """A figure that only rises, until its process starts anew."""
    return _filled(CounterMetricFamily(name, told, labels=labels), rows)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, rows: Iterable[tuple[Labels, Value]]
) -> GaugeMetricFamily | CounterMetricFamily:
    for labels, value in rows:
        if value is not None:
            family.add_metric(labels, float(value))
    return family


def column(
    rows: Iterable[tuple[Labels, Mapping[str, object]]], key: str, scale: float = 1.0
) -> Iterator[tuple[Labels, Value]]:
    """One figure of each row, where it is a number."""
    for labels, figures in rows:
        figure = figures.get(key)
        yield labels, figure * scale if isinstance(figure, int | float) else None


def written(collectors: Iterable[Collector], accept: str) -> tuple[bytes, str]:
    """The text for a scraper that accepts this, and its content type. Families without a row are left out."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(_Present(collector))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Present:
    """Of a collector the families that have any row now."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        return (family for family in self._collector.collect() if family.samples)
