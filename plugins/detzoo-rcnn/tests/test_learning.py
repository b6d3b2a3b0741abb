"""R-CNN and SPP-net learn `shapes` on a CPU in a few minutes; see learning.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

import detzoo
from detzoo.builder import build
from detzoo.data import open_dataset
from detzoo.training import train
from detzoo.training.rng import seed_everything
from detzoo_rcnn.region_svm import RegionSvm

RECIPES = Path(__file__).parent / "learning.yaml"
DATA = "shapes:train=160,val=48"
WEIGHTS = "weights/mobilenet_v2-imagenet/mobilenet_v2_tf2ptq_dequant.pth"

pytestmark = pytest.mark.slow


def learn(name: str, shared: Path, out: Path) -> dict[str, float]:
    """Metrics of SVMs and corrected boxes on images that were not trained on."""
    seed_everything(0)
    detector = build(f"{RECIPES}#{name}", overrides={"backbone.weights": str(shared / WEIGHTS)})
    data, val = open_dataset(DATA, "train"), open_dataset(DATA, "val")
    return train(detector, data, out, val=val, device="cpu", workers=0, progress=False).metrics


def test_rcnn_with_and_without_its_parts(shared: Path, tmp_path: Path) -> None:
    """The ablation of the paper on one run: SVM or softmax, boxes corrected or not."""
    whole = learn("rcnn", shared, tmp_path / "run")
    assert whole["AP50"] >= 0.6
    without = detzoo.load(tmp_path / "run", {"correct_boxes": False})
    assert isinstance(without, RegionSvm)
    assert detzoo.evaluate(without, open_dataset(DATA, "val"), progress=False).metrics["AP"] < whole["AP"]
    softmax = detzoo.load(tmp_path / "run", {"classify_by": "softmax"})
    assert detzoo.evaluate(softmax, open_dataset(DATA, "val"), progress=False).metrics["AP50"] >= 0.6


def test_spp_net(shared: Path, tmp_path: Path) -> None:
    assert learn("spp", shared, tmp_path / "run")["AP50"] >= 0.6
