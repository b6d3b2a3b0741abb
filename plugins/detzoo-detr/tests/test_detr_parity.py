"""DETR and Deformable DETR against transformers': outputs of every layer, losses, detections."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from oracle import assert_found, photographs, relative
from small_detr import FAMILIES, Pair, as_labels, our_layers, our_losses, pair, pixel_mask, published_pair, their_layers
from transformers import DeformableDetrImageProcessor, DetrImageProcessor

from detzoo.prediction.prepare import prepare
from detzoo.testing import targets
from detzoo.types import ImageBatch, Targets

EXACT = {"two_stage": 1e-6}
"""transformers makes sines of proposals in float32 whatever the network computes in; all else agrees to 1e-9."""


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest) -> Pair:
    return pair(request.param)


def processor_of(both: Pair) -> Any:
    """As the model's page publishes it, but for the sides: 96 and 160 px."""
    kind = DetrImageProcessor if both.family == "detr" else DeformableDetrImageProcessor
    return kind(size={"shortest_edge": 96, "longest_edge": 160})


def doubled(both: Pair) -> Pair:
    both.theirs.double()
    both.ours.double()
    return both


def batch_of(both: Pair, sizes: tuple[tuple[int, int], ...]) -> ImageBatch:
    """Noise of those (height, width) px, in float64."""
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    spec = both.ours.input
    assert spec.min_size is not None
    batch = prepare(images, spec)
    return ImageBatch(
        batch.pixels.double(), *(getattr(batch, name) for name in ("region", "original_size", "scale", "index"))
    )


@pytest.mark.parametrize("sizes", [((67, 133),), ((67, 133), (101, 80), (90, 97))])
def test_every_layer_says_the_same(both: Pair, sizes: tuple[tuple[int, int], ...]) -> None:
    one = doubled(both)
    batch = batch_of(one, sizes)
    theirs, ours = their_layers(one, batch), our_layers(one, batch)
    assert len(theirs) == len(ours) == 3
    for mine, their in zip(ours, theirs, strict=True):
        for found, expected in zip(mine, their, strict=True):
            assert relative(found, expected) <= EXACT.get(one.family, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_published_sizes_say_the_same(family: str, shared: Any) -> None:
    """Seeded weights, every tensor accounted for, every layer, on an image as the recipe prepares it."""
    one = doubled(published_pair(family))
    batch = prepare(photographs(shared)[3:], one.ours.input)
    batch = dataclasses.replace(batch, pixels=batch.pixels.double())
    theirs, ours = their_layers(one, batch), our_layers(one, batch)
    assert len(theirs) == len(ours) == 6
    for mine, their in zip(ours, theirs, strict=True):
        for found, expected in zip(mine, their, strict=True):
            assert relative(found, expected) <= EXACT.get(one.family, 1e-9)


def objects(batch: ImageBatch) -> Targets:
    """Two objects in the first image, none in the second, two in the third."""
    rows = [[(10.0, 5.0, 60.0, 50.0), (20.0, 20.0, 90.0, 60.0)], [], [(3.0, 4.0, 30.0, 40.0), (50.0, 40.0, 66.0, 90.0)]]
    made = targets(rows[: len(batch.region)], [[1, 4], [], [0, 2]][: len(batch.region)])
    return Targets(made.boxes, made.labels, made.ignore, made.valid, batch.region)


TERMS = {"classification": "loss_ce", "distance": "loss_bbox", "overlap": "loss_giou"}


def test_the_losses_of_a_step_are_the_same(both: Pair) -> None:
    """transformers leaves out what the encoder's proposals cost, which the authors' code has."""
    one: Any = doubled(both)
    batch = batch_of(one, ((67, 133), (101, 80), (90, 97)))
    truth = objects(batch)
    layers = their_layers(one, batch)
    logits, boxes = (torch.stack(part).float() for part in zip(*layers, strict=True))  # its weights are float32
    config = copy.deepcopy(one.theirs.config)  # transformers' own DETR computes something else where it says so
    config.auxiliary_loss = True
    _, expected, _ = one.theirs.loss_function(logits[-1], as_labels(truth), "cpu", boxes[-1], config, logits, boxes)
    weights = {"classification": one.ours.loss.class_weight, "distance": 5.0, "overlap": 2.0}
    found = our_losses(one, batch, truth)
    for layer, suffix in (("", ""), ("aux0.", "_0"), ("aux1.", "_1")):
        for mine, their in TERMS.items():
            value = float(found[layer + mine].detach()) / weights[mine]
            assert value == pytest.approx(float(expected[their + suffix]), rel=1e-5), layer + mine


@pytest.mark.parametrize("together", [True, False])
def test_photographs_give_the_same_detections(both: Pair, shared: Any, together: bool) -> None:
    one: Any = both
    one.theirs.float()
    one.ours.float()
    images = photographs(shared)
    processor = processor_of(one)
    for group in [images] if together else [[image] for image in images]:
        given = processor(group, return_tensors="pt")
        with torch.no_grad():
            said = one.theirs(given["pixel_values"], given["pixel_mask"])
        sizes = [image.shape[:2] for image in group]
        expected = processor.post_process_object_detection(said, threshold=0.0, target_sizes=sizes)
        for mine, theirs in zip(one.ours.predict(group, channels="rgb", score_threshold=0.0), expected, strict=True):
            assert_found(mine, theirs)


def test_images_are_prepared_as_the_published_processor_does(both: Pair, shared: Any) -> None:
    images = photographs(shared)
    given = processor_of(both)(images, return_tensors="pt")
    batch = prepare(images, both.ours.input)
    torch.testing.assert_close(batch.pixels, given["pixel_values"], rtol=0, atol=1e-6)
    assert torch.equal(pixel_mask(batch), given["pixel_mask"])
