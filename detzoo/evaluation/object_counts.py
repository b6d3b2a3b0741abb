"""How many objects stand behind an AP: those that count, by class and by size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from detzoo.evaluation.annotation_flags import is_flagged
from detzoo.evaluation.federation import Federation

SIZES: Final = {"APs": (0.0, 32.0**2), "APm": (32.0**2, 96.0**2), "APl": (96.0**2, 1e10)}
"""Metric -> smallest and largest area, px²; both ends belong to it, as in pycocotools."""


def object_counts(ground_truth: Mapping[str, Any]) -> dict[int, dict[str, int]]:
    """Objects by category id and metric: ``AP`` (all sizes), ``APs``, ``APm``, ``APl``.

    Args:
        ground_truth: COCO ground truth; difficult and crowd objects are left out, as AP leaves them out. A missing area
            is that of the box.
    """
    counts = {int(c["id"]): dict.fromkeys(("AP", *SIZES), 0) for c in ground_truth["categories"]}
    for annotation in ground_truth["annotations"]:
        of_class = counts.get(int(annotation["category_id"]))
        if of_class is None or is_flagged(annotation, "ignore", "iscrowd"):
            continue
        area = annotation.get("area")
        if area is None:
            area = annotation["bbox"][2] * annotation["bbox"][3]
        of_class["AP"] += 1
        for metric, (least, most) in SIZES.items():
            of_class[metric] += least <= float(area) <= most
    return counts


def of_all_classes(counts: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    """Objects by metric, of all classes together."""
    return {metric: sum(of_class[metric] for of_class in counts.values()) for metric in ("AP", *SIZES)}


def metric_objects(ground_truth: Mapping[str, Any], metrics: Iterable[str]) -> dict[str, int]:
    """Metric -> objects that stand behind it: of a size for ``APs``, ``ARs``, ``mask_APs``, else all that count.

    Args:
        ground_truth: COCO ground truth; of a federated one, ``APr``, ``APc`` and ``APf`` are those of a frequency.
        metrics: names.
    """
    counts = object_counts(ground_truth)
    ids = list(counts)
    objects = of_all_classes(counts)
    for metric, places in Federation(ground_truth).of_frequency(ids).items():
        objects[metric] = sum(counts[ids[place]]["AP"] for place in places)
    return {name: objects.get(name.removeprefix("mask_").replace("AR", "AP"), objects["AP"]) for name in metrics}
