"""Files that ``detzoo export`` wrote: they say themselves how images are prepared and what comes out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detzoo.builder import build_component
from detzoo.errors import SettingError
from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import ForeignOptions
from detzoo.foreign.programs.decoding import per_image
from detzoo.foreign.programs.runtimes import Runtime
from detzoo.foreign.protocol import Found, Image
from detzoo.interfaces import BoxCoder, PostProcess
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import prepare
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Level, Predictions

_RAW = ("class_logits", "quality_logits")


class OwnExport:
    """An export of detzoo, with detections inside or with the outputs of a head.

    Args:
        runtime: that runs it.
        options: ``score_threshold``, ``nms_iou`` and ``keep`` replace the recipe's.
        facts: for protocols.

    Raises:
        ForeignError: it wants regions, or is of an older detzoo that did not write down its post-processing.
    """

    def __init__(self, runtime: Runtime, options: ForeignOptions, facts: dict[str, Any]) -> None:
        self.runtime, self.facts = runtime, facts
        self.told = {key.removeprefix("detzoo."): json.loads(text) for key, text in runtime.metadata.items()
                     if key.startswith("detzoo.")}  # fmt: skip
        self.inputs = [port.name for port in runtime.inputs]
        if "regions" in self.inputs:
            raise ForeignError(
                "it is given the regions of each image, which nobody makes here; evaluate its run instead"
            )
        self.names = options.names or list(self.told["classes"])
        first = runtime.inputs[0].shape
        self.spec = _spec(self.told, (first[2], first[3]))
        self.together = first[0] is None and self.spec.resize != "shortest"
        self.asked = DetectionSettings(options.score_threshold, options.nms_iou, options.keep)
        self.raw = "scores" not in runtime.outputs
        self.postprocess = self._postprocess() if self.raw else None
        if self.postprocess is None and self.asked.nms_iou is not None:
            raise SettingError("nms_iou cannot be set: suppression is inside the file; export it without --postprocess")
        if self.postprocess is not None:
            self.postprocess.effective(self.asked)

    def _postprocess(self) -> PostProcess:
        config = self.told.get("postprocess")
        if config is None:
            raise ForeignError(
                "it does not say how detections are made of its outputs, as files of older versions: export it again, "
                "or with --postprocess"
            )
        made: PostProcess = build_component("postprocess", config).eval()
        return made

    def __call__(self, images: list[Image], /) -> Sequence[Found]:
        """Several at once where it takes any number, else one by one."""
        groups = [images] if self.together and images else [[image] for image in images]
        return [found for group in groups for found in self._detect(group)]

    def describe(self) -> dict[str, Any]:
        """The recipe, the version that wrote it, and how it runs."""
        told = self.told
        settings = DetectionSettings(told["score_threshold"]) if self.postprocess is None else (
            self.postprocess.effective(self.asked)
        )  # fmt: skip
        if self.asked.score_threshold is not None:
            settings = dataclasses.replace(settings, score_threshold=self.asked.score_threshold)
        size = None if self.spec.size is None else "x".join(map(str, self.spec.size))
        own = {"recipe": told["recipe"], "exported_by": told["version"], "input": size, "detections": not self.raw}
        return self.facts | own | settings.given()

    def _detect(self, images: list[Image]) -> list[Found]:
        batch = prepare(images, self.spec)
        given = {self.inputs[0]: batch.pixels.numpy()}
        if "region" in self.inputs:
            given["region"] = batch.region.numpy()
        outputs = self.runtime.run(given)
        found = self._read(outputs) if self.postprocess is None else self._choose(outputs, batch)
        return per_image(found, batch)

    def _read(self, outputs: dict[str, NDArray[Any]]) -> DetectionBatch:
        boxes, scores, labels, valid = (
            torch.from_numpy(outputs[name]) for name in ("boxes", "scores", "labels", "valid")
        )
        if self.asked.score_threshold is not None:
            valid = valid & (scores >= self.asked.score_threshold)
        if self.asked.keep is not None:
            valid = valid & (torch.arange(valid.shape[1]) < self.asked.keep)
        return DetectionBatch(boxes, scores, labels, valid)

    def _choose(self, outputs: dict[str, NDArray[Any]], batch: ImageBatch) -> DetectionBatch:
        """The recipe's post-processing, of the outputs of its head."""
        assert self.postprocess is not None
        logits, quality = (torch.from_numpy(outputs[name]) if name in outputs else None for name in _RAW)
        boxes = torch.from_numpy(np.asarray(outputs["boxes"], np.float32))
        predictions = Predictions(logits, self.told["scoring"], boxes, quality)
        places = torch.from_numpy(outputs["candidates"])
        valid = torch.ones(places.shape[:2], dtype=torch.bool)
        levels = _levels(self.told["levels"], self.told["input"]["size"], batch.pixels.shape[-2:], boxes.shape[1])
        candidates = Candidates(places, valid, levels, AlreadyDecoded())
        return self.postprocess(predictions.float(), candidates, batch, self.asked)


class AlreadyDecoded(BoxCoder):
    """The coder of an exported head, which decodes inside the file."""

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """The boxes themselves."""
        return targets

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """The boxes themselves."""
        return deltas


def _levels(told: Sequence[Sequence[Any]], size: Sequence[int], now: Sequence[int], count: int) -> tuple[Level, ...]:
    """The grid of candidates, for the size of this batch; none where it does not come out, as with regions.

    Args:
        told: levels for the size at export.
        size: (height, width) px at export.
        now: (height, width) px of this batch.
        count: candidates that there are.
    """
    levels = tuple(
        Level(name, round(height * now[0] / size[0]), round(width * now[1] / size[1]), per_cell, stride)
        for name, height, width, per_cell, stride in told
    )
    if levels and sum(level.count for level in levels) != count:
        raise ForeignError(f"its {count} candidates are not those of its levels for an input of {now[0]}x{now[1]} px")
    return levels


def _spec(told: dict[str, Any], fixed: tuple[int | None, int | None]) -> InputSpec:
    """The recipe's input; where it follows the images and the file has one size, as large as fits into the corner."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in told["input"].items()
    }
    if values["resize"] == "shortest":
        if fixed[0] is None:
            values |= {"size": None, "pad_multiple": max(values["pad_multiple"], told["size_step"])}
        else:
            plain = {"min_size": None, "max_size": None, "short_side": "scaled", "pad_multiple": 1}
            values |= plain | {"resize": "letterbox", "place": "top_left"}
    return InputSpec(**values)
