"""Folders of results, made of a dataset's own ground truth: what a comparison takes without a network to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detzoo.comparison.run_comparison import Comparison
from detzoo.data import Dataset
from detzoo.evaluation import evaluate_detections

DATA = "shapes:size=64,train=4,val=3,test=6"
DEVICE = {"type": "cpu", "name": "some CPU", "threads": 2}
VERSIONS = {"detzoo": "0.1.0", "torch": "2.15.0", "torchvision": "0.29.2"}


@dataclass(frozen=True)
class Compared:
    """A comparison and what went into it.

    Args:
        done: what ``compare`` gave.
        out: its folder.
        sources: folders and files that were compared.
        said: lines on the way.
    """

    done: Comparison
    out: Path
    sources: dict[str, Path]
    said: list[str]


def found_in(dataset: Dataset, *, shift: float, wrong: int | None) -> list[dict[str, Any]]:
    """Detections made of the ground truth: moved by ``shift`` px; each ``wrong``-th has another class."""
    truth = dataset.coco_ground_truth()
    return [
        {
            "image_id": a["image_id"],
            "category_id": dataset.category_ids[0] if wrong is not None and n % wrong == 0 else a["category_id"],
            "bbox": [a["bbox"][0] + shift, *a["bbox"][1:]],
            "score": 0.95 - 0.01 * n,
        }
        for n, a in enumerate(truth["annotations"])
    ]


def benchmark_json(p50: float, **protocol: Any) -> dict[str, Any]:
    """As ``detzoo bench --json`` writes one detector."""
    times = {"mean": p50, "p50": p50, "p95": 2 * p50, "p99": 3 * p50}
    return {
        "name": "x",
        "latency_ms": {phase: times for phase in ("pre", "forward", "post", "total")},
        "images_per_s": 1000 / p50,
        "cost": {"parameters": 3_000_000, "weights_bytes": 2**20, "flops": 10**9, "peak_memory_bytes": 2**20}
        | {"peak_memory_of": "the allocator"},
        "protocol": {"timed": "image -> detections", "batch": 1, "precision": "fp32", "rounds": 50, "warmup": 10}
        | {"image_sizes": ["64x64"], "images": "given", "device": DEVICE, "versions": VERSIONS}
        | protocol,
    }


def write_results(
    folder: Path, dataset: Dataset, rows: list[dict[str, Any]], *, architecture: str, side: int, **changes: Any
) -> Path:
    """A folder as ``detzoo eval`` leaves it, with recipe and learning curve."""
    facts = {
        "model": {"name": folder.name, "classes": list(dataset.classes), "parameters": 3_000_000},
        "data": {"name": dataset.name, "split": dataset.split, "classes": list(dataset.classes)},
        "protocol": {"precision": "fp32", "batch": 8, "score_threshold": 0.01, "input": {"size": [side, side]}},
        "device": DEVICE,
        "versions": VERSIONS,
    }
    evaluate_detections(rows, dataset.coco_ground_truth(), facts=facts | changes).write(folder)
    recipe = f"""detectors:
  it:
    architecture: one_stage
    backbone: {{type: resnet18}}
    head: {{type: {architecture}}}
    input: {{size: [{side}, {side}]}}
    reported: [{{dataset: shapes, metric: AP, value: 0.9, protocol: COCO, source: a paper}}]
"""
    (folder / "recipe.yaml").write_text(recipe)
    (folder / "curve.csv").write_text(f"epoch,loss,AP,AP50\n1,2.0,0.1,0.2\n2,1.0,0.{side % 9 + 1},0.5\n")
    return folder
