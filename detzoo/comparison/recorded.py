"""A row of a comparison that lies in files: a folder of ``detzoo eval`` or of a comparison, or COCO detections.

Detections are counted again, on the dataset of the comparison. Where only results.json is left, its numbers are taken
as they are, once dataset, classes and counts agree. A speed is shown if one is stored next to it: in the numbers.json
of an earlier comparison, or in a benchmark.json (``detzoo bench RUN --json``).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.benchmark import Benchmark, Cost
from detzoo.comparison.class_differences import FILE as CLASS_RESAMPLES
from detzoo.comparison.entry import (
    ANALYSIS,
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
from detzoo.comparison.recipe_facts import Facts, input_size, recipe_facts
from detzoo.comparison.seed_groups import is_training_fact, training_fact
from detzoo.detector_loading import is_run
from detzoo.errors import DataError, DetzooError, RecipeError
from detzoo.evaluation import groups_by_id
from detzoo.evaluation.result_file import read_detections
from detzoo.evaluation.results import FORMAT as RESULTS_FORMAT
from detzoo.evaluation.results import Evaluation, evaluate_detections
from detzoo.foreign.target import is_foreign
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.environment import short_name
from detzoo.runtime.foreign_files import is_folder, is_ordinary
from detzoo.runtime.json_text import check_parts, load_json
from detzoo.schema import yaml_source
from detzoo.weights.checkpoint import BEST, LAST

if TYPE_CHECKING:
    from detzoo.comparison.plan import ComparisonPlan
    from detzoo.data import Dataset

PACKED: Final = "detections.json.gz"
"""Stands for ``detections.json`` where that is not there."""
PARTS: Final = ("results.json", "detections.json", NUMBERS, "benchmark.json", "recipe.yaml")


def _is_object(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _are_facts(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and value.keys() <= {each.name for each in fields(Facts)})


def _is_model(value: Any) -> bool:
    weights = value.get("weights") if isinstance(value, dict) else None
    return _is_object(value) and _is_object(weights) and is_training_fact((weights or {}).get("training"))


def _is_list(value: Any) -> bool:
    return value is None or isinstance(value, list)


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def _are_metrics(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and all(n is None or type(n) in (int, float) for n in value.values())
    )


_RESULTS: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("data", "counts", "protocol", "device", "versions", "per_class"), _is_object),
    "model": _is_model,
    "metrics": _are_metrics,
    "broken_images": _are_names,
    "warnings": _are_names,
}
"""Values of results.json that are read here; each may be missing."""
_NUMBERS: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("benchmark", "throughput", "export"), _is_object),
    "facts": _are_facts,
    "reported": _is_list,
    "training": is_training_fact,
}


@dataclass(frozen=True)
class Recorded:
    """Files of an earlier evaluation.

    Args:
        target: as it was given.
        files: name of a part -> its file; those that are there.
    """

    target: str
    files: dict[str, Path]

    @property
    def words(self) -> str:
        """What the row is from, without the path: pages are mailed."""
        kind = "detections counted again" if "detections.json" in self.files else "results as recorded"
        return f"{kind}: {short_name(self.target)}"

    def json(self, part: str) -> Any:
        """A part, or None where it is not there."""
        return load_json(self.files[part]) if part in self.files else None


def run_around(folder: Path) -> Path | None:
    """The run that was evaluated into a folder of its own (``detzoo eval RUN --out RUN/test``), or None."""
    parent = Path(os.path.abspath(folder)).parent  # of the name that was given, not of what a link leads to
    return parent if any(is_ordinary(parent / name) for name in (BEST, LAST)) else None


def find_recorded(target: str) -> Recorded | None:
    """The files behind a target; None for recipes, runs and what is neither."""
    path = Path(target)
    if is_ordinary(path) and path.name.endswith((".json", ".json.gz")):
        if path.name in (*PARTS[:2], PACKED):
            return Recorded(target, parts_in(path.parent))
        return Recorded(target, {"detections.json": path})
    if not is_folder(path) or any(is_ordinary(path / name) for name in (BEST, LAST)):
        return None
    files = parts_in(path)
    return Recorded(target, files) if any(part in files for part in PARTS[:2]) else None


def is_trained_here(target: str) -> bool:
    """Whether ``--train`` trains a target: a name or a recipe, neither run, results nor a foreign detector."""
    return not is_run(target) and not is_foreign(target) and find_recorded(target) is None


def parts_in(folder: Path) -> dict[str, Path]:
    """Those of PARTS that lie in a folder; the recipe may be that of the run around it."""
    files = {part: folder / part for part in PARTS if is_ordinary(folder / part)}
    packed = folder / PACKED
    if is_ordinary(packed):
        files.setdefault("detections.json", packed)
    run = run_around(folder)
    if run is not None and "recipe.yaml" not in files and is_ordinary(run / "recipe.yaml"):
        files["recipe.yaml"] = run / "recipe.yaml"
    return files


def take_recorded(
    plan: ComparisonPlan, recorded: Recorded, name: str, folder: Path, dataset: Dataset, say: Callable[[str], None]
) -> ComparisonEntry:
    """The row, from its folder in the comparison where its files are still the same."""
    if any(path.parent.resolve() == folder.resolve() for path in recorded.files.values()):
        raise DataError(
            f"{recorded.target} lies in this comparison itself; give its detector again, or another folder for --out"
        )
    key = digest(
        {
            "files": {part: hashlib.sha256(path.read_bytes()).hexdigest() for part, path in recorded.files.items()},
            "data": data_facts(dataset),
            "engine": plan.engine,
        }
    )
    numbers = finished(folder / NUMBERS, key)
    if numbers is None:
        results = recorded_results(recorded, dataset)
        start_over(folder)
        if "detections.json" in recorded.files:
            say(f"{name}: counting the detections of {recorded.files['detections.json']}")
            write_evaluation(folder, counted(plan, recorded, results, dataset))
        else:
            for stale in ("detections.json", ANALYSIS, CLASS_RESAMPLES):
                (folder / stale).unlink(missing_ok=True)
            write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
        numbers = write_numbers(folder, {"key": key} | recorded_numbers(recorded, results))
    else:
        say(f"{name}: already done")
    run = recorded.files["results.json"].parent if "results.json" in recorded.files else None
    if run is not None and not is_ordinary(run / "curve.csv"):
        run = run_around(run)
    return entry_from(folder, name, recorded.words, numbers, run)


def recorded_results(recorded: Recorded, dataset: Dataset) -> dict[str, Any]:
    """What results.json says, empty where there is none.

    Raises:
        DataError: it is none of detzoo's, or was not measured on this dataset.
    """
    results = recorded.json("results.json")
    if results is None:
        return {}
    path = recorded.files["results.json"]
    if not isinstance(results, dict) or results.get("format") != RESULTS_FORMAT:
        raise DataError(f"{path} is no result of detzoo eval (its format is not {RESULTS_FORMAT})")
    check_parts(results, f"{path}: altered or damaged; evaluate again", _RESULTS)
    data, counts = results.get("data", {}), results.get("counts", {})
    truth = dataset.coco_ground_truth()
    lost = set(results.get("broken_images", ()))
    here = {
        "split": dataset.split,
        "classes": list(dataset.classes),
        "images": len(truth["images"]) - len(lost),
        "annotations": sum(str(a["image_id"]) not in lost for a in truth["annotations"]),
    }
    there = {name: data.get(name, counts.get(name)) for name in here}
    for fact, value in here.items():
        if there[fact] is not None and there[fact] != value:
            raise DataError(
                f"{path} was measured on other data: {fact} {there[fact]} there, {value} in {dataset.name} "
                f"{dataset.split}; numbers of different data do not belong into one table. Evaluate again with: "
                f"detzoo eval DETECTOR --data DATA --split {dataset.split} --out DIR"
            )
    return results


def counted(plan: ComparisonPlan, recorded: Recorded, results: Mapping[str, Any], dataset: Dataset) -> Evaluation:
    """The recorded detections on this dataset's ground truth, with what results.json knows of how they were made."""
    rows = read_detections(recorded.files["detections.json"])
    truth = dataset.coco_ground_truth()
    if lost := set(results.get("broken_images", ())):
        truth = truth | {
            "images": [image for image in truth["images"] if str(image["id"]) not in lost],
            "annotations": [a for a in truth["annotations"] if str(a["image_id"]) not in lost],
        }
    made = {k: v for k, v in results.get("protocol", {}).items() if k not in ("engine", "coco", "voc")}
    facts = {
        "model": results.get("model", {"name": Path(recorded.target).stem, "classes": None, "parameters": None}),
        "data": {"name": dataset.name, "split": dataset.split, "classes": list(dataset.classes)},
        "broken_images": sorted(lost),
        "protocol": made,
        "device": results.get("device", {}),
        "versions": results.get("versions", {}),
    }
    evaluation = evaluate_detections(
        rows,
        truth,
        engine=plan.engine,
        groups=groups_by_id(dataset),
        facts=facts,
        warnings=results.get("warnings", ()),
    )
    before, now = results.get("metrics", {}).get("AP"), evaluation.metrics["AP"]
    if before is not None and abs(before - now) > 1e-6:
        raise DataError(
            f"{recorded.files['results.json']} says AP {before:.4f}, but the detections next to it give {now:.4f} on "
            f"{dataset.name} {dataset.split}: they do not belong together, or the dataset has changed"
        )
    return evaluation


def recorded_numbers(recorded: Recorded, results: Mapping[str, Any]) -> dict[str, Any]:
    """Speed, cost, recipe and reported results, if stored next to it."""
    numbers = recorded.json(NUMBERS)
    if numbers is None:
        numbers = {}
    else:
        check_parts(numbers, f"{recorded.files[NUMBERS]}: altered or damaged; take it away or compare again", _NUMBERS)
    benchmark, throughput = numbers.get("benchmark", {}), numbers.get("throughput", {})
    if not benchmark and (timed := recorded.json("benchmark.json")):
        benchmark = bench_json(recorded.files["benchmark.json"], timed)
    recipe = recipe_values(recorded)
    facts = facts_json(recipe_facts(recipe)) if recipe else numbers.get("facts") or facts_json(facts_of(results))
    return {
        "benchmark": benchmark,
        "throughput": throughput,
        "facts": facts,
        "reported": recipe.get("reported") or numbers.get("reported", []),
        "export": numbers.get("export", {}),
        "training": training_fact(recipe, None) or numbers.get("training"),
    }


def facts_of(results: Mapping[str, Any]) -> Facts:
    """As far as results.json tells."""
    size, side = input_size(results.get("protocol", {}).get("input"))
    masks = "mask_AP" in results.get("metrics", {})
    return Facts(size=size, side=side, gives=None if not results else "boxes+masks" if masks else "boxes")


def recipe_values(recorded: Recorded) -> dict[str, Any]:
    """The recipe stored next to it; empty if there is none."""
    if "recipe.yaml" not in recorded.files:
        return {}
    try:
        document: Any = yaml_source.read(recorded.files["recipe.yaml"]).value
        (values,) = document["detectors"].values()
        return dict(values)
    except (RecipeError, KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            f"{recorded.files['recipe.yaml']} is not the recipe of one detector, as detzoo train writes it next to a "
            "run; mend it or take it away"
        ) from None


def bench_json(path: Path, timed: Any) -> dict[str, Any]:
    """One detector of ``detzoo bench --json``, with the row that tables show.

    Raises:
        DetzooError: it is not that.
    """
    first = timed[0] if isinstance(timed, list) and len(timed) == 1 else timed
    try:
        benchmark = Benchmark(**{**first, "cost": Cost(**first["cost"])})
        return benchmark.as_dict() | {"row": benchmark.row()}
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise DetzooError(f"{path} is not one detector of: detzoo bench DETECTOR --json") from None
