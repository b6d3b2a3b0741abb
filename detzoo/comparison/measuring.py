"""A row of a comparison that is measured here: the detector is loaded, evaluated, then timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detzoo.benchmark import benchmark
from detzoo.benchmark.bench_command import images_of
from detzoo.benchmark.throughput import best_batch
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
from detzoo.comparison.recipe_facts import Facts, recipe_facts
from detzoo.comparison.recorded import is_trained_here
from detzoo.detector_loading import is_run, load_detector
from detzoo.evaluation import evaluate
from detzoo.prediction.apply_switches import apply_switches
from detzoo.runtime.device import pick_device
from detzoo.runtime.environment import versions
from detzoo.weights.checkpoint import checkpoint_of

if TYPE_CHECKING:
    from detzoo.comparison.plan import ComparisonPlan
    from detzoo.data import Dataset
    from detzoo.interfaces import Detector
    from detzoo.runtime.switches import Switches

Say = Callable[[str], None]


def measure_detector(
    plan: ComparisonPlan, target: str, name: str, folder: Path, dataset: Dataset, say: Say, key: str | None
) -> ComparisonEntry:
    """One detector's numbers: its evaluation is kept before the timing begins."""
    run = folder / "run" if plan.train and is_trained_here(target) else None
    key = key or fingerprint(plan, target, dataset)
    numbers = finished(folder / NUMBERS, key)
    if numbers is not None and "benchmark" in numbers:
        say(f"{name}: already done")
    else:
        if numbers is None:
            start_over(folder)
        detector = made(plan, target, run)
        applied = prepare(plan, detector)
        if numbers is None:
            accuracy(plan, name, detector, dataset, folder, say, applied)
            numbers = write_numbers(folder, {"key": key} | recipe_part(detector))
        else:
            say(f"{name}: already evaluated")
        numbers = write_numbers(folder, numbers | speed(plan, name, detector, dataset, say, applied))
    where = run or (Path(target) if Path(target).is_dir() else None)
    return entry_from(folder, name, "measured here", numbers, where)


def fingerprint(plan: ComparisonPlan, target: str, dataset: Dataset) -> str:
    """Digest of everything that decides a detector's numbers."""
    facts: dict[str, Any] = {
        "target": target,
        "set": list(plan.overrides),
        "data": data_facts(dataset),
        "training": training_facts(plan) if plan.train else None,
        "protocol": [plan.device, plan.batch, plan.engine, plan.switches.as_dict()],
        "timing": [plan.bench_batch, plan.largest_batch, plan.iterations],
        "versions": versions(),
    }
    if is_run(target):
        stat = checkpoint_of(Path(target)).stat()
        facts["weights"] = [stat.st_size, stat.st_mtime_ns]
    elif (recipe := Path(target.split("#", maxsplit=1)[0])).is_file():
        facts["recipe"] = recipe.read_text(encoding="utf-8")
    return digest(facts)


def training_facts(plan: ComparisonPlan) -> list[Any]:
    """What decides how names are trained."""
    options = plan.training
    return [plan.train_split, options.epochs, options.steps, *([] if options.seed is None else [options.seed])]


def made(plan: ComparisonPlan, target: str, run: Path | None) -> Detector:
    """The detector: as it was trained for the comparison, or as it is."""
    return load_detector(target, set_=plan.overrides) if run is None else load(run)


def prepare(plan: ComparisonPlan, detector: Detector) -> Switches:
    """Onto its device, as the switches say; returns what was done."""
    return apply_switches(detector, plan.switches, pick_device(plan.device))


def recipe_part(detector: Detector) -> dict[str, Any]:
    """What numbers.json keeps of the recipe."""
    values = detector.recipe.values
    facts = recipe_facts(values) if values else Facts()
    return {"facts": facts_json(facts), "reported": list(values.get("reported", []))}


def accuracy(
    plan: ComparisonPlan, name: str, detector: Detector, dataset: Dataset, folder: Path, say: Say, applied: Switches
) -> None:
    """Evaluate one detector; its detections and results go into its folder."""
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
    write_evaluation(folder, evaluation)
    for warning in evaluation.warnings:
        say(f"{name}: warning: {warning}")


def speed(
    plan: ComparisonPlan, name: str, detector: Detector, dataset: Dataset, say: Say, applied: Switches
) -> dict[str, Any]:
    """Time one detector on the dataset's first images: a batch of one, then the batch that suits it best."""
    say(f"{name}: timing")
    images = images_of(dataset, max(8, plan.bench_batch))
    # The switches are applied already; only their record and the precision are wanted here.
    timed = benchmark(
        detector,
        device=plan.device,
        batch=plan.bench_batch,
        images=images,
        iterations=plan.iterations,
        switches=applied,
        prepared=True,
    )
    rates = best_batch(
        detector,
        images,
        pick_device(plan.device),
        precision=plan.switches.precision,
        largest=plan.largest_batch,
    )
    return {"benchmark": timed.as_dict() | {"row": timed.row()}, "throughput": rates.as_dict()}
