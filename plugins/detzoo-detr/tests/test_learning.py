"""The variant with boxes for queries learns `shapes` on a CPU in some minutes; see learning.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from detzoo.builder import build
from detzoo.data import open_dataset
from detzoo.training import train
from detzoo.training.rng import seed_everything

RECIPES = Path(__file__).parent / "learning.yaml"
DATA = "shapes:train=256,val=64"
WEIGHTS = "weights/mobilenet_v2-imagenet/mobilenet_v2_tf2ptq_dequant.pth"

pytestmark = pytest.mark.slow


def test_it_learns(shared: Path, tmp_path: Path) -> None:
    seed_everything(0)
    detector = build(f"{RECIPES}#anchors", overrides={"backbone.weights": str(shared / WEIGHTS)})
    data, val = open_dataset(DATA, "train"), open_dataset(DATA, "val")
    metrics = train(detector, data, tmp_path / "run", val=val, device="cpu", workers=0, progress=False).metrics
    assert metrics["AP50"] >= 0.55  # of the last weights, on images that were not trained on
