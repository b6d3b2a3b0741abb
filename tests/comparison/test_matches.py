"""What ``show --priors`` and ``show --matches`` draw, counted."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from detzoo.builder import build
from detzoo.data import open_dataset
from detzoo.errors import DataError, DetzooError
from detzoo.inspection.matches import draw_matches, draw_matches_of, draw_priors, visible
from detzoo.interfaces import Detector
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import prepare
from detzoo.runtime.images import read_image

NAME = "ssd_ultralight_face_slim"


@pytest.fixture(scope="module")
def detector() -> Detector:
    return build(NAME, num_classes=5, weights=None)


def test_every_level_has_a_panel_and_a_line(detector: Detector) -> None:
    image, lines = draw_priors(detector)
    assert [line.partition(",")[0] for line in lines] == [
        "s8: 30x40 cells",
        "s16: 15x20 cells",
        "s32: 8x10 cells",
        "extra1: 4x5 cells",
    ]
    assert image.dtype == np.uint8
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 5


def test_every_box_has_a_line_and_the_counts_add_up(detector: Detector) -> None:
    sample = open_dataset("shapes:size=96,train=8", "train").sample(0)
    image, lines = draw_matches(detector, sample)
    assert len(lines) == 1 + len(sample.boxes)
    found = re.fullmatch(r"4420 candidates: (\d+) positive, (\d+) left out", lines[0])
    assert found is not None
    per_box = [sum(int(n) for n in re.findall(r"\w+ (\d+)(?:,|$)", line.partition(": ")[2])) for line in lines[1:]]
    assert sum(per_box) == int(found[1])
    assert max(image.shape[:2]) == 900


def test_an_image_without_objects_is_drawn_too(detector: Detector) -> None:
    dataset = open_dataset("shapes:size=96,train=64", "train")
    empty = next(sample for sample in map(dataset.sample, range(len(dataset))) if len(sample.boxes) == 0)
    _, lines = draw_matches(detector, empty)
    assert lines == ["4420 candidates: 0 positive, 0 left out"]


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(size=(20, 30)),
        InputSpec(size=(20, 30), channels="bgr", mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), pixel_range=255),
    ],
)
def test_the_network_s_pixels_are_shown_in_the_image_s_colours(spec: InputSpec) -> None:
    image = np.full((20, 30, 3), (10, 120, 250), np.uint8)
    assert np.array_equal(visible(prepare([image], spec), spec), image)


def test_the_files_are_written_and_a_stranger_is_refused(tmp_path: Path) -> None:
    data = "shapes:size=96,train=4,val=2,test=2"
    name = Path(open_dataset(data, "train").paths[1]).stem
    said = draw_matches_of(NAME, [], data, Path(name), tmp_path / "x.png")
    assert said.splitlines()[-1] == f"drawn to {tmp_path / 'x.png'}"
    assert read_image(tmp_path / "x.png").shape[2] == 3
    with pytest.raises(DataError, match=r"^nobody\.jpg is not in shapes, which has 8 images: "):
        draw_matches_of(NAME, [], data, Path("nobody.jpg"), tmp_path / "y.png")


def test_a_detector_without_a_network_of_one_stage_is_refused() -> None:
    class Odd(torch.nn.Module):
        name = "Odd"
        input = InputSpec(size=(8, 8))

    with pytest.raises(DetzooError, match=r"^Odd is no one-stage detector: its candidates depend on the image$"):
        draw_priors(Odd())  # type: ignore[arg-type]
