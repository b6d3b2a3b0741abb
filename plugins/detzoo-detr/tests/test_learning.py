"""Small detectors of the family learn `shapes` on a CPU in some minutes; see learning.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from detzoo.builder import build
from detzoo.data import open_dataset
from detzoo.training import train
from detzoo.training.rng import seed_everything

RECIPES = Path(__file__).parent / "learning.yaml"
WEIGHTS = "weights/mobilenet_v2-imagenet/mobilenet_v2_tf2ptq_dequant.pth"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "images", "least"),
    [("anchors", 256, 0.55), ("rtdetr", 512, 0.8), ("dfine", 512, 0.8), ("rfdetr", 512, 0.8)],
)
def test_it_learns(name: str, images: int, least: float, shared: Path, tmp_path: Path) -> None:
    seed_everything(0)
    # the weights come from TensorFlow
    changes = {"backbone.weights": str(shared / WEIGHTS), "backbone.padding": "keras"}
    detector = build(f"{RECIPES}#{name}", overrides=changes)
    data, val = (open_dataset(f"shapes:train={images},val=64", split) for split in ("train", "val"))
    metrics = train(detector, data, tmp_path / "run", val=val, device="cpu", workers=0, progress=False).metrics
    assert metrics["AP50"] >= least  # of the last weights, on images that were not trained on
