"""Faulty detectors, one fault each: the conformance kit finds each by the check that is meant for it.

All checks of a detector run on it. The first name of a row is the check that must fail, with the message before it, in
which # is any number; those behind it fail unavoidably with it. No other check may fail.
"""

from __future__ import annotations

import importlib
import re

import pytest
import torch

from detzoo.builder import build_recipe
from detzoo.detectors.one_stage import OneStage
from detzoo.interfaces import Detector
from detzoo.plugins.registry import Registry
from detzoo.recipes.recipe import load_recipe, recipe_from_values
from detzoo.testing.catalogue import DETECTOR_CHECKS
from detzoo.testing.specimens import NUM_CLASSES
from detzoo.testing.trial import Trial
from tests.testing import faulty_detectors as faulty

FAULTS: list[tuple[type[OneStage], str, list[str]]] = [
    (faulty.InfiniteForThinBoxes, "boxes of every kind: the term width is inf", ["loss_is_finite"]),
    (
        faulty.NanWithoutObjects,
        "a batch without objects: the term classification is nan",
        ["loss_without_objects_is_finite"],
    ),
    (
        faulty.RaisesWithoutObjects,
        "amax(): Expected reduction dim 0 to have non-zero size.",
        ["loss_without_objects_is_finite"],
    ),
    (
        faulty.NoBoxTermWithoutObjects,
        "a batch without objects has the terms ['classification'], others have ['box', 'classification']",
        ["loss_without_objects_is_finite"],
    ),
    # where no gradient flows back, none arrives
    (
        faulty.Detached,
        "no gradient flows back from classification, box: do not detach the terms",
        ["loss_belongs_to_the_graph", "gradient_reaches_every_parameter"],
    ),
    (
        faulty.DetachedBoxes,
        "no gradient flows back from box: do not detach the terms",
        ["loss_belongs_to_the_graph", "gradient_reaches_every_parameter"],
    ),
    (
        faulty.NoTerms,
        "the loss has no terms: nothing can be trained",
        ["loss_belongs_to_the_graph", "gradient_reaches_every_parameter"],
    ),
    (faulty.IdleParameter, "no gradient reaches idle: freeze or remove them", ["gradient_reaches_every_parameter"]),
    (
        faulty.WritesPixels,
        "the batch or its targets changed in place: copy it before writing to it",
        ["inputs_are_not_changed"],
    ),
    (
        faulty.WritesTargets,
        "the batch or its targets changed in place: copy it before writing to it",
        ["inputs_are_not_changed"],
    ),
    (faulty.WritesImages, "an image changed in place: copy it before writing to it", ["inputs_are_not_changed"]),
    (faulty.StaysInTraining, "the mode of neck is not what it was before predicting", ["predicting_changes_nothing"]),
    (faulty.CountsImages, "seen is not what it was before predicting", ["predicting_changes_nothing"]),
    (faulty.LabelsFromOne, "labels from 1 to 3; there are 3 classes", ["results_are_in_original_pixels"]),
    (
        faulty.BoxesInNetworkPixels,
        "a box reaches beyond the image of 38x52 px: #, #, #, #",
        ["results_are_in_original_pixels"],
    ),
    (faulty.WidthBeforeHeight, "size is (200, 120), the image has (120, 200)", ["results_are_in_original_pixels"]),
    (faulty.WorstFirst, "they are not sorted by score: #, #, #, #", ["results_are_in_original_pixels"]),
    (faulty.ScoresInPercent, "scores from # to #", ["results_are_in_original_pixels"]),
    (
        faulty.LabelsAreNumbersWithPoints,
        "boxes, scores and labels are (torch.float32, torch.float32, torch.float32)",
        ["results_are_in_original_pixels"],
    ),
    # two answers that are drawn differ from each other, whatever is beside them
    (
        faulty.Draws,
        "the scores of two calls: they differ by #, more than rounding",
        ["same_image_same_detections", "batch_equals_singles"],
    ),
    (faulty.LooksAtTheBatch, "the scores: they differ by #, more than rounding", ["batch_equals_singles"]),
    (
        faulty.OneScoreTooFew,
        "# boxes, # scores and # labels",
        ["results_are_taken_by_pycocotools", "results_are_in_original_pixels"],
    ),
    (faulty.LoadsWrongly, "backbone.convs.s8.weight is not what was loaded", ["state_dict_round_trip"]),
    (
        faulty.BuildsAnotherLayerEachTime,
        "Error(s) in loading state_dict for BuildsAnotherLayerEachTime:",
        ["state_dict_round_trip"],
    ),
]


def trial(cls: type[OneStage], registry: Registry) -> Trial:
    """The toy detector with another meta-architecture."""
    registry.register("architecture", cls.__name__, cls)
    recipe = recipe_from_values(cls.__name__, load_recipe("toy_detector").values | {"architecture": cls.__name__})

    def made() -> Detector:
        torch.manual_seed(0)
        return build_recipe(recipe, num_classes=NUM_CLASSES)

    return Trial(made(), made)


def failing(tried: Trial) -> dict[str, str]:
    """First lines of what the checks of a detector that it fails say, by assertion or by crashing."""
    found = {}
    for spec in DETECTOR_CHECKS:
        file, _, name = spec.partition(":")
        try:
            getattr(importlib.import_module(f"detzoo.testing.{file}"), f"check_{name}")(tried)
        except Exception as error:
            found[name] = str(error).splitlines()[0]
    return found


def test_without_the_fault_every_check_passes(toy_registry: Registry) -> None:
    tried = trial(faulty.Right, toy_registry)
    assert len(DETECTOR_CHECKS) == 11
    assert failing(tried) == {}
    assert [len(one) > 0 for one in (*tried.found.together, tried.found.alone, tried.found.other)] == [True] * 4


@pytest.mark.parametrize(("cls", "message", "expected"), FAULTS)
def test_a_fault_is_found_by_the_check_meant_for_it(
    cls: type[OneStage], message: str, expected: list[str], toy_registry: Registry
) -> None:
    found = failing(trial(cls, toy_registry))
    assert sorted(found) == sorted(expected)
    assert re.fullmatch(re.escape(message).replace(r"\#", r"-?[0-9.e+-]+"), found[expected[0]]), found


def test_every_check_of_a_detector_has_a_fault_that_is_meant_for_it() -> None:
    assert {expected[0] for _, _, expected in FAULTS} == {spec.partition(":")[2] for spec in DETECTOR_CHECKS}
