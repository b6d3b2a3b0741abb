"""Checks of what is declared: ``gives`` is what really comes, and nothing is read that ``needs`` does not name.

A recipe is checked by the words of the class, so that a wrong word lets a combination pass that cannot work, or rejects
one that can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from detzoo.feature import Component, Feature, in_order
from detzoo.interfaces import ClassLoss
from detzoo.testing.head import run
from detzoo.testing.loss import columns, hand_assignment, places_of, predictions_for, terms_of
from detzoo.testing.matcher import match
from detzoo.testing.specimens import targets, total
from detzoo.testing.subject import Subject
from detzoo.types import Candidates, Predictions


def check_head_gives_what_it_declares(subject: Subject) -> None:
    """``gives`` names the fields that are filled, one box or one per class, and where the candidates lie."""
    found, said = run(subject, subject.sizes[0])
    real = {
        Feature.CLASS_LOGITS: said.class_logits is not None,
        Feature.QUALITY_LOGITS: said.quality_logits is not None,
        Feature.DISTRIBUTION: said.distribution is not None,
        Feature.LEVELS: bool(found.levels),
    }
    if subject.num_classes > 1:  # of a single class, one box is one per class too
        real[Feature.ONE_BOX] = said.deltas.shape[2] == 1
    # true by chance for one input or one set of anchors, so that only the declared is compared
    for feature, true in (
        (Feature.ONE_GRID, len(found.levels) == 1),
        (Feature.ONE_PER_CELL, all(level.per_cell == 1 for level in found.levels)),
    ):
        if feature in subject.component.gives:
            real[feature] = true
    _compare(subject.component, real)


def check_matcher_gives_what_it_declares(subject: Subject) -> None:
    """``gives`` has ``QUALITY_TARGETS`` where ``Assignment.quality`` is filled, and only there."""
    found = match(subject, places_of(subject), targets(("mixed boxes", "one box")))
    _compare(subject.component, {Feature.QUALITY_TARGETS: found.quality is not None})


def check_class_loss_gives_what_it_declares(subject: Subject) -> None:
    """``gives`` has ``READS_QUALITY`` where soft targets make a difference, and only there."""
    logits = torch.randn(2, 50, columns(subject), generator=torch.Generator().manual_seed(2))
    labels = torch.arange(50).remainder(subject.num_classes).expand(2, 50)
    hard, soft = subject.component(logits, labels), subject.component(logits, labels, torch.full((2, 50), 0.3))
    _compare(subject.component, {Feature.READS_QUALITY: not torch.equal(hard, soft)})


def check_loss_passes_quality_on(subject: Subject) -> None:
    """A class loss that reads soft targets gets those of the assignment, or such as the loss computes itself."""
    inside = [part for part in subject.component.modules() if isinstance(part, ClassLoss)]
    reads = [part for part in inside if Feature.READS_QUALITY in part.gives]
    if not reads or Feature.QUALITY_TARGETS in subject.component.gives:
        return
    places, truth = places_of(subject), targets(("mixed boxes", "one box"))
    said, given = predictions_for(subject, places, 2), hand_assignment(places, truth)
    hard = dataclasses.replace(given, quality=None)
    sums = [total(terms_of(subject.copied(), said, places, truth, one)) for one in (given, hard)]
    assert float((sums[0] - sums[1]).detach().abs()) > 0, (
        f"its class loss {type(reads[0]).__name__} reads soft targets, but Assignment.quality changes nothing: "
        "pass it on as the third argument"
    )


def check_matcher_needs_what_it_declares(subject: Subject) -> None:
    """It works without whatever ``needs`` does not name: without predictions, their fields, levels."""
    truth = targets(("mixed boxes", "one box", "no box"))
    _without(subject, lambda places, said: subject.component(places, truth, said))


def check_loss_needs_what_it_declares(subject: Subject) -> None:
    """It works without whatever ``needs``, its own and that of its parts, does not name."""
    truth = targets(("mixed boxes", "one box", "no box"))
    _without(
        subject,
        lambda places, said: subject.copied().component(said, places, truth, hand_assignment(places, truth)),
        shown=True,
    )


def _compare(component: Component, real: dict[Feature, bool]) -> None:
    """Fail where a feature is declared and does not come, or comes and is not declared."""
    name = type(component).__name__
    for feature, comes in real.items():
        declared = feature in component.gives
        assert comes or not declared, f"{name}.gives names {feature}, but it does not come: take it out"
        assert declared or not comes, f"{feature} comes, but {name}.gives does not name it: add it"
    added = in_order(component.gives - type(component).gives)
    assert not added, (
        f"the constructor adds {', '.join(added)} to gives: recipes are checked by the class, name it there too"
    )


def _without(
    subject: Subject, call: Callable[[Candidates, Predictions | None], object], *, shown: bool = False
) -> None:
    """Take away one feature after the other that is not needed, and see whether it still works.

    Args:
        subject: the component.
        call: it on candidates and predictions of three images.
        shown: whether it gets predictions in any case.
    """
    parts = [part for part in subject.component.modules() if isinstance(part, Component)]
    needed = frozenset[Feature]().union(*(part.needs for part in parts), {Feature.PREDICTIONS} if shown else ())
    places = places_of(subject)
    said = predictions_for(subject, places, 3)
    for feature in Feature:
        changed = None if feature in needed else _taken_away(feature, needed, places, said, subject.num_classes)
        if changed is not None:
            try:
                call(*changed)
            except Exception as error:
                what = str(error).partition("\n")[0] or type(error).__name__
                raise AssertionError(f"it fails without {feature}, which `needs` does not name: {what}") from error


def _taken_away(
    feature: Feature, needed: frozenset[Feature], places: Candidates, said: Predictions, classes: int
) -> tuple[Candidates, Predictions | None] | None:
    """Candidates and predictions without a feature; None where it cannot be taken away from them."""
    if feature is Feature.PREDICTIONS:
        return places, None
    if feature is Feature.CLASS_LOGITS:
        return places, dataclasses.replace(said, class_logits=None)
    if feature is Feature.QUALITY_LOGITS:
        return places, dataclasses.replace(said, quality_logits=None)
    if feature is Feature.DISTRIBUTION:
        return places, dataclasses.replace(said, distribution=None)
    if feature is Feature.ONE_BOX:
        return places, dataclasses.replace(said, deltas=said.deltas.expand(-1, -1, classes, -1))
    if feature is Feature.LEVELS and not needed & {Feature.ONE_GRID, Feature.ONE_PER_CELL}:
        return dataclasses.replace(places, levels=()), said
    return None
