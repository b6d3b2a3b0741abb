"""What ``detzoo eval`` does: from words on a command line to an evaluation, its files and its print-out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detzoo.comparison.score_text import score_text
from detzoo.comparison.weights_facts import weights_words, with_weights
from detzoo.data import open_dataset
from detzoo.data.checking.statistics import opening_lines, reject_without_boxes
from detzoo.data.formats.opening import evaluation_split
from detzoo.data.groups import regrouped
from detzoo.detector_loading import find_target, is_run
from detzoo.errors import DetzooError
from detzoo.evaluation import evaluate, groups_by_id
from detzoo.evaluation.classes import listed
from detzoo.evaluation.engines import engine_module
from detzoo.evaluation.interval_record import beside, explained
from detzoo.evaluation.object_counts import metric_objects
from detzoo.evaluation.result_file import read_categories, read_results
from detzoo.evaluation.results import Evaluation, evaluate_detections
from detzoo.evaluation.voc_map import voc_protocol
from detzoo.prediction.apply_switches import apply_switches
from detzoo.runtime.device import pick_device
from detzoo.runtime.folder_claim import locked_folder
from detzoo.runtime.text_table import PER_CLASS, Column, Table, percent

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.runtime.switches import Switches
    from detzoo.types import DetectionSettings


def evaluate_target(
    target: str | None,
    data: str,
    split: str | None,
    *,
    groups: str | None = None,
    set_: Sequence[str] | None,
    device: str | None,
    batch: int,
    settings: DetectionSettings,
    workers: int,
    engine: Any,
    switches: Switches,
    say: Callable[[str], None] = lambda _: None,
    max_detections: int | None = None,
    voc: Sequence[str] = (),
    runtime: str = "torch",
) -> Evaluation:
    """Build or load a detector and evaluate it; arguments as on the command line, ``say`` gets the first lines."""
    if target is None:
        raise DetzooError(
            "detzoo eval needs a detector (a name, a recipe file, a run or a foreign one) or --from detections.json"
        )
    protocol = voc_protocol(voc)  # a wrong word is reported before the slow work starts
    engine_module(engine)
    named = find_target(target, set_=set_)
    where = pick_device(device)
    dataset = _opened(data, split, groups)
    for line in opening_lines(dataset, use="evaluated on"):
        say(line)
    detector = named.load_any(runtime)
    detector.settings(settings)  # an unsupported setting is reported before the slow work starts
    applied = apply_switches(detector, switches, where)
    found = evaluate(
        detector,
        dataset,
        batch=batch,
        score_threshold=settings.score_threshold,
        nms_iou=settings.nms_iou,
        keep=settings.keep,
        precision=switches.precision,
        workers=workers,
        engine=engine,
        max_detections=max_detections,
        voc=protocol,
        switches=applied.as_dict(),
    )
    return with_weights(found, Path(named.name)) if is_run(named.name) else found  # of the Hub: its fetched file


def _opened(data: str, split: str | None, groups: str | None) -> Dataset:
    """The data to evaluate on, its images in groups.

    Raises:
        DataError: no object that counts is in it.
    """
    dataset = regrouped(open_dataset(data, evaluation_split(data, split)), groups)
    index = dataset.annotations()
    why = "all difficult or crowd, which count neither way"
    reject_without_boxes(dataset, index.difficult | index.crowd, why=why, next_step="be found")
    return dataset


def evaluate_file(
    path: Path,
    target: str | None,
    data: str,
    split: str | None,
    *,
    groups: str | None = None,
    engine: Any,
    categories: str | None = None,
    boxes: Any = None,
    image_ids: Any = None,
    max_detections: int | None = None,
    voc: Sequence[str] = (),
) -> Evaluation:
    """Score a COCO result file, whoever made it; arguments as on the command line."""
    if target is not None:
        raise DetzooError(f"give either a detector ({target}) or --from {path}, not both")
    protocol = voc_protocol(voc)
    dataset = _opened(data, split, groups)
    facts = {
        "model": {"name": path.name, "classes": None, "parameters": None},
        "data": {"name": dataset.name, "split": dataset.split, "classes": list(dataset.classes)},
    }
    truth = dataset.coco_ground_truth()
    names = None if categories is None else read_categories(categories)
    found = read_results(path, truth, categories=names, boxes=boxes, image_ids=image_ids)
    return evaluate_detections(
        found.rows,
        truth,
        engine=engine,
        max_detections=max_detections,
        voc=protocol,
        groups=groups_by_id(dataset),
        facts=facts,
        warnings=found.warnings,
    )


def report(evaluation: Evaluation, out: Path | None, *, curves: bool = True, width: int | None = None) -> str:
    """Write the files, if a folder is given, and say what they and the terminal have to show."""
    parts = [summary(evaluation, width or shutil.get_terminal_size().columns)]
    if out is not None:
        with locked_folder(out, what="eval"):
            written = [evaluation.write(out), out / "detections.json"]
            if curves:
                from detzoo.comparison.curve_files import write_curves

                written += write_curves(evaluation, out)
        parts.append("\n".join(f"wrote {path}" for path in written))
    return "\n\n".join(parts)


def summary(evaluation: Evaluation, width: int) -> str:
    """The numbers as text."""
    names = list(evaluation.metrics)
    titles = {"voc07_AP50": "VOC07 AP50", "voc10_AP50": "VOC10 AP50"}
    columns = [Column("name", "detector", None), *(percent(n, titles.get(n, n)) for n in names)]
    facts = evaluation.facts
    data = facts.get("data", {})
    counts = facts["counts"]
    where = " ".join(str(v) for v in (data.get("name"), data.get("split")) if v)
    title = f"{where}: {counts['images']} images, {counts['annotations']} boxes, {counts['detections']} detections (%)"
    known = evaluation.intervals or {"metrics": {}, "per_class": {}}
    row = {"name": facts.get("model", {}).get("name", ""), **beside(evaluation.metrics, known["metrics"])}
    whole = Table(title, columns, [row], counts=metric_objects(evaluation.ground_truth, names)).terminal(width)
    classes = [
        {"class": name, **beside(values, known["per_class"].get(name, {}))}
        for name, values in evaluation.per_class.items()
    ]
    per_class = Table("per class", PER_CLASS, classes).terminal(width)
    warnings = "\n".join(f"warning: {line}" for line in evaluation.warnings)
    weights = facts.get("model", {}).get("weights")
    counting = facts.get("protocol", {}).get("counting")
    counted = f"counted: {counting}" if counting else ""
    used = f"weights: {weights_words(weights)}" if weights else ""
    unseen = [name for name, values in evaluation.per_class.items() if not values["ground_truths"]]
    without = f"{len(unseen)} classes without a box, and without AP: {listed(unseen)}" if unseen else ""
    ends = "" if evaluation.intervals is None else explained(evaluation.intervals)
    scores = score_text(facts, width)
    return "\n\n".join(part for part in (whole, counted, per_class, ends, *scores, used, without, warnings) if part)
