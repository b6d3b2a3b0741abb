"""What components need of those beside them: refused when the recipe is read, with who could give it."""

import pytest

from detzoo.errors import RecipeError
from detzoo.interfaces import Head, Matcher
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.compatibility import MINIMUM, gives, unmet_needs
from detzoo.recipes.recipe import load_recipe
from detzoo.types import Assignment, Candidates, FeatureMaps, ImageBatch, Predictions, Targets


def test_no_recipe_of_the_zoo_lacks_anything() -> None:
    registry = get_registry()
    lacking = {name: [*unmet_needs(load_recipe(name).values, registry)] for name in registry.detectors()}
    assert {name: found for name, found in lacking.items() if found} == {}
    assert lacking


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        (
            "ssd_mobilenet_v2_fpn",
            "matcher={type: grid_responsible}",
            '--set matcher: detectors.ssd_mobilenet_v2_fpn.matcher: matcher "grid_responsible" needs one_grid, which '
            'head "ssd" and architecture "one_stage" do not give; given by head yolo_grid',
        ),
        (
            "fasterrcnn_mobilenet_v2_fpn",
            "box.matcher={type: grid_responsible}",
            '--set box.matcher: detectors.fasterrcnn_mobilenet_v2_fpn.box.matcher: matcher "grid_responsible" needs '
            'one_grid, which head "roi_box" and architecture "two_stage" do not give; given by head yolo_grid\n'
            '--set box.matcher: detectors.fasterrcnn_mobilenet_v2_fpn.box.matcher: matcher "grid_responsible" needs '
            'predictions, which head "roi_box" and architecture "two_stage" do not give; given by architecture '
            "one_stage; proposals rpn\n"
            '--set box.matcher: detectors.fasterrcnn_mobilenet_v2_fpn.box.matcher: matcher "grid_responsible" needs '
            'one_box, which head "roi_box" and architecture "two_stage" do not give; given by head detr, detr_anchors, '
            "fcos, retinanet, rpn, ssd, ssd_shared, yolo_anchor, yolo_grid",
        ),
        (
            "retinanet_mobilenet_v2",
            "loss={type: mask_bce}",
            '--set loss: detectors.retinanet_mobilenet_v2.loss: loss "mask_bce" needs mask_logits, which head '
            '"retinanet" and architecture "one_stage" do not give; given by head roi_mask',
        ),
    ],
)
def test_the_message_names_what_lacks_where_and_who_gives_it(recipe: str, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe, [override])
    assert str(error.value) == message


def test_a_matcher_inside_the_rpn_is_shown_predictions() -> None:
    recipe = load_recipe("fasterrcnn_mobilenet_v2_fpn", ["proposals.matcher={type: hungarian}"])
    assert recipe.values["proposals"]["matcher"]["type"] == "hungarian"


class Looker(Matcher):
    """Needs what nothing gives."""

    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        raise NotImplementedError


class Plain(Head):
    """Declares nothing."""

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates | None = None
    ) -> tuple[Candidates, Predictions]:
        raise NotImplementedError


def test_classes_registered_by_hand(toy_registry: Registry) -> None:
    toy_registry.register("head", "plain", Plain)
    toy_registry.register("head", "dense", Plain, plugin="other", gives=("levels",))
    toy_registry.register("matcher", "looker", Looker, needs=("a_word_of_its_own",))
    assert gives("head", "plain", toy_registry) == MINIMUM == ("class_logits", "one_box")
    assert gives("head", "dense", toy_registry) == ("levels",)
    assert gives("matcher", "looker", toy_registry) == ()
    values = load_recipe("toy_detector").values | {"matcher": {"type": "looker"}}
    (problem,) = unmet_needs(values, toy_registry)
    assert problem.key == ("matcher",)
    assert problem.message.endswith("do not give; given by nothing installed")
