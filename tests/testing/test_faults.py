"""Faulty components, one fault each: the conformance kit finds each by the check that is meant for it.

All checks of the component's kind run on it. The first name of a row is the check that must fail; those behind it fail
unavoidably with it. No other check may fail.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from detzoo.components.box_coders import CentreSize
from detzoo.components.matchers.max_iou import MaxIou
from detzoo.components.samplers import RandomFraction
from detzoo.components.unreduced_losses import BinaryCrossEntropy
from detzoo.plugins.registry import Registry
from detzoo.testing import examples
from detzoo.testing.catalogue import KIND_CHECKS
from detzoo.testing.module import check_same_seed_same_weights
from detzoo.testing.specimens import SMALL
from detzoo.testing.subject import Subject
from tests.testing.faulty_components import (
    AddsInItsConstructor,
    AddsPositives,
    BeyondTheImage,
    CornersAndSides,
    CountsPadding,
    DeclaresADistribution,
    DeclaresAQuality,
    DeclaresOneGrid,
    DeclaresQualityTargets,
    DecodesHalf,
    DependsOnPadding,
    DetachedZero,
    DrawsScores,
    DropsInEvaluation,
    ForgetsInvalid,
    GivesXywh,
    HidesAQuality,
    HidesBoxes,
    HidesItsLevels,
    HidesQualityTargets,
    HidesThatItReads,
    IdleParameter,
    IgnoresItsNormaliser,
    IgnoresQuality,
    InPlace,
    KeepsItsThreshold,
    KeepsQualityToItself,
    KeepsTooMany,
    LabelsFromOne,
    LoadsWrongly,
    LooksAtAQuality,
    LooksAtLevels,
    LooksAtPredictions,
    LooksAtTheBatch,
    Loss,
    NanScores,
    NeedsABox,
    Net,
    NotANumberWhenEmpty,
    OneClassShort,
    Post,
    SeedsFromTheClock,
    Squares,
    Unregistered,
    UsesIgnored,
    WorstFirst,
    WritesTargets,
    WrongChannels,
    WrongStride,
)


def failing(kind: str, make: Callable[[], Any]) -> list[str]:
    """Names of the checks of a kind that a component fails, by assertion or by crashing."""
    found = []
    for spec in KIND_CHECKS[kind]:
        file, _, name = spec.partition(":")
        check = getattr(importlib.import_module(f"detzoo.testing.{file}"), f"check_{name}")

        def seeded(seed: int) -> Any:
            torch.manual_seed(seed)
            return make()

        try:
            check(Subject(component=seeded(0), rebuild=seeded, sizes=SMALL))
        except Exception:
            found.append(name)
    return found


RIGHT: list[tuple[str, Callable[[], Any]]] = [
    ("backbone", Net),
    ("head", Squares),
    ("matcher", lambda: MaxIou(low_quality="always")),
    ("loss", Loss),
    ("class_loss", BinaryCrossEntropy),
    ("postprocess", Post),
    ("box_coder", CentreSize),
    ("sampler", lambda: RandomFraction(size=64, positive_fraction=0.25)),
]
FAULTS: list[tuple[str, Callable[[], Any], list[str]]] = [
    ("backbone", WrongStride, ["declared_maps"]),
    ("backbone", WrongChannels, ["declared_maps"]),
    # the second call gets what the first has halved
    ("backbone", InPlace, ["input_is_not_changed", "same_input_same_output", "batch_equals_singles"]),
    ("backbone", LooksAtTheBatch, ["batch_equals_singles"]),
    # two answers that are drawn differ from each other, whatever is beside them
    ("backbone", DropsInEvaluation, ["same_input_same_output", "batch_equals_singles"]),
    ("backbone", IdleParameter, ["gradient_reaches_every_parameter"]),
    ("backbone", Unregistered, ["moves_between_dtypes"]),
    ("backbone", LoadsWrongly, ["state_dict_round_trip"]),
    ("backbone", SeedsFromTheClock, ["same_seed_same_weights"]),
    ("head", CornersAndSides, ["outputs"]),
    ("head", OneClassShort, ["outputs"]),
    ("head", HidesBoxes, ["gradient_reaches_every_parameter"]),
    *(
        ("head", head, ["head_gives_what_it_declares"])
        for head in (
            AddsInItsConstructor,
            DeclaresADistribution,
            DeclaresAQuality,
            DeclaresOneGrid,
            HidesAQuality,
            HidesItsLevels,
        )
    ),
    ("matcher", lambda: DeclaresQualityTargets(low_quality="always"), ["matcher_gives_what_it_declares"]),
    ("matcher", lambda: HidesQualityTargets(low_quality="always"), ["matcher_gives_what_it_declares"]),
    ("matcher", lambda: LooksAtPredictions(low_quality="always"), ["matcher_needs_what_it_declares"]),
    # regions without levels are what the empty case looks like too
    (
        "matcher",
        lambda: LooksAtLevels(low_quality="always"),
        ["matcher_needs_what_it_declares", "takes_the_empty_case"],
    ),
    ("matcher", lambda: UsesIgnored(low_quality="always"), ["ignored_ground_truth_is_never_positive"]),
    ("matcher", lambda: DependsOnPadding(low_quality="always"), ["padding_changes_nothing"]),
    ("matcher", lambda: NeedsABox(low_quality="always"), ["takes_the_empty_case"]),
    ("matcher", lambda: ForgetsInvalid(low_quality="always"), ["invalid_candidates_are_ignored"]),
    ("matcher", lambda: WritesTargets(low_quality="always"), ["input_is_not_changed"]),
    ("loss", NotANumberWhenEmpty, ["every_ground_truth_gives_finite_terms"]),
    ("loss", DetachedZero, ["without_candidates_terms_are_connected_zeros"]),
    ("loss", IgnoresItsNormaliser, ["normaliser_divides_the_terms"]),
    ("loss", CountsPadding, ["padding_changes_nothing"]),
    ("loss", LooksAtAQuality, ["loss_needs_what_it_declares"]),
    ("loss", KeepsQualityToItself, ["loss_passes_quality_on"]),
    ("class_loss", IgnoresQuality, ["class_loss_reads_quality", "class_loss_gives_what_it_declares"]),
    ("class_loss", HidesThatItReads, ["class_loss_gives_what_it_declares"]),
    ("postprocess", LabelsFromOne, ["outputs"]),
    ("postprocess", GivesXywh, ["outputs"]),
    # NaN equals nothing, so nothing that is compared is equal
    ("postprocess", NanScores, ["outputs", "same_input_same_output", "batch_equals_singles"]),
    ("postprocess", WorstFirst, ["outputs"]),
    ("postprocess", BeyondTheImage, ["outputs"]),
    ("postprocess", KeepsTooMany, ["obeys_its_settings"]),
    ("postprocess", KeepsItsThreshold, ["obeys_its_settings"]),
    ("postprocess", DrawsScores, ["same_input_same_output", "batch_equals_singles", "obeys_its_settings"]),
    ("box_coder", DecodesHalf, ["decode_inverts_encode"]),
    ("sampler", AddsPositives, ["sampler_only_ignores"]),
]


@pytest.mark.parametrize(("kind", "make"), RIGHT, ids=lambda value: value if isinstance(value, str) else "")
def test_without_the_fault_every_check_passes(kind: str, make: Callable[[], Any]) -> None:
    assert failing(kind, make) == []


@pytest.mark.parametrize(("kind", "make", "expected"), FAULTS)
def test_a_fault_is_found_by_the_check_meant_for_it(kind: str, make: Callable[[], Any], expected: list[str]) -> None:
    assert sorted(failing(kind, make)) == sorted(expected)


def test_there_are_at_least_25_faults() -> None:
    assert len(FAULTS) >= 25


def test_a_part_of_a_recipe_is_built_twice_to_see_whether_a_seed_fixes_its_weights(
    toy_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples.build_seeded.cache_clear()
    subject = examples.make_subject("toy", "backbone", "toy_backbone", {})
    check_same_seed_same_weights(subject)
    examples.build_seeded.cache_clear()
    monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
    with pytest.raises(AssertionError, match="differs although the seed was the same"):
        check_same_seed_same_weights(subject)
    examples.build_seeded.cache_clear()
