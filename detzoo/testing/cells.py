"""Checks of what several candidates in a cell mean: a part that takes a candidate's number for a cell is found out.

The two candidates of every cell change places, with their predictions and their assignment. Nothing else may change: a
loss stays what it was, a matcher gives each candidate what it had. Who needs one candidate per cell declares it:
``needs = frozenset({Feature.ONE_PER_CELL})``, and heads with more are rejected next to it when a recipe is read.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from detzoo.testing.loss import hand_assignment, places_of, predictions_for, terms_of
from detzoo.testing.specimens import targets, total
from detzoo.testing.subject import Subject
from detzoo.types import Assignment, Candidates, Predictions

_DECLARE = "declare needs = frozenset({Feature.ONE_PER_CELL}), or read Level.per_cell"


def check_loss_knows_candidates_of_a_cell_apart(subject: Subject) -> None:
    """The two candidates of each cell change places with all that belongs to them: the loss is the same."""
    places, truth = places_of(subject), targets(("mixed boxes", "one box"))
    if places.levels[0].per_cell == 1:
        return
    given, said = hand_assignment(places, truth), predictions_for(subject, places, 2)
    order = _swapped(places)
    before = float(total(terms_of(subject.copied(), said, places, truth, given)).detach())
    moved = terms_of(
        subject.copied(), _predictions_in(said, order), _places_in(places, order), truth, _assignment_in(given, order)
    )
    after = float(total(moved).detach())
    assert abs(after - before) <= 1e-4 * max(1.0, abs(before)), (
        f"the loss is {before:.5g}, and {after:.5g} when the two candidates of each cell change places: it takes a "
        f"candidate's number for its cell; {_DECLARE}"
    )


def check_matcher_knows_candidates_of_a_cell_apart(subject: Subject) -> None:
    """The two candidates of each cell change places: as many are positive, in the same cells."""
    places, truth = places_of(subject), targets(("mixed boxes", "one box"))
    if places.levels[0].per_cell == 1:
        return
    order, said = _swapped(places), predictions_for(subject, places, 2)
    before = subject.component(places, truth, said).index[:, order]
    after = subject.component(_places_in(places, order), truth, _predictions_in(said, order)).index
    per_cell = places.levels[0].per_cell
    for index in (before >= 0) != (after >= 0):
        cells = index.view(-1, per_cell).any(1).nonzero().flatten().tolist()
        assert not cells, (
            f"other cells have positives when the two candidates of each cell change places (cell {cells[0]}): it "
            f"takes a candidate's number for its cell; {_DECLARE}"
        )


def _swapped(places: Candidates) -> Tensor:
    """int64 [N]: the two candidates of each cell in the other order."""
    number, per_cell = places.boxes.shape[1], places.levels[0].per_cell
    return torch.arange(number).view(-1, per_cell).flip(1).flatten()


def _places_in(places: Candidates, order: Tensor) -> Candidates:
    return dataclasses.replace(places, boxes=places.boxes[:, order], valid=places.valid[:, order])


def _predictions_in(said: Predictions, order: Tensor) -> Predictions:
    fields = ("class_logits", "deltas", "quality_logits", "distribution")
    moved = {name: value[:, order] for name in fields if (value := vars(said)[name]) is not None}
    return dataclasses.replace(said, **moved)


def _assignment_in(given: Assignment, order: Tensor) -> Assignment:
    fields = ("index", "overlap", "quality")
    moved = {name: value[:, order] for name in fields if (value := vars(given)[name]) is not None}
    return dataclasses.replace(given, **moved)
