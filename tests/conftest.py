"""What all tests share."""

import pytest


@pytest.fixture(autouse=True)
def _one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command start one process where it is not asked for more: tests run side by side."""
    monkeypatch.setattr("attest.running.default_jobs", lambda _: 1)
