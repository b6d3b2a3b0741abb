"""The score of the 2018 Data Science Bowl of a run on nuclei: what published methods on this data report.

    python benchmarks/nuclei_score.py runs/nuclei/test/detections.json --data ../shared/data/nuclei --split val

At each IoU threshold of .5, .55, ..., .95 an image scores TP / (TP + FP + FN); its score is the mean over thresholds,
the dataset's the mean over images. No pixel may belong to two nuclei: detections claim pixels in order of score.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import detzoo
from detzoo.ops.mask_encoding import decode_counts

THRESHOLDS = np.arange(0.5, 1.0, 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detections", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--score", type=float, default=0.5, help="detections below are left out")
    args = parser.parse_args()
    dataset = detzoo.open_dataset(args.data, args.split)
    rows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in json.loads(args.detections.read_text()):
        if row["score"] >= args.score:
            rows[row["image_id"]].append(row)
    scores = [score(true_masks(dataset, i), found(rows[key])) for i, key in enumerate(dataset.image_ids)]
    by_threshold = np.mean(scores, axis=0)
    print(json.dumps({"mean": round(float(by_threshold.mean()), 4), "at_50": round(float(by_threshold[0]), 4)}))


def true_masks(dataset: Any, position: int) -> NDArray[np.bool_]:
    masks = dataset.sample(position, masks=True).masks
    return np.asarray(masks, np.bool_)


def found(rows: list[dict[str, Any]]) -> NDArray[np.bool_]:
    """bool [D,H,W], best first; what a better one holds is taken from the worse."""
    masks = []
    taken: NDArray[np.bool_] | None = None
    for row in sorted(rows, key=lambda row: -row["score"]):
        outline = row["segmentation"]
        mask = decode_counts(outline["counts"].encode(), tuple(outline["size"])).astype(np.bool_)
        free = mask if taken is None else mask & ~taken
        taken = mask if taken is None else taken | mask
        if free.any():
            masks.append(free)
    return np.stack(masks) if masks else np.zeros((0, 1, 1), np.bool_)


def score(truth: NDArray[np.bool_], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """TP / (TP + FP + FN) at every threshold; above .5 no two masks without common pixels can claim one nucleus."""
    if len(masks) == 0:
        return np.zeros(len(THRESHOLDS))
    a, b = truth.reshape(len(truth), -1).astype(np.float32), masks.reshape(len(masks), -1).astype(np.float32)
    shared = a @ b.T
    overlap = shared / (a.sum(1)[:, None] + b.sum(1)[None] - shared)
    hits = np.array([((overlap > t).any(1)).sum() for t in THRESHOLDS])
    return np.asarray(hits / (len(truth) + len(masks) - hits), np.float64)


if __name__ == "__main__":
    main()
