"""Images in, detections out, with a detector whose answer can be worked out by hand."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detzoo.errors import DataError, SettingError
from detzoo.interfaces import Detector, PostProcess
from detzoo.prediction.given_images import PredictionError
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.predict import detect_images, inference, original_boxes, predict, split
from detzoo.prediction.prepare import prepare
from detzoo.recipes.recipe import Recipe
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions, Targets


class Recorder(PostProcess):
    """Scores as they stand; notes the settings that come by value."""

    settings = DetectionSettings(score_threshold=0.1, nms_iou=0.45, keep=3)

    def __init__(self) -> None:
        super().__init__()
        self.given: list[DetectionSettings] = []

    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        assert predictions.class_logits is not None
        assert settings.score_threshold is not None
        assert settings.keep is not None
        self.given.append(settings)
        scores = predictions.class_logits.squeeze(2)
        valid = (scores > settings.score_threshold) & (torch.arange(3) < settings.keep)
        return DetectionBatch(candidates.boxes, scores, torch.tensor([0, 1, 4]).expand(len(scores), 3), valid)


class Quarters(Detector):
    """Finds the top left quarter of each image (score 0.9), the whole of it (0.5) and its middle (0.2).

    The scores are scaled by the image's mean brightness, so that each image has its own.
    """

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.input = spec
        self.classes = ("corner", None)
        self.gain = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm2d(3)
        self.frozen = nn.BatchNorm2d(3).eval()
        self.recorder = Recorder()
        self.postprocess = self.recorder
        self.seen: list[tuple[bool, bool]] = []

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        self.seen.append((self.training, torch.is_grad_enabled()))
        pixels = self.norm(batch.pixels)
        left, top, right, bottom = batch.region.unbind(1)
        x, y = (left + right) / 2, (top + bottom) / 2
        boxes = torch.stack(
            [
                torch.stack([left, top, x, y], 1),
                batch.region,
                torch.stack([(left + x) / 2, (top + y) / 2, (x + right) / 2, (y + bottom) / 2], 1),
            ],
            1,
        )
        bright = pixels.new_tensor([0.9, 0.5, 0.2]) * self.gain
        scores = bright * self._brightness(batch)[:, None]
        predictions = Predictions(scores[..., None], "linear", torch.zeros(len(boxes), 3, 1, 4))
        return Candidates(boxes, torch.ones_like(scores, dtype=torch.bool)), predictions

    def _brightness(self, batch: ImageBatch) -> Tensor:
        found = []
        for pixels, region in zip(batch.pixels, batch.region.int().tolist(), strict=True):
            x1, y1, x2, y2 = region
            found.append(pixels[:, y1:y2, x1:x2].mean())
        return torch.stack(found)

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        raise NotImplementedError


PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
STRETCH = InputSpec(size=(40, 80), **PLAIN)
LETTERBOX = InputSpec(size=(64, 64), resize="letterbox", **PLAIN)
SHORTEST = InputSpec(resize="shortest", min_size=32, max_size=64, **PLAIN)
EVERY_SPEC = pytest.mark.parametrize("spec", [STRETCH, LETTERBOX, SHORTEST], ids=["stretch", "letterbox", "shortest"])


def image(height: int, width: int, value: int = 255) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def test_no_images_give_no_detections() -> None:
    detector = Quarters(STRETCH)
    assert predict(detector, []) == []
    assert detect_images(detector, []) == []
    assert detector.seen == []


def test_an_image_without_objects_gives_empty_tensors_of_the_right_shape_and_dtype() -> None:
    (found,) = predict(Quarters(STRETCH), [image(20, 30, 0)], channels="rgb")
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    assert found.labels.shape == (0,)
    assert found.labels.dtype == torch.int64
    assert found.names == []
    assert found.size == (20, 30)


@EVERY_SPEC
def test_boxes_come_back_in_original_pixels(spec: InputSpec) -> None:
    (found,) = predict(Quarters(spec), [image(50, 100)], channels="rgb")
    expected = torch.tensor([[0.0, 0, 50, 25], [0, 0, 100, 50], [25, 12.5, 75, 37.5]])
    torch.testing.assert_close(found.boxes, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.5, 0.2]))
    assert found.labels.tolist() == [0, 1, 4]
    assert found.names == ["corner", "class 1", "class 4"]
    assert found.size == (50, 100)


@EVERY_SPEC
def test_the_same_image_alone_or_in_a_batch_gives_the_same_result(spec: InputSpec) -> None:
    images = [image(48, 64, value) for value in (255, 60, 200, 0, 130)]
    detector = Quarters(spec)
    together = predict(detector, images, batch=3, channels="rgb")
    alone = [predict(detector, [one], channels="rgb")[0] for one in images]
    assert [len(one) for one in together] == [3, 2, 3, 0, 3]
    for first, second in zip(together, alone, strict=True):
        assert torch.equal(first.boxes, second.boxes)
        assert torch.equal(first.scores, second.scores)
        assert torch.equal(first.labels, second.labels)


def test_boxes_are_clipped_to_the_image() -> None:
    images = prepare([image(50, 100)], STRETCH)  # scale 0.8 both ways
    boxes = torch.tensor([[[-8.0, -4, 16, 8], [40, 20, 88, 44]]])
    assert original_boxes(boxes, images).tolist() == [[[0, 0, 20, 10], [50, 25, 100, 50]]]
    assert boxes[0, 0, 0] == -8  # not changed


def test_the_results_are_ordinary_tensors() -> None:
    (found,) = predict(Quarters(STRETCH), [image(50, 100)], channels="rgb")
    for tensor in (found.boxes, found.scores, found.labels):
        assert not tensor.is_inference()
        assert not tensor.requires_grad
        assert tensor.is_contiguous()
        tensor.add_(1)


def test_every_module_gets_its_own_mode_back() -> None:
    detector = Quarters(STRETCH)
    detector.frozen.eval()
    assert detector.training
    predict(detector, [image(8, 8)], channels="rgb")
    assert detector.seen[0] == (False, False)
    assert detector.training
    assert detector.norm.training
    assert not detector.frozen.training
    assert torch.equal(detector.norm.running_mean, torch.zeros(3))  # type: ignore[arg-type]
    assert torch.is_grad_enabled()


def test_overrides_hold_for_one_call() -> None:
    detector = Quarters(STRETCH)
    assert len(predict(detector, [image(8, 8)], score_threshold=0.3, channels="rgb")[0]) == 2
    assert len(predict(detector, [image(8, 8)], keep=1, nms_iou=0.7, score_threshold=0.0, channels="rgb")[0]) == 1
    assert len(predict(detector, [image(8, 8)], channels="rgb")[0]) == 3
    given = [(one.score_threshold, one.nms_iou, one.keep) for one in detector.recorder.given]
    assert given == [(0.3, 0.45, 3), (0.0, 0.7, 1), (0.1, 0.45, 3)]


def test_the_mode_is_restored_after_an_error() -> None:
    detector = Quarters(STRETCH)
    with pytest.raises(ZeroDivisionError), inference(detector):
        1 / 0  # noqa: B018
    assert detector.training


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"score_threshold": 1.5}, "score_threshold is 1.5; it must lie between 0 and 1"),
        ({"nms_iou": float("nan")}, "nms_iou is nan; it must lie between 0 and 1"),
        ({"keep": 0}, "keep is 0; it must be a whole number, 1 or more"),
        ({"keep": math.inf}, "keep is inf; it must be a whole number, 1 or more"),
        ({"keep": math.nan}, "keep is nan; it must be a whole number, 1 or more"),
        ({"batch": 0}, "batch is 0; it must be 1 or more"),
    ],
)
def test_impossible_overrides_are_refused(override: dict[str, Any], message: str) -> None:
    with pytest.raises((SettingError, PredictionError)) as caught:
        predict(Quarters(STRETCH), [image(8, 8)], **override, channels="rgb")
    assert str(caught.value) == message


def test_a_missing_setting_is_named_with_the_recipe_the_post_process_and_what_can_be_set() -> None:
    detector = Quarters(STRETCH)
    detector.recorder.settings = DetectionSettings(score_threshold=0.1, keep=3)
    with pytest.raises(SettingError) as caught:
        predict(detector, [], nms_iou=0.5)
    message = str(caught.value)
    assert message.startswith("Quarters: nms_iou cannot be set: ")
    assert "Recorder" in message
    assert message.endswith("it can set score_threshold, keep")
    detector.recipe = Recipe("quarters_of_mine", {})
    detector.recorder.settings = DetectionSettings()
    with pytest.raises(SettingError, match=r"^quarters_of_mine: keep cannot be set: .* has no settings$"):
        predict(detector, [], keep=5)


def test_paths_travel_to_the_results(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), image(10, 20))
    from PIL import Image

    with Image.open(path) as opened:
        images: Sequence[Any] = [path, str(path), opened, image(10, 20)]
        found = predict(Quarters(STRETCH), images, channels="rgb")
    assert [one.path for one in found] == [str(path), str(path), str(path), None]
    assert [one.size for one in found] == [(10, 20)] * 4
    assert torch.equal(found[0].scores, found[3].scores)


@pytest.mark.parametrize("wrap", [lambda path: path, str, lambda path: cv2.imread(str(path))])
def test_a_single_image_counts_as_a_list_of_one(tmp_path: Path, wrap: Any) -> None:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), image(10, 20))
    assert len(predict(Quarters(STRETCH), wrap(path), channels="rgb")) == 1


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(PredictionError) as caught:
        predict(Quarters(STRETCH), 3)  # type: ignore[arg-type]
    assert str(caught.value).startswith("predict got int; give it a list of paths, URLs")


@pytest.mark.parametrize("wrap", [lambda nothing: nothing, lambda nothing: [nothing]])
def test_what_opencv_gives_for_an_unreadable_file_is_told(tmp_path: Path, wrap: Any) -> None:
    nothing = cv2.imread(str(tmp_path / "none.png"))
    with pytest.raises(DataError, match=r"cv2\.imread gives None"):
        predict(Quarters(STRETCH), wrap(nothing), channels="bgr")


def test_half_precision_runs_the_network_under_autocast() -> None:
    detector = Quarters(STRETCH)
    with inference(detector, precision="bf16"):
        assert torch.is_autocast_enabled("cpu")
    with inference(detector):
        assert not torch.is_autocast_enabled("cpu")


def test_split_crosses_to_the_host_once(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Quarters(STRETCH)
    images = prepare([image(8, 8), image(9, 9)], STRETCH)
    with torch.inference_mode():
        found = detector.detect(images)
    copies: list[torch.Size] = []
    cpu = Tensor.cpu

    def counted(self: Tensor) -> Tensor:
        copies.append(self.shape)
        return cpu(self)

    monkeypatch.setattr(Tensor, "cpu", counted)
    assert [len(one) for one in split(detector, found, images)] == [3, 3]
    assert copies == [torch.Size([2, 4, 7])]
