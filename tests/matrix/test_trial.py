"""One combination for real."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from detzoo.components.losses.multibox import MultiBox
from detzoo.components.matchers.max_iou import MaxIou
from detzoo.matrix.combinations import Combination
from detzoo.matrix.trial import attempt, made_small, try_combination
from detzoo.plugins.registry import get_registry
from detzoo.types import Assignment, Candidates, Predictions, Targets

RECIPE = "ssd_ultralight_face_rfb"
"""The smallest there is."""


class Crashing(MaxIou):
    """Fails at the first image, and not in words for a user."""

    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        raise IndexError("Target 3 is out of bounds.\nand more")


class Infinite(MultiBox):
    """A loss that nobody can train by."""

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        return {"infinite": predictions.deltas.sum() * torch.inf}


@pytest.fixture(autouse=True)
def faulty() -> Iterator[None]:
    get_registry().register("matcher", "crashing", Crashing, plugin="faulty")
    get_registry().register("loss", "infinite", Infinite, plugin="faulty")
    yield
    get_registry.cache_clear()


def test_an_unchanged_recipe_works() -> None:
    assert attempt(RECIPE, made_small(RECIPE)) == ("works", "")


def test_a_swap_that_works_says_from_where() -> None:
    outcome = try_combination(Combination({"neck": "fpn", "head": "retinanet"}))
    assert (outcome.status, outcome.reason, outcome.recipe, outcome.carry) == (
        "works", "", "retinanet_mobilenet_v2", True,
    )  # fmt: skip


def test_a_refusal_is_that_of_the_nearest_recipe_without_its_place() -> None:
    outcome = try_combination(Combination({"head": "ssd", "matcher": "grid_responsible"}))
    assert outcome.status == "refused"
    assert outcome.reason == ('matcher: matcher "grid_responsible" needs one_grid, which head "ssd" does not give')


def test_without_a_place_for_it_a_combination_is_refused() -> None:
    outcome = try_combination(Combination({"neck": "fpn", "head": "region_fc"}))
    assert (outcome.status, outcome.reason) == ("refused", "no recipe has a neck beside head region_fc")


def test_what_fails_after_the_build_is_broken() -> None:
    status, reason = attempt(RECIPE, [*made_small(RECIPE), "matcher={type: faulty/crashing}"])
    assert (status, reason) == ("broken", "after the build: IndexError: Target 3 is out of bounds. (forward)")


def test_a_loss_that_is_no_number_is_broken() -> None:
    loss = "loss={type: faulty/infinite, classification: {type: cross_entropy}, box: {type: smooth_l1}, "
    status, reason = attempt(RECIPE, [*made_small(RECIPE), loss + "normaliser: {type: positives}}"])
    assert status == "broken"
    assert reason in {"the loss is inf", "the loss is -inf", "the loss is nan"}


def test_large_recipes_are_made_small() -> None:
    assert "input.size=[128, 128]" in made_small("fasterrcnn_nas_coco")
    assert "proposals.postprocess.keep=20" in made_small("fasterrcnn_nas_coco")
    assert not any(line.startswith("input.size") for line in made_small("ssd300_vgg16"))  # its layers need 300 px
