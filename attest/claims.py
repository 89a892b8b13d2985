"""A claim: one sentence of the notes, and the verdict that its evidence must bear out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Claim", "Part", "Verdict", "headline"]


class Verdict(StrEnum):
    """What the evidence for a claim adds up to.

    PROVED needs a symbolic, structural or exhaustive argument; sampling never proves.
    HOLDS survived every example that was tried. CONDITIONAL is true under the stated conditions
    and false without them. MEASURED was decided by an experiment. REFUTED has a counterexample.
    NO_CONTENT says nothing that can be checked. PENDING waits for a measurement, or was measured
    and not decided.
    """

    PROVED = "proved"
    HOLDS = "holds"
    CONDITIONAL = "conditional"
    MEASURED = "measured"
    REFUTED = "refuted"
    NO_CONTENT = "no_content"
    PENDING = "pending"


@dataclass(frozen=True)
class Claim:
    """One sentence of the notes, in our words.

    Attributes:
        id: such as ``ATT-02``; never reused.
        section: the notes' section.
        quote: three to eight words of the notes that locate the sentence.
        statement: what the sentence says, in our words.
        formal: the same as a formula.
        verdict: the headline that the evidence must bear out.
        conditions: under which it is true, for a reader; empty when there are none.
        references: papers, with the section or equation where it was checked.
        parts: the halves of a claim whose halves differ, as (key, statement, verdict) or with the
            reason why there is no evidence as a fourth.
        reason: why there is no evidence, for a claim without content or one that is pending.
    """

    id: str
    section: str
    quote: str
    statement: str
    formal: str
    verdict: Verdict
    conditions: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    parts: tuple[tuple[str, str, Verdict] | tuple[str, str, Verdict, str], ...] = ()
    reason: str | None = None

    def part(self, key: str) -> Part:
        """Give the part with this key, for a property that speaks of that half alone.

        Raises:
            KeyError: the claim has no such part.
        """
        for part in self.all_parts:
            if part.key == key:
                return part
        known = ", ".join(part.key for part in self.all_parts) or "none"
        raise KeyError(f"{self.id} has no part {key!r}; its parts: {known}")

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The claim's parts in the order given; empty for a claim that is all of a piece."""
        return tuple(Part(self, *fields) for fields in self.parts)


@dataclass(frozen=True)
class Part:
    """One half of a claim whose halves differ.

    Attributes:
        claim: the claim it is a half of.
        key: what tells this part from the others, a word or two.
        statement: the part in our words.
        verdict: the verdict that its evidence must bear out.
        reason: why there is no evidence, for a part without content or one that is pending.
    """

    claim: Claim
    key: str
    statement: str
    verdict: Verdict
    reason: str | None = None

    @property
    def quote(self) -> str:
        """The quote that locates the claim."""
        return self.claim.quote


def headline(verdicts: list[Verdict]) -> Verdict:
    """Sum up the verdicts of a claim's parts.

    Parts without content, and parts that are pending beside others that are not, do not count.
    Parts that agree give their verdict; a proof beside a sampled half holds; parts of which some
    are false or conditional and others true make the claim conditional.
    """
    decided = [v for v in verdicts if v not in {Verdict.NO_CONTENT, Verdict.PENDING}]
    if not decided:
        return Verdict.PENDING if Verdict.PENDING in verdicts else Verdict.NO_CONTENT
    kinds = set(decided)
    if len(kinds) == 1:
        return decided[0]
    if kinds <= {Verdict.PROVED, Verdict.HOLDS}:
        return Verdict.HOLDS
    if kinds <= {Verdict.PROVED, Verdict.HOLDS, Verdict.MEASURED}:
        return Verdict.MEASURED
    return Verdict.CONDITIONAL
