"""What no detector may stumble over: nothing to find, too much to find, tiny boxes, tiny and huge images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import detzoo
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import collate
from detzoo.types import Sample

SMALL = ("fasterrcnn_mobilenet_v2_fpn", "maskrcnn_mobilenet_v2_fpn", "rfcn_mobilenet_v2", "fastrcnn_mobilenet_v2")
NONE = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module", params=SMALL)
def detector(request: pytest.FixtureRequest) -> Detector:
    torch.manual_seed(0)
    return detzoo.build(request.param, num_classes=3, overrides=["input.size=[96, 128]"], weights=None)


def photo(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sample(
    detector: Detector, image: NDArray[np.uint8], boxes: NDArray[np.float32], *, proposals: Any = None
) -> Sample:
    """An image with boxes, filled masks where the detector reads masks, and regions where it wants them."""
    count = len(boxes)
    masks = None
    if detector.needs_masks:
        masks = np.zeros((count, *image.shape[:2]), np.uint8)
        for row, (x1, y1, x2, y2) in enumerate(boxes.round().astype(int)):
            masks[row, y1:y2, x1:x2] = 1
    if proposals is None and detector.proposer is not None:
        proposals, _ = detector.proposer(image)
    return Sample(
        image=image,
        boxes=boxes,
        labels=np.arange(count, dtype=np.int64) % 3,
        difficult=np.zeros(count, np.bool_),
        crowd=np.zeros(count, np.bool_),
        image_id=0,
        path="made for the test",
        masks=masks,
        proposals=proposals,
    )


def spread(count: int, height: int, width: int, side: float) -> NDArray[np.float32]:
    """Boxes of ``side`` px anywhere in the image."""
    corner = np.random.default_rng(count).uniform(0, [width - side, height - side], (count, 2))
    return np.concatenate([corner, corner + side], axis=1).astype(np.float32)


def step(detector: Detector, samples: list[Sample]) -> dict[str, float]:
    """One step's terms, after checking that they are finite and reach the parameters."""
    batch, targets = collate(samples, detector.input)
    detector.train()
    detector.zero_grad(set_to_none=True)
    terms = detector(batch, targets)
    assert isinstance(terms, dict)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    for name, term in terms.items():
        assert torch.isfinite(term), name
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name
    return {name: float(term.detach()) for name, term in terms.items()}


def test_no_ground_truth_in_all_images(detector: Detector) -> None:
    terms = step(detector, [sample(detector, photo(90, 120), NONE) for _ in range(2)])

    for name in ("rpn.box", "box.box", "mask.mask"):
        assert terms.get(name, 0.0) == 0.0
    assert terms["box.classification"] > 0


def test_no_ground_truth_in_one_image(detector: Detector) -> None:
    one = sample(detector, photo(90, 120), spread(3, 90, 120, 30))
    none = sample(detector, photo(70, 100), NONE)

    assert step(detector, [one, none])["box.classification"] > 0


def test_boxes_of_one_pixel(detector: Detector) -> None:
    step(detector, [sample(detector, photo(96, 128), spread(4, 96, 128, 1.0)) for _ in range(2)])


def test_a_thousand_boxes(detector: Detector) -> None:
    step(detector, [sample(detector, photo(96, 128), spread(1000, 96, 128, 12.0))])


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 4000), (4000, 3000)])
def test_images_of_16_and_of_4000_px_train_and_predict(detector: Detector, height: int, width: int) -> None:
    image = photo(height, width)
    # masks of a photo this large are tested with the mask branch; one object is enough here
    step(detector, [sample(detector, image, spread(1, height, width, 10.0))])

    found = detector.predict([image], score_threshold=0.3, channels="rgb")[0]

    assert found.size == (height, width)
    assert bool((found.boxes[:, 2] <= width).all())
    assert bool((found.boxes[:, 3] <= height).all())
    if detector.needs_masks:
        assert found.masks is not None
        assert found.masks.shape == (len(found), height, width)


@pytest.mark.parametrize("name", SMALL)
def test_a_network_input_of_16_px(name: str) -> None:
    detector = detzoo.build(name, num_classes=3, overrides=["input.size=[16, 16]"], weights=None)

    step(detector, [sample(detector, photo(16, 16), spread(2, 16, 16, 6.0)) for _ in range(2)])

    assert detector.predict([photo(16, 16)], channels="rgb")[0].size == (16, 16)


def test_no_regions_at_all(detector: Detector) -> None:
    """The first stage finds nothing: no error, no detections, and losses connected to the graph."""
    if detector.proposer is not None:
        made = [sample(detector, photo(90, 120), spread(1, 90, 120, 30), proposals=NONE) for _ in range(2)]
    else:
        made = [sample(detector, photo(90, 120), NONE) for _ in range(2)]
    batch, _ = collate(made, detector.input)
    for postprocess in regions_of(detector):
        postprocess.min_side = 1e6
    try:
        step(detector, made)
        with torch.no_grad():
            found = detector.eval()(batch)
    finally:
        for postprocess in regions_of(detector):
            postprocess.min_side = 1e-3
    assert not found.valid.any()


def regions_of(detector: Detector) -> list[Any]:
    """The post-processings of the first stage, where it has them."""
    from detzoo_faster_rcnn.postprocess import Regions

    return [module for module in detector.modules() if isinstance(module, Regions)]
