"""Confidence intervals and paired differences: against formulas of means, printed tables of Student's t, by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from detzoo.comparison.evaluate_one import report
from detzoo.errors import DataError, SettingError
from detzoo.evaluation import Evaluation, PairedDifference, evaluate_detections, paired_difference, resample
from detzoo.evaluation.intervals import Support, interval_of, students_t

QUANTILES = np.array([NormalDist().inv_cdf((n + 0.5) / 20_000) for n in range(20_000)])


def evaluation(found: dict[int, list[float]], images: int, *, side: float = 50.0, rare: int = 0) -> Evaluation:
    """One cat in each image from 1, and a dog in the first ``rare``; ``found`` has the scores of detections on cats."""
    box = [0.0, 0.0, side, side]

    def row(image: int, category: int, **more: Any) -> dict[str, Any]:
        return {"image_id": image, "category_id": category, "bbox": box, **more}

    cats = [row(n, 1, id=n, area=side**2, iscrowd=0) for n in range(1, images + 1)]
    dogs = [row(n, 2, id=images + n, area=side**2, iscrowd=0) for n in range(1, rare + 1)]
    truth = {
        "images": [{"id": n, "height": 90, "width": 90} for n in range(1, images + 1)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": cats + dogs,
    }
    return evaluate_detections([row(image, 1, score=s) for image, scores in found.items() for s in scores], truth)


def difference(
    one: Evaluation, other: Evaluation, metric: str = "AP", of_class: str | None = None, **how: Any
) -> PairedDifference:
    """Of two evaluations of the same images."""
    first, second = resample([one, other], **how)
    return paired_difference(first, second, metric, of_class)


def test_no_objects_and_no_resamples() -> None:
    assert not Support(()).is_enough
    assert interval_of(np.full(4, np.nan), Support((40,)), 0.95) is None
    nothing = evaluation({}, 0)
    assert nothing.interval("AP") is None
    assert nothing.resampled.too_few("AP") == "too few: objects in 0 images; 10 are needed"


@pytest.mark.parametrize(("freedom", "of_95", "of_90"), [(9, 2.262, 1.833), (19, 2.093, 1.729), (30, 2.042, 1.697)])
def test_students_t_is_that_of_printed_tables(freedom: int, of_95: float, of_90: float) -> None:
    assert students_t(NormalDist().inv_cdf(0.975), freedom) == pytest.approx(of_95, abs=6e-4)
    assert students_t(NormalDist().inv_cdf(0.95), freedom) == pytest.approx(of_90, abs=6e-4)


def test_degrees_of_freedom() -> None:
    assert Support((12,)).freedom == pytest.approx(11)
    assert Support((12, 12)).freedom == pytest.approx(22)  # of a mean of two equal classes: those of both
    # Variances 1/100 and 1/5: of their sum .21 the rare class has nearly all, (.21)^2 / (.01^2 / 99 + .2^2 / 4).
    assert Support((100, 5)).freedom == pytest.approx(0.0441 / (0.0001 / 99 + 0.04 / 4))
    assert [Support((units,)).is_enough for units in (9, 10)] == [False, True]
    assert Support((3, *[40] * 80)).is_enough  # one class of many
    assert not Support((3, 40)).is_enough


def test_ends_of_an_interval() -> None:
    many = interval_of(QUANTILES, Support((1_000_000,)), 0.95)
    assert many is not None
    assert [many.low, many.high] == pytest.approx([-1.96, 1.96], abs=0.01)
    few = interval_of(QUANTILES, Support((20,)), 0.95)  # 2.093 deviations, and a variance of 20 / 19
    assert few is not None
    assert [few.low, few.high] == pytest.approx([-2.147, 2.147], abs=0.02)
    with pytest.raises(SettingError, match="level is 95; it must be between 0 and 1"):
        interval_of(QUANTILES, Support((20,)), 95)


def test_the_correction_for_bias() -> None:
    # A number at the 69th percentile of its resamples lies half a deviation high: the ends move by twice that.
    point = NormalDist().inv_cdf(0.6915)
    moved = interval_of(QUANTILES, Support((1_000_000,)), 0.95, point)
    assert moved is not None
    assert [moved.low, moved.high] == pytest.approx([-0.96, 2.96], abs=0.02)
    middle = interval_of(np.repeat([0.0, 1.0, 2.0], 100), Support((50,)), 0.5, 1.0)  # equal ones lie half below
    assert middle is not None
    assert [middle.low, middle.high] == [0.0, 2.0]


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    # One object in each image, found in 60 of 100: AR is a mean of 0 and 1, its deviation sqrt(.6 x .4 / 100).
    one = evaluation({n: [0.9] for n in range(1, 61)}, 100)
    values = one.resampled.resamples("AR100")
    assert np.std(values) == pytest.approx(math.sqrt(0.24 / 100), rel=0.04)
    interval = one.interval("AR100", "cat")
    assert interval is not None
    assert [interval.low, interval.high] == pytest.approx([0.6 - 0.098, 0.6 + 0.098], abs=0.012)


def test_equal_images_have_an_interval_of_no_width() -> None:
    interval = evaluation({n: [0.9, 0.3] for n in range(1, 21)}, 20).interval("AP")
    assert interval is not None
    assert interval.low == interval.high == pytest.approx(1)


def test_too_few() -> None:
    few = evaluation({1: [0.9]}, 40, rare=4)
    assert few.interval("AP", "cat") is not None
    assert few.interval("AP", "dog") is None
    assert few.resampled.too_few("AP", "dog") == "too few: objects in 4 images; 10 are needed"
    assert few.interval("AP") is None  # half of it is the dogs'
    assert few.resampled.too_few("AP") == "too few: objects of one class in 4 images; 10 are needed"
    assert few.interval("APl", "cat") is None  # all are of medium size
    assert few.interval("APm", "cat") is not None
    nineteen = evaluation({1: [0.9]}, 19)
    assert nineteen.interval("AP75", "cat") is not None
    assert nineteen.resampled.too_few("AP50", "cat") == "too few: objects in 19 images; 20 are needed"


def test_the_difference_of_two_detectors() -> None:
    # Found in 60 and in 52 of 100 images, 50 of them the same: per image the difference is 1 in 10, -1 in 2.
    one = evaluation({n: [0.9] for n in range(1, 61)}, 100)
    other = evaluation({n: [0.9] for n in [*range(1, 51), 61, 62]}, 100)
    pair = difference(one, other, "AR100")
    deviation = math.sqrt((12 - 8**2 / 100) / 100**2)
    assert pair.difference == pytest.approx(0.08)
    assert pair.deviation == pytest.approx(deviation, rel=0.05)
    assert pair.resolvable == pytest.approx(1.994 * deviation, rel=0.05)  # t of 99 times sqrt(100 / 99)
    assert pair.settled
    assert pair.better > 0.98
    back = difference(other, one, "AR100")
    assert back.interval is not None
    assert pair.interval is not None
    assert [-back.interval.high, -back.interval.low] == pytest.approx([pair.interval.low, pair.interval.high])
    assert back.better == pytest.approx(1 - pair.better)


def test_a_detector_does_not_differ_from_itself() -> None:
    one = evaluation({n: [n / 50] for n in range(1, 30)}, 40)
    pair = difference(one, one, of_class="cat", resamples=100)
    assert (pair.difference, pair.better, pair.deviation, pair.resolvable) == (0, 0.5, 0, 0)
    assert not pair.settled


def test_groups_of_images_make_fewer_units() -> None:
    one = evaluation({n: [0.9] for n in range(1, 21)}, 40)
    (grouped,) = resample([one], groups={n: (n - 1) // 4 for n in range(1, 41)}, resamples=50)
    assert grouped.interval("AP", "cat") is not None
    (coarse,) = resample([one], groups={n: n // 20 for n in range(1, 41)}, resamples=50)
    assert coarse.too_few("AP", "cat") == "too few: objects in 3 groups of images; 10 are needed"


def test_four_equal_frames_of_a_video_are_no_four_images() -> None:
    one = evaluation({n: [0.9] for n in range(1, 41)}, 80)
    images, (videos,) = one.resampled, resample([one], groups={n: (n - 1) // 4 for n in range(1, 81)})
    ratio = np.std(videos.resamples("AR100")) / np.std(images.resamples("AR100"))
    assert ratio == pytest.approx(2, rel=0.07)


def test_what_cannot_be_compared() -> None:
    one, other = evaluation({1: [0.5]}, 12), evaluation({1: [0.5]}, 12, side=60, rare=2)
    first, second = resample([one, other], resamples=5)
    with pytest.raises(DataError, match="different ground truth"):
        paired_difference(first, second)
    with pytest.raises(DataError, match="not resampled alike"):
        paired_difference(first, resample([one], resamples=6)[0])
    with pytest.raises(SettingError, match='unknown metric "AP95"'):
        first.interval("AP95")
    with pytest.raises(SettingError, match='unknown class "cow"'):
        first.interval("AP", "cow")
    with pytest.raises(SettingError, match='unknown metric "detections"'):
        first.interval("detections", "cat")


def test_files_and_print_out(tmp_path: Path) -> None:
    plain = evaluation({n: [0.9] for n in range(1, 31)}, 60, rare=2)
    assert "intervals" not in plain.as_dict()
    done = plain.with_intervals()
    text = report(done, tmp_path / "out", curves=False, width=400)
    kept = json.loads((tmp_path / "out" / "results.json").read_text())["intervals"]
    cat = kept["per_class"]["cat"]["AP"]
    interval = plain.interval("AP", "cat")
    assert interval is not None
    assert cat == {"low": interval.low, "high": interval.high}
    assert kept["per_class"]["dog"]["AP"] == {"too_few": "too few: objects in 2 images; 10 are needed"}
    assert (kept["level"], kept["drawn"], kept["number"], kept["resamples"]) == (0.95, "images", 60, 2000)
    assert "APs" not in kept["metrics"]  # no number, no interval
    ap = 100 * plain.per_class["cat"]["AP"]
    assert f"{ap:.1f} [{100 * cat['low']:.1f}, {100 * cat['high']:.1f}]" in text
    assert "0.0 [too few]" in text
    assert "95 % confidence interval; 2000 resamples of 60 images; too few: " in text
    assert report(replace(done, intervals=None), None, width=400).count("[") == 0
