"""What ``detzoo eval`` does: from words on a command line to an evaluation, its files and its print-out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detzoo.errors import DataError, DetzooError
from detzoo.evaluation.results import Evaluation, evaluate_detections

if TYPE_CHECKING:
    from detzoo.benchmark import Switches


def evaluate_target(
    target: str | None,
    data: str,
    split: str | None,
    *,
    set_: Sequence[str] | None,
    device: str | None,
    batch: int,
    score_threshold: float | None,
    workers: int,
    engine: Any,
    switches: Switches,
) -> Evaluation:
    """Build or load a detector and evaluate it; arguments as on the command line."""
    from detzoo.benchmark import apply_switches, pick_device
    from detzoo.cli.targets import load_detector
    from detzoo.data import open_dataset
    from detzoo.evaluation import evaluate
    from detzoo.report.comparison import evaluation_split

    if target is None:
        raise DetzooError("detzoo eval needs a detector (a name, a recipe file or a run) or --from detections.json")
    where = pick_device(device)
    dataset = open_dataset(data, evaluation_split(data, split))
    detector = apply_switches(load_detector(target, set_=set_), switches, where)
    return evaluate(
        detector,
        dataset,
        batch=batch,
        score_threshold=score_threshold,
        precision=switches.precision,
        workers=workers,
        engine=engine,
        switches=switches.as_dict(),
    )


def evaluate_file(path: Path, target: str | None, data: str, split: str | None, *, engine: Any) -> Evaluation:
    """Score a COCO result file."""
    from detzoo.data import open_dataset
    from detzoo.report.comparison import evaluation_split

    if target is not None:
        raise DetzooError(f"give either a detector ({target}) or --from {path}, not both")
    dataset = open_dataset(data, evaluation_split(data, split))
    facts = {
        "model": {"name": path.name, "classes": None, "parameters": None},
        "data": {"name": dataset.name, "split": dataset.split, "classes": list(dataset.classes)},
    }
    return evaluate_detections(read_detections(path), dataset.coco_ground_truth(), engine=engine, facts=facts)


def read_detections(path: Path) -> list[dict[str, Any]]:
    """COCO result rows of a file.

    Raises:
        DataError: the file is missing, no JSON, or not a list of results; the first wrong row is named.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; --from takes a COCO result file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None
    wanted = "a COCO result file is a list of objects with image_id, category_id, bbox and score"
    if not isinstance(rows, list):
        raise DataError(f"{path} holds {type(rows).__name__}, not a list; {wanted}")
    for number, row in enumerate(rows, start=1):
        if (problem := row_problem(row)) is not None:
            raise DataError(f"{path}: row {number} {problem}; {wanted}")
    return rows


def row_problem(row: Any) -> str | None:
    """What is wrong with one result row."""
    if not isinstance(row, dict):
        return "is not an object"
    missing = [key for key in ("image_id", "category_id", "score") if key not in row]
    if "bbox" not in row:
        missing.append("bbox")
    if missing:
        return f"has no {', '.join(missing)}"
    box = row["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(v) for v in box):
        return f"has the bbox {box!r}, not four numbers [x, y, width, height]"
    if box[2] < 0 or box[3] < 0:
        return f"has the bbox {box!r} with a negative width or height (it is [x, y, width, height])"
    if not is_number(row["score"]):
        return f"has the score {row['score']!r}, not a number"
    if not isinstance(row["category_id"], int):
        return f"has the category_id {row['category_id']!r}, not a whole number"
    return None


def is_number(value: Any) -> bool:
    """Whether JSON gave a number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def report(evaluation: Evaluation, out: Path | None, *, curves: bool = True, width: int | None = None) -> str:
    """Write the files, if a folder is given, and say what they and the terminal have to show."""
    parts = [summary(evaluation, width or shutil.get_terminal_size().columns)]
    if out is not None:
        written = [evaluation.write(out), out / "detections.json"]
        if curves:
            from detzoo.evaluation.curves import write_curves

            written += write_curves(evaluation, out)
        parts.append("\n".join(f"wrote {path}" for path in written))
    return "\n\n".join(parts)


def summary(evaluation: Evaluation, width: int) -> str:
    """The numbers as text."""
    from detzoo.report.table import PER_CLASS, Column, Table, percent

    names = list(evaluation.metrics)
    titles = {"voc07_AP50": "VOC07 AP50", "voc10_AP50": "VOC10 AP50"}
    columns = [Column("name", "detector", None), *(percent(n, titles.get(n, n)) for n in names)]
    facts = evaluation.facts
    data = facts.get("data", {})
    counts = facts["counts"]
    where = " ".join(str(v) for v in (data.get("name"), data.get("split")) if v)
    title = f"{where}: {counts['images']} images, {counts['annotations']} boxes, {counts['detections']} detections (%)"
    row = {"name": facts.get("model", {}).get("name", ""), **evaluation.metrics}
    whole = Table(title, columns, [row]).terminal(width)
    classes = [{"class": name, **values} for name, values in evaluation.per_class.items()]
    per_class = Table("per class", PER_CLASS, classes).terminal(width)
    warnings = "\n".join(f"warning: {line}" for line in evaluation.warnings)
    return "\n\n".join(part for part in (whole, per_class, warnings) if part)
