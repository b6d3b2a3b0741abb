"""Images in, detections out: what ``Detector.predict``, the command line and the evaluator share.

Letters: B images, D detections (padded).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from detzoo.errors import DetzooError
from detzoo.ops.masks import paste_masks
from detzoo.runtime.device import device_of
from detzoo.runtime.switches import Precision
from detzoo.types import DetectionBatch, Detections, ImageBatch

if TYPE_CHECKING:
    from detzoo.interfaces import Detector


_AUTOCAST: Final[dict[str, torch.dtype]] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PACKED: Final = 7  # box (4), score, label, valid: one row of what crosses to the host
_KNOBS: Final = {
    "score_threshold": ("score_threshold",),
    "nms_iou": ("suppress", "iou"),
    "top_k": ("keep",),
}


class PredictionError(DetzooError):
    """An image or an override that ``predict`` cannot take."""


class _Setting(NamedTuple):
    """An attribute of a module, and the value it shall have for a while."""

    owner: Any
    attribute: str
    value: float


def predict(
    detector: Detector,
    images: Sequence[Any],
    *,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    top_k: int | None = None,
    batch: int = 8,
    precision: Precision = "fp32",
) -> list[Detections]:
    """Detect objects in images.

    Args:
        detector: on the device that shall do the work.
        images: paths, URLs, arrays (uint8 [H,W,3] RGB) or PIL images, of any sizes; or a single one of them.
        score_threshold: 0..1, replaces the recipe's for this call.
        nms_iou: 0..1, replaces the recipe's for this call.
        top_k: detections kept per image, replaces the recipe's for this call.
        batch: images that go through the network together.
        precision: of the network; scores, decoding and suppression stay in float32.

    Returns:
        one Detections an image, in its original pixels, in the given order.
    """
    from detzoo.runtime.images import read_image

    given = _as_list(images)
    if batch < 1:
        raise PredictionError(f"batch is {batch}; it must be 1 or more")
    found: list[Detections] = []
    with inference(detector, score_threshold=score_threshold, nms_iou=nms_iou, top_k=top_k, precision=precision):
        for start in range(0, len(given), batch):
            chunk = given[start : start + batch]
            found += detect_images(detector, [read_image(one) for one in chunk], [_origin(one) for one in chunk])
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
    detector: Detector,
    images: Sequence[NDArray[np.uint8]],
    paths: Sequence[str | None] | None = None,
    proposals: Sequence[NDArray[np.float32] | None] | None = None,
) -> list[Detections]:
    """One batch of decoded images through the detector; call it inside ``inference``.

    Args:
        detector: in evaluation mode.
        images: uint8 [H,W,3] RGB each.
        paths: where they came from.
        proposals: image-level regions of each, where they are at hand; else the detector's proposer is asked.
    """
    if not images:
        return []
    batch = prepared(detector, images, paths, proposals)
    return split(detector, detector.detect(batch), batch, paths)


def split(
    detector: Detector, found: DetectionBatch, images: ImageBatch, paths: Sequence[str | None] | None = None
) -> list[Detections]:
    """Detections of a batch as one object an image, in original pixels, on the CPU.

    This is the one place where predicting waits for the device: everything crosses in a single copy, masks as the
    small images that the network made; they are pasted on the CPU.

    Args:
        detector: for its class names, and how its masks are pasted.
        found: in network px.
        images: the batch they were found in.
        paths: where the images came from.
    """
    packed = _pack(found, images)
    packed = packed.cpu()
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
def inference(
    detector: Detector,
    *,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    top_k: int | None = None,
    precision: Precision = "fp32",
) -> Iterator[None]:
    """Evaluation mode, no gradients, and the given settings; all of it undone afterwards.

    The settings are attributes of the detector's postprocess, so one detector serves one such block at a time.

    Args:
        detector: to be used inside the block.
        score_threshold: 0..1 or None for the recipe's.
        nms_iou: 0..1 or None for the recipe's.
        top_k: 1 or more, or None for the recipe's.
        precision: ``bf16`` and ``fp16`` run the network under autocast.
    """
    settings = _settings(detector, {"score_threshold": score_threshold, "nms_iou": nms_iou, "top_k": top_k})
    before = [(one.owner, one.attribute, getattr(one.owner, one.attribute)) for one in settings]
    training = [module for module in detector.modules() if module.training]
    dtype = _AUTOCAST.get(precision)
    autocast = nullcontext() if dtype is None else torch.autocast(device_of(detector).type, dtype=dtype)
    try:
        for one in settings:
            setattr(one.owner, one.attribute, one.value)
        for module in training:
            module.training = False
        with torch.inference_mode(), autocast:
            yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)
        for module in training:  # one by one: frozen batch norms keep their own mode
            module.training = True


def _settings(detector: Detector, wanted: dict[str, float | None]) -> list[_Setting]:
    """The attributes behind the overrides; a detector without such an attribute is an error."""
    return [_setting(detector, name, value) for name, value in wanted.items() if value is not None]


def _setting(detector: Detector, name: str, value: float) -> _Setting:
    if name == "top_k":
        if value < 1 or value != int(value):
            raise PredictionError(f"top_k is {value}; it must be a whole number, 1 or more")
    elif not (math.isfinite(value) and 0 <= value <= 1):
        raise PredictionError(f"{name} is {value}; it must lie between 0 and 1")
    owner = postprocess_of(detector)
    *path, attribute = _KNOBS[name]
    for part in path:
        owner = getattr(owner, part, None)
    unused = getattr(owner, "method", None) == "gaussian" and name == "nms_iou"  # soft NMS without a threshold
    if owner is None or unused or not hasattr(owner, attribute):
        raise PredictionError(_no_knob(detector, name))
    return _Setting(owner, attribute, value)


def _no_knob(detector: Detector, name: str) -> str:
    postprocess = postprocess_of(detector)
    recipe = getattr(getattr(detector, "recipe", None), "name", None) or type(detector).__name__
    dotted = ".".join(_KNOBS[name])
    if postprocess is None:
        return f"{name} cannot be set: {recipe} has no postprocess; leave {name} out"
    kind = type(postprocess).__name__
    suppress = getattr(postprocess, "suppress", None)
    if name == "nms_iou" and suppress is not None:
        kind += f" with {type(suppress).__name__}"
    able = [other for other in _KNOBS if other != name and _has(postprocess, _KNOBS[other])]
    hint = f"it can set {', '.join(able)}" if able else "it takes no such settings"
    return f"{name} cannot be set: the postprocess of {recipe} ({kind}) has no field {dotted}; {hint}"


def _has(owner: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not hasattr(owner, part):
            return False
        owner = getattr(owner, part)
    return True


def postprocess_of(detector: Detector) -> Any:
    """The postprocess whose detections ``predict`` returns: the detector's own, or its box branch's."""
    own = getattr(detector, "postprocess", None)
    return own if own is not None else getattr(getattr(detector, "box", None), "postprocess", None)


def _pack(found: DetectionBatch, images: ImageBatch) -> Tensor:
    """float32 [B,1+D,7(+m*m)]: the image's size in the first row, then box, score, label, valid, mask of each."""
    boxes = original_boxes(found.boxes.float(), images)
    parts = [boxes, torch.stack([found.scores.float(), found.labels.float(), found.valid.float()], dim=-1)]
    if found.mask_logits is not None:
        parts.append(found.mask_logits.float().flatten(2))
    rows = torch.cat(parts, dim=-1)
    size = functional.pad(images.original_size.float(), (0, rows.shape[-1] - 2))[:, None]
    return torch.cat([size, rows], dim=1)


def _unpack(rows: Tensor, detector: Detector, path: str | None) -> Detections:
    height, width = (int(side) for side in rows[0, :2].tolist())
    rows = rows[1:]
    rows = rows[rows[:, 6] > 0]
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
    """bool [D,H,W] of logits [D,m*m], as the detector's mask branch says; a detector without one: detectron2's way."""
    side = math.isqrt(logits.shape[1])
    branch: Any = getattr(detector, "mask", None)
    return paste_masks(
        logits.view(len(logits), side, side),
        boxes,
        size,
        convention=getattr(branch, "paste", "half_pixel"),
        threshold=getattr(branch, "threshold", 0.5),
    )


def _as_list(images: Any) -> list[Any]:
    """A single image counts as a list of one: a path is a sequence of letters, an array one of rows."""
    if isinstance(images, str | Path) or hasattr(images, "__array_interface__"):
        return [images]
    if isinstance(images, dict | bytes) or not isinstance(images, Sequence | Iterator):
        raise PredictionError(
            f"predict got {type(images).__name__}; "
            "give it a list of paths, URLs, uint8 arrays [H,W,3] RGB or PIL images"
        )
    return list(images)


def _origin(image: Any) -> str | None:
    """The path or URL of an image that has one."""
    if isinstance(image, str | Path):
        return str(image)
    return getattr(image, "filename", None) or None
