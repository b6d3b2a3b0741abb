"""Network pixels against torchvision's transform, and numbers done by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detzoo.errors import DataError, RecipeError
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import Treatment, collate, make_targets, prepare
from detzoo.types import Sample

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def sample(image: NDArray[np.uint8], boxes: list[list[float]], **more: Any) -> Sample:
    fields: dict[str, Any] = {
        "image": image,
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.arange(len(boxes), dtype=np.int64),
        "difficult": np.zeros(len(boxes), np.bool_),
        "crowd": np.zeros(len(boxes), np.bool_),
        "image_id": 1,
        "path": "a.png",
    }
    return Sample(**{**fields, **more})


def torchvision_input(
    images: list[NDArray[np.uint8]], boxes: torch.Tensor | None = None, **spec: Any
) -> tuple[torch.Tensor, list[tuple[int, int]], list[dict[str, torch.Tensor]] | None]:
    transform = GeneralizedRCNNTransform(**spec)
    transform.eval()
    tensors = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in images]
    targets = None if boxes is None else [{"boxes": boxes} for _ in images]
    batch, moved = transform(tensors, targets)
    return batch.tensors, batch.image_sizes, moved


def test_no_images_is_an_empty_batch() -> None:
    batch, targets = collate([], InputSpec(size=(4, 6)))
    assert batch.pixels.shape == (0, 3, 4, 6)
    assert batch.region.shape == (0, 4)
    assert batch.scale.shape == (0, 2)
    assert targets.boxes.shape == (0, 16, 4)


def test_an_image_without_boxes_is_normal() -> None:
    _, targets = collate([sample(photo(8, 8), [])], InputSpec(size=(4, 4)))
    assert targets.boxes.shape == (1, 16, 4)
    assert not targets.valid.any()
    assert targets.masks is None


@pytest.mark.parametrize("shape", [(480, 640), (333, 500), (120, 77), (300, 300), (301, 2000), (1700, 2301)])
def test_stretch_equals_torchvision(shape: tuple[int, int]) -> None:
    image = photo(*shape)
    expected, _, _ = torchvision_input(
        [image], min_size=1, max_size=1, fixed_size=(300, 300), image_mean=IMAGENET["mean"], image_std=IMAGENET["std"]
    )
    batch = prepare([image], InputSpec(size=(300, 300), **IMAGENET))
    # in units of [0,1] pixel values: the division by std multiplies the rounding of both sides
    assert (batch.pixels - expected[:, :, :300, :300]).abs().max() * 0.229 < 1e-6


def test_shortest_equals_torchvision_with_boxes() -> None:
    images = [photo(480, 640), photo(500, 333, 1), photo(427, 1280, 2)]
    boxes = torch.tensor([[10.0, 20.0, 110.5, 220.25]])
    expected, sizes, moved = torchvision_input(
        images, boxes, min_size=320, max_size=533, image_mean=IMAGENET["mean"], image_std=IMAGENET["std"]
    )
    spec = InputSpec(resize="shortest", min_size=320, max_size=533, pad_multiple=32, **IMAGENET)
    batch, targets = collate([sample(image, boxes.tolist()) for image in images], spec)
    assert batch.pixels.shape == expected.shape
    assert (batch.pixels - expected).abs().max() * 0.229 < 1e-6
    assert batch.region.tolist() == [[0, 0, float(width), float(height)] for height, width in sizes]
    assert moved is not None
    for row in range(3):
        torch.testing.assert_close(targets.boxes[row, :1], moved[row]["boxes"], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("shape", [(480, 640), (333, 500), (120, 77), (1700, 2301)])
def test_normalised_before_resizing_every_bit_is_torchvisions(shape: tuple[int, int]) -> None:
    image = photo(*shape)
    expected, ((height, width),), _ = torchvision_input(
        [image], min_size=320, max_size=533, image_mean=IMAGENET["mean"], image_std=IMAGENET["std"]
    )
    spec = InputSpec(resize="shortest", min_size=320, max_size=533, normalise="before", **IMAGENET)

    assert torch.equal(prepare([image], spec).pixels, expected[:, :, :height, :width])


def test_blue_first_is_normalised_with_its_own_mean_whether_before_or_after() -> None:
    fields: dict[str, Any] = {
        "channels": "bgr",
        "mean": (104.0, 117.0, 123.0),
        "std": (1.0, 2.0, 4.0),
        "pixel_range": 255,
    }

    after, before = (
        prepare([photo(40, 60)], InputSpec(size=(20, 30), normalise=when, **fields)).pixels
        for when in ("after", "before")
    )

    torch.testing.assert_close(before, after, rtol=0, atol=1e-4)
    corner = torch.from_numpy(photo(20, 30)[0, 0].astype(np.float32)).flip(0)
    same_size = prepare([photo(20, 30)], InputSpec(size=(20, 30), normalise="before", **fields)).pixels[0, :, 0, 0]
    assert same_size.tolist() == ((corner - torch.tensor(fields["mean"])) / torch.tensor(fields["std"])).tolist()


def test_torchvisions_ssd300_normalisation_with_std_of_one_255th() -> None:
    mean, std = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)
    image = photo(375, 500)
    expected, _, _ = torchvision_input(
        [image], min_size=1, max_size=1, fixed_size=(300, 300), size_divisible=1, image_mean=mean, image_std=std
    )
    batch = prepare([image], InputSpec(size=(300, 300), mean=mean, std=std))
    assert (batch.pixels - expected).abs().max() / 255 < 1e-6


def test_caffes_input_is_bgr_0_to_255_minus_mean() -> None:
    image = np.full((3, 3, 3), (10, 20, 30), np.uint8)
    spec = InputSpec(size=(3, 3), channels="bgr", mean=(104, 117, 123), std=(1, 1, 1), pixel_range=255)
    assert prepare([image], spec).pixels[0, :, 0, 0].tolist() == [30 - 104, 20 - 117, 10 - 123]


def test_letterbox_is_darknets() -> None:
    # 640 x 480 into 416 x 416: 416 x 312, 52 rows of .5 above and below
    image = np.full((480, 640, 3), 255, np.uint8)
    spec = InputSpec(size=(416, 416), resize="letterbox", sampling="corners", fill=0.5, mean=(0, 0, 0), std=(1, 1, 1))
    batch = prepare([image], spec)
    assert batch.region.tolist() == [[0, 52, 416, 364]]
    assert batch.pixels[0, 0, 51].tolist() == [0.5] * 416
    assert batch.pixels[0, 0, 52].tolist() == [1.0] * 416
    assert batch.pixels[0, 0, 364].tolist() == [0.5] * 416


def test_darknet_aligns_corners() -> None:
    image = np.repeat(np.array([[0, 90]], np.uint8)[:, :, None], 3, axis=2)
    bare: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1), "pixel_range": 255}
    corners = prepare([image], InputSpec(size=(1, 4), sampling="corners", **bare))
    torch.testing.assert_close(corners.pixels[0, 0, 0], torch.tensor([0.0, 30.0, 60.0, 90.0]))
    half = prepare([image], InputSpec(size=(1, 4), **bare))
    # centres at -.25 .25 .75 1.25 of the source: clamped, 22.5, 67.5, clamped
    torch.testing.assert_close(half.pixels[0, 0, 0], torch.tensor([0.0, 22.5, 67.5, 90.0]))


def test_rounding_uint8_is_cv2s_resize_of_bytes() -> None:
    import cv2

    image = photo(48, 64)
    spec = InputSpec(size=(20, 30), rounding="uint8", mean=(127, 127, 127), std=(128, 128, 128), pixel_range=255)
    expected = (cv2.resize(image, (30, 20)).astype(np.float32) - 127) / 128
    np.testing.assert_array_equal(prepare([image], spec).pixels[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("size", [(20, 30), (48, 20), (90, 100)])
def test_antialias_is_torchvisions_resize(size: tuple[int, int]) -> None:
    from torchvision.transforms.v2 import functional as transforms

    image = photo(48, 64)
    planes = torch.from_numpy(image).permute(2, 0, 1)
    bare: dict[str, Any] = {"size": size, "mean": (0, 0, 0), "std": (1, 1, 1), "pixel_range": 255, "antialias": True}
    of_bytes = transforms.resize(planes, list(size), antialias=True).float()
    assert torch.equal(prepare([image], InputSpec(rounding="uint8", **bare)).pixels[0], of_bytes)
    of_floats = transforms.resize(planes.float(), list(size), antialias=True)
    torch.testing.assert_close(prepare([image], InputSpec(**bare)).pixels[0], of_floats, rtol=0, atol=1e-3)
    assert (of_bytes - of_floats).abs().max() <= 1.01  # rounded to half a byte, across and then down


def test_antialias_by_hand_and_by_pillow() -> None:
    from PIL import Image

    image = np.repeat(np.array([[0, 0, 0, 255, 255, 255]], np.uint8)[..., None], 3, axis=2)
    bare: dict[str, Any] = {"size": (1, 2), "mean": (0, 0, 0), "std": (1, 1, 1), "pixel_range": 255}
    plain, averaged = (prepare([image], InputSpec(antialias=on, **bare)).pixels[0, 0, 0] for on in (False, True))
    torch.testing.assert_close(plain, torch.tensor([0.0, 255.0]))
    # a triangle that reaches three pixels each way from 1.5 px: the first five pixels lie in it
    weights = torch.tensor([1 - abs(x + 0.5 - 1.5) / 3 for x in range(5)])
    assert averaged[0].item() == pytest.approx(255 * float(weights[3:].sum() / weights.sum()), rel=1e-5)
    photograph = photo(48, 64)
    pillow = np.asarray(Image.fromarray(photograph).resize((30, 20), Image.Resampling.BILINEAR), np.float32)
    ours = prepare([photograph], InputSpec(rounding="uint8", antialias=True, **(bare | {"size": (20, 30)})))
    assert np.abs(ours.pixels[0].permute(1, 2, 0).numpy() - pillow).max() <= 1  # each rounds between the two axes


def test_original_px_come_back_from_scale_and_region() -> None:
    spec = InputSpec(size=(416, 416), resize="letterbox")
    batch, targets = collate([sample(photo(480, 640), [[64, 96, 320, 480]])], spec)
    # 640 -> 416 is .65; rows start at 52
    torch.testing.assert_close(targets.boxes[0, 0], torch.tensor([41.6, 52 + 62.4, 208.0, 52 + 312.0]))
    back = (targets.boxes[0, 0] - batch.region[0, [0, 1, 0, 1]]) / batch.scale[0, [1, 0, 1, 0]]
    torch.testing.assert_close(back, torch.tensor([64.0, 96.0, 320.0, 480.0]))


@pytest.mark.parametrize(
    ("difficult", "crowd", "valid", "ignore"),
    [
        ("train", "train", [0, 1, 2], []),
        ("train", "ignore", [0, 1, 2], [2]),
        ("ignore", "drop", [0, 1], [1]),
        ("drop", "drop", [0], []),
    ],
)
def test_difficult_and_crowd_are_each_trained_ignored_or_dropped(
    difficult: Treatment, crowd: Treatment, valid: list[int], ignore: list[int]
) -> None:
    one = sample(
        photo(10, 10),
        [[0, 0, 5, 5], [1, 1, 6, 6], [2, 2, 7, 7]],
        difficult=np.array([False, True, False]),
        crowd=np.array([False, False, True]),
    )
    batch = prepare([one.image], InputSpec(size=(10, 10)))
    targets = make_targets([one], batch, difficult=difficult, crowd=crowd)
    assert targets.labels[0][targets.valid[0]].tolist() == valid
    assert targets.labels[0][targets.ignore[0]].tolist() == ignore


def test_seventeen_boxes_are_padded_to_32_rows() -> None:
    one = sample(photo(10, 10), [[0, 0, 5, 5]] * 17)
    _, targets = collate([one, sample(photo(4, 4), [])], InputSpec(size=(10, 10)))
    assert targets.boxes.shape == (2, 32, 4)
    assert targets.valid.sum(1).tolist() == [17, 0]


def test_weights_follow_their_boxes_and_are_one_elsewhere() -> None:
    weight, crowd = np.array([0.25, 0.5, 0.75], np.float32), np.array([False, True, False])
    one = sample(photo(10, 10), [[0, 0, 5, 5]] * 3, weight=weight, crowd=crowd)
    whole = sample(photo(10, 10), [[0, 0, 5, 5]])
    batch, targets = collate([one, whole], InputSpec(size=(10, 10)), crowd="drop")
    assert targets.weight is not None
    assert targets.weight.dtype == torch.float32
    assert targets.weight[:, :4].tolist() == [[0.25, 0.75, 1, 1], [1, 1, 1, 1]]
    assert targets.weight.shape == targets.valid.shape
    assert make_targets([whole], batch).weight is None


def test_masks_follow_into_the_letterbox() -> None:
    masks = np.zeros((2, 4, 8), np.uint8)
    masks[1, :, 4:] = 1
    one = sample(photo(4, 8), [[0, 0, 2, 2], [4, 0, 8, 4]], masks=masks)
    batch, targets = collate([sample(photo(8, 8), []), one], InputSpec(size=(8, 8), resize="letterbox"))
    assert batch.region[1].tolist() == [0, 2, 8, 6]
    assert targets.masks is not None
    assert targets.mask_row is not None
    assert targets.masks.shape == (1, 8, 8)  # the first box's mask has no pixel: it has none
    assert targets.mask_row[:, :3].tolist() == [[-1, -1, -1], [-1, 0, -1]]
    expected = torch.zeros(8, 8, dtype=torch.uint8)
    expected[2:6, 4:] = 1
    assert torch.equal(targets.masks[0], expected)


def test_proposals_travel_with_the_batch() -> None:
    one = sample(photo(10, 20), [], proposals=np.array([[2, 4, 10, 8]], np.float32))
    batch, _ = collate([one, sample(photo(10, 10), [])], InputSpec(size=(20, 20)))
    assert batch.proposals is not None
    assert batch.proposals.boxes[0].tolist() == [[2, 8, 10, 16]]
    assert batch.proposals.valid.tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "input: size is missing: resize: stretch needs (height, width), as [300, 300]"),
        ({"size": (0, 3)}, "input: size must be (height, width) of at least 1 px, not [0, 3]"),
        ({"size": (3, 3), "min_size": 4}, "input: min_size, max_size and pad_multiple belong to resize: shortest"),
        (
            {"resize": "shortest", "min_size": 5, "max_size": 4},
            "input: resize: shortest needs min_size and max_size with 0 < min_size <= max_size, as 800, 1333",
        ),
        (
            {"resize": "shortest", "size": (3, 3), "min_size": 5, "max_size": 6},
            "input: size must be null with resize: shortest, whose size follows the images",
        ),
        ({"size": (3, 3), "std": (1, 0, 1)}, "input: std must be three positive numbers, not [1, 0, 1]"),
        ({"size": (3, 3), "mean": (1, float("nan"), 1)}, "input: mean must be three numbers, not [1, nan, 1]"),
        (
            {"size": (3, 3), "rounding": "uint8", "sampling": "corners"},
            "input: sampling: corners needs rounding: none",
        ),
        (
            {"size": (3, 3), "antialias": True, "sampling": "corners"},
            "input: antialias: true needs sampling: half_pixel",
        ),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        InputSpec(**fields)
    assert str(caught.value) == message


def test_an_array_of_floats_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        prepare([np.zeros((3, 3, 3), np.float32)], InputSpec(size=(2, 2)))
    assert str(caught.value) == "an image must be uint8 [H,W,3] RGB, not float32 [3, 3, 3]"
