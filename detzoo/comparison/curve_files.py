"""The files of one evaluation's curves: JSON, CSV and images."""

from __future__ import annotations

import json
from pathlib import Path

from detzoo.comparison.plots import confusion_figure, pr_figure, save
from detzoo.evaluation.classes import class_names
from detzoo.evaluation.curves import RECALL, confusion, confusion_csv, curves_csv, pr_curves
from detzoo.evaluation.results import Evaluation
from detzoo.runtime.atomic_files import write_text


def write_curves(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Write curves.json, pr_curves.csv, confusion.csv and their images; returns the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    curves = pr_curves(evaluation.coco, class_names(evaluation.ground_truth))
    matrix = confusion(evaluation.detections, evaluation.ground_truth)
    data = {
        "recall": [round(float(r), 2) for r in RECALL],
        "curves": [
            {"class": c.name, "iou": c.iou, "precision": c.precision.round(6).tolist(), "score": c.score.tolist()}
            for c in curves
        ],
        "confusion": {
            "classes": [*matrix.names, "background"],
            "counts": matrix.counts.tolist(),
            "score": matrix.score,
            "iou": matrix.iou,
        },
    }
    write_text(folder / "curves.json", json.dumps(data) + "\n")
    write_text(folder / "pr_curves.csv", curves_csv(curves))
    write_text(folder / "confusion.csv", confusion_csv(matrix))
    save(pr_figure(curves), folder / "pr_curves.png")
    save(confusion_figure(matrix), folder / "confusion.png")
    return [
        folder / name for name in ("curves.json", "pr_curves.csv", "confusion.csv", "pr_curves.png", "confusion.png")
    ]
