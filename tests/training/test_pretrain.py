"""``detzoo pretrain``: data, resuming, and weights that a recipe takes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from detzoo.builder import build, build_component
from detzoo.data.class_folders import read_class_folders
from detzoo.errors import DataError, RecipeError, TrainingError
from detzoo.interfaces import Normalisation
from detzoo.runtime.drawing import write_image
from detzoo.runtime.interrupts import Interrupted
from detzoo.training.class_batches import normalised
from detzoo.training.classifier import Classifier
from detzoo.training.pretraining import Pretrained, pretrain
from detzoo.training.pretraining_plan import load_plan
from detzoo.weights.backbone import load_backbone_weights
from detzoo.weights.checkpoint import load_checkpoint
from detzoo.weights.normalisation import CAFFE, IMAGENET

LAYOUT = (
    "write FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg, or FOLDER/CLASS/*.jpg, of which a part is kept for "
    "validation"
)
SMALL = ("size=32", "backbone.width=0.25", "optimizer.lr=0.1", "crop=[0.6,1]")


def class_set(folder: Path, count: int = 8, names: tuple[str, ...] = ("bars", "disc", "empty")) -> Path:
    """Images of three kinds that are told apart at a glance."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([number, len(name)])
            image = rng.integers(0, 60, (36, 40, 3), np.uint8)
            if name == "bars":
                image[::4] = 220
            if name == "disc":
                cv2.circle(image, (int(rng.integers(14, 26)), 18), 10, (250, 250, 250), -1)
            write_image(folder / name / f"{number}.png", image)
    return folder


def learn(data: Path, out: Path, **options: Any) -> Pretrained:
    given: dict[str, Any] = {"epochs": 2, "batch": 6, "device": "cpu", "workers": 0, "progress": False}
    return pretrain("mobilenet_v2", data, out, overrides=SMALL, **{**given, **options})


# ------------------------------------------------------------------------------------------------ folders of classes


def problem(folder: Path) -> str:
    with pytest.raises(DataError) as raised:
        read_class_folders(folder)
    return str(raised.value)


def test_what_is_no_folder_of_classes(tmp_path: Path) -> None:
    assert problem(tmp_path) == f"{tmp_path}: no class folders with images: {LAYOUT}"
    nowhere, file = tmp_path / "nowhere", tmp_path / "file"
    learns = "`detzoo pretrain` learns from a folder of classes"
    assert problem(nowhere) == f"{nowhere}: no such folder; {learns}: {LAYOUT}"
    file.touch()
    assert problem(file) == f"{file} is a file; {learns}: {LAYOUT}"
    one = class_set(tmp_path / "one", 1, ("disc",))
    assert problem(one) == f"{one}: a single class (disc): a classifier needs at least two; {LAYOUT}"
    (one / "nothing").mkdir()
    assert problem(one) == f"{one}: no image in nothing: put images there, or remove the folder"


def test_a_data_set_for_detection_is_told(tmp_path: Path) -> None:
    class_set(tmp_path, 1, ("images",))
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_text("thing\n")
    assert problem(tmp_path) == (
        f"{tmp_path} is a dataset for detection (format yolo): `detzoo train` learns from it. `detzoo pretrain` "
        f"learns whole images from a folder of classes: {LAYOUT}"
    )


def test_a_part_is_kept_for_validation_by_seed(tmp_path: Path) -> None:
    class_set(tmp_path, 10)
    found = read_class_folders(tmp_path, val_fraction=0.2, seed=1)
    assert found.classes == ("bars", "disc", "empty")
    assert (len(found.train), len(found.val)) == (24, 6)
    assert [label for _, label in found.val] == [0, 0, 1, 1, 2, 2]
    assert {*found.train, *found.val} == {*read_class_folders(tmp_path, val_fraction=0).train}
    assert found == read_class_folders(tmp_path, val_fraction=0.2, seed=1)
    assert found.val != read_class_folders(tmp_path, val_fraction=0.2, seed=2).val


def test_train_and_val_folders(tmp_path: Path) -> None:
    class_set(tmp_path / "train", 2)
    class_set(tmp_path / "val", 1, ("disc",))
    found = read_class_folders(tmp_path)
    assert (len(found.train), found.val) == (6, ((tmp_path / "val" / "disc" / "0.png", 1),))
    class_set(tmp_path / "val", 1, ("cat",))
    assert problem(tmp_path) == (
        f"{tmp_path / 'val'}: cat is not among the classes that are learnt (bars, disc, empty): remove it, or add it "
        "to the training images"
    )


# ------------------------------------------------------------------------------------------------ the network


def test_settings_are_checked_like_a_recipe() -> None:
    with pytest.raises(RecipeError) as raised:
        load_plan("mobilenet_v2", ["sise=3", "optimizer.lr=-1", "backbone.paddin=torch"])
    assert str(raised.value).splitlines() == [
        "--set optimizer.lr: found -1; expected a number > 0",
        '--set sise: unknown key "sise" of detzoo pretrain; did you mean "size"? allowed: aspect, backbone, batch, '
        "crop, dropout, epochs, flip, label_smoothing, optimizer, schedule, seed, size, val_fraction",
        '--set backbone.paddin: unknown key "paddin" of backbone "mobilenet_v2"; did you mean "padding"? allowed: '
        "freeze, last_conv, levels, norm, norm_eps, norm_momentum, padding, weights, width",
    ]
    _, plan, values = load_plan("mobilenet_v2", ["optimizer.lr=0.5", "size=96"])
    assert (plan.optimizer.lr, plan.optimizer.weight_decay, plan.size) == (0.5, 1e-4, 96)
    assert values["backbone"]["last_conv"] is True


@pytest.mark.parametrize("name", ["zf5", "squeezenet1_1"])
def test_the_classifier_is_the_backbones_own(name: str) -> None:
    classifier = Classifier(build_component("backbone", {"type": name}), 3, dropout=0.5)
    assert classifier(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    published = classifier.published()
    if name == "zf5":
        assert published["fc6.weight"].shape == (4096, 256 * 36)
        assert published["fc7.bias"].shape == (4096,)
    else:
        assert set(published) == set(classifier.backbone.state_dict())


def test_pixels_are_those_that_the_weights_expect() -> None:
    pixels = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    assert normalised(pixels, CAFFE).flatten().tolist() == [30 - 104, 20 - 117, 10 - 123]
    expected = [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225]
    assert normalised(pixels, IMAGENET).flatten().tolist() == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------------------------ runs


def test_a_recipe_starts_from_the_weights(tmp_path: Path) -> None:
    data = class_set(tmp_path / "data")
    done = learn(data, tmp_path / "run")
    weights = tmp_path / "run" / "backbone.safetensors"
    assert str(done).splitlines()[-1] == (
        f"use it in a recipe of this backbone: --set backbone.weights={weights} --set backbone.width=0.25 "
        "--set backbone.padding=torch --set backbone.norm_eps=1e-05"
    )
    for last_conv in (True, False):
        config = {"type": "mobilenet_v2", "width": 0.25, "last_conv": last_conv, "weights": str(weights)}
        backbone = build_component("backbone", config)
        with safe_open(weights, framework="pt") as file:
            for key, value in backbone.state_dict().items():
                assert torch.equal(value, file.get_tensor(key))
            about = json.loads(file.metadata()["about"])
    assert about["classes"] == ["bars", "disc", "empty"]
    loaded = load_backbone_weights(build_component("backbone", {"type": "mobilenet_v2", "width": 0.25}), weights)
    assert loaded.expects == IMAGENET
    assert (tmp_path / "run" / "curve.csv").read_text().splitlines()[0] == "epoch,step,loss,lr,top1,top5,loss_class"


def test_the_recorded_normalisation_has_the_word(tmp_path: Path) -> None:
    from detzoo.training.classifier import save_backbone

    classifier = Classifier(build_component("backbone", {"type": "squeezenet1_1"}), 2, dropout=0)
    other = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    save_backbone(tmp_path / "w.safetensors", classifier, {}, other)
    backbone = build_component("backbone", {"type": "squeezenet1_1"})
    assert load_backbone_weights(backbone, tmp_path / "w.safetensors").expects == other


def test_interrupted_and_resumed_it_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = class_set(tmp_path / "data")
    learn(data, tmp_path / "whole", workers=1)
    forward, calls = Classifier.forward, [0]

    def interrupting(self: Classifier, pixels: Tensor) -> Tensor:
        calls[0] += self.training
        if self.training and calls[0] in (2, 4):
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, pixels)

    monkeypatch.setattr(Classifier, "forward", interrupting)
    for expected in (2, 4):
        with pytest.raises(Interrupted, match=f"stopped after step {expected}; repeat the command"):
            learn(data, tmp_path / "cut", resume=expected > 2)
    learn(data, tmp_path / "cut", resume=True)
    whole, cut = (load_checkpoint(tmp_path / name / "last.safetensors") for name in ("whole", "cut"))
    for part in ("model", "optim", "rng"):
        one, two = getattr(whole, part), getattr(cut, part)
        assert one.keys() == two.keys()
        assert [key for key in one if not torch.equal(one[key].nan_to_num(), two[key].nan_to_num())] == []
    files = [(tmp_path / name / "curve.csv").read_text() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_an_existing_run_is_not_written_over(tmp_path: Path) -> None:
    data = class_set(tmp_path / "data", 3)
    learn(data, tmp_path / "run", epochs=1)
    with pytest.raises(TrainingError) as raised:
        learn(data, tmp_path / "run", epochs=1)
    assert str(raised.value) == (
        f"{tmp_path / 'run'}: already holds a run, at step 1; add --resume to continue, or choose another --out "
        "(nothing was changed)"
    )
    with pytest.raises(TrainingError) as raised:
        learn(data, tmp_path / "run", epochs=3, resume=True)
    assert str(raised.value) == (
        f"{tmp_path / 'run'}: cannot resume, this is another training:\n  run.epochs: 1 in the run, 3 now\n"
        "  run.steps: 1 in the run, 3 now\n"
        "Repeat the command with the same values, or start a new run with another --out."
    )
    with pytest.raises(TrainingError, match="exists and is no run of detzoo; choose another --out"):
        learn(data, data)


def test_broken_images_are_left_out_and_named(tmp_path: Path) -> None:
    data = class_set(tmp_path / "data")
    broken = data / "disc" / "broken.png"
    broken.write_bytes(b"\x89PNG and nothing more")
    done = learn(data, tmp_path / "run", epochs=1, batch=11)  # two steps see every image
    assert f"left out, the first: {broken}" in str(done)
    for path in data.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"none of the 6 images of this step can be read .*: are they images"):
        learn(data, tmp_path / "none", epochs=1)


@pytest.mark.slow
def test_it_learns_and_a_detector_starts_from_it(tmp_path: Path) -> None:
    data = class_set(tmp_path / "data", 40)
    done = pretrain("resnet18", data, tmp_path / "run", overrides=["size=64", "crop=[0.6,1]"], epochs=12, batch=16)
    assert done.summary.best is not None
    assert done.summary.best > 0.8
    weights = str(tmp_path / "run" / "backbone.safetensors")
    overrides = {"backbone": {"type": "resnet18", "levels": ["s8", "s16", "s32"], "weights": weights}}
    build("ssd_mobilenet_v2_fpn", num_classes=3, overrides=overrides, weights="backbone")
