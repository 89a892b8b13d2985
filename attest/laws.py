"""A property: an executable law about one component, written once as a plain function.

Three decorators turn a function into data that the engine finds by walking the ledger:

``law``
    is true of every correct implementation and is examined on sampled inputs. It grades.
``proof``
    argues about the component itself (symbolically, structurally, exhaustively), once.
``refutation``
    is what the notes say, in the form of a law, with an input where it fails; the engine checks
    that input and searches for another.

The function's name is a sentence in the present tense, its docstring says it for a student, and
its first argument is the component. Other arguments are drawn by name from ``inputs``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from hypothesis.strategies import SearchStrategy
from torch import Tensor

from attest.claims import Claim, Part
from attest.contract import CONTRACT

__all__ = ["Kind", "Method", "Property", "law", "proof", "refutation"]

Kind = Literal["definition", "claim", "robustness"]
Method = Literal["symbolic", "structural", "exhaustive", "sampled", "counterexample"]
Draws = SearchStrategy[dict[str, Any]]
Inputs = Draws | Callable[[str], Draws]
Applies = Callable[[Mapping[str, Tensor]], str | None]
Subjects = Claim | Part | tuple[Claim | Part, ...]
Law = TypeVar("Law", bound=Callable[..., None])

ATTRIBUTE = "__attest_properties__"


@dataclass(frozen=True, eq=False)
class Property:
    """An executable law about one component.

    Attributes:
        function: the law; takes the component (and the oracle, if it asks for one), then the
            drawn inputs by name.
        component: the contract's name of the component.
        method: how examining it argues.
        kind: what it costs to break it: a definition, a claim of the notes, or robustness.
        formula: the law as a formula.
        supports: the claims or parts that it is evidence for.
        refutes: the claims or parts that it is evidence against. A property that names neither is
            what experts demand unasked.
        inputs: draws the inputs by name; None for a proof.
        dtypes: examined in these dtypes instead of the run's.
        named: speaks of parameters by the reference's names, and applies only where a submission
            has exactly these names and shapes.
        oracle: takes the reference's component with the same parameters as second argument.
        applies: says, from a module's parameters at the contract's example sizes, why the law has
            nothing to say about the way they are stored; None where it has.
        pinned: for a refutation, an input where the claim fails.
        beside: for a proof, further names of the implementation that it takes after the component.
        share: of the examples that are asked for, how many it takes.
    """

    function: Callable[..., None]
    component: str
    method: Method
    kind: Kind
    formula: str
    supports: tuple[Claim | Part, ...] = ()
    refutes: tuple[Claim | Part, ...] = ()
    inputs: Draws | None = None
    dtypes: tuple[str, ...] = ()
    named: bool = False
    oracle: bool = False
    applies: Applies | None = None
    pinned: Mapping[str, Any] | None = None
    beside: tuple[str, ...] = ()
    share: float = 1.0

    @property
    def gathers(self) -> bool:
        """Whether it takes all inputs as one dict named ``arguments``, whatever they are."""
        return "arguments" in inspect.signature(self.function).parameters

    @property
    def id(self) -> str:
        """The component's name and the law's, such as ``softmax.entries_sum_to_one``."""
        return f"{self.component}.{self.function.__name__}"

    @property
    def name(self) -> str:
        """The law's name."""
        return self.function.__name__

    @property
    def sentence(self) -> str:
        """The law's name as words."""
        return self.name.replace("_", " ")

    @property
    def explanation(self) -> str:
        """The law's docstring, for a student."""
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of the notes that it speaks of, for or against."""
        subjects = (*self.supports, *self.refutes)
        return tuple(s.claim if isinstance(s, Part) else s for s in subjects)

    @property
    def claim(self) -> Claim | None:
        """The claim that it speaks of first, if any."""
        return next(iter(self.claims), None)

    @property
    def grades(self) -> bool:
        """Whether implementations are graded by it: laws are, arguments are not."""
        return self.method == "sampled"


def _require_declarable(function: Callable[..., None], *components: str) -> None:
    if not function.__doc__:
        raise TypeError(f"{function.__name__} needs a docstring: the law as a student reads it")
    unknown = [component for component in components if component not in CONTRACT]
    if unknown:
        raise ValueError(
            f"{function.__name__} speaks of {', '.join(unknown)}; the contract knows "
            f"{', '.join(CONTRACT)}, and add_component adds others"
        )


def _attach(function: Callable[..., None], properties: list[Property]) -> None:
    setattr(function, ATTRIBUTE, [*getattr(function, ATTRIBUTE, []), *properties])


def _resolve(inputs: Inputs, component: str) -> Draws:
    return inputs if isinstance(inputs, SearchStrategy) else inputs(component)


def _tuple(subjects: Subjects) -> tuple[Claim | Part, ...]:
    return subjects if isinstance(subjects, tuple) else (subjects,)


def law(
    *components: str,
    inputs: Inputs,
    formula: str,
    claim: Subjects = (),
    against: Subjects = (),
    kind: Kind | None = None,
    dtypes: tuple[str, ...] = (),
    named: bool = False,
    oracle: bool = False,
    applies: Applies | None = None,
    share: float = 1.0,
) -> Callable[[Law], Law]:
    """Declare a law about one component, or the same law about each of several.

    Args:
        components: the contract's names of the components.
        inputs: draws a dict with the law's arguments by name, or makes such a strategy from a
            component's name. The key ``setup`` constructs the component.
        formula: the law as a formula.
        claim: the claim or part that it is evidence for, or a tuple of them.
        against: the claim or part that it is evidence against, or a tuple of them.
        kind: "claim" where a claim is named and "definition" otherwise, unless given.
        dtypes: examine in these dtypes instead of the run's, such as ("float32", "float16").
        named: apply only where the parameters have the reference's names and shapes.
        oracle: pass the reference's component with the same parameters; implies ``named``.
        applies: says, from a module's parameters at the contract's example sizes, why the law has
            nothing to say about the way they are stored; None where it has.
        share: of the examples that are asked for, how many it takes, where it takes long and a few
            tell as much.

    Raises:
        TypeError: the function has no docstring.
        ValueError: a component that the contract does not know, or a share that is none.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a law's share of the examples is above 0 and at most 1, got {share}")
    cost: Kind = kind or ("claim" if claim or against else "definition")

    def declare(function: Law) -> Law:
        _require_declarable(function, *components)
        _attach(
            function,
            [
                Property(
                    function=function,
                    component=component,
                    method="sampled",
                    kind=cost,
                    formula=formula,
                    supports=_tuple(claim),
                    refutes=_tuple(against),
                    inputs=_resolve(inputs, component),
                    dtypes=dtypes,
                    named=named or oracle,
                    oracle=oracle,
                    applies=applies,
                    share=share,
                )
                for component in components
            ],
        )
        return function

    return declare


def proof(
    component: str,
    *beside: str,
    method: Literal["symbolic", "structural", "exhaustive"],
    formula: str,
    claim: Subjects = (),
    against: Subjects = (),
) -> Callable[[Law], Law]:
    """Declare an argument about a component, made once on the component itself.

    The function takes the component as its module defines it, a function or a class, since an
    argument may hand it symbols instead of tensors. It fails by raising, like a law.

    Args:
        component: the contract's name of the component.
        beside: further public names of the reference that the argument needs, such as a decoder
            that the contract does not know; the function takes them after the component.
        method: how it argues.
        formula: what it proves.
        claim: the claim or part that it proves.
        against: the claim or part that it disproves.

    Raises:
        TypeError: the function has no docstring.
        ValueError: a component that the contract does not know.
    """

    def declare(function: Law) -> Law:
        _require_declarable(function, component)
        proved = Property(
            function,
            component,
            method,
            "claim" if claim or against else "definition",
            formula,
            _tuple(claim),
            _tuple(against),
            beside=beside,
        )
        _attach(function, [proved])
        return function

    return declare


def refutation(
    component: str,
    *,
    claim: Subjects,
    formula: str,
    inputs: Inputs,
    pinned: Mapping[str, Any],
) -> Callable[[Law], Law]:
    """Declare what the notes say as a law, with the smallest input known where it fails.

    Args:
        component: the contract's name of the component.
        claim: the claim or part that it refutes, or whose condition it shows to be needed.
        formula: what fails.
        inputs: where to search for another counterexample; drawn as for ``law``.
        pinned: an input where it fails.

    Raises:
        TypeError: the function has no docstring.
        ValueError: a component that the contract does not know.
    """

    def declare(function: Law) -> Law:
        _require_declarable(function, component)
        refuted = Property(
            function=function,
            component=component,
            method="counterexample",
            kind="claim",
            formula=formula,
            refutes=_tuple(claim),
            inputs=_resolve(inputs, component),
            pinned=pinned,
        )
        _attach(function, [refuted])
        return function

    return declare
