"""Every architecture on a pretended CUDA device: no tensor is left behind, and the host waits only where it must."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import torch

import detzoo
from detzoo.interfaces import Detector
from detzoo.prediction.apply_switches import noise
from detzoo.prediction.predict import prepared
from detzoo.testing.pretended_cuda import TO_HOST, PretendedCuda
from detzoo.training.ema import Ema
from detzoo.training.optimizer import build_optimizer, parameter_groups
from detzoo.types import ImageBatch, Targets

ROOT: Final = Path(__file__).parents[2]
CODE: Final = [ROOT / "detzoo", ROOT / "plugins", ROOT / "examples"]

DETECTIONS: Final = (TO_HOST, "predict.py:split")
SUPPRESSION: Final = ("aten::equal", "nms.py:_by_rounds")
HUNGARIAN: Final = (TO_HOST, "matcher.py:solve")
REGIONS: Final = ("aten::nonzero", "region_svm.py:windows")
FITTED: Final = ("aten::_local_scalar_dense", "svm.py:fitted")
WAITS: Final[dict[tuple[str, str], str]] = {
    DETECTIONS: "what was found, in one copy",
    SUPPRESSION: "whether a block of boxes has settled, once per round",
    HUNGARIAN: "SciPy assigns on the host: costs of a layer, in one copy",
    REGIONS: "R-CNN classifies the windows of real regions alone, one after another",
    FITTED: "whether the SVMs have been fitted: a buffer, so that a checkpoint has it",
}
"""Operator and place -> why the host has to know values there. Whoever adds one says why, or does without."""

RECIPES: Final[dict[str, tuple[set[tuple[str, str]], set[tuple[str, str]]]]] = {
    "yolov1_mobilenet_v2": ({SUPPRESSION}, set()),
    "yolov3_mobilenet_v2": ({SUPPRESSION}, set()),
    "yolox_mobilenet_v2": ({SUPPRESSION}, set()),
    "ssdlite_mobilenet_v2": ({SUPPRESSION}, set()),
    "retinanet_mobilenet_v2": ({SUPPRESSION}, set()),
    "retinanet_mobilenet_v2_atss": ({SUPPRESSION}, set()),
    "gfl_mobilenet_v2": ({SUPPRESSION}, set()),
    "fcos_mobilenet_v2": ({SUPPRESSION}, set()),
    "rtmdet_mobilenet_v2": ({SUPPRESSION}, set()),
    "centernet_mobilenet_v2": (set(), set()),
    "detr_mobilenet_v2": (set(), {HUNGARIAN}),
    "detr_anchors_mobilenet_v2": (set(), {HUNGARIAN}),
    "rtdetr_mobilenet_v2": (set(), {HUNGARIAN}),
    "dfine_mobilenet_v2": (set(), {HUNGARIAN}),
    "rfdetr_mobilenet_v2": (set(), {HUNGARIAN}),
    "fasterrcnn_mobilenet_v2_fpn": ({SUPPRESSION}, {SUPPRESSION}),
    "cascadercnn_mobilenet_v2_fpn": ({SUPPRESSION}, {SUPPRESSION}),
    "maskrcnn_mobilenet_v2_fpn": ({SUPPRESSION}, {SUPPRESSION}),
    "rfcn_mobilenet_v2": ({SUPPRESSION}, {SUPPRESSION}),
    "fastrcnn_mobilenet_v2": ({SUPPRESSION}, set()),
    "sppnet_mobilenet_v2": ({SUPPRESSION, REGIONS, FITTED}, {REGIONS}),
    "rcnn_mobilenet_v2": ({SUPPRESSION, REGIONS, FITTED}, {REGIONS}),
}
"""Recipe -> where ``predict`` waits beside the copy of what was found, and where ``losses`` does."""
QUICK: Final = frozenset(
    {
        "yolox_mobilenet_v2",
        "ssdlite_mobilenet_v2",
        "rtdetr_mobilenet_v2",
        "maskrcnn_mobilenet_v2_fpn",
        "sppnet_mobilenet_v2",
    }
)


def each(names: dict[str, object]) -> list[object]:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def built(name: str) -> Detector:
    torch.manual_seed(0)
    return detzoo.build(name, num_classes=3, weights=None)


def truth(batch: ImageBatch) -> Targets:
    """Three boxes in each image, with masks."""
    count, (height, width) = len(batch.pixels), batch.pixels.shape[-2:]
    boxes = torch.tensor([[4.0, 4, 60, 70], [30, 20, 80, 90], [1, 1, 20, 20]]).repeat(count, 1, 1)
    no = torch.zeros(count, 3, dtype=torch.bool)
    return Targets(
        boxes,
        torch.arange(3).repeat(count, 1),
        no,
        no.clone(),
        batch.region,
        masks=torch.ones(3 * count, height, width, dtype=torch.uint8),
        mask_row=torch.arange(3 * count).view(count, 3),
        progress=torch.tensor(0.5),
    )


def test_every_wait_has_a_reason() -> None:
    used = set().union(*(waits for both in RECIPES.values() for waits in both)) | {DETECTIONS}
    assert used == set(WAITS)


@pytest.mark.parametrize("name", each(dict(RECIPES)))
def test_predict_waits_where_it_must(name: str) -> None:
    detector = built(name).eval()
    with PretendedCuda(CODE) as cuda:
        detector.to("cuda:0")
        found = detector.predict(noise(2, (90, 120)), channels="rgb", score_threshold=0.0)
    assert len(found) == 2
    waits = [(wait.operator, wait.place) for wait in cuda.waits]
    assert waits.count(DETECTIONS) == 1
    assert set(waits) - {DETECTIONS} == RECIPES[name][0]


@pytest.mark.parametrize("half", [None, torch.bfloat16])
@pytest.mark.parametrize("name", each(dict(RECIPES)))
def test_a_step_of_training_waits_where_it_must(name: str, half: torch.dtype | None) -> None:
    detector = built(name)
    batch = prepared(detector, noise(2, (90, 120)))
    targets = truth(batch)
    with PretendedCuda(CODE) as cuda:
        detector.to("cuda:0").train()
        with torch.autocast("cpu", half, enabled=half is not None):  # where the values are computed
            terms = detector.losses(batch.to("cuda:0"), targets.to("cuda:0"))
        assert {term.dtype for term in terms.values()} == {torch.float32}
        assert {(wait.operator, wait.place) for wait in cuda.waits} == RECIPES[name][1]
        cuda.waits.clear()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        plan = detector.train_plan
        names = [key for key, value in detector.named_parameters() if value.requires_grad]
        optimizer = build_optimizer(parameter_groups(detector, plan.optimizer, names, lr=1e-4), plan.optimizer)
        ema = Ema(detector, 0.9)
        optimizer.step()
        ema.update(detector, 1)
    assert cuda.waits == []
