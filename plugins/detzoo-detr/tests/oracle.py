"""What the comparisons with transformers share: seeded weights, photographs, relative differences.

transformers is the oracle of these tests, and no part of the product.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detzoo.prediction.detections import Detections
from detzoo.runtime.images import read_image

PHOTOGRAPHS: Final = ("coral/face.jpg", "coral/parrot.jpg", "coral/pets.jpg", "py-faster-rcnn/000456.jpg")
"""355 x 512, 929 x 512, 430 x 512 and 375 x 500 px, height first."""


@torch.no_grad()
def seed_by_name(module: nn.Module) -> None:
    """Give every parameter and buffer of floats values that its name decides, in an order that plays no part.

    Norms are neither ones nor zeros, running variances positive; matrices keep the size of what goes through them.
    """
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        digest = hashlib.sha256(name.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
        draw = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if name.endswith("running_var"):
            draw = 0.5 + draw.abs()
        elif value.ndim > 1:
            draw = draw / max(1, value[0].numel()) ** 0.5
        else:
            draw = 0.1 * draw + (1 if name.endswith(("weight", "scale")) else 0)
        value.copy_(draw)


def photographs(shared: Path) -> list[NDArray[np.uint8]]:
    """Four, uint8 [H,W,3] RGB, of odd and different sizes."""
    return [read_image(shared / "data" / "demo" / name) for name in PHOTOGRAPHS]


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest value expected."""
    assert found.shape == expected.shape, f"{tuple(found.shape)} instead of {tuple(expected.shape)}"
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-300))


def assert_found(mine: Detections, theirs: Mapping[str, Tensor], *, pixels: float = 1e-3, score: float = 1e-5) -> None:
    """What transformers' post-processing gives of one image was found, equal scores in any order.

    Args:
        mine: of one image.
        theirs: ``scores`` [N], ``labels`` [N] as detzoo counts them, ``boxes`` [N,4] xyxy px, cut to the image here.
        pixels: most that an edge may be off.
        score: most that a score may be off.
    """
    height, width = mine.size
    scores, labels = theirs["scores"], theirs["labels"]
    boxes = theirs["boxes"].clamp(min=0).minimum(torch.tensor([width, height] * 2))
    assert len(mine) == len(scores) > 0
    torch.testing.assert_close(mine.scores, scores.sort(descending=True).values, atol=score, rtol=0)
    free = torch.ones(len(mine), dtype=torch.bool)
    for box, label, value in zip(boxes, labels, scores, strict=True):
        near = ((mine.boxes - box).abs() <= pixels).all(1) & ((mine.scores - value).abs() <= score)
        same = free & near & (mine.labels == label)
        assert same.any(), f"{box.tolist()} of class {int(label)} with score {float(value):.5f} is not found"
        free[int(same.nonzero()[0])] = False
