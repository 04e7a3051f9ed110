"""`python -m alerts.matrix.plot`: draws the series that comes as JSON, and writes a PNG. Knows no Django.

A process of its own: Matplotlib is 40 MB that the bot would keep, and a second in which it would not hear.
"""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

WIDTH, HEIGHT, DPI = 9.0, 4.5, 100  # inches; 900 × 450 pixels


def draw(
    title: str, unit: str, times: Sequence[int], values: Sequence[float | None], is_stepped: bool
) -> bytes:
    """A PNG of values over times (ms of UTC since 1970); None breaks the line."""
    mpl.rcParams["text.parse_math"] = False  # a $ in a name is a $
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(
        [datetime.fromtimestamp(time / 1000, UTC) for time in times],  # type: ignore[arg-type]
        [float("nan") if value is None else value for value in values],
        drawstyle="steps-post" if is_stepped else "default",
        linewidth=1.2,
        color="#1f5a8c",
        marker="." if len(times) < 50 else "",
    )
    locator = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.set_title(title)
    axes.set_xlabel("UTC")
    axes.set_ylabel(unit)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    written = BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def main() -> None:
    said: dict[str, Any] = json.load(sys.stdin)
    sys.stdout.buffer.write(draw(**said))


if __name__ == "__main__":
    main()
