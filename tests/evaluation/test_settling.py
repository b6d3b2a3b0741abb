"""What would settle a difference: formulas by hand, printed tables, scipy's quantiles, and simulated test sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from detzoo.errors import SettingError
from detzoo.evaluation import evaluate_detections, paired_difference, resample
from detzoo.evaluation.intervals import Support
from detzoo.evaluation.settling import SeedVariance, Variance, smallest, t_quantile

MANY = Support((1_000_000,))


def of_images(deviation: float, units: int) -> Variance:
    """The variance of a mean of ``units`` values, as resamples give it: with n as divisor."""
    return Variance(deviation**2 / units * (units - 1) / units, Support((units,)), units)


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 4.2, 9, 29, 29.9, 30, 200])
@pytest.mark.parametrize("probability", [0.5, 0.8, 0.975, 0.995])
def test_students_t_is_scipys(freedom: float, probability: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-3, abs=1e-9)


def test_the_smallest_number_from_which_something_holds() -> None:
    assert smallest(lambda n: n >= 0, 10) == 0
    assert [smallest(least.__le__, 100) for least in (1, 2, 37, 100)] == [1, 2, 37, 100]
    assert smallest(lambda n: n >= 101, 100) is None


def test_many_images_by_hand() -> None:
    # A deviation of .01: 1.960 of it is the half width, 1.960 + .842 of it are seen in 80 % of the test sets.
    own = Variance(1e-4, MANY, 1_000_000)
    assert own.half_width() == pytest.approx(0.0196, abs=1e-6)
    assert own.detectable() == pytest.approx(0.02802, abs=1e-5)
    assert own.detectable(0.5) == pytest.approx(own.half_width())
    # .014 is half of that: four times as many images, three times as many more.
    assert own.more_units(0.014008) == pytest.approx(3_000_000, rel=1e-3)
    assert own.more_units(-0.014008) == own.more_units(0.014008)
    assert own.more_units(0.03) == 0
    assert own.more_units(0.0) is None
    assert own.more_units(1e-5) is None  # 7.8 million times as many
    assert own.more_seeds(0.014) is None  # nothing is known of seeds


def test_seeds_by_hand() -> None:
    # Two detectors of 3 seeds, each seed's AP with a deviation of .03: 2 x .0009 / 3 = .0006 beside the images' .0001.
    own = Variance(1e-4, MANY, 1000, (SeedVariance(9e-4, 3), SeedVariance(9e-4, 3)))
    assert own.whole == pytest.approx(7e-4, rel=1e-5)
    # Satterthwaite: 7^2 / (3^2 / 2 + 3^2 / 2 + 1^2 / many).
    assert own.freedom == pytest.approx(49 / 9, rel=1e-4)
    assert own.half_width() == pytest.approx(stats.t.ppf(0.975, 49 / 9) * math.sqrt(7e-4), rel=1e-3)
    assert own.more_units(0.05) is None  # however many images: the seeds' part alone is too large
    more = own.more_seeds(0.05)
    assert more is not None
    for seeds, enough in ((more + 3, True), (more + 2, False)):
        part = 9e-4 / seeds
        whole = 1e-4 + 2 * part
        freedom = whole**2 / (2 * part**2 / (seeds - 1))
        assert ((stats.t.ppf(0.975, freedom) + 0.8416) * math.sqrt(whole) <= 0.05) == enough
    assert own.more_seeds(0.02) is None  # .0001 of the images alone hides it


def test_nothing_varies() -> None:
    own = Variance(0.0, Support((50,)), 60)
    assert (own.half_width(), own.detectable(), own.more_units(0.01)) == (0, 0, 0)
    assert own.more_units(0.0) is None  # no difference is ever told from none


@pytest.mark.parametrize(("level", "power"), [(0, 0.8), (1, 0.8), (0.95, 0), (0.95, 1.5)])
def test_shares_that_are_none(level: float, power: float) -> None:
    with pytest.raises(SettingError, match="must be between 0 and 1"):
        of_images(1, 10).detectable(power, level)


@pytest.mark.parametrize("units", [20, 200])
def test_a_difference_that_is_detectable_is_seen_in_80_percent_of_test_sets(units: int) -> None:
    rng = np.random.default_rng(units)
    true = of_images(1.0, units).detectable()
    samples = rng.normal(true, 1.0, (6000, units))
    seen = np.abs(samples.mean(axis=1)) > samples.std(axis=1, ddof=1) * of_images(1.0, units).half_width()
    assert seen.mean() == pytest.approx(0.8, abs=0.02)


def test_as_many_more_images_as_are_asked_settle_it_in_80_percent() -> None:
    rng = np.random.default_rng(0)
    more = of_images(1.0, 40).more_units(0.25)
    assert more is not None
    assert more == pytest.approx((2.8 / 0.25) ** 2 - 40, abs=3)  # 125 images
    samples = rng.normal(0.25, 1.0, (6000, 40 + more))
    widths = samples.std(axis=1, ddof=1) * of_images(1.0, 40 + more).half_width()
    assert (np.abs(samples.mean(axis=1)) > widths).mean() == pytest.approx(0.8, abs=0.02)


def test_of_two_evaluations() -> None:
    box = [0.0, 0.0, 50.0, 50.0]
    truth = {
        "images": [{"id": n, "height": 90, "width": 90} for n in range(100)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": box, "area": 2500.0, "iscrowd": 0}
            for n in range(100)
        ],
    }
    rows = [{"image_id": n, "category_id": 1, "bbox": box, "score": 0.9} for n in range(100)]
    # One finds 0 to 59, the other 6 to 61: six images for it and two against it, four more of 100.
    one, other = resample([evaluate_detections(rows[:60], truth), evaluate_detections(rows[6:62], truth)])
    pair = paired_difference(one, other, "AR100")
    assert pair.difference == pytest.approx(0.04)
    assert not pair.settled
    deviation = math.sqrt(0.08 - 0.04**2)  # of 1, 0 and -1 over images
    assert pair.detectable == pytest.approx((1.984 + 0.842) * deviation / 10, rel=0.05)
    assert pair.more_images is not None
    assert 100 + pair.more_images == pytest.approx((2.80 * deviation / 0.04) ** 2, rel=0.1)  # 384
    same = paired_difference(one, one, "AR100")
    assert (same.difference, same.detectable, same.more_images) == (0, 0, None)
