"""What components need of those around them: refused when the recipe is read, or built, with who could give it."""

import pytest
from torch import Tensor

from detzoo.builder import build
from detzoo.errors import RecipeError
from detzoo.interfaces import ClassLoss, DenseHead, Feature, Matcher
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.compatibility import unmet_needs
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
            'head "ssd" does not give; given by head centernet, yolo_grid',
        ),
        (
            "fasterrcnn_mobilenet_v2_fpn",
            "box.matcher={type: grid_responsible}",
            '--set box.matcher: detectors.fasterrcnn_mobilenet_v2_fpn.box.matcher: matcher "grid_responsible" needs '
            'one_grid, which roi_head "roi_box" does not give; given by head centernet, yolo_grid\n'
            '--set box.matcher: detectors.fasterrcnn_mobilenet_v2_fpn.box.matcher: matcher "grid_responsible" needs '
            'predictions, which architecture "two_stage" does not give; given by architecture one_stage, '
            "one_stage_union; proposals rpn",
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

    needs = frozenset({Feature.MASK_LOGITS})

    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        raise NotImplementedError


class Soft(Matcher):
    """Fills a quality that must not be ignored."""

    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.READS_QUALITY})

    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        raise NotImplementedError


class Softened(ClassLoss):
    """Reads a quality, and makes no sense without one."""

    gives = frozenset({Feature.READS_QUALITY})
    needs = frozenset({Feature.QUALITY_TARGETS, Feature.SIGMOID_SCORES})

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class Plain(DenseHead):
    """Declares nothing of its own."""

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        raise NotImplementedError


def test_classes_registered_by_hand(toy_registry: Registry) -> None:
    toy_registry.register("head", "plain", Plain)
    toy_registry.register("matcher", "looker", Looker)
    assert toy_registry.abilities(toy_registry.find("head", "plain")).gives == {
        "class_logits", "one_box", "levels", "sigmoid_scores",
    }  # fmt: skip
    values = load_recipe("toy_detector").values | {"matcher": {"type": "looker"}}
    (problem,) = unmet_needs(values, toy_registry)
    assert problem.key == ("matcher",)
    assert problem.message.endswith("does not give; given by nothing installed")


def test_soft_targets_need_a_loss_that_reads_them_and_the_other_way_round(toy_registry: Registry) -> None:
    toy_registry.register("matcher", "soft", Soft)
    toy_registry.register("class_loss", "softened", Softened)
    values = load_recipe("toy_detector").values
    loss = values["loss"] | {"classification": {"type": "softened"}}

    (ignored,) = unmet_needs(values | {"matcher": {"type": "soft"}}, toy_registry)
    (lacking,) = unmet_needs(values | {"loss": loss}, toy_registry)

    assert ignored.message == (
        'matcher "soft" needs reads_quality, which class_loss "cross_entropy" does not give; '
        "given by class_loss binary_cross_entropy, quality_focal, softened, varifocal"
    )
    assert lacking.key == ("loss", "classification")
    assert lacking.message == (
        'class_loss "softened" needs quality_targets, which matcher "ssd_bipartite" and loss "multibox" do not give; '
        "given by loss quality_multibox; matcher soft, task_aligned"
    )
    assert list(unmet_needs(values | {"matcher": {"type": "soft"}, "loss": loss}, toy_registry)) == []


def test_a_class_loss_that_reads_other_scores_is_refused_when_the_recipe_is_read() -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("retinanet_mobilenet_v2", ["loss.classification={type: cross_entropy}"])
    assert (
        'class_loss "cross_entropy" needs softmax_scores, which head "retinanet" does not give (but sigmoid_scores); '
        "given by head detr, detr_anchors, " in str(error.value)
    )


def test_what_a_value_decides_is_compared_when_the_detector_is_built() -> None:
    with pytest.raises(RecipeError) as error:
        build("ssd_mobilenet_v2_fpn", overrides={"head.scoring": "sigmoid"}, weights=None)
    assert (
        'class_loss "cross_entropy" needs softmax_scores, which head "ssd", as it is set here, does not give '
        "(but sigmoid_scores); given by head " in str(error.value)
    )


def test_a_loss_is_told_of_the_head_that_gives_other_scores(toy_registry: Registry) -> None:
    with pytest.raises(RecipeError, match=r'needs softmax_scores, which head "toy_head", as it is set here, does not'):
        build("toy_detector", overrides={"head.scoring": "linear"}, weights=None)


def test_one_box_for_all_classes_is_a_value_of_a_head() -> None:
    overrides = ["box.loss={type: softmax_focal, box: {type: giou}, normaliser: {type: positives}}"]
    with pytest.raises(RecipeError, match=r'needs one_box, which roi_head "roi_box", as it is set here, does not give'):
        build("fasterrcnn_mobilenet_v2_fpn", overrides=overrides, weights=None)
    build("fasterrcnn_mobilenet_v2_fpn", overrides=[*overrides, "box.head.class_agnostic=true"], weights=None)
