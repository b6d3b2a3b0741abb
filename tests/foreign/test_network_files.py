"""Network files of others: YOLOX-Nano's ONNX finds what its import into detzoo finds; decoders by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.builder import build
from detzoo.data import open_dataset
from detzoo.errors import RecipeError
from detzoo.evaluation import evaluate
from detzoo.foreign.detector import load_foreign
from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import Decoder, ForeignOptions, described
from detzoo.foreign.presets import presets
from detzoo.foreign.programs.decoding import Reading, decode
from detzoo.foreign.results import FoundInImage, as_arrays
from detzoo.interfaces import Detector
from detzoo.prediction.detections import Detections
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import prepare
from detzoo.recipes.class_names import COCO
from detzoo.runtime.images import read_image
from detzoo.weights.detector import convert_weights
from tests.foreign.loaded import loaded

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
PHOTOS = 2


def photos(shared: Path, count: int) -> list[NDArray[np.uint8]]:
    folder = shared / "data" / "coco128" / "images" / "val2017"
    return [read_image(path) for path in sorted(folder.iterdir())[:count]]


def imported(file: Path) -> Detector:
    pytest.importorskip("detzoo_yolox")
    made = build("yolox_nano_coco", weights=None)
    convert_weights(made, file, source="yolox")
    return made.eval()


@pytest.fixture(scope="module")
def yolox(shared: Path) -> Path:
    return shared / "weights" / "yolox-nano-coco" / "yolox_nano.onnx"


def assert_same(found: FoundInImage, expected: Detections) -> None:
    """Row by row; where scores are equal to 1e-4 two rows may have changed places."""
    np.testing.assert_allclose(found.scores, expected.scores.numpy(), rtol=0, atol=1e-4)
    scores, labels, boxes = expected.scores.numpy(), expected.labels.numpy(), expected.boxes.numpy()
    alike = np.abs(found.scores[:, None] - scores) < 1e-4
    alike &= found.labels[:, None] == labels
    alike &= np.abs(found.boxes[:, None] - boxes).max(2) < 0.1  # px
    assert alike.any(0).all()
    assert alike.any(1).all()


def test_yolox_nano_finds_what_its_import_finds(yolox: Path, shared: Path) -> None:
    """In this process; the slow test of its AP goes through a process of its own."""
    theirs = loaded(yolox, ["preset=yolox"])
    assert list(theirs.names) == COCO
    assert theirs.describe()["input"] == "416x416"  # the file says so
    images = photos(shared, PHOTOS)
    expected = imported(yolox).predict(images, channels="rgb")
    found = as_arrays(theirs(images), PHOTOS)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert sum(len(one.scores) for one in found) > 100


def test_yolox_nano_in_openvino(yolox: Path, shared: Path) -> None:
    pytest.importorskip("openvino", reason="pip install 'detzoo[openvino]'")
    images = photos(shared, PHOTOS)
    one, other = (loaded(yolox, ["preset=yolox", *more])(images) for more in ([], ["runtime=openvino"]))
    for expected, found in zip(as_arrays(one, PHOTOS), as_arrays(other, PHOTOS), strict=True):
        best = expected.scores > 0.05
        np.testing.assert_allclose(found.scores[: best.sum()], expected.scores[best], atol=1e-3)
        assert found.labels[: best.sum()].tolist() == expected.labels[best].tolist()


@pytest.mark.slow
def test_ap_of_yolox_nano(yolox: Path, shared: Path) -> None:
    """The README of the weights: AP 0.339 and AP50 0.501 on coco128's 128 photos of val2017, measured another way."""
    dataset = open_dataset(str(shared.resolve() / "data" / "coco128" / "object_detection"), "val")
    theirs = evaluate(load_foreign(yolox, {"preset": "yolox"}), dataset, progress=False).metrics
    assert theirs["AP"] == pytest.approx(0.339, abs=0.003)
    assert theirs["AP50"] == pytest.approx(0.501, abs=0.003)
    ours = evaluate(imported(yolox), dataset, progress=False).metrics
    assert theirs["AP"] == pytest.approx(ours["AP"], abs=1e-4)


def test_what_a_file_does_not_say_is_asked(yolox: Path, tmp_path: Path) -> None:
    with pytest.raises(ForeignError, match=r"has no class names: give them with --set classes=coco"):
        loaded(yolox, ["input.resize=stretch", "decoder=cells"])
    with pytest.raises(ForeignError, match=r"not known how images are prepared: give a preset \(--set preset=yolox"):
        loaded(yolox)
    spec = "input: {resize: stretch}"
    beside = tmp_path / "mine.yaml"
    (tmp_path / "mine.onnx").symlink_to(yolox)
    beside.write_text(f"classes: coco\n{spec}\n")
    with pytest.raises(ForeignError, match=r"which of its outputs \(output\) mean what"):
        loaded(tmp_path / "mine.onnx")
    beside.write_text(f"classes: coco\n{spec}\noutputs: {{boxes: outptu}}\n")
    with pytest.raises(ForeignError, match=r'outputs\.boxes: .*outptu.*did you mean "output"'):
        loaded(tmp_path / "mine.onnx")
    beside.write_text("preset: yolo\n")
    with pytest.raises(RecipeError, match=r"mine\.yaml:1: preset: .*did you mean \"yolox\""):
        loaded(tmp_path / "mine.onnx")
    beside.write_text("preset: yolox\ninput: {size: [640, 640], fil: 3}\n")
    with pytest.raises(RecipeError, match=r'mine\.yaml:2: input\.fil: .*did you mean "fill"'):
        loaded(tmp_path / "mine.onnx")
    beside.write_text("preset: yolox\ninput: {size: [640, 640]}\n")
    with pytest.raises(ForeignError, match=r"input\.size is \[640, 640\], and the file takes \[416, 416\] alone"):
        loaded(tmp_path / "mine.onnx")
    beside.write_text("preset: yolox\nclasses: [a, b]\n")
    with pytest.raises(ForeignError, match=r"it tells 80 classes apart, and classes names 2"):
        loaded(tmp_path / "mine.onnx")([np.zeros((9, 9, 3), np.uint8)])


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(b"abc")
    with pytest.raises(ForeignError, match=r"onnxruntime cannot read it: "):
        loaded(tmp_path / "cut.onnx", ["preset=yolox"])


def test_an_options_file_names_its_detector(yolox: Path, tmp_path: Path) -> None:
    """Relative to itself, names from files beside it; ``--set`` wins."""
    (tmp_path / "net.onnx").symlink_to(yolox)
    (tmp_path / "names.txt").write_text("\n".join(COCO) + "\n")
    (tmp_path / "mapping.yaml").write_text("motorcycle: motorbike\n")
    (tmp_path / "zoo.yaml").write_text(
        "foreign: net.onnx\npreset: yolox\nclasses: names.txt\naliases: mapping.yaml\nkeep: 7\n"
    )
    found = described(str(tmp_path / "zoo.yaml"), ["keep=8"])
    assert found.target.kind == "onnx"
    assert found.values["classes"] == COCO
    assert (found.values["aliases"], found.values["keep"]) == ({"motorcycle": "motorbike"}, 8)
    assert found.values["input"] == presets()["yolox"]["input"]


def reading(classes: int, **options: Any) -> Reading:
    return Reading.of(ForeignOptions(**options), classes)


IMAGE = np.zeros((50, 100, 3), np.uint8)
HALF = prepare([IMAGE], InputSpec(size=(50, 50), resize="letterbox"))
"""[50,50] px: the image is half its size in rows 12 (of 12.5, cut) to 37."""


def test_columns_by_hand() -> None:
    """Centre (25,24), 20x10 px of the input: x 15..35, y 19..29; the image begins at row 12, at half its size."""
    raw = np.array([[[25.0, 25.2], [24, 24], [20, 20], [10, 10], [0.9, 0.8], [0.1, 0.0]]], np.float32)
    ((boxes, scores, labels),) = decode({"o": raw}, HALF, [IMAGE], reading(2, decoder="columns", score_threshold=0.05))
    assert boxes.tolist() == [[30, 14, 70, 34], [30, 14, 70, 34]]  # the second box of class 0 is suppressed
    assert scores.tolist() == pytest.approx([0.9, 0.1])
    assert labels.tolist() == [0, 1]


def test_objectness_by_hand() -> None:
    raw = np.array([[[25.0, 24, 20, 10, 0.5, 0.2, 0.8]]], np.float32)
    ((boxes, scores, labels),) = decode({"o": raw}, HALF, [IMAGE], reading(2, decoder="objectness"))
    assert boxes[:1].tolist() == [[30, 14, 70, 34]]
    assert list(zip(scores.tolist(), labels.tolist(), strict=True)) == [
        (pytest.approx(0.4), 1),
        (pytest.approx(0.1), 0),
    ]


def test_queries_by_hand() -> None:
    """Relative to the image, not to its padding; the last column is "no object", which wins the second query."""
    logits = np.log(np.array([[[0.1, 0.7, 0.2], [0.1, 0.1, 0.8]]], np.float32))
    outputs = {"logits": logits, "pred_boxes": np.array([[[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 1, 1]]], np.float32)}
    names = {"logits": "logits", "boxes": "pred_boxes"}
    how = reading(2, decoder="queries", outputs=names, boxes="cxcywh", units="relative", score_threshold=0.5)
    ((boxes, scores, labels),) = decode(outputs, HALF, [IMAGE], how)
    np.testing.assert_allclose(boxes, [[40, 15, 60, 35]], atol=1e-4)
    assert (scores.tolist(), labels.tolist()) == ([pytest.approx(0.7)], [1])


@pytest.mark.parametrize(
    ("boxes", "form", "units"),
    [
        ([15.0, 19, 35, 29], "xyxy", "input"),
        ([30.0, 14, 40, 20], "xywh", "image"),
        ([0.28, 0.3, 0.68, 0.7], "yxyx", "relative"),
        ([0.5, 0.48, 0.4, 0.4], "cxcywh", "relative"),
    ],
)
def test_finished_detections_by_hand(boxes: list[float], form: Any, units: Any) -> None:
    """One box of 30..70, 14..34 px in four spellings; count cuts the padding, label 1 is the first class."""
    outputs = {
        "b": np.array([[boxes, [0, 0, 0, 0]]], np.float32),
        "s": np.array([[0.6, 0.7]], np.float32),
        "l": np.array([[2.0, 0]], np.float32),
        "n": np.array([1.0], np.float32),
    }
    names = {"boxes": "b", "scores": "s", "labels": "l", "count": "n"}
    ((found, scores, labels),) = decode(
        outputs, HALF, [IMAGE], reading(2, outputs=names, boxes=form, units=units, first_label=1)
    )
    np.testing.assert_allclose(found, [[30, 14, 70, 34]], atol=1e-4)
    assert (scores.tolist(), labels.tolist()) == ([pytest.approx(0.6)], [1])


def test_every_preset_is_a_set_of_options() -> None:
    assert set(presets()) == {"yolox", "yolov8", "torchvision", "detr", "ssd_tflite", "nanodet"}
    for name in presets():
        assert described("torch_less:x").target.kind == "module"
        made = ForeignOptions(**presets()[name])
        assert made.decoder in ("detections", "cells", "columns", "queries", "distributions")


def test_the_page_names_every_option_and_preset() -> None:
    page = (Path(__file__).parents[2] / "docs" / "foreign-detectors.md").read_text()
    for name in (*(field.name for field in dataclasses.fields(ForeignOptions)), *presets(), *get_args(Decoder)):
        assert f"`{name}`" in page, name
