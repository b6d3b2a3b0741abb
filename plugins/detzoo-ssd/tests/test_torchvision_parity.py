"""torchvision's own weights give torchvision's own detections and losses, on real photographs of odd sizes.

VGG16 takes a second per photograph: it looks at one, and at all of them in the slow tests.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from detzoo.testing.parity import assert_same_detections
from detzoo.types import Sample

PHOTOS_OF = {"ssd300_vgg16": 1, "ssdlite320_mobilenet_v3_large": 4}
EVERY = pytest.param(("ssd300_vgg16", 4), marks=pytest.mark.slow, id="ssd300_vgg16 on all")
PHOTOS = ("000000000049", "000000000077", "000000000260", "000000000490")
"""500x381, 375x500, 333x500, 495x500 (height x width)."""


@dataclass
class Pair:
    """torchvision's model and detzoo's detector with its weights, and what both look at."""

    theirs: Any
    ours: Detector
    photos: list[NDArray[np.uint8]]
    found: list[dict[str, Tensor]]
    """torchvision's detections."""


def as_torchvision(photo: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255


def last_conv(module: nn.Module) -> nn.Conv2d:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)][-1]


@torch.no_grad()
def make_it_find_things(model: Any, images: list[Tensor]) -> None:
    """Batch norms that know these photos, and predictors whose logits and deltas spread (std 1 and 0.5)."""
    momenta = {norm: norm.momentum for norm in model.modules() if isinstance(norm, nn.BatchNorm2d)}
    for norm in momenta:
        norm.momentum = None  # the mean over all calls
    pixels = model.transform(images, None)[0].tensors
    if momenta:
        model.train()
        model.head(list(model.backbone(pixels).values()))
    model.eval()
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    for index, feature in enumerate(model.backbone(pixels).values()):
        for part, spread in ((model.head.classification_head, 1.0), (model.head.regression_head, 0.5)):
            predictor = part.module_list[index]
            last_conv(predictor).weight.mul_(spread / predictor(feature).std())


@pytest.fixture(scope="module", params=[*(pytest.param(item, id=item[0]) for item in PHOTOS_OF.items()), EVERY])
def pair(request: pytest.FixtureRequest, shared: Path) -> Pair:
    name, count = request.param
    folder = shared / "data" / "coco128" / "images" / "train2017"
    photos = [read_image(folder / f"{photo}.jpg") for photo in PHOTOS[:count]]
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    make_it_find_things(theirs, [as_torchvision(photo) for photo in photos])
    ours = build(name, weights=None).eval()
    convert_weights(ours, theirs.state_dict(), source="torchvision")
    with torch.no_grad():
        found = theirs([as_torchvision(photo) for photo in photos])
    return Pair(theirs, ours, photos, found)


def test_torchvision_itself_finds_enough(pair: Pair) -> None:
    for found in pair.found:
        assert len(found["scores"]) >= 30
        assert len(set(found["labels"].tolist())) >= 5
        assert found["scores"].max() > 0.1


def test_every_parameter_is_accounted_for(pair: Pair) -> None:
    theirs, ours = pair.theirs.state_dict(), pair.ours.state_dict()
    assert len(ours) == len(theirs)
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in theirs.values())
    assert sorted(v.double().sum().item() for v in ours.values()) == sorted(
        v.double().sum().item() for v in theirs.values()
    )


@pytest.mark.parametrize("batch", ["one by one", "together"])
def test_same_detections(pair: Pair, batch: str) -> None:
    if batch == "together":
        ours = pair.ours.predict(pair.photos, channels="rgb")
    else:
        ours = [pair.ours.predict([photo], channels="rgb")[0] for photo in pair.photos]
    for mine, their in zip(ours, pair.found, strict=True):
        assert_same_detections(mine, their["scores"], their["labels"] - 1, their["boxes"], tie=1e-5)


def random_samples(photos: list[NDArray[np.uint8]]) -> list[Sample]:
    """Boxes with whole-number corners, up to 12 a photo, one photo without any."""
    rng = np.random.default_rng(0)
    samples = []
    for index, photo in enumerate(photos):
        count = 0 if index == 2 else int(rng.integers(3, 12))
        height, width = photo.shape[:2]
        corner = rng.uniform(0, 0.6, (count, 2)) * (width, height)
        side = rng.uniform(0.05, 0.4, (count, 2)) * (width, height)
        boxes = np.round(np.concatenate((corner, corner + side), 1)).astype(np.float32).reshape(-1, 4)
        labels = rng.integers(0, 90, count)
        none = np.zeros(count, dtype=np.bool_)
        samples.append(Sample(photo, boxes, labels, none, none, index, f"{index}.jpg"))
    return samples


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(("ssdlite320_mobilenet_v3_large", 4), id="ssdlite320_mobilenet_v3_large"),
        pytest.param(("ssd300_vgg16", 1), id="ssd300_vgg16", marks=pytest.mark.slow),  # the same loss, in 8 seconds
    ],
    indirect=True,
)
def test_one_training_step_has_the_same_losses(pair: Pair) -> None:
    samples = random_samples(pair.photos)
    targets = [{"boxes": torch.from_numpy(s.boxes), "labels": torch.from_numpy(s.labels).long() + 1} for s in samples]
    batch, truth = collate(samples, pair.ours.input)
    state = {key: value.clone() for key, value in pair.theirs.state_dict().items()}
    try:
        theirs = pair.theirs.train()([as_torchvision(s.image) for s in samples], targets)
        ours = pair.ours.train().losses(batch, truth)
        gradients = [gradient_norm(losses, model) for losses, model in ((theirs, pair.theirs), (ours, pair.ours))]
    finally:  # batch norms have seen a batch
        pair.theirs.load_state_dict(state)
        convert_weights(pair.ours, state, source="torchvision")
        pair.theirs.eval()
        pair.ours.eval()
    assert ours["classification"].item() == pytest.approx(theirs["classification"].item(), rel=1e-5)
    assert ours["box"].item() == pytest.approx(theirs["bbox_regression"].item(), rel=1e-5)
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-2)  # batch norms over 1x1 maps amplify rounding
    assert gradients[0] > 0.1


def gradient_norm(losses: dict[str, Tensor], model: nn.Module) -> float:
    torch.autograd.backward(list(losses.values()))
    norm = float(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
    model.zero_grad()
    return norm
