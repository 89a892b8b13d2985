"""Loads the engine's plugin in a clone that is not installed; an installation loads it itself."""

import pytest


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the plugin before pytest reads its arguments."""
    if not pluginmanager.has_plugin("attest.pytest_plugin"):
        pluginmanager.import_plugin("attest.pytest_plugin")
