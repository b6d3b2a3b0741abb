"""Cascade R-CNN: each stage beside plain loops, one stage beside Faster R-CNN, and the paper's numbers."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

import detzoo
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import RecipeError
from detzoo.recipes.recipe import load_recipe
from detzoo.testing.specimens import image_batch, targets
from detzoo.types import Assignment, Candidates, DetectionBatch, FeatureMaps, ImageBatch, Predictions, Targets

NAME = "cascadercnn_mobilenet_v2_fpn"
WEIGHTS = ((10, 5), (20, 10), (30, 15))
THRESHOLDS = (0.5, 0.6, 0.7)


@pytest.fixture(scope="module")
def detector() -> TwoStage:
    torch.manual_seed(0)
    built = detzoo.build(NAME, num_classes=3, weights=None)
    assert isinstance(built, TwoStage)
    for stage in built.box_stages.values():  # an untrained layer hardly moves a box: let it
        regression = stage.head.get_submodule("predictor.regression")
        assert isinstance(regression, nn.Linear)
        nn.init.normal_(regression.weight, std=0.3)
    return built


@pytest.fixture(scope="module")
def batch() -> ImageBatch:
    return image_batch((160, 224))


class Seen:
    """What the stages were given and said, and what was learnt from it."""

    def __init__(self, detector: TwoStage) -> None:
        self.regions: list[Candidates] = []
        self.said: list[Predictions] = []
        self.learnt: list[tuple[Candidates, Assignment]] = []
        self.hooks = []
        for stage in detector.box_stages.values():
            self.hooks += [stage.head.register_forward_hook(self.head), stage.loss.register_forward_hook(self.loss)]

    def head(self, _: Any, given: tuple[Any, ...], found: tuple[Candidates, Predictions]) -> None:
        self.regions.append(given[2])
        self.said.append(found[1])

    def loss(self, _: Any, given: tuple[Any, ...], found: Any) -> None:
        self.learnt.append((given[1], given[3]))


@pytest.fixture
def seen(detector: TwoStage) -> Iterator[Seen]:
    watching = Seen(detector)
    yield watching
    for hook in watching.hooks:
        hook.remove()


def moved(box: list[float], deltas: list[float], weights: tuple[int, int]) -> list[float]:
    """One box, as the paper writes it, clipped to 224x160 px."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    x = (x1 + x2) / 2 + deltas[0] / weights[0] * width
    y = (y1 + y2) / 2 + deltas[1] / weights[0] * height
    width *= math.exp(min(deltas[2] / weights[1], math.log(1000 / 16)))
    height *= math.exp(min(deltas[3] / weights[1], math.log(1000 / 16)))
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return [min(max(value, 0.0), (224.0, 160.0)[i % 2]) for i, value in enumerate(corners)]


@torch.no_grad()
def test_each_stage_looks_at_the_boxes_of_the_one_before(detector: TwoStage, batch: ImageBatch, seen: Seen) -> None:
    detector.eval().detect(batch)
    assert len(seen.regions) == 3
    for k in range(2):
        before, after = seen.regions[k], seen.regions[k + 1]
        rows = [(image, row) for image in range(2) for row in range(0, before.boxes.shape[1], 17)]
        for image, row in rows:
            deltas = seen.said[k].deltas[image, row, 0].tolist()
            expected = moved(before.boxes[image, row].tolist(), deltas, WEIGHTS[k])
            assert after.boxes[image, row].tolist() == pytest.approx(expected, abs=1e-3)
        assert not torch.equal(before.boxes, after.boxes)


@torch.no_grad()
def test_scores_are_the_mean_of_all_stages(detector: TwoStage, batch: ImageBatch, seen: Seen) -> None:
    given: list[tuple[Predictions, Candidates]] = []
    hook = detector.postprocess.register_forward_hook(lambda _, args, found: given.append((args[0], args[1])))
    detector.eval().detect(batch)
    hook.remove()
    ((predictions, candidates),) = given
    assert predictions.class_logits is not None
    logits = [one.class_logits[1, 5].tolist() for one in seen.said if one.class_logits is not None]
    scores = [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in logits]
    mean = [sum(column) / 3 for column in zip(*scores, strict=True)]
    assert torch.softmax(predictions.class_logits, -1)[1, 5].tolist() == pytest.approx(mean, abs=1e-6)
    assert torch.equal(predictions.deltas, seen.said[-1].deltas)
    assert torch.equal(candidates.boxes, seen.regions[-1].boxes)
    assert candidates.coder is list(detector.box_stages.values())[-1].head.coder


def test_every_stage_learns_at_its_own_overlap(detector: TwoStage, batch: ImageBatch, seen: Seen) -> None:
    truth = targets(("mixed boxes", "one box"))
    terms = detector.train().losses(batch, truth)
    kinds = ("classification", "box")
    assert set(terms) == {f"{part}.{kind}" for part in ("rpn", "box", "box2", "box3") for kind in kinds}
    for (rois, assignment), threshold in zip(seen.learnt, THRESHOLDS, strict=True):
        assert not rois.boxes.requires_grad
        for image in range(2):
            own = truth.boxes[image][truth.valid[image]]
            overlap = box_iou(rois.boxes[image], own).amax(1)
            chosen = assignment.index[image] != -2
            expected = overlap >= threshold
            assert torch.equal(assignment.positive[image][chosen], expected[chosen])
        assert assignment.positive.any(1).all()  # the ground truth has joined


def test_ground_truth_joins_each_stage_once(detector: TwoStage, batch: ImageBatch, seen: Seen) -> None:
    truth = targets(("one box", "one box"))
    detector.train().losses(batch, truth)
    for rois, _ in seen.learnt:
        for image in range(2):
            same = (rois.boxes[image] == truth.boxes[image, 0]).all(-1) & rois.valid[image]
            assert int(same.sum()) == 1


def test_no_gradient_passes_from_stage_to_stage(detector: TwoStage, batch: ImageBatch) -> None:
    detector.zero_grad(set_to_none=True)
    terms = detector.train().losses(batch, targets(("mixed boxes", "one box")))
    torch.autograd.backward(terms["box3.classification"] + terms["box3.box"])
    stages = list(detector.box_stages.values())
    assert all(p.grad is None for stage in stages[:2] for p in stage.parameters())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in stages[2].parameters())
    detector.zero_grad(set_to_none=True)


@pytest.mark.parametrize("names", [("no box", "no box"), ("a box without area", "no box")])
def test_no_objects(detector: TwoStage, batch: ImageBatch, names: tuple[str, str]) -> None:
    terms = detector.train().losses(batch, targets(names))
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert all(bool(term.isfinite()) for term in terms.values())
    assert {float(terms[f"{stage}.box"].detach()) for stage in detector.box_stages} == {0.0}
    assert all(p.grad is not None for stage in detector.box_stages.values() for p in stage.parameters())
    detector.zero_grad(set_to_none=True)


@torch.no_grad()
def test_no_regions(detector: TwoStage, batch: ImageBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    none = Candidates(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), scores=torch.zeros(2, 0))
    monkeypatch.setattr(detector.proposals, "forward", lambda features, batch: none)
    assert not detector.eval().detect(batch).valid.any()
    features: FeatureMaps = detector.features(batch)
    terms = detector.train().region_losses(features, batch, targets(("no box", "no box")), none)
    assert all(float(term) == 0.0 for term in terms.values())


def small(name: str, **changes: Any) -> TwoStage:
    """A detector of few channels, the same for the same seed."""
    torch.manual_seed(3)
    fast = {"neck.channels": 16, "proposals.postprocess.keep": 20, "proposals.training_postprocess.keep": 20}
    built = detzoo.build(name, num_classes=3, weights=None, overrides=fast | changes)
    assert isinstance(built, TwoStage)
    return built


def both(detector: TwoStage, batch: ImageBatch, truth: Targets) -> tuple[dict[str, Tensor], DetectionBatch]:
    torch.manual_seed(5)
    terms = detector.train().losses(batch, truth)
    with torch.no_grad():
        return terms, detector.eval().detect(batch)


def test_a_list_of_one_is_the_mapping_bit_for_bit(batch: ImageBatch) -> None:
    box = copy.deepcopy(load_recipe("fasterrcnn_mobilenet_v2_fpn").values["box"])
    single, listed = small("fasterrcnn_mobilenet_v2_fpn"), small("fasterrcnn_mobilenet_v2_fpn", box=[box])
    assert list(single.state_dict()) == list(listed.state_dict())
    assert any(key.startswith("box.head.") for key in single.state_dict())
    truth = targets(("mixed boxes", "one box"))
    (terms, found), (others, other) = both(single, batch, truth), both(listed, batch, truth)
    assert {k: float(v.detach()) for k, v in terms.items()} == {k: float(v.detach()) for k, v in others.items()}
    for one, two in zip(dataclasses.astuple(found), dataclasses.astuple(other), strict=True):
        assert one is two is None or torch.equal(one, two)


def test_masks_are_pooled_from_the_last_stage_s_boxes(batch: ImageBatch) -> None:
    boxes = copy.deepcopy(load_recipe(NAME).values["box"])
    for stage in boxes:
        stage["head"]["fc"] = [16]
        stage["head"]["roi_pool"]["levels"] = ["s4", "s8", "s16", "s32"]
    detector = small("maskrcnn_mobilenet_v2_fpn", box=boxes, **{"mask.head.conv": [8], "mask.head.upsample": 8})
    assert detector.mask is not None
    given: list[Candidates] = []
    detector.mask.head.register_forward_hook(lambda _, args, found: given.append(args[1]))
    seen = Seen(detector)

    terms, found = both(detector, batch, targets(("mixed boxes", "one box")))

    assert "mask.mask" in terms
    rois, assignment = seen.learnt[-1]
    for image in range(2):
        expected = rois.boxes[image][assignment.positive[image]]
        assert torch.equal(given[0].boxes[image][given[0].valid[image]], expected)
    assert torch.equal(given[1].boxes[given[1].valid], found.boxes[found.valid])
    assert found.mask_logits is not None


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([2, 0], "box: there is no postprocess; write one, in the last stage"),
        ([2, 2], "box[0].postprocess: only the last stage's is used; leave it out of the others"),
    ],
)
def test_post_processing_stands_in_the_last_stage(stages: list[int], message: str) -> None:
    boxes = copy.deepcopy(load_recipe(NAME).values["box"])
    with pytest.raises(RecipeError) as error:
        small(NAME, box=[boxes[k] for k in stages])
    assert message in str(error.value)


def test_a_coder_that_is_measured_cannot_stand_in_a_later_stage() -> None:
    boxes = copy.deepcopy(load_recipe(NAME).values["box"])
    boxes[1]["head"] |= {"class_agnostic": False, "box_coder": {"type": "class_normalised"}}
    with pytest.raises(RecipeError, match=r"box\[1\]\.head\.box_coder: ClassNormalised is measured before training"):
        small(NAME, box=boxes)


@pytest.mark.parametrize("name", [NAME, "cascadercnn_resnet50_fpn"])
def test_the_paper_s_stages(name: str) -> None:
    stages = load_recipe(name).values["box"]
    assert [stage["matcher"]["positive_threshold"] for stage in stages] == list(THRESHOLDS)
    assert [stage["matcher"]["negative_threshold"] for stage in stages] == list(THRESHOLDS)
    assert [stage["head"]["box_coder"]["weights"] for stage in stages] == [[a, a, b, b] for a, b in WEIGHTS]
    assert all(stage["head"]["class_agnostic"] and stage["append_ground_truth"] for stage in stages)
    assert [(stage["loss"]["class_weight"], stage["loss"]["box_weight"]) for stage in stages] == [
        (1.0, 1.0), (0.5, 0.5), (0.25, 0.25),
    ]  # fmt: skip
    assert [stage["postprocess"] is None for stage in stages] == [True, True, False]
