"""Fixtures of the bridge's tests are in `lab`, which names models and so must wait until Django is set up."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.import_plugin("tests.labsite.mqtt.lab")
