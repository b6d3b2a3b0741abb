"""What ``detzoo export`` wrote is evaluated without any option, and finds what the detector itself finds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.errors import SettingError
from detzoo.export.onnx_file import export_onnx
from detzoo.export.program import export_program
from detzoo.foreign.errors import ForeignError
from detzoo.foreign.protocol import Found
from detzoo.foreign.results import as_arrays
from detzoo.interfaces import Detector
from detzoo.prediction.input_spec import InputSpec
from tests.export.small_detectors import small, table
from tests.foreign.loaded import loaded

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SIZES = ((64, 96), (50, 120), (130, 70))


def images() -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def found_by(path: Path, options: list[str] | None = None) -> list[Found]:
    """In this process."""
    program = loaded(path, options)
    assert list(program.names) == ["a", "b", "c"]
    assert program.describe()["exported_by"]
    return list(program(images()))


def assert_finds_the_same(detector: Detector, found: list[Found]) -> None:
    """Scores and labels in order; boxes to 0.05 px of the image."""
    expected = detector.predict(images(), channels="rgb")
    total = 0
    for one, other in zip(as_arrays(found, len(SIZES)), expected, strict=True):
        assert len(one.scores) == len(other)
        np.testing.assert_allclose(one.scores, other.scores.numpy(), atol=1e-4)
        for box, score, label in zip(other.boxes.numpy(), other.scores.numpy(), other.labels.numpy(), strict=True):
            alike = (np.abs(one.scores - score) < 1e-4) & (one.labels == label)
            assert np.abs(one.boxes[alike] - box).max(1).min() < 0.05
        total += len(other)
    assert total > 20


def letterboxed(name: str) -> Detector:
    detector = small(name)
    detector.input = InputSpec(size=(64, 96), resize="letterbox", place="top_left", fill=0.3)
    return detector


def test_raw_outputs_are_chosen_from_as_the_recipe_says(tmp_path: Path) -> None:
    detector = letterboxed("yolov3")
    export_onnx(detector, tmp_path / "raw.onnx")
    assert_finds_the_same(detector, found_by(tmp_path / "raw.onnx"))
    if importlib.util.find_spec("openvino") is not None:
        assert_finds_the_same(detector, found_by(tmp_path / "raw.onnx", ["runtime=openvino"]))
    few = as_arrays(found_by(tmp_path / "raw.onnx", ["keep=2", "nms_iou=0.3"]), len(SIZES))
    expected = detector.predict(images(), channels="rgb", keep=2, nms_iou=0.3)
    assert [one.labels.tolist() for one in few] == [one.labels.tolist() for one in expected]
    model = onnx.load(tmp_path / "raw.onnx")
    kept = [one for one in model.metadata_props if one.key != "detzoo.postprocess"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(ForeignError, match="older versions: export it again, or with --postprocess"):
        found_by(tmp_path / "old.onnx")


@pytest.mark.slow
def test_detections_come_as_they_are(tmp_path: Path) -> None:
    detector = letterboxed("yolov3")
    export_onnx(detector, tmp_path / "found.onnx", postprocess=True)
    assert_finds_the_same(detector, found_by(tmp_path / "found.onnx"))
    (one, *_) = as_arrays(found_by(tmp_path / "found.onnx", ["keep=1"]), len(SIZES))
    assert len(one.scores) == 1
    with pytest.raises(SettingError, match="suppression is inside the file"):
        found_by(tmp_path / "found.onnx", ["nms_iou=0.3"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [row.recipe for row in table() if row.raw.startswith("yes")])
def test_every_raw_head(name: str, tmp_path: Path) -> None:
    """All that the page about export says yes to, the levels of RetinaNet's best thousand among it."""
    detector = small(name)
    export_onnx(detector, tmp_path / "raw.onnx")
    assert_finds_the_same(detector, found_by(tmp_path / "raw.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov3", "retinanet"])
def test_sizes_that_follow_the_images(name: str, tmp_path: Path) -> None:
    detector = small(name)
    detector.input = InputSpec(resize="shortest", min_size=64, max_size=128, pad_multiple=32)
    export_onnx(detector, tmp_path / "free.onnx", size=(64, 96), dynamic_size=True)
    found = found_by(tmp_path / "free.onnx")
    for one, image in zip(as_arrays(found, len(SIZES)), images(), strict=True):
        (expected,) = detector.predict([image], channels="rgb")
        np.testing.assert_allclose(one.scores, expected.scores.numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_size_for_images_that_follow_none(tmp_path: Path) -> None:
    """A file of one size shrinks an image into its corner: what a batch of that size would show."""
    detector = small("yolov3")
    detector.input = InputSpec(resize="shortest", min_size=64, max_size=128)
    export_onnx(detector, tmp_path / "fixed.onnx", size=(64, 96))
    found = found_by(tmp_path / "fixed.onnx")
    detector.input = InputSpec(size=(64, 96), resize="letterbox", place="top_left")
    assert_finds_the_same(detector, found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faster", "mask"])
def test_programs(name: str, tmp_path: Path) -> None:
    detector = small(name)
    export_program(detector, tmp_path / "it.pt2")
    assert_finds_the_same(detector, found_by(tmp_path / "it.pt2"))


@pytest.mark.slow
def test_a_program_that_wants_regions(tmp_path: Path) -> None:
    export_program(small("fast"), tmp_path / "it.pt2")
    with pytest.raises(ForeignError, match="it is given the regions of each image"):
        found_by(tmp_path / "it.pt2")
