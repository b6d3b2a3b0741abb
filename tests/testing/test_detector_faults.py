"""Faulty detectors, one fault each: the conformance kit finds each by the check that is meant for it.

All checks of a detector run on it. The first name of a row is the check that must fail; those behind it fail
unavoidably with it. No other check may fail.
"""

from __future__ import annotations

import importlib

import pytest
import torch

from detzoo.build import build_recipe
from detzoo.config import load_recipe, recipe_from_values
from detzoo.detectors.one_stage import OneStage
from detzoo.interfaces import Detector
from detzoo.registry import Registry
from detzoo.testing.catalogue import DETECTOR_CHECKS
from detzoo.testing.specimens import NUM_CLASSES
from detzoo.testing.trial import Trial
from tests.testing import faulty_detectors as faulty

FAULTS: list[tuple[type[OneStage], list[str]]] = [
    (faulty.InfiniteForThinBoxes, ["loss_is_finite"]),
    (faulty.NanWithoutObjects, ["loss_without_objects_is_finite"]),
    (faulty.RaisesWithoutObjects, ["loss_without_objects_is_finite"]),
    (faulty.NoBoxTermWithoutObjects, ["loss_without_objects_is_finite"]),
    # where no gradient flows back, none arrives
    (faulty.Detached, ["loss_belongs_to_the_graph", "gradient_reaches_every_parameter"]),
    (faulty.DetachedBoxes, ["loss_belongs_to_the_graph", "gradient_reaches_every_parameter"]),
    (faulty.NoTerms, ["loss_belongs_to_the_graph", "gradient_reaches_every_parameter"]),
    (faulty.IdleParameter, ["gradient_reaches_every_parameter"]),
    (faulty.WritesPixels, ["inputs_are_not_changed"]),
    (faulty.WritesTargets, ["inputs_are_not_changed"]),
    (faulty.WritesPictures, ["inputs_are_not_changed"]),
    (faulty.StaysInTraining, ["predicting_changes_nothing"]),
    (faulty.CountsPictures, ["predicting_changes_nothing"]),
    (faulty.LabelsFromOne, ["results_are_in_original_pixels"]),
    (faulty.BoxesInNetworkPixels, ["results_are_in_original_pixels"]),
    (faulty.WidthBeforeHeight, ["results_are_in_original_pixels"]),
    (faulty.WorstFirst, ["results_are_in_original_pixels"]),
    (faulty.ScoresInPercent, ["results_are_in_original_pixels"]),
    (faulty.LabelsAreNumbersWithPoints, ["results_are_in_original_pixels"]),
    # two answers that are drawn differ from each other, whatever is beside them
    (faulty.Draws, ["same_picture_same_detections", "batch_equals_singles"]),
    (faulty.LooksAtTheBatch, ["batch_equals_singles"]),
    (faulty.OneScoreTooFew, ["results_are_taken_by_pycocotools", "results_are_in_original_pixels"]),
    (faulty.LoadsWrongly, ["state_dict_round_trip"]),
    (faulty.BuildsAnotherLayerEachTime, ["state_dict_round_trip"]),
]


def trial(cls: type[OneStage], registry: Registry) -> Trial:
    """The toy detector with another join."""
    registry.register("join", cls.__name__, cls)
    recipe = recipe_from_values(cls.__name__, load_recipe("toy_detector").values | {"join": cls.__name__})

    def made() -> Detector:
        torch.manual_seed(0)
        return build_recipe(recipe, num_classes=NUM_CLASSES)

    return Trial(made(), made)


def failing(tried: Trial) -> list[str]:
    """Names of the checks of a detector that it fails, by assertion or by crashing."""
    found = []
    for spec in DETECTOR_CHECKS:
        file, _, name = spec.partition(":")
        try:
            getattr(importlib.import_module(f"detzoo.testing.{file}"), f"check_{name}")(tried)
        except Exception:
            found.append(name)
    return found


def test_without_the_fault_every_check_passes(toy_registry: Registry) -> None:
    tried = trial(faulty.Right, toy_registry)
    assert len(DETECTOR_CHECKS) == 11
    assert failing(tried) == []
    assert [len(one) > 0 for one in (*tried.found.together, tried.found.alone, tried.found.other)] == [True] * 4


@pytest.mark.parametrize(("cls", "expected"), FAULTS)
def test_a_fault_is_found_by_the_check_meant_for_it(
    cls: type[OneStage], expected: list[str], toy_registry: Registry
) -> None:
    assert sorted(failing(trial(cls, toy_registry))) == sorted(expected)


def test_every_check_of_a_detector_has_a_fault_that_is_meant_for_it() -> None:
    assert {expected[0] for _, expected in FAULTS} == {spec.partition(":")[2] for spec in DETECTOR_CHECKS}
