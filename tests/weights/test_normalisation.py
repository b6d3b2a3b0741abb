"""Normalisation belongs to weights."""

import pytest

from detzoo.errors import RecipeError
from detzoo.interfaces import Normalisation
from detzoo.weights.normalisation import IMAGENET, check_normalisation

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
