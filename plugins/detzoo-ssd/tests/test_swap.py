"""Each of the six kinds is replaced from YAML alone; the result trains, predicts and survives saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from detzoo.builder import build, load
from detzoo.data import open_dataset
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import collate
from detzoo.recipes.recipe import load_recipe
from detzoo.weights.checkpoint import Checkpoint, save_checkpoint

FILE = Path(__file__).parent / "swaps.yaml"
REPLACED = {
    "backbone": "squeezenet1_1",
    "neck": "unet",
    "head": "ssd_shared",
    "matcher": "max_iou",
    "loss": "softmax_focal",
    "postprocess": "top_k",
}
DEFAULT = ("head", "loss", "postprocess")
"""What is trained by default; a step of every combination of the others is tested by tests/matrix."""
STEPS, BATCH = 14, 2


def train(detector: Detector, steps: int) -> list[float]:
    """Loss of each step on the same images."""
    dataset = open_dataset("shapes", "train")
    batch = collate([dataset.sample(place) for place in range(BATCH)], detector.input)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=detector.train_plan.optimizer.lr)
    detector.train()
    history = []
    for _ in range(steps):
        losses = detector.losses(*batch)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        torch.autograd.backward(total)
        optimizer.step()
        history.append(total.item())
    return history


@pytest.mark.parametrize("kind", REPLACED)
def test_resolved_recipes_differ_in_that_key_only(kind: str) -> None:
    base, swapped = load_recipe(f"{FILE}#base").values, load_recipe(f"{FILE}#{kind}").values
    assert [key for key in base if base[key] != swapped[key]] == [kind]
    assert base[kind]["type"] != swapped[kind]["type"] == REPLACED[kind]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind in DEFAULT else [pytest.mark.slow]) for kind in (*REPLACED, "atss")],
)
def test_swapped_detector_learns_predicts_and_is_saved(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = build(f"{FILE}#{kind}")
    history = train(detector, STEPS)
    assert np.mean(history[-2:]) < 0.7 * history[0], history
    image = open_dataset("shapes", "val").sample(0).image
    before = detector.eval().predict([image], score_threshold=0.0, channels="rgb")[0]
    assert len(before) > 0
    recipe = {"name": detector.recipe.name, "values": detector.recipe.values}
    save_checkpoint(tmp_path / "swapped.safetensors", Checkpoint(recipe, detector.classes, detector.state_dict()))
    again = load(tmp_path / "swapped.safetensors").eval()
    assert again.recipe.values == detector.recipe.values
    after = again.predict([image], score_threshold=0.0, channels="rgb")[0]
    assert torch.equal(before.boxes, after.boxes)
    assert torch.equal(before.scores, after.scores)
    assert after.names == before.names
