"""The adapter against torchvision called by hand, and what it says to wrong names and arguments."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from detzoo.builder import build_component
from detzoo.data.loading.transforms.torchvision_v2 import TorchvisionV2, known_names
from detzoo.data.shapes import ShapesDataset
from detzoo.errors import RecipeError
from detzoo.prediction.proposal_file import ProposalsError
from detzoo.testing.specimens import draw_from
from detzoo.types import Sample
from tests.data.test_transforms_of_several_images import image_of

PLANS: list[tuple[str, dict[str, Any]]] = [
    ("RandomHorizontalFlip", {"p": 1.0}),
    ("RandomPhotometricDistort", {"p": 0.9}),
    ("RandomZoomOut", {"fill": [123.0, 117.0, 104.0], "p": 1.0}),
    ("RandomIoUCrop", {}),
    ("ScaleJitter", {"target_size": [96, 96]}),
    ("RandomShortestSize", {"min_size": [48, 64, 80], "max_size": 128}),
    ("RandomCrop", {"size": [60, 60]}),
    ("RandomRotation", {"degrees": 20, "interpolation": "bilinear"}),
    ("GaussianBlur", {"kernel_size": 5}),
    ("ColorJitter", {"brightness": 0.4}),
]


def by_hand(transform: Any, sample: Sample, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """torchvision's own way: tv_tensors through the transform, then SanitizeBoundingBoxes with labels."""
    size = sample.image.shape[:2]
    target = {
        "image": tv_tensors.Image(torch.from_numpy(sample.image).permute(2, 0, 1).contiguous()),
        "boxes": tv_tensors.BoundingBoxes(torch.from_numpy(sample.boxes), format="XYXY", canvas_size=size),
        "masks": tv_tensors.Mask(torch.from_numpy(np.asarray(sample.masks))),
        "labels": torch.from_numpy(sample.labels),
    }
    torch.manual_seed(int(rng.integers(2**63 - 1)))
    chain = v2.Compose([transform, v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes()])
    found: dict[str, torch.Tensor] = chain(target)
    return found


@pytest.mark.parametrize(("name", "arguments"), PLANS, ids=[name for name, _ in PLANS])
def test_it_gives_what_torchvision_gives(name: str, arguments: dict[str, Any]) -> None:
    adapter = TorchvisionV2(name=name, arguments=arguments)
    given = {**arguments}
    if "fill" in given:
        given["fill"] = {tv_tensors.Image: given["fill"], tv_tensors.Mask: 0}
    transform = getattr(v2, name)(**given)
    data, boxes = ShapesDataset(count=12, size=96), 0
    threads = torch.get_num_threads()
    for position in range(12):
        sample = data.sample(position)
        if len(sample.boxes) == 0:
            continue
        found = adapter(sample, np.random.default_rng(position), draw_from())
        torch.set_num_threads(1)
        expected = by_hand(transform, sample, np.random.default_rng(position))
        torch.set_num_threads(threads)
        np.testing.assert_array_equal(found.image, expected["image"].permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(found.boxes, expected["boxes"].numpy())
        np.testing.assert_array_equal(found.labels, expected["labels"].numpy())
        assert found.masks is not None
        np.testing.assert_array_equal(found.masks, expected["masks"].numpy())
        assert [str(a.dtype) for a in (found.image, found.boxes, found.masks)] == ["uint8", "float32", "uint8"]
        boxes += len(found.boxes)
    assert boxes > 5


def test_global_random_state_and_the_sample_are_left_alone() -> None:
    one = image_of(20, [[4, 4, 12, 16]])
    before, kept = torch.random.get_rng_state(), image_of(20, [[4, 4, 12, 16]])
    adapter = TorchvisionV2(name="RandomErasing", arguments={"p": 1.0})
    first, again = (adapter(one, np.random.default_rng(4), draw_from()) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first.image, again.image)
    assert not np.array_equal(first.image, one.image)
    np.testing.assert_array_equal(one.image, kept.image)


def test_flags_weights_and_proposals_follow() -> None:
    one = image_of(20, [[2, 2, 14, 16], [30, 2, 39, 18]])
    one = dataclasses.replace(
        one,
        crowd=np.array([True, False]),
        difficult=np.array([False, True]),
        weight=np.array([0.25, 0.75], np.float32),
        proposals=one.boxes.copy(),
    )
    crop = TorchvisionV2(name="CenterCrop", arguments={"size": [20, 20]})  # x 10..30
    found = crop(one, np.random.default_rng(0), draw_from())
    assert found.boxes.tolist() == [[0, 2, 4, 16]]
    assert (found.crowd.tolist(), found.difficult.tolist()) == ([True], [False])
    assert found.weight is not None
    assert found.weight.tolist() == [0.25]
    assert found.proposals is not None
    assert found.proposals.tolist() == [[0, 2, 4, 16]]
    with pytest.raises(ProposalsError, match="take iou_crop"):
        TorchvisionV2(name="RandomIoUCrop")(one, np.random.default_rng(0), draw_from())


def test_boxes_of_a_pixel_stay_and_smaller_ones_go() -> None:
    one = image_of(20, [[4, 4, 5, 5], [8, 8, 20, 18]])
    flip = TorchvisionV2(name="RandomHorizontalFlip", arguments={"p": 1.0})
    assert flip(one, np.random.default_rng(0), draw_from()).boxes.tolist() == [[35, 4, 36, 5], [20, 8, 32, 18]]
    half = TorchvisionV2(name="Resize", arguments={"size": [10, 20]})
    assert half(one, np.random.default_rng(0), draw_from()).labels.tolist() == [21]
    wide = TorchvisionV2(name="Resize", arguments={"size": [10, 20]}, min_size=6.0)
    assert wide(one, np.random.default_rng(0), draw_from()).labels.tolist() == []


def test_no_boxes_is_a_normal_case() -> None:
    for name in ("RandomIoUCrop", "RandomZoomOut", "RandomHorizontalFlip", "RandomPhotometricDistort"):
        found = TorchvisionV2(name=name)(image_of(20, []), np.random.default_rng(1), draw_from())
        assert found.boxes.shape == (0, 4)
        assert found.masks is not None
        assert found.masks.shape == (0, *found.image.shape[:2])


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"name": "RandomHorizontalflip"}, ['"RandomHorizontalflip"', 'did you mean "RandomHorizontalFlip"']),
        ({"name": "Compose"}, ['unknown transform of torchvision.transforms.v2 "Compose"', "allowed: CenterCrop"]),
        (
            {"name": "RandomZoomOut", "arguments": {"side_rang": [1.0, 2.0]}},
            [
                'unknown argument "side_rang" of RandomZoomOut',
                'did you mean "side_range"',
                "allowed: fill, p, side_range",
            ],
        ),
        ({"name": "RandomCrop"}, ["torchvision's RandomCrop does not take them", "'size'"]),
        ({"name": "RandomHorizontalFlip", "arguments": {"p": 3.0}}, ["RandomHorizontalFlip", "`p` should be"]),
        ({"name": "RandomRotation", "arguments": {"degrees": 5, "interpolation": "best"}}, ["RandomRotation", "best"]),
        ({"name": "Grayscale"}, ["Grayscale makes uint8 64 x 64 x 1 of an image, not RGB bytes"]),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_wrong_names_and_arguments_are_recipe_errors(config: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        build_component("transform", {"type": "torchvision_v2", **config})
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "Traceback" not in message


def test_every_known_name_is_built_or_says_what_it_lacks() -> None:
    lacking = ["CenterCrop", "GaussianBlur", "JPEG", "Pad", "RandomAdjustSharpness", "RandomAffine", "RandomCrop"]
    lacking += ["RandomPosterize", "RandomResize", "RandomResizedCrop", "RandomRotation", "RandomShortestSize"]
    lacking += ["RandomSolarize", "Resize", "ScaleJitter"]
    assert set(lacking) < set(known_names())
    for name in lacking:
        with pytest.raises(RecipeError, match=f"torchvision's {name} does not take them: .*missing"):
            TorchvisionV2(name=name)
    others = set(known_names()) - {*lacking, "Grayscale"}
    assert len(others) >= 16
    for name in others:
        found = TorchvisionV2(name=name)(image_of(20, [[4, 4, 12, 16]], 64, 64), np.random.default_rng(0), draw_from())
        assert found.image.shape[2] == 3
