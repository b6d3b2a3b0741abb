"""The multibox loss and its terms: torchvision's numbers, by hand, and without objects."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder
from torchvision.models.detection.ssd import SSD
from torchvision.ops import sigmoid_focal_loss

from detzoo.components.box_coders import CentreSize, Edges
from detzoo.components.losses import multibox
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.matchers.ssd_bipartite import SsdBipartite
from detzoo.components.miners import HardNegative
from detzoo.components.normalisers import Fixed, Positives, Sampled
from detzoo.components.unreduced_losses import L1, BinaryCrossEntropy, Ciou, CrossEntropy, Focal, Giou, Iou, SmoothL1
from detzoo.errors import RecipeError
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Level, Predictions, Targets

B = BACKGROUND
CLASS_LOSSES = [CrossEntropy(), BinaryCrossEntropy(), Focal()]
BOX_LOSSES = [SmoothL1(), SmoothL1(beta=0.0), L1(), Iou(power=2), Giou(), Ciou()]


def ssd_loss(**changes: Any) -> MultiBox:
    parts: dict[str, Any] = {"classification": CrossEntropy(), "box": SmoothL1(), "miner": HardNegative()}
    return MultiBox(**{**parts, "normaliser": Positives(), **changes})


def scene(
    images: int = 3, priors: int = 60, classes: int = 4, dtype: torch.dtype = torch.float32
) -> tuple[Predictions, Candidates, Targets]:
    generator = torch.Generator().manual_seed(0)

    def boxes(*shape: int) -> torch.Tensor:
        corner = torch.rand(*shape, 2, generator=generator) * 40
        return torch.cat([corner, corner + 8 + torch.rand(*shape, 2, generator=generator) * 30], dim=-1).to(dtype)

    valid = torch.arange(16) < torch.tensor([[3], [0], [5]])[:images]
    targets = Targets(
        torch.where(valid.unsqueeze(-1), boxes(images, 16), 0),
        torch.randint(0, classes, (images, 16), generator=generator),
        torch.zeros_like(valid),
        valid,
        torch.zeros(images, 4),
    )
    candidates = Candidates(boxes(1, priors), torch.ones(1, priors, dtype=torch.bool), coder=CentreSize())
    logits = torch.randn(images, priors, classes + 1, generator=generator).to(dtype).requires_grad_()
    deltas = torch.randn(images, priors, 1, 4, generator=generator).to(dtype).requires_grad_()
    return Predictions(logits, "softmax", deltas), candidates, targets


def leaves(predictions: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
    assert predictions.class_logits is not None
    return predictions.class_logits, predictions.deltas


@pytest.mark.parametrize("classification", CLASS_LOSSES)
@pytest.mark.parametrize("box", BOX_LOSSES)
@pytest.mark.parametrize("priors", [0, 7])
def test_without_objects_each_term_is_a_zero_connected_to_the_graph(
    classification: nn.Module, box: nn.Module, priors: int
) -> None:
    predictions, candidates, targets = scene(images=2, priors=priors)
    nobody = Targets(targets.boxes, targets.labels, targets.ignore, torch.zeros_like(targets.valid), targets.region)
    # a padded candidate without area must not turn into NaN either
    padded = Candidates(torch.zeros(1, priors, 4), torch.zeros(1, priors, dtype=torch.bool), coder=CentreSize())
    for places in (candidates, padded):
        terms = ssd_loss(classification=classification, box=box)(
            predictions, places, nobody, SsdBipartite()(places, nobody)
        )
        assert {name: term.item() for name, term in terms.items()} == {"classification": 0, "box": 0}
        gradients = torch.autograd.grad(sum(terms.values(), torch.zeros(())), leaves(predictions))
        assert all(bool((gradient == 0).all()) for gradient in gradients)


def test_equals_torchvisions_losses_and_gradients() -> None:
    predictions, candidates, targets = scene()
    logits, deltas = leaves(predictions)
    assignment = SsdBipartite(tie="last_write_wins")(candidates, targets)
    ours = ssd_loss()(predictions, candidates, targets, assignment)
    truth = [
        {"boxes": boxes[valid], "labels": labels[valid] + 1}
        for boxes, labels, valid in zip(targets.boxes, targets.labels, targets.valid, strict=True)
    ]
    theirs = SSD.compute_loss(
        SimpleNamespace(box_coder=TorchvisionCoder((10.0, 10.0, 5.0, 5.0)), neg_to_pos_ratio=3.0),
        truth,
        {"bbox_regression": deltas.squeeze(2), "cls_logits": logits},
        [candidates.boxes[0]] * 3,
        list(assignment.index),
    )
    torch.testing.assert_close(ours["box"], theirs["bbox_regression"])
    torch.testing.assert_close(ours["classification"], theirs["classification"])
    expected = torch.autograd.grad(sum(theirs.values(), torch.zeros(())), (logits, deltas))
    torch.testing.assert_close(torch.autograd.grad(sum(ours.values(), torch.zeros(())), (logits, deltas)), expected)
    assert int(assignment.positive.sum()) > 8


@pytest.mark.parametrize("box", BOX_LOSSES)
@pytest.mark.parametrize("per_class", [1, 4])
def test_the_static_way_gives_the_same_losses(box: nn.Module, per_class: int, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, candidates, targets = scene()
    deltas = predictions.deltas.detach().expand(-1, -1, per_class, -1) * torch.arange(1, per_class + 1).view(-1, 1)
    predictions = Predictions(predictions.class_logits, "softmax", deltas.contiguous().requires_grad_())
    levels = (Level("s8", 5, 10, 1, 8.0), Level("s16", 2, 5, 1, 16.0))
    for coder in (CentreSize(), Edges()):
        places = Candidates(candidates.boxes, candidates.valid, levels, coder)
        assignment = SsdBipartite()(places, targets)
        results = []
        for looks in (True, False):
            for module in ("detzoo.components.losses.multibox", "detzoo.ops.positive_rows"):
                monkeypatch.setattr(f"{module}.allows_dynamic_shapes", lambda _, looks=looks: looks)
            terms = ssd_loss(box=box)(predictions, places, targets, assignment)
            results.append((terms, torch.autograd.grad(sum(terms.values(), torch.zeros(())), leaves(predictions))))
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("box", [SmoothL1(), L1(), Iou(), Giou()])
def test_gradients_in_float64(box: nn.Module) -> None:
    predictions, candidates, targets = scene(images=1, priors=12, dtype=torch.float64)
    assignment = SsdBipartite(threshold=0.3)(candidates, targets)
    loss = ssd_loss(box=box, miner=None)

    def total(logits: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
        return sum(
            loss(Predictions(logits, "softmax", deltas), candidates, targets, assignment).values(),
            torch.zeros((), dtype=torch.float64),
        )

    assert assignment.positive.any()
    assert torch.autograd.gradcheck(total, leaves(predictions))


def test_matching_and_loss_compile_without_a_graph_break() -> None:
    predictions, candidates, targets = scene()
    matcher, loss = SsdBipartite(), ssd_loss()

    def step(predictions: Predictions, candidates: Candidates, targets: Targets) -> dict[str, torch.Tensor]:
        return loss(predictions, candidates, targets, matcher(candidates, targets))

    compiled = torch.compile(step, backend="eager", fullgraph=True)
    inputs = (predictions, candidates, targets)
    torch.testing.assert_close(compiled(*inputs), step(*inputs))


def test_weights_and_normaliser() -> None:
    predictions, candidates, targets = scene()
    assignment = SsdBipartite()(candidates, targets)
    one = ssd_loss()(predictions, candidates, targets, assignment)
    two = ssd_loss(class_weight=3.0, box_weight=0.25)(predictions, candidates, targets, assignment)
    assert two["classification"].item() == pytest.approx(3 * one["classification"].item())
    # the PyTorch tutorial's L1 mean over positives and coordinates is a box_weight of 1/4
    assert two["box"].item() == pytest.approx(one["box"].item() / 4)
    each = ssd_loss(normaliser=Positives(scope="image"))(predictions, candidates, targets, assignment)
    alone = 0.0
    for image in range(3):
        rows = slice(image, image + 1)
        part = ssd_loss()(
            Predictions(leaves(predictions)[0][rows], "softmax", predictions.deltas[rows]),
            candidates,
            Targets(*(getattr(targets, name)[rows] for name in ("boxes", "labels", "ignore", "valid", "region"))),
            Assignment(assignment.index[rows]),
        )
        alone += part["box"].item() / 3
    assert each["box"].item() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("static", [False, True])
def test_a_positive_counts_as_much_as_its_ground_truth_weighs(static: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if static:
        monkeypatch.setattr(multibox, "allows_dynamic_shapes", lambda _: False)
        monkeypatch.setattr("detzoo.ops.positive_rows.allows_dynamic_shapes", lambda _: False)
    predictions, candidates, targets = scene()
    assignment = SsdBipartite()(candidates, targets)
    weight = torch.linspace(0, 1, targets.labels.numel()).view_as(targets.labels)
    sums = {"normaliser": Fixed(value=1.0, scope="batch"), "miner": None}

    def terms(weights: torch.Tensor | None, index: torch.Tensor) -> dict[str, torch.Tensor]:
        given = dataclasses.replace(targets, weight=weights)
        return ssd_loss(**sums)(predictions, candidates, given, Assignment(index))

    whole = terms(None, assignment.index)
    ones = terms(torch.ones_like(weight), assignment.index)
    assert all(torch.equal(whole[name], ones[name]) for name in whole)
    # one ground truth at a time, times its weight, and the background as it was
    background = torch.where(assignment.positive, IGNORE, assignment.index)
    expected = {"box": 0.0, "classification": terms(None, background)["classification"].item()}
    for image, row in targets.usable.nonzero().tolist():
        own = torch.full_like(assignment.index, IGNORE)
        own[image] = torch.where(assignment.index[image] == row, row, IGNORE)
        for name, term in terms(None, own).items():
            expected[name] += float(weight[image, row]) * term.item()
    for name, term in terms(weight, assignment.index).items():
        assert term.item() == pytest.approx(expected[name], rel=1e-5)
        assert term.item() < 0.99 * whole[name].item()


def test_both_normalisers_of_faster_rcnns_equation_1() -> None:
    predictions, candidates, targets = scene()
    assignment = SsdBipartite()(candidates, targets)
    sums = ssd_loss(miner=None, normaliser=Fixed(value=1.0, scope="batch"))(
        predictions, candidates, targets, assignment
    )
    counted = {"miner": None, "normaliser": Sampled()}
    # 3 images of 60 priors each, all in the loss: N_cls = 180; N_reg = 2,400 locations of each image; lambda = 10
    paper = ssd_loss(**counted, box_normaliser=Fixed(value=2400.0), box_weight=10.0)
    terms = paper(predictions, candidates, targets, assignment)
    assert terms["classification"].item() == pytest.approx(sums["classification"].item() / 180)
    assert terms["box"].item() == pytest.approx(10 * sums["box"].item() / (3 * 2400))
    # py-faster-rcnn and all ports: both by the samples
    ported = ssd_loss(**counted)(predictions, candidates, targets, assignment)
    assert ported["box"].item() == pytest.approx(sums["box"].item() / 180)


def test_background_is_column_0_of_softmax_alone() -> None:
    labels = torch.tensor([[B, 1]])
    logits = torch.tensor([[[5.0, 0, 0], [0.0, 0, 5]]])
    loss = CrossEntropy()(logits, labels)
    torch.testing.assert_close(loss, torch.full((1, 2), math.log(1 + 2 * math.exp(-5))))
    sigmoid = BinaryCrossEntropy()(torch.zeros(1, 2, 3), labels)
    torch.testing.assert_close(sigmoid, torch.full((1, 2), 3 * math.log(2)))


def test_focal_equals_torchvisions() -> None:
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.tensor([[0, 1, 2, B, B], [2, B, 0, 0, 1]])
    truth = torch.zeros(2, 5, 3)
    for image, row in (labels >= 0).nonzero().tolist():
        truth[image, row, labels[image, row]] = 1
    expected = sigmoid_focal_loss(logits, truth, alpha=0.25, gamma=2).sum(-1)
    torch.testing.assert_close(Focal()(logits, labels), expected)
    torch.testing.assert_close(Focal(alpha=None, gamma=0.0)(logits, labels), BinaryCrossEntropy()(logits, labels))


def test_many_or_few_chosen_candidates_cost_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for many in (1, 1000):  # all are too many from one in a thousand on, none are at one in one
        monkeypatch.setattr(multibox, "MANY", many)
        predictions, candidates, targets = scene()
        assignment = SsdBipartite()(candidates, targets)
        index = torch.where(torch.arange(60) % 3 == 0, IGNORE, assignment.index)
        terms = ssd_loss(miner=None)(predictions, candidates, targets, Assignment(index))
        torch.autograd.backward(list(terms.values()))
        found.append((terms["classification"].detach(), leaves(predictions)[0].grad))
    torch.testing.assert_close(found[0], found[1])


def test_cross_entropy_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = torch.randn(2, 50, 4), torch.randint(-1, 3, (2, 50))
    whole = CrossEntropy()(logits, labels)
    monkeypatch.setattr("detzoo.components.unreduced_losses.PIECE", 7)
    with torch.no_grad():
        assert torch.equal(CrossEntropy()(logits, labels), whole)


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 0.125), (1 / 9, 0.5 - 1 / 18), (0.0, 0.5)])
def test_beta(beta: float, expected: float) -> None:
    # an error of .5 in one coordinate: .5 x .25 / 1, .5 - beta / 2, .5
    box = torch.tensor([[[0.0, 0, 8, 8]]])
    candidates = Candidates(box, torch.ones(1, 1, dtype=torch.bool), coder=CentreSize())
    deltas = torch.tensor([[[0.5, 0, 0, 0]]])
    assert SmoothL1(beta=beta)(deltas, box, candidates).item() == pytest.approx(expected)
    if beta == 0:
        assert L1()(deltas, box, candidates).item() == pytest.approx(expected)


def test_ignored_candidates_cost_nothing() -> None:
    predictions, candidates, targets = scene()
    index = torch.full((3, 60), IGNORE)
    terms = ssd_loss(miner=None)(predictions, candidates, targets, Assignment(index))
    assert {name: term.item() for name, term in terms.items()} == {"classification": 0, "box": 0}


def test_losses_are_float32_under_mixed_precision() -> None:
    predictions, candidates, targets = scene()
    logits, deltas = leaves(predictions)
    half = Predictions(logits.bfloat16(), "softmax", deltas.bfloat16()).float()
    with torch.autocast("cpu", torch.bfloat16):
        terms = ssd_loss()(half, candidates, targets, SsdBipartite()(candidates, targets))
    assert [term.dtype for term in terms.values()] == [torch.float32] * 2


def test_a_box_loss_needs_a_coder() -> None:
    _, candidates, _ = scene()
    with pytest.raises(RecipeError) as error:
        Giou()(torch.zeros(1, 60, 4), candidates.boxes, Candidates(candidates.boxes, candidates.valid))
    assert str(error.value) == ("box_loss giou: the candidates carry no box coder; give the head one (`coder: ...`)")


def test_iou_and_its_square_by_hand() -> None:
    places = Candidates(torch.tensor([[[0.0, 0, 8, 8]]]), torch.ones(1, 1, dtype=torch.bool), coder=CentreSize())
    truth = torch.tensor([[[4.0, 0, 12, 8]]])  # 32 px² of 96 are shared
    still = torch.zeros(1, 1, 4)
    assert Iou()(still, truth, places).item() == pytest.approx(2 / 3)
    assert Iou(power=2)(still, truth, places).item() == pytest.approx(1 - 1 / 9)
