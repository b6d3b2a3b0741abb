"""From images to network pixels: resizing, padding and normalisation, tied to the weights of a detector.

``stretch`` and ``shortest`` give torchvision's GeneralizedRCNNTransform to rounding; ``letterbox`` gives darknet's.
Everything is a field, because each known implementation chose differently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from detzoo.errors import DataError
from detzoo.prediction.bilinear_resize import shrink_bilinear
from detzoo.prediction.image_proposals import candidates_of
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.targets import Treatment, make_targets
from detzoo.runtime.contiguous import contiguous
from detzoo.types import ImageBatch, Sample, Targets

__all__ = ["Treatment", "collate", "make_targets", "prepare", "resized_size"]

_SPARSE = 24  # ratio of areas from which reading only the needed pixels is the faster (measured: equal at 20)


def resized_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """(height, width) in network px of an image after resizing, before padding."""
    if spec.resize == "stretch":
        assert spec.size is not None
        return spec.size
    if spec.resize == "letterbox":
        assert spec.size is not None
        # darknet's letterbox_image: integer arithmetic, the other side cut down
        if spec.size[1] * height < spec.size[0] * width:
            return max(1, height * spec.size[1] // width), spec.size[1]
        return spec.size[0], max(1, width * spec.size[0] // height)
    assert spec.min_size is not None
    assert spec.max_size is not None
    if spec.short_side == "exact":
        return _by_short_side(height, width, spec.min_size, spec.max_size)
    scale = min(spec.min_size / min(height, width), spec.max_size / max(height, width))
    # floor, as recompute_scale_factor=True
    return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))


def _by_short_side(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """(height, width): DETR's ``get_size_with_aspect_ratio``, as transformers computes it.

    Where the longest side decides, the long side follows the short one before rounding; DETR's own code takes the
    rounded one, and is a few px beside ``longest`` for thin images. Both keep an image whose short side is right.
    """
    short, long = min(height, width), max(height, width)
    wanted: float = shortest
    if long / short * shortest > longest:
        wanted = longest * short / long
    rounded = round(wanted)
    other = long if rounded == short else max(1, int(wanted * long / short))
    shown = max(1, rounded)
    return (shown, other) if height <= width else (other, shown)


def prepare(
    images: Sequence[NDArray[np.uint8]],
    spec: InputSpec,
    *,
    device: torch.device | str = "cpu",
    index: Sequence[int] | None = None,
    proposals: Sequence[NDArray[np.float32] | None] | None = None,
) -> ImageBatch:
    """Resize, pad and normalise images into one batch.

    Args:
        images: uint8 [H,W,3] RGB each, of any sizes.
        spec: the detector's input.
        device: where the batch is made; bytes travel there, floats are made there.
        index: position of each image in the caller's list; 0, 1, 2, ... by default.
        proposals: image-level regions float32 [P,4] xyxy px of each image, where the detector looks at such.

    Returns:
        the batch; ``scale`` and ``region`` lead back to original px.
    """
    device = torch.device(device)
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    resized = [resized_size(height, width, spec) for height, width in sizes]
    padded = _padded_size(resized, spec)
    corners = [_corner(size, padded, spec) for size in resized]
    pixels = _canvas(resized, padded, spec, device)  # [B,3,H,W], written image by image: no second copy
    for row, image in enumerate(images):
        (top, left), (height, width) = corners[row], resized[row]
        _fill(pixels[row, :, top : top + height, left : left + width], image, spec)
    original = torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
    shown = torch.tensor(resized, dtype=torch.float32).reshape(-1, 2)
    region = torch.tensor(
        [
            (left, top, left + width, top + height)
            for (top, left), (height, width) in zip(corners, resized, strict=True)
        ],
        dtype=torch.float32,
    ).reshape(-1, 4)
    positions = torch.arange(len(images)) if index is None else torch.tensor(list(index), dtype=torch.int64)
    scale = shown / original.float()
    batch = ImageBatch(pixels, region, original, scale, positions, candidates_of(proposals, scale, region))
    return batch if device.type == "cpu" else batch.to(device, non_blocking=True)  # small parts follow the pixels


def collate(
    samples: Sequence[Sample],
    spec: InputSpec,
    *,
    difficult: Treatment = "train",
    crowd: Treatment = "ignore",
    index: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[ImageBatch, Targets]:
    """``prepare`` and ``make_targets`` in one; image-level proposals of the samples are stored in the batch."""
    images, proposals = [sample.image for sample in samples], [sample.proposals for sample in samples]
    batch = prepare(images, spec, device=device, index=index, proposals=proposals)
    return batch, make_targets(samples, batch, difficult=difficult, crowd=crowd)


def _padded_size(resized: list[tuple[int, int]], spec: InputSpec) -> tuple[int, int]:
    if spec.size is not None:
        return spec.size
    multiple = spec.pad_multiple
    height = max((size[0] for size in resized), default=multiple)
    width = max((size[1] for size in resized), default=multiple)
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple  # up to the multiple


def _corner(size: tuple[int, int], padded: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """(top, left) of the image inside the padding."""
    if spec.resize != "letterbox" or spec.place == "top_left":
        return 0, 0
    return (padded[0] - size[0]) // 2, (padded[1] - size[1]) // 2


def _canvas(resized: list[tuple[int, int]], padded: tuple[int, int], spec: InputSpec, device: torch.device) -> Tensor:
    shape = (len(resized), 3, *padded)
    if all(size == padded for size in resized):  # no padding shows, so nothing needs to be cleared
        return torch.empty(shape, device=device)
    canvas = torch.zeros(shape, device=device)
    if spec.fill is not None:
        mean, std = _constants(spec, device)
        canvas += (spec.fill - mean) / std  # fill is in pixel units; the canvas is normalised already
    return canvas


def _constants(spec: InputSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(spec.mean, device=device)[:, None, None]
    return mean, torch.tensor(spec.std, device=device)[:, None, None]


def _fill(out: Tensor, image: NDArray[np.uint8], spec: InputSpec) -> None:
    """Write one normalised image into ``out`` float32 [3,h,w], a view of the batch."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"an image must be uint8 [H,W,3] RGB, not {image.dtype} {list(image.shape)}")
    height, width = out.shape[1:]
    same = image.shape[:2] == (height, width)
    if spec.rounding == "uint8" and not same:
        image = _resized_bytes(image, (height, width), antialias=spec.antialias)
        same = True
    early = spec.normalise == "before"
    near = spec.sampling == "half_pixel" and not spec.antialias  # only neighbours are read
    sparse = out.device.type == "cpu" and near and image.size > _SPARSE * out.numel()
    if sparse and not same and not early:
        x = shrink_bilinear(image, (height, width))
    else:
        # from_numpy then permute is channels-last: torch's bilinear kernel is 20 times faster on it than on planes
        x = torch.from_numpy(contiguous(image)).to(out.device, non_blocking=True).permute(2, 0, 1).float()
        if early:
            x = _normalise(x.flip(0) if spec.channels == "bgr" else x, spec)
        if not same:
            corners = spec.sampling == "corners"
            x = F.interpolate(
                x[None], size=(height, width), mode="bilinear", align_corners=corners, antialias=spec.antialias
            )[0]
    out.copy_(x.flip(0) if spec.channels == "bgr" and not early else x)  # mean and std are in the network's order
    if not early:
        _normalise(out, spec)


def _resized_bytes(image: NDArray[np.uint8], size: tuple[int, int], *, antialias: bool) -> NDArray[np.uint8]:
    """Bytes to bytes, each rounded: by OpenCV, or averaged as torchvision's ``Resize`` does."""
    if not antialias:
        return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    planes = torch.from_numpy(contiguous(image)).permute(2, 0, 1)[None]
    return F.interpolate(planes, size=size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()


def _normalise(pixels: Tensor, spec: InputSpec) -> Tensor:
    """float32 [3,h,w] of bytes, in the network's order of channels, normalised in place."""
    mean, std = _constants(spec, pixels.device)
    if spec.pixel_range == 1:  # else bytes stay 0..255, as Caffe's weights want them
        pixels.div_(255)
    return pixels.sub_(mean).div_(std)
