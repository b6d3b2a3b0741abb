"""ONNX files answer as PyTorch does: raw and with detections, one picture and two, two sizes, nothing found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from detzoo.build import build
from detzoo.export import ExportError, export_onnx
from detzoo.export.network import Network, image_batch
from detzoo.interfaces import Detector
from detzoo.types import DetectionBatch

RECIPES = Path(__file__).parent / "small.yaml"
EVERY = ("yolov1", "yolov2", "yolov3", "ssd", "retinanet", "fcos")
FAST = "yolov3"
SLOW = [pytest.param(name, marks=() if name == FAST else (pytest.mark.slow,)) for name in EVERY]
FIXED = ("ssd", "yolov1")  # whose candidates are made for one size
FREE = [name for name in EVERY if name not in {*FIXED, FAST}]
Float = NDArray[np.float32]


def small(name: str) -> Detector:
    torch.manual_seed(0)
    detector = build(f"{RECIPES}#{name}").eval()
    with torch.no_grad():  # untrained heads answer the same everywhere; spread their answers
        for parameter in detector.head.parameters():  # type: ignore[union-attr]
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return detector


def pictures(count: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(count))


def run(path: Path, **given: torch.Tensor) -> dict[str, Float]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {name: tensor.numpy() for name, tensor in given.items()})
    return dict(zip(names, found, strict=True))


def assert_raw_agrees(detector: Detector, path: Path, pixels: torch.Tensor) -> None:
    with torch.no_grad():
        expected = Network(detector, ("pixels",), postprocess=False).named(pixels)
    found = run(path, pixels=pixels)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].shape == tuple(tensor.shape)
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-4, atol=1e-3, err_msg=name)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw head of free size."""
    path = tmp_path_factory.mktemp("onnx") / "raw.onnx"
    assert export_onnx(small(FAST), path, dynamic_size=True) < 1e-5
    return path


@pytest.mark.parametrize(("count", "size"), [(1, (64, 96)), (2, (64, 96)), (2, (128, 64))])
def test_a_raw_head_of_any_size_and_number(count: int, size: tuple[int, int], written: Path) -> None:
    assert_raw_agrees(small(FAST), written, pictures(count, size))


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE)
def test_every_raw_head_of_any_size_and_number(name: str, tmp_path: Path) -> None:
    detector, path = small(name), tmp_path / "raw.onnx"
    assert export_onnx(detector, path, dynamic_size=True) < 1e-5
    for count, size in ((1, (64, 96)), (2, (64, 96)), (2, (128, 64))):
        assert_raw_agrees(detector, path, pictures(count, size))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("size", [(64, 96), (128, 64)])
def test_a_raw_head_whose_candidates_are_of_one_size(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    detector, path = small(name), tmp_path / "raw.onnx"
    export_onnx(detector, path, size=size)
    for count in (1, 2):
        assert_raw_agrees(detector, path, pictures(count, size))


@pytest.mark.parametrize("name", SLOW)
def test_detections_of_two_pictures_of_which_one_is_empty(name: str, tmp_path: Path) -> None:
    detector, path = small(name), tmp_path / "found.onnx"
    pixels = torch.cat([torch.zeros(1, 3, 64, 96), pictures(1, (64, 96))])
    threshold = between(detector, pixels)
    export_onnx(detector, path, postprocess=True)
    for given in (pixels, pixels[:1], pixels[1:]):
        inputs = {"pixels": given} | region(detector, given)
        with torch.no_grad():
            expected = detector.detect(image_batch(**inputs))
        assert_same_detections(expected, run(path, **inputs))
    assert threshold > 0


def between(detector: Detector, pixels: torch.Tensor) -> float:
    """A score that the one picture reaches and the other does not; it becomes the recipe's threshold."""
    postprocess = detector.postprocess
    postprocess.score_threshold = 0.0  # type: ignore[union-attr]
    with torch.no_grad():
        best = detector.detect(image_batch(pixels, **region(detector, pixels))).scores
    tops = best[:, 0].sort().values
    assert tops[1] > tops[0]
    threshold = float(tops[0] + tops[1]) / 2
    postprocess.score_threshold = threshold  # type: ignore[union-attr]
    return threshold


def region(detector: Detector, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    if detector.input.resize == "stretch":
        return {}
    return {"region": torch.tensor([[0.0, 8, 96, 56]]).repeat(len(pixels), 1)}


def assert_same_detections(expected: DetectionBatch, found: dict[str, Float]) -> None:
    """Rows of equal scores may change places, so each is looked for."""
    assert found["valid"].sum(1).tolist() == expected.valid.sum(1).tolist()
    np.testing.assert_allclose(found["scores"], expected.scores.numpy(), atol=1e-5)
    for image in range(len(expected.boxes)):
        kept = found["valid"][image].astype(bool)
        for row in expected.valid[image].nonzero().squeeze(1).tolist():
            same = kept & (found["labels"][image] == int(expected.labels[image, row]))
            apart = np.abs(found["boxes"][image] - expected.boxes[image, row].numpy()).max(1)
            assert apart[same].min() < 1e-2
    assert not found["boxes"][~found["valid"].astype(bool)].any()


def test_what_travels_in_the_file(written: Path) -> None:
    detector = small(FAST)
    session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    told = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert told["detzoo.classes"] == ["a", "b", "c"]
    assert told["detzoo.input"]["size"] == [64, 96]
    assert told["detzoo.input"]["resize"] == detector.input.resize
    assert told["detzoo.input"]["mean"] == list(detector.input.mean)
    assert told["detzoo.scoring"] == "sigmoid"
    assert told["detzoo.quality"] == "product"
    assert (told["detzoo.dynamic"], told["detzoo.size_step"]) == (["batch", "size"], 32)
    assert set(told["detzoo.meaning"]) == {i.name for i in (*session.get_inputs(), *session.get_outputs())}
    assert list(written.parent.iterdir()) == [written]


def test_a_file_of_a_user_s_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_text("mine")
    with pytest.raises(ExportError) as error:
        export_onnx(small(FAST), path)
    assert str(error.value) == f"{path} exists already; choose another --out"
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "soft",
            {"postprocess": True},
            "{name} cannot be exported as ONNX with --postprocess: ONNX has no operation for soft_nms; leave "
            "--postprocess out, or --set postprocess.suppress.type=nms",
        ),
        (
            "yolov3",
            {"postprocess": True, "dynamic_size": True},
            "--postprocess and --dynamic-size exclude each other: how many candidates are sorted is part of the "
            "graph; leave one out, or write one file for each size (--size)",
        ),
        ("yolov3", {"size": (50, 64)}, "--size 50,64: both sides must be multiples of 32 px, the coarsest stride"),
        (
            "ssd",
            {"dynamic_size": True},
            "{name} cannot be exported: something in it is made for one size of the input, such as priors that are "
            "computed beforehand; leave --dynamic-size out, or give --size",
        ),
    ],
)
def test_what_cannot_be_exported_says_why(name: str, options: dict[str, object], message: str, tmp_path: Path) -> None:
    detector = small(name)
    with pytest.raises(ExportError) as error:
        export_onnx(detector, tmp_path / "no.onnx", **options)  # type: ignore[arg-type]
    assert str(error.value) == message.format(name=detector.recipe.name)
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as error:
        export_onnx(small(FAST), tmp_path / "model.pt")
    assert str(error.value) == f"--out {tmp_path / 'model.pt'}: the file's name must end in .onnx"
