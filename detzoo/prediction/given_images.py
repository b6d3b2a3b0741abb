"""What people give to ``predict``: one image or many, as paths, URLs, PIL images, arrays or tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detzoo.errors import DetzooError
from detzoo.runtime.images import read_image

Channels: TypeAlias = Literal["rgb", "bgr"]
ALLOWED = "paths, URLs, PIL images, uint8 arrays [H,W,3] or tensors [3,H,W]"


class PredictionError(DetzooError):
    """An image or an argument that ``predict`` cannot take."""


def is_one_image(images: object) -> bool:
    """Whether this is a single image: a path is a sequence of letters too, and an array one of rows."""
    if isinstance(images, Tensor):
        return images.ndim == 3
    return isinstance(images, str | Path) or hasattr(images, "__array_interface__")


def as_list(images: Any) -> list[Any]:
    """The images one by one; a single image counts as a list of one, a tensor [B,3,H,W] as B images.

    Raises:
        PredictionError: it is neither.
    """
    if is_one_image(images):
        return [images]
    if images is None:  # a mistake of cv2.imread's users; told where images are read
        return [images]
    if isinstance(images, Tensor) and images.ndim == 4:
        return list(images)
    # bytes are a sequence of numbers
    if isinstance(images, dict | bytes | Tensor) or not isinstance(images, Sequence | Iterator):
        shape = f" of shape {list(images.shape)}" if isinstance(images, Tensor) else ""
        raise PredictionError(f"predict got {type(images).__name__}{shape}; give it a list of {ALLOWED}")
    return list(images)


def read_given(image: Any, channels: Channels | None) -> NDArray[np.uint8]:
    """One image as uint8 [H,W,3] RGB.

    Args:
        image: path, URL, PIL image, array or tensor.
        channels: order of the colours in arrays and tensors. Arrays of three channels must have it: OpenCV reads BGR,
            Pillow and most others give RGB, and a detector finds much less in the wrong order without any error.
            Tensors are RGB without it, as torchvision reads and expects them.

    Raises:
        PredictionError: an array without the order of its channels, or a tensor of another kind.
        DataError: the image cannot be read.
    """
    if isinstance(image, Tensor):
        return _ordered(_from_tensor(image), channels or "rgb")
    if not isinstance(image, np.ndarray) or image.ndim == 2:
        return read_image(image)
    if channels is None:
        raise PredictionError(
            'an array does not tell the order of its colours: add channels="bgr" for images that cv2.imread or '
            'cv2.VideoCapture has read, channels="rgb" for all others'
        )
    return _ordered(read_image(image), channels)


def origin(image: Any) -> str | None:
    """The path or URL of an image that has one."""
    if isinstance(image, str | Path):
        return str(image)
    return getattr(image, "filename", None) or None


def _ordered(image: NDArray[np.uint8], channels: Channels) -> NDArray[np.uint8]:
    if channels not in ("rgb", "bgr"):
        raise PredictionError(f"channels is {channels!r}; allowed: rgb, bgr")
    return image if channels == "rgb" else np.ascontiguousarray(image[..., ::-1])


def _from_tensor(image: Tensor) -> NDArray[np.uint8]:
    """uint8 [H,W,3] of a tensor uint8 [3,H,W], or float [3,H,W] in 0..1; one channel is grey."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise PredictionError(f"a tensor of shape {list(image.shape)} is no image; expected [3,H,W]")
    if image.dtype == torch.uint8:
        pixels = image
    elif image.is_floating_point():
        low, high = (float(value) for value in image.aminmax()) if image.numel() else (0.0, 0.0)
        if not (low >= 0 and high <= 1):
            raise PredictionError(
                f"a float tensor holds values from {low:.3g} to {high:.3g}; expected 0..1, before any normalisation: "
                "the detector normalises by itself"
            )
        pixels = (image * 255).round().to(torch.uint8)
    else:
        raise PredictionError(f"a tensor of {image.dtype} is no image; expected uint8, or floats in 0..1")
    return read_image(pixels.detach().cpu().permute(1, 2, 0).expand(-1, -1, 3).contiguous().numpy())
