"""Darknet's files that are broken, or another's: one message each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from darknet_files import HEADERS, NET, SIZE, V3, Numbers, convolution, made, written

from detzoo import build, convert_weights
from detzoo.errors import DetzooError, RecipeError, WeightsError
from detzoo.interfaces import Detector
from detzoo_yolo.reader import recipe_of


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
