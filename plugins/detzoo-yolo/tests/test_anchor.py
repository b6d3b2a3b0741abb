"""YOLOv2 and v3 on a grid of 2x2 cells, by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from yolo_grids import anchor_places, said, truth

import detzoo
from detzoo.builder import build_component
from detzoo.errors import RecipeError
from detzoo.ops.scores import scores_of
from detzoo.testing.specimens import feature_maps, image_batch
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, FeatureSpec, Level, Predictions, Targets
from detzoo_yolo.box_coder import AnchorCoder
from detzoo_yolo.matcher import shape_iou

SIZES = [(4.0, 4.0), (8.0, 8.0)]
MATCHER = {"type": "yolo_best_anchor"}
LOSS = {"type": "yolo_anchor", "normaliser": {"type": "fixed", "value": 1.0, "scope": "image"}}


def empty(images: int = 1, scoring: str = "sigmoid") -> Predictions:
    return said(torch.zeros(images, 8, 4), torch.zeros(images, 8), torch.zeros(images, 8, 3), scoring)


def match(targets: Targets, predictions: Predictions | None = None, **fields: Any) -> list[list[int]]:
    matcher = build_component("matcher", MATCHER | fields)
    found: Assignment = matcher(anchor_places(SIZES), targets, predictions)
    return found.index.tolist()


def test_no_object_is_background() -> None:
    assert match(truth([])) == [[BACKGROUND] * 8]


def test_the_anchor_of_the_best_shape_in_the_cell_of_the_centre() -> None:
    # 5x5 about (13, 4): cell 1, anchor 0 (16/25 against 25/64); 7x8 about (5, 15): cell 2, anchor 1
    found = match(truth([[10.5, 1.5, 15.5, 6.5], [1.5, 11, 8.5, 19]]))
    assert found == [[-1, -1, 0, -1, -1, 1, -1, -1]]


def test_of_equal_anchors_the_first_counts_and_of_rival_objects_the_last() -> None:
    places = anchor_places([(4.0, 4.0), (4.0, 4.0)])
    found = build_component("matcher", MATCHER)(places, truth([[1, 1, 5, 5], [3, 3, 7, 7]]), None)
    assert found.index[0].tolist() == [1, -1, -1, -1, -1, -1, -1, -1]


def test_a_prediction_that_fits_is_no_negative() -> None:
    # anchor 0 of cell 1 says an 8x8 box about (11, 5): log(8 / 4) twice, and a tenth of the cell
    deltas = torch.zeros(1, 8, 4)
    deltas[0, 2] = torch.tensor([math.log(0.1 / 0.9), 0.0, math.log(2), math.log(2)])
    predictions = said(deltas, torch.zeros(1, 8), torch.zeros(1, 8, 3), "sigmoid")
    targets = truth([[5.5, 1, 13.5, 9]])  # about (9.5, 5): cell 0, anchor 1. It shares 6.5 x 8 with that box: IoU 0.684
    assert match(targets, predictions, ignore_threshold=0.7) == [[-1, 0, -1, -1, -1, -1, -1, -1]]
    assert match(targets, predictions, ignore_threshold=0.6) == [[-1, 0, IGNORE, -1, -1, -1, -1, -1]]
    assert IGNORE not in match(targets, predictions, ignore_threshold=None)[0]


def test_further_anchors_of_a_good_shape() -> None:
    targets = truth([[1, 1, 7, 7]])  # 6x6: IoU of shapes 16/36 and 36/64
    assert match(targets, also=None) == [[-1, 0, -1, -1, -1, -1, -1, -1]]
    assert match(targets, also=0.4) == [[0, 0, -1, -1, -1, -1, -1, -1]]


def test_objects_flagged_ignore_or_too_small() -> None:
    targets = truth([[0, 0, 10, 10], [14, 14, 14.01, 18]])
    targets = dataclasses.replace(targets, ignore=torch.tensor([[True, False, False]]))
    assert match(targets) == [[IGNORE, IGNORE, -1, -1, -1, -1, -1, -1]]
    assert match(targets, min_side=0.0) == [[IGNORE, IGNORE, -1, -1, -1, -1, 1, -1]]


def test_levels_share_the_objects() -> None:
    fine, coarse = anchor_places(SIZES), anchor_places([(12.0, 12.0)])
    levels = (*fine.levels, Level("s20", 1, 1, 1, 20.0))
    boxes = torch.cat([fine.boxes, coarse.boxes[:, :1]], 1)
    both = Candidates(boxes, torch.ones(1, 9, dtype=torch.bool), levels, fine.coder)
    found = build_component("matcher", MATCHER)(both, truth([[3, 3, 17, 17], [11, 11, 15, 15]]), None)
    assert found.index[0].tolist() == [-1, -1, -1, -1, -1, -1, 1, -1, 0]


def test_shape_iou_against_boxes_on_a_common_centre() -> None:
    from detzoo.ops.boxes import iou_matrix

    sides = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)) * 30 + 1
    boxes = torch.cat([-sides / 2, sides / 2], 1)
    torch.testing.assert_close(shape_iou(sides, sides), iou_matrix(boxes, boxes))


@pytest.mark.parametrize("scale", [1.0, 1.05])
def test_decode_inverts_encode(scale: float) -> None:
    coder = AnchorCoder(scale_xy=scale)
    places = anchor_places(SIZES)
    boxes = places.boxes[0] + torch.tensor([-1.0, 0.5, 3.0, 2.0], dtype=torch.float64)
    strides = torch.full((8,), 10.0, dtype=torch.float64)
    deltas = coder.encode(boxes, places.boxes[0], strides)
    torch.testing.assert_close(coder.decode(deltas, places.boxes[0], strides), boxes)
    # anchor 0 of cell 0: 4x4 about (5, 5) becomes 8x5.5 about (6, 6.25)
    assert deltas[0, 2:].tolist() == pytest.approx([math.log(2), math.log(5.5 / 4)])
    assert torch.sigmoid(deltas[0, :2]).tolist() == pytest.approx([0.5 + 0.1 / scale, 0.5 + 0.125 / scale])


def hand_worked(scoring: str = "sigmoid", **fields: Any) -> tuple[dict[str, float], Predictions]:
    """One object of class 2, 8x4 px about (7, 4), in cell 0, answered by anchor 0 (4x4): t_w = log 2, t_h = 0.

    Predictions are zeros but the classes, 1, 0, -1 of every anchor: the box said is 4x4 about (5, 5), which shares
    from x 3 to 7 and y 3 to 6 = 12 of 32 + 16 - 12 = 36 px with the object, IoU 1/3. The object covers 32 / 400 of the
    image.
    """
    classes = torch.tensor([1.0, 0.0, -1.0]).expand(1, 8, 3)
    predictions = said(torch.zeros(1, 8, 4), torch.zeros(1, 8), classes, scoring)
    targets = truth([[3, 2, 11, 6]], labels=[[2]])
    index = torch.full((1, 8), BACKGROUND)
    index[0, 0], index[0, 1] = 0, IGNORE
    terms = build_component("loss", LOSS | fields)(predictions, anchor_places(SIZES), targets, Assignment(index))
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    return {name: float(term.detach()) for name, term in terms.items()}, predictions


def gradients(predictions: Predictions) -> list[torch.Tensor]:
    assert predictions.quality_logits is not None
    assert predictions.class_logits is not None
    leaves = (predictions.deltas, predictions.quality_logits, predictions.class_logits)
    found = [leaf.grad for leaf in leaves]
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


def test_yolov3_losses_and_gradients() -> None:
    terms, predictions = hand_worked()
    weight = 2 - 32 / 400
    half = math.log(2)  # cross-entropy at sigmoid(0) = 0.5, whatever the target
    assert terms == pytest.approx(
        {
            "box": weight * (2 * half + half**2 / 2),
            "objectness": 7 * half,
            "classification": sum(math.log1p(math.exp(x)) for x in (1, 0, -1))
            + 1,  # softplus less t x: the third is on
        },
        abs=1e-12,
    )
    deltas, quality, classes = gradients(predictions)
    # sigmoid(t) - target, as darknet's delta with the other sign: places in the cell are 0.7 and 0.4
    assert deltas[0, 0, 0].tolist() == pytest.approx([weight * g for g in (-0.2, 0.1, -math.log(2), 0)], abs=1e-12)
    assert deltas[0, 1:].abs().max() == 0
    assert quality[0].tolist() == pytest.approx([-0.5, 0, *[0.5] * 6])
    chances = [1 / (1 + math.exp(-x)) for x in (1, 0, -1)]
    assert classes[0, 0].tolist() == pytest.approx([chances[0], chances[1], chances[2] - 1])
    assert classes[0, 1:].abs().max() == 0


def test_yolov2_rescores_and_has_a_softmax() -> None:
    terms, predictions = hand_worked("categorical", object_weight=5.0, object_target="iou")
    total = sum(math.exp(x) for x in (1, 0, -1))
    assert terms["classification"] == pytest.approx(math.log(total) + 1)
    _, quality, classes = gradients(predictions)
    assert quality[0].tolist() == pytest.approx([5 * (0.5 - 1 / 3), 0, *[0.5] * 6])
    shares = [math.exp(x) / total for x in (1, 0, -1)]
    assert classes[0, 0].tolist() == pytest.approx([shares[0], shares[1], shares[2] - 1])


def test_squared_errors_as_the_papers_say() -> None:
    terms, predictions = hand_worked(place_error="squared", objectness_error="squared", small_boxes=False)
    assert terms["box"] == pytest.approx((0.2**2 + 0.1**2 + math.log(2) ** 2) / 2)
    assert terms["objectness"] == pytest.approx(7 * 0.25 / 2)
    deltas, quality, _ = gradients(predictions)
    # times sigmoid's own gradient, a quarter
    assert deltas[0, 0, 0].tolist() == pytest.approx([-0.05, 0.025, -math.log(2), 0])
    assert quality[0].tolist() == pytest.approx([-0.125, 0, *[0.125] * 6])


def test_a_term_of_the_core_in_place_of_the_coordinates() -> None:
    terms, _ = hand_worked(box={"type": "giou"}, coord_weight=2.0)
    # hull 3..11 x 2..7 = 40 px
    assert terms["box"] == pytest.approx(2 * (1 - 1 / 3 + (40 - 36) / 40), abs=1e-6)


def test_the_first_images_pull_towards_the_anchors() -> None:
    loss = build_component("loss", LOSS | {"anchor_warmup": 2})
    deltas = torch.full((1, 8, 4), 0.5)
    targets, places = truth([]), anchor_places(SIZES)
    given = Assignment(torch.full((1, 8), BACKGROUND))
    values = []
    for _ in range(3):
        predictions = said(deltas, torch.zeros(1, 8), torch.zeros(1, 8, 3), "sigmoid")
        values.append(float(loss(predictions, places, targets, given)["anchors"].detach()))
    entropy = math.log1p(math.exp(0.5)) - 0.25  # at logit 0.5 against 0.5
    assert values == pytest.approx([0.01 * 8 * (2 * entropy + 0.25), 0.01 * 8 * (2 * entropy + 0.25), 0])
    assert int(loss.seen) == 3
    with torch.no_grad():
        loss(empty(), places, targets, given)
    assert int(loss.seen) == 3


def test_scores_are_objectness_times_class() -> None:
    classes = torch.tensor([[[math.log(2), 0.0, 0.0]]])
    predictions = said(torch.zeros(1, 1, 4), torch.zeros(1, 1), classes, "categorical")
    assert scores_of(predictions, quality="product")[0, 0].tolist() == pytest.approx([0.25, 0.125, 0.125])
    sigmoid = dataclasses.replace(predictions, scoring="sigmoid")
    assert scores_of(sigmoid, quality="product")[0, 0].tolist() == pytest.approx([1 / 3, 0.25, 0.25])


def test_the_heads_channels_are_darknets() -> None:
    head = build_component(
        "head",
        {
            "type": "yolo_anchor",
            "anchors": {"type": "yolo_anchors", "sizes": [[[30, 20], [60, 40]]]},
            "box_coder": {"type": "yolo_anchor"},
            "object_prior": 0.01,
        },
        features={"s32": FeatureSpec(4, 32.0)},
        num_classes=3,
    )
    (predictor,) = head.predictors.values()
    assert predictor.bias[[4, 12]].tolist() == pytest.approx([math.log(0.01 / 0.99)] * 2)
    with torch.no_grad():
        predictor.weight.zero_()
        predictor.bias.copy_(torch.arange(16))
    places, found = head(feature_maps({"s32": FeatureSpec(4, 32.0)}, (64, 96)), image_batch((64, 96)))
    assert found.deltas.shape == (2, 12, 1, 4)
    assert found.deltas[1, 3, 0].tolist() == [8, 9, 10, 11]  # cell 1, anchor 1
    assert found.quality_logits[0, :4].tolist() == [4, 12, 4, 12]
    assert found.class_logits[0, 2].tolist() == [5, 6, 7]
    assert places.boxes[0, 3].tolist() == [48 - 20, 16 - 30, 48 + 20, 16 + 30]  # (height, width) as the recipe has them


def test_anchors_stand_in_the_middle_of_the_cell() -> None:
    anchors = build_component("anchors", {"type": "yolo_anchors", "sizes": [[[10, 20]]]})
    boxes, _ = anchors({"s32": torch.zeros(1, 1, 2, 3)}, (64, 96))
    assert boxes[0].tolist() == [6.0, 11.0, 26.0, 21.0]


def test_cells_that_are_not_square_are_refused() -> None:
    anchors = build_component("anchors", {"type": "yolo_anchors", "sizes": [[[10, 20]]]})
    with pytest.raises(RecipeError) as error:
        anchors({"s32": torch.zeros(1, 1, 4, 4)}, (100, 128))
    assert str(error.value) == (
        "an input of 100x128 px (height x width) makes cells of 25x32 px on s32; YOLO's cells are square: "
        "choose multiples of the coarsest stride, as 32"
    )


def test_k_means_under_the_iou_distance_against_a_plain_loop() -> None:
    import numpy as np

    from detzoo.data.checking.statistics import cluster_sides

    sides = np.random.default_rng(1).uniform(5, 80, (60, 2))
    found, overlap = cluster_sides(sides, 3, seed=4)
    different = np.unique(sides, axis=0)
    centres = different[np.random.default_rng(4).choice(len(different), 3, replace=False)]
    owner: list[int] = []
    while True:
        nearest = []
        for height, width in sides:
            fits = []
            for tall, wide in centres:
                shared = min(height, tall) * min(width, wide)
                fits.append(shared / (height * width + tall * wide - shared))
            nearest.append(fits.index(max(fits)))
        if nearest == owner:
            break
        owner = nearest
        for row in range(3):
            members = [side for side, own in zip(sides, owner, strict=True) if own == row]
            if members:
                centres[row] = np.median(np.array(members), axis=0)
    assert found.tolist() == sorted(centres.tolist(), key=lambda side: side[0] * side[1])
    assert 0.4 < overlap < 1


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ({"input.size": [417, 416]}, "input.size: found [417, 416]"),
        (
            {"input.size": None, "input.resize": "shortest", "input.min_size": 320, "input.max_size": 320},
            "pad_multiple",
        ),
        ({"train.multi_scale": {"shortest": 320, "multiple": 16}}, "multi_scale.multiple"),
    ],
)
def test_sizes_that_are_no_multiples_are_rejected_when_the_detector_is_built(
    override: dict[str, Any], place: str
) -> None:
    with pytest.raises(RecipeError, match="multiples of 32") as error:
        detzoo.build("yolov2_tiny_voc", overrides=override, weights=None)
    assert place in str(error.value)
