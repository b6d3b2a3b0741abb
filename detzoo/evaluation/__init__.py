"""Evaluation: COCO and VOC average precision of a detector on a dataset, or of detections in a file."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from detzoo.errors import DataError
from detzoo.evaluation.annotation_flags import is_flagged
from detzoo.evaluation.classes import ClassMap, map_classes
from detzoo.evaluation.coco_map import limit_of
from detzoo.evaluation.collect import Collected, EvaluationSet, collect, gathered, share_of_this_process
from detzoo.evaluation.engines import Engine
from detzoo.evaluation.federation import MAX_DETECTIONS, Federation
from detzoo.evaluation.intervals import Interval
from detzoo.evaluation.resampled_numbers import PairedDifference, Resampled, paired_difference, resample
from detzoo.evaluation.results import Evaluation, evaluate_detections
from detzoo.evaluation.seeds import OverSeeds, over_seeds, seeded_difference
from detzoo.evaluation.voc_map import VocProtocol
from detzoo.plugins.registry import get_registry
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.runtime.device import device_of
from detzoo.runtime.environment import device_facts, short_name
from detzoo.types import DetectionSettings

if TYPE_CHECKING:
    import torch

    from detzoo.interfaces.any_detector import AnyDetector
    from detzoo.runtime.switches import Precision

__all__ = [
    "Collected",
    "Evaluation",
    "EvaluationSet",
    "Interval",
    "OverSeeds",
    "PairedDifference",
    "Resampled",
    "collect",
    "evaluate",
    "evaluate_detections",
    "groups_by_id",
    "over_seeds",
    "paired_difference",
    "resample",
    "score",
    "seeded_difference",
]


def evaluate(
    detector: AnyDetector,
    dataset: EvaluationSet,
    *,
    batch: int = 8,
    device: torch.device | str | None = None,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    keep: int | None = None,
    precision: Precision = "fp32",
    workers: int = 2,
    engine: Engine = "pycocotools",
    max_detections: int | None = None,
    voc: VocProtocol | None = None,
    progress: bool = True,
    switches: dict[str, Any] | None = None,
) -> Evaluation:
    """Detect in every image of a dataset and score what was found.

    Under torchrun every process takes its share and returns the numbers of the whole.

    Args:
        detector: any, a foreign one too; moved to ``device``.
        dataset: any of detzoo's.
        batch: images that go through the network together.
        device: None leaves the detector where it is.
        score_threshold: replaces the recipe's; 0.05 or less, or AP drops.
        nms_iou: replaces the recipe's.
        keep: detections kept per image, replaces the recipe's.
        precision: of the network; scores, decoding and suppression stay in float32.
        workers: threads that read images ahead.
        engine: pycocotools, or faster-coco-eval (an extra).
        max_detections: that AP looks at; by default the protocol's own (see ``detzoo.evaluation.coco_map.coco_map``).
        voc: how VOC AP matches and reads recall.
        progress: a bar on stderr.
        switches: how the detector was prepared (``compile``, ...), to be recorded.

    Raises:
        DataError: the model's class names differ from the dataset's.
        SettingError: the detector's post-process does not have a setting that is given, or max_detections is below the
            protocol's own limit.
    """
    if max_detections is not None:
        limit_of(Federation(dataset.coco_ground_truth()), max_detections)
    asked = DetectionSettings(score_threshold, nms_iou, keep)
    settings = detector.settings(asked)  # before any image: a wrong setting fails at once
    classes = _matched(detector, dataset)
    if device is not None:
        detector.to(device)
    found = collect(
        detector,
        dataset,
        classes.category_of,
        batch=batch,
        workers=workers,
        settings=settings,
        precision=precision,
        shard=share_of_this_process(),
        progress=progress,
    )
    protocol = {"batch": batch, "precision": precision, **asked.given(), **(switches or {})}
    if isinstance(detector, ForeignDetector):
        protocol["precision"] = None  # its own, which it may describe
    # each process scores all
    evaluation = score(
        detector,
        dataset,
        gathered(found),
        classes,
        protocol=protocol,
        engine=engine,
        max_detections=max_detections,
        voc=voc,
    )
    get_registry().plugins.call("detzoo_eval_finished", evaluation=evaluation)
    return evaluation


def score(
    detector: AnyDetector,
    dataset: EvaluationSet,
    found: Collected,
    classes: ClassMap,
    *,
    protocol: dict[str, Any] | None = None,
    engine: Engine = "pycocotools",
    max_detections: int | None = None,
    voc: VocProtocol | None = None,
) -> Evaluation:
    """Score what ``collect`` found in a whole dataset, in one process or several.

    Args:
        detector: that found it, for the record.
        dataset: in which.
        found: the shares of all processes, merged.
        classes: how labels became categories.
        protocol: how it was run.
        engine: pycocotools, or faster-coco-eval.
        max_detections: that AP looks at; by default the protocol's own.
        voc: how VOC AP matches and reads recall.
    """
    truth, ids = dataset.coco_ground_truth(), dataset.image_ids
    warnings = [
        *classes.warnings,
        *_doubts(detector, dataset, found, protocol or {}),
        *_cut_by_keep(detector, truth, protocol or {}),
    ]
    if found.broken:
        lost = {ids[position] for position in found.broken}
        truth = {
            **truth,
            "images": [image for image in truth["images"] if image["id"] not in lost],
            "annotations": [a for a in truth["annotations"] if a["image_id"] not in lost],
        }
    facts = {
        "model": _model_facts(detector),
        "data": {"name": dataset.name, "split": getattr(dataset, "split", None), "classes": list(dataset.classes)},
        "counts": {
            "images": len(truth["images"]),
            "broken_images": len(found.broken),
            "detections_left_out": found.left_out,
        },
        "broken_images": [str(ids[position]) for position in sorted(found.broken)],
        "protocol": _run_facts(detector) | {k: v for k, v in (protocol or {}).items() if v is not None},
        "device": _device_facts(detector),
    }
    return evaluate_detections(
        found.rows,
        truth,
        engine=engine,
        max_detections=max_detections,
        voc=voc,
        groups=groups_by_id(dataset),
        facts=facts,
        warnings=warnings,
    )


def _matched(detector: AnyDetector, dataset: EvaluationSet) -> ClassMap:
    try:
        return map_classes(detector.classes, dataset.classes, dataset.category_ids)
    except DataError as error:
        if isinstance(detector, ForeignDetector):
            raise DataError(f"{error}; or say which are meant: --set aliases={{ITS_NAME: THE_DATASET_S}}") from None
        raise


def groups_by_id(dataset: EvaluationSet) -> dict[Any, str] | None:
    """Image id -> group, as an evaluation takes it; None where each image stands for itself."""
    return None if dataset.groups is None else dict(zip(dataset.image_ids, dataset.groups, strict=True))


def _doubts(detector: AnyDetector, dataset: EvaluationSet, found: Collected, protocol: dict[str, Any]) -> list[str]:
    warnings = []
    if found.broken:
        first = found.broken[min(found.broken)]
        warnings.append(
            f"{len(found.broken)} of {len(dataset)} images could not be read; they and their boxes are left out "
            f"(the first: {first})"
        )
    threshold = protocol.get("score_threshold")
    threshold = _run_facts(detector).get("score_threshold") if threshold is None else threshold
    if threshold is not None and threshold > 0.05:  # the low-score tail of the curve is cut off
        warnings.append(f"detections below a score of {threshold} were not kept: AP is lower than with 0.05 or less")
    return warnings


def _cut_by_keep(detector: AnyDetector, truth: dict[str, Any], protocol: dict[str, Any]) -> list[str]:
    """A warning where the detector reports fewer than an image has objects, or than LVIS counts."""
    keep = protocol.get("keep")
    keep = _run_facts(detector).get("keep") if keep is None else keep
    if keep is None:
        return []
    found = []
    if Federation(truth).applies and keep < MAX_DETECTIONS:
        found.append(
            f"LVIS counts {MAX_DETECTIONS} detections of an image over all classes, and the detector reports {keep} at "
            f"most: --keep {MAX_DETECTIONS} reports more"
        )
    objects = Counter(a["image_id"] for a in truth["annotations"] if not is_flagged(a, "iscrowd", "ignore"))
    over = [count for count in objects.values() if count > keep]
    if over:
        found.append(
            f"{len(over)} of {len(truth['images'])} images have more than {keep} objects (the most: {max(over)}), and "
            f"the detector reports {keep} at most: --keep {max(over)} reports more"
        )
    return found


def _run_facts(detector: AnyDetector) -> dict[str, Any]:
    """The settings that decide which detections come out."""
    facts: dict[str, Any] = detector.settings().given()
    if isinstance(detector, ForeignDetector):
        return facts | {"program": detector.described}
    if dataclasses.is_dataclass(detector.input):
        facts["input"] = dataclasses.asdict(detector.input)
    return facts


def _model_facts(detector: AnyDetector) -> dict[str, Any]:
    if isinstance(detector, ForeignDetector):
        parameters = detector.described.get("parameters")
        return {"name": short_name(detector.name), "classes": list(detector.classes), "parameters": parameters}
    return {
        "name": short_name(detector.name),
        "classes": list(detector.classes),
        "parameters": sum(p.numel() for p in detector.parameters()),
    }


def _device_facts(detector: AnyDetector) -> dict[str, Any]:
    return device_facts(detector.device if isinstance(detector, ForeignDetector) else device_of(detector))
