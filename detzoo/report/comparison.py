"""``detzoo compare``: many detectors, one data set, one protocol; a table, a plot and a page.

Detectors that are to be trained are trained first. Then the numbers of each lie finished in its own folder before the
next begins, so that an interrupted comparison goes on where it stopped. A folder is reused only while everything that
decides its numbers is the same.
"""

from __future__ import annotations

import csv
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
from detzoo.experiments.dispatch import Places

if TYPE_CHECKING:
    from detzoo.report.comparison_entry import Entry
    from detzoo.report.table import Table

FORMAT: Final = "detzoo.compare/1"
MARKER: Final = "comparison.json"


@dataclass(frozen=True)
class Plan(Places):
    """What is to be compared, and how; the rest, which is for training alone, as ``Places``.

    Args:
        targets: names, recipe files, runs, and results: folders of ``detzoo eval`` or of an earlier comparison, or
            files of COCO detections.
        data: as ``open_dataset`` takes it.
        out: folder of the comparison.
        split: that is evaluated; ``test``, else ``val``, where it is None.
        train: train names on the data set's ``train`` split first.
        train_split: which split that is.
        epochs: of training, instead of the recipe's.
        steps: the same in steps.
        set_: ``key=value`` overrides of every name.
        device: that is evaluated and timed on, and trained on where ``devices`` is None; None takes the best there is.
        batch: pictures at once in evaluation.
        bench_batch: pictures at once while latency is timed.
        largest_batch: up to which the best batch is looked for.
        iterations: most rounds of timing.
        workers: threads that read pictures.
        engine: that counts.
        examples: pictures on the page, the worst first.
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
    largest_batch: int = 64
    iterations: int = 50
    workers: int = 2
    engine: Any = "pycocotools"
    examples: int = 8
    switches: Switches = field(default_factory=Switches)

    def training_places(self) -> Places:
        """Where names are trained."""
        devices = self.device if self.devices is None else self.devices
        return Places(devices=devices, ray=self.ray, ray_cpus=self.ray_cpus, ray_gpus=self.ray_gpus)


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
        Interrupted: a KeyboardInterrupt: a signal came while detectors were trained; checkpoints were written.
    """
    from detzoo.data import open_dataset
    from detzoo.report.comparison_entry import one_entry
    from detzoo.report.comparison_files import write_files
    from detzoo.report.comparison_table import comparison_table
    from detzoo.report.comparison_training import check_places, train_missing

    check_places(plan)
    claim(plan.out)
    dataset = open_dataset(plan.data, evaluation_split(plan.data, plan.split))
    if not plan.targets:
        raise DetzooError("detzoo compare needs at least one detector: a name, a recipe file, a run or results")
    names = unique_names(plan.targets)
    targets = dict(zip(names, plan.targets, strict=True))
    keys, untrained = train_missing(plan, targets, dataset, say) if plan.train else ({}, {})
    entries, failures = [], {}
    for name, target in targets.items():
        if name in untrained:
            failures[target] = untrained[name]
            continue
        try:
            entries.append(one_entry(plan, target, name, dataset, say, keys.get(name)))
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
    from detzoo.data.source import VALIDATION_SPLITS

    if split is not None:
        return split
    there = list_splits(data)
    return next((name for name in ("test", *VALIDATION_SPLITS) if name in there), None)


def unique_names(targets: Sequence[str]) -> list[str]:
    """Short names for tables and folders: the last part of a path, numbered where two are the same."""
    names: list[str] = []
    for target in targets:
        short = re.sub(r"[^\w.+-]", "_", short_name(without_file(target)).replace("#", "+"))
        name, number = short, 2
        while name in names:
            name, number = f"{short}-{number}", number + 1
        names.append(name)
    return names


def without_file(target: str) -> str:
    """Results go by the name of their folder or of the run around it, other detections by that of their file."""
    from detzoo.report.comparison_results import PARTS, run_around

    path = Path(target)
    if path.name in PARTS[:2]:
        path = path.parent
    elif path.suffix == ".json":
        return str(path.with_suffix(""))
    if path.is_dir() and (path / "results.json").is_file() and (run := run_around(path)) is not None:
        return str(run)
    return target if path == Path(target) else str(path)


def curve_of(run: Path | None, metric: str = "AP") -> list[tuple[float, float]]:
    """(epoch, metric) points of a run's curve.csv; empty where there is none."""
    path = run / "curve.csv" if run is not None else None
    if path is None or not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(float(row["epoch"]), float(row[metric])) for row in rows if row.get("epoch") and row.get(metric)]
