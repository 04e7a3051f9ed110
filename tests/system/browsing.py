"""A real browser on the real web process, for all tests that look at pages."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from tests import factories
from tests.web import Web, cookies

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """As `make run` does: the static files are collected first."""
    with Web(tmp_path_factory.mktemp("web")) as running:
        subprocess.run(
            [sys.executable, settings.BASE_DIR / "manage.py", "collectstatic", "--noinput"],
            env=running.environment,
            check=True,
        )
        yield running.start()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "install Debian's package chromium"
    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        # Playwright's loop runs in this thread, in which Django would refuse to ask its database.
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def faults() -> list[str]:
    """What went wrong in the browser: errors, violations of the policy, requests that leave the site."""
    return []


@pytest.fixture
def context(browser: Browser, web: Web, faults: list[str]) -> Iterator[BrowserContext]:
    host = urlsplit(web.url).netloc

    def console(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(message.text)

    def request(sent: Request) -> None:
        parts = urlsplit(sent.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != host:
            faults.append(f"foreign request: {sent.url}")

    opened = browser.new_context(base_url=web.url, viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(10_000)
    opened.add_init_script(TELL_VIOLATIONS)
    opened.on("console", console)
    opened.on("weberror", lambda error: faults.append(str(error.error)))
    opened.on("request", request)
    yield opened
    opened.close()
    assert faults == []


@pytest.fixture
def user() -> User:
    return factories.person("ada", superuser=True)


@pytest.fixture
def page(context: BrowserContext, user: User, web: Web) -> Page:
    """The overview, signed in."""
    context.add_cookies(
        [{"name": name, "value": value, "url": web.url} for name, value in cookies(user).items()]
    )
    page = context.new_page()
    page.goto("/")
    return page
