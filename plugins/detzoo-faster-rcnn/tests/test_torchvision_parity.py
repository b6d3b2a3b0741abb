"""torchvision's own weights give torchvision's own detections and losses, on real photographs of odd sizes.

The fast tests shrink the images and look at fewer regions, on both sides alike; the slow ones change nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from detzoo import build, convert_weights
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import collate
from detzoo.runtime.images import read_image
from detzoo.testing.parity import assert_same_detections, freeze_norms, leaves, spread, spread_chain
from detzoo.types import Sample
from detzoo_faster_rcnn.converters import from_torchvision

PHOTOS = ("000000000049", "000000000260", "000000000077", "000000000490")
"""500x381, 333x500, 375x500, 495x500 (height x width)."""
SMALL = {"mobilenet": (128, 200, 100), "resnet50": (96, 150, 40)}
"""min_size and max_size in px, and regions of each image, in the fast tests by backbone."""
FROZEN_EPS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_resnet50_fpn": 0.0,  # overwrite_eps, for the published weights
    "maskrcnn_resnet50_fpn": 0.0,
}
"""Norms that torchvision freezes around pretrained weights; the v2 models train theirs."""
BUILDERS = (*FROZEN_EPS, "fasterrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2")
CONTAINED = ("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2")
"""What they are made of is compared with the other three: slow."""
TRAINED = ("fasterrcnn_mobilenet_v3_large_320_fpn", "maskrcnn_resnet50_fpn")
"""Whose losses and gradients are compared by default: together they have every term."""


def slow_but(*names: str) -> list[Any]:
    """All builders, those that are not named as slow tests."""
    return [pytest.param(name, marks=[] if name in names else [pytest.mark.slow]) for name in BUILDERS]


@dataclasses.dataclass
class Pair:
    """torchvision's model and detzoo's detector with its weights, and what both look at."""

    name: str
    theirs: Any
    ours: Detector
    photos: list[NDArray[np.uint8]]

    def found(self, together: bool) -> list[dict[str, Tensor]]:
        """torchvision's detections; a batch of mixed sizes is padded, which changes them."""
        images = [as_torchvision(photo) for photo in self.photos]
        with torch.no_grad():
            found: list[dict[str, Tensor]] = (
                self.theirs(images) if together else list(itertools.chain(*(self.theirs([one]) for one in images)))
            )
        return found


def as_torchvision(photo: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255


def small_sizes(name: str) -> tuple[int, int, int]:
    return next(sizes for backbone, sizes in SMALL.items() if backbone in name)


def small_theirs(name: str) -> dict[str, Any]:
    """Arguments of torchvision's builder: small images, few regions, and every one of them in the losses."""
    low, high, regions = small_sizes(name)
    few = {
        f"rpn_{when}_nms_top_n_{phase}": count
        for (when, count), phase in itertools.product((("pre", 2 * regions), ("post", regions)), ("train", "test"))
    }
    every = {"rpn_batch_size_per_image": 1 << 20, "box_batch_size_per_image": 1024, "box_positive_fraction": 1.0}
    return {"min_size": low, "max_size": high, "box_detections_per_img": 32} | few | every


def small_ours(name: str) -> dict[str, Any]:
    """The same as overrides of the recipe."""
    low, high, regions = small_sizes(name)
    few = {
        f"proposals.{part}postprocess.{field}": count
        for part, (field, count) in itertools.product(
            ("", "training_"), (("per_level_top_k", 2 * regions), ("keep", regions))
        )
    }
    every = {"proposals.sampler": {"type": "all"}, "box.sampler.size": 1024, "box.sampler.positive_fraction": 1.0}
    unfrozen = {"backbone.freeze": False}
    return {"input.min_size": low, "input.max_size": high, "box.postprocess.keep": 32} | few | every | unfrozen


@torch.no_grad()
def make_it_find_things(model: Any, images: list[Tensor], frozen_eps: float | None) -> None:
    """Batch norms that know these photographs, and layers whose answers differ from place to place."""
    norms = [norm for norm in model.modules() if isinstance(norm, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.weight.uniform_(0.7, 1.3)
        norm.bias.normal_(0, 0.1)
        norm.momentum = None  # the mean over all calls
    for name, norm in model.backbone.body.named_modules():  # small steps: else 50 random layers amplify rounding
        if isinstance(norm, nn.BatchNorm2d) and name.endswith(("bn3", "block.2.1", "block.3.1")):
            norm.weight.mul_(0.2)
    batch = model.transform(images, None)[0]
    model.train()
    model.backbone(batch.tensors)
    if frozen_eps is not None:
        freeze_norms(model.backbone.body, frozen_eps)
    model.backbone.eval()
    features = model.backbone(batch.tensors)
    seen = spread_chain(leaves(model.rpn.head.conv), list(features.values()))
    spread(model.rpn.head.cls_logits, seen, 1.0)
    spread(model.rpn.head.bbox_pred, seen, 0.2)
    regions, _ = model.rpn.eval()(batch, features)
    regions = [boxes[:60] for boxes in regions]
    heads = model.roi_heads
    pooled = heads.box_roi_pool(features, regions, batch.image_sizes)
    if hasattr(heads.box_head, "fc6"):
        seen = spread_chain([nn.Flatten(), heads.box_head.fc6, nn.ReLU(), heads.box_head.fc7, nn.ReLU()], [pooled])
    else:
        seen = spread_chain(leaves(heads.box_head), [pooled])
    spread(heads.box_predictor.cls_score, seen, 1.8 if hasattr(model.backbone.body, "layer4") else 0.7)
    if not hasattr(model.backbone.body, "layer4"):
        # MobileNet's depthwise norms make 1e-4 of a map out of 1e-6 of a pixel, in torchvision alone as well:
        # some classes are likely everywhere, rather than all of them far apart
        heads.box_predictor.cls_score.bias[1::8] += 2.5
    spread(heads.box_predictor.bbox_pred, seen, 0.4 if hasattr(model.backbone.body, "layer4") else 0.2)
    if heads.mask_head is not None:
        pooled = heads.mask_roi_pool(features, [boxes[:8] for boxes in regions], batch.image_sizes)
        seen = spread_chain(leaves(heads.mask_head), [pooled])
        seen = spread_chain([heads.mask_predictor.conv5_mask, nn.ReLU()], seen)
        spread(heads.mask_predictor.mask_fcn_logits, seen, 2.0)
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def make_pair(name: str, shared: Path, *, small: bool) -> Pair:
    folder = shared / "data" / "coco128" / "images" / "train2017"
    names = PHOTOS if small and "mobilenet" in name else PHOTOS[:2] if small else PHOTOS[1:3]
    photos = [read_image(folder / f"{photo}.jpg") for photo in names]
    torch.manual_seed(0)
    arguments = small_theirs(name) if small else {}
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None, **arguments)
    make_it_find_things(theirs, [as_torchvision(photo) for photo in photos], FROZEN_EPS.get(name))
    ours = build(name, weights=None, overrides=small_ours(name) if small else None).eval()
    convert_weights(ours, theirs.state_dict(), source="torchvision")
    return Pair(name, theirs, ours, photos)


@pytest.fixture(scope="module", params=slow_but(*(set(BUILDERS) - set(CONTAINED))))
def pair(request: pytest.FixtureRequest, shared: Path) -> Pair:
    return make_pair(request.param, shared, small=True)


@pytest.fixture(scope="module", params=BUILDERS)
def full_pair(request: pytest.FixtureRequest, shared: Path) -> Pair:
    return make_pair(request.param, shared, small=False)


def test_same_detections(pair: Pair) -> None:
    check_detections(pair, together=False)


@pytest.mark.parametrize("pair", ["fasterrcnn_mobilenet_v3_large_320_fpn"], indirect=True)
def test_same_detections_of_a_padded_batch(pair: Pair) -> None:
    check_detections(pair, together=True)


@pytest.mark.slow
def test_same_detections_of_every_padded_batch(pair: Pair) -> None:
    check_detections(pair, together=True)


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
def test_same_detections_at_full_size(full_pair: Pair, together: bool) -> None:
    check_detections(full_pair, together)


def check_detections(pair: Pair, together: bool) -> None:
    theirs = pair.found(together)
    ours = (
        pair.ours.predict(pair.photos, channels="rgb")
        if together
        else [pair.ours.predict([photo], channels="rgb")[0] for photo in pair.photos]
    )
    for mine, their in zip(ours, theirs, strict=True):
        assert len(their["scores"]) >= 30
        assert len(set(their["labels"].tolist())) >= 5
        masks = their["masks"][:, 0] > 0.5 if "masks" in their else None
        assert_same_detections(mine, their["scores"], their["labels"] - 1, their["boxes"], masks)


def random_samples(photos: list[NDArray[np.uint8]], *, masks: bool) -> list[Sample]:
    """Boxes with whole-number corners, up to 8 a photo, the last photo without any; a mask is the box's ellipse."""
    rng = np.random.default_rng(0)
    samples = []
    for index, photo in enumerate(photos):
        count = 0 if index == len(photos) - 1 else int(rng.integers(4, 8))
        height, width = photo.shape[:2]
        corner = rng.uniform(0, 0.5, (count, 2)) * (width, height)
        side = rng.uniform(0.1, 0.45, (count, 2)) * (width, height)
        boxes = np.round(np.concatenate((corner, corner + side), 1)).astype(np.float32).reshape(-1, 4)
        no = np.zeros(count, dtype=np.bool_)
        drawn = np.stack([ellipse(box, height, width) for box in boxes]) if masks and count else None
        if masks and not count:
            drawn = np.zeros((0, height, width), np.uint8)
        labels = rng.integers(0, 90, count)
        samples.append(Sample(photo, boxes, labels, no, no, index, f"{index}.jpg", masks=drawn))
    return samples


def ellipse(box: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width] + 0.5
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    inside = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 <= 1
    return np.asarray(inside, np.uint8)


def as_targets(samples: list[Sample]) -> list[dict[str, Tensor]]:
    """torchvision's ground truth."""
    targets = []
    for sample in samples:
        target = {"boxes": torch.from_numpy(sample.boxes), "labels": torch.from_numpy(sample.labels).long() + 1}
        if sample.masks is not None:
            target["masks"] = torch.from_numpy(sample.masks)
        targets.append(target)
    return targets


TERMS = {
    "rpn.classification": "loss_objectness",
    "rpn.box": "loss_rpn_box_reg",
    "box.classification": "loss_classifier",
    "box.box": "loss_box_reg",
    "mask.mask": "loss_mask",
}


@pytest.fixture
def training(pair: Pair) -> Iterator[Pair]:
    """The pair in training mode; batch norms have seen a batch afterwards, so the weights are put back."""
    state = {key: value.clone() for key, value in pair.theirs.state_dict().items()}
    pair.theirs.train()
    pair.ours.train()
    yield pair
    pair.theirs.load_state_dict(state)
    convert_weights(pair.ours, state, source="torchvision")
    for model in (pair.theirs, pair.ours):
        model.zero_grad()
        model.eval()


@pytest.mark.parametrize("pair", slow_but(*TRAINED), indirect=True)
def test_one_training_step_has_the_same_losses_and_gradients(training: Pair) -> None:
    samples = random_samples(training.photos, masks="mask" in training.name)
    targets = as_targets(samples)
    theirs = training.theirs([as_torchvision(s.image) for s in samples], targets)
    batch, truth = collate(samples, training.ours.input)
    pixels = training.theirs.transform([as_torchvision(s.image) for s in samples], None)[0].tensors
    assert torch.equal(batch.pixels, pixels)
    ours = training.ours.losses(batch, truth)
    assert {TERMS[name] for name in ours} == theirs.keys()
    for name, value in ours.items():
        assert value.item() == pytest.approx(theirs[TERMS[name]].item(), rel=1e-5), name
        assert value.item() > 1e-4
    torch.autograd.backward(list(theirs.values()))
    torch.autograd.backward(list(ours.values()))
    check_gradients(training)


def check_gradients(pair: Pair) -> None:
    """The converter renames torchvision's gradients like its weights."""
    gradients = pair.theirs.state_dict() | {
        name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in pair.theirs.named_parameters()
    }
    wanted = from_torchvision(gradients, pair.ours)
    compared = 0
    for name, parameter in pair.ours.named_parameters():
        assert parameter.grad is not None, name
        size = float(wanted[name].norm())
        if "backbone" not in name and size > 1e-4:
            # in norm: a ReLU that stands at 0 switches single entries on and off
            assert float((parameter.grad - wanted[name]).norm()) <= 1e-2 * size, name
            compared += 1
    assert compared >= 12


@pytest.mark.parametrize("pair", ["maskrcnn_resnet50_fpn"], indirect=True)
def test_background_has_a_box_and_a_mask_that_nothing_reads(training: Pair) -> None:
    """What the converter leaves out: no detection changes with it, and no loss reaches it."""
    samples = random_samples(training.photos, masks=True)
    heads = training.theirs.roi_heads
    losses = training.theirs([as_torchvision(s.image) for s in samples], as_targets(samples))
    box, mask = heads.box_predictor.bbox_pred, heads.mask_predictor.mask_fcn_logits
    asked = (box.weight, box.bias, mask.weight, mask.bias)
    gradients = torch.autograd.grad(sum(losses.values()), asked)
    for gradient, rows in zip(gradients, (4, 4, 1, 1), strict=True):
        assert not gradient[:rows].any()
        assert gradient[rows:].any()
    training.theirs.eval()
    before = training.found(together=True)
    with torch.no_grad():
        for layer, rows in ((box, 4), (mask, 1)):
            layer.weight[:rows].normal_()
            layer.bias[:rows].normal_()
    after = training.found(together=True)
    for one, other in zip(before, after, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
