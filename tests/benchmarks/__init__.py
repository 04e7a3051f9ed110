"""Measurements: each module prints one JSON line per figure, beside a baseline taken in the same run."""

import json


def report(figure: str, value: float, unit: str, target: str, *, met: bool, **beside: float) -> None:
    """Print one figure."""
    line = {"figure": figure, "value": round(value, 3), "unit": unit, "target": target, "met": bool(met)}
    print(json.dumps(line | {name: round(number, 3) for name, number in beside.items()}), flush=True)  # noqa: T201
