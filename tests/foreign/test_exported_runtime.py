"""``--runtime onnxruntime``: a detector of detzoo is exported once and finds the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from detzoo.cli import app
from detzoo.errors import DetzooError
from detzoo.foreign.exported_runtime import digest, in_runtime
from detzoo.weights.checkpoint import save_model
from tests.export.small_detectors import small

pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["yolov3", "faster"])
def test_a_run_in_onnxruntime(recipe: str, tmp_path: Path) -> None:
    detector = small(recipe)
    (tmp_path / "run").mkdir()
    save_model(detector, tmp_path / "run" / "best.safetensors")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)).save(tmp_path / "0.png")
    found: dict[str, list[dict[str, Any]]] = {}
    for runtime in ("torch", "onnxruntime", "onnxruntime"):
        out = tmp_path / f"{runtime}{len(found)}"
        words = ["predict", str(tmp_path / "run"), str(tmp_path / "0.png"), "--out", str(out), "--runtime", runtime]
        done = CliRunner().invoke(app, [*words, "--score-threshold", "0.0"])
        assert done.exit_code == 0, done.output
        found[out.name] = json.loads((out / "detections.json").read_text())["images"][0]["detections"]
    assert len(list((tmp_path / "run" / "exports").iterdir())) == 1  # the second time it was there
    expected, *others = found.values()
    assert len(expected) > 5
    for other in others:
        assert [one["class"] for one in other] == [one["class"] for one in expected]
        assert [one["score"] for one in other] == pytest.approx([one["score"] for one in expected], abs=1e-4)


def test_other_weights_are_another_file() -> None:
    one, same, other = small("yolov3"), small("yolov3"), small("yolov3")
    next(other.parameters()).data.add_(1)
    assert digest(one) == digest(same) != digest(other)


def test_what_cannot_run_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(DetzooError, match="regions that a program outside of its network finds"):
        in_runtime(small("rcnn"), "onnxruntime", tmp_path)
    done = CliRunner().invoke(app, ["bench", "ssd_mobilenet_v2", "--runtime", "onxruntime", "--iterations", "1"])
    assert 'unknown runtime "onxruntime"; did you mean "onnxruntime"' in str(done.exception)
