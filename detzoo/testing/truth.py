"""Whether the tools say of a detector what is true: what was set, what was recorded, what was compiled.

``Minimal`` is the smallest detector that there is; ``check_tools_tell_the_truth`` looks at it, or at any other.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import torch
from torch import Tensor, nn

from detzoo.components.postprocess.top_k import TopK
from detzoo.data.shapes import CLASSES, ShapesDataset
from detzoo.errors import SettingError
from detzoo.interfaces import Detector
from detzoo.prediction.input_spec import InputSpec
from detzoo.testing.subject import assert_close
from detzoo.types import Candidates, DetectionSettings, ImageBatch, Predictions, Targets

QUICK: Final[dict[str, Any]] = {"size": (64, 64), "iterations": 1, "warmup": 0, "device": "cpu"}


class Minimal(Detector):
    """What a detector must have and nothing else: each cell of a grid scores a box of its size."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, len(CLASSES), 16, stride=16)
        self.postprocess = TopK(keep=8, score_threshold=0.1)
        self.input = InputSpec(size=(64, 64))
        self.classes = CLASSES

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        """Boxes of 16 px side by side, and their logits."""
        maps = self.cells(batch.pixels)
        logits = maps.flatten(2).transpose(1, 2)  # [B,N,K]
        rows, columns = (torch.arange(side, device=maps.device) * 16.0 for side in maps.shape[2:])
        y, x = (corner.flatten() for corner in torch.meshgrid(rows, columns, indexing="ij"))
        boxes = torch.stack([x, y, x + 16, y + 16], dim=1)[None]
        nothing = torch.zeros(*logits.shape[:2], 1, 4, device=maps.device)
        return Candidates(boxes, torch.ones_like(boxes[..., 0], dtype=torch.bool)), Predictions(
            logits, "sigmoid", nothing
        )

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Something to be minimised."""
        _, predictions = self.network(batch, targets)
        assert predictions.class_logits is not None
        return {"classification": predictions.class_logits.square().mean()}


def check_tools_tell_the_truth(detector: Detector) -> None:
    """Prediction, evaluation, benchmark and ``--compile`` do what they are asked, record it, or say that they cannot.

    Args:
        detector: whose classes are those of ``shapes``; it is not changed.
    """
    detector = copy.deepcopy(detector).eval()
    own = detector.settings()
    check_phases_are_the_whole(detector)
    check_prediction(detector, own)
    check_protocols(detector, own)
    check_compiling(detector)
    assert detector.settings() == own, "its settings are not what they were before it was given others"


def check_phases_are_the_whole(detector: Detector) -> None:
    """What is timed as network and as post-processing is, one after the other, what ``detect`` does."""
    batch = _batch(detector)
    with torch.inference_mode():
        whole, parts = detector.detect(batch), detector.finish(detector.network(batch), batch)
    assert_close(whole.scores, parts.scores, "the scores of detect, and of network and finish")
    assert_close(whole.boxes, parts.boxes, "the boxes of detect, and of network and finish")


def check_prediction(detector: Detector, own: DetectionSettings) -> None:
    """Settings that it has are obeyed, for the call alone; one that it has not is an error that names it."""
    image = _image()
    (usual,) = detector.predict([image], channels="rgb")
    if own.score_threshold is not None and len(usual):
        middle = float(usual.scores.median().clamp(0, 1))
        (found,) = detector.predict([image], score_threshold=middle, channels="rgb")
        assert bool((found.scores >= middle).all()), f"score_threshold = {middle:g} gives scores below it"
        assert len(found) <= len(usual), "a higher threshold gives more detections"
    if own.keep is not None:
        (found,) = detector.predict([image], keep=1, channels="rgb")
        assert len(found) <= 1, f"keep = 1 gives {len(found)} detections"
    asked = {"score_threshold": 0.5, "nms_iou": 0.5, "keep": 1}
    for name in asked.keys() - own.given().keys():
        said = _refusal(detector, image, **{name: asked[name]})
        assert said, f"{name} is accepted, but it has no such setting"
        assert detector.name in said, f"the error does not name {detector.name}: {said}"
    (again,) = detector.predict([image], channels="rgb")
    assert_close(usual.scores, again.scores, "the scores before and after a call with other settings")


def check_protocols(detector: Detector, own: DetectionSettings) -> None:
    """Evaluation and benchmark record the settings that were used: the recipe's, or those of the call."""
    from detzoo.benchmark import TimingOptions, benchmark
    from detzoo.evaluation import evaluate

    data = ShapesDataset(split="val", count=2, size=64)
    changed: dict[str, Any] = {} if own.score_threshold is None else {"score_threshold": 0.04}
    for asked in ({}, changed):
        expected = own.given() | asked
        evaluated = evaluate(detector, data, workers=1, progress=False, **asked).facts["protocol"]
        timed = benchmark(detector, TimingOptions(settings=DetectionSettings(**asked), **QUICK)).protocol
        for place, protocol in (("evaluation", evaluated), ("benchmark", timed)):
            recorded = {name: protocol[name] for name in ("score_threshold", "nms_iou", "keep") if name in protocol}
            assert recorded == expected, f"the protocol of the {place} says {recorded}; it ran with {expected}"


def check_compiling(detector: Detector) -> None:
    """The parts that are compiled are its own; where there are none, the protocol says that nothing was compiled."""
    from detzoo.benchmark import TimingOptions, benchmark
    from detzoo.prediction.apply_switches import apply_switches
    from detzoo.runtime.switches import Switches

    parts, own = detector.compiled_parts(), set(detector.modules())
    foreign = [type(part).__name__ for part in parts if part not in own]
    assert not foreign, f"compiled_parts names {', '.join(foreign)}, which are no parts of it"
    asked = Switches(compile=True)
    assert apply_switches(copy.deepcopy(detector), asked).compile == bool(parts), "compile is not what was done"
    if not parts:  # whatever has parts would take a minute to compile
        timed = benchmark(detector, TimingOptions(switches=asked, **QUICK))
        assert timed.protocol["compile"] is False, "the protocol says that it was compiled; nothing was"


def _refusal(detector: Detector, image: Any, **settings: Any) -> str:
    """The message of the error; empty where the settings are accepted."""
    try:
        detector.predict([image], **settings, channels="rgb")
    except SettingError as error:
        return str(error)
    return ""


def _image() -> Any:
    from detzoo.testing.specimens import sample

    return sample(size=(64, 64), seed=0).image


def _batch(detector: Detector) -> ImageBatch:
    from detzoo.prediction.predict import prepared

    return prepared(detector, [_image()])
