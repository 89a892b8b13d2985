"""How long verification takes, and what the engine adds to a bare Hypothesis test.

Run by ``make bench``; writes ``reports/benchmark.json``. Timings are the machine's, so nothing here
is asserted: the two sides of the ratio are measured in turn, and the median is reported.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, Verbosity

import reference
from attest.contract import CONTRACT
from attest.examination import Settings, examine
from attest.laws import Property
from attest.ledger import load_ledger, load_reference
from attest.verification import environment

RUNS = 5
WHOLE_RUNS = 3
EXAMPLES = 100
LAWS = (
    "softmax.it_is_the_normalised_exponential",
    "scaled_dot_product_attention.weights_are_the_softmax_of_the_scaled_scores",
    "scaled_dot_product_attention.the_order_of_the_keys_makes_no_difference",
    "scaled_dot_product_attention.every_row_of_weights_sums_to_one",
    "AdditiveAttention.the_output_is_the_weighted_sum_of_the_values",
    "SelfAttention.permuting_the_tokens_permutes_everything",
    "MultiHeadAttention.every_row_of_weights_sums_to_one",
    "MultiHeadAttention.hidden_keys_might_as_well_not_exist",
)


class Bare:
    """What a law needs of its component, and nothing that the engine adds."""

    def __init__(self, prop: Property, setup: Any) -> None:
        self.spec = CONTRACT[prop.component]
        self.setup = setup
        self.target = getattr(reference, prop.component)
        if setup is not None:
            torch.default_generator.manual_seed(setup.seed)
            self.target = self.target(*setup.arguments.values()).to(torch.float64).eval()
            generator = torch.Generator().manual_seed(setup.seed)
            with torch.no_grad():
                for p in self.target.parameters():
                    if p.dim() >= 2:
                        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
                        p.copy_(noise * (setup.gain / p.shape[-1] ** 0.5))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.target(*args, **kwargs)

    def largest_parameter(self) -> float:
        return max(float(p.detach().abs().max()) for p in self.target.parameters())


def bare(prop: Property, seed: int) -> Callable[[], None]:
    """Make the test that somebody would write by hand: draw, construct, compute, compare."""

    def test(drawn: dict[str, Any]) -> None:
        inputs = dict(drawn)
        component = Bare(prop, inputs.pop("setup", None))
        prop.function(component, **({"arguments": inputs} if prop.gathers else inputs))

    configured = hypothesis.settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.target, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    assert prop.inputs is not None
    return hypothesis.seed(seed)(configured(hypothesis.given(drawn=prop.inputs)(test)))


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def engine_over_bare() -> dict[str, float]:
    """Give, for each law, the engine's time over the bare test's, the median of several runs.

    Every run has a seed of its own, so that the engine draws anew, as the bare test does, and does
    not find what it drew for another law.
    """
    properties = {prop.id: prop for prop in load_ledger().laws}
    implementation = load_reference()
    ratios = {}
    for index, name in enumerate(LAWS):
        prop = properties[name]
        pairs = []
        for run in range(index * (RUNS + 1), (index + 1) * (RUNS + 1)):
            settings = Settings(examples=EXAMPLES, seed=run)
            engine = seconds(lambda s=settings, p=prop: examine(p, implementation, s))
            pairs.append(engine / seconds(bare(prop, run)))
        ratios[name] = round(statistics.median(pairs[1:]), 3)  # the first warms caches up
    return ratios


def whole_command(*options: str) -> dict[str, Any]:
    """Time ``attest verify`` as a command, the import of torch included."""
    command = [sys.executable, "-m", "attest", "verify", *options]
    times = []
    for _ in range(WHOLE_RUNS):
        run = lambda: subprocess.run(command, check=True, capture_output=True)  # noqa: E731
        times.append(round(seconds(run), 2))
    return {"median": statistics.median(times), "runs": times}


def processor() -> str:
    """Name the processor, as far as the system tells."""
    system = Path("/proc/cpuinfo")
    lines = system.read_text(encoding="utf-8").splitlines() if system.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    torch.set_num_threads(1)
    ledger = load_ledger()
    whole, quick = whole_command("--examples", str(EXAMPLES)), whole_command("--quick")
    ratios = engine_over_bare()
    result = {
        "claims": len(ledger.claims),
        "properties": len(ledger.properties),
        "verify_seconds": whole,
        "verify_quick_seconds": quick,
        "engine_over_bare_hypothesis": {
            "median": statistics.median(ratios.values()),
            "largest": max(ratios.values()),
            "laws": ratios,
        },
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "environment": environment(Settings(examples=EXAMPLES)),
    }
    path = Path(__file__).parent.parent / "reports" / "benchmark.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
