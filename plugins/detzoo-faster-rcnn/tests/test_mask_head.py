"""The mask head: torchvision's layers beside ours, padding that costs nothing, and no regions at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

import detzoo
from detzoo.components.roi_pools import RoiAlign
from detzoo.errors import RecipeError
from detzoo.types import Candidates, FeatureSpec
from detzoo_faster_rcnn.mask_head import RoiMask

FEATURES = {"s8": FeatureSpec(6, 8.0), "s16": FeatureSpec(6, 16.0)}


def head(classes: int = 3, *, output: int = 5, **changes: Any) -> RoiMask:
    torch.manual_seed(0)
    pool = RoiAlign(FEATURES, output=(output, output), sampling_ratio=2)
    fields: dict[str, Any] = {"conv": (4, 7), "upsample": 8} | changes
    return RoiMask(FEATURES, classes, roi_pool=pool, **fields)


def maps(images: int = 2) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(1)
    return {
        "s8": torch.randn(images, 6, 8, 10, generator=source),
        "s16": torch.randn(images, 6, 4, 5, generator=source),
    }


def regions(images: int, count: int, *, valid: Tensor | None = None) -> Candidates:
    source = torch.Generator().manual_seed(2)
    corner = torch.rand(images, count, 2, generator=source) * 40
    boxes = torch.cat([corner, corner + 5 + 20 * torch.rand(images, count, 2, generator=source)], -1)
    return Candidates(boxes, torch.ones(images, count, dtype=torch.bool) if valid is None else valid)


def logits(module: RoiMask, features: dict[str, Tensor], rois: Candidates) -> Tensor:
    return module(features, rois)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("images", "count"), [(2, 0), (0, 0), (1, 1)])
def test_no_regions_are_a_normal_case(norm: str, training: bool, images: int, count: int) -> None:
    module = head(conv_norm=norm).train(training)
    found = logits(module, maps(images), regions(images, count))
    assert found.shape == (images, count, 3, 10, 10)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_torchvisions_layers_give_the_same_masks(norm: str) -> None:
    module = head(conv_norm=norm).eval()
    theirs = nn.Sequential(
        MaskRCNNHeads(6, [4, 7], 1, norm_layer=nn.BatchNorm2d if norm == "batch" else None), MaskRCNNPredictor(7, 8, 3)
    ).eval()
    renamed = {
        key.replace("0.", "conv.", 1)
        .replace("1.conv5_mask", "upsample")
        .replace("1.mask_fcn_logits", "classification"): value
        for key, value in theirs.state_dict().items()
    }
    missing, unexpected = module.load_state_dict(renamed, strict=False)
    assert not unexpected
    assert not missing
    rois, features = regions(2, 4), maps()
    pooled = module.roi_pool(features, rois)
    assert torch.equal(logits(module, features, rois).flatten(0, 1), theirs(pooled))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_padding_changes_no_mask_and_no_statistic(norm: str) -> None:
    valid = torch.tensor([[True, True, False, False], [True, False, False, False]])
    rois, features = regions(2, 4), maps()
    padded, alone = head(conv_norm=norm).train(), head(conv_norm=norm).train()
    found = logits(padded, features, Candidates(rois.boxes, valid))
    own = alone.draw(alone.roi_pool(features, rois)[valid.flatten()])
    assert torch.equal(found.flatten(0, 1)[valid.flatten()], own)
    assert found.flatten(0, 1)[~valid.flatten()].abs().sum() == 0
    for (name, ours), theirs in zip(padded.state_dict().items(), alone.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_one_mask_for_all_classes() -> None:
    assert logits(head(class_agnostic=True), maps(), regions(2, 4)).shape == (2, 4, 1, 10, 10)


def test_an_image_gets_the_same_masks_alone_and_in_a_batch() -> None:
    module, features, rois = head().eval(), maps(), regions(2, 3)
    together = logits(module, features, rois)
    alone = logits(module, {n: m[1:] for n, m in features.items()}, Candidates(rois.boxes[1:], rois.valid[1:]))
    torch.testing.assert_close(together[1:], alone)


@pytest.mark.parametrize("classes", [1, 90])
def test_the_first_masks_are_undecided(classes: int) -> None:
    found = logits(head(classes), maps(), regions(2, 3))
    assert found.abs().max() < 0.1


def test_a_box_head_in_place_of_the_mask_head_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        """\
api: 1
detectors:
  mine:
    extends: maskrcnn_mobilenet_v2_fpn
    mask:
      head: {type: roi_box, roi_pool: {type: roi_align}, box_coder: {type: centre_size}, fc: [8]}
""",
        encoding="utf-8",
    )
    with pytest.raises(RecipeError) as caught:
        detzoo.build(str(recipe), num_classes=2, weights=None)
    assert str(caught.value) == (
        f"{recipe}:6: detectors.mine.mask.head.type: "
        'unknown mask_head "roi_box"; "roi_box" is a roi_head; installed: roi_mask'
    )
