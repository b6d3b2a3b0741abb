"""Checks of losses and their terms: finite, connected, the same for any padding."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from detzoo.detectors.one_stage import OneStage
from detzoo.feature import SCORES, Component, Feature, in_order
from detzoo.interfaces import BoxCoder, Normaliser
from detzoo.testing.sampling import assignment
from detzoo.testing.specimens import GROUND_TRUTHS, candidates, no_candidates, predictions, targets, total
from detzoo.testing.subject import Subject, assert_unchanged, snapshot, tensors
from detzoo.types import BACKGROUND, Assignment, Candidates, Predictions, Scoring, Targets


def check_every_ground_truth_gives_finite_terms(subject: Subject) -> None:
    """No box, one box, a box without area, many: scalars that are finite, with finite gradients."""
    for name in GROUND_TRUTHS:
        places, truth = places_of(subject), targets((name, "no box"))
        given = hand_assignment(places, truth)
        said = predictions_for(subject, places, 2)
        _check_terms(terms_of(subject, said, places, truth, given), said, f"ground truth: {name}")


def _check_terms(terms: dict[str, Tensor], said: Predictions, what: str) -> None:
    assert terms, f"{what}: no terms came back"
    for name, term in terms.items():
        assert term.ndim == 0, f"{what}: {name} has shape {tuple(term.shape)}; a term is a scalar"
        assert bool(torch.isfinite(term)), f"{what}: {name} is {term.item()}"
        assert term.requires_grad, f"{what}: {name} is cut from the graph; return a zero that is connected to it"
        assert float(term.detach()) >= 0, f"{what}: {name} is negative: {term.item()}"
    total(terms).backward()  # type: ignore[no-untyped-call]
    for leaf in tensors(said):
        gradient = leaf.grad if leaf.is_leaf else None
        assert gradient is None or bool(torch.isfinite(gradient).all()), f"{what}: a gradient is NaN or infinite"


def check_without_candidates_terms_are_connected_zeros(subject: Subject) -> None:
    """No place to look at: every term is a zero that still belongs to the graph."""
    places, truth = no_candidates(coder=_coder(subject)), targets(("one box", "no box"))
    said = predictions_for(subject, places, 2)
    terms = terms_of(subject, said, places, truth, Assignment(torch.zeros(2, 0, dtype=torch.int64)))
    _check_terms(terms, said, "no candidates")
    assert float(total(terms).detach()) == 0, "without candidates the loss is not zero"


def check_normaliser_divides_the_terms(subject: Subject) -> None:
    """Whoever takes a normaliser divides by it: half of every divisor gives a larger loss."""
    normalisers = [part for part in subject.component.modules() if isinstance(part, Normaliser)]
    if not normalisers:
        return
    places, truth = places_of(subject), targets(("mixed boxes", "one box"))
    given = hand_assignment(places, truth)
    said = predictions_for(subject, places, 2)
    divisors = [part(given) for part in normalisers]
    sums = []
    for factor in (1.0, 0.5):
        for part, divisor in zip(normalisers, divisors, strict=True):
            part.forward = partial(_constant, factor * divisor)  # type: ignore[method-assign]
        sums.append(float(total(terms_of(subject, said, places, truth, given)).detach()))
    assert sums[1] > sums[0], (
        f"the loss is {sums[0]:.4g} with the normaliser's divisor and {sums[1]:.4g} with half of it"
    )


def _constant(divisor: Tensor, _: Assignment) -> Tensor:
    return divisor


def check_padding_changes_nothing(subject: Subject) -> None:
    """The number of padded rows of ground truth makes no difference."""
    names = tuple(GROUND_TRUTHS)
    places = places_of(subject)
    sums = []
    for padded in (16, 48):
        truth = targets(names, padded=padded)
        said = predictions_for(subject, places, len(names))
        same = subject.copied()  # a moving average has moved after the first call
        sums.append(float(total(terms_of(same, said, places, truth, hand_assignment(places, truth))).detach()))
    assert abs(sums[0] - sums[1]) <= 1e-5 * max(1.0, abs(sums[0])), (
        f"another padding of the ground truth gives another loss: {sums[0]} and {sums[1]}"
    )


def check_ground_truth_weights_count(subject: Subject) -> None:
    """A positive's terms are multiplied by ``Targets.weight``: 1 changes nothing, one half costs less."""
    places, truth = places_of(subject), targets(("mixed boxes", "one box"))
    given, said = hand_assignment(places, truth), predictions_for(subject, places, 2)
    sums = []
    for weight in (None, 1.0, 0.5):
        full = None if weight is None else torch.full(truth.labels.shape, weight)
        terms = terms_of(subject.copied(), said, places, dataclasses.replace(truth, weight=full), given)
        sums.append(float(total(terms).detach()))
    assert abs(sums[1] - sums[0]) <= 1e-5 * max(1.0, abs(sums[0])), (
        f"the loss is {sums[0]:.4g} without weights of the ground truth and {sums[1]:.4g} with weights of 1"
    )
    assert sums[2] < sums[0], "weights of one half change nothing: multiply by ops.matching.matched_weights"


def check_input_is_not_changed(subject: Subject) -> None:
    """Predictions, targets and the assignment keep their values: logs and other terms read them."""
    places, truth = places_of(subject), targets(("mixed boxes", "one box"))
    said, given = predictions_for(subject, places, 2), hand_assignment(places, truth)
    before = snapshot((said, places, truth, given))
    terms_of(subject, said, places, truth, given)
    assert_unchanged(before, (said, places, truth, given), "the input")


def check_class_loss(subject: Subject) -> None:
    """[B,N], finite and not negative, for every label and for no candidates; its gradient is finite."""
    wide = columns(subject)
    for number in (50, 0):
        source = torch.Generator().manual_seed(2)
        logits = (4 * torch.randn(2, number, wide, generator=source)).requires_grad_()
        labels = torch.arange(number).remainder(subject.num_classes + 1).sub(1).expand(2, number)
        assert BACKGROUND == -1
        found = subject.component(logits, labels)
        assert found.shape == (2, number), f"a class loss returns [B,N] = {(2, number)}, not {tuple(found.shape)}"
        assert bool((torch.isfinite(found) & (found >= 0)).all()), "a value is negative, NaN or infinite"
        found.sum().backward()
        assert logits.grad is not None
        assert bool(torch.isfinite(logits.grad).all()), "a gradient is NaN or infinite"


def check_class_loss_reads_quality(subject: Subject) -> None:
    """Who declares ``READS_QUALITY`` takes soft targets [B,N] and [B,N,K], and they make a difference."""
    if Feature.READS_QUALITY not in subject.component.gives:
        return
    wide, number = columns(subject), 50
    source = torch.Generator().manual_seed(2)
    logits = 4 * torch.randn(2, number, wide, generator=source)
    labels = torch.arange(number).remainder(subject.num_classes + 1).sub(1).expand(2, number)
    hard = subject.component(logits, labels)
    for shape in ((2, number), (2, number, subject.num_classes)):
        found = subject.component(logits, labels, torch.rand(shape, generator=source))
        assert found.shape == (2, number), f"with a quality {shape} it returns {tuple(found.shape)}, not {(2, number)}"
        assert bool((torch.isfinite(found) & (found >= 0)).all()), "a value is negative, NaN or infinite"
        assert not torch.equal(found, hard), f"it declares READS_QUALITY, but a quality {shape} changes nothing"


def check_box_loss(subject: Subject) -> None:
    """[B,N], zero for a perfect prediction and positive for a wrong one."""
    coder: BoxCoder = _coder(subject)
    places = candidates(coder=coder)
    boxes = (places.boxes + torch.tensor([2.0, -3.0, 6.0, 4.0])).expand(2, -1, -1)
    if coder.bins is not None:  # edges whole strides away lie on bins, where a distribution can be perfect
        centre, stride = (places.boxes[..., :2] + places.boxes[..., 2:]) / 2, places.strides()[:, None]
        boxes = torch.cat([centre - stride, centre + 2 * stride], -1).expand(2, -1, -1)
    perfect = coder.encode(boxes, places.boxes, places.strides())
    found = subject.component(perfect, boxes, places, _peaked(perfect, coder.bins)).detach()
    assert found.shape == boxes.shape[:2], (
        f"a box loss returns [B,N] = {tuple(boxes.shape[:2])}, not {tuple(found.shape)}"
    )
    assert float(found.abs().max()) < 1e-3, f"a perfect prediction costs {float(found.max()):.3g}"
    wrong, distribution = (perfect + 0.5).requires_grad_(), _peaked(perfect + 1, coder.bins)
    found = subject.component(wrong, boxes, places, distribution)
    assert bool((found > 0).all()), "a wrong prediction costs nothing"
    found.sum().backward()
    read = distribution if Feature.DISTRIBUTION in subject.component.needs else wrong
    assert read is not None
    assert read.grad is not None
    assert bool(torch.isfinite(read.grad).all()), "a gradient is NaN or infinite"


def _peaked(deltas: Tensor, bins: Tensor | None) -> Tensor | None:
    """Logits [...,4,R] nearly all of whose weight lies on the bins of ``deltas``; None without bins."""
    if bins is None:
        return None
    return (-40 * (deltas.detach().unsqueeze(-1) - bins).abs()).requires_grad_()


def check_box_loss_takes_the_empty_case(subject: Subject) -> None:
    """No candidates at all."""
    places = no_candidates(coder=_coder(subject))
    distribution = None if places.coder is None else _peaked(torch.zeros(2, 0, 4), places.coder.bins)
    found = subject.component(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4), places, distribution)
    assert found.shape == (2, 0), f"without candidates it returns {tuple(found.shape)}, not (2, 0)"


def places_of(subject: Subject) -> Candidates:
    """Two candidates in each cell of one map, unless the component needs one per cell."""
    parts = [part for part in subject.component.modules() if isinstance(part, Component)]
    single = any(Feature.ONE_PER_CELL in part.needs for part in parts)
    return candidates(coder=_coder(subject), per_cell=1 if single else 2)


def hand_assignment(places: Candidates, truth: Targets) -> Assignment:
    """A few positives for every ground truth with an area, as matchers give them; the others ignored or background."""
    sides = truth.boxes[..., 2:] - truth.boxes[..., :2]
    area = truth.valid & (sides > 0).all(-1)
    mixed = assignment(len(truth.boxes), places.boxes.shape[1]).index
    numbers = area.sum(1, keepdim=True)  # in the specimens all or none of an image's boxes have an area
    rows = torch.arange(mixed.shape[1]).expand_as(mixed).remainder(numbers.clamp(min=1))
    positive = torch.where(numbers > 0, rows, torch.full_like(rows, BACKGROUND))
    # the same for any padding, so that a loss that reads them passes the check of the padding
    overlap, quality = torch.rand((2, *mixed.shape), generator=torch.Generator().manual_seed(4))
    return Assignment(torch.where(mixed >= 0, positive, mixed), overlap, quality)


def terms_of(
    subject: Subject, said: Predictions, places: Candidates, truth: Targets, given: Assignment
) -> dict[str, Tensor]:
    """The terms of the component."""
    terms: dict[str, Tensor] = subject.component(said, places, truth, given)
    return terms


def predictions_for(subject: Subject, places: Candidates, images: int) -> Predictions:
    """Predictions that the component can read, by the scores of its head or those that it needs."""
    return predictions(images, places, _scoring(subject), num_classes=subject.num_classes, quality=True)


def _scoring(subject: Subject) -> Scoring:
    """That of the recipe's head, else one that the loss, and a class loss inside it, can read."""
    if isinstance(subject.detector, OneStage):
        return subject.detector.head.scoring
    parts = [part for part in subject.component.modules() if isinstance(part, Component) and part.needs & SCORES]
    ways = in_order(SCORES.intersection(*(part.needs for part in parts))) if parts else [Feature.SIGMOID_SCORES]
    assert ways, f"its parts read no scores in common: {', '.join(type(part).__name__ for part in parts)}"
    return cast("Scoring", ways[0].removesuffix("_scores"))


def columns(subject: Subject) -> int:
    """Width of the logits: softmax losses have a background column in front."""
    return subject.num_classes + int(_scoring(subject) == "softmax")


def _coder(subject: Subject) -> Any:
    return subject.detector.head.coder if isinstance(subject.detector, OneStage) else _default_coder(subject)


def _default_coder(subject: Subject) -> BoxCoder:
    from detzoo.builder import build_component

    name = "bins" if Feature.DISTRIBUTION in subject.component.needs else "centre_size"
    coder: BoxCoder = build_component("box_coder", {"type": name})
    return coder
