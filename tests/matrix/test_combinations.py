"""What is combined with what, and where an attempt begins."""

import itertools
import json

import pytest

from detzoo.components.matchers.max_iou import MaxIou
from detzoo.errors import RecipeError
from detzoo.matrix.combinations import KINDS, Combination, all_combinations, component_names, starts
from detzoo.matrix.frames import example, frames, resolved
from detzoo.plugins.registry import get_registry
from detzoo.recipes.compatibility import heads
from detzoo.recipes.recipe import Recipe, load_recipe


def test_all_is_the_cube_and_every_pair_with_a_matcher_loss_or_postprocess() -> None:
    count = {kind: len(names) for kind, names in component_names().items()}
    pairs = [pair for pair in itertools.combinations(KINDS, 2) if pair[1] in ("matcher", "loss", "postprocess")]
    expected = count["backbone"] * count["neck"] * count["head"] + sum(count[a] * count[b] for a, b in pairs)
    found = all_combinations()
    assert len(found) == len({one.key for one in found}) == expected
    assert min(count.values()) >= 3


def test_names_are_all_that_is_registered() -> None:
    names = component_names()
    assert set(names) == {"backbone", "neck", "head", "matcher", "loss", "postprocess"}
    for kind, found in names.items():
        entries = heads(get_registry()) if kind == "head" else get_registry().entries(kind)
        assert found == sorted(entry.name for entry in entries)
    assert {"ssd", "roi_mask", "region_fc"} <= set(names["head"])


def test_two_plugins_with_one_name() -> None:
    get_registry().register("matcher", "max_iou", MaxIou, plugin="another")
    names = component_names()["matcher"]
    get_registry.cache_clear()
    assert {"another/max_iou", "max_iou"} <= set(names)  # the short one is the core's
    assert "core/max_iou" not in names


def test_a_recipe_that_does_not_resolve_is_no_reason_to_try_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_but_one(name: str) -> Recipe:
        if name == "ssd_mobilenet_v2_fpn":
            raise RecipeError("its plugin is of another version")
        return load_recipe(name)

    combination = Combination({"backbone": "mobilenet_v2", "neck": "fpn", "head": "ssd"})
    resolved.cache_clear()
    frames.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("detzoo.matrix.frames.load_recipe", all_but_one)
        found = [start.frame.recipe for start in starts(combination)]
    resolved.cache_clear()
    frames.cache_clear()
    assert found
    assert "ssd_mobilenet_v2_fpn" not in found


def test_null_is_not_carried_to_where_a_component_belongs() -> None:
    frame = next(frame for frame in frames("retinanet") if frame.recipe == "retinanet_mobilenet_v2")
    assert frame.slots["loss"].values["box_normaliser"] is None
    swapped = json.loads((frame.swap("loss", "rfcn", carry=True) or "").partition("=")[2])
    assert swapped["box_normaliser"] == example("loss", "rfcn")["box_normaliser"]


def test_a_recipe_that_has_everything_comes_first_and_is_left_as_it_is() -> None:
    combination = Combination({"backbone": "mobilenet_v2", "neck": "fpn", "head": "ssd"})
    first = starts(combination)[0]
    assert (first.frame.recipe, first.overrides(combination)) == ("ssd_mobilenet_v2_fpn", ())
    assert combination.key == "backbone mobilenet_v2, neck fpn, head ssd"


def test_a_swap_keeps_the_values_that_both_have_or_takes_the_components_own() -> None:
    combination = Combination({"backbone": "resnet18", "neck": "fpn", "head": "ssd"})
    kept, own = [start for start in starts(combination) if start.frame.recipe == "ssd_mobilenet_v2_fpn"]
    carried = json.loads(kept.overrides(combination)[0].removeprefix("backbone="))
    assert (kept.carry, carried["type"], carried["norm"]) == (True, "resnet18", "batch")
    assert "width" not in carried  # MobileNet's own
    assert (own.carry, own.overrides(combination)) == (False, ('backbone={"type": "resnet18"}',))


def test_a_backbone_that_wraps_another_gets_the_recipes() -> None:
    frame = next(frame for frame in frames("ssd") if frame.recipe == "ssd_mobilenet_v2_fpn")
    swapped = json.loads((frame.swap("backbone", "image_pyramid", carry=False) or "").removeprefix("backbone="))
    assert swapped["backbone"] == dict(frame.slots["backbone"].values)


def test_the_parts_beside_a_head_are_those_that_serve_it() -> None:
    (rpn, *_) = frames("rpn")
    box = next(frame for frame in frames("roi_box") if frame.recipe == "fasterrcnn_mobilenet_v2_fpn")
    assert rpn.slots["postprocess"].key == ("proposals", "postprocess")
    assert box.slots["postprocess"].key == ("box", "postprocess")
    assert rpn.slots["backbone"].key == box.slots["backbone"].key == ("backbone",)
    (mask, *_) = frames("roi_mask")
    assert not {"matcher", "loss"} & set(mask.slots)


def test_where_no_recipe_has_a_place_nothing_begins() -> None:
    assert starts(Combination({"neck": "fpn", "head": "region_fc"})) == []


def test_examples_are_of_the_manifest_or_of_a_recipe() -> None:
    assert example("backbone", "resnet18") == {}
    assert example("backbone", "timm") == {"model": "resnet18"}
    assert list(example("neck", "darknet")) == ["layers"]
