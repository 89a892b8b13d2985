"""Components that others add to the contract: what is asked of them, in words."""

from __future__ import annotations

from typing import Protocol

import pytest
from jaxtyping import Float
from torch import Tensor, nn

from attest.command import UNUSABLE, main
from attest.contract import ADDED, CONTRACT, add_component
from attest.laws import law, proof, refutation
from attest.ledger import load_reference
from attest.specification import State
from attest.strategies import component_inputs


class OnTheLastAxis(Protocol):
    def __init__(self, d_model: int) -> None: ...

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]: ...


class WithoutSizes(Protocol):
    def __init__(self) -> None: ...

    def __call__(self, x: Float[Tensor, "n"]) -> Float[Tensor, "n"]: ...


class OfTwoWidths(OnTheLastAxis, Protocol):
    def __init__(self, d_model: int, d_hidden: int) -> None: ...


class Bare(Protocol):
    def __call__(self, x): ...


class Nothing(Protocol): ...


class Twins(Protocol):
    def __call__(self, x: Float[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]: ...


class OfUnknownSize(Protocol):
    def __call__(self, x: Float[Tensor, "n"]) -> Float[Tensor, "m"]: ...


class Stateful(Protocol):
    def __call__(self, x: Float[Tensor, "n"]) -> State: ...


class Norm(nn.Module):
    def __init__(self, d_model):
        super().__init__()


def twice(x):
    return x, x


@pytest.fixture(autouse=True)
def _forget():
    before = dict(CONTRACT)
    yield
    ADDED.clear()
    CONTRACT.clear()
    CONTRACT.update(before)


def added(name="Mine", protocol=OnTheLastAxis, *results, reference=Norm, **more):
    add_component(name, protocol, *results, reference=reference, **more)


WRONG = {
    "a name that is taken": (
        lambda: added("softmax", OnTheLastAxis, "y", d_model=5),
        "the contract has a component softmax already",
    ),
    "a name that is no identifier": (
        lambda: added("my norm", OnTheLastAxis, "y", d_model=5),
        "'my norm' cannot be a component",
    ),
    "a keyword": (
        lambda: added("class", OnTheLastAxis, "y", d_model=5),
        "'class' cannot be a component",
    ),
    "no annotations": (
        lambda: added("Mine", Bare, "y", reference=twice),
        "Mine: its protocol annotates no x and no return of __call__",
    ),
    "no call": (
        lambda: added("Mine", Nothing, "y", reference=twice),
        "does not declare __call__",
    ),
    "no class": (lambda: added("Mine", twice, "y", reference=twice), "does not declare __call__"),
    "no reference": (
        lambda: added("Mine", OnTheLastAxis, "y", reference=None, d_model=5),
        "Mine: reference=None is not a class: its protocol has a constructor",
    ),
    "a class for a function": (
        lambda: added("Mine", Twins, "y", "z"),
        "is not a function: its protocol has no constructor",
    ),
    "integers that coincide": (
        lambda: added("Mine", OfTwoWidths, "y", d_model=5, d_hidden=5),
        "d_model=5, d_hidden=5 have to be whole, positive and no two alike",
    ),
    "an integer that is none": (
        lambda: added("Mine", OnTheLastAxis, "y", d_model=5.0),
        "d_model=5.0 have to be whole",
    ),
    "integers in another order": (
        lambda: added("Mine", OfTwoWidths, "y", d_hidden=5, d_model=3),
        "integers are given for d_hidden, d_model; .* takes d_model, d_hidden",
    ),
    "no integers": (
        lambda: added("Mine", OnTheLastAxis, "y"),
        "integers are given for none; .* takes d_model",
    ),
    "integers of a function": (
        lambda: added("Mine", Twins, "y", "z", d_model=5),
        "integers are given for d_model; .* takes none",
    ),
    "a result without a name": (
        lambda: added("Mine", Twins, "y", reference=twice),
        r"gives: 2; names for them: \('y',\)",
    ),
    "an unknown method": (
        lambda: added("Mine", OnTheLastAxis, "y", methods={"encode": ("m",)}, d_model=5),
        "Mine.encode: its protocol, .*, does not declare encode",
    ),
    "names of a method's results in one word": (
        lambda: added("Mine", OnTheLastAxis, "y", methods={"__call__": "y"}, d_model=5),
        "gives: 1; names for them: 'y'",
    ),
    "a size that nothing says": (
        lambda: added("Mine", OfUnknownSize, "y", reference=twice),
        r"Mine gives y \(m,\), and nothing that it takes says what m is",
    ),
    "a state without a batch": (
        lambda: added("Mine", Stateful, "state", reference=twice),
        "Mine gives state, and nothing that it takes says what B is",
    ),
}


@pytest.mark.parametrize(("add", "message"), WRONG.values(), ids=WRONG)
def test_a_component_that_cannot_be_added_is_refused_in_words(add, message):
    before = dict(CONTRACT)
    with pytest.raises(ValueError, match=message):
        add()
    assert before == CONTRACT
    assert not ADDED


def test_a_component_is_there_once_it_is_added():
    added("Mine", OnTheLastAxis, "y", d_model=5)
    assert CONTRACT["Mine"].signature == "Mine(x) -> y (..., d_model)"
    assert load_reference().raw("Mine") is Norm


def test_a_size_that_is_derived_is_known():
    more = {"n": lambda sizes: sizes["n"], "m": lambda sizes: 2 * sizes["n"]}
    added("mine", OfUnknownSize, "y", reference=twice, derived=more)
    assert CONTRACT["mine"].derived


def test_a_module_may_take_no_integers():
    added("Mine", WithoutSizes, "y")
    assert CONTRACT["Mine"].is_module
    added("mine", Twins, "y", "z", reference=twice)
    assert not CONTRACT["mine"].is_module


def test_adding_the_same_again_replaces_its_reference():
    added("Mine", OnTheLastAxis, "y", d_model=5)
    added("Mine", OnTheLastAxis, "z", reference=nn.Identity, d_model=7)
    assert CONTRACT["Mine"].example == {"d_model": 7}
    assert ADDED["Mine"] is nn.Identity


def test_two_files_do_not_add_two_components_of_one_name():
    added("Mine", OnTheLastAxis, "y", d_model=5)
    with pytest.raises(ValueError, match=f"Mine was added already, by {__name__}"):
        added("Mine", OfTwoWidths, "y", d_model=5, d_hidden=7)
    assert CONTRACT["Mine"].protocol is OnTheLastAxis


@pytest.mark.parametrize("name", ["EncoderBlock", "VisionTransformer", "Mine"])
def test_an_added_component_has_no_inputs_but_its_own(name):
    added(name, OnTheLastAxis, "y", d_model=5)
    with pytest.raises(ValueError, match=f"no sizes are known for {name}; its laws need a strat"):
        component_inputs(name)


DECLARING = {
    "law": law("Nobody", inputs=component_inputs, formula="y = x"),
    "proof": proof("Nobody", method="symbolic", formula="y = x"),
    "refutation": refutation(
        "Nobody", claim=(), inputs=component_inputs, formula="y = x", pinned={}
    ),
}


@pytest.mark.parametrize("declare", DECLARING.values(), ids=DECLARING)
def test_nothing_is_said_about_a_component_that_nobody_added(declare):
    def it_does_nothing(component):
        """Nothing happens."""

    with pytest.raises(ValueError, match=r"it_does_nothing speaks of Nobody; .* add_component"):
        declare(it_does_nothing)


def test_a_folder_that_speaks_of_it_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "laws.py").write_text(
        "from attest import law\nfrom attest.strategies import component_inputs\n\n\n"
        "@law('Nobody', inputs=component_inputs, formula='y = x')\n"
        "def it_does_nothing(component):\n    '''Nothing happens.'''\n"
    )
    assert main(["list", "--properties", str(tmp_path)]) == UNUSABLE
    said = capsys.readouterr().err
    assert "laws.py does not load: ValueError: it_does_nothing speaks of Nobody" in said
    assert len(said.splitlines()) == 1
