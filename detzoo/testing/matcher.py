"""Checks of matchers: who answers for what."""

from __future__ import annotations

import torch

from detzoo.errors import DetzooError
from detzoo.testing.loss import places_of, predictions_for
from detzoo.testing.specimens import GROUND_TRUTHS, no_candidates, targets
from detzoo.testing.subject import Subject, assert_close, assert_unchanged, image, snapshot
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Targets

EVERY = tuple(GROUND_TRUTHS)


def check_outputs(subject: Subject) -> None:
    """One integer per candidate, within the ground truth of its image or BACKGROUND or IGNORE."""
    places, truth = places_of(subject), targets(EVERY)
    found = match(subject, places, truth)
    _check_range(found, truth, places)


def _check_range(found: Assignment, truth: Targets, places: Candidates) -> None:
    shape = (len(truth.boxes), places.boxes.shape[1])
    assert tuple(found.index.shape) == shape, f"index has shape {tuple(found.index.shape)}, the contract says {shape}"
    assert found.index.dtype == torch.int64, f"index is {found.index.dtype}, not int64"
    assert int(found.index.min()) >= IGNORE, "index holds numbers below IGNORE (-2)"
    assert not found.index.requires_grad, "an assignment carries no gradient"
    rows = found.index.clamp(min=0)
    usable = truth.usable.gather(1, rows)
    assert bool((usable | (found.index < 0)).all()), "a candidate is positive for padding or for ignored ground truth"
    if found.overlap is not None:
        assert tuple(found.overlap.shape) == shape, f"overlap has shape {tuple(found.overlap.shape)}, not {shape}"
    if found.quality is not None:
        assert tuple(found.quality.shape[:2]) == shape, (
            f"quality has shape {tuple(found.quality.shape)}, the contract says [B,N] or [B,N,K] with B, N = {shape}"
        )
        assert bool(((found.quality >= 0) & (found.quality <= 1)).all()), "a quality lies outside of 0 to 1, or is NaN"
        assert not found.quality.requires_grad, "a quality carries no gradient"


def check_takes_the_empty_case(subject: Subject) -> None:
    """Ground truth padded to no rows at all (M = 0), and no candidates (N = 0)."""
    places = places_of(subject)
    found = match(subject, places, targets(("no box", "no box"), padded=0))
    shape = (2, places.boxes.shape[1])
    assert tuple(found.index.shape) == shape, f"M = 0: index has shape {tuple(found.index.shape)}, not {shape}"
    assert bool((found.index < 0).all()), "M = 0: a candidate is positive for ground truth that is not there"
    try:
        found = match(subject, no_candidates(coder=places.coder), targets(EVERY))
    except DetzooError:
        return  # a matcher of dense heads says that it takes no regions, which have no levels
    shape = (len(EVERY), 0)
    assert tuple(found.index.shape) == shape, f"N = 0: index has shape {tuple(found.index.shape)}, not {shape}"


def check_without_ground_truth_all_is_background(subject: Subject) -> None:
    """An image without objects is an image full of background."""
    found = match(subject, places_of(subject), targets(("no box",)))
    assert bool((found.index == BACKGROUND).all()), "an image without objects has candidates that are not BACKGROUND"


def check_one_box_finds_a_candidate(subject: Subject) -> None:
    """A box of ordinary size and place gets at least one candidate."""
    found = match(subject, places_of(subject), targets(("one box",)))
    assert int((found.index == 0).sum()) > 0, "a box of 100x60 px gets no candidate"


def check_invalid_candidates_are_ignored(subject: Subject) -> None:
    """Padding among the candidates never enters the loss."""
    places = places_of(subject)
    valid = torch.arange(places.boxes.shape[1]).remainder(3)[None] > 0
    padded = Candidates(places.boxes, valid, places.levels, places.coder)
    found = match(subject, padded, targets(EVERY))
    assert bool((found.index[~valid.expand_as(found.index)] == IGNORE).all()), "an invalid candidate is not IGNORE"


def check_ignored_ground_truth_is_never_positive(subject: Subject) -> None:
    """Difficult and crowd boxes give no positives; candidates upon them leave the loss."""
    truth = targets(EVERY, ignore=True)
    found = match(subject, places_of(subject), truth)
    assert int((found.index >= 0).sum()) == 0, "ground truth flagged ignore has positives"
    assert int((found.index[EVERY.index("mixed boxes")] == IGNORE).sum()) > 0, (
        "no candidate upon ignored ground truth is IGNORE"
    )


def check_padding_changes_nothing(subject: Subject) -> None:
    """The number of padded rows of ground truth makes no difference."""
    places = places_of(subject)
    few, many = match(subject, places, targets(EVERY)), match(subject, places, targets(EVERY, padded=48))
    assert torch.equal(few.index, many.index), "another padding of the ground truth gives another assignment"


def check_batch_equals_singles(subject: Subject) -> None:
    """Each image is matched by itself."""
    places, truth = places_of(subject), targets(EVERY)
    said = predictions_for(subject, places, len(EVERY))
    together = subject.component(places, truth, said)
    for row, name in enumerate(EVERY):
        alone = subject.component(places, image(truth, row), image(said, row))
        assert_close(image(together, row), alone, f"an image with {name}, alone and in a batch")


def check_input_is_not_changed(subject: Subject) -> None:
    """Candidates and targets keep their values: the loss reads them next."""
    places, truth = places_of(subject), targets(EVERY)
    before = snapshot((places, truth))
    match(subject, places, truth)
    assert_unchanged(before, (places, truth), "candidates or targets")


def match(subject: Subject, places: Candidates, truth: Targets) -> Assignment:
    """What the matcher says, shown predictions."""
    found: Assignment = subject.component(places, truth, predictions_for(subject, places, len(truth.boxes)))
    return found
