"""Auxiliary predictions: denoising queries, an encoder's output and a one-to-many group train and detect nothing.

The head is as small as it can be; matchers, loss, post-processing and builder are the core's.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.builder import build
from detzoo.detectors.one_stage import OneStage
from detzoo.errors import PluginError, RecipeError
from detzoo.interfaces import Anchors, BoxCoder, DenseHead
from detzoo.plugins.registry import Registry
from detzoo.types import (
    IGNORE,
    Assignment,
    Auxiliary,
    Candidates,
    FeatureMaps,
    FeatureSpecs,
    ImageBatch,
    Predictions,
    Targets,
)

NOISE = 3.0
"""Px by which the corners of the ground truth are moved for denoising queries."""


class ManyEyes(DenseHead):
    """Two squares per cell; in training, with ``extras``, three more ways of looking at the same map."""

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        anchors: Anchors,
        box_coder: BoxCoder,
        extras: bool = True,
    ) -> None:
        super().__init__()
        self.anchors, self.coder = anchors, box_coder
        width = next(iter(features.values())).channels
        self.columns = num_classes + 4
        self.shared = nn.Conv2d(width, width, 3, padding=1)
        self.main = nn.Conv2d(width, 2 * self.columns, 1)
        self.extras = extras
        if extras:
            self.many = nn.Conv2d(width, 2 * self.columns, 1)
            self.encoder = nn.Conv2d(width, 2 * self.columns, 1)
            self.denoiser = nn.Sequential(nn.Linear(width + 4, 64), nn.ReLU(), nn.Linear(64, self.columns))

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        size = (batch.pixels.shape[-2], batch.pixels.shape[-1])
        places = self.places(features, size)
        (seen,) = (self.shared(one).relu() for one in features.values())
        predictions = self.said(self.main(seen))
        if not self.extras:
            return places, predictions
        aux = [Auxiliary("many", self.said(self.many(seen)), matcher="many", weight=0.5)]
        half = {"s16": F.avg_pool2d(seen, 2)}
        aux.append(Auxiliary("encoder", self.said(self.encoder(half["s16"])), self.places(half, size)))
        if targets is not None:
            aux.append(self.denoised(seen, targets))
        return places, dataclasses.replace(predictions, aux=tuple(aux))

    def places(self, features: FeatureMaps, size: tuple[int, int]) -> Candidates:
        boxes, levels = self.anchors(features, size)
        return Candidates(boxes[None], torch.ones(1, len(boxes), dtype=torch.bool), levels, self.coder)

    def said(self, out: Tensor) -> Predictions:
        """[B,2*columns,h,w] -> predictions of row, column, square."""
        rows = out.permute(0, 2, 3, 1).reshape(len(out), -1, self.columns)
        return Predictions(rows[..., 4:], "sigmoid", rows[..., None, :4])

    def denoised(self, seen: Tensor, targets: Targets) -> Auxiliary:
        """One query per ground truth, whose box is moved a little: it is known what each answers for."""
        source = torch.Generator().manual_seed(0)
        boxes = targets.boxes + NOISE * torch.randn(targets.boxes.shape, generator=source)
        pooled = seen.mean((2, 3))[:, None].expand(-1, boxes.shape[1], -1)
        out = self.denoiser(torch.cat([pooled, boxes / 64], -1))
        index = torch.arange(boxes.shape[1]).expand(boxes.shape[:2])
        known = Assignment(torch.where(targets.usable, index, IGNORE))
        predictions = Predictions(out[..., 4:], "sigmoid", out[..., None, :4])
        return Auxiliary("denoising", predictions, Candidates(boxes, targets.usable, coder=self.coder), known)


RECIPE = """\
api: 1
detectors:
  many_eyes:
    architecture: one_stage
    num_classes: 2
    classes: [circle, square]
    input: {size: [64, 64]}
    backbone: {type: toy_backbone, levels: [s8], channels: 16}
    neck: {type: identity}
    head: {type: many_eyes, anchors: {type: toy_anchors, sizes: [16, 24]}, box_coder: {type: centre_size}}
    matcher: {type: max_iou, positive_threshold: 0.5, negative_threshold: 0.4, low_quality: always}
    matchers:
      many: {type: max_iou, positive_threshold: 0.3, negative_threshold: 0.2, low_quality: always}
    sampler: {type: all}
    loss:
      type: multibox
      classification: {type: focal}
      box: {type: smooth_l1, beta: 0.1}
      normaliser: {type: positives}
    postprocess: {type: detections, score_threshold: 0.05, keep: 10, suppress: {type: nms, iou: 0.5}}
    train: {epochs: 1, batch: 2, optimizer: {lr: 0.01}}
"""
PARTS = ("many", "encoder", "denoising")


@pytest.fixture
def recipe(toy_registry: Registry, tmp_path: Path) -> Path:
    toy_registry.register("head", "many_eyes", ManyEyes)
    path = tmp_path / "one_stage.yaml"
    path.write_text(RECIPE)
    return path


def built(recipe: Path, **overrides: object) -> OneStage:
    torch.manual_seed(0)
    detector = build(recipe, overrides=overrides)
    assert isinstance(detector, OneStage)
    return detector


def images(count: int) -> tuple[ImageBatch, Targets]:
    """Noise with one bright (label 0) or dark (label 1) square in each; two padded rows of ground truth."""
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
    batch = ImageBatch(pixels, region, torch.full((count, 2), 64), torch.ones(count, 2), torch.arange(count))
    return batch, Targets(boxes, labels, torch.zeros_like(valid), valid, region)


def trained(recipe: Path, steps: int) -> tuple[OneStage, list[dict[str, float]]]:
    detector, (batch, targets) = built(recipe), images(8)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-3)
    curve = []
    for _ in range(steps):
        terms = detector(batch, targets)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        optimizer.step()
        curve.append({name: float(term.detach()) for name, term in terms.items()})
    return detector, curve


def test_every_part_trains(recipe: Path) -> None:
    detector, curve = trained(recipe, 60)
    kinds = ("classification", "box")
    assert set(curve[0]) == {*kinds, *(f"{part}.{kind}" for part in PARTS for kind in kinds)}
    for part in ("", *(f"{part}." for part in PARTS)):
        first, last = (sum(terms[part + kind] for kind in kinds) for terms in (curve[0], curve[-1]))
        assert last < 0.75 * first, part
    assert all(p.grad is not None and bool(p.grad.any()) for p in detector.parameters())


def test_what_is_detected_is_the_same_without_them(recipe: Path) -> None:
    detector, (batch, targets) = trained(recipe, 5)[0].eval(), images(8)
    plain = built(recipe, **{"head.extras": False}).eval()
    state = detector.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    assert len(state) > len(plain.state_dict())

    with torch.no_grad():
        found, without = detector.detect(batch), plain.detect(batch)
        _, said = detector.network(batch)
        _, told = detector.network(batch, targets)

    assert bool(found.valid.any())
    for name in ("boxes", "scores", "labels", "valid"):
        assert torch.equal(getattr(found, name), getattr(without, name)), name
    assert [aux.name for aux in told.aux] == list(PARTS)
    assert said.class_logits is not None
    assert told.class_logits is not None
    assert torch.equal(said.class_logits, told.class_logits)
    assert torch.equal(said.deltas, told.deltas)


def test_each_part_is_matched_and_weighed_as_it_says(recipe: Path) -> None:
    detector, (batch, targets) = built(recipe), images(4)
    terms = detector.losses(batch, targets)
    places, said = detector.network(batch, targets)
    many, encoder, denoising = said.aux
    assert encoder.candidates is not None
    assert denoising.candidates is not None
    assert denoising.assignment is not None
    expected = {
        "": (said, places, detector.matcher(places, targets, said), 1.0),
        "many.": (many.predictions, places, detector.matchers["many"](places, targets, many.predictions), 0.5),
        "encoder.": (encoder.predictions, encoder.candidates, detector.matcher(encoder.candidates, targets), 1.0),
        "denoising.": (denoising.predictions, denoising.candidates, denoising.assignment, 1.0),
    }
    for prefix, (predictions, candidates, assignment, weight) in expected.items():
        for name, term in detector.loss(predictions, candidates, targets, assignment).items():
            torch.testing.assert_close(terms[prefix + name], weight * term)
    assert not torch.equal(expected[""][2].positive, expected["many."][2].positive)


def test_images_without_objects(recipe: Path) -> None:
    detector, (batch, targets) = built(recipe), images(2)
    no_rows = Targets(
        targets.boxes[:, :0], targets.labels[:, :0], targets.ignore[:, :0], targets.valid[:, :0], targets.region
    )
    for nothing in (dataclasses.replace(targets, valid=torch.zeros_like(targets.valid)), no_rows):
        terms = detector(batch, nothing)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        assert all(bool(torch.isfinite(term)) for term in terms.values())
        assert {float(term.detach()) for name, term in terms.items() if name.endswith("box")} == {0.0}


def test_auxiliary_predictions_of_one_name_lose_no_terms(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, (batch, targets) = built(recipe), images(2)
    places, said = detector.network(batch, targets)
    twice = dataclasses.replace(said, aux=(said.aux[0], said.aux[0]))
    monkeypatch.setattr(detector, "network", lambda *_: (places, twice))
    with pytest.raises(PluginError, match='names two of its auxiliary predictions "many"'):
        detector.losses(batch, targets)


def test_a_matcher_that_the_recipe_does_not_have(recipe: Path) -> None:
    detector, (batch, targets) = built(recipe, matchers=None), images(2)
    with pytest.raises(RecipeError) as error:
        detector.losses(batch, targets)
    assert str(error.value) == (
        'ManyEyes\'s auxiliary predictions "many" ask for the matcher "many"; matchers: there are none. '
        "Write matchers: {many: {type: ...}}"
    )
