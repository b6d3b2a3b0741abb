"""``detzoo data check DATA --with RUN``: run a trained detector over a dataset and rank the labels that it doubts."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.data import list_splits, open_dataset
from detzoo.data.checking.statistics import reject_without_boxes
from detzoo.data.formats.split_names import role_of
from detzoo.detector_loading import Target, find_target
from detzoo.errors import DataError
from detzoo.evaluation import collect
from detzoo.evaluation.classes import map_classes
from detzoo.evaluation.federation import Federation
from detzoo.evaluation.judging import IGNORED, TRUE, Row, by_image, does_not_count, judge
from detzoo.evaluation.result_file import read_results
from detzoo.evaluation.voc_map import xyxy
from detzoo.inspection.label_doubts import Doubt, doubted_labels
from detzoo.inspection.label_page import doubts_page
from detzoo.runtime.atomic_files import check_writable, write_text
from detzoo.runtime.device import pick_device
from detzoo.runtime.folder_claim import claimed_folder, tell_replaced
from detzoo.runtime.foreign_files import is_there
from detzoo.runtime.text_table import Column, Table

if TYPE_CHECKING:
    from detzoo.data import Dataset

FORMAT: Final = "detzoo.suspicious-labels/1"
MARKER: Final = "suspicious.json"
"""Name of the file by which a folder is known as one of this check."""
WEAK: Final = 0.2
"""F1, whatever the class, below which a detector is no judge."""
NAMES: Final = {
    "missing": "missing label",
    "class": "other class",
    "location": "badly located",
    "not_found": "not found",
}
_COLUMNS: Final = (  # as wide as a terminal of 80 columns
    Column("doubt", "doubt", 2),
    Column("what", "what", None),
    Column("label", "label", None, always=True),
    Column("detected", "detected", None, always=True),
    Column("score", "score", 2),
    Column("iou", "IoU", 2),
    Column("image", "image", None),
    Column("split", "split", None),
    Column("path", "path", None, only_in_files=True),
    *(Column(name, name, 0, only_in_files=True) for name in ("x1", "y1", "x2", "y2")),
)


@dataclass(frozen=True)
class Strength:
    """How well a detector finds the annotated objects, whatever their class, at the score where F1 is highest.

    Args:
        objects: annotated boxes that count.
        found: of them, by a detection of that score at IoU 0.5.
        reported: detections of that score that count.
        threshold: the score.
    """

    objects: int
    found: int = 0
    reported: int = 0
    threshold: float = 0.0

    @property
    def f1(self) -> float:
        """0..1; 0 without objects."""
        return 2 * self.found / max(1, self.objects + self.reported)

    def __str__(self) -> str:
        recall, precision = (self.found / max(1, count) for count in (self.objects, self.reported))
        return (
            f"from a score of {self.threshold:.2f} on, {recall:.0%} of {self.objects} boxes are found and "
            f"{precision:.0%} of {self.reported} detections are annotated (IoU 0.5, any class)"
        )


def strength_of(detections: Sequence[Row], ground_truth: Mapping[str, Any]) -> Strength:
    """Match without regard to class; see ``Strength``."""
    federation = Federation(ground_truth)
    found, truth = by_image(federation.counted(detections)), by_image(ground_truth["annotations"])
    scored: list[tuple[float, bool]] = []
    for image in (image["id"] for image in ground_truth["images"]):
        rows = [{**row, "category_id": 1, "class": row["category_id"]} for row in found.get(image, ())]
        judged = judge(rows, [{**annotation, "category_id": 1} for annotation in truth.get(image, ())])
        for verdict in judged.verdicts:
            forgiven = verdict.kind != TRUE and int(verdict.row["class"]) in federation.forgiven(image)
            if verdict.kind != IGNORED and not forgiven:
                scored.append((float(verdict.row["score"]), verdict.kind == TRUE))
    objects = sum(not does_not_count(annotation) for annotation in ground_truth["annotations"])
    if not scored:
        return Strength(objects)
    scored.sort(key=lambda one: -one[0])
    hits = np.cumsum([right for _, right in scored])
    best = int((2 * hits / (np.arange(1, len(hits) + 1) + objects)).argmax())
    return Strength(objects, int(hits[best]), best + 1, scored[best][0])


@dataclass(frozen=True)
class CheckedSplit:
    """What a detector says about one split.

    Args:
        dataset: the split.
        strength: how well it finds what is annotated there.
        doubts: about its labels, the strongest first.
    """

    dataset: Dataset
    strength: Strength
    doubts: list[Doubt]


def check_labels(
    data: str,
    target: str,
    split: str | None = None,
    *,
    set_: Sequence[str] = (),
    device: str | None = None,
    batch: int = 8,
    say: Callable[[str], None] = lambda _: None,
) -> list[CheckedSplit]:
    """Hold the labels of a dataset against what a trained detector finds.

    Args:
        data: as ``open_dataset`` takes it.
        target: a run, a recipe with published weights, or a COCO result file (``.json``) of one split.
        split: only this one; by default all but unions of others.
        set_: ``key=value`` overrides of the detector.
        device: where it runs; the fastest available by default.
        batch: images per batch.
        say: gets a line for each split: how well the detector finds what is annotated there, and what was left out.

    Raises:
        DataError: no split has a box that counts; or the detector finds too little to judge labels.
    """
    detector = None if Path(target).suffix == ".json" else find_target(target, set_=set_)
    opened = _with_boxes(data, split, say)
    checked = []
    for dataset, truth, rows in _detected(opened, detector or Path(target), device, batch, say):
        strength = strength_of(rows, truth)
        say(f"{dataset.split}: {strength}")
        if strength.f1 < WEAK:
            raise DataError(
                f"{target} is no judge of {dataset.name} {dataset.split}: {strength}. Either it is trained too little, "
                f"or the boxes are wrong throughout (detzoo data show {data} --split {dataset.split} --out DIR)"
            )
        checked.append(CheckedSplit(dataset, strength, doubted_labels(rows, truth)))
    return checked


def _with_boxes(data: str, split: str | None, say: Callable[[str], None]) -> list[Dataset]:
    """The splits that can be judged."""
    names = list_splits(data) if split is None else (split,)
    parts = [name for name in names if role_of(name) != "union"] or names
    opened = [open_dataset(data, name) for name in parts]
    usable = [dataset for dataset in opened if not _hard(dataset).all()]
    if not usable:
        why = "all difficult or crowd, which count neither way"
        reject_without_boxes(opened[0], _hard(opened[0]), why=why, next_step="hold against a detector")
    for dataset in opened:
        if dataset not in usable:
            say(f"{dataset.split}: left out, no box to hold against the detector")
    return usable


def _hard(dataset: Dataset) -> NDArray[np.bool_]:
    """Bool [T]: boxes that count neither way."""
    index = dataset.annotations()
    hard: NDArray[np.bool_] = index.difficult | index.crowd
    return hard


def _detected(
    opened: Sequence[Dataset],
    target: Target | Path,
    device: str | None,
    batch: int,
    say: Callable[[str], None],
) -> Iterator[tuple[Dataset, dict[str, Any], Sequence[Row]]]:
    """Each split with its ground truth and what was found; images that cannot be read are in neither."""
    if isinstance(target, Path):
        if len(opened) != 1:
            known = ", ".join(dataset.split for dataset in opened)
            raise DataError(f"--with {target}: detections belong to one split; say which with --split: {known}")
        truth = opened[0].coco_ground_truth()
        results = read_results(target, truth)
        for warning in results.warnings:
            say(warning)
        yield opened[0], truth, results.rows
        return
    where = pick_device(device)
    detector = target.load().to(where)
    for dataset in opened:
        classes = map_classes(detector.classes, dataset.classes, dataset.category_ids)
        for warning in classes.warnings:
            say(warning)
        found = collect(detector, dataset, classes.category_of, batch=batch)
        truth = dataset.coco_ground_truth()
        lost = {dataset.image_ids[position] for position in found.broken}
        if lost:
            say(f"{dataset.split}: {len(lost)} images cannot be read and are left out")
            kept = [annotation for annotation in truth["annotations"] if annotation["image_id"] not in lost]
            images = [image for image in truth["images"] if image["id"] not in lost]
            truth |= {"annotations": kept, "images": images}
        yield dataset, truth, found.rows


def ranked_rows(checked: Sequence[CheckedSplit]) -> list[tuple[dict[str, Any], Doubt, Dataset]]:
    """The doubts of all splits, the strongest first, each as a row of the table and of the files."""
    rows = []
    for one in checked:
        position = {image: n for n, image in enumerate(one.dataset.image_ids)}
        for doubt in one.doubts:
            rows.append((row_of(doubt, one.dataset, position[doubt.image_id]), doubt, one.dataset))
    return sorted(rows, key=lambda row: -row[1].score)


def row_of(doubt: Doubt, dataset: Dataset, position: int) -> dict[str, Any]:
    """A doubt about the image at a position; the box is the label's, else the detection's, xyxy px."""
    names = dict(zip(dataset.category_ids, dataset.classes, strict=True))
    label, detection = doubt.annotation, doubt.detection
    shown = label or detection
    assert shown is not None
    (path,) = (one.encode("utf-8", "backslashreplace").decode() for one in dataset.paths_of([position]))
    corners = (round(float(value), 1) for value in xyxy(shown["bbox"]))
    return {
        "doubt": round(doubt.score, 4),
        "what": NAMES[doubt.kind],
        "label": None if label is None else names[int(label["category_id"])],
        "detected": None if detection is None else names[int(detection["category_id"])],
        "score": None if detection is None else float(detection["score"]),
        "iou": round(doubt.overlap, 4) if label is not None and detection is not None else None,
        "split": dataset.split,
        "image": Path(path).name,
        "path": path,
        **dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True)),
    }


def doubts_table(rows: Sequence[Mapping[str, Any]], most: int | None = None) -> Table:
    """Rows of ``ranked_rows``, at most ``most`` of them, and how many there are of each kind."""
    counts = Counter(row["what"] for row in rows)
    said = ", ".join(f"{counts[name]} {name}" for name in NAMES.values() if counts[name])
    title = f"{len(rows)} labels to look at ({said})" if rows else "no label is doubted"
    left = len(rows) - len(rows[:most])
    return Table(title, _COLUMNS, rows[:most], notes=[f"{left} more, less doubted"] if left else [])


def check_claim(out: Path) -> None:
    """Whether ``write_doubts`` may write there, before slow work.

    Raises:
        DataError: the folder holds something else than an earlier check, or is a file.
    """
    if is_there(out):
        with claimed_folder(out, marker=MARKER, what="check of labels"):
            tell_replaced(out / MARKER, "check of labels")
    check_writable(out)


def write_doubts(checked: Sequence[CheckedSplit], target: str, out: Path, *, drawn: int) -> list[Path]:
    """Write all doubts as JSON and CSV, and a page with the strongest ``drawn`` of them.

    Raises:
        DataError: the folder holds something else than an earlier check.
    """
    ranked = ranked_rows(checked)
    whole = doubts_table([row for row, _, _ in ranked])
    content = {
        "format": FORMAT,
        "detector": target,
        "splits": {
            one.dataset.split: {"images": len(one.dataset), **dataclasses.asdict(one.strength)} for one in checked
        },
        "labels": list(whole.rows),
    }
    names = ", ".join(dict.fromkeys(one.dataset.name for one in checked))
    lines = [f"{one.dataset.split}: {one.strength}" for one in checked]
    with claimed_folder(out, marker=MARKER, what="check of labels"):
        left = len(ranked) - drawn
        rest = f"{left} more, less doubted, are in suspicious.csv and {MARKER}; --top draws more." if left > 0 else ""
        page = doubts_page(f"{names}: {whole.title}", lines, ranked[:drawn], rest)
        texts = {MARKER: json.dumps(content, indent=1) + "\n", "suspicious.csv": whole.csv(), "suspicious.html": page}
        for name, text in texts.items():
            write_text(out / name, text)
    return [out / name for name in texts]
