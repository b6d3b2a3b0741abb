"""ONNX files answer as PyTorch does: raw and with detections, one image and two, two sizes, nothing found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from detzoo.errors import RecipeError
from detzoo.export import ExportError, export_onnx
from detzoo.export.network import Network
from detzoo.interfaces import Detector
from tests.export.small_detectors import (
    Float,
    assert_same_detections,
    detections,
    images,
    inputs,
    leave_one_empty,
    small,
    table,
    two,
)

FAST = "yolov3"
FREE = [row.recipe for row in table() if row.raw == "yes" and row.recipe != FAST]
FIXED = [row.recipe for row in table() if row.raw == "yes, of one size"]
FOUND = [row.recipe for row in table() if row.found.startswith("yes")]
GIVEN = [row.recipe for row in table() if row.found == "yes, given regions"]
SLOW = [pytest.param(name, marks=() if name == FAST else (pytest.mark.slow,)) for name in FOUND]


def test_no_cell_of_the_table_escapes_these_tests() -> None:
    assert len([row for row in table() if row.raw.startswith("yes")]) == len([FAST, *FREE, *FIXED]) == 20
    assert len([row for row in table() if row.found.startswith("yes")]) == len(FOUND) == 30
    assert set(GIVEN) == {"fast", "fast_max", "sppnet", "rcnn"}


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
    assert_raw_agrees(small(FAST), written, images(count, size))


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE)
def test_every_raw_head_of_any_size_and_number(name: str, tmp_path: Path) -> None:
    detector, path = small(name), tmp_path / "raw.onnx"
    assert export_onnx(detector, path, dynamic_size=True) < 1e-5
    for count, size in ((1, (64, 96)), (2, (64, 96)), (2, (128, 64))):
        assert_raw_agrees(detector, path, images(count, size))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("size", [(64, 96), (128, 64)])
def test_a_raw_head_whose_candidates_are_of_one_size(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    detector, path = small(name, size=size), tmp_path / "raw.onnx"
    with pytest.raises(ExportError) as error:
        export_onnx(detector, path, dynamic_size=True)
    assert str(error.value) == (
        f"{detector.recipe.name} cannot be exported: something in it is made for one size of the input, such as priors "
        "that are computed beforehand; leave --dynamic-size out, or give --size"
    )
    assert export_onnx(detector, path) < 1e-5
    for count in (1, 2):
        assert_raw_agrees(detector, path, images(count, size))


@pytest.mark.slow
def test_ssd_takes_another_size_than_its_recipe_s(tmp_path: Path) -> None:
    detector, path = small("ssd"), tmp_path / "raw.onnx"
    assert export_onnx(detector, path, size=(128, 64)) < 1e-5
    assert_raw_agrees(detector, path, images(2, (128, 64)))


def test_yolov1_takes_no_other_size_than_its_recipe_s(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        export_onnx(small("yolov1"), tmp_path / "no.onnx", size=(128, 64))
    assert str(error.value) == (
        "yolo_grid was built for an input of 64x96 px (height x width), found 128x64; leave train.multi_scale and "
        "--size of an export out, and set input.size instead"
    )


@pytest.mark.parametrize("name", SLOW)
def test_detections_of_two_images_of_which_one_is_empty(name: str, tmp_path: Path) -> None:
    detector, path = small(name), tmp_path / "found.onnx"
    leave_one_empty(detector)
    assert export_onnx(detector, path, postprocess=True) < 1e-5
    both = two()
    for pixels in (both, both[:1], both[1:], images(2)):
        given = inputs(detector, pixels)
        expected = detections(detector, given)
        assert_same_detections(expected, run(path, **given))
        if pixels is both:
            empty, shown = sorted(expected.valid.sum(1).tolist())
            assert empty == 0
            assert shown >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", GIVEN)
def test_any_number_of_regions(name: str, tmp_path: Path) -> None:
    detector, path = small(name), tmp_path / "found.onnx"
    export_onnx(detector, path, postprocess=True)
    for regions in (1, 50):
        given = inputs(detector, images(2), regions=regions)
        assert_same_detections(detections(detector, given), run(path, **given))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["detzoo.dynamic"]) == ["batch", "regions"]


def test_a_box_stage_has_no_raw_head(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--postprocess"):
        export_onnx(small("faster"), tmp_path / "no.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_detections_in_a_file_of_another_size(name: str, tmp_path: Path) -> None:
    detector, path = small(name, size=(128, 64)), tmp_path / "found.onnx"
    assert export_onnx(detector, path, postprocess=True) < 1e-5
    for count in (1, 2):
        given = inputs(detector, images(count, (128, 64)))
        expected = detections(detector, given)
        assert int(expected.valid.sum()) >= 2 * count
        assert_same_detections(expected, run(path, **given))


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
    assert (told["detzoo.dynamic"], told["detzoo.size_step"]) == (["batch", "size"], 16)
    assert [axes.shape[0] for axes in (*session.get_inputs(), *session.get_outputs())][:2] == ["batch", "batch"]
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
        ("yolov3", {"size": (50, 64)}, "--size 50,64: both sides must be multiples of 16 px, the coarsest stride"),
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
