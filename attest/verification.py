"""From evidence to verdicts: what the evidence for each claim adds up to."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import hypothesis
import numpy as np
import torch

import attest
from attest.claims import Claim, Part, Verdict, headline
from attest.evidence import Evidence
from attest.examination import Settings
from attest.ledger import Ledger

__all__ = ["ClaimResult", "PartResult", "Verification", "environment", "side", "verify"]

PROOFS = {"symbolic", "structural", "exhaustive"}


def bear_out(
    supports: Iterable[Evidence], refutes: Iterable[Evidence], declared: Verdict
) -> Verdict:
    """Say what evidence adds up to.

    Args:
        supports: evidence for the claim.
        refutes: evidence against it.
        declared: what the ledger says, which stands only where there is no evidence at all.

    Returns:
        REFUTED where evidence for the claim failed or there is evidence against it alone;
        CONDITIONAL where both sides came out; PROVED where an argument supports it, MEASURED where
        an experiment does and no argument, and HOLDS where examples alone do. PENDING where nothing
        came out.
    """
    supports, refutes = list(supports), list(refutes)
    if any(e.status == "pending" for e in (*supports, *refutes)):
        return Verdict.PENDING
    if any(e.status in {"refuted", "crashed"} and e.prop.method != "measured" for e in supports):
        return Verdict.REFUTED
    held = [e for e in supports if e.well] + [e for e in refutes if _otherwise(e)]
    against = [e for e in refutes if e.well] + [e for e in supports if _otherwise(e)]
    if held and against:
        return Verdict.CONDITIONAL
    if against:
        return Verdict.REFUTED
    if held:
        methods = {e.prop.method for e in held}
        if methods & PROOFS:
            return Verdict.PROVED
        return Verdict.MEASURED if "measured" in methods else Verdict.HOLDS
    without_evidence = not supports and not refutes
    if without_evidence and declared in {Verdict.NO_CONTENT, Verdict.PENDING}:
        return declared
    return Verdict.PENDING


def _otherwise(evidence: Evidence) -> bool:
    """Whether an experiment decided against its hypothesis, and so speaks for the other side."""
    return evidence.prop.method == "measured" and evidence.status == "refuted"


@dataclass(frozen=True)
class PartResult:
    """A part of a claim with what its evidence adds up to."""

    part: Part
    verdict: Verdict
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class ClaimResult:
    """A claim with what its evidence adds up to.

    Attributes:
        claim: the claim.
        verdict: the headline.
        parts: its parts, where its halves differ.
        evidence: all evidence for it and its parts, in the ledger's order.
    """

    claim: Claim
    verdict: Verdict
    parts: tuple[PartResult, ...]
    evidence: tuple[Evidence, ...]

    @property
    def as_expected(self) -> bool:
        """Whether the evidence bears out what the ledger says, all of it.

        An experiment may come out otherwise than its hypothesis, or decide nothing: the verdict has
        to say so.
        """
        return (
            self.verdict == self.claim.verdict
            and all(result.verdict == result.part.verdict for result in self.parts)
            and all(evidence.settled for evidence in self.evidence)
        )

    def as_data(self) -> dict[str, Any]:
        """Give the result in the form that ``attest verify --json`` writes."""
        claim = self.claim
        data = {
            "id": claim.id,
            "section": claim.section,
            "quote": claim.quote,
            "statement": claim.statement,
            "formal": claim.formal,
            "verdict": self.verdict,
            "expected": claim.verdict,
            "as_expected": self.as_expected,
            "conditions": list(claim.conditions),
            "evidence": [_with_side(e, (claim, *claim.all_parts)) for e in self.evidence],
            "references": list(claim.references),
            "reason": claim.reason,
        }
        if self.parts:
            data["parts"] = [
                {
                    "part": result.part.key,
                    "statement": result.part.statement,
                    "verdict": result.verdict,
                    "expected": result.part.verdict,
                    "evidence": [_with_side(e, (result.part,)) for e in result.evidence],
                    "reason": result.part.reason,
                }
                for result in self.parts
            ]
        return data


def side(evidence: Evidence, subjects: tuple[Claim | Part, ...]) -> str:
    """Say whether evidence is "for" a claim and its parts, or "against" one of them."""
    return "against" if any(s in subjects for s in evidence.prop.refutes) else "for"


def _with_side(evidence: Evidence, subjects: tuple[Claim | Part, ...]) -> dict[str, Any]:
    return {**evidence.as_data(), "side": side(evidence, subjects)}


@dataclass(frozen=True)
class Verification:
    """All claims with their verdicts, and the evidence that no claim asked for."""

    claims: tuple[ClaimResult, ...]
    unasked: tuple[Evidence, ...]
    settings: Settings

    @property
    def well(self) -> bool:
        """Whether everything came out as the ledger says."""
        return all(c.as_expected for c in self.claims) and all(e.well for e in self.unasked)

    def as_data(self, seconds: float) -> dict[str, Any]:
        """Give everything in the form that ``attest verify --json`` writes."""
        return {
            "schema": 1,
            "claims": [result.as_data() for result in self.claims],
            "properties": [evidence.as_data() for evidence in self.unasked],
            "as_expected": self.well,
            "seconds": round(seconds, 3),
            "environment": environment(self.settings),
        }


def verify(ledger: Ledger, evidence: Iterable[Evidence], settings: Settings) -> Verification:
    """Add up the evidence for each claim of the ledger.

    Args:
        ledger: the claims.
        evidence: what examining the ledger's properties gave, in their order.
        settings: how they were examined.
    """
    found = list(evidence)
    results = []
    for claim in ledger.claims.values():
        parts = tuple(
            PartResult(part, _verdict(part, found, part.verdict), _about((part,), found))
            for part in claim.all_parts
        )
        everything = _about((claim, *claim.all_parts), found)
        if any(e.status == "pending" for e in everything):
            verdict = Verdict.PENDING  # what other parts say is not all that the claim says
        elif parts:
            verdict = headline([result.verdict for result in parts])
        else:
            verdict = _verdict(claim, found, claim.verdict)
        results.append(ClaimResult(claim, verdict, parts, everything))
    unasked = tuple(
        e
        for e in found
        if e.status != "not_applicable" and not any(c.id in ledger.claims for c in e.prop.claims)
    )
    return Verification(tuple(results), unasked, settings)


def _about(subjects: tuple[Claim | Part, ...], found: list[Evidence]) -> tuple[Evidence, ...]:
    return tuple(
        e
        for e in found
        if e.status != "not_applicable"
        and any(s in subjects for s in (*e.prop.supports, *e.prop.refutes))
    )


def _verdict(subject: Claim | Part, found: list[Evidence], declared: Verdict) -> Verdict:
    about = _about((subject,), found)
    supports = [e for e in about if subject in e.prop.supports]
    refutes = [e for e in about if subject in e.prop.refutes]
    return bear_out(supports, refutes, declared)


def environment(settings: Settings) -> dict[str, Any]:
    """Say what the result was made with: versions, device, dtype, examples and seed."""
    return {
        "attest": attest.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "hypothesis": hypothesis.__version__,
        "machine": platform.machine(),
        "device": settings.device,
        "dtype": settings.dtype,
        "examples": settings.examples,
        "quick": settings.quick,
        "seed": settings.seed,
        "seconds_a_property": settings.seconds,
    }
