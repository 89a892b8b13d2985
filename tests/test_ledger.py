"""Binds every property to the reference, or to the implementation that was named."""

from __future__ import annotations

import pytest

from attest.evidence import Evidence
from attest.laws import Property


def test_property(prop: Property, evidence: Evidence) -> None:
    if evidence.status == "not_attempted":
        pytest.skip(f"{prop.component} is not attempted")
    if evidence.status == "not_applicable":
        pytest.skip(str(evidence.message))
    if not evidence.well:
        found = evidence.counterexample
        text = "" if found is None else f"\n\n{found.text()}"
        pytest.fail(f"{evidence.status}: {evidence.message}{text}", pytrace=False)
