"""The recipe learns `shapes` on a CPU in a few minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from detzoo.builder import build
from detzoo.data import open_dataset
from detzoo.training import train
from detzoo.training.rng import seed_everything

DATA = "shapes:train=256,val=64"
WEIGHTS = "weights/mobilenet_v2-imagenet/mobilenet_v2_tf2ptq_dequant.pth"

pytestmark = pytest.mark.slow


def test_it_learns(shared: Path, tmp_path: Path) -> None:
    seed_everything(0)
    data, val = open_dataset(DATA, "train"), open_dataset(DATA, "val")
    own = {
        "input.size": [128, 128],
        "backbone.weights": str(shared / WEIGHTS),
        "backbone.padding": "keras",
        "train.epochs": 10,
    }
    detector = build("centernet_mobilenet_v2", classes=data.classes, overrides=own)
    metrics = train(detector, data, tmp_path / "run", val=val, device="cpu", workers=0, progress=False).metrics
    assert metrics["AP50"] >= 0.8  # of the best epoch, on images that were not trained on
