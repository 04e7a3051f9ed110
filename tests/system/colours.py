"""Colours on a page, and whether text in them can be read (WCAG 2.2)."""

from playwright.sync_api import Locator, Page


def token(page: Page, name: str) -> str:
    script = "(name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
    return str(page.evaluate(script, name))


def colour(element: Locator) -> str:
    """As #rrggbb."""
    red, green, blue = (
        int(part)
        for part in element.evaluate("(each) => getComputedStyle(each).color.match(/\\d+/g).slice(0, 3)")
    )
    return f"#{red:02x}{green:02x}{blue:02x}"


def rgb(code: str) -> str:
    return "rgb({}, {}, {})".format(*channels(code))


def channels(code: str) -> list[int]:
    return [int(code[at : at + 2], 16) for at in (1, 3, 5)]


def luminance(code: str) -> float:
    """Relative luminance."""
    parts = [part / 255 for part in channels(code)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
