"""Inputs that break detectors: nothing to find, everything at once, boxes of one pixel, tiny and huge images.

For a plugin's own tests; the detector is small, of three classes, and built for ``SIZE``::

    @pytest.mark.parametrize("scene", SCENES)
    def test_losses_are_finite(detector: Detector, scene: str) -> None:
        terms = finite_losses(detector, scene)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from detzoo.testing.by_hand import Box, image_batch, targets

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

SIZE: Final = (96, 128)
"""(height, width) px of the network input."""
IMAGE_SIZES: Final = ((16, 16), (1, 300), (3000, 4000))
"""(height, width) px of images."""


def _many(count: int) -> list[Box]:
    draw = np.random.default_rng(0)
    corner = draw.uniform(0, 1, (count, 2)) * (SIZE[1] - 20, SIZE[0] - 20)
    return [(x, y, x + w, y + h) for (x, y), (w, h) in zip(corner, draw.uniform(1, 20, (count, 2)), strict=True)]


SCENES: Final[dict[str, list[list[Box]]]] = {
    "no object in one image": [[], [(10.0, 10.0, 60.0, 50.0)]],
    "no object at all": [[], []],
    "boxes of one pixel": [[(10.0, 10.0, 11.0, 11.0), (95.0, 90.0, 96.0, 91.0)], [(0.0, 0.0, 1.0, 1.0)]],
    "a box without area": [[(10.0, 10.0, 10.0, 30.0)], []],
    "1,000 boxes": [_many(1000), _many(3)],
    "one box, 50 times": [[(20.0, 20.0, 70.0, 60.0)] * 50, []],
}
"""Boxes xyxy px in two images of ``SIZE``."""


def finite_losses(detector: Detector, scene: str) -> dict[str, float]:
    """The loss terms of a scene, after asserting that their sum and every gradient are finite.

    Args:
        detector: built for ``SIZE``; left in training mode with the gradients.
        scene: a name of ``SCENES``.
    """
    detector.train().zero_grad()
    rows = max(16, -(-max(map(len, SCENES[scene])) // 16) * 16)  # as training pads
    terms = detector.losses(image_batch(2, size=SIZE), targets(SCENES[scene], size=SIZE, padded=rows))
    total = torch.stack(list(terms.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert bool(total.isfinite()), f"{scene}: the loss is {float(total.detach())}"
    for name, parameter in detector.named_parameters():
        finite = parameter.grad is None or bool(parameter.grad.isfinite().all())
        assert finite, f"{scene}: the gradient of {name} is NaN or infinite"
    return {name: float(value.detach()) for name, value in terms.items()}


def check_boxes_inside(detector: Detector, size: tuple[int, int]) -> None:
    """Of an image of noise, every box is finite and inside it, whatever its score.

    Args:
        detector: with any weights; left in evaluation mode.
        size: (height, width) px of the image.
    """
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    (found,) = detector.eval().predict([image], channels="rgb", score_threshold=0.0)
    assert bool(found.boxes.isfinite().all()), f"{size}: a box is NaN or infinite"
    outside = (found.boxes < 0) | (found.boxes > torch.tensor([size[1], size[0]] * 2))
    assert not bool(outside.any()), f"{size}: a box lies outside the image"
