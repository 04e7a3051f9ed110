"""The replaced UPS monitor's metrics: their names, labels and help (notes §9)."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

HELP = {
    "input_voltage": "Input voltage in volts",
    "output_voltage": "Output voltage in volts",
    "battery_voltage": "Battery voltage in volts",
    "battery_level": "Battery level in percent",
    "load_percent": "Load percentage",
    "load_power": "Load power in watts",
    "frequency": "Frequency in Hz",
    "input_frequency": "Input frequency in Hz",
    "temperature": "Temperature in Celsius",
}
STATUS_HELP = "UPS status (1=online, 0=battery)"
STATUS = {"online": 1, "battery": 0}
WITH_STATUS = ("battery_level",)

Told = Mapping[str, float | int | str | None]


def gauges(registry: CollectorRegistry, told: Told) -> None:
    """Of the fields (ups_fields.telemetry) those that are known: a gauge that is not set counts as 0.

    With a registry of its own for each answer no label of a status that is over stays behind.
    """
    status = str(told["status"])
    for name, words in HELP.items():
        value = told[name]
        if not isinstance(value, int | float):
            continue
        if name in WITH_STATUS:
            Gauge(f"ups_{name}", words, ["status"], registry=registry).labels(status).set(value)
        else:
            Gauge(f"ups_{name}", words, registry=registry).set(value)
    if status in STATUS:
        Gauge("ups_status", STATUS_HELP, ["status"], registry=registry).labels(status).set(STATUS[status])
