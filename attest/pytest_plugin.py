"""The pytest door: one test a property, and the table of verdicts at the end.

    pytest                                     verifies the claims on the reference
    pytest --implementation my_attention.py    examines anything that obeys the contract

A test asks for the fixture ``prop`` to be run once for each property, and for ``evidence`` to have
it examined. ``-k`` selects by component and by the words of a property's name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from attest.evidence import Evidence
    from attest.examination import Settings
    from attest.implementations import LocalImplementation
    from attest.laws import Property
    from attest.ledger import Ledger

UNUSABLE = 2
EXAMPLES_ON_THE_REFERENCE = 50
EXAMPLES = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the engine."""
    group = parser.getgroup("attest", "properties of attention")
    group.addoption(
        "--implementation",
        metavar="FILE_OR_MODULE",
        help="examine this implementation instead of verifying the claims on the reference",
    )
    group.addoption(
        "--properties",
        metavar="FOLDER",
        action="append",
        default=[],
        help="a folder with further claims and properties",
    )
    group.addoption(
        "--examples",
        type=_positive,
        metavar="N",
        help=f"examples a property (default: {EXAMPLES_ON_THE_REFERENCE} on the reference, "
        f"{EXAMPLES} on an implementation)",
    )
    group.addoption("--device", default="cpu", help="where components run (default: %(default)s)")
    group.addoption(
        "--dtype",
        choices=("float64", "float32", "bfloat16", "float16"),
        help="default: float64, and one example in five in float32",
    )
    group.addoption("--seed", type=int, default=0, help="default: %(default)s")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


@dataclass(frozen=True)
class Door:
    """What this run examines, and how."""

    ledger: Ledger
    implementation: LocalImplementation
    reference: LocalImplementation
    settings: Settings

    @property
    def properties(self) -> tuple[Property, ...]:
        """Everything on the reference; the laws alone on anything else."""
        own = self.implementation is self.reference
        return self.ledger.properties if own else self.ledger.laws


DOOR = pytest.StashKey["Door"]()


def door(config: pytest.Config) -> Door:
    """Load the ledger and the implementation once for a run.

    A request that cannot be carried out ends pytest with exit code 2 and one line.
    """
    if DOOR not in config.stash:
        import torch

        from attest.examination import MIXED, Settings
        from attest.implementations import SubmissionError
        from attest.ledger import LedgerError, load_ledger, load_reference
        from attest.running import load_safely, require_sound_laws, usable_device

        torch.set_num_threads(1)
        name = config.getoption("--implementation")
        try:
            usable_device(config.getoption("--device"))
            reference = load_reference()
            ledger = load_ledger([Path(folder) for folder in config.getoption("--properties")])
            settings = Settings(
                examples=config.getoption("--examples")
                or (EXAMPLES_ON_THE_REFERENCE if name is None else EXAMPLES),
                seed=config.getoption("--seed"),
                dtype=config.getoption("--dtype") or MIXED,
                device=config.getoption("--device"),
            )
            implementation: LocalImplementation = reference
            if name is not None:
                require_sound_laws(ledger.laws, reference, settings, 1)
                implementation = load_safely(name, settings.seconds)
            loaded = Door(ledger, implementation, reference, settings)
        except (LedgerError, SubmissionError) as error:
            pytest.exit(f"attest: {error}", returncode=UNUSABLE)
        config.stash[DOOR] = loaded
    return config.stash[DOOR]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``prop`` once for each property."""
    if {"prop", "evidence"} <= set(metafunc.fixturenames):  # no one else's tests have both
        properties = door(metafunc.config).properties
        ids = [prop.id.replace(".", "-") for prop in properties]
        metafunc.parametrize("prop", properties, ids=ids)


def pytest_configure(config: pytest.Config) -> None:
    """With an implementation named, collect the properties and nothing else."""
    config.addinivalue_line("markers", "slow: takes longer than a plain run may")
    if (
        config.getoption("--implementation") is not None
        and config.args_source != config.ArgsSource.ARGS
    ):
        config.args = [str(Path(__file__).with_name("binding.py"))]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say at once when the named implementation cannot be examined."""
    if session.config.getoption("--implementation") is not None:
        door(session.config)


@pytest.fixture
def evidence(prop: Property, request: pytest.FixtureRequest) -> Evidence:
    """Examine one property against the implementation of this run."""
    from attest.examination import examine
    from attest.running import examine_all

    this = door(request.config)
    if this.implementation is this.reference:
        found = examine(prop, this.reference, this.settings, this.reference)
    else:  # a submission may end the process that it runs in
        (found,) = examine_all(
            [prop], this.implementation, this.settings, this.reference, 1, lambda _: None
        )
    # As text, so that it also travels from the workers of pytest-xdist.
    record = json.dumps([prop.id, found.record()])
    request.node.user_properties.append(("attest", record))
    return found


def _reported(reporter: Any, config: pytest.Config) -> Iterator[Evidence]:  # noqa: ANN401
    from attest.evidence import Evidence

    properties = {prop.id: prop for prop in door(config).properties}
    for reports in reporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "attest" and report.when == "call":
                    identifier, data = json.loads(text)
                    yield Evidence.from_record(properties[identifier], data)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:  # noqa: ANN401
    """End with the table of verdicts, or with the grade."""
    if DOOR not in config.stash or hasattr(config, "workerinput"):
        return
    found = list(_reported(terminalreporter, config))
    if not found:
        return
    import sys

    from rich.console import Console

    from attest.grading import grade
    from attest.measurements import measured, own_folder
    from attest.sandbox import trusted
    from attest.terminal import grade_table, short_verdict_table
    from attest.verification import verify

    this = door(config)
    order = {prop.id: index for index, prop in enumerate(this.properties)}
    found.sort(key=lambda evidence: order[evidence.prop.id])
    console = Console(file=sys.stdout, width=terminalreporter._tw.fullwidth)  # noqa: SLF001
    terminalreporter.section("verdicts" if this.implementation is this.reference else "grade")
    if this.implementation is this.reference:
        selected = this.ledger.judged(evidence.prop for evidence in found)
        found += measured(this.ledger.experiments, own_folder())
        result = verify(this.ledger, found, this.settings)
        chosen = [claim for claim in result.claims if claim.claim.id in selected]
        console.print(short_verdict_table(chosen))
        touched = {claim.id for evidence in found for claim in evidence.prop.claims}
        partial = [key for key in this.ledger.claims if key in touched - selected]
        if partial:
            console.print(
                f"No verdict, since part of the evidence is left out: {', '.join(partial)}"
            )
    else:
        apart = trusted(this.settings.device, why="in pytest")
        console.print(grade_table(grade(this.implementation.name, found, this.settings, apart)))
