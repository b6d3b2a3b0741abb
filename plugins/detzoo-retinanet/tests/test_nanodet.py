"""NanoDet-m with its authors' weights; the oracle is OpenVINO (``benchmarks/nanodet_against_openvino.py``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from detzoo.builder import build
from detzoo.cli import app
from detzoo.components.anchors import Grid
from detzoo.components.box_coders import Bins, Edges
from detzoo.errors import RecipeError, WeightsError
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import prepare
from detzoo.runtime.images import read_image
from detzoo.types import FeatureSpec, FeatureSpecs
from detzoo.weights.detector import convert_weights
from detzoo_retinanet.nanodet_head import NanoDetHead
from detzoo_retinanet.nanodet_neck import NanoDetPan
from detzoo_retinanet.openvino_ir import read_ir

SPECS: FeatureSpecs = {"s8": FeatureSpec(3, 8.0), "s16": FeatureSpec(4, 16.0)}


@pytest.fixture(scope="module")
def file(shared: Path) -> Path:
    return shared / "weights" / "nanodet-m-coco" / "nanodet_m.xml"


@pytest.fixture(scope="module")
def detector(file: Path) -> Detector:
    made = build("nanodet_m_coco", weights=None)
    convert_weights(made, file, source="openvino")
    return made.eval()


@pytest.fixture(scope="module")
def oracle() -> dict[str, NDArray[np.float32]]:
    with np.load(Path(__file__).parent / "nanodet_m_openvino.npz") as stored:
        return dict(stored)


def pattern() -> NDArray[np.uint8]:
    """[320,320,3] BGR bytes, of the formula in the benchmark."""
    y, x, channel = np.ogrid[:320, :320, :3]
    value = 3 * x + 5 * y + 61 * channel + (x * y) // 37 + 90 * ((x // 40 + y // 56) % 2)
    return np.asarray(value % 256, dtype=np.uint8)


def test_raw_outputs(detector: Detector, oracle: dict[str, NDArray[np.float32]]) -> None:
    batch = prepare([np.ascontiguousarray(pattern()[..., ::-1])], detector.input)
    with torch.no_grad():
        _, found = detector.network(batch)
    assert found.class_logits is not None
    assert found.distribution is not None
    scores, edges = torch.from_numpy(oracle["scores"]), torch.from_numpy(oracle["edges"])
    assert scores.shape == (52, 80)  # every 41st of 1600 + 400 + 100 cells
    assert edges.std() > 0.5
    torch.testing.assert_close(found.class_logits.sigmoid()[0, ::41], scores, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.distribution[0, ::41], edges, rtol=0, atol=1e-3)


def test_detections(detector: Detector, oracle: dict[str, NDArray[np.float32]], shared: Path) -> None:
    folder = shared / "data" / "coco128" / "images" / "val2017"
    names = [name for name in oracle if name.endswith(".jpg")]
    assert len(names) == 8
    total = 0
    for name in names:
        stored = torch.from_numpy(oracle[name])
        [found] = detector.predict([read_image(folder / name)], channels="rgb")
        assert len(found.scores) == len(stored)
        torch.testing.assert_close(found.scores, stored[:, 4], rtol=0, atol=1e-4)
        assert found.labels.tolist() == stored[:, 5].int().tolist()
        torch.testing.assert_close(found.boxes, stored[:, :4], rtol=0, atol=0.05)  # px
        total += len(stored)
    assert total > 100


def test_the_neck_adds_what_it_resized() -> None:
    neck = NanoDetPan(SPECS, channels=2)
    maps = {"s8": torch.randn(1, 3, 3, 5), "s16": torch.randn(1, 4, 2, 3)}
    with torch.no_grad():
        for lateral in neck.laterals:
            assert isinstance(lateral, torch.nn.Conv2d)
            lateral.weight.zero_()
            lateral.weight[0, 0] = 1  # the first channel goes through, the second is 0
        out = neck(maps)
    a, b = maps["s8"][:, :1], maps["s16"][:, :1]
    fine = a + torch.nn.functional.interpolate(b, size=(3, 5), mode="bilinear")
    torch.testing.assert_close(out["s8"][:, :1], fine)
    torch.testing.assert_close(
        out["s16"][:, :1], b + torch.nn.functional.interpolate(fine, size=(2, 3), mode="bilinear")
    )
    assert float(out["s8"][:, 1].abs().max()) == 0


def test_scores_start_at_the_prior_and_edges_do_not() -> None:
    head = NanoDetHead(
        SPECS, 2, anchors=Grid(sizes=[[40.0], [80.0]], ratios=[1.0]), box_coder=Bins(reg_max=3), channels=4
    )
    for predictor in head.predictors:
        bias = predictor.get_parameter("bias").detach()
        torch.testing.assert_close(bias[:2].sigmoid(), torch.full((2,), 0.01))
        assert bias[2:].tolist() == [0.0] * 16


@pytest.mark.parametrize(
    "parts",
    [
        {"anchors": Grid(sizes=[[40.0], [80.0]], ratios=[1.0, 2.0]), "box_coder": Bins(reg_max=3)},
        {"anchors": Grid(sizes=[[40.0], [80.0]], ratios=[1.0]), "box_coder": Edges()},
    ],
)
def test_two_boxes_in_a_cell_or_no_bins_are_rejected(parts: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"ratios: \[1.0\] .*box_coder: {type: bins}"):
        NanoDetHead(SPECS, 2, **parts)


def test_damaged_files_and_another_network(file: Path, tmp_path: Path) -> None:
    xml, constants = tmp_path / "m.xml", tmp_path / "m.bin"
    shutil.copy(file, xml)
    with pytest.raises(WeightsError, match=r"m\.bin: cannot be read .*an \.xml and a \.bin file"):
        read_ir(xml)
    constants.write_bytes(file.with_suffix(".bin").read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"m\.bin ends before constant"):
        read_ir(constants)
    xml.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="is no XML, or damaged"):
        read_ir(xml)
    xml.write_text("<net><layers/></net>")
    with pytest.raises(WeightsError, match="no convolutions"):
        read_ir(xml)
    wider = build("nanodet_m_coco", weights=None, overrides=["head.depth=3"])
    with pytest.raises(WeightsError, match=r"is it the same\s+architecture"):
        convert_weights(wider, file, source="openvino")


@pytest.mark.slow
def test_ap_on_all_photographs(file: Path, shared: Path, tmp_path: Path) -> None:
    """As OpenVINO's outputs give on the same pixels, by pycocotools (the benchmark prints it); published: 20.6."""
    root = shared.resolve() / "data" / "coco128"
    shutil.copytree(root / "object_detection" / "labels", tmp_path / "labels")
    shutil.copy(root / "object_detection" / "config.yaml", tmp_path / "data.yaml")
    (tmp_path / "images").symlink_to(root / "images")
    weights = tmp_path / "nanodet.safetensors"
    commands = [
        ["weights", "import", str(file), "--from", "openvino", "--detector", "nanodet_m_coco", "--out", str(weights)],
        ["eval", str(weights), "--data", str(tmp_path / "data.yaml"), "--split", "val", "--out", str(tmp_path / "out")],
    ]
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]
    assert metrics["AP"] == pytest.approx(0.2726, abs=0.001)
    assert metrics["AP50"] == pytest.approx(0.4263, abs=0.001)
