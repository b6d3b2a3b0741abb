"""``detzoo compare``: many detectors, one data set, one protocol; a table, a plot and a page.

The work of each detector lies finished in its own folder before the next begins, so that an interrupted comparison
goes on where it stopped. A folder is reused only while everything that decides its numbers is the same.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.benchmark import Switches
from detzoo.benchmark.environment import short_name
from detzoo.errors import DataError, DetzooError
from detzoo.evaluation.results import write_whole

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.interfaces import Detector
    from detzoo.report.table import Table

FORMAT: Final = "detzoo.compare/1"
MARKER: Final = "comparison.json"
NUMBERS: Final = "numbers.json"


@dataclass(frozen=True)
class Plan:
    """What is to be compared, and how.

    Args:
        targets: names, recipe files or runs.
        data: as ``open_dataset`` takes it.
        out: folder of the comparison.
        split: that is evaluated; ``test``, else ``val``, where it is None.
        train: train names on the data set's ``train`` split first.
        train_split: which split that is.
        epochs: of training, instead of the recipe's.
        steps: the same in steps.
        set_: ``key=value`` overrides of every name.
        device: None takes the best there is.
        batch: pictures at once in evaluation.
        bench_batch: pictures at once while timing.
        iterations: most rounds of timing.
        workers: threads that read pictures.
        engine: that counts.
        examples: pictures on the page.
        switches: how the detectors run.
    """

    targets: Sequence[str]
    data: str
    out: Path
    split: str | None = None
    train: bool = False
    train_split: str = "train"
    epochs: int | None = None
    steps: int | None = None
    set_: Sequence[str] = ()
    device: str | None = None
    batch: int = 8
    bench_batch: int = 1
    iterations: int = 50
    workers: int = 2
    engine: Any = "pycocotools"
    examples: int = 3
    switches: Switches = field(default_factory=Switches)


@dataclass(frozen=True)
class Entry:
    """One detector's finished numbers.

    Args:
        name: in tables; unique.
        results: of results.json.
        benchmark: of the benchmark.
        reported: what its recipe reports.
        folder: where its files lie.
        run: run folder, where it was trained.
    """

    name: str
    results: dict[str, Any]
    benchmark: dict[str, Any]
    reported: list[dict[str, Any]]
    folder: Path
    run: Path | None


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` gives.

    Args:
        entries: detectors that could be measured, in the given order.
        failures: target -> why not.
        table: of the numbers.
        files: what was written, the page first.
    """

    entries: list[Entry]
    failures: dict[str, str]
    table: Table
    files: list[Path]


def compare(plan: Plan, say: Callable[[str], None] = lambda _: None) -> Comparison:
    """Evaluate and benchmark detectors on one data set; write table, plot and page.

    Args:
        plan: what and how.
        say: is told what happens, a line at a time.

    Raises:
        DetzooError: nothing could be compared, or ``out`` holds files of somebody else.
    """
    from detzoo.data import open_dataset
    from detzoo.report.comparison_files import comparison_table, write_files

    claim(plan.out)
    dataset = open_dataset(plan.data, evaluation_split(plan.data, plan.split))
    if not plan.targets:
        raise DetzooError("detzoo compare needs at least one detector: a name, a recipe file or a run")
    names = unique_names(plan.targets)
    entries, failures = [], {}
    for target, name in zip(plan.targets, names, strict=True):
        try:
            entries.append(one_entry(plan, target, name, dataset, say))
        except DetzooError as error:
            failures[target] = str(error)
            say(f"{name}: left out: {error}")
    if not entries:
        raise DetzooError("\n".join(f"{target}: {why}" for target, why in failures.items()))
    table = comparison_table(dataset, entries)
    return Comparison(entries, failures, table, write_files(plan, dataset, entries, table))


def claim(out: Path, *, marker: str = MARKER, written: str = FORMAT, what: str = "comparison") -> None:
    """Make the folder ours, or refuse one that is not.

    Args:
        out: the folder.
        marker: name of the file that says it is ours.
        written: into that file, as its format.
        what: the folder is called in the message.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; --out takes a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
        raise DataError(
            f"{out} is not empty and no {what} of detzoo (no {marker} in it); choose another folder for --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    if not (out / marker).exists():
        write_whole(out / marker, json.dumps({"format": written}) + "\n")


def evaluation_split(data: str, split: str | None) -> str | None:
    """The split to evaluate on: the given one, else ``test``, else ``val``; None leaves it to the data set."""
    from detzoo.data import list_splits

    if split is not None:
        return split
    there = list_splits(data)
    return next((name for name in ("test", "val", "valid") if name in there), None)


def unique_names(targets: Sequence[str]) -> list[str]:
    """Short names for tables and folders: the last part of a path, numbered where two are the same."""
    names: list[str] = []
    for target in targets:
        short = re.sub(r"[^\w.+-]", "_", short_name(target).replace("#", "+"))
        name, number = short, 2
        while name in names:
            name, number = f"{short}-{number}", number + 1
        names.append(name)
    return names


def one_entry(plan: Plan, target: str, name: str, dataset: Dataset, say: Callable[[str], None]) -> Entry:
    """One detector's numbers, from its folder where they are still good."""
    from detzoo.cli.targets import is_run

    folder = plan.out / "detectors" / name
    run = folder / "run" if plan.train and not is_run(target) else None
    key = fingerprint(plan, target, dataset)
    numbers = finished(folder / NUMBERS, key)
    if numbers is None:
        folder.mkdir(parents=True, exist_ok=True)
        detector = made(plan, target, run, dataset, say)
        numbers = measured(plan, name, detector, dataset, folder, say) | {"key": key}
        text = json.dumps(numbers, indent=1)
        write_whole(folder / NUMBERS, text + "\n")
        numbers = json.loads(text)
    else:
        say(f"{name}: already done")
    return Entry(
        name=name,
        results=json.loads((folder / "results.json").read_text(encoding="utf-8")),
        benchmark=numbers["benchmark"],
        reported=numbers["reported"],
        folder=folder,
        run=run or (Path(target) if Path(target).is_dir() else None),
    )


def fingerprint(plan: Plan, target: str, dataset: Dataset) -> str:
    """Digest of everything that decides a detector's numbers."""
    from detzoo.benchmark.environment import versions
    from detzoo.cli.targets import is_run

    facts: dict[str, Any] = {
        "target": target,
        "set": list(plan.set_),
        "data": [dataset.name, dataset.split, list(dataset.classes), [int(i) for i in dataset.image_ids]],
        "training": [plan.train_split, plan.epochs, plan.steps] if plan.train else None,
        "protocol": [plan.device, plan.batch, plan.bench_batch, plan.iterations, plan.engine, plan.switches.as_dict()],
        "versions": versions(),
    }
    if is_run(target):
        from detzoo.training.checkpoint import checkpoint_of

        stat = checkpoint_of(Path(target)).stat()
        facts["weights"] = [stat.st_size, stat.st_mtime_ns]
    elif (recipe := Path(target.split("#", maxsplit=1)[0])).is_file():
        facts["recipe"] = recipe.read_text(encoding="utf-8")
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def finished(path: Path, key: str) -> dict[str, Any] | None:
    """Numbers of an earlier call with the same key."""
    try:
        numbers: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return numbers if isinstance(numbers, dict) and numbers.get("key") == key else None


def made(plan: Plan, target: str, run: Path | None, dataset: Dataset, say: Callable[[str], None]) -> Detector:
    """The detector: loaded, or trained first."""
    from detzoo.cli.targets import load_detector

    if run is None:
        return load_detector(target, set_=plan.set_)
    from detzoo.build import load
    from detzoo.data import list_splits
    from detzoo.experiments import Job, train_run

    spare = [s for s in ("val", "valid") if s in list_splits(plan.data) and s != dataset.split]
    job = Job(
        name=run.parent.name,
        target=target,
        data=plan.data,
        run=run,
        overrides=tuple(plan.set_),
        train_split=plan.train_split,
        val_split=spare[0] if spare else "none",
        epochs=plan.epochs,
        steps=plan.steps,
    )
    say(f"training {target} on {plan.data} {plan.train_split}")
    train_run(job, device=plan.device)
    return load(run)


def measured(
    plan: Plan, name: str, detector: Detector, dataset: Dataset, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Evaluate and benchmark one detector; results.json and detections.json go into its folder."""
    from detzoo.benchmark import apply_switches, benchmark, pick_device
    from detzoo.benchmark.session import pictures_of
    from detzoo.evaluation import evaluate

    apply_switches(detector, plan.switches, pick_device(plan.device))
    say(f"{name}: evaluating on {dataset.name} {dataset.split}, {len(dataset)} images")
    evaluation = evaluate(
        detector,
        dataset,
        batch=plan.batch,
        workers=plan.workers,
        engine=plan.engine,
        precision=plan.switches.precision,
        switches=plan.switches.as_dict(),
    )
    evaluation.write(folder)
    for warning in evaluation.warnings:
        say(f"{name}: warning: {warning}")
    say(f"{name}: timing")
    # The switches are applied already; only their record and the precision are wanted here.
    timed = benchmark(
        detector,
        device=plan.device,
        batch=plan.bench_batch,
        images=pictures_of(dataset, max(8, plan.bench_batch)),
        iterations=plan.iterations,
        switches=plan.switches,
        prepared=True,
    )
    return {"benchmark": timed.as_dict() | {"row": timed.row()}, "reported": reported_by(detector)}


def reported_by(detector: Detector) -> list[dict[str, Any]]:
    """What the recipe's authors report."""
    recipe = getattr(detector, "recipe", None)
    return list(recipe.values.get("reported", [])) if recipe is not None else []


def curve_of(run: Path | None, metric: str = "AP") -> list[tuple[float, float]]:
    """(epoch, metric) points of a run's curve.csv; empty where there is none."""
    path = run / "curve.csv" if run is not None else None
    if path is None or not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(float(row["epoch"]), float(row[metric])) for row in rows if row.get("epoch") and row.get(metric)]
