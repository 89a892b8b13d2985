"""Claims and verdicts: what evidence adds up to, and what counts as expected."""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import strategies as st

from attest.claims import Claim, Part, Verdict, headline
from attest.evidence import Evidence
from attest.examination import Settings
from attest.laws import Property
from attest.ledger import Ledger, LedgerError, load_ledger
from attest.verification import PROOFS, bear_out, verify
from properties import CHAPTERS

PROVED, HOLDS, CONDITIONAL = Verdict.PROVED, Verdict.HOLDS, Verdict.CONDITIONAL
MEASURED, REFUTED = Verdict.MEASURED, Verdict.REFUTED
NO_CONTENT, PENDING = Verdict.NO_CONTENT, Verdict.PENDING

HEADLINES = [
    ([], NO_CONTENT),
    ([PROVED], PROVED),
    ([HOLDS], HOLDS),
    ([CONDITIONAL], CONDITIONAL),
    ([MEASURED], MEASURED),
    ([REFUTED], REFUTED),
    ([NO_CONTENT], NO_CONTENT),
    ([PENDING], PENDING),
    ([REFUTED, REFUTED], REFUTED),
    ([PROVED, HOLDS], HOLDS),
    ([PROVED, MEASURED], MEASURED),
    ([HOLDS, MEASURED], MEASURED),
    ([PROVED, HOLDS, MEASURED], MEASURED),
    ([PROVED, REFUTED], CONDITIONAL),
    ([MEASURED, REFUTED], CONDITIONAL),
    ([HOLDS, CONDITIONAL], CONDITIONAL),
    ([REFUTED, CONDITIONAL], CONDITIONAL),
    ([NO_CONTENT, PROVED], PROVED),
    ([PENDING, REFUTED], REFUTED),
    ([NO_CONTENT, PENDING], PENDING),
    ([NO_CONTENT, PENDING, PROVED, HOLDS], HOLDS),
]


@pytest.mark.parametrize(("parts", "whole"), HEADLINES)
def test_parts_sum_up_to_a_headline_in_any_order(parts, whole):
    assert {headline(list(order)) for order in permutations(parts)} == {whole}


def claim(identifier="ATT-90", verdict=HOLDS, parts=()):
    return Claim(
        id=identifier,
        section="2 Attention",
        quote="a few words",
        statement="It is so.",
        formal="x = x",
        verdict=verdict,
        parts=parts,
    )


def it_is_so(softmax):
    """It is so."""


def it_is_not_so(softmax):
    """It is not so."""


def prop(method="sampled", supports=(), refutes=(), component="softmax", function=it_is_so):
    return Property(
        function,
        component,
        method,
        "claim",
        "x = x",
        supports,
        refutes,
        inputs=None if method == "symbolic" else st.just({}),
    )


def of(*cases):
    return [Evidence(prop(method), status) for method, status in cases]


FAILED = ("refuted", "crashed")
VERDICTS = [
    # evidence for, evidence against, what the ledger says, verdict
    ([("sampled", "holds")], [], HOLDS, HOLDS),
    ([("sampled", "holds")], [], PROVED, HOLDS),
    ([("symbolic", "holds")], [], HOLDS, PROVED),
    ([("structural", "holds")], [], HOLDS, PROVED),
    ([("exhaustive", "holds")], [], HOLDS, PROVED),
    ([("sampled", "holds"), ("symbolic", "holds")], [], HOLDS, PROVED),
    ([("sampled", "holds"), ("sampled", "refuted")], [], HOLDS, REFUTED),
    ([("sampled", "refuted"), ("symbolic", "holds")], [], PROVED, REFUTED),
    ([("sampled", "crashed")], [], HOLDS, REFUTED),
    ([("symbolic", "refuted")], [], PROVED, REFUTED),
    ([("sampled", "timeout")], [], HOLDS, PENDING),
    ([("sampled", "undecided")], [], HOLDS, PENDING),
    ([("sampled", "not_attempted")], [], HOLDS, PENDING),
    ([("sampled", "timeout"), ("sampled", "holds")], [], HOLDS, HOLDS),
    ([("sampled", "undecided"), ("symbolic", "holds")], [], HOLDS, PROVED),
    ([], [("counterexample", "holds")], REFUTED, REFUTED),
    ([], [("counterexample", "holds")], HOLDS, REFUTED),
    ([], [("counterexample", "refuted")], REFUTED, PENDING),
    ([("sampled", "holds")], [("counterexample", "holds")], CONDITIONAL, CONDITIONAL),
    ([("symbolic", "holds")], [("counterexample", "holds")], CONDITIONAL, CONDITIONAL),
    ([("sampled", "holds")], [("counterexample", "refuted")], CONDITIONAL, HOLDS),
    ([("sampled", "refuted")], [("counterexample", "holds")], CONDITIONAL, REFUTED),
    ([("sampled", "timeout")], [("counterexample", "holds")], CONDITIONAL, REFUTED),
    ([], [], NO_CONTENT, NO_CONTENT),
    ([], [], PENDING, PENDING),
    ([], [], HOLDS, PENDING),
    ([], [], PROVED, PENDING),
    ([], [], REFUTED, PENDING),
    ([("sampled", "timeout")], [], NO_CONTENT, PENDING),
    ([("sampled", "holds")], [], NO_CONTENT, HOLDS),
]


@pytest.mark.parametrize(("supports", "refutes", "declared", "verdict"), VERDICTS)
def test_evidence_bears_out_a_verdict(supports, refutes, declared, verdict):
    assert bear_out(of(*supports), of(*refutes), declared) == verdict


def test_sampling_never_proves():
    for number in (1, 10):
        assert bear_out(of(("sampled", "holds")) * number, [], PROVED) == HOLDS


def verified(the_claim, *evidence):
    properties = tuple(e.prop for e in evidence)
    ledger = Ledger({the_claim.id: the_claim}, properties)
    return verify(ledger, evidence, Settings())


def test_a_claim_whose_evidence_comes_out_is_as_expected():
    one = claim()
    result = verified(one, Evidence(prop(supports=(one,)), "holds"))
    assert result.claims[0].verdict == HOLDS
    assert result.claims[0].as_expected
    assert result.well


@pytest.mark.parametrize("status", ["refuted", "crashed", "timeout", "undecided", "not_attempted"])
def test_a_claim_any_of_whose_evidence_fails_is_not_as_expected(status):
    one = claim()
    good, bad = prop(supports=(one,)), prop(supports=(one,), function=it_is_not_so)
    result = verified(one, Evidence(good, "holds"), Evidence(bad, status))
    assert not result.claims[0].as_expected
    assert not result.well
    assert not result.as_data(1.0)["as_expected"]


def test_a_false_claim_whose_refutation_finds_nothing_is_not_as_expected():
    one = claim(verdict=REFUTED)
    against = prop("counterexample", refutes=(one,))
    assert verified(one, Evidence(against, "holds")).well
    assert not verified(one, Evidence(against, "refuted")).well


def test_a_claim_that_turns_out_better_than_the_ledger_says_is_not_as_expected():
    one = claim(verdict=HOLDS)
    result = verified(one, Evidence(prop("symbolic", supports=(one,)), "holds"))
    assert result.claims[0].verdict == PROVED
    assert not result.well


def test_a_claim_without_the_evidence_it_needs_is_pending_and_not_as_expected():
    assert verified(claim()).claims[0].verdict == PENDING
    assert not verified(claim()).well
    assert verified(claim(verdict=PENDING)).well
    assert verified(claim(verdict=NO_CONTENT)).well


def test_evidence_that_no_claim_asked_for_counts_all_the_same():
    one = claim(verdict=NO_CONTENT)
    assert verified(one, Evidence(prop(), "holds")).well
    assert not verified(one, Evidence(prop(), "undecided")).well


def test_what_does_not_apply_is_left_out():
    one = claim()
    result = verified(
        one,
        Evidence(prop(supports=(one,)), "holds"),
        Evidence(prop(supports=(one,)), "not_applicable"),
        Evidence(prop(), "not_applicable"),
    )
    assert len(result.claims[0].evidence) == 1
    assert result.unasked == ()
    assert result.well


PARTS = (("first", "It is so.", PROVED), ("second", "It is not so.", REFUTED))


def test_a_claim_in_parts_has_the_headline_of_its_parts():
    one = claim(verdict=CONDITIONAL, parts=PARTS)
    proof = Evidence(prop("symbolic", supports=(one.part("first"),)), "holds")
    against = Evidence(prop("counterexample", refutes=(one.part("second"),)), "holds")
    result = verified(one, proof, against).claims[0]
    assert [part.verdict for part in result.parts] == [PROVED, REFUTED]
    assert [part.evidence for part in result.parts] == [(proof,), (against,)]
    assert result.verdict == CONDITIONAL
    assert result.as_expected
    sides = [entry["side"] for entry in result.as_data()["evidence"]]
    assert sides == ["for", "against"]


def test_a_part_with_another_verdict_is_not_as_expected_even_under_the_right_headline():
    one = claim(verdict=CONDITIONAL, parts=PARTS)
    first = Evidence(prop("counterexample", refutes=(one.part("first"),)), "holds")
    second = Evidence(prop("symbolic", supports=(one.part("second"),)), "holds")
    result = verified(one, first, second).claims[0]
    assert result.verdict == CONDITIONAL
    assert not result.as_expected


def test_a_part_is_found_by_its_key_and_knows_its_claim():
    one = claim(parts=PARTS)
    part = one.part("second")
    assert (part.claim, part.key, part.verdict) == (one, "second", REFUTED)
    assert part.quote == one.quote
    assert part.reason is None


def test_a_part_may_say_why_it_has_no_evidence():
    one = claim(parts=(("first", "It is so.", PENDING, "nobody measured it"),))
    assert one.part("first").reason == "nobody measured it"


@pytest.mark.parametrize(("parts", "known"), [((), "none"), (PARTS, "first, second")])
def test_an_unknown_part_is_refused_with_those_that_exist(parts, known):
    with pytest.raises(KeyError, match=f"ATT-90 has no part 'third'; its parts: {known}"):
        claim(parts=parts).part("third")


ONE, TWO = claim("ATT-91"), claim("ATT-92", parts=PARTS)
FIRST = prop(supports=(ONE,))
SECOND = prop(supports=(TWO.part("first"),), component="causal_mask")
BOTH = prop(supports=(ONE,), refutes=(TWO,), function=it_is_not_so)
FREE = prop(component="padding_mask")
LEDGER = Ledger({"ATT-91": ONE, "ATT-92": TWO}, (FIRST, SECOND, BOTH, FREE))


@pytest.mark.parametrize(
    ("names", "properties", "claims"),
    [
        ([], (FIRST, SECOND, BOTH, FREE), ["ATT-91", "ATT-92"]),
        (["ATT-91"], (FIRST, BOTH), ["ATT-91"]),
        (["ATT-92"], (SECOND, BOTH), ["ATT-92"]),
        (["ATT-92", "ATT-91"], (FIRST, SECOND, BOTH), ["ATT-91", "ATT-92"]),
        (["softmax"], (FIRST, BOTH), ["ATT-91"]),
        (["causal_mask"], (SECOND,), []),
        (["padding_mask"], (FREE,), []),
        (["softmax.it_is_so"], (FIRST,), []),
        (["softmax.it_is_not_so"], (BOTH,), []),
        (["it_is_so"], (FIRST, SECOND, FREE), []),
        (["it is so"], (FIRST, SECOND, FREE), []),
        (["softmax", "causal_mask"], (FIRST, SECOND, BOTH), ["ATT-91", "ATT-92"]),
        (["padding_mask", "softmax.it_is_so"], (FIRST, FREE), []),
    ],
)
def test_a_name_selects_claims_with_all_of_their_evidence(names, properties, claims):
    chosen = LEDGER.only(names)
    assert chosen.properties == properties
    assert list(chosen.claims) == claims


@pytest.mark.parametrize("name", ["ATT-93", "soft", "", "it is"])
def test_a_name_that_selects_nothing_is_refused(name):
    with pytest.raises(LedgerError, match=f"--only {name}: no claim, property or component"):
        LEDGER.only(["softmax", name])


def test_laws_grade_and_arguments_do_not():
    proof, refutation = prop("symbolic"), prop("counterexample")
    assert Ledger({}, (FIRST, proof, refutation, FREE)).laws == (FIRST, FREE)


# --- The claims of the notes ----------------------------------------------------------------------

OURS = load_ledger()
SECTIONS = {
    "1 Seq2Seq": ("S2S", "TF", "DEC"),
    "2 Attention": ("ATT",),
    "3 Self-Attention": ("SA",),
    "4 Multi-Head Attention": ("MHA",),
    "5 Transformer": ("TRF", "EQ", "ORD", "RES"),
    "6 Positional Encoding": ("PE",),
    "7 Why Transformer": ("WHY",),
    "Linked note (reconstructed)": ("MSK",),
}
HOW_MANY = {
    "S2S": 7, "TF": 4, "DEC": 2, "ATT": 10, "SA": 11, "MHA": 9, "TRF": 13, "EQ": 2, "ORD": 3,
    "RES": 2, "PE": 9, "WHY": 5, "MSK": 5,
}  # fmt: skip
SUBJECTS = [s for one in OURS.claims.values() for s in (one.all_parts or (one,))]


def named(subject):
    return f"{subject.claim.id} {subject.key}" if isinstance(subject, Part) else subject.id


each_claim = pytest.mark.parametrize("ours", OURS.claims.values(), ids=named)
each_part = pytest.mark.parametrize("subject", SUBJECTS, ids=named)


def test_the_ledger_holds_every_claim_of_the_notes():
    wanted = {f"{chapter}-{i:02}" for chapter, n in HOW_MANY.items() for i in range(1, n + 1)}
    assert set(OURS.claims) == wanted
    assert len(wanted) == 82
    assert tuple(HOW_MANY) == CHAPTERS


@each_claim
def test_a_claim_stands_in_its_section(ours):
    assert ours.id.split("-")[0] in SECTIONS[ours.section]


@each_claim
def test_a_claim_is_located_by_three_to_eight_words(ours):
    assert 3 <= len([word for word in ours.quote.split() if re.search(r"\w", word)]) <= 8


def test_no_two_claims_say_or_quote_the_same():
    found = [c.statement for c in OURS.claims.values()]
    found += [c.quote for c in OURS.claims.values() if not c.id.startswith("MSK")]
    assert [text for text, count in Counter(found).items() if count > 1] == []


@each_claim
def test_a_claim_says_where_it_is_reconstructed(ours):
    assert any("reconstructed" in c for c in ours.conditions) == ours.id.startswith("MSK")


@each_claim
def test_a_claim_is_written_in_sentences_and_its_conditions_are_not(ours):
    for sentence in (ours.statement, *(part.statement for part in ours.all_parts)):
        assert re.fullmatch(r"[A-Z].*[^.]\.", sentence), sentence
    assert ours.formal
    for text in (*ours.conditions, *ours.references):
        assert not text.endswith("."), text
    for reference in ours.references:
        assert re.search(r"[\w.] (19|20)\d\d(, .+|: .+)?$", reference), reference


@each_claim
def test_a_claims_verdict_is_that_of_its_parts(ours):
    assert not ours.parts or headline([part.verdict for part in ours.all_parts]) == ours.verdict
    assert len({part.key for part in ours.all_parts}) == len(ours.parts)


@each_claim
def test_evidence_for_a_claim_in_parts_is_for_one_of_them(ours):
    whole = [p.id for p in OURS.properties if ours in (*p.supports, *p.refutes)]
    assert not ours.parts or not whole


@each_part
def test_a_verdict_has_the_evidence_that_it_needs_or_a_reason(subject):
    supports = {p.method for p in OURS.properties if subject in p.supports}
    refutes = {p.method for p in OURS.properties if subject in p.refutes}
    measured = any(experiment.about == subject for experiment in OURS.experiments)
    if subject.verdict in {NO_CONTENT, PENDING}:
        assert subject.reason
        assert subject.reason.startswith("measured, and ") == measured
        assert not supports | refutes
        assert not measured or subject.verdict == PENDING
        return
    assert not subject.reason
    if measured and not supports | refutes:
        # By an experiment alone; which of the two is in what it gave, and the whole ledger's run
        # sees that it is this one.
        assert subject.verdict in {Verdict.MEASURED, REFUTED}
        return
    assert bool(supports) == (subject.verdict != REFUTED)
    assert bool(refutes) == (subject.verdict in {REFUTED, CONDITIONAL})
    if subject.verdict != CONDITIONAL:
        assert bool(supports & PROOFS) == (subject.verdict == PROVED)
