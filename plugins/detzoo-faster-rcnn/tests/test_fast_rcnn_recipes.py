"""The recipes of the Fast R-CNN paper say what the paper and its release do: asserted from what they build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import detzoo
from detzoo.components.unreduced_losses import SmoothL1
from detzoo.detectors.two_stage import TwoStage
from detzoo.training.optimizer import parameter_groups
from detzoo.types import IGNORE, Candidates, Targets

VOC = ["fastrcnn_vgg16_voc", "fastrcnn_caffenet_voc"]
TINY_FC = {"box.head.fc": [8, 8], "box.head.pretrained": None}


def built(name: str, changes: dict[str, Any] | None = None) -> TwoStage:
    torch.manual_seed(0)
    detector = detzoo.build(name, overrides={**TINY_FC, **(changes or {})}, weights=None)
    assert isinstance(detector, TwoStage)
    return detector


def crowded(seed: int = 0, regions: int = 600) -> tuple[Candidates, Targets]:
    """Two images of 600 x 800 with two objects each, and regions of which many overlap them."""
    rng = np.random.default_rng(seed)
    truth = np.array([[100, 100, 300, 300], [400, 200, 700, 500]], np.float32)
    near = truth[rng.integers(0, 2, (2, regions))] + rng.uniform(-150, 150, (2, regions, 4))
    corners = np.sort(near.reshape(2, regions, 2, 2), axis=2).reshape(2, regions, 4).clip(0, 599)
    boxes = torch.from_numpy(corners.astype(np.float32))
    valid = (boxes[..., 2:] > boxes[..., :2] + 1).all(-1)
    here = torch.ones(2, 2, dtype=torch.bool)
    labels, region = torch.tensor([[3, 7]] * 2), torch.tensor([[0.0, 0, 800, 600]] * 2)
    return Candidates(boxes, valid), Targets(torch.from_numpy(np.stack([truth] * 2)), labels, ~here, here, region)


@pytest.mark.parametrize("name", VOC)
def test_128_regions_of_two_images_and_negatives_that_overlap(name: str) -> None:
    detector = built(name)
    assert detector.train_plan.batch == 2
    rois, targets = crowded()
    overlap = detector.box.matched(rois, targets)[1].overlap
    assert overlap is not None
    assert int((overlap < 0.1).sum()) > 20  # there are easy ones to leave out
    _, chosen = detector.box.choose(rois, targets)
    taken = chosen.index.ne(IGNORE)
    assert taken.sum(1).tolist() == [64, 64]
    assert chosen.positive.sum(1).tolist() == [16, 16]
    assert chosen.overlap is not None
    assert (chosen.overlap[chosen.positive] >= 0.5).all()
    negatives = chosen.overlap[chosen.negative]
    assert len(negatives) == 96
    assert negatives.min() >= 0.1
    assert negatives.max() < 0.5


@pytest.mark.parametrize("name", VOC)
def test_smooth_l1_turns_at_1(name: str) -> None:
    loss = built(name).box.loss.get_submodule("box")
    assert isinstance(loss, SmoothL1)
    assert loss.beta == 1.0


@pytest.mark.parametrize(("name", "bins", "frozen"), [(VOC[0], (7, 7), (0, 2, 5, 7)), (VOC[1], (6, 6), ("conv1",))])
def test_pooling_and_frozen_convolutions(name: str, bins: tuple[int, int], frozen: tuple[object, ...]) -> None:
    detector = built(name)
    head: Any = detector.box.head
    pool = head.roi_pool
    assert (type(pool).__name__, pool.output, pool.levels) == ("RoiMaxPool", bins, ("s16",))
    prefix = "backbone.body." if name == VOC[1] else "backbone.body.features."
    still = {f"{prefix}{layer}.{leaf}" for layer in frozen for leaf in ("weight", "bias")}
    assert {key for key, value in detector.named_parameters() if not value.requires_grad} == still


@pytest.mark.parametrize("name", VOC)
def test_biases_learn_at_twice_the_rate_and_do_not_decay(name: str) -> None:
    detector = built(name)
    plan = detector.train_plan
    trained = [key for key, value in detector.named_parameters() if value.requires_grad]
    groups = parameter_groups(detector, plan.optimizer, trained, lr=plan.optimizer.lr)
    rates = {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}
    assert {rates[key] for key in trained if key.endswith(".weight")} == {(1e-3, 5e-4)}
    assert {rates[key] for key in trained if key.endswith(".bias")} == {(2e-3, 0.0)}


def test_the_last_layers_start_small() -> None:
    head: Any = built("fastrcnn_vgg16_voc", {"box.head.fc": [64]}).box.head
    last = head.predictor
    assert float(last.classification.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert float(last.regression.weight.detach().std()) == pytest.approx(0.001, rel=0.1)
    assert not last.classification.bias.any()


def test_the_pixels_are_those_of_caffes_weights(tmp_path: Path) -> None:
    """A file of weights is taken with the recipe's own mean, and its fc6 and fc7 start the box head."""
    state = {k.removeprefix("backbone."): v for k, v in built("fastrcnn_vgg16_voc").state_dict().items()}
    state = {k: v for k, v in state.items() if k.startswith("body.")}
    for name, inputs in (("classifier.0", 512 * 7 * 7), ("classifier.3", 8)):
        state |= {f"{name}.weight": torch.randn(8, inputs), f"{name}.bias": torch.randn(8)}
    path = tmp_path / "vgg16.safetensors"
    save_file(state, path)
    detector = detzoo.build("fastrcnn_vgg16_voc", overrides={"backbone.weights": str(path), "box.head.fc": [8, 8]})
    assert torch.equal(detector.state_dict()["box.head.fc.1.weight"], state["classifier.3.weight"])
