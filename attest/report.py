"""The report as data: the whole ledger with its verdicts and all evidence.

The same versions and settings give the same data, byte for byte: there is no time in it, no date
and no name of a machine. What shows it reads these data and nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import sympy

from attest.claims import Verdict
from attest.contract import CONTRACT
from attest.evidence import Counterexample, Evidence
from attest.regimes import KINDS_OF_EXAMPLES
from attest.verification import ClaimResult, Verification, environment, side

__all__ = ["MARK", "as_json", "report"]

WRITTEN_BY = "attest report"
MARK = f'{{\n  "written_by": "{WRITTEN_BY}"'  # how the file begins
WIDTH = 100
# A script of more characters, which writes out all parameters of a deep model, is left out.
LONGEST_SCRIPT = 10_000

VERDICTS = {
    Verdict.PROVED: "a symbolic, structural or exhaustive argument; sampling never proves",
    Verdict.HOLDS: "survived every example that was tried",
    Verdict.CONDITIONAL: "true under the conditions stated, and false without them",
    Verdict.MEASURED: "decided by an experiment",
    Verdict.REFUTED: "has a counterexample",
    Verdict.NO_CONTENT: "says nothing that can be checked",
    Verdict.PENDING: "waits for a measurement, or was measured and is not decided",
}
METHODS = {
    "symbolic": "the reference runs on symbols in place of numbers",
    "structural": "an argument about the code itself, such as a gradient that is exactly zero",
    "exhaustive": "every case there is",
    "sampled": "random inputs of many sizes, made small where the law fails",
    "counterexample": "what the notes say fails on a pinned input, and a search finds another",
    "measured": "an experiment over seeds, with controls, and a rule that was written before it",
}
KINDS = {
    "definition": "says what the component is",
    "claim": "is a sentence of the notes",
    "robustness": "holds for anything that is used in earnest",
}
SETTINGS = ("examples", "seed", "dtype", "device", "quick")
VERSIONS = ("attest", "python", "torch", "numpy", "hypothesis")


def report(verification: Verification) -> dict[str, Any]:
    """Give everything that a report shows.

    Claims name their evidence by the property's id; a property that speaks of several claims is
    there once.
    """
    known = environment(verification.settings)
    claims = [_claim(result) for result in verification.claims]
    found = {e.prop.id: e for result in verification.claims for e in result.evidence}
    found |= {e.prop.id: e for e in verification.unasked}
    return {
        "written_by": WRITTEN_BY,
        "schema": 1,
        "versions": {name: known[name] for name in VERSIONS} | {"sympy": sympy.__version__},
        "settings": {name: known[name] for name in SETTINGS},
        "as_expected": verification.well,
        "words": {
            "verdicts": dict(VERDICTS),
            "methods": METHODS,
            "kinds": KINDS,
            "kinds_of_examples": dict(KINDS_OF_EXAMPLES),
        },
        "chapters": _chapters(verification.claims),
        "claims": claims,
        "unasked": _unasked(verification.unasked),
        "properties": {name: _property(found[name]) for name in sorted(found)},
    }


def _chapters(results: Iterable[ClaimResult]) -> list[dict[str, Any]]:
    chapters: dict[str, list[ClaimResult]] = {}
    for result in results:
        chapters.setdefault(result.claim.section, []).append(result)
    return [
        {
            "section": section,
            "claims": [result.claim.id for result in found],
            "verdicts": _counts(Verdict, (result.verdict for result in found)),
        }
        for section, found in chapters.items()
    ]


def _counts(order: Iterable[str], found: Iterable[str]) -> dict[str, int]:
    counts = Counter(found)
    return {str(word): counts[word] for word in order if counts[word]}


def _claim(result: ClaimResult) -> dict[str, Any]:
    claim = result.claim
    return {
        "id": claim.id,
        "section": claim.section,
        "quote": claim.quote,
        "statement": claim.statement,
        "formal": claim.formal,
        "verdict": result.verdict,
        "expected": claim.verdict,
        "as_expected": result.as_expected,
        "reason": claim.reason,
        "parts": [
            {
                "part": part.part.key,
                "statement": part.part.statement,
                "verdict": part.verdict,
                "expected": part.part.verdict,
                "reason": part.part.reason,
                "evidence": [e.prop.id for e in part.evidence],
            }
            for part in result.parts
        ],
        "conditions": list(claim.conditions),
        "references": list(claim.references),
        "evidence": [
            {"property": e.prop.id, "side": side(e, (claim, *claim.all_parts))}
            for e in result.evidence
        ],
    }


def _unasked(evidence: Iterable[Evidence]) -> list[dict[str, Any]]:
    """What no claim of the notes asks for and experts demand, by component."""
    components: dict[str, list[Evidence]] = {}
    order = list(CONTRACT)
    for found in sorted(evidence, key=lambda e: order.index(e.prop.component)):
        components.setdefault(found.prop.component, []).append(found)
    return [
        {
            "component": component,
            "kinds": _counts(KINDS, (e.prop.kind for e in found)),
            "properties": [e.prop.id for e in found],
        }
        for component, found in components.items()
    ]


def _property(evidence: Evidence) -> dict[str, Any]:
    prop, data, found = evidence.prop, evidence.as_data(), evidence.counterexample
    return {
        "component": prop.component,
        "sentence": prop.sentence,
        "explanation": " ".join(prop.explanation.partition("\n\n")[0].split()),
        "formula": prop.formula,
        "kind": prop.kind,
        "method": prop.method,
        "dtypes": list(prop.dtypes),
        "examples": evidence.examples,
        "informative": evidence.informative,
        "tried": evidence.tried,
        "outcome": data["outcome"],
        "well": evidence.settled,
        "message": evidence.message,
        "counterexample": None if found is None else _counterexample(found),
    }


def _counterexample(found: Counterexample) -> dict[str, Any]:
    return {
        "given": found.given,
        "what": found.what,
        "compared": found.compared,
        "difference": found.difference,
        "script": found.script if len(found.script) <= LONGEST_SCRIPT else None,
    }


def as_json(data: Any) -> str:  # noqa: ANN401
    """Write data as JSON in which whatever fits into a line is one line."""
    return _lines(data, "", 0) + "\n"


def _lines(value: Any, indent: str, before: int) -> str:  # noqa: ANN401
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list) or before + len(line) < WIDTH:
        return line
    inner, items = indent + "  ", []
    for key, item in value.items() if isinstance(value, dict) else ((None, v) for v in value):
        name = "" if key is None else f"{json.dumps(key, ensure_ascii=False)}: "
        items.append(name + _lines(item, inner, len(inner) + len(name)))
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    joint = f",\n{inner}"
    return f"{opening}\n{inner}{joint.join(items)}\n{indent}{closing}"
