"""Loads the engine's plugin, whose options pytest has to know before it reads its arguments."""

pytest_plugins = ("attest.pytest_plugin",)
