"""Loads the engine's plugin in a clone that is not installed; an installation loads it itself."""

import os
import signal

import pytest

# Tests run side by side, one process a core. With threads of their own, processes wait for each
# other's: the same tests took twelve times as long. It has to be said before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the plugin before pytest reads its arguments."""
    if not pluginmanager.has_plugin("attest.pytest_plugin"):
        pluginmanager.import_plugin("attest.pytest_plugin")


@pytest.fixture(autouse=True, scope="session")
def _interrupts_are_heard() -> None:
    """Let tests interrupt themselves where a shell has started them in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
