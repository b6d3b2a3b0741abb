"""Checks of whole detectors: from ground truth to a loss, from pictures to results that pycocotools takes."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from detzoo.data.regions import propose
from detzoo.testing.specimens import NUM_CLASSES, sample, total
from detzoo.testing.subject import assert_close, assert_unchanged, snapshot
from detzoo.types import Detections, Sample

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

_SIZES = ((120, 200), (210, 150))  # (height, width) px of the pictures: none is square, none is the network's
_TRAINED_ON = ("no box", "a box without area", "mixed boxes")


@dataclass(frozen=True)
class Trial:
    """A detector and what it did, once for all checks.

    Args:
        detector: built with three classes and without weights.
        terms: its loss terms for pictures with every kind of ground truth.
        empty_terms: its loss terms for pictures without objects.
        ungraded: names of trainable parameters that no gradient reached.
        bad_gradients: names of parameters whose gradient was NaN or infinite.
        together: detections of two pictures of one size in one batch.
        alone: detections of the first of them alone.
        other: detections of a picture of another size.
        changed: whether inputs and targets were changed in place.
    """

    detector: Detector
    terms: dict[str, float]
    empty_terms: dict[str, float]
    ungraded: tuple[str, ...]
    bad_gradients: tuple[str, ...]
    together: tuple[Detections, ...]
    alone: Detections
    other: Detections
    changed: str


def run_trial(recipe: str) -> Trial:
    """Build a recipe of the registry without weights, train one step on it and predict with it."""
    from detzoo.build import build_recipe
    from detzoo.components.proposals.baselines import Uniform
    from detzoo.components.proposals.precomputed import Precomputed
    from detzoo.config import load_recipe
    from detzoo.data.prepare import collate

    torch.manual_seed(0)
    detector = build_recipe(load_recipe(recipe), num_classes=NUM_CLASSES, backbone_weights=False)
    if isinstance(detector.proposer, Precomputed):
        detector.proposer = Uniform(count=50)  # no file knows the specimens
    detector.train()
    given = collate([_sample(detector, name, i) for i, name in enumerate(_TRAINED_ON)], detector.input)
    before = snapshot(given)
    terms = _step(detector, *given)
    changed = ""
    try:
        assert_unchanged(before, given, "the batch or its targets")
    except AssertionError as error:
        changed = str(error)
    named = [(name, p) for name, p in detector.named_parameters() if p.requires_grad]
    ungraded = tuple(name for name, p in named if p.grad is None)
    bad = tuple(name for name, p in named if p.grad is not None and not bool(torch.isfinite(p.grad).all()))
    detector.zero_grad(set_to_none=True)
    empty = _step(detector, *collate([_sample(detector, "no box", i) for i in range(2)], detector.input))
    detector.zero_grad(set_to_none=True)
    first, other = (sample(size=size, seed=row).image for row, size in enumerate(_SIZES))
    mirrored = np.ascontiguousarray(first[:, ::-1])
    together = tuple(detector.predict([first, mirrored], score_threshold=0.0))
    (alone,) = detector.predict([first], score_threshold=0.0)
    (found,) = detector.predict([other], score_threshold=0.0)
    return Trial(detector, terms, empty, ungraded, bad, together, alone, found, changed)


def _sample(detector: Detector, name: str, seed: int) -> Sample:
    """A specimen with what the loader gives this detector: masks, image-level regions."""
    made = sample(name, seed=seed, masks=detector.needs_masks)
    if detector.proposer is None:
        return made
    return dataclasses.replace(made, proposals=propose(detector.proposer, made.image))


def _step(detector: Detector, batch: Any, targets: Any) -> dict[str, float]:
    terms = detector(batch, targets)
    assert isinstance(terms, dict), "forward with targets must return the loss terms"
    loss: Tensor = total(terms)
    assert loss.requires_grad, "the loss is cut from the graph"
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: float(term.detach()) for name, term in terms.items()}


def check_loss_is_finite(trial: Trial) -> None:
    """No box, a box without area, many boxes: every term is a finite number."""
    _check_finite(trial.terms, "boxes of every kind")


def check_loss_without_objects_is_finite(trial: Trial) -> None:
    """A batch without any object trains, or at least does no harm."""
    _check_finite(trial.empty_terms, "a batch without objects")
    assert set(trial.empty_terms) == set(trial.terms), "the terms have other names in a batch without objects"


def _check_finite(terms: dict[str, float], what: str) -> None:
    for name, value in terms.items():
        assert np.isfinite(value), f"{what}: the term {name} is {value}"


def check_gradient_reaches_every_parameter(trial: Trial) -> None:
    """Whatever is trainable is trained."""
    assert not trial.ungraded, f"no gradient reaches {', '.join(trial.ungraded[:5])}: freeze or remove them"
    assert not trial.bad_gradients, f"the gradient of {', '.join(trial.bad_gradients[:5])} is NaN or infinite"


def check_inputs_are_not_changed(trial: Trial) -> None:
    """The batch and its targets keep their values."""
    assert not trial.changed, trial.changed


def check_results_are_in_original_pixels(trial: Trial) -> None:
    """Boxes lie inside the original picture, scores in [0,1] and sorted, labels in 0..K-1."""
    sizes = [_SIZES[0], _SIZES[0], _SIZES[1]]
    for found, size in zip((*trial.together, trial.other), sizes, strict=True):
        assert found.size == size, f"size is {found.size}, the picture has {size}"
        boxes, scores = found.boxes, found.scores
        if not len(found):
            continue
        limit = torch.tensor([size[1], size[0], size[1], size[0]])
        assert bool(((boxes >= 0) & (boxes <= limit)).all()), "a box reaches beyond the original picture"
        assert bool(((scores >= 0) & (scores <= 1)).all()), "a score lies outside [0,1]"
        assert bool((scores[:-1] >= scores[1:]).all()), "detections are not sorted by score"
        assert bool(((found.labels >= 0) & (found.labels < NUM_CLASSES)).all()), "a label lies outside 0..K-1"


def check_batch_equals_singles(trial: Trial) -> None:
    """A picture gets the same detections alone as beside another of its size."""
    together, alone = trial.together[0], trial.alone
    assert len(together) == len(alone), f"{len(together)} detections in a batch, {len(alone)} alone"
    assert_close(together.scores, alone.scores, "the scores")


def check_results_are_taken_by_pycocotools(trial: Trial) -> None:
    """COCO's own evaluator reads the results, also when a picture has no object or no detection."""
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
    results = [row for i, found in enumerate(trial.together) for row in coco_rows(found, i + 1)]
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
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for (x1, y1, x2, y2), score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


def check_state_dict_round_trip(trial: Trial) -> None:
    """A detector built again from the resolved recipe takes the state dict, strictly."""
    from detzoo.build import build_recipe

    state = trial.detector.state_dict()
    other = build_recipe(trial.detector.recipe, backbone_weights=False)
    other.load_state_dict(state, strict=True)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, state[name]), f"{name} is not what was loaded"
