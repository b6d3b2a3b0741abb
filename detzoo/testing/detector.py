"""Checks of whole detectors: from ground truth to a loss, from images to results that pycocotools takes.

Letters: D detections of an image, K classes.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detzoo.prediction.detections import Detections
from detzoo.testing.specimens import NUM_CLASSES
from detzoo.testing.subject import assert_close
from detzoo.testing.trial import SIZES, Trial


def check_loss_is_finite(trial: Trial) -> None:
    """No box, a box without area, many boxes: every term is a finite number."""
    _check_finite(trial.step.terms, "boxes of every kind")


def check_loss_without_objects_is_finite(trial: Trial) -> None:
    """A batch without any object trains, or at least does no harm."""
    terms = trial.step_without_objects.terms
    _check_finite(terms, "a batch without objects")
    assert set(terms) == set(trial.step.terms), (
        f"a batch without objects has the terms {sorted(terms)}, others have {sorted(trial.step.terms)}"
    )


def _check_finite(terms: dict[str, float], what: str) -> None:
    for name, value in terms.items():
        assert np.isfinite(value), f"{what}: the term {name} is {value}"


def check_loss_belongs_to_the_graph(trial: Trial) -> None:
    """There are terms, and a gradient flows back from each."""
    assert trial.step.terms, "the loss has no terms: nothing can be trained"
    assert not trial.step.cut, f"no gradient flows back from {', '.join(trial.step.cut)}: do not detach the terms"


def check_gradient_reaches_every_parameter(trial: Trial) -> None:
    """Whatever is trainable is trained."""
    ungraded, bad = trial.step.ungraded, trial.step.bad_gradients
    assert not ungraded, f"no gradient reaches {', '.join(ungraded[:5])}: freeze or remove them"
    assert not bad, f"the gradient of {', '.join(bad[:5])} is NaN or infinite"


def check_inputs_are_not_changed(trial: Trial) -> None:
    """The batch, its targets and the images to predict on keep their values."""
    assert not trial.step.changed, trial.step.changed
    assert not trial.found.changed, trial.found.changed


def check_predicting_changes_nothing(trial: Trial) -> None:
    """After predicting, the mode of every part, every parameter and every buffer are what they were."""
    assert not trial.found.differs, f"{trial.found.differs} is not what it was before predicting"


def check_results_are_in_original_pixels(trial: Trial) -> None:
    """Boxes float32 [D,4] inside the original image, scores [D] in [0,1] and sorted, labels int64 [D] in 0..K-1."""
    found = trial.found
    for one, size in zip((*found.together, found.other), (SIZES[0], SIZES[0], SIZES[1]), strict=True):
        assert one.size == size, f"size is {one.size}, the image has {size}"
        boxes, scores, labels = one.boxes, one.scores, one.labels
        shapes = tuple(boxes.shape), tuple(scores.shape), tuple(labels.shape)
        number = len(scores)
        assert shapes == ((number, 4), (number,), (number,)), f"boxes, scores and labels have the shapes {shapes}"
        dtypes = boxes.dtype, scores.dtype, labels.dtype
        assert dtypes == (torch.float32, torch.float32, torch.int64), f"boxes, scores and labels are {dtypes}"
        limit = torch.tensor([size[1], size[0], size[1], size[0]])
        beyond = boxes[((boxes < 0) | (boxes > limit) | boxes.isnan()).any(1)]
        assert not len(beyond), f"a box reaches beyond the image of {size[1]}x{size[0]} px: {_shown(beyond[0])}"
        most = 1.0 if trial.detector.postprocess.cut_scores else float("inf")
        assert bool(((scores >= 0) & (scores <= most)).all()), f"scores from {scores.min():g} to {scores.max():g}"
        assert bool((scores[:-1] >= scores[1:]).all()), f"they are not sorted by score: {_shown(scores[:4])}"
        assert bool(((labels >= 0) & (labels < NUM_CLASSES)).all()), (
            f"labels from {int(labels.min())} to {int(labels.max())}; there are {NUM_CLASSES} classes"
        )


def _shown(values: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in values.tolist())


def check_same_image_same_detections(trial: Trial) -> None:
    """Prediction is deterministic: an image gets the same detections twice."""
    once, again = trial.found.alone, trial.found.again
    assert len(once) == len(again), f"{len(once)} detections, then {len(again)}"
    for name in ("scores", "boxes", "labels"):
        assert_close(getattr(once, name), getattr(again, name), f"the {name} of two calls")


def check_batch_equals_singles(trial: Trial) -> None:
    """An image gets the same detections alone as next to another of its size."""
    together, alone = trial.found.together[0], trial.found.alone
    assert len(together) == len(alone), f"{len(together)} detections in a batch, {len(alone)} alone"
    assert_close(together.scores, alone.scores, "the scores")


def check_results_are_taken_by_pycocotools(trial: Trial) -> None:
    """COCO's own evaluator reads the results, also when an image has no object or no detection."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "height": 100, "width": 100} for i in (1, 2)],
        "categories": [{"id": label + 1, "name": f"class {label}"} for label in range(NUM_CLASSES)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 30], "area": 900, "iscrowd": 0}
        ],
    }
    results = [row for i, found in enumerate(trial.found.together) for row in coco_rows(found, i + 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        if not results:
            return
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert np.isfinite(evaluation.stats).all(), f"pycocotools gives {evaluation.stats}"


def coco_rows(found: Detections, image_id: int) -> list[dict[str, Any]]:
    """Results as COCO's format has them: x, y, width, height, and category ids from 1."""
    counts = len(found.boxes), len(found.scores), len(found.labels)
    assert len(set(counts)) == 1, "{} boxes, {} scores and {} labels".format(*counts)
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for (x1, y1, x2, y2), score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


def check_state_dict_round_trip(trial: Trial) -> None:
    """A detector built again from the resolved recipe takes the state dict, strictly."""
    state = trial.detector.state_dict()
    other = trial.rebuild()
    other.load_state_dict(state, strict=True)
    loaded = other.state_dict()
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor), f"{name} is not what was loaded"
