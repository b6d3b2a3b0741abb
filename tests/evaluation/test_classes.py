"""Model outputs meet dataset classes by name."""

from __future__ import annotations

import pytest

from detzoo.errors import DataError
from detzoo.evaluation.classes import map_classes
from detzoo.recipes.class_names import SETS


def test_other_order_and_unused_outputs() -> None:
    found = map_classes(["b", None, "a"], ["a", "b"], [7, 3])
    assert found.category_of == (3, None, 7)
    assert (found.unmapped, found.warnings) == ((), ())


def test_coco_model_with_unused_outputs_answers_for_voc() -> None:
    voc = [name for name in SETS["voc"] if name]
    found = map_classes(SETS["coco90"], voc, range(1, 21))
    assert sum(category is not None for category in found.category_of) == 20
    # sofa is VOC's 18th class; couch is COCO's category 63, output 62.
    assert found.category_of[62] == 18
    assert len(found.unmapped) == 60
    assert found.warnings[0].startswith("60 of the model's 80 classes are not in the dataset; their detections are")


def test_aliases_work_both_ways() -> None:
    assert map_classes(["tv", "airplane"], ["aeroplane", "tvmonitor"], [1, 2]).category_of == (2, 1)
    assert map_classes(["potted_plant", "Dining Table"], ["pottedplant", "diningtable"], [1, 2]).category_of == (1, 2)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (["P", "K", "p"], ["p", "P", "K"]),
        (["traffic light", "traffic_light"], ["traffic_light", "traffic light"]),
        (["sofa", "bus", "couch"], ["bus", "couch", "sofa"]),
        (["t-shirt", "T shirt", "t shirt"], ["T shirt", "t shirt", "t-shirt"]),
        (["tv", "tvmonitor", "TV"], ["TV", "tv", "tvmonitor"]),
    ],
)
def test_equal_names_come_before_other_spellings(model: list[str], data: list[str]) -> None:
    found = map_classes(model, data, range(len(data)))
    assert found.category_of == tuple(data.index(name) for name in model)
    assert (found.unmapped, found.warnings) == ((), ())


def test_another_spelling_is_taken_only_from_what_is_left_and_told() -> None:
    found = map_classes(["rbc", "RBC", "WBC"], ["RBC", "wbc"], [1, 2])
    assert (found.category_of, found.unmapped) == ((None, 1, 2), ("rbc",))
    assert "'WBC' for 'wbc'" in found.warnings[1]


@pytest.mark.parametrize(
    ("model", "data"), [(["Cell", "CELL"], ["cell"]), (["cell"], ["Cell", "CELL"]), (["couch", "tv"], ["Sofa", "sofa"])]
)
def test_several_spellings_that_could_be_meant_are_rejected(model: list[str], data: list[str]) -> None:
    with pytest.raises(DataError, match="spelled differently"):
        map_classes(model, data, range(len(data)))


def test_names_that_differ_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        map_classes(["cat", "dog"], ["cats", "dog"], [1, 2])
    assert str(caught.value) == (
        "the model's class names differ from the dataset's: it has no output for cats (near: cat). "
        "Model: cat, dog. Dataset: cats, dog. "
        "Use a detector trained on these classes, or rename the classes in the dataset's yaml"
    )


def test_models_without_names() -> None:
    found = map_classes([None, None], ["a", "b"], [5, 6])
    assert found.category_of == (5, 6)
    assert found.warnings == ("the model's classes have no names; they are taken in the dataset's order (a, b)",)
    with pytest.raises(DataError) as caught:
        map_classes([None], ["a", "b"], [5, 6])
    assert str(caught.value) == (
        "the model has 1 classes without names, the dataset has 2 (a, b); "
        "build it with classes=[...], or train it on this dataset"
    )
