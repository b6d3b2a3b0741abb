"""Normalisation belongs to weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from detzoo.errors import RecipeError, WeightsError
from detzoo.interfaces import Normalisation
from detzoo.weights.normalisation import IMAGENET, NORMALISATION_KEY, check_normalisation, recorded_normalisation

VGG_DETECTION = Normalisation((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255))


def test_weights_of_unknown_normalisation_fit_anything() -> None:
    check_normalisation(None, channels="bgr", mean=(0, 0, 0), std=(1, 1, 1), pixel_range=255, weights="w")


def test_the_same_normalisation_in_other_units_fits() -> None:
    check_normalisation(
        IMAGENET, channels="rgb", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), pixel_range=1, weights="w"
    )
    check_normalisation(
        IMAGENET,
        channels="rgb",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        pixel_range=255,
        weights="w",
    )
    check_normalisation(
        VGG_DETECTION, channels="rgb", mean=(123, 117, 104), std=(1, 1, 1), pixel_range=255, weights="w"
    )


def test_another_normalisation_is_refused_with_both() -> None:
    with pytest.raises(RecipeError) as error:
        check_normalisation(
            IMAGENET, channels="bgr", mean=(104, 117, 123), std=(1, 1, 1), pixel_range=255, weights="vgg16.pth"
        )
    assert str(error.value) == (
        "input: normalisation does not fit the backbone's weights (vgg16.pth).\n"
        "  found:    channels: bgr, mean: [104, 117, 123], std: [1, 1, 1], pixel_range: 255\n"
        "  expected: channels: rgb, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], pixel_range: 1\n"
        "  Write the expected values under input, or set backbone.weights to null to train from scratch."
    )


def test_channel_order_alone_is_enough() -> None:
    with pytest.raises(RecipeError, match="does not fit"):
        check_normalisation(
            IMAGENET, channels="bgr", mean=(0.406, 0.456, 0.485), std=(0.225, 0.224, 0.229), pixel_range=1, weights="w"
        )
    with pytest.raises(RecipeError, match="does not fit"):
        check_normalisation(
            IMAGENET, channels="rgb", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), pixel_range=1, weights="w"
        )


GOOD = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "channels": "bgr", "pixel_range": 1}
ALTERED = {
    "no JSON": "{",
    "a list": "[]",
    "cut": '{"mean": 1}',
    "deep": "[" * 100_000,
    "a number of 5,000 digits": "1" * 5000,
    "two means": json.dumps(GOOD | {"mean": [0.5, 0.5]}),
    "not finite": json.dumps(GOOD | {"mean": [0.5, float("nan"), 0.5]}),
    "a deviation of 0": json.dumps(GOOD | {"std": [0.0, 1.0, 1.0]}),
    "text": json.dumps(GOOD | {"std": "111"}),
    "another order": json.dumps(GOOD | {"channels": ["rgb"]}),
    "a truth value": json.dumps(GOOD | {"pixel_range": True}),
}


@pytest.mark.parametrize("case", ALTERED)
def test_altered_metadata_are_told_with_the_file(case: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": np.zeros(1, np.float32)}, path, metadata={NORMALISATION_KEY: ALTERED[case]})
    with pytest.raises(WeightsError, match=r"w\.safetensors: the metadata 'normalisation' were altered or damaged"):
        recorded_normalisation(path)


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": np.zeros(1, np.float32)}, path)
    assert recorded_normalisation(path) is None
    save_file({"x": np.zeros(1, np.float32)}, path, metadata={NORMALISATION_KEY: json.dumps(GOOD)})
    assert recorded_normalisation(path) == Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bgr", 1)
