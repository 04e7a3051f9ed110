"""Fixtures of tests of notices are in `kit`, which names models and so must wait until Django is set up."""

import pytest
from django.apps import apps


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if apps.ready:  # not in the process that only hands tests out to others
        config.pluginmanager.import_plugin("tests.alerts.notices.kit")
