"""Darknet's files: a cfg becomes a detector, a .weights file its numbers."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from darknet_files import HEADERS, NET, SIZE, V3, Numbers, convolution, made, run, written
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from detzoo import convert_weights, load
from detzoo.cli import app
from detzoo.errors import RecipeError
from detzoo.testing.specimens import image_batch
from detzoo_yolo.cfg import Section
from detzoo_yolo.reader import recipe_of
from detzoo_yolo.recipe_parts import plan_of


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_weights_file_gives_the_forward_pass_of_the_same_layers(tmp_path: Path, header: bytes) -> None:
    numbers = Numbers()
    first = numbers.convolution(3, 8, 3)
    grouped = numbers.convolution(8, 8, 3, groups=4)
    linear = numbers.convolution(8, 8, 1)
    coarse = numbers.convolution(8, 14, 1, norm=False)
    fine = numbers.convolution(16, 14, 1, norm=False)
    detector = made(tmp_path, V3)
    convert_weights(detector, numbers.save(tmp_path / "net.weights", header), source="darknet")
    batch = image_batch((64, 64), 2)
    x = run(batch.pixels, first, stride=2)
    added = run(run(x, grouped), linear, leaky=False) + x
    pooled = F.max_pool2d(added, 2, 2)
    pooled = F.max_pool2d(F.pad(pooled, (0, 1, 0, 1), value=-1e9), 2, 1)
    upsampled = pooled.repeat_interleave(2, 2).repeat_interleave(2, 3)
    outputs = [
        run(torch.cat([upsampled, added], 1), fine, leaky=False),
        run(pooled, coarse, leaky=False),
    ]
    expected = torch.cat(
        [one.view(2, 2, 7, *one.shape[2:]).permute(0, 3, 4, 1, 2).reshape(2, -1, 7) for one in outputs], 1
    )
    with torch.no_grad():
        _, said = detector.network(batch)
    found = torch.cat([said.deltas[:, :, 0], said.quality_logits.unsqueeze(2), said.class_logits], 2)
    assert found.shape == (2, 2 * 32 * 32 + 2 * 16 * 16, 7)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_cfg_is_the_recipe(tmp_path: Path) -> None:
    detector = made(tmp_path, V3)
    values = detector.recipe.values
    assert values["backbone"]["layers"] == [
        "conv 8 3/2", "conv 8 3 groups=4", "conv 8 1 linear", "shortcut -3", "max 2/2", "max 2/1",
        "drop 0.2 -> s4", "route -1", "up 2", "route -1 -6 -> s2",
    ]  # fmt: skip
    assert values["head"]["anchors"]["sizes"] == [[[14, 10], [27, 23]], [[58, 37], [82, 81]]]
    assert (values["matcher"]["ignore_threshold"], values["matcher"]["also"]) == (0.7, None)
    assert values["train"]["multi_scale"]["every"] == 10
    schedule = values["train"]["schedule"]
    assert (schedule["warmup_steps"], schedule["warmup_power"]) == (100, 4.0)
    assert (list(schedule["milestones"]), list(schedule["factors"])) == ([400], [0.1])
    assert detector.classes == ("cat", "dog")


def test_a_scale_before_the_first_step_holds_from_the_beginning() -> None:
    options = {"policy": ("steps", 2), "steps": ("-1,100,800", 3), "scales": (".1,10,.5", 4)}
    net = Section("net", 1, "x.cfg", -1, options | {"learning_rate": ("0.004", 5)})
    plan = plan_of(net, Section("yolo", 9, "x.cfg"))
    assert plan["optimizer"]["lr"] == pytest.approx(0.0004)
    assert (plan["schedule"]["milestones"], plan["schedule"]["factors"]) == ([100, 800], [10, 0.5])
    net.options["scales"] = (".1,10", 4)
    with pytest.raises(RecipeError, match=r"x.cfg:3.*steps has 3 values and scales 2"):
        plan_of(net, Section("yolo", 9, "x.cfg"))


def test_jitter_and_random_are_those_of_the_last_head(tmp_path: Path) -> None:
    """darknet, examples/detector.c: ``layer l = net->layers[net->n - 1]``."""
    first = V3.replace("jitter=.3", "jitter=.1", 1).replace("random=1", "random=0", 1)
    plan = recipe_of(written(tmp_path / "net.cfg", first))["train"]
    assert plan["transforms"][0]["scale"] == [0.7, 1.3]
    assert "multi_scale" in plan


@pytest.mark.parametrize("option", ["scale_x_y=1.1", "ignore_thresh=.5", "iou_thresh=.2", "iou_loss=ciou"])
def test_heads_that_differ_in_what_a_recipe_has_once_are_rejected(tmp_path: Path, option: str) -> None:
    text = f"{V3.rstrip()}\n{option}\n"  # of the last head
    with pytest.raises(RecipeError, match=rf"layer 13 \[yolo\]: {option.partition('=')[0]} differs"):
        recipe_of(written(tmp_path / "net.cfg", text))
    same = V3.replace("truth_thresh=1", f"truth_thresh=1\n{option}")
    assert recipe_of(written(tmp_path / "same.cfg", same))["matcher"]["type"] == "yolo/yolo_best_anchor"


V1 = "\n".join(
    [
        NET,
        convolution(4, 3, stride=8),
        "[local]\nfilters=3\nsize=3\nstride=1\npad=1\nactivation=leaky\n",
        "[connected]\noutput=10\nactivation=relu\n",
        "[connected]\noutput=48\nactivation=linear\n",
        "[detection]\nclasses=2\ncoords=4\nrescore=1\nside=2\nnum=2\nsoftmax=0\nsqrt=1\nobject_scale=1\n"
        "noobject_scale=.5\nclass_scale=1\ncoord_scale=5\njitter=.2\n",
    ]
)


@pytest.mark.parametrize("transposed", [False, True])
def test_local_and_connected_layers(tmp_path: Path, transposed: bool) -> None:
    numbers = Numbers()
    first = numbers.convolution(3, 4, 3)
    local_bias, local = numbers.take(3, 8, 8), numbers.take(64, 3, 4 * 9)

    def connected(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
        bias = numbers.take(outputs)
        return bias, numbers.take(inputs, outputs).T if transposed else numbers.take(outputs, inputs)

    hidden, last = connected(3 * 64, 10), connected(10, 48)
    version = (1001, 0) if transposed else (0, 1)
    path = numbers.save(tmp_path / "net.weights", struct.pack("<iiii", *version, 0, 7))
    detector = made(tmp_path, V1)
    convert_weights(detector, path, source="darknet")
    batch = image_batch((64, 64), 2)
    x = run(batch.pixels, first, stride=8)
    windows = F.unfold(x, 3, padding=1)  # [B,36,64]
    x = torch.einsum("lnk,bkl->bnl", local, windows).reshape(2, 3, 8, 8) + local_bias
    x = torch.where(x > 0, x, 0.1 * x).flatten(1)
    vector = F.relu(x @ hidden[1].T + hidden[0]) @ last[1].T + last[0]
    with torch.no_grad():
        _, said = detector.network(batch)
    torch.testing.assert_close(said.class_logits[:, ::2].flatten(1), vector[:, :8], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(said.quality_logits, vector[:, 8:16], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(said.deltas.flatten(1), vector[:, 16:], atol=1e-3, rtol=1e-4)
    assert detector.recipe.values["loss"]["no_object_weight"] == 0.5


V2 = "\n".join(
    [
        NET.replace("64", "128"),
        convolution(4, 3, stride=16),
        convolution(8, 3, stride=2),
        "[route]\nlayers=0\n",
        "[reorg]\nstride=2\n",
        "[route]\nlayers=-1,1\n",
        convolution(14, 1, norm=False, activation="linear"),
        "[region]\nanchors=1,2, 3,1.5\nbias_match=1\nclasses=2\ncoords=4\nnum=2\nsoftmax=1\njitter=.2\nrescore=1\n"
        "object_scale=5\nnoobject_scale=1\nclass_scale=1\ncoord_scale=1\nabsolute=1\nthresh=.6\nrandom=0\n",
    ]
)


def test_region_counts_anchors_in_cells(tmp_path: Path) -> None:
    values = made(tmp_path, V2).recipe.values
    assert values["backbone"]["layers"] == ["conv 4 3/16", "conv 8 3/2", "route -2", "reorg 2", "route -1 -3 -> s32"]
    assert values["head"]["anchors"]["sizes"] == [[[64, 32], [48, 96]]]
    assert values["head"]["scoring"] == "categorical"
    loss = values["loss"]
    assert (loss["object_weight"], loss["object_target"], loss["anchor_warmup"]) == (5, "iou", 12_800)
    assert values["train"]["multi_scale"] is None


def test_from_cfg_to_checkpoint_on_the_command_line(tmp_path: Path) -> None:
    numbers = Numbers()
    numbers.take(SIZE, positive=True)
    weights = numbers.save(tmp_path / "net.weights", HEADERS["0.2.5"])
    cfg, recipe, out = written(tmp_path / "my-net.cfg", V3), tmp_path / "mine.yaml", tmp_path / "mine.safetensors"
    runner = CliRunner()
    first = runner.invoke(app, ["darknet", str(cfg), "--out", str(recipe)])
    assert first.exit_code == 0, first.output
    arguments = ["weights", "import", str(weights), "--from", "darknet", "--detector", str(recipe), "--out", str(out)]
    second = runner.invoke(app, arguments)
    assert second.exit_code == 0, second.output
    detector = load(out).eval()
    found = detector.predict([np.zeros((40, 50, 3), np.uint8)], score_threshold=0.0, channels="rgb")[0]
    assert len(found) > 0
    assert detector.state_dict()["backbone.network.layers.0.norm.bias"].tolist() == numbers.all[0][:8].tolist()
    again = runner.invoke(app, ["darknet", str(cfg), "--out", str(recipe)])
    assert isinstance(again.exception, RecipeError)
    assert str(again.exception) == f"{recipe} exists already; choose another --out"
