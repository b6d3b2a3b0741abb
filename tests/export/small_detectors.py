"""The detectors of ``small.yaml``, and what the page about export says of each."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.builder import build
from detzoo.export.network import image_batch
from detzoo.interfaces import Detector
from detzoo.types import DetectionBatch
from detzoo_rcnn.region_svm import RegionSvm

RECIPES = Path(__file__).parent / "small.yaml"
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
SIZE = (64, 96)
SPREAD = {
    "faster_res5": 0.06,
    "faster_tail": 0.03,
    "rfcn": 0.6,
    "rfcn_pool": 0.6,
    "detr": 0.3,
    "detr_anchors": 0.6,
    "rfdetr": 0.3,
    "centernet": 0.6,
    "yolox_nano": 0.02,
}
"""Deviation of what is added to the heads' parameters, 0.1 for others: so much that scores of two images differ."""
DEEP = ("yolox", "rtmdet", "nanodet", "centernet")
"""So many untrained norms stand one after another in these that nothing of an image would arrive at their heads."""
Float = NDArray[np.float32]


class Row(NamedTuple):
    """A line of the page's table: ``yes``, ``yes, ...`` or ``no`` and the mark of a reason."""

    recipe: str
    raw: str
    found: str
    program: str


def table() -> list[Row]:
    lines = re.findall(r"^\|[^|\n]+\| `(\w+)` \|([^|\n]+)\|([^|\n]+)\|([^|\n]+)\|$", PAGE.read_text(), re.MULTILINE)
    return [Row(*(cell.strip() for cell in line)) for line in lines]


def reasons() -> dict[str, str]:
    """Why, by mark."""
    return dict(re.findall(r"^- ([¹²³]) (.+)$", PAGE.read_text(), re.MULTILINE))


def small(name: str, *, size: tuple[int, int] = SIZE) -> Detector:
    """Untrained, but not indifferent: its heads answer otherwise to one image than to another."""
    torch.manual_seed(0)
    detector = build(f"{RECIPES}#{name}", overrides=[f"input.size={list(size)}"]).eval()
    heads = [part for part in (getattr(detector, "head", None), getattr(detector, "box", None)) if part is not None]
    assert heads
    with torch.no_grad():
        for parameter in (parameter for head in heads for parameter in head.parameters()):
            parameter.add_(SPREAD.get(name, 0.1) * torch.randn(parameter.shape))
        if name == "rcnn":  # as after its SVMs were fitted; sppnet answers by its classifier still
            assert isinstance(detector, RegionSvm)
            svms = detector.classifier.get_buffer("weight")
            svms.copy_(torch.randn(svms.shape))
            detector.classifier.get_buffer("done").fill_(True)
    if name in DEEP:
        fit_norms(detector)
    return detector


def fit_norms(detector: Detector) -> None:
    """Running statistics of zeros and noise, as if the detector had been trained on them: no norm dims its input."""
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        detector.train().network(image_batch(torch.cat([two(), images(2)])))
    detector.eval()


def images(count: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(count))


def two() -> torch.Tensor:
    """Zeros and noise."""
    return torch.cat([torch.zeros(1, 3, *SIZE), images(1)])


def inputs(detector: Detector, pixels: torch.Tensor, *, regions: int = 12) -> dict[str, torch.Tensor]:
    """What a program is called with; of regions the last is padding."""
    given = {"pixels": pixels}
    if detector.input.resize != "stretch":
        height, width = pixels.shape[-2:]
        given["region"] = torch.tensor([[0.0, 8, width, height - 8]]).repeat(len(pixels), 1)
    if detector.proposer is not None:
        source = torch.Generator().manual_seed(regions)
        corner = torch.rand(len(pixels), regions, 2, generator=source) * torch.tensor([60.0, 40.0])
        side = 8 + torch.rand(len(pixels), regions, 2, generator=source) * torch.tensor([28.0, 16.0])
        given["regions"] = torch.cat([corner, corner + side], dim=2)
        given["regions"][:, -1] = 0
    return given


def detections(detector: Detector, given: dict[str, torch.Tensor]) -> DetectionBatch:
    with torch.no_grad():
        return detector.detect(image_batch(**given))


def leave_one_empty(detector: Detector) -> None:
    """Give the recipe a threshold that one of ``two`` images reaches and the other does not."""
    postprocess = detector.postprocess
    postprocess.settings = dataclasses.replace(postprocess.settings, score_threshold=0.0)
    low, high = sorted(detections(detector, inputs(detector, two())).scores[:, 0].tolist())
    assert high - low > 1e-3
    threshold = low + (high - low) / 10
    postprocess.settings = dataclasses.replace(postprocess.settings, score_threshold=threshold)


def assert_same_detections(expected: DetectionBatch, found: dict[str, Float]) -> None:
    """Rows of equal scores may change places, so each is looked for. On the CPU padding may be cut off.

    A box may lie 1e-2 px elsewhere: an error of 1e-5 in a delta, times a side of a thousand px.
    """
    valid = found["valid"].astype(bool)
    counts = expected.valid.sum(1).tolist()
    assert valid.sum(1).tolist() == counts
    for image, count in enumerate(counts):
        assert valid[image, :count].all()
        np.testing.assert_allclose(found["scores"][image, :count], expected.scores[image, :count].numpy(), atol=1e-5)
        for row in range(count):
            alike = np.abs(found["scores"][image] - float(expected.scores[image, row])) < 1e-5
            same = valid[image] & alike & (found["labels"][image] == int(expected.labels[image, row]))
            apart = np.abs(found["boxes"][image] - expected.boxes[image, row].numpy()).max(1)
            assert apart[same].min() < 1e-2
            if expected.mask_logits is not None:
                place = int(np.where(same, apart, np.inf).argmin())
                masks = found["mask_logits"][image, place], expected.mask_logits[image, row].numpy()
                np.testing.assert_allclose(*masks, rtol=1e-4, atol=1e-4)
    assert not found["boxes"][~valid].any()
    assert not found["scores"][~valid].any()
