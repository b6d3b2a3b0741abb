"""Somebody else's detector, as the tools see it: whole images in, detections out, nothing of its inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.types import DetectionSettings

if TYPE_CHECKING:
    from detzoo.prediction.detections import Detections
    from detzoo.prediction.given_images import Channels


class ForeignDetector(ABC):
    """What ``predict``, ``evaluate``, ``benchmark`` and ``compare`` read of a detector that is not one of detzoo's.

    It has neither parts nor phases: its own preprocessing, network and post-processing are one call.
    """

    proposer: None = None
    """It finds its own regions, if it looks at such."""
    untrained: tuple[str, ...] = ()
    """Of its weights nothing is known."""

    @property
    @abstractmethod
    def name(self) -> str:
        """For messages and tables."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str | None, ...]:
        """Class names by label; None for outputs that mean nothing."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it says that it runs."""

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What it says of itself, for protocols; plain values."""

    @property
    @abstractmethod
    def transport(self) -> float:
        """Seconds so far in which images and detections were carried to another process and back.

        Timers leave them out: they are no part of the detector.
        """

    @property
    @abstractmethod
    def processor_seconds(self) -> float:
        """Processor time of its own process so far."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Run on another device."""

    @abstractmethod
    def settings(self, asked: DetectionSettings | None = None) -> DetectionSettings:
        """The settings that a request comes to.

        Raises:
            SettingError: it does not have a setting that is asked for.
        """

    @abstractmethod
    def detect_images(
        self,
        images: Sequence[NDArray[np.uint8]],
        paths: Sequence[str | None] | None = None,
        *,
        settings: DetectionSettings | None = None,
    ) -> list[Detections]:
        """Detections of decoded images, in their own pixels.

        Args:
            images: uint8 [H,W,3] RGB each.
            paths: where they came from.
            settings: of ``settings``; None leaves them all.

        Raises:
            DetzooError: it failed, or what it gave are no detections.
        """

    def predict(
        self,
        images: Sequence[Any],
        *,
        score_threshold: float | None = None,
        keep: int | None = None,
        channels: Channels | None = None,
        batch: int = 8,
    ) -> list[Detections]:
        """Detect objects in images, given as to ``Detector.predict``.

        Args:
            images: of any sizes: paths, URLs, PIL images, arrays (uint8 [H,W,3]), tensors [3,H,W].
            score_threshold: 0..1, detections below it are left out.
            keep: detections kept per image.
            channels: order of the colours in arrays, ``rgb`` or ``bgr``. Arrays need it.
            batch: images given to it at once.

        Returns:
            one Detections per image, in original pixels.

        Raises:
            DetzooError: it failed, or what it gave are no detections.
            PredictionError: an image of the wrong kind, or an array without ``channels``.
        """
        from detzoo.prediction.predict import predict

        return predict(self, images, score_threshold=score_threshold, keep=keep, channels=channels, batch=batch)
