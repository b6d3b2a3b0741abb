"""The recipes of the Faster R-CNN papers say what the papers and their releases do; convention by convention."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import detzoo
from detzoo.components.unreduced_losses import SmoothL1
from detzoo.errors import RecipeError, WeightsError
from detzoo.interfaces import Detector, GradientStage
from detzoo.recipes.recipe import load_recipe
from detzoo.types import ImageBatch, Targets

JOINT = ["fasterrcnn_vgg16_voc", "fasterrcnn_zf_voc", "fasterrcnn_resnet101_voc"]
FOUR_STEPS = ["fasterrcnn_vgg16_voc_4step", "fasterrcnn_zf_voc_4step"]
SMALL_FC = {"box.head.fc": [8, 8], "box.head.pretrained": None}
FEW = {"proposals.postprocess.keep": 20, "proposals.training_postprocess.keep": 40}


def build(name: str, **changes: Any) -> Detector:
    smaller = {} if "resnet" in name else SMALL_FC
    return detzoo.build(name, overrides={**FEW, **smaller, **changes}, weights=None)


def image(height: int = 128, width: int = 160) -> ImageBatch:
    torch.manual_seed(0)
    region = torch.tensor([[0.0, 0, width, height]])
    size = torch.tensor([[height, width]])
    pixels = torch.randn(1, 3, height, width) * 50
    return ImageBatch(pixels, region, size, torch.ones(1, 2), torch.zeros(1, dtype=torch.long))


def truth(*boxes: list[float], region: tuple[float, ...] = (0, 0, 160, 128)) -> Targets:
    valid = (torch.arange(16) < len(boxes)).unsqueeze(0)
    padded = torch.tensor([[*boxes, *[[0.0] * 4] * (16 - len(boxes))]])
    labels = torch.full((1, 16), 7)
    return Targets(padded, labels, torch.zeros_like(valid), valid, torch.tensor([region]))


@pytest.mark.parametrize("name", JOINT)
def test_one_step_of_training_and_a_detection(name: str) -> None:
    detector = build(name).train()
    batch = image(144, 160)  # the smallest in which an anchor lies
    for targets in (truth(), truth([20, 10, 120, 110], region=(0, 0, 160, 144))):
        terms = detector.losses(batch, targets)
        assert set(terms) == {"rpn.classification", "rpn.box", "box.classification", "box.box"}
        assert all(bool(term.isfinite()) for term in terms.values())
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    without = [k for k, p in detector.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    with torch.no_grad():
        found = detector.eval().detect(batch)
    assert found.boxes.shape[2] == 4
    assert found.labels[found.valid].max() < 20 if found.valid.any() else True


def test_the_stages_that_stay_frozen() -> None:
    vgg = {k for k, p in build("fasterrcnn_vgg16_voc").named_parameters() if not p.requires_grad}
    convolutions = [f"backbone.body.features.{i}.{leaf}" for i in (0, 2, 5, 7) for leaf in ("weight", "bias")]
    assert vgg == set(convolutions)
    assert all(p.requires_grad for p in build("fasterrcnn_zf_voc").parameters())
    resnet = {k for k, p in build("fasterrcnn_resnet101_voc").named_parameters() if not p.requires_grad}
    assert {k.split(".")[2] for k in resnet} == {"conv1", "layer1"}


def test_beta_of_rpn_and_roi_differ() -> None:
    detector = build("fasterrcnn_vgg16_voc")
    losses = [detector.get_submodule(path).get_submodule("box") for path in ("proposals.loss", "box.loss")]
    assert all(isinstance(loss, SmoothL1) for loss in losses)
    assert [loss.beta for loss in losses] == [pytest.approx(1 / 9), 1.0]


def test_the_papers_two_normalisers_from_yaml_alone() -> None:
    paper = {
        "proposals.loss.box_normaliser": {"type": "fixed", "value": 2400.0},
        "proposals.loss.box_weight": 10.0,
        "proposals.sampler.size": 100_000,  # all anchors, so that the draw does not differ
    }
    released = build("fasterrcnn_zf_voc", **{"proposals.sampler.size": 100_000})
    printed = build("fasterrcnn_zf_voc", **paper)
    printed.load_state_dict(released.state_dict())
    batch, targets = image(208, 320), truth([60, 40, 200, 170], region=(0, 0, 320, 208))
    with torch.no_grad():
        a, b = (detector.eval().losses(batch, targets) for detector in (released, printed))
    index = released.get_submodule("proposals.matcher")(anchors_of(released, batch), targets).index
    sampled, positive = int(index.ne(-2).sum()), int(index.ge(0).sum())
    assert 0 < positive < sampled
    assert a["rpn.box"].item() > 0
    assert b["rpn.classification"].item() == pytest.approx(a["rpn.classification"].item())
    assert b["rpn.box"].item() == pytest.approx(a["rpn.box"].item() * sampled / 2400 * 10, rel=1e-4)


def anchors_of(detector: Detector, batch: ImageBatch) -> Any:
    features = detector.get_submodule("backbone")(batch.pixels)
    return detector.get_submodule("proposals.head")(features, batch)[0]


def test_no_anchor_that_crosses_the_border_is_trained_on() -> None:
    detector = build("fasterrcnn_zf_voc")
    batch = image(208, 320)
    places = anchors_of(detector, batch)
    targets = truth([60, 40, 200, 170], region=(0, 0, 320, 208))
    index = detector.get_submodule("proposals.matcher")(places, targets).index[0]
    boxes = places.boxes[0]
    inside = (boxes[:, 0] >= 0) & (boxes[:, 1] >= 0) & (boxes[:, 2] <= 320) & (boxes[:, 3] <= 208)
    assert set(index[~inside].tolist()) == {-2}
    assert (index[inside] >= 0).any()
    assert 0 < int(inside.sum()) < len(boxes) / 2


def test_negatives_of_the_box_head_reach_down_to_zero() -> None:
    recipe = load_recipe("fasterrcnn_vgg16_voc", None).values
    matcher = recipe["box"]["matcher"]
    assert (matcher["positive_threshold"], matcher["negative_threshold"], matcher["negative_floor"]) == (0.5, 0.5, 0.0)


def test_anchors_of_the_released_network() -> None:
    places = anchors_of(build("fasterrcnn_zf_voc"), image())
    assert places.boxes[0, :2].tolist() == [[-84, -40, 100, 56], [-176, -88, 192, 104]]
    assert places.coder.weights == (1, 1, 1, 1)


@pytest.mark.parametrize("name", FOUR_STEPS)
def test_four_steps(name: str) -> None:
    detector = build(name)
    stages = detector.stages()
    assert [s.name for s in stages] == ["1-proposals", "2-box", "3-proposals", "4-box"]
    assert [s.start_from for s in stages] == ["previous", "weights", "previous", "previous"]
    assert [s.settings["steps"] for s in stages if isinstance(s, GradientStage)] == [80000, 40000] * 2
    assert detector.train_plan.schedule.milestones == (0.75,)


def test_joint_is_the_default() -> None:
    assert [s.name for s in build("fasterrcnn_vgg16_voc").stages()] == ["train"]


def test_reported_results_are_on_voc_and_name_their_protocol() -> None:
    for name in JOINT + FOUR_STEPS:
        reported = load_recipe(name, None).values["reported"]
        assert reported
        assert all(row["protocol"] and row["source"] and row["dataset"].startswith("VOC") for row in reported)


def zf_file(folder: Path, width: int = 8, **changes: torch.Tensor) -> Path:
    torch.manual_seed(1)
    shapes = {"conv1": (96, 3, 7), "conv2": (256, 96, 5), "conv3": (384, 256, 3), "conv4": (384, 384, 3)}
    shapes["conv5"] = (256, 384, 3)
    state = {f"{k}.weight": torch.randn(a, b, s, s) * 0.01 for k, (a, b, s) in shapes.items()}
    state |= {f"{k}.bias": torch.randn(a) for k, (a, _, _) in shapes.items()}
    for name, inputs in (("fc6", 256 * 6 * 6), ("fc7", width)):
        state |= {f"{name}.weight": torch.randn(width, inputs) * 0.01, f"{name}.bias": torch.randn(width)}
    save_file(state | changes, folder / "zf.safetensors")
    return folder / "zf.safetensors"


def test_fc6_and_fc7_of_the_classifier_start_the_box_head(tmp_path: Path) -> None:
    path = zf_file(tmp_path)
    changes = {"backbone.weights": str(path), "box.head.fc": [8, 8]}
    detector = detzoo.build("fasterrcnn_zf_voc", overrides=changes)
    state = load_file(path)
    own = detector.state_dict()
    for mine, theirs in (("backbone.body.conv5", "conv5"), ("box.head.fc.0", "fc6"), ("box.head.fc.1", "fc7")):
        for leaf in ("weight", "bias"):
            assert torch.equal(own[f"{mine}.{leaf}"], state[f"{theirs}.{leaf}"])
    # weights=None loads neither
    fresh = detzoo.build("fasterrcnn_zf_voc", overrides=changes, weights=None)
    assert not torch.equal(fresh.state_dict()["box.head.fc.1.weight"], state["fc7.weight"])


def test_fc6_asked_for_and_absent(tmp_path: Path) -> None:
    path = zf_file(tmp_path)
    changes = {"backbone.weights": str(path), "box.head.fc": [8, 8], "box.head.pretrained": {"fc.0": "classifier.0"}}
    with pytest.raises(WeightsError) as error:
        detzoo.build("fasterrcnn_zf_voc", overrides=changes)
    assert f'{path} has no layer "classifier.0", from which fc.0 should start; nearest: ' in str(error.value)
    assert "box.head.pretrained" in str(error.value)
    with pytest.raises(WeightsError, match=r"layer fc6 does not fit fc\.0 of RoiBox: bias has shape \[8\] and must"):
        detzoo.build("fasterrcnn_zf_voc", overrides={"backbone.weights": str(path), "box.head.fc": [16, 8]})


def test_torchvisions_weights_want_another_input(tmp_path: Path) -> None:
    state = {k.removeprefix("backbone."): v for k, v in build("fasterrcnn_vgg16_voc").state_dict().items()}
    path = tmp_path / "vgg16.safetensors"
    save_file({k: v for k, v in state.items() if k.startswith("body.")}, path)
    changes = {**SMALL_FC, "backbone.weights": str(path), "backbone.weights_from": "torchvision"}
    with pytest.raises(RecipeError, match=r"expected: channels: rgb, mean: \[0.485, 0.456, 0.406\]"):
        detzoo.build("fasterrcnn_vgg16_voc", overrides=changes)
    detector = detzoo.build("fasterrcnn_vgg16_voc", overrides={**changes, "backbone.weights_from": "caffe"})
    assert isinstance(detector, nn.Module)
