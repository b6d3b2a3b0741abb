"""The two-stage meta-architecture with regions and a box head of a third party: from YAML to detections.

Both toys are as small as they can be; matchers, samplers, losses, post-processing and builder are the core's.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.builder import build
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import RecipeError
from detzoo.interfaces import (
    BoxCoder,
    DenseHead,
    Loss,
    Matcher,
    PostProcess,
    Proposals,
    RoiHead,
    RoiPool,
    Sampler,
)
from detzoo.plugins.registry import Registry
from detzoo.recipes.recipe import load_recipe
from detzoo.schema.nodes import Scope
from detzoo.types import (
    Candidates,
    FeatureMaps,
    FeatureSpecs,
    ImageBatch,
    Predictions,
    Targets,
)

# ------------------------------------------------------------------------------------------------ the detector


class ToyRpn(Proposals):
    """A dense head that sees one class, object; its detections are the regions of the second stage."""

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        head: Annotated[DenseHead, Scope(num_classes=1)],
        matcher: Matcher,
        sampler: Sampler,
        loss: Annotated[Loss, Scope(num_classes=1)],
        postprocess: PostProcess,
    ) -> None:
        super().__init__()
        self.head, self.matcher, self.sampler, self.loss, self.postprocess = head, matcher, sampler, loss, postprocess

    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        candidates, predictions = self.head(features, batch)
        return self.regions(candidates, predictions, batch)

    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets
    ) -> tuple[Candidates, dict[str, Tensor]]:
        candidates, predictions = self.head(features, batch)
        objects = dataclasses.replace(targets, labels=torch.zeros_like(targets.labels))
        assignment = self.sampler(self.matcher(candidates, objects, predictions))
        terms = self.loss(predictions.float(), candidates, objects, assignment)
        return self.regions(candidates, predictions, batch), {f"rpn.{name}": term for name, term in terms.items()}

    def regions(self, candidates: Candidates, predictions: Predictions, batch: ImageBatch) -> Candidates:
        found = self.postprocess(predictions.float(), candidates, batch)
        return Candidates(found.boxes, found.valid, scores=found.scores).detach()


class ToyBoxHead(RoiHead):
    """Looks at each pooled region with one hidden layer."""

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        roi_pool: RoiPool,
        box_coder: BoxCoder,
        hidden: Annotated[int, Field(gt=0)] = 64,
    ) -> None:
        super().__init__()
        self.roi_pool, self.coder, self.num_classes = roi_pool, box_coder, num_classes
        self.layer = nn.Linear(roi_pool.channels * roi_pool.output[0] * roi_pool.output[1], hidden)
        self.classes, self.boxes = nn.Linear(hidden, num_classes + 1), nn.Linear(hidden, num_classes * 4)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates
    ) -> tuple[Candidates, Predictions]:
        images, regions = candidates.boxes.shape[:2]
        seen = self.layer(self.roi_pool(features, candidates).flatten(1)).relu().view(images, regions, -1)
        deltas = self.boxes(seen).view(images, regions, self.num_classes, 4)
        return dataclasses.replace(candidates, coder=self.coder), Predictions(self.classes(seen), "softmax", deltas)


# ------------------------------------------------------------------------------------------------ its recipe

RECIPE = """\
api: 1
detectors:
  toy_two_stage:
    architecture: two_stage
    num_classes: 2
    classes: [circle, square]
    input: {size: [64, 64]}
    backbone: {type: toy_backbone, levels: [s8], channels: 16}
    neck: {type: identity}
    proposals:
      type: toy_rpn
      head:
        type: toy_head
        scoring: sigmoid
        anchors: {type: toy_anchors, sizes: [16, 28]}
        box_coder: {type: centre_size}
      matcher: {type: max_iou, positive_threshold: 0.5, negative_threshold: 0.3, low_quality: always}
      sampler: {type: random_fraction, size: 64, positive_fraction: 0.5}
      loss:
        type: multibox
        classification: {type: binary_cross_entropy}
        box: {type: smooth_l1, beta: 0.1}
        normaliser: {type: sampled}
      postprocess: {type: top_k, keep: 24}
    box:
      head:
        type: toy_box_head
        roi_pool: {type: roi_align, output: [3, 3], sampling_ratio: 2}
        box_coder: {type: centre_size, weights: [10, 10, 5, 5]}
      matcher: {type: max_iou, positive_threshold: 0.5, negative_threshold: 0.5}
      sampler: {type: random_fraction, size: 16, positive_fraction: 0.5}
      loss:
        type: multibox
        classification: {type: cross_entropy}
        box: {type: smooth_l1, beta: 1.0}
        normaliser: {type: sampled}
      postprocess: {type: detections, score_threshold: 0.05, keep: 10, suppress: {type: nms, iou: 0.5}}
    train: {epochs: 1, batch: 2, optimizer: {lr: 0.01}}
"""

# ------------------------------------------------------------------------------------------------ what it shows


@pytest.fixture
def registry(toy_registry: Registry) -> Registry:
    toy_registry.register("proposals", "toy_rpn", ToyRpn)
    toy_registry.register("roi_head", "toy_box_head", ToyBoxHead)
    return toy_registry


@pytest.fixture
def recipe(registry: Registry, tmp_path: Path) -> Path:
    path = tmp_path / "two_stage.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def detector(recipe: Path) -> TwoStage:
    torch.manual_seed(0)
    built = build(recipe)
    assert isinstance(built, TwoStage)
    return built


def images(count: int) -> tuple[ImageBatch, Targets]:
    """Noise with one bright (label 0) or dark (label 1) square in each; three padded rows of ground truth."""
    generator = torch.Generator().manual_seed(3)
    pixels = 0.1 * torch.randn(count, 3, 64, 64, generator=generator)
    boxes, labels = torch.zeros(count, 3, 4), torch.zeros(count, 3, dtype=torch.long)
    for i in range(count):
        x, y = (8 * int(v) for v in torch.randint(0, 5, (2,), generator=generator))
        labels[i, 0] = i % 2
        pixels[i, :, y : y + 20, x : x + 20] += 1 - 2 * (i % 2)
        boxes[i, 0] = torch.tensor([x, y, x + 20, y + 20])
    valid = torch.tensor([[True, False, False]]).expand(count, 3)
    region = torch.tensor([[0.0, 0.0, 64.0, 64.0]]).expand(count, 4)
    size, scale = torch.full((count, 2), 64), torch.ones(count, 2)
    batch = ImageBatch(pixels, region, size, scale, torch.arange(count))
    return batch, Targets(boxes, labels, torch.zeros_like(valid), valid, region)


def test_the_recipe_builds_with_a_scope_of_one_class_below_the_first_stage(detector: TwoStage) -> None:
    rpn = detector.proposals
    assert isinstance(rpn, ToyRpn)
    assert rpn.head.classes.out_channels == 2 * 1  # type: ignore[union-attr]  # two squares a cell, one class
    assert isinstance(detector.box.head, ToyBoxHead)
    assert detector.box.head.classes.out_features == 2 + 1
    assert detector.box.head.coder is not rpn.head.coder
    assert detector.classes == ("circle", "square")


def test_it_learns_and_finds_what_it_was_shown(detector: TwoStage) -> None:
    batch, targets = images(8)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-3)
    totals = []
    for _ in range(60):
        terms = detector(batch, targets)
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        torch.autograd.backward(total)
        optimizer.step()
        totals.append(float(total.detach()))

    assert set(terms) == {"rpn.classification", "rpn.box", "box.classification", "box.box"}
    assert totals[-1] < 0.3 * totals[0]
    with torch.no_grad():
        found = detector(batch)
    assert found.boxes.shape == (8, 10, 4)
    assert bool(found.valid[:, 0].all())
    assert found.labels[:, 0].tolist() == targets.labels[:, 0].tolist()
    overlap = intersection_over_union(found.boxes[:, 0], targets.boxes[:, 0])
    assert float(overlap.min()) > 0.5


def intersection_over_union(a: Tensor, b: Tensor) -> Tensor:
    """[N] from xyxy boxes [N,4] in pairs."""
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    area = sides.prod(1)
    return area / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - area)


def test_images_without_objects_give_losses_connected_to_the_graph(detector: TwoStage) -> None:
    batch, targets = images(2)
    nothing = dataclasses.replace(targets, valid=torch.zeros_like(targets.valid))

    terms = detector(batch, nothing)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())

    assert all(torch.isfinite(term) for term in terms.values())
    assert float(terms["rpn.box"].detach()) == float(terms["box.box"].detach()) == 0.0
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_no_rows_of_ground_truth_at_all(detector: TwoStage) -> None:
    batch, targets = images(2)
    nothing = Targets(
        targets.boxes[:, :0], targets.labels[:, :0], targets.ignore[:, :0], targets.valid[:, :0], targets.region
    )

    assert all(torch.isfinite(term) for term in detector(batch, nothing).values())


def test_an_error_inside_a_group_names_its_place(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("keep: 10,", "keep: 0,").replace("type: toy_box_head", "type: toy_box_hed"))

    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)

    lines = recipe.read_text().splitlines()
    head, keep = (next(i for i, line in enumerate(lines, 1) if text in line) for text in ("toy_box_hed", "keep: 0"))
    first, second = str(caught.value).splitlines()
    assert first == (
        f'{recipe}:{head}: detectors.toy_two_stage.box.head.type: unknown roi_head "toy_box_hed"; '
        'did you mean "toy_box_head"? installed: toy_box_head'
    )
    assert second.startswith(f"{recipe}:{keep}: detectors.toy_two_stage.box.postprocess.keep: found 0; expected ")


def test_a_component_inside_a_group_is_swapped_by_one_line(recipe: Path) -> None:
    resolved = load_recipe(recipe, ["box.postprocess.suppress.type=soft_nms"])

    assert resolved.values["box"]["postprocess"]["suppress"]["type"] == "soft_nms"
    assert resolved.values["box"]["postprocess"]["keep"] == 10
    assert type(build(recipe, overrides=["box.sampler.size=8"]).box.sampler.size) is int  # type: ignore[union-attr]
