"""One test a property, for the pytest door: collected by the tests, and by the plugin elsewhere."""

from __future__ import annotations

import pytest

from attest.evidence import Evidence
from attest.laws import Property


def test_property(prop: Property, evidence: Evidence) -> None:
    """Fail with the counterexample where the property does not hold."""
    if evidence.status == "not_attempted":
        pytest.skip(f"{prop.component} is not attempted")
    if evidence.status == "not_applicable":
        pytest.skip(str(evidence.message))
    if not evidence.well:
        found = evidence.counterexample
        text = "" if found is None else f"\n\n{found.text()}"
        pytest.fail(f"{evidence.status}: {evidence.message}{text}", pytrace=False)
