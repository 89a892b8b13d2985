"""Describing a failure so that a student understands it and can run it again."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attest.checks import Crash, Violation
from attest.contract import ContractBroken
from attest.evidence import Counterexample
from attest.implementations import Implementation
from attest.laws import Property
from attest.subject import Setup
from attest.tape import MANY, Tape, literal

__all__ = ["describe", "difference", "plain", "reproduces"]

# A tensor with more entries than this is summarised in text; the script has all of them.
MOST_ENTRIES = 64
# With more entries, what is expected is computed by the script.
MOST_TOLD = 256
DIGITS = 6
FEW_DIGITS = 3
AGREEMENT = "the same as "
EITHER = "either of the two may be the wrong one"

_ASSERTIONS = {
    "close": "assert ((actual - expected).abs() <= bound).all(), 'too far apart'",
    "identical": "assert torch.equal(actual, expected), 'not identical'",
    "at_most": "assert (actual <= expected + bound).all(), 'too large'",
    "at_least": "assert (actual >= expected - bound).all(), 'too small'",
    "above": "assert (actual > expected).all(), 'not above'",
    "finite": "assert torch.isfinite(actual).all(), 'not finite'",
    "differs": "assert ((actual - expected).abs() > bound).any(), 'nothing changed'",
}
LATER = " (only after earlier calls: something is remembered from them)"
_EXPECTATIONS = {
    "at_most": "at most ",
    "at_least": "at least ",
    "above": "above ",
    "differs": "anything but ",
}


def describe(
    prop: Property,
    inputs: Mapping[str, Any],
    setup: Setup | None,
    failure: BaseException | None,
    tape: Tape,
    *,
    quote: str | None,
    implementation: Implementation,
    again: bool = True,
    brief: bool = False,
    copies: bool = False,
) -> Counterexample:
    """Describe a failure on one example.

    Args:
        prop: the law that fails.
        inputs: the example's inputs by name.
        setup: how the module was constructed.
        failure: how it failed when it ran with the tape.
        tape: what the law did.
        quote: the notes' words, where the law belongs to a sentence of the notes.
        implementation: what failed, for the script.
        again: whether it failed again on a new module; where not, no script can show it.
        brief: leave calls out of the script that what is compared does not follow from.
        copies: copy every answer in the script.
    """
    violation = failure if isinstance(failure, Violation) else None
    values = dict(inputs)
    given = [(name, render(value)) for name, value in inputs.items()]
    if setup is not None:
        arguments = ", ".join(f"{name}={size}" for name, size in setup.arguments.items())
        given.insert(0, (prop.component, f"({arguments})"))
        made = setup.matrices is not None and not setup.matrices
        told = violation is not None or not made
        parameters = (tape.parameters or setup.matrices or {}) if told else {}
        given += _weights(parameters)
        values = {prop.component: dict(setup.arguments), **values, **parameters}
    came = expected = far = compared = None
    if violation is not None:
        digits = _digits(violation)
        came = None if violation.actual is None else render(violation.actual, digits)
        both = _agreement(violation, tape)
        compared = _compared(violation, digits, AGREEMENT if both else "")
        expected = _expectation(violation, digits, AGREEMENT if both else "")
        far = difference(violation)
        if far is not None and both:
            far += f"; {EITHER}"
    return Counterexample(
        component=prop.component,
        sentence=prop.sentence,
        explanation=" ".join(prop.explanation.partition("\n\n")[0].split()),
        formula=prop.formula,
        quote=quote,
        inputs=tuple(given),
        what=(violation.what if violation is not None else str(failure)) + ("" if again else LATER),
        came=came,
        expected=expected,
        difference=far,
        script=_script(prop, failure, tape, implementation, brief=brief, copies=copies)
        if again
        else _no_script(prop),
        given={name: plain(value) for name, value in values.items()},
        compared=compared,
    )


def _compared(violation: Violation, digits: int, word: str) -> dict[str, Any] | None:
    """Give what was compared as numbers."""
    actual, expected = violation.actual, violation.expected
    if actual is None:
        return None
    word = (
        "finite" if violation.relation == "finite" else _EXPECTATIONS.get(violation.relation, word)
    )
    found = {
        "came": plain(actual, digits),
        "word": word.strip(),
        "expected": plain(expected, digits),
    }
    if expected is None:
        return {**found, "difference": None}
    wide, target = actual.detach().double(), expected.detach().double()
    return {**found, "difference": plain(wide - target, FEW_DIGITS)}


def _weights(parameters: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Give parameters by name as text; many that hold nothing but one number share a line."""
    alike: dict[str, list[str]] = {}
    for name, value in parameters.items():
        if value.numel() and bool((value == value.flatten()[0]).all()):
            alike.setdefault(_number(value.flatten()[0], DIGITS), []).append(name)
    many = {number: names for number, names in alike.items() if len(names) >= MANY}
    joined = {name for names in many.values() for name in names}
    shown = [(name, render(value)) for name, value in parameters.items() if name not in joined]
    other = "other parameters" if shown else "parameters"
    return shown + [
        (f"{len(names)} {other}", f"{number} everywhere") for number, names in many.items()
    ]


def _agreement(violation: Violation, tape: Tape) -> bool:
    """Whether both sides of an equation follow from the component's answers."""
    if violation.relation not in {"close", "identical"} or violation.expected is None:
        return False
    return tape.follows_from_answers(violation.expected)


def _digits(violation: Violation) -> int:
    """Give how many digits tell what came out from what should have."""
    actual, expected = violation.actual, violation.expected
    if actual is None or expected is None or violation.relation not in {"close", "identical"}:
        return DIGITS
    if torch.equal(actual.detach().double(), expected.detach().double()):
        return DIGITS
    wanted = (n for n in (DIGITS, 9, 12) if render(actual, n) != render(expected, n))
    return next(wanted, 17)


def _expectation(violation: Violation, digits: int, word: str) -> str | None:
    if violation.relation == "finite":
        return "finite numbers"
    if violation.expected is None:
        return None
    word = _EXPECTATIONS.get(violation.relation, word)
    return word + render(violation.expected, digits).replace("\n", "\n" + " " * len(word))


def difference(violation: Violation) -> str | None:
    """Say by how much and where a comparison failed; None where it compared nothing."""
    actual, expected, bound = violation.actual, violation.expected, violation.bound
    if actual is None or expected is None or violation.relation == "above":
        return None
    wide, target = actual.detach().double(), expected.detach().double()
    error = (wide - target).abs().expand_as(wide)
    if violation.relation == "differs":
        moved = error.numel() and bound is not None and bool((error > 0).any())
        return f"the difference of {float(error.max()):.2g} is rounding" if moved else None
    if not bool(torch.isfinite(error).all()):
        return "it is not a finite number"
    if violation.relation == "at_most":
        error = (wide - target).clamp_min(0)
    elif violation.relation == "at_least":
        error = (target - wide).clamp_min(0)
    if error.numel() == 0:
        return None
    excess = error if bound is None else error - bound
    worst = int(excess.argmax())
    where = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), error.shape))
    amount = f"off by {float(error.flatten()[worst]):.3g}"
    allowed = (
        "nothing" if bound is None else f"{float(bound.expand_as(error).flatten()[worst]):.2g}"
    )
    place = f" at {list(where)}" if where else ""
    if actual.numel() > MOST_ENTRIES:  # which are not shown
        came, should = wide.flatten()[worst], target.expand_as(wide).flatten()[worst]
        place += f" ({_number(came, 9)} for {_number(should, 9)})"
    return f"{amount}{place}, where rounding explains {allowed}"


def render(value: Any, digits: int = DIGITS) -> str:  # noqa: ANN401
    """Write a value for a person: numbers short, rows under each other, large tensors cut."""
    if not isinstance(value, Tensor):
        return str(value)
    value = value.detach()
    if value.numel() > MOST_ENTRIES:
        shape = "×".join(str(n) for n in value.shape)
        if value.dtype == torch.bool:
            return f"{shape} truth values, {int(value.sum())} of them True"
        least, most = _number(value.min(), digits), _number(value.max(), digits)
        return f"{shape} numbers, from {least} to {most}"
    return _rows(value, digits)


def plain(value: Any, digits: int = DIGITS) -> Any:  # noqa: ANN401
    """Give a value as JSON, with as many digits as a person is shown.

    A tensor becomes nested lists, or its shape and range where it is large; an infinity or NaN,
    which JSON has not, becomes text.
    """
    if isinstance(value, dict):
        return {name: plain(inner, digits) for name, inner in value.items()}
    if not isinstance(value, Tensor):
        known = isinstance(value, bool | int | float | str | None)
        return _nested(value, digits) if known else str(value)
    value = value.detach()
    if value.numel() <= MOST_ENTRIES:
        return _nested(value.tolist(), digits)
    if value.dtype == torch.bool:
        return {"shape": list(value.shape), "true": int(value.sum())}
    least, most = (_nested(end.item(), digits) for end in (value.min(), value.max()))
    return {"shape": list(value.shape), "least": least, "most": most}


def _nested(value: Any, digits: int) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_nested(inner, digits) for inner in value]
    if not isinstance(value, float):
        return value
    text = f"{value:.{digits}g}"
    return float(text) if math.isfinite(value) else text


def _rows(value: Tensor, digits: int) -> str:
    if value.dim() == 0:
        return _number(value, digits)
    if value.dim() == 1:
        return "[" + ", ".join(_number(v, digits) for v in value) + "]"
    joint = ",\n" if value.dim() > 1 and value.numel() > value.shape[-1] else ", "
    inner = joint.join(_rows(v, digits) for v in value)
    return "[" + inner.replace("\n", "\n ") + "]"


def _number(value: Tensor, digits: int) -> str:
    item = value.item()
    if isinstance(item, bool | int):
        return str(item)
    return f"{item:.{digits}g}"


def reproduces(script: str, failure: BaseException | None, implementation: Implementation) -> bool:
    """Run a script where the implementation is: whether it fails as it should."""
    wanted: type[BaseException] = BaseException
    if isinstance(failure, Violation) and failure.relation in _ASSERTIONS:
        wanted = AssertionError
    return isinstance(implementation.run(script), wanted)


def _no_script(prop: Property) -> str:
    law = f"{prop.component}: {prop.sentence}."
    return f"# {law}\n# One call does not show it: it fails only after earlier ones.\n"


def _script(
    prop: Property,
    failure: BaseException | None,
    tape: Tape,
    implementation: Implementation,
    *,
    brief: bool,
    copies: bool,
) -> str:
    """Write a script that fails as long as the law does."""
    law = textwrap.fill(f"{prop.component}: {prop.sentence}.", 90)
    lines = [f'"""{law}"""', "", *_header(implementation), ""]
    if isinstance(failure, Violation) and failure.relation in _ASSERTIONS:
        wanted = {"actual": failure.actual, "expected": failure.expected}
        tensors = {name: t for name, t in wanted.items() if t is not None}
        told = _told(failure.expected, tape)
        if told is not None:
            del tensors["expected"]
        lines += tape.script(tensors, brief=brief, copies=copies)
        if told is not None:
            lines.append(f"expected = {told}")
        if failure.bound is not None:
            lines.append(f"bound = {_bound(failure.bound)}")
        lines.append('print("came out ", actual)')
        if failure.expected is not None:
            word = AGREEMENT if _agreement(failure, tape) else ""
            word = _EXPECTATIONS.get(failure.relation, word)
            lines.append(f'print("should be {word}", expected)')
        if _digits(failure) > DIGITS:
            lines.append('print("difference ", actual - expected)')
        lines.append(_ASSERTIONS[failure.relation])
    else:
        lines += tape.script({})
        lines += _last_words(failure, lines.pop)
    return "\n".join(lines) + "\n"


def _told(expected: Tensor | None, tape: Tape) -> str | None:
    """Give what should have come out as numbers, where the component had no part in it.

    A statement that computes it would be the answer to the exercise.
    """
    if expected is None or expected.numel() > MOST_TOLD or tape.follows_from_answers(expected):
        return None
    return literal(expected.detach())


def _last_words(failure: BaseException | None, last_line: Callable[[], str]) -> list[str]:
    """Say in a script what no comparison of two tensors says."""
    words = [f"# {line}" for line in textwrap.wrap(str(failure), 90)]
    match failure:
        case Crash():
            return words
        case ContractBroken():
            return [*words, 'print("answer ", answer)', f"assert {failure.check}"]
        case Violation(relation="refused"):
            return [
                *words,
                "try:",
                f"    {last_line()}",
                "except Exception as error:",
                '    print("refused: ", error)',
                "else:",
                "    raise SystemExit(1)",
            ]
        case _:
            return [*words, "raise SystemExit(1)"]


def _bound(bound: Tensor) -> str:
    wide = bound.detach().double()
    same = bool((wide == wide.flatten()[0]).all())
    return f"{float(wide.flatten()[0]):.17g}" if same else literal(wide)


def _header(implementation: Implementation) -> list[str]:
    path: Path | None = getattr(implementation, "path", None)
    if path is None:
        return ["import torch", f"import {implementation.name} as submission"]
    return [
        "import importlib.util",
        "import sys",
        "",
        "import torch",
        "",
        f"sys.path.append({str(path.resolve().parent)!r})",
        f'spec = importlib.util.spec_from_file_location("submission", {str(path.resolve())!r})',
        'submission = sys.modules["submission"] = importlib.util.module_from_spec(spec)',
        "spec.loader.exec_module(submission)",
    ]
