"""YOLOv1 on a grid of 2x2 cells, by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from yolo_grids import grid_places, said, truth

from detzoo.builder import build_component
from detzoo.errors import RecipeError
from detzoo.ops.scores import scores_of
from detzoo.types import BACKGROUND, IGNORE, Predictions, Targets
from detzoo_yolo.box_coder import GridCoder

MATCHER = {"type": "grid_responsible", "min_side": 0.0}
LOSS = {"type": "yolo_sse", "normaliser": {"type": "fixed", "value": 1.0, "scope": "image"}}


def nothing(images: int = 1, boxes: int = 8) -> Predictions:
    return said(torch.zeros(images, boxes, 4), torch.zeros(images, boxes), torch.zeros(images, boxes, 3), "linear")


def match(targets: Targets, predictions: Predictions | None = None, **fields: Any) -> Any:
    matcher = build_component("matcher", MATCHER | fields)
    return matcher(grid_places(), targets, predictions or nothing(len(targets.boxes)))


def test_no_object_is_background() -> None:
    assert match(truth([])).index.tolist() == [[BACKGROUND] * 8]


def test_the_cell_of_the_centre_is_responsible() -> None:
    # centres (13, 4) and (4, 16): cells 1 and 2 of row-major order, boxes 2, 3 and 4, 5
    found = match(truth([[11, 2, 15, 6], [2, 14, 6, 18]])).index[0].tolist()
    assert [sorted(found[i : i + 2]) for i in range(0, 8, 2)] == [[-1, -1], [-1, 0], [-1, 1], [-1, -1]]


def test_a_centre_on_the_far_border_belongs_to_the_last_cell() -> None:
    assert match(truth([[20, 20, 20.0, 20.0], [18, 18, 22, 22]])).index[0, 6:].max() == 1


def test_the_box_of_the_best_iou_is_responsible() -> None:
    # cell 0; the object is 8x8 about (5, 5). Box 0 says 4x4, box 1 says 8x4, both about the same centre
    deltas = torch.zeros(1, 8, 4)
    deltas[0, 0] = torch.tensor([0.5, 0.5, math.sqrt(4 / 20), math.sqrt(4 / 20)])
    deltas[0, 1] = torch.tensor([0.5, 0.5, math.sqrt(8 / 20), math.sqrt(4 / 20)])
    found = match(truth([[1, 1, 9, 9]]), said(deltas, torch.zeros(1, 8), torch.zeros(1, 8, 3), "linear"))
    assert found.index[0].tolist() == [-1, 0, -1, -1, -1, -1, -1, -1]
    assert found.overlap[0, :2].tolist() == pytest.approx([16 / 64, 32 / 64])


def test_least_error_where_every_iou_is_0() -> None:
    # boxes of no size have no overlap; box 1's centre is nearer to the object's (5, 5)
    deltas = torch.zeros(1, 8, 4)
    deltas[0, 0, :2] = torch.tensor([0.0, 0.0])
    deltas[0, 1, :2] = torch.tensor([0.4, 0.4])
    found = match(truth([[3, 3, 7, 7]]), said(deltas, torch.zeros(1, 8), torch.zeros(1, 8, 3), "linear"))
    assert found.index[0].tolist() == [-1, 0, -1, -1, -1, -1, -1, -1]
    assert found.overlap[0].tolist() == [0.0] * 8


def test_one_object_a_cell_the_first_wins() -> None:
    found = match(truth([[1, 1, 5, 5], [4, 4, 8, 8]]), None).index[0]
    assert (found == 0).sum() == 1
    assert (found == 1).sum() == 0


def test_ignored_objects_are_never_positive_and_their_cell_is_left_out() -> None:
    targets = truth([[1, 1, 5, 5], [12, 1, 16, 5]])
    targets = dataclasses.replace(targets, ignore=torch.tensor([[True, False, False]]))
    found = match(targets).index[0].tolist()
    assert found[:2] == [IGNORE, IGNORE]
    assert sorted(found[2:4]) == [BACKGROUND, 1]


def test_objects_below_darknets_half_percent_are_left_out() -> None:
    thin = truth([[4, 4, 4.09, 9]])  # 0.09 px of 20 are 0.45 %
    assert (match(thin, min_side=0.005).index == BACKGROUND).all()
    assert (match(thin, min_side=0.004).index >= 0).sum() == 1


def test_it_says_what_it_needs() -> None:
    matcher = build_component("matcher", MATCHER)
    with pytest.raises(RecipeError) as error:
        matcher(grid_places(), truth([]), None)
    assert str(error.value) == (
        "matcher grid_responsible needs one grid of cells with their predictions, found 1 levels; "
        "use head type yolo_grid"
    )


@pytest.mark.parametrize("square_root", [True, False])
def test_decode_inverts_encode(square_root: bool) -> None:
    coder = GridCoder(grid=(2, 2), square_root=square_root)
    boxes = torch.tensor([[1.0, 2.0, 9.0, 5.0], [0.0, 0.0, 20.0, 20.0]], dtype=torch.float64)
    cells = grid_places().boxes[0, :2]
    deltas = coder.encode(boxes, cells, torch.ones(2))
    assert deltas[0].tolist() == pytest.approx(
        [0.5, 0.35, math.sqrt(8 / 20), math.sqrt(3 / 20)] if square_root else [0.5, 0.35, 8 / 20, 3 / 20]
    )
    torch.testing.assert_close(coder.decode(deltas, cells, torch.ones(2)), boxes)


def hand_worked(**fields: Any) -> tuple[dict[str, float], Predictions]:
    """One object of class 2, 8x8 px about (5, 5), in cell 0, whose box 1 is responsible.

    Box 1 says x 0.6, y 0.5 and roots whose squares are 0.4 and 0.2: 8x4 px about (6, 5), so it shares 7x4 = 28 of
    64 + 32 - 28 = 68 px with the object: IoU 7/17. Confidences are 0.1 for box 0 of every cell and 0.3 for box 1;
    every box's classes say 0.2, 0.3, 0.4.
    """
    deltas = torch.zeros(1, 8, 4, dtype=torch.float64)
    deltas[0, 1] = torch.tensor([0.6, 0.5, math.sqrt(0.4), math.sqrt(0.2)], dtype=torch.float64)
    quality = torch.tensor([[0.1, 0.3] * 4], dtype=torch.float64)
    classes = torch.tensor([0.2, 0.3, 0.4], dtype=torch.float64).expand(1, 8, 3)
    predictions = said(deltas, quality, classes, "linear")
    targets = truth([[1, 1, 9, 9]], labels=[[2]])
    given = build_component("matcher", MATCHER)(grid_places(), targets, predictions)
    terms = build_component("loss", LOSS | fields)(predictions, grid_places(), targets, given)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    return {name: float(term.detach()) for name, term in terms.items()}, predictions


def test_losses_of_the_paper() -> None:
    terms, _ = hand_worked()
    # sides: the object's roots are √0.4 both, so only the height is wrong, by √0.4 - √0.2
    assert terms == pytest.approx(
        {
            "coordinates": 5 * (0.1**2 + (math.sqrt(0.4) - math.sqrt(0.2)) ** 2),
            "object": (0.3 - 7 / 17) ** 2,
            "no_object": 0.5 * (4 * 0.1**2 + 3 * 0.3**2),
            "classification": 0.2**2 + 0.3**2 + 0.6**2,
        },
        abs=1e-12,
    )


def test_gradients_are_those_of_darknets_deltas() -> None:
    _, predictions = hand_worked(half=True)
    assert predictions.quality_logits is not None
    assert predictions.class_logits is not None
    deltas, quality, classes = predictions.deltas.grad, predictions.quality_logits.grad, predictions.class_logits.grad
    assert deltas is not None
    assert quality is not None
    assert classes is not None
    # (output - target) x weight: 5 for coordinates, 0.5 for the confidences of all other boxes
    assert deltas[0, 1, 0].tolist() == pytest.approx([0.5, 0, 0, 5 * (math.sqrt(0.2) - math.sqrt(0.4))], abs=1e-12)
    assert deltas[0, [0, 2, 3, 4, 5, 6, 7]].abs().max() == 0
    confidence = [0.05, 0.3 - 7 / 17, 0.05, 0.15, 0.05, 0.15, 0.05, 0.15]  # no gradient through the IoU
    assert quality[0].tolist() == pytest.approx(confidence, abs=1e-12)
    assert classes[0, 1].tolist() == pytest.approx([0.2, 0.3, -0.6], abs=1e-12)  # once for the cell
    assert classes[0, [0, 2, 3, 4, 5, 6, 7]].abs().max() == 0


def test_confidence_target_one() -> None:
    assert hand_worked(confidence_target="one")[0]["object"] == pytest.approx(0.7**2)


def test_gradients_are_finite_at_sides_of_zero() -> None:
    predictions = nothing()
    targets = truth([[1, 1, 9, 9]])
    given = build_component("matcher", MATCHER)(grid_places(), targets, predictions)
    terms = build_component("loss", LOSS)(predictions, grid_places(), targets, given)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert predictions.deltas.grad is not None
    assert predictions.deltas.grad.isfinite().all()


def test_two_images_are_averaged() -> None:
    targets = truth([[1, 1, 9, 9]], [], labels=[[2], []])
    predictions = said(torch.zeros(2, 8, 4), torch.full((2, 8), 0.2), torch.zeros(2, 8, 3), "linear")
    given = build_component("matcher", MATCHER)(grid_places(), targets, predictions)
    terms = build_component("loss", LOSS)(predictions, grid_places(), targets, given)
    assert terms["no_object"].item() == pytest.approx(0.5 * (7 + 8) * 0.2**2 / 2)
    assert terms["classification"].item() == pytest.approx(1 / 2)


def test_scores_are_class_times_confidence_without_a_sigmoid() -> None:
    predictions = said(torch.zeros(1, 2, 4), torch.tensor([[0.5, 1.2]]), torch.tensor([[[0.8, -0.1]] * 2]), "linear")
    scores = scores_of(predictions, quality="product")
    assert scores[0].tolist() == [pytest.approx([0.4, 0.0]), pytest.approx([0.8, 0.0])]


def test_the_head_reads_darknets_vector() -> None:
    """All classes, then all confidences, then all boxes, cell by cell."""
    features = {"s10": dataclasses.replace(_spec(), channels=1)}
    head = build_component(
        "head", {"type": "yolo_grid", "boxes": 2, "grid": 2}, features=features, num_classes=3, input_size=(20, 20)
    )
    count = 4 * (3 + 2 * 5)
    assert head.predictor.out_features == count
    with torch.no_grad():
        head.predictor.weight.zero_()
        head.predictor.bias.copy_(torch.arange(count))
    places, found = head({"s10": torch.zeros(1, 1, 2, 2)}, _batch())
    assert found.class_logits[0, 2].tolist() == found.class_logits[0, 3].tolist() == [3, 4, 5]  # cell 1
    assert found.quality_logits[0].tolist() == list(range(12, 20))
    assert found.deltas[0, 3, 0].tolist() == [32, 33, 34, 35]
    assert torch.equal(places.boxes, grid_places().boxes.float())


def test_a_grid_of_another_size_is_refused() -> None:
    head = build_component(
        "head",
        {"type": "yolo_grid", "predictor": "conv"},
        features={"s10": _spec()},
        num_classes=3,
        input_size=(20, 20),
    )
    with pytest.raises(RecipeError) as error:
        head({"s10": torch.zeros(1, 4, 3, 3)}, _batch(30))
    assert str(error.value) == (
        "yolo_grid was built for an input of 20x20 px (height x width), found 30x30; leave train.multi_scale and "
        "--size of an export out, and set input.size instead"
    )
    with pytest.raises(RecipeError) as error:
        build_component("head", {"type": "yolo_grid"}, features={"s10": _spec(None)}, num_classes=3, input_size=None)
    assert str(error.value) == (
        "head: detectors.head: yolo_grid needs an image of fixed size; set input.size, with resize stretch or letterbox"
    )


def _spec(size: tuple[int, int] | None = (2, 2)) -> Any:
    from detzoo.types import FeatureSpec

    return FeatureSpec(4, 10.0, size)


def _batch(side: int = 20) -> Any:
    from detzoo.testing.specimens import image_batch

    return image_batch((side, side), 1)
