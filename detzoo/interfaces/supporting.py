"""The small supporting kinds that the six interfaces are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from detzoo.feature import Component
from detzoo.types import Assignment, Candidates, FeatureMaps, Level


class Anchors(nn.Module, Component, ABC):
    """Dense candidates, which depend only on the sizes of the maps and of the network input."""

    kind: ClassVar[str] = "anchors"
    whole_cells: ClassVar[bool] = False
    """Whether the sides of the network input must be multiples of the detector's ``stride``."""
    one_size: ClassVar[bool] = False
    """Whether they are computed for one size of the input, so that an exported graph holds for no other."""
    __call__: Callable[..., tuple[Tensor, tuple[Level, ...]]]

    @abstractmethod
    def forward(self, features: FeatureMaps, size: tuple[int, int]) -> tuple[Tensor, tuple[Level, ...]]:
        """Make the candidates.

        Args:
            features: the maps they belong to; only their sizes and device are read.
            size: (height, width) of the network input in px.

        Returns:
            boxes float32 [N,4] xyxy px, flattened level, row, column, cell entry; and the levels.
        """

    @abstractmethod
    def per_cell(self) -> tuple[int, ...]:
        """Candidates per cell of each level, known before any tensor is computed."""


class BoxCoder(nn.Module, Component, ABC):
    """Encodes boxes relative to candidates, and decodes them."""

    kind: ClassVar[str] = "box_coder"

    @property
    def bins(self) -> Tensor | None:
        """float [R]: the distance that each bin of a distribution stands for, ascending, in the units of deltas.

        None for coders without bins. A head that predicts a distribution reads it, and fills ``deltas``
        with the expectation.
        """
        return None

    @abstractmethod
    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Deltas of ``targets`` relative to ``boxes``.

        Args:
            targets: float [...,4] xyxy px, of positive size.
            boxes: float [...,4] xyxy px: the candidates; broadcasts against ``targets``.
            strides: float [...] px per cell of each candidate.

        Returns:
            float [...,4].
        """

    @abstractmethod
    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Inverse of ``encode``: boxes [...,4] xyxy px; not clipped to any image."""

    def of_classes(self, labels: Tensor) -> BoxCoder:
        """The coder for deltas that were selected for classes ``labels`` int64 [...].

        Itself, unless its units differ from class to class (Fast R-CNN's normalised targets). Losses and
        post-processing call it wherever they select deltas by class; rows with a negative label are unused.
        """
        return self


class ClassLoss(nn.Module, Component, ABC):
    """Unreduced classification loss.

    ``needs`` names the scores whose logits it can read (``Feature.SOFTMAX_SCORES``: there is a column for the
    background); ``gives`` has ``Feature.READS_QUALITY`` where it can use soft targets, and ``needs``
    ``Feature.QUALITY_TARGETS`` where it requires them.
    """

    kind: ClassVar[str] = "class_loss"
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss per candidate.

        Args:
            logits: float [B,N,C].
            labels: int64 [B,N]: 0..K-1, or BACKGROUND. Rows to be ignored may hold any of these.
            quality: float [B,N] or [B,N,K], 0..1: soft targets, as in ``Assignment.quality``; None: 1. A loss without
                ``Feature.READS_QUALITY`` ignores it.

        Returns:
            float [B,N].
        """


class BoxLoss(nn.Module, Component, ABC):
    """Unreduced box loss. It encodes or decodes itself, so that smooth L1 and GIoU have the same interface."""

    kind: ClassVar[str] = "box_loss"
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(
        self, deltas: Tensor, boxes: Tensor, candidates: Candidates, distribution: Tensor | None = None
    ) -> Tensor:
        """Loss per candidate.

        Args:
            deltas: float [B,N,4] predicted, in the coder's units.
            boxes: float [B,N,4] xyxy px: the matched ground truth; safe boxes where unmatched.
            candidates: [1 or B,N] with their coder.
            distribution: float [B,N,4,R] logits over the coder's bins, where the head predicts them. A loss that needs
                them declares it: ``needs`` has ``Feature.DISTRIBUTION``.

        Returns:
            float [B,N], summed over the four coordinates.
        """


class Sampler(nn.Module, Component, ABC):
    """Chooses the candidates that enter the loss; the unchosen become IGNORE."""

    kind: ClassVar[str] = "sampler"
    size: int | None
    """Maximum number of candidates per image; None if all are kept."""
    most_positives: int | None = None
    """Maximum number of positives among them, if known."""
    __call__: Callable[..., Assignment]

    @abstractmethod
    def forward(self, assignment: Assignment) -> Assignment:
        """Return the assignment [B,N] with unchosen candidates set to IGNORE."""


class Miner(nn.Module, Component, ABC):
    """Chooses candidates by their loss, inside a Loss: SSD's 3:1 ratio, R-FCN's OHEM."""

    kind: ClassVar[str] = "miner"
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, losses: Tensor, assignment: Assignment) -> Tensor:
        """bool [B,N]: positives and the chosen negatives, from ``losses`` float [B,N]."""


class Normaliser(nn.Module, Component, ABC):
    """The divisor of a loss. Counts are summed over processes, so that N processes give the result of one."""

    kind: ClassVar[str] = "normaliser"
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, assignment: Assignment) -> Tensor:
        """float scalar, or [B] for per-image normalisation; never zero."""


class Suppress(nn.Module, Component, ABC):
    """Removes or weakens duplicate detections."""

    kind: ClassVar[str] = "suppress"
    iou: float | None = None
    """Its IoU threshold; None if it has none."""
    fits_onnx: bool = True
    """Whether ONNX has operations for it."""
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, iou: float | None = None) -> Tensor:
        """New scores; 0 for what is removed.

        Scores never increase, and the score of a box depends only on boxes with better scores: post-processing relies
        on both to stop early.

        Args:
            boxes: float32 [B,N,4] xyxy px.
            scores: float32 [B,N]; may be -inf where invalid.
            group: int64 [B,N]: boxes of different groups (classes) never suppress each other.
            valid: bool [B,N].
            iou: 0..1, replaces ``self.iou`` for this call; None keeps it. Always None where ``self.iou`` is None.

        Returns:
            float32 [B,N].
        """


class RoiPool(nn.Module, Component, ABC):
    """Fixed-size features of regions, from one or several maps."""

    kind: ClassVar[str] = "roi_pool"
    output: tuple[int, int]
    """(height, width) of the pooled features, in bins."""
    channels: int
    """Number of channels of the pooled features."""
    levels: tuple[str, ...]
    """The maps it reads, finest first."""
    position_sensitive: ClassVar[bool] = False
    """Whether each bin reads its own channels, so that it needs score maps instead of features."""
    of_pixels: ClassVar[bool] = False
    """Whether it crops windows from the image itself, before the backbone: its only level is ``pixels``."""
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        """float [B*P,C,h,w]."""
