"""One row of a comparison: from a detector that is measured, or from results that lie in files.

Each row has its own folder. ``numbers.json`` is written last and holds the key of everything that decided the numbers;
it is removed before anything in the folder changes. So all files next to a matching key are complete, wherever an
earlier call was stopped.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.comparison.analysis import analyse
from detzoo.comparison.class_differences import write_class_resamples
from detzoo.comparison.recipe_facts import Facts
from detzoo.data.content_digest import content_digest
from detzoo.errors import DataError
from detzoo.evaluation.results import Evaluation
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.json_text import load_json

if TYPE_CHECKING:
    from detzoo.data import Dataset

NUMBERS: Final = "numbers.json"
ANALYSIS: Final = "analysis.json"
FORMAT: Final = "detzoo.compare.entry/8"


@dataclass(frozen=True)
class ComparisonEntry:
    """One detector's finished numbers.

    Args:
        name: in tables; unique.
        source: ``measured here``, or the file or folder that its numbers come from.
        results: of results.json.
        benchmark: of the benchmark; empty where no speed is known.
        reported: what its recipe reports.
        folder: where its files lie.
        run: folder with its learning curve, where there is one.
        throughput: at the best batch; empty where it is not known.
        facts: what it is made of.
        analysis: curves, confusion and errors; empty where its detections are not known.
        failed: what could not be measured, by column of the table, and why.
        export: column of the table -> whether it can be exported, and why; empty where its parts are not known.
        training: its seed and a digest of the rest (``seed_groups.training_fact``); None where its seed is not known.
    """

    name: str
    source: str
    results: dict[str, Any]
    benchmark: dict[str, Any]
    reported: list[dict[str, Any]]
    folder: Path
    run: Path | None
    throughput: dict[str, Any] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    analysis: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    export: dict[str, dict[str, str]] = field(default_factory=dict)
    training: dict[str, Any] | None = None

    @property
    def detections(self) -> Path | None:
        """Its detections, where they are known."""
        path = self.folder / "detections.json"
        return path if is_ordinary(path) else None


def data_facts(dataset: Dataset) -> list[Any]:
    """What a digest says about a dataset: whoever corrects its annotations wants other numbers.

    Paths are left out: data that was moved stays the same.
    """
    facts = [dataset.name, dataset.split, list(dataset.classes), list(dataset.category_ids)]
    groups = [] if dataset.groups is None else [list(dataset.groups)]
    return [*facts, [str(i) for i in dataset.image_ids], content_digest(dataset), *groups]


def digest(facts: dict[str, Any]) -> str:
    """Of everything that decides a row's numbers."""
    return hashlib.sha256(json.dumps(facts | {"format": FORMAT}, sort_keys=True).encode()).hexdigest()


def finished(path: Path, key: str) -> dict[str, Any] | None:
    """Numbers of an earlier call with the same key."""
    try:
        numbers = load_json(path)
    except DataError:  # missing or damaged: made again
        return None
    return numbers if isinstance(numbers, dict) and numbers.get("key") == key else None


def start_over(folder: Path) -> None:
    """Before other numbers are written the old ones are no longer valid."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NUMBERS).unlink(missing_ok=True)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """results.json, detections.json, analysis.json, and the AP of each class by resample."""
    evaluation.write(folder)
    write_class_resamples(folder, evaluation)
    write_text(folder / ANALYSIS, json.dumps(analyse(evaluation)) + "\n")


def write_numbers(folder: Path, numbers: dict[str, Any]) -> dict[str, Any]:
    """numbers.json; what a later call will read of it."""
    written: str = json.dumps(numbers, indent=1)
    write_text(folder / NUMBERS, written + "\n")
    back: dict[str, Any] = json.loads(written)
    return back


def entry_from(folder: Path, name: str, source: str, numbers: dict[str, Any], run: Path | None) -> ComparisonEntry:
    """What lies in a finished folder."""
    analysis = folder / ANALYSIS
    results = load_json(folder / "results.json")
    weights = results.get("model", {}).get("weights") or {}
    return ComparisonEntry(
        name=name,
        source=source,
        results=results,
        benchmark=numbers["benchmark"],
        reported=numbers["reported"],
        folder=folder,
        run=run,
        throughput=numbers["throughput"],
        facts=Facts(**numbers["facts"]),
        export=numbers.get("export", {}),
        training=weights.get("training") or numbers.get("training"),
        failed=numbers.get("failed", {}) | numbers["benchmark"].get("cost", {}).get("failed", {}),
        analysis=load_json(analysis) if is_ordinary(analysis) else {},
    )


def facts_json(facts: Facts) -> dict[str, Any]:
    """For numbers.json."""
    return asdict(facts)
