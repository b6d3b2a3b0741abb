"""Rows of a comparison that are measured here: detectors are evaluated one by one, then timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detzoo.benchmark.bench_command import images_of
from detzoo.benchmark.in_turn import benchmark_in_turn
from detzoo.benchmark.other_load import busy_warning
from detzoo.benchmark.speed import Benchmark, Timing, TimingOptions
from detzoo.benchmark.throughput import Throughput, best_batch
from detzoo.builder import load
from detzoo.comparison.entry import (
    NUMBERS,
    ComparisonEntry,
    data_facts,
    digest,
    entry_from,
    facts_json,
    finished,
    start_over,
    write_evaluation,
    write_numbers,
)
from detzoo.comparison.exportable import export_facts
from detzoo.comparison.recipe_facts import Facts, recipe_facts
from detzoo.comparison.weights_facts import with_weights
from detzoo.detector_loading import is_run, load_any_detector
from detzoo.evaluation import evaluate
from detzoo.foreign.options import described
from detzoo.foreign.target import is_foreign
from detzoo.prediction.apply_switches import apply_switches
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.device import pick_device
from detzoo.runtime.environment import versions
from detzoo.runtime.foreign_files import is_folder
from detzoo.runtime.isolated import Failure, isolated
from detzoo.runtime.switches import Switches
from detzoo.weights.checkpoint import checkpoint_of

if TYPE_CHECKING:
    from detzoo.comparison.candidates import Candidate
    from detzoo.comparison.plan import ComparisonPlan
    from detzoo.data import Dataset
    from detzoo.interfaces.any_detector import AnyDetector

Say = Callable[[str], None]


@dataclass
class Measuring:
    """One detector's row while it is measured.

    Args:
        name: in the table.
        folder: of its files.
        run: folder with its learning curve, where there is one.
        numbers: what is known; the evaluation lies in files.
        detector: on its device, where it is still to be timed.
        applied: switches that were applied to it.
    """

    name: str
    folder: Path
    run: Path | None
    numbers: dict[str, Any]
    detector: AnyDetector | None = None
    applied: Switches = field(default_factory=Switches)

    def entry(self) -> ComparisonEntry:
        """The finished row."""
        return entry_from(self.folder, self.name, "measured here", self.numbers, self.run)


def evaluate_detector(
    plan: ComparisonPlan, candidate: Candidate, folder: Path, dataset: Dataset, say: Say, key: str | None
) -> Measuring:
    """One detector's evaluation; its timing follows, with all others in turn."""
    name, target = candidate.name, candidate.target
    trained = folder / "run" if candidate.training is not None else None
    where = trained or (Path(target) if is_folder(Path(target)) and not is_foreign(target) else None)
    key = key or fingerprint(plan, target, dataset)
    numbers = finished(folder / NUMBERS, key)
    if numbers is not None and (not candidate.ranked or ("benchmark" in numbers and not numbers.get("failed"))):
        say(f"{name}: already done")
        return Measuring(name, folder, where, numbers)
    if numbers is None:
        start_over(folder)
    detector = loaded(plan, target) if trained is None else load(trained)
    applied = apply_switches(detector, plan.switches, pick_device(plan.device))
    if numbers is None:
        place = trained or (Path(target) if is_run(target) else None)
        accuracy(plan, name, detector, dataset, folder, say, applied, place)
        numbers = write_numbers(folder, {"key": key} | recipe_part(detector))
    else:
        say(f"{name}: already evaluated")
    return Measuring(name, folder, where, numbers, detector, applied)


def loaded(plan: ComparisonPlan, target: str) -> AnyDetector:
    """A detector that is not trained here; ``--set`` is for recipes, a foreign detector's options stand in its file."""
    return load_any_detector(target, set_=None if is_foreign(target) else plan.overrides)


def time_detectors(plan: ComparisonPlan, rows: Sequence[Measuring], dataset: Dataset, say: Say) -> None:
    """Time those rows that are not timed yet: batches of one in turn, then the batch that suits each best.

    What fails is written into the numbers of its own row, and tried again by a repeated command.
    """
    due = {row.name: row for row in rows if row.detector is not None}
    if not due:
        return
    images = images_of(dataset, max(8, plan.bench_batch))
    made = {name: isolated(partial(timing_of, plan, row, images)) for name, row in due.items()}
    timings = {name: timing for name, timing in made.items() if isinstance(timing, Timing)}
    timed = benchmark_in_turn(timings, say=say)
    for name, row in due.items():
        benchmark = timed.get(name, made[name])
        say(f"{name}: throughput")
        rates = isolated(partial(rates_of, plan, row, images))
        row.numbers = write_numbers(row.folder, row.numbers | speed_part(name, benchmark, rates, say))
        row.detector = None


def timing_of(plan: ComparisonPlan, row: Measuring, images: list[NDArray[np.uint8]]) -> Timing:
    """Of one detector; the switches are applied already, only their record and the precision are wanted."""
    assert row.detector is not None
    options = TimingOptions(
        device=plan.device,
        batch=plan.bench_batch,
        images=images,
        iterations=plan.iterations,
        switches=row.applied,
        prepared=True,
    )
    return Timing(row.detector, options)


def rates_of(plan: ComparisonPlan, row: Measuring, images: list[NDArray[np.uint8]]) -> Throughput:
    """Images per second by batch."""
    assert row.detector is not None
    device, precision = pick_device(plan.device), plan.switches.precision
    return best_batch(row.detector, images, device, precision=precision, largest=plan.largest_batch)


def speed_part(name: str, timed: object, rates: Throughput | Failure, say: Say) -> dict[str, Any]:
    """What numbers.json keeps of the timing."""
    part: dict[str, Any] = {"benchmark": {}, "throughput": {}, "failed": {}}
    if isinstance(timed, Benchmark):
        part["benchmark"] = timed.as_dict() | {"row": timed.row()}
        if (warning := busy_warning(name, timed.busy)) is not None:
            say(warning)
    elif isinstance(timed, Failure):
        part["failed"]["latency_p50_ms"] = timed.message
        say(f"{name}: not timed: {timed.message}\n{timed.trace}".rstrip())
    if isinstance(rates, Failure):
        part["failed"]["best_images_per_s"] = rates.message
    else:
        part["throughput"] = rates.as_dict()
    return part


def fingerprint(plan: ComparisonPlan, target: str, dataset: Dataset, training: Sequence[Any] | None = None) -> str:
    """Digest of everything that decides a detector's numbers.

    Args:
        plan: of the comparison.
        target: the detector.
        dataset: that is evaluated on.
        training: of a detector that is trained here, how and on which data.
    """
    facts: dict[str, Any] = {
        "target": target,
        "set": list(plan.overrides),
        "data": data_facts(dataset),
        "training": None if training is None else list(training),
        "protocol": [plan.device, plan.batch, plan.engine, plan.switches.as_dict()],
        "timing": [plan.bench_batch, plan.largest_batch, plan.iterations],
        "versions": versions(),
    }
    if is_foreign(target):
        facts["foreign"] = described(target).fingerprint()
        facts["set"] = []
    elif is_run(target):
        stat = checkpoint_of(Path(target)).stat()
        facts["weights"] = [stat.st_size, stat.st_mtime_ns]
    else:  # resolved: what it extends may change without it
        facts["recipe"] = load_recipe(target, list(plan.overrides)).values
    return digest(facts)


def recipe_part(detector: AnyDetector) -> dict[str, Any]:
    """What numbers.json keeps of the recipe; a foreign detector has none, and tells its kind."""
    if isinstance(detector, ForeignDetector):
        told = detector.described
        facts = Facts(architecture=told.get("kind"), size=told.get("input"), gives="boxes")
        return {"facts": facts_json(facts), "reported": [], "export": {}}
    values = detector.recipe.values
    facts = recipe_facts(values) if values else Facts()
    export = isolated(partial(export_facts, detector))
    return {
        "facts": facts_json(facts),
        "reported": list(values.get("reported", [])),
        "export": {} if isinstance(export, Failure) else export,
    }


def accuracy(
    plan: ComparisonPlan,
    name: str,
    detector: AnyDetector,
    dataset: Dataset,
    folder: Path,
    say: Say,
    applied: Switches,
    place: Path | None,
) -> None:
    """Evaluate one detector, loaded from ``place`` where that is a run; the results go into its folder."""
    say(f"{name}: evaluating on {dataset.name} {dataset.split}, {len(dataset)} images")
    evaluation = evaluate(
        detector,
        dataset,
        batch=plan.batch,
        workers=plan.workers,
        engine=plan.engine,
        precision=plan.switches.precision,
        switches=applied.as_dict(),
    )
    if place is not None:
        evaluation = with_weights(evaluation, place)
    write_evaluation(folder, evaluation)
    for warning in evaluation.warnings:
        say(f"{name}: warning: {warning}")
