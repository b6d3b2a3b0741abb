"""``detzoo compare``: many detectors, one dataset, one protocol; a table, a plot and a page.

Detectors that are to be trained are trained first. Then the numbers of each lie finished in its own folder before the
next begins, so that an interrupted comparison goes on where it stopped. A folder is reused only while everything that
decides its numbers is the same.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.errors import DetzooError
from detzoo.experiments.dispatch import Places
from detzoo.runtime.environment import short_name
from detzoo.runtime.folder_claim import claim
from detzoo.runtime.switches import Switches

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.runtime.text_table import Table

FORMAT: Final = "detzoo.compare/1"
MARKER: Final = "comparison.json"


@dataclass(frozen=True)
class ComparisonPlan(Places):
    """What is to be compared, and how; the rest, which is for training alone, as ``Places``.

    Args:
        targets: names, recipe files, runs, and results: folders of ``detzoo eval`` or of an earlier comparison, or
            files of COCO detections.
        data: as ``open_dataset`` takes it.
        out: folder of the comparison.
        split: that is evaluated; ``test``, else ``val``, where it is None.
        train: train names on the dataset's ``train`` split first.
        train_split: which split that is.
        epochs: of training, instead of the recipe's.
        steps: the same in steps.
        set_: ``key=value`` overrides of every name.
        device: that is evaluated and timed on, and trained on where ``devices`` is None; None takes the best there is.
        batch: images at once in evaluation.
        bench_batch: images at once while latency is timed.
        largest_batch: up to which the best batch is looked for.
        iterations: most rounds of timing.
        workers: threads that read images.
        engine: that counts.
        examples: images on the page, the worst first.
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

    entries: list[ComparisonEntry]
    failures: dict[str, str]
    table: Table
    files: list[Path]


def compare(plan: ComparisonPlan, say: Callable[[str], None] = lambda _: None) -> Comparison:
    """Evaluate and benchmark detectors on one dataset; write table, plot and page.

    Args:
        plan: what and how.
        say: is told what happens, a line at a time.

    Raises:
        DetzooError: nothing could be compared, or ``out`` holds files of somebody else.
        Interrupted: a KeyboardInterrupt: a signal came while detectors were trained; checkpoints were written.
    """
    from detzoo.comparison.entry import one_entry
    from detzoo.comparison.files import write_files
    from detzoo.comparison.table import comparison_table
    from detzoo.comparison.training import check_places, train_missing
    from detzoo.data import open_dataset
    from detzoo.data.formats.opening import evaluation_split

    check_places(plan)
    claim(plan.out, marker=MARKER, written=FORMAT, what="comparison")
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
    from detzoo.comparison.recorded import PACKED, PARTS, run_around

    path = Path(target)
    if path.name in (*PARTS[:2], PACKED):
        path = path.parent
    elif path.name.endswith((".json", ".json.gz")):
        return str(path.with_name(path.name.removesuffix(".gz").removesuffix(".json")))
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
