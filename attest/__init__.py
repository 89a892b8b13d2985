"""Verify what course notes say about attention; grade implementations by the same properties."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attest.checks import (
        DoesNotApply,
        Violation,
        above,
        at_least,
        at_most,
        close,
        finite,
        identical,
        sometimes,
        sometimes_differs,
    )
    from attest.claims import Claim, Part, Verdict
    from attest.contract import add_component
    from attest.differentiation import gradients, leaf
    from attest.evidence import Counterexample, Evidence
    from attest.examination import Settings, examine
    from attest.implementations import LocalImplementation, load_submission
    from attest.laws import Property, law, proof, refutation
    from attest.ledger import load_ledger, load_reference
    from attest.subject import Setup, Subject

__version__ = "0.1.0"

__all__ = [
    "Claim",
    "Counterexample",
    "DoesNotApply",
    "Evidence",
    "LocalImplementation",
    "Part",
    "Property",
    "Settings",
    "Setup",
    "Subject",
    "Verdict",
    "Violation",
    "above",
    "add_component",
    "at_least",
    "at_most",
    "close",
    "examine",
    "finite",
    "gradients",
    "identical",
    "law",
    "leaf",
    "load_ledger",
    "load_reference",
    "load_submission",
    "proof",
    "refutation",
    "sometimes",
    "sometimes_differs",
]

_HOMES = {
    "Claim": "attest.claims",
    "Counterexample": "attest.evidence",
    "DoesNotApply": "attest.checks",
    "Evidence": "attest.evidence",
    "LocalImplementation": "attest.implementations",
    "Part": "attest.claims",
    "Property": "attest.laws",
    "Settings": "attest.examination",
    "Setup": "attest.subject",
    "Subject": "attest.subject",
    "Verdict": "attest.claims",
    "Violation": "attest.checks",
    "above": "attest.checks",
    "add_component": "attest.contract",
    "at_least": "attest.checks",
    "at_most": "attest.checks",
    "close": "attest.checks",
    "examine": "attest.examination",
    "finite": "attest.checks",
    "gradients": "attest.differentiation",
    "identical": "attest.checks",
    "law": "attest.laws",
    "leaf": "attest.differentiation",
    "load_ledger": "attest.ledger",
    "load_reference": "attest.ledger",
    "load_submission": "attest.implementations",
    "proof": "attest.laws",
    "refutation": "attest.laws",
    "sometimes": "attest.checks",
    "sometimes_differs": "attest.checks",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: torch alone takes two seconds.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'attest' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
