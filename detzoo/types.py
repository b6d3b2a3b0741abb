"""The values that flow through a detector, and the shape legend of the whole project.

Letters, everywhere in detzoo:

- B images, C channels, H W network pixels (height, width);
- N candidates (padded), M ground truths (padded to a multiple of 16, in the given order);
- K classes, never counting background; D detections (padded); T all masks of a batch;
- R bins of a distribution over distances; Q queries.

Boxes are xyxy float pixels, right and bottom exclusive: a box covers ``x2 - x1`` pixels. Labels are 0..K-1.
Padded tensors carry ``valid``. Sizes are (height, width). Every class here is a frozen dataclass and a pytree,
so that ``torch.compile`` and ``torch.export`` see through it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from detzoo.errors import SettingError

if TYPE_CHECKING:
    from detzoo.interfaces.supporting import BoxCoder

BACKGROUND: Final = -1
"""``Assignment.index`` of a candidate that is a negative example."""
IGNORE: Final = -2
"""``Assignment.index`` of a candidate that takes no part in the loss."""

Scoring: TypeAlias = Literal["softmax", "categorical", "sigmoid", "linear"]
FeatureMaps: TypeAlias = dict[str, Tensor]
"""Name -> [B,C,h,w], finest first. Names are strides (``s4``, ``s8``, ...) unless the architecture has its own."""


@dataclass(frozen=True)
class FeatureSpec:
    """Channels, stride and size of a feature map, declared before any tensor is computed.

    Args:
        channels: number of channels.
        stride: network pixels per cell; not always a whole number.
        size: (height, width) in cells where the input size fixes it, else None.
    """

    channels: int
    stride: float
    size: tuple[int, int] | None = None


FeatureSpecs: TypeAlias = dict[str, FeatureSpec]


def coarsest_stride(*maps: FeatureSpecs) -> int:
    """Largest stride of the feature maps in network px, at least 1; only integer strides count."""
    strides = [spec.stride for specs in maps for spec in specs.values()]
    return max([1, *(int(stride) for stride in strides if stride == int(stride))])


@dataclass(frozen=True)
class Sample:
    """One image with its annotations, in NumPy, as the loader and the transforms handle it.

    Args:
        image: uint8 [H,W,3] RGB, EXIF orientation applied.
        boxes: float32 [M,4] xyxy px of this image.
        labels: int64 [M], 0..K-1.
        difficult: bool [M].
        crowd: bool [M].
        image_id: the dataset's own id.
        path: where the image came from, for messages.
        masks: uint8 [M,H,W] of 0 and 1, or None.
        proposals: float32 [P,4] xyxy px, or None.
        weight: float32 [M], 0..1: weight of each box in the loss (MixUp), or None: all 1.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    image_id: int | str
    path: str
    masks: NDArray[np.uint8] | None = None
    proposals: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None


class _Movable:
    """``to`` for dataclasses of tensors: nested tensors move, modules and plain values stay."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """A copy with every tensor on ``device``."""
        moved: Self = pytree.tree_map_only(Tensor, lambda t: t.to(device, non_blocking=non_blocking), self)
        return moved


@dataclass(frozen=True)
class Level:
    """One level of a dense grid of candidates, flattened as level, row, column, cell entry.

    Args:
        name: the feature map it belongs to.
        height: rows.
        width: columns.
        per_cell: candidates in each cell.
        stride: network pixels per cell.
    """

    name: str
    height: int
    width: int
    per_cell: int
    stride: float

    @property
    def count(self) -> int:
        """Number of candidates of the level."""
        return self.height * self.width * self.per_cell


@dataclass(frozen=True)
class Candidates(_Movable):
    """The places at which a head predicts: priors, anchors, cells or regions.

    Args:
        boxes: float32 [1 or B,N,4] xyxy network px. The leading 1 says that all images share them.
        valid: bool [1 or B,N].
        levels: the grid they come from, flattened level, row, column, cell entry; empty for regions.
        coder: the head's own box coder; None where nothing is decoded.
        scores: float32 [B,N] or None.
        labels: int64 [B,N] or None.
    """

    boxes: Tensor
    valid: Tensor
    levels: tuple[Level, ...] = ()
    coder: BoxCoder | None = None
    scores: Tensor | None = None
    labels: Tensor | None = None

    def strides(self) -> Tensor:
        """float32 [N]: network pixels per cell of each candidate's level; ones where there are no levels."""
        if not self.levels:
            return self.boxes.new_ones(self.boxes.shape[1])
        return torch.cat([self.boxes.new_full((level.count,), level.stride) for level in self.levels])

    def detach(self) -> Candidates:
        """The same candidates without gradient."""
        scores = None if self.scores is None else self.scores.detach()
        return dataclasses.replace(self, boxes=self.boxes.detach(), scores=scores)


@dataclass(frozen=True)
class ImageBatch(_Movable):
    """A batch of images as the network sees them. Original x = (x - region corner) / scale.

    Args:
        pixels: float32 [B,3,H,W], normalised.
        region: float32 [B,4] xyxy network px: where the image lies inside the padding.
        original_size: int64 [B,2] (height, width) of the image before preparation.
        scale: float32 [B,2] (vertical, horizontal) network px per original px.
        index: int64 [B]: position of each image in the caller's list or dataset.
        proposals: image-level candidates in network px, or None.
    """

    pixels: Tensor
    region: Tensor
    original_size: Tensor
    scale: Tensor
    index: Tensor
    proposals: Candidates | None = None


@dataclass(frozen=True)
class Targets(_Movable):
    """Ground truth of a batch, padded over M.

    Args:
        boxes: float32 [B,M,4] xyxy network px.
        labels: int64 [B,M], 0..K-1.
        ignore: bool [B,M]: never positive; candidates that overlap such a box are ignored in the loss.
        valid: bool [B,M]: False for padding.
        region: float32 [B,4] xyxy network px, as in ImageBatch.
        masks: uint8 [T,H,W] of 0 and 1, or None.
        mask_row: int64 [B,M] row of ``masks`` for each box, -1 where it has none; None without masks.
        weight: float32 [B,M], 0..1: weight of each box in the loss, or None: all 1.
        progress: float32 scalar, 0..1: fraction of the training that is done; None outside training.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    valid: Tensor
    region: Tensor
    masks: Tensor | None = None
    mask_row: Tensor | None = None
    weight: Tensor | None = None
    progress: Tensor | None = None

    @property
    def usable(self) -> Tensor:
        """bool [B,M]: real boxes that may become positive."""
        return self.valid & ~self.ignore


@dataclass(frozen=True)
class Predictions(_Movable):
    """What a head predicts for each candidate; float32 after the network (``float()``).

    Args:
        class_logits: [B,N,C] or None. With ``softmax`` C = K+1 and background is column 0; else C = K.
        scoring: how logits become scores: ``softmax`` over background and classes, ``categorical``: a softmax over the
            classes alone, with objectness in the quality (YOLOv2), ``sigmoid`` of each class,
            ``linear``: classes and quality are scores already, not logits (YOLOv1).
        deltas: [B,N,1,4] (one box for all classes) or [B,N,K,4]. Always filled, so that post-processing needs nothing
            else: the expectation of ``distribution`` where there is one.
        quality_logits: [B,N] objectness or centreness, or None.
        distribution: [B,N,4,R] logits over bins of the distance to each edge, or None.
        aux: further predictions that only training uses.
    """

    class_logits: Tensor | None
    scoring: Scoring
    deltas: Tensor
    quality_logits: Tensor | None = None
    distribution: Tensor | None = None
    aux: tuple[Auxiliary, ...] = ()

    def float(self) -> Predictions:
        """The same predictions in float32: losses, decoding and NMS run in it under mixed precision."""

        def enough(t: Tensor) -> Tensor:  # masks and indices of auxiliary candidates keep their type
            return t.float() if t.is_floating_point() and t.dtype.itemsize < 4 else t

        kept: Predictions = pytree.tree_map_only(Tensor, enough, self)
        return kept


@dataclass(frozen=True)
class Assignment(_Movable):
    """Which ground truth each candidate is assigned to.

    Args:
        index: int64 [B,N]: ground truth >= 0, else BACKGROUND or IGNORE. Invalid candidates are IGNORE.
        overlap: float32 [B,N] best IoU, or None.
        quality: soft targets, or None: 1. float32 [B,N], 0..1: of the positive class of each candidate (task alignment,
            IoU); or [B,N,K]: a target for every class, of negatives too (CenterNet's Gaussians).
    """

    index: Tensor
    overlap: Tensor | None = None
    quality: Tensor | None = None

    @property
    def positive(self) -> Tensor:
        """bool [B,N]."""
        return self.index >= 0

    @property
    def negative(self) -> Tensor:
        """bool [B,N]."""
        return self.index == BACKGROUND


@dataclass(frozen=True)
class Auxiliary(_Movable):
    """Predictions that are trained in addition to the main ones and never used to detect.

    Args:
        name: unique in ``Predictions.aux``; prefixes the names of its loss terms.
        predictions: [B,N,...]; their own ``aux`` is ignored.
        candidates: their own candidates (an encoder's cells, other queries); None: the main candidates.
        assignment: their assignment, if it is known beforehand (denoising queries): neither matcher nor
            sampler is called. None: a matcher decides.
        matcher: name of one of the detector's further ``matchers`` (one-to-many groups); None: the main one.
        weight: factor of its loss terms.
        one_class: it tells objects from background alone: every ground truth is of class 0 to it (proposals of
            an encoder).
    """

    name: str
    predictions: Predictions
    candidates: Candidates | None = None
    assignment: Assignment | None = None
    matcher: str | None = None
    weight: float = 1.0
    one_class: bool = False


_MOST_KEPT: Final = 1_000_000
"""Detections of an image: post-processing pads to so many."""


@dataclass(frozen=True)
class DetectionSettings:
    """Settings of post-processing that a caller may change.

    Args:
        score_threshold: 0..1: detections below it are dropped.
        nms_iou: 0..1: overlap above which a worse box is suppressed.
        keep: maximum number of detections per image, 1 to 1,000,000.

    As a request, None leaves the post-process' own default. As ``PostProcess.settings``, None says that it has no such
    setting, and asking for it is an error.

    Raises:
        SettingError: a value outside its range.
    """

    score_threshold: float | None = None
    nms_iou: float | None = None
    keep: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("score_threshold", self.score_threshold), ("nms_iou", self.nms_iou)):
            if value is not None and not 0 <= value <= 1:  # NaN is not either
                raise SettingError(f"{name} is {value}; it must lie between 0 and 1")
        if self.keep is not None and not (self.keep >= 1 and self.keep % 1 == 0):  # NaN and infinity are not either
            raise SettingError(f"keep is {self.keep}; it must be a whole number, 1 or more")
        if self.keep is not None and self.keep > _MOST_KEPT:
            raise SettingError(f"keep is {self.keep}; at most {_MOST_KEPT:,} detections are kept per image")

    def given(self) -> dict[str, Any]:
        """Those that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class DetectionBatch(_Movable):
    """Detections of a batch in network px, padded over D, best first.

    Args:
        boxes: float32 [B,D,4] xyxy.
        scores: float32 [B,D] in [0,1].
        labels: int64 [B,D], 0..K-1.
        valid: bool [B,D].
        mask_logits: [B,D,m,m] or None.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    valid: Tensor
    mask_logits: Tensor | None = None


def _register(cls: type[Any], static: tuple[str, ...] = ()) -> None:
    """Make a dataclass a pytree; ``static`` fields are kept unchanged."""
    dynamic = [f.name for f in dataclasses.fields(cls) if f.name not in static]

    def flatten(value: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(value, name) for name in dynamic], tuple(getattr(value, name) for name in static)

    def unflatten(children: Any, context: Any) -> Any:
        return cls(**dict(zip(dynamic, children, strict=True)), **dict(zip(static, context, strict=True)))

    pytree.register_pytree_node(cls, flatten, unflatten, serialized_type_name=f"detzoo.{cls.__name__}")


_register(Candidates, static=("levels", "coder"))
_register(Predictions, static=("scoring",))
_register(Auxiliary, static=("name", "matcher", "weight"))
for _cls in (ImageBatch, Targets, Assignment, DetectionBatch):
    _register(_cls)
