"""Images in, detections out: what ``Detector.predict``, the command line and the evaluator share.

Letters: B images, D detections (padded).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from detzoo.ops.masks import paste_masks
from detzoo.prediction.detections import Detections
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.prediction.given_images import Channels, PredictionError, as_list, origin, read_given
from detzoo.prediction.untrained import tell_untrained
from detzoo.runtime.device import device_of
from detzoo.runtime.switches import Precision
from detzoo.types import DetectionBatch, DetectionSettings, ImageBatch

if TYPE_CHECKING:
    from detzoo.interfaces import Detector
    from detzoo.interfaces.any_detector import AnyDetector


_AUTOCAST: Final[dict[str, torch.dtype]] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PACKED: Final = 7  # box (4), score, label, valid: one row of what crosses to the host


def predict(
    detector: AnyDetector,
    images: Sequence[Any],
    *,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    keep: int | None = None,
    channels: Channels | None = None,
    batch: int = 8,
    precision: Precision = "fp32",
) -> list[Detections]:
    """Detect objects in images.

    Args:
        detector: on the device that does the work.
        images: of any sizes: paths, URLs, PIL images, arrays (uint8 [H,W,3]), tensors (uint8, or float in 0..1,
            [3,H,W]); or a single one of them.
        score_threshold: 0..1, replaces the recipe's for this call.
        nms_iou: 0..1, replaces the recipe's for this call.
        keep: detections kept per image, replaces the recipe's for this call.
        channels: order of the colours in arrays, ``rgb`` or ``bgr`` (what OpenCV reads). Arrays need it; tensors are
            RGB without it.
        batch: images that go through the network together.
        precision: of the network; scores, decoding and suppression stay in float32.

    Returns:
        one Detections per image, in its original pixels, in the given order.

    Raises:
        SettingError: a value out of its range, or a setting that the detector's post-process does not have.
        PredictionError: an image or an argument of the wrong kind.
    """
    given = as_list(images)
    settings = detector.settings(DetectionSettings(score_threshold, nms_iou, keep))
    if batch < 1:
        raise PredictionError(f"batch is {batch}; it must be 1 or more")
    tell_untrained(detector)
    found: list[Detections] = []
    with inference(detector, precision=precision):
        for start in range(0, len(given), batch):
            chunk = given[start : start + batch]  # decoded chunk by chunk: a long list does not fill the memory
            read, paths = [read_given(one, channels) for one in chunk], [origin(one) for one in chunk]
            made = detect_images(detector, read, paths, settings=settings)
            found += [
                one if one.path is not None else dataclasses.replace(one, image=image, channels=channels)
                for one, image in zip(made, chunk, strict=True)
            ]
    return found


def prepared(
    detector: Detector,
    images: Sequence[NDArray[np.uint8]],
    paths: Sequence[str | None] | None = None,
    proposals: Sequence[NDArray[np.float32] | None] | None = None,
) -> ImageBatch:
    """Images as the detector wants them: on its device, in its input size, with regions where it looks at such.

    Args:
        detector: for its input and proposer.
        images: uint8 [H,W,3] RGB each.
        paths: where they came from, for messages.
        proposals: float32 [P,4] xyxy px of each, where they are at hand; else the detector's proposer is asked.
    """
    from detzoo.prediction.prepare import prepare

    if proposals is None:
        proposals = regions_of(detector, images, paths)
    return prepare(images, detector.input, device=device_of(detector), proposals=proposals)


def regions_of(
    detector: Detector, images: Sequence[NDArray[np.uint8]], paths: Sequence[str | None] | None = None
) -> list[NDArray[np.float32]] | None:
    """Image-level regions of images; None for a detector that finds its own."""
    from detzoo.prediction.image_proposals import propose

    if detector.proposer is None:
        return None
    origins = paths if paths is not None else [None] * len(images)
    return [propose(detector.proposer, image, path) for image, path in zip(images, origins, strict=True)]


def detect_images(
    detector: AnyDetector,
    images: Sequence[NDArray[np.uint8]],
    paths: Sequence[str | None] | None = None,
    proposals: Sequence[NDArray[np.float32] | None] | None = None,
    *,
    settings: DetectionSettings | None = None,
) -> list[Detections]:
    """One batch of decoded images through the detector; call it inside ``inference``.

    Args:
        detector: in evaluation mode.
        images: uint8 [H,W,3] RGB each.
        paths: where they came from.
        proposals: image-level regions of each, where they are at hand; else the detector's proposer is asked.
        settings: in place of the recipe's; None leaves them all.
    """
    if not images:  # a batch of nothing has no size to pad to
        return []
    if isinstance(detector, ForeignDetector):
        return detector.detect_images(images, paths, settings=settings)
    batch = prepared(detector, images, paths, proposals)
    return split(detector, detector.detect(batch, settings), batch, paths)


def split(
    detector: Detector, found: DetectionBatch, images: ImageBatch, paths: Sequence[str | None] | None = None
) -> list[Detections]:
    """Detections of a batch as one object per image, in original pixels, on the CPU.

    This is the one place where predicting waits for the device: everything crosses in a single copy, masks as the
    small images that the network made; they are pasted on the CPU.

    Args:
        detector: for its class names, and how its masks are pasted.
        found: in network px.
        images: the batch they were found in.
        paths: where the images came from.
    """
    packed = _pack(found, images)
    packed = packed.cpu()  # the one wait
    origins = paths if paths is not None else [None] * len(packed)
    with torch.inference_mode(False):  # what the user gets are ordinary tensors, fit for in-place work and autograd
        return [_unpack(rows, detector, path) for rows, path in zip(packed, origins, strict=True)]


def original_boxes(boxes: Tensor, images: ImageBatch) -> Tensor:
    """Boxes of network pixels in the pixels of the original images, clipped to them.

    Args:
        boxes: float32 [B,D,4] xyxy network px.
        images: the batch they belong to.

    Returns:
        float32 [B,D,4] xyxy original px.
    """
    corner = images.region[:, None, :2].repeat(1, 1, 2)  # [B,1,4]
    scale = images.scale.flip(1)[:, None].repeat(1, 1, 2)  # (height, width) -> x, y, x, y
    limit = images.original_size.flip(1)[:, None].repeat(1, 1, 2).to(boxes.dtype)
    return torch.minimum(((boxes - corner) / scale).clamp_(min=0), limit)


@contextmanager
def inference(detector: AnyDetector, *, precision: Precision = "fp32") -> Iterator[None]:
    """Evaluation mode and no gradients; undone afterwards.

    Args:
        detector: to be used inside the block.
        precision: ``bf16`` and ``fp16`` run the network under autocast.
    """
    if isinstance(detector, ForeignDetector):  # what it does inside is its own
        yield
        return
    training = [module for module in detector.modules() if module.training]
    dtype = _AUTOCAST.get(precision)
    autocast = nullcontext() if dtype is None else torch.autocast(device_of(detector).type, dtype=dtype)
    try:
        for module in training:
            module.training = False
        with torch.inference_mode(), autocast:
            yield
    finally:
        for module in training:  # one by one: frozen batch norms keep their own mode
            module.training = True


def _pack(found: DetectionBatch, images: ImageBatch) -> Tensor:
    """float32 [B,1+D,7(+m*m)]: the image's size in the first row, then box, score, label, valid, mask of each."""
    boxes = original_boxes(found.boxes.float(), images)
    parts = [boxes, torch.stack([found.scores.float(), found.labels.float(), found.valid.float()], dim=-1)]
    if found.mask_logits is not None:
        parts.append(found.mask_logits.float().flatten(2))
    rows = torch.cat(parts, dim=-1)
    # [B,1,7+m*m]; float32 is exact to 2^24
    size = functional.pad(images.original_size.float(), (0, rows.shape[-1] - 2))[:, None]
    return torch.cat([size, rows], dim=1)


def _unpack(rows: Tensor, detector: Detector, path: str | None) -> Detections:
    height, width = (int(side) for side in rows[0, :2].tolist())
    rows = rows[1:]
    rows = rows[rows[:, 6] > 0]  # on the CPU, where a shape that depends on the data costs nothing
    boxes = rows[:, :4].contiguous()
    return Detections(
        boxes=boxes,
        scores=rows[:, 4].contiguous(),
        labels=rows[:, 5].long(),
        classes=detector.classes,
        size=(height, width),
        masks=_pasted(rows[:, _PACKED:], boxes, (height, width), detector) if rows.shape[1] > _PACKED else None,
        path=path,
    )


def _pasted(logits: Tensor, boxes: Tensor, size: tuple[int, int], detector: Detector) -> Tensor:
    """bool [D,H,W] of logits [D,m*m], as the detector says."""
    side, how = math.isqrt(logits.shape[1]), detector.mask_pasting
    small = logits.view(len(logits), side, side)
    return paste_masks(small, boxes, size, convention=how.convention, threshold=how.threshold)
