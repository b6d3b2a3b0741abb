"""AP over the number of training images: the fit, its interval, and what is not said."""

from __future__ import annotations

import numpy as np
import pytest

from detzoo.evaluation.intervals import Support
from detzoo.evaluation.power_law import CurvePoint, Gain, LearningCurve, fit_power_law, learning_curve
from detzoo.evaluation.seeds import SeedValues

MANY = Support((200,))
IMAGES = (60, 180, 600)


def point(images: int, numbers: list[float], noise: float = 0.0, draws: int = 200) -> CurvePoint:
    """Seeds with those APs; resamples of the test images lie around them by the same noise at every point."""
    shared = np.random.default_rng(5).standard_normal(draws) * noise
    return CurvePoint(images, SeedValues(tuple(numbers), np.array(numbers)[:, None] + shared[None]))


def law(n: float, a: float = 0.6, b: float = 1.5, c: float = 0.4) -> float:
    return a - b * float(n**-c)


def test_a_power_law_without_noise_is_found_again() -> None:
    images = [50, 100, 200, 400, 800]
    found = fit_power_law(images, np.array([[law(n) for n in images], [law(n, 0.9, 2.0, 0.7) for n in images]]))
    assert found.c == pytest.approx([0.4, 0.7], rel=0.02)  # the grid's step
    assert found.a == pytest.approx([0.6, 0.9], abs=0.005)
    assert found.at([1600, 3200]) == pytest.approx(
        np.array([[law(1600), law(3200)], [law(1600, 0.9, 2.0, 0.7), law(3200, 0.9, 2.0, 0.7)]]), abs=0.001
    )


def test_three_points_are_met() -> None:
    """With c = 1 by hand: n = 1, 2, 4 and a = 1, b = .8 give .2, .6, .8; the next is .9."""
    found = fit_power_law([1, 2, 4], np.array([[0.2, 0.6, 0.8]]))
    assert found.at([1, 2, 4, 8])[0] == pytest.approx([0.2, 0.6, 0.8, 0.9], abs=0.005)


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match=r"a power law needs 3 different numbers of images, found \[1, 2\]"):
        fit_power_law([1, 2, 2], np.array([[0.1, 0.2, 0.3]]))


def test_no_prediction_is_above_1() -> None:
    found = fit_power_law([10, 20, 40], np.array([[0.2, 0.5, 0.8]]))  # a logarithm: .3 for every doubling
    assert found.at([10**6])[0, 0] == 1.0


def why(points: list[CurvePoint], support: Support = MANY) -> str:
    gain = learning_curve(points, support).gain(600)
    assert gain.words() == f"what 600 more images would give cannot be said from these points: {gain.why}"
    return gain.why


def test_what_cannot_be_said() -> None:
    curve = [point(n, [law(n) - 0.002, law(n) + 0.002], 0.002) for n in IMAGES]
    assert learning_curve(curve, MANY).gain(600).why == ""
    assert why(curve[:2]) == "a power law needs 3 numbers of images"
    assert why([curve[0], curve[0], curve[2]]) == "a power law needs 3 numbers of images"
    assert why([point(n, [law(n)], 0.002) for n in IMAGES]) == (
        "one seed does not tell how much of the curve is luck; train several"
    )
    assert why(curve, Support((3,))) == "too few test images have objects of a class"
    flat = [point(n, [0.5 + 0.01 * k, 0.49], 0.002) for k, n in enumerate(IMAGES)]
    assert why(flat) == "AP at 600 images is not told from AP at 60"
    full = [point(n, [ap - 0.01, ap + 0.01]) for n, ap in zip(IMAGES, (0.3, 0.5, 0.505), strict=True)]
    assert why(full).endswith("is more uncertain than large")


def test_points_of_any_order_and_the_words() -> None:
    points = [point(n, [law(n) - 0.002, law(n) + 0.002], 0.002) for n in (600, 60, 180)]
    curve = learning_curve(points, MANY)
    assert [one.images for one in curve.points] == list(IMAGES)
    gain = curve.gain(600)
    assert gain.expected == pytest.approx(law(1200) - law(600), abs=0.002)
    assert gain.interval is not None
    assert gain.interval.low < law(1200) - law(600) < gain.interval.high
    low, high = 100 * gain.interval.low, 100 * gain.interval.high
    assert gain.words() == f"600 more images are expected to give +2.8 AP ({low:.1f} to {high:.1f})"
    middle, below, above = curve.band([60, 600, 1200])
    assert (below < middle).all()
    assert (middle < above).all()
    assert above[2] - below[2] > above[1] - below[1]  # less is known beyond the points


def test_a_curve_that_falls_is_seen_to_fall() -> None:
    gain = learning_curve([point(n, [1 - law(n) - 0.002, 1 - law(n) + 0.002]) for n in IMAGES], MANY).gain(600)
    assert gain.expected is not None
    assert gain.expected < 0
    assert "-2.8 AP" in gain.words()


def test_of_nothing() -> None:
    assert Gain(5).words().startswith("what 5 more images would give cannot be said")
    assert learning_curve([], MANY) == LearningCurve((), why="a power law needs 3 numbers of images")


@pytest.mark.slow
@pytest.mark.parametrize("images", [(60, 180, 600), (60, 120, 300, 600)])
@pytest.mark.parametrize(("a", "b", "c"), [(0.6, 1.5, 0.4), (0.5, 2.0, 0.7), (0.8, 1.2, 0.2)])
def test_the_interval_covers_what_more_images_really_give(
    images: tuple[int, ...], a: float, b: float, c: float
) -> None:
    """Three seeds that spread by .8 AP, test images by 1.2 AP, nine tenths of it alike at every point."""
    rng, truth = np.random.default_rng(0), law(1200, a, b, c) - law(600, a, b, c)
    shape = 0.012**2 * (0.9 + 0.1 * np.eye(len(images)))
    covered = 0
    for _ in range(300):
        of_images = rng.multivariate_normal(np.zeros(len(images)), shape)
        drawn = rng.multivariate_normal(np.zeros(len(images)), shape, 400)
        points = []
        for place, n in enumerate(images):
            numbers = law(n, a, b, c) + of_images[place] + 0.008 * rng.standard_normal(3)
            points.append(CurvePoint(n, SeedValues(tuple(numbers), numbers[:, None] + drawn[None, :, place])))
        interval = learning_curve(points, MANY).gain(600).interval
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert 0.91 <= covered / 300 <= 0.98
