"""Running experiments: every arm once for all seeds, and one file of results a claim."""

from __future__ import annotations

import datetime as dt
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch

import attest
from attest.experiments import MEASURING, Arm, Experiment, Numbers
from attest.figures import draw
from attest.ledger import own_package
from attest.measurements import FIRST, SEEDS, file_of
from attest.provenance import digest
from attest.report import as_json
from attest.statistics import check, compare
from attest.sweeping import apart, forget, sweep
from attest.training import Seeds

__all__ = [
    "GROUP",
    "ArmError",
    "arms_of",
    "judged",
    "measure",
    "numbers_of",
    "processes",
    "run_arm",
]

GROUP = SEEDS
"""How many seeds one program trains: all that decide. Never more or fewer, since a batch of another
width rounds differently, and training makes much of a last digit: a seed's result must not depend
on which others ran beside it."""

# Small models wait for their kernels to be launched, so that a GPU has time for several processes;
# each takes half a gigabyte of its memory.
AT_A_GPU = 8

# So many digits of a number are written down; float32 has no more.
DIGITS = 7


class ArmError(Exception):
    """An arm gave what cannot be used."""


@dataclass(frozen=True)
class _Task:
    arm: Arm
    seeds: range

    def name(self, code: str, device: str, processor: str) -> str:
        sizes, run = sorted(self.arm.sizes.items()), f"{self.seeds[0]}-{self.seeds[-1]}"
        where = f"{device} {processor} {torch.__version__}"
        return f"{self.arm.name} {run} {sizes} {code} {where}"


def arms_of(experiments: Iterable[Experiment]) -> dict[str, Arm]:
    """Give all arms by name; those of one name are measured once.

    Raises:
        ValueError: two arms of one name are not the same.
    """
    arms: dict[str, Arm] = {}
    for experiment in experiments:
        for arm in experiment.arms:
            if arms.setdefault(arm.name, arm) != arm:
                raise ValueError(f"two arms are named {arm.name!r} and are not the same")
    return arms


def run_arm(
    arm: Arm, seeds: Sequence[int], device: str = "cpu", *, reduced: bool = False
) -> dict[str, list[Any]]:
    """Measure one arm for some seeds, as numbers by quantity, one entry a seed.

    Args:
        arm: the arm.
        seeds: at most as many as a group has; the rest of the group is trained along and left out.
        device: where models live.
        reduced: whether to use the sizes of a test of the machinery, and a group of these alone.

    Raises:
        ArmError: a quantity is not finite, or has not one entry a seed.
    """
    numbers = tuple(seeds)
    if not reduced:
        numbers += tuple(numbers[-1] + 1 + i for i in range(GROUP - len(numbers)))
    sizes = dict(arm.sizes) | (dict(arm.reduced) if reduced else {})
    found = arm.measure(own_package("reference"), Seeds(numbers, device), **sizes)
    result = {}
    for quantity, values in found.items():
        rows = values.detach().to("cpu", torch.float64)
        if rows.shape[:1] != (len(numbers),):
            raise ArmError(f"{arm.name}: {quantity} has shape {tuple(rows.shape)}")
        if not bool(rows[: len(seeds)].isfinite().all()):
            raise ArmError(f"{arm.name}: {quantity} is not finite for some seed of {seeds}")
        result[quantity] = [_rounded(row.tolist()) for row in rows[: len(seeds)]]
    return result


def _rounded(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}")


def measure(
    experiments: Sequence[Experiment],
    folder: Path,
    partial: Path,
    *,
    seeds: int = SEEDS,
    device: str = "cpu",
    jobs: int | None = None,
) -> list[Path]:
    """Run experiments and write what they gave.

    Args:
        experiments: which; all of a claim, since a file is written whole.
        folder: where results go, a file a claim.
        partial: where arms are kept that an interrupted run has finished.
        seeds: how many, from the first that decides on.
        device: where models live.
        jobs: how many processes at once; by default one for each core, and a few where they share
            a GPU.

    Returns:
        The files, in the order of the claims.

    Raises:
        ArmError: an arm gave what cannot be used.
        BusyError: another run is at it.
        BrokenProcessPool: a process that measured was ended.
    """
    own_package("reference")  # found by its location, before anybody looks for it by name
    arms = arms_of(experiments)
    last = FIRST + seeds
    groups = [range(first, min(first + GROUP, last)) for first in range(FIRST, last, GROUP)]
    tasks = [_Task(arm, group) for arm in arms.values() for group in groups]
    codes = {
        arm.name: digest((arm.measure.__module__, arm.measure.__name__), *MEASURING)
        for arm in arms.values()
    }

    # Beside other processes, an arm on the CPU takes longer and no more work.
    clock = time.process_time if device == "cpu" else time.perf_counter

    def work(index: int) -> dict[str, Any]:
        task, start = tasks[index], clock()
        numbers = run_arm(task.arm, task.seeds, device)
        seconds = clock() - start
        return {"numbers": numbers, "seconds": seconds, "made": _made(device)}

    forked = processes(device, jobs)
    on_a_gpu = device.startswith("cuda") and forked
    processor = apart(lambda: _processor(device)) if on_a_gpu else _processor(device)
    names = [task.name(codes[task.arm.name], device, processor) for task in tasks]
    found = sweep("measuring", names, work, partial, mark=attest.__version__, jobs=forked)
    results: dict[str, dict[str, Any]] = {}
    for task, result in zip(tasks, found.values(), strict=True):
        kept = results.setdefault(
            task.arm.name, {"numbers": {}, "seconds": 0.0, "made": result["made"]}
        )
        kept["seconds"] += result["seconds"]
        for quantity, rows in result["numbers"].items():
            kept["numbers"].setdefault(quantity, []).extend(rows)
    by_claim: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        by_claim.setdefault(experiment.claim.id, []).append(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for claim, own in by_claim.items():
        data = {
            "schema": 1,
            "claim": claim,
            "experiments": [_record(one, results, seeds) for one in own],
        }
        paths.append(file_of(folder, claim))
        paths[-1].write_text(as_json(data), encoding="utf-8")
        for one in own:
            for figure in one.figures:
                draw(figure, numbers_of(results), folder / f"{figure.name}.svg")
    forget(partial, names)
    return paths


def processes(device: str, jobs: int | None) -> int | None:
    """Say how many processes to fork for models on a device; None is one for each core.

    CUDA works in forked processes as long as this one has not used it. Elsewhere none is forked.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return jobs
    if kind == "cuda" and hasattr(os, "fork") and not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return jobs or min(os.cpu_count() or 1, AT_A_GPU)
    return 0


def judged(experiment: Experiment, numbers: Numbers) -> dict[str, Any]:
    """Apply an experiment's controls and tests to numbers."""
    return {
        "controls": [asdict(check(control, numbers)) for control in experiment.controls],
        "comparisons": [asdict(compare(test, numbers)) for test in experiment.comparisons],
    }


def numbers_of(results: Mapping[str, Any]) -> Numbers:
    """Give numbers as arrays, from what was written down."""
    return {
        arm: {quantity: np.asarray(rows, np.float64) for quantity, rows in found["numbers"].items()}
        for arm, found in results.items()
    }


def _record(experiment: Experiment, results: Mapping[str, Any], seeds: int) -> dict[str, Any]:
    own = {arm.name: results[arm.name] for arm in experiment.arms}
    try:
        outcome = judged(experiment, numbers_of(own))
    except ValueError as error:
        raise ArmError(f"{experiment.id}: {error}") from None
    return {
        "experiment": experiment.id,
        "hypothesis": experiment.hypothesis,
        "task": experiment.task,
        "expected": experiment.expected,
        "code": experiment.code,
        "made": min((found["made"] for found in own.values()), key=lambda made: made["date"]),
        "seeds": list(range(FIRST, FIRST + seeds)),
        "seconds": round(sum(found["seconds"] for found in own.values()), 1),
        **outcome,
        "arms": {
            arm.name: {
                "sizes": dict(arm.sizes),
                "made": own[arm.name]["made"],
                "seconds": round(own[arm.name]["seconds"], 1),
                "numbers": own[arm.name]["numbers"],
            }
            for arm in experiment.arms
        },
    }


def _made(device: str) -> dict[str, Any]:
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "attest": attest.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "machine": platform.machine(),
        "device": device,
        "processor": _processor(device),
        "cores": os.cpu_count(),
    }


def _processor(device: str) -> str:
    """Give the name of what computes."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
