"""The picture of a channel."""

from io import BytesIO

import pytest
from PIL import Image

from alerts.matrix import plot

MINUTE = 60_000


@pytest.mark.parametrize(
    ("title", "values"),
    [
        ("bath temperature", [20.0, 21.5, None, 22.0]),
        ("one reading", [1.0]),
        ("none at all", []),
        ("text that is no formula: $x_{1$ \\frac <b>", [1.0, 2.0]),
        ("an outlier", [1.0, 1e300, -1e300]),
    ],
)
def test_a_png_of_one_size(title: str, values: list[float | None]) -> None:
    times = [1_795_176_000_000 + MINUTE * place for place in range(len(values))]
    drawn = Image.open(BytesIO(plot.draw(title, "°C", times, values, is_stepped=False)))
    assert (drawn.format, drawn.size) == ("PNG", (900, 450))
