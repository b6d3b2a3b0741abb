"""What travels in ``torch.export`` programs, and what cannot be recorded; test_table.py has their detections."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

from detzoo.cli import main
from detzoo.export import ExportError, export_onnx, export_program
from detzoo.interfaces import Detector, PostProcess
from detzoo.prediction.input_spec import InputSpec
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions
from detzoo.weights.checkpoint import save_model
from tests.export.small_detectors import small


class Hesitant(PostProcess):
    """Looks at what was found before it goes on, as a graph cannot."""

    def __init__(self, inner: PostProcess) -> None:
        super().__init__()
        self.inner = inner
        self.settings = inner.settings

    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        found = self.inner(predictions, candidates, batch, settings)
        return found if found.valid.any() else dataclasses.replace(found, scores=found.scores * 0)


def test_the_command_writes_a_file_and_refuses_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run.safetensors", tmp_path / "model.pt2"
    save_model(small("yolov3"), run)
    monkeypatch.setattr(sys, "argv", ["detzoo", "export", str(run), "--format", "torch", "--out", str(out)])
    with pytest.raises(SystemExit) as done:
        main()
    assert (done.value.code or 0, *capsys.readouterr()) == (
        0,
        f"written: {out}, for any number of images; torch.export.load reads it after `import detzoo.export`\n",
        f"exporting {run}; a large network takes minutes\n",
    )
    told = dict.fromkeys(["detzoo.classes", "detzoo.input"], "")
    torch.export.load(out, extra_files=told)
    assert json.loads(told["detzoo.classes"]) == ["a", "b", "c"]
    assert json.loads(told["detzoo.input"])["size"] == [64, 96]
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {out} exists already; choose another --out\n")


def test_a_size_that_follows_the_images_must_be_named(tmp_path: Path) -> None:
    detector = small("yolov3")
    detector.input = InputSpec(resize="shortest", min_size=800, max_size=1344)
    with pytest.raises(ExportError) as error:
        export_program(detector, tmp_path / "model.pt2")
    assert str(error.value) == (
        f"{detector.recipe.name}: the size of the input follows the images (resize: shortest); name one: "
        "--size 800,1344 for instance (height,width)"
    )


def hesitant() -> Detector:
    detector = small("yolov3")
    detector.postprocess = Hesitant(detector.postprocess)
    return detector


HESITANT = (
    "{name} cannot be exported: what it computes depends on what it has found (Could not guard on data-dependent "
    "expression Eq(u0, 1) (unhinted: Eq(u0, 1)).  (Size-like symbols: none)); run it with detzoo itself"
)


def test_what_looks_at_its_own_results_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    detector = hesitant()
    capfd.readouterr()
    with pytest.raises(ExportError) as error:
        export_program(detector, tmp_path / "no.pt2")
    assert str(error.value) == HESITANT.format(name=detector.recipe.name)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow  # ONNX files are translated from what programs are made of
def test_what_looks_at_its_own_results_is_refused_as_onnx_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    detector = hesitant()
    capfd.readouterr()
    with pytest.raises(ExportError) as error:
        export_onnx(detector, tmp_path / "no.onnx", postprocess=True)
    assert str(error.value) == HESITANT.format(name=detector.recipe.name)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
