"""``torch.export`` programs give the detections of the detector; what cannot be recorded says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detzoo.build import build
from detzoo.data.prepare import InputSpec
from detzoo.export import ExportError, export_program
from detzoo.export.network import image_batch
from detzoo.interfaces import Detector
from detzoo.training.checkpoint import save_model

RECIPES = Path(__file__).parent / "small.yaml"


def small(name: str) -> Detector:
    torch.manual_seed(0)
    return build(f"{RECIPES}#{name}").eval()


@pytest.mark.parametrize(
    "name",
    ["yolov3", "soft", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ssd", "retinanet", "faster", "mask"))],
)
def test_a_program_gives_the_same_detections(name: str, tmp_path: Path) -> None:
    detector, path = small(name), tmp_path / "model.pt2"
    assert export_program(detector, path) == ("batch",)
    program = torch.export.load(path)
    for count in (1, 3):
        inputs = {"pixels": torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(count))}
        if detector.input.resize != "stretch":
            inputs["region"] = torch.tensor([[0.0, 8, 96, 56]]).repeat(count, 1)
        with torch.no_grad():
            expected = detector.detect(image_batch(**inputs))
            boxes, scores, _, valid = program.module()(*inputs.values())[:4]
        assert torch.equal(valid, expected.valid)
        torch.testing.assert_close(scores, expected.scores)
        torch.testing.assert_close(boxes.sum(1), expected.boxes.sum(1), rtol=1e-4, atol=1e-2)


def test_names_travel_in_the_program(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    export_program(small("yolov3"), path)
    told = dict.fromkeys(["detzoo.classes", "detzoo.input"], "")
    torch.export.load(path, extra_files=told)
    assert json.loads(told["detzoo.classes"]) == ["a", "b", "c"]
    assert json.loads(told["detzoo.input"])["size"] == [64, 96]


def test_the_command_writes_a_file_and_refuses_what_it_cannot(tmp_path: Path) -> None:
    run, out = tmp_path / "run.safetensors", tmp_path / "model.pt2"
    save_model(small("yolov3"), run)
    command = [sys.executable, "-m", "detzoo", "export", str(run)]
    done = subprocess.run(
        [*command, "--format", "torch", "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"written: {out}, for any number of pictures; torch.export.load reads it after `import detzoo.export`\n"
    )
    assert out.exists()
    again = subprocess.run(
        [*command, "--format", "torch", "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == f"error: {out} exists already; choose another --out\n"


@pytest.mark.parametrize("text", ["320", "320,0", "a,b", "320x320"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    from detzoo.export.session import parse_size

    with pytest.raises(ExportError) as error:
        parse_size(text)
    assert str(error.value) == f"--size {text}: write height,width in px, as 320,480"


def test_a_size_that_follows_the_pictures_must_be_named(tmp_path: Path) -> None:
    detector = small("yolov3")
    detector.input = InputSpec(resize="shortest", min_size=800, max_size=1344)
    with pytest.raises(ExportError) as error:
        export_program(detector, tmp_path / "model.pt2")
    assert str(error.value) == (
        f"{detector.recipe.name}: the size of the input follows the pictures (resize: shortest); name one: "
        "--size 800,1344 for instance (height,width)"
    )
