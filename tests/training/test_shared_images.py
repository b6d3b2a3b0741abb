"""What the first lines say where the best epoch is selected on images that are learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detzoo.data import open_dataset
from detzoo.runtime.drawing import write_image
from detzoo.training.detection_task import DetectionTask
from tests.training.training_toy import toy


@pytest.mark.parametrize(("selects", "shared"), [("images/b", 0), ("images/a", 2), ("[images/a, images/b]", 2)])
def test_images_that_select_and_are_learned_from(selects: str, shared: int, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for kind in ("images", "labels"):
            (tmp_path / kind / folder).mkdir(parents=True)
        for name in ("0", "1"):
            write_image(tmp_path / "images" / folder / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
            (tmp_path / "labels" / folder / f"{name}.txt").write_text("0 .5 .5 .5 .5\n1 .5 .5 .25 .5\n")
    data = tmp_path / "data.yaml"
    data.write_text(f"train: images/a\nval: {selects}\nnames: [dark, light]\n")
    lines = DetectionTask(toy(), open_dataset(data, "train"), open_dataset(data, "val")).opening_lines()
    (line,) = (line for line in lines if "selects the best epoch" in line)
    told = f", but {shared} of its images are learned from too: its numbers say little about others"
    assert line.endswith(told if shared else "selects the best epoch by AP")
