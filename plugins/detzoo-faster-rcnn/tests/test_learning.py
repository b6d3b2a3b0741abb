"""Each family learns `shapes` on a CPU in a few minutes; see learning.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from detzoo.builder import build
from detzoo.data import open_dataset
from detzoo.training import train
from detzoo.training.rng import seed_everything

RECIPES = Path(__file__).parent / "learning.yaml"
DATA = "shapes:train=192,val=64"
WEIGHTS = "weights/mobilenet_v2-imagenet/mobilenet_v2_tf2ptq_dequant.pth"

pytestmark = pytest.mark.slow


def learn(name: str, shared: Path, out: Path) -> dict[str, float]:
    """Metrics of the last weights on images that were not trained on."""
    seed_everything(0)
    detector = build(f"{RECIPES}#{name}", overrides={"backbone.weights": str(shared / WEIGHTS)})
    data, val = open_dataset(DATA, "train"), open_dataset(DATA, "val")
    return train(detector, data, out, val=val, device="cpu", workers=0, progress=False).metrics


@pytest.fixture(scope="module")
def joint(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Faster R-CNN, trained at once."""
    return learn("faster", shared, tmp_path_factory.mktemp("learning") / "faster")


def test_faster_rcnn(joint: dict[str, float]) -> None:
    assert joint["AP50"] >= 0.7


def test_four_steps_come_as_far_as_joint_training(joint: dict[str, float], shared: Path, tmp_path: Path) -> None:
    four = learn("four_step", shared, tmp_path / "run")
    assert four["AP50"] >= 0.7
    assert four["AP"] >= joint["AP"] - 0.05  # it sees the images more often and may well be better


def test_fast_rcnn_on_regions_that_do_not_look_at_the_image(shared: Path, tmp_path: Path) -> None:
    assert learn("fast", shared, tmp_path / "run")["AP50"] >= 0.7


def test_mask_rcnn(shared: Path, tmp_path: Path) -> None:
    metrics = learn("mask", shared, tmp_path / "run")
    assert metrics["AP50"] >= 0.7
    assert metrics["mask_AP50"] >= 0.7


def test_rfcn(shared: Path, tmp_path: Path) -> None:
    assert learn("rfcn", shared, tmp_path / "run")["AP50"] >= 0.7
