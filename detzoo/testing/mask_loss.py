"""Checks of mask losses: finite, connected to the graph, the same for any padding."""

from __future__ import annotations

import torch
from torch import Tensor

from detzoo.testing.specimens import GROUND_TRUTHS, generator, no_candidates, regions, targets, total
from detzoo.testing.subject import Subject, assert_unchanged, snapshot
from detzoo.types import BACKGROUND, Assignment, Candidates, Targets


def check_every_ground_truth_gives_finite_terms(subject: Subject) -> None:
    """No box, one box, a box without area, many: scalars that are finite, with finite gradients."""
    for name in GROUND_TRUTHS:
        truth, places = targets((name, "no box")), regions()
        logits = _logits(subject, places)
        _check_terms(subject.component(logits, places, truth, _assignment(places, truth)), logits, name)


def check_without_candidates_terms_are_connected_zeros(subject: Subject) -> None:
    """No boxes: every term is a zero that still belongs to the graph."""
    none = no_candidates()
    places = Candidates(none.boxes.expand(2, -1, -1), none.valid.expand(2, -1))
    logits = _logits(subject, places)
    terms = subject.component(
        logits, places, targets(("one box", "no box")), Assignment(torch.zeros(2, 0, dtype=torch.int64))
    )
    _check_terms(terms, logits, "no candidates")
    assert float(total(terms).detach()) == 0, "without candidates the loss is not zero"


def check_padding_changes_nothing(subject: Subject) -> None:
    """The number of padded rows of ground truth makes no difference."""
    places, sums = regions(), []
    for padded in (16, 48):
        truth = targets(("mixed boxes", "one box"), padded=padded)
        terms = subject.component(_logits(subject, places), places, truth, _assignment(places, truth))
        sums.append(float(total(terms).detach()))
    assert abs(sums[0] - sums[1]) <= 1e-5 * max(1.0, abs(sums[0])), (
        f"another padding of the ground truth gives another loss: {sums[0]} and {sums[1]}"
    )


def check_input_is_not_changed(subject: Subject) -> None:
    """Logits, boxes, targets and the assignment keep their values."""
    places, truth = regions(), targets(("mixed boxes", "one box"))
    given = _logits(subject, places), places, truth, _assignment(places, truth)
    before = snapshot(given)
    subject.component(*given)
    assert_unchanged(before, given, "the input")


def _check_terms(terms: dict[str, Tensor], logits: Tensor, what: str) -> None:
    assert terms, f"{what}: no terms came back"
    for name, term in terms.items():
        assert term.ndim == 0, f"{what}: {name} has shape {tuple(term.shape)}; a term is a scalar"
        assert bool(torch.isfinite(term)), f"{what}: {name} is {term.item()}"
        assert term.requires_grad, f"{what}: {name} is cut from the graph; return a zero that is connected to it"
    total(terms).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None, f"{what}: no gradient reaches the logits"
    assert bool(torch.isfinite(logits.grad).all()), f"{what}: a gradient is NaN or infinite"


def _logits(subject: Subject, places: Candidates) -> Tensor:
    shape = (*places.valid.shape, subject.num_classes, 4, 4)
    return torch.randn(shape, generator=generator(1)).requires_grad_()


def _assignment(places: Candidates, truth: Targets) -> Assignment:
    """Boxes answer for the ground truths in turn, the last one and those of images without any for none."""
    count = truth.valid.sum(1, keepdim=True)
    index = torch.arange(places.valid.shape[1]).remainder(count.clamp(min=1))
    index = torch.where(count > 0, index, BACKGROUND)
    index[:, -1:] = BACKGROUND
    return Assignment(index)
