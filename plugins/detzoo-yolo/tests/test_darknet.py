"""Darknet's files: a cfg becomes a detector, a .weights file its numbers, and broken ones one message."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from detzoo import build, convert_weights, load
from detzoo.cli import app
from detzoo.errors import DetzooError, RecipeError, WeightsError
from detzoo.interfaces import Detector
from detzoo.testing.specimens import image_batch
from detzoo_yolo.cfg import Section
from detzoo_yolo.reader import recipe_of
from detzoo_yolo.recipe_parts import plan_of

NET = "[net]\nwidth=64\nheight=64\nchannels=3\nlearning_rate=.001\nburn_in=100\nmax_batches=500\npolicy=steps\n"
NET += "steps=400\nscales=.1\n"


def convolution(filters: int, size: int, *, norm: bool = True, activation: str = "leaky", **options: int) -> str:
    more = "".join(f"{key}={value}\n" for key, value in ({"stride": 1, "pad": 1} | options).items())
    start = "batch_normalize=1\n" if norm else ""
    return f"[convolutional]\n{start}filters={filters}\nsize={size}\n{more}activation={activation}\n"


def yolo(mask: str) -> str:
    return (
        f"[yolo]\nmask={mask}\nanchors=10,14, 23,27, 37,58, 81,82\nclasses=2\nnum=4\njitter=.3\nignore_thresh=.7\n"
        "truth_thresh=1\nrandom=1\n"
    )


V3 = "\n".join(
    [
        NET,
        convolution(8, 3, stride=2),  # 0
        convolution(8, 3, groups=4),  # 1
        convolution(8, 1, activation="linear"),  # 2
        "[shortcut]\nfrom=-3\nactivation=linear\n",  # 3
        "[maxpool]\nsize=2\nstride=2\n",  # 4
        "[maxpool]\nsize=2\nstride=1\n",  # 5
        "[dropout]\nprobability=.2\n",  # 6
        convolution(14, 1, norm=False, activation="linear"),  # 7, the predictor
        yolo("2,3"),  # 8
        "[route]\nlayers=-3\n",  # 9
        "[upsample]\nstride=2\n",  # 10
        "[route]\nlayers=-1,3\n",  # 11
        convolution(14, 1, norm=False, activation="linear"),  # 12
        yolo("0,1"),  # 13
    ]
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def made(folder: Path, text: str) -> Detector:
    recipe = recipe_of(written(folder / "net.cfg", text), names=["cat", "dog"])
    target = written(folder / "net.yaml", yaml.safe_dump({"api": 1, "detectors": {"mine": recipe}}))
    return build(str(target), weights=None).eval()


class Numbers:
    """Random numbers in the order of a .weights file, remembered by the layer that reads them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.all: list[np.ndarray[Any, Any]] = []

    def take(self, *shape: int, positive: bool = False) -> Tensor:
        values = self.rng.normal(0, 0.5, shape).astype(np.float32)
        if positive:
            values = np.abs(values) + np.float32(0.5)
        self.all.append(values)
        return torch.from_numpy(values)

    def convolution(self, inputs: int, filters: int, size: int, *, norm: bool = True, groups: int = 1) -> Any:
        bias = self.take(filters)
        scale, mean, variance = (
            (self.take(filters), self.take(filters), self.take(filters, positive=True)) if norm else (None, None, None)
        )
        return bias, scale, mean, variance, self.take(filters, inputs // groups, size, size), groups

    def save(self, path: Path, header: bytes, *, less: int = 0, more: int = 0) -> Path:
        data = np.concatenate([values.ravel() for values in self.all])
        data = np.concatenate([data[: len(data) - less], np.zeros(more, np.float32)])
        path.write_bytes(header + data.astype("<f4").tobytes())
        return path


def run(x: Tensor, layer: Any, *, stride: int = 1, leaky: bool = True) -> Tensor:
    """A convolution as darknet computes it, from the numbers alone."""
    bias, scale, mean, variance, weight, groups = layer
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
    if scale is not None:
        per_channel = [tensor.view(1, -1, 1, 1) for tensor in (mean, variance, scale)]
        x = (x - per_channel[0]) / (per_channel[1].sqrt() + 1e-6) * per_channel[2]
    x = x + bias.view(1, -1, 1, 1)
    return torch.where(x > 0, x, 0.1 * x) if leaky else x


HEADERS = {
    "0.1, 32-bit count": struct.pack("<iiii", 0, 1, 0, 6400),
    "0.2, 64-bit count": struct.pack("<iiiq", 0, 2, 0, 1 << 40),
    "0.2.5": struct.pack("<iiiq", 0, 2, 5, 32013312),
    "1.0": struct.pack("<iiiq", 1, 0, 0, 5),
}


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[net]", "[nit]"), "net.cfg: a darknet cfg begins with [net]"),
        (("[dropout]", "[lstm]"), "net.cfg:49: layer 6 [lstm]: this layer is not supported; supported "
         "are convolutional, maxpool, avgpool, upsample, reorg, route, shortcut, "
         "dropout, local, connected, detection, region, yolo"),
        (("size=2\nstride=1", "size two"), "net.cfg:46: expected [section] or key=value, found: size two"),
        (("groups=4", "grups=4"), 'net.cfg:26: layer 1 [convolutional]: the option grups=4 is not '
         'known; did you mean "groups"?'),
        (("activation=leaky", "activation=elu"), "net.cfg:18: layer 0 [convolutional]: activation=elu is not "
         "supported; supported are leaky, linear, relu, relu6, logistic, mish, swish"),
        (("from=-3", "from=-3,-2"), "net.cfg:38: layer 3 [shortcut]: from names 2 layers; supported is one"),
        (("from=-3", "from=-9"), "net.cfg:38: layer 3 [shortcut]: from=-9 is no layer before it"),
        (("layers=-3", "layers=-1"), "net.cfg:70: layer 9 [route]: layers=-1 is a detection head; its output cannot "
         "be read"),
        (("[route]\nlayers=-3\n", ""), "net.cfg:70: layer 9 [upsample]: it reads the output of a detection head; only "
         "a route may follow one"),
        (("filters=14", "filters=21"), "net.cfg:53: layer 7 [convolutional]: before [yolo] it must have filters=14 "
         "(anchors x (5 + classes)), stride 1, and keep the size of the map"),
        (("filters=8", "filters=eight"), "net.cfg:14: layer 0 [convolutional]: filters=eight; expected a whole number, "
         "1 or more"),
        (("filters=8", "filters=²"), "net.cfg:14: layer 0 [convolutional]: filters=²; expected a whole number, "
         "1 or more"),
        (("layers=-3", "layers=1e400"), "net.cfg:70: layer 9 [route]: layers=1e400; expected a number"),
        (("layers=-3", "layers=nan"), "net.cfg:70: layer 9 [route]: layers=nan; expected a number"),
        (("mask=2,3", "mask=2,4"), "net.cfg:60: layer 8 [yolo]: mask names anchors beyond num=4"),
        (("num=4", "num=5"), "net.cfg:61: layer 8 [yolo]: anchors has 8 numbers, num=5 needs twice that"),
    ],
)  # fmt: skip
def test_a_broken_cfg_names_line_and_layer(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = V3.replace(change[0], change[1], 1)
    assert text != V3
    path = written(tmp_path / "net.cfg", text)
    with pytest.raises(RecipeError) as error:
        recipe_of(path)
    assert str(error.value) == f"{tmp_path}/{message}"


def test_a_number_of_thousands_of_digits_is_shortened_and_rejected(tmp_path: Path) -> None:
    path = written(tmp_path / "net.cfg", V3.replace("filters=8", "filters=" + "9" * 5000, 1))
    with pytest.raises(RecipeError) as error:
        recipe_of(path)
    assert str(error.value).startswith(f"{path}:14: layer 0 [convolutional]: filters=9999")
    assert str(error.value).endswith("9999; expected a whole number, 1 or more")
    assert len(str(error.value)) < 1000


def test_numbers_that_no_memory_or_image_holds_are_rejected(tmp_path: Path) -> None:
    many = V3.replace("num=4", "num=999999999").replace("mask=2,3\n", "")
    with pytest.raises(RecipeError, match=r"before \[yolo\] it must have filters=6999999993"):
        recipe_of(written(tmp_path / "many.cfg", many))
    far = NET + convolution(8, 1, stride=999_999_999) * 40 + V3.removeprefix(NET)
    with pytest.raises(RecipeError, match=r"its map has one cell for inf px, more than an image has"):
        recipe_of(written(tmp_path / "far.cfg", far.replace("layers=-1,3", "layers=-1,43")))


def test_class_names_in_another_encoding_are_a_message(tmp_path: Path) -> None:
    (tmp_path / "latin.names").write_bytes("café\nthé\n".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin\.names: class names cannot be read \(it is not UTF-8\)"):
        recipe_of(written(tmp_path / "net.cfg", V3), names=tmp_path / "latin.names")


def test_a_cfg_without_a_head_or_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "net.cfg", NET + convolution(8, 3))
    with pytest.raises(RecipeError) as error:
        recipe_of(path)
    assert str(error.value) == f"{path}: no [detection], [region] or [yolo] layer, so it is no detector"
    with pytest.raises(RecipeError) as error:
        recipe_of(tmp_path / "absent.cfg")
    message = f"{tmp_path}/absent.cfg: the cfg file cannot be read (No such file or directory)"
    assert str(error.value) == message


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return made(tmp_path_factory.mktemp("small"), V3)


SIZE = 8 * 4 + 216 + 8 * 4 + 144 + 8 * 4 + 64 + 14 + 112 + 14 + 224
"""Numbers of V3."""


@pytest.mark.parametrize(
    ("less", "more", "message"),
    [
        (1, 0, f"the file holds {SIZE - 1} numbers, this network has {SIZE}: too few; the file is cut off, or it "
         "belongs to another cfg"),
        (0, 3, f"the file holds {SIZE + 3} numbers, this network has {SIZE}: too many; it belongs to another cfg"),
    ],
)  # fmt: skip
def test_every_number_is_accounted_for(tmp_path: Path, small: Detector, less: int, more: int, message: str) -> None:
    numbers = Numbers()
    numbers.take(SIZE)
    path = numbers.save(tmp_path / "net.weights", HEADERS["0.2.5"], less=less, more=more)
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        convert_weights(small, path, source="darknet")
    assert str(error.value) == message
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "{} is no darknet weights file: 0 bytes, its header alone has 16 or 20"),
        (HEADERS["0.2.5"] + b"123", "{} is cut off: 23 bytes are not a header of 20 and whole numbers of 4; "
         "fetch it again"),
        (b"<!doctype html><html>", "{} is no darknet weights file: it would be of version "
         "1868833084.1887007843.1952981093"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_darknets(tmp_path: Path, small: Detector, data: bytes, message: str) -> None:
    path = tmp_path / "net.weights"
    path.write_bytes(data)
    with pytest.raises(WeightsError) as error:
        convert_weights(small, path, source="darknet")
    assert str(error.value) == message.format(path)


def test_weights_that_do_not_belong_to_a_detector_of_darknets_layers(tmp_path: Path) -> None:
    path = Numbers()
    path.take(10)
    file = path.save(tmp_path / "net.weights", HEADERS["1.0"])
    detector = build("yolov3_mobilenet_v2", weights=None)
    with pytest.raises(DetzooError) as error:
        convert_weights(detector, file, source="darknet")
    assert str(error.value) == (
        "darknet's weights fit detectors of darknet's layers only: backbone type darknet, head yolo_*"
    )


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
