"""A foreign detector in a process of its own: the one implementation of ``ForeignDetector``."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.errors import SettingError
from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import Described, described
from detzoo.foreign.process import ForeignProcess
from detzoo.foreign.results import FoundInImage, check_values
from detzoo.prediction.detections import Detections
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.runtime.device import pick_device
from detzoo.types import DetectionSettings

_FLOAT, _INT = 4, 8
"""Bytes."""


def load_foreign(
    target: str | os.PathLike[str], options: Mapping[str, Any] | Sequence[str] | None = None
) -> ProcessDetector:
    """Somebody else's detector, as ``evaluate``, ``benchmark`` and its own ``predict`` take it.

    Args:
        target: ``model.onnx``, ``hf:org/name``, ``file.py:callable``, ... (see ``docs/foreign-detectors.md``).
        options: ``{"classes": "coco"}`` or ``["classes=coco"]``.

    Raises:
        ForeignError: it is none, or its file is not there.
        RecipeError: a wrong option.
    """
    return ProcessDetector(described(os.fspath(target), options))


class ProcessDetector(ForeignDetector):
    """Started when it is first asked, ended with this object.

    Args:
        what: the detector with its options.
        device: where it runs; None: the best there is.
    """

    def __init__(self, what: Described, device: torch.device | str | None = None) -> None:
        self.what, self.options = what, what.options
        self._device = pick_device(None if device is None else str(device))
        self._process: ForeignProcess | None = None
        self._failed: ForeignError | None = None
        self._described: dict[str, Any] = {}
        self._classes: tuple[str | None, ...] = ()
        self._merged: NDArray[np.int64] = np.zeros(0, np.int64)
        self._outputs = 0
        self._transport = self._processor = 0.0

    @property
    def name(self) -> str:
        """As it was written."""
        return self.what.target.written

    @property
    def classes(self) -> tuple[str | None, ...]:
        """By label, after aliases; several outputs of one name are one class."""
        self._started()
        return self._classes

    @property
    def device(self) -> torch.device:
        """Where it says that it runs, else where it was asked to."""
        self._started()
        told = self._described.get("device")
        try:
            return torch.device(told) if isinstance(told, str) else self._device
        except RuntimeError:
            return self._device

    @property
    def described(self) -> dict[str, Any]:
        """What it says of itself."""
        self._started()
        return dict(self._described)

    @property
    def transport(self) -> float:
        """Seconds so far of carrying images and detections to and fro."""
        return self._transport

    @property
    def processor_seconds(self) -> float:
        """Of its process, all threads."""
        return self._processor

    def to(self, device: torch.device | str) -> Self:
        """Run on another device: it is loaded there when it is next asked."""
        if torch.device(device) != self._device:
            self._device = torch.device(device)
            self.close()
        return self

    def close(self) -> None:
        """End its process; it is started again when it is asked."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def settings(self, asked: DetectionSettings | None = None) -> DetectionSettings:
        """What it says of its own threshold and number, or what is asked for; suppression is its own affair.

        Raises:
            SettingError: ``nms_iou`` is asked for.
        """
        wanted = asked or DetectionSettings()
        if wanted.nms_iou is not None:
            raise SettingError(
                f"{self.name}: nms_iou cannot be set: suppression is its own; of a network file without it: --set "
                f"nms_iou={wanted.nms_iou}"
            )
        told = self.described
        own = {"score_threshold": _number(told.get("score_threshold")), "keep": _number(told.get("keep"))}
        try:
            return dataclasses.replace(DetectionSettings(**own), **wanted.given())
        except SettingError as error:
            raise ForeignError(f"{self.name}: describe(): {error}") from None

    def detect_images(
        self,
        images: Sequence[NDArray[np.uint8]],
        paths: Sequence[str | None] | None = None,
        *,
        settings: DetectionSettings | None = None,
    ) -> list[Detections]:
        """Detections of decoded images, in their own pixels; see ``ForeignDetector``."""
        if not images:
            return []
        process = self._started()
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        begin = time.perf_counter()
        try:
            reply, content = process.ask(
                {"sizes": sizes},
                b"".join(np.ascontiguousarray(image, np.uint8).tobytes() for image in images),
                limit=self.options.time_limit * len(images),
            )
            found = _unpacked(reply, content, len(images))
        except ForeignError as error:
            if not process.close.alive:
                self._failed = error  # it would end in the same way: the next call says the same at once
            raise
        self._transport += time.perf_counter() - begin - reply["seconds"]
        self._processor = reply["processor"]
        origins = list(paths) if paths is not None else [None] * len(images)
        return [
            self._checked(one, size, path, place, settings)
            for place, (one, size, path) in enumerate(zip(found, sizes, origins, strict=True))
        ]

    def _started(self) -> ForeignProcess:
        if self._failed is not None:
            raise self._failed
        if self._process is not None:
            return self._process
        process = ForeignProcess(self.name)
        request = {
            "target": dataclasses.asdict(self.what.target),
            "options": self.what.values,
            "device": str(self._device),
            "threads": torch.get_num_threads(),
        }
        try:
            reply, _ = process.ask(request, limit=self.options.load_limit)
        except ForeignError as error:
            process.close()
            self._failed = ForeignError(str(error).replace("time_limit", "load_limit"))
            raise self._failed from None
        self._described, names = dict(reply["described"]), list(reply["names"])
        self._classes, self._merged = merged_names(names, self.options.renamed, self.name)
        self._outputs, self._process = len(names), process
        return process

    def _checked(
        self,
        found: FoundInImage,
        size: tuple[int, int],
        path: str | None,
        place: int,
        settings: DetectionSettings | None,
    ) -> Detections:
        """Of one image: checked, cut to it, the best first."""
        where = f"{self.name}: {path or f'image {place} of the batch'}"
        check_values(found, size, self._outputs, where)
        asked = settings or DetectionSettings()
        kept = np.argsort(-found.scores, kind="stable")
        if asked.score_threshold is not None:
            kept = kept[found.scores[kept] >= asked.score_threshold]
        kept = kept[: asked.keep]
        height, width = size
        limits = np.array([width, height, width, height], np.float32)
        boxes = np.minimum(np.maximum(found.boxes[kept], 0), limits)
        return Detections(
            boxes=torch.from_numpy(boxes),
            scores=torch.from_numpy(found.scores[kept]),
            labels=torch.from_numpy(self._merged[found.labels[kept]]),
            classes=self._classes,
            size=size,
            path=path,
        )


def merged_names(
    names: list[str | None], aliases: Mapping[str, str], detector: str
) -> tuple[tuple[str | None, ...], NDArray[np.int64]]:
    """Class names after aliases, each once, and which of them each output is.

    Args:
        names: by output.
        aliases: detector's name -> dataset's.
        detector: for messages.

    Returns:
        names [K], and int64 [outputs] of labels 0..K-1.

    Raises:
        ForeignError: an alias is of a name that the detector does not have.
    """
    unknown = [name for name in aliases if name not in names]
    if unknown:
        known = ", ".join(name for name in names if name is not None)
        raise ForeignError(f"{detector}: aliases: {unknown[0]} is none of its classes: {known}")
    called = [name if name is None else aliases.get(name, name) for name in names]
    classes: list[str | None] = []
    labels = []
    for name in called:
        if name is None or name not in classes:
            classes.append(name)
            labels.append(len(classes) - 1)
        else:
            labels.append(classes.index(name))
    return tuple(classes), np.asarray(labels, np.int64)


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unpacked(reply: Mapping[str, Any], content: bytes, images: int) -> list[FoundInImage]:
    """Arrays of each image from the bytes of a reply."""
    counts, start, found = reply["counts"], 0, []
    assert len(counts) == images
    for count in counts:
        scores, labels = start + 4 * _FLOAT * count, start + 5 * _FLOAT * count
        found.append(
            FoundInImage(
                boxes=np.frombuffer(content, np.float32, 4 * count, start).reshape(count, 4),
                scores=np.frombuffer(content, np.float32, count, scores),
                labels=np.frombuffer(content, np.int64, count, labels),
            )
        )
        start = labels + _INT * count
    return found
