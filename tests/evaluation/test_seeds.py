"""Several seeds of one recipe: closed forms of a linear statistic, and how often intervals cover what they should."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from detzoo.errors import DataError, SettingError
from detzoo.evaluation import Evaluation, evaluate_detections, over_seeds, resample, seeded_difference
from detzoo.evaluation.intervals import Support
from detzoo.evaluation.resampled_numbers import Resampled
from detzoo.evaluation.seeds import SeedValues
from detzoo.evaluation.settling import Variance

BOX = [0.0, 0.0, 50.0, 50.0]


def training(found: Any) -> Evaluation:
    """One object in each image, found where ``found`` [n] says so: AR is the share of images, a linear statistic."""
    truth: dict[str, Any] = {
        "images": [{"id": n, "height": 90, "width": 90} for n in range(len(found))],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": BOX, "area": 2500.0, "iscrowd": 0}
            for n in range(len(found))
        ],
    }
    rows = [{"image_id": n, "category_id": 1, "bbox": BOX, "score": 0.9} for n in np.flatnonzero(found).tolist()]
    return evaluate_detections(rows, truth)


def table(rng: np.random.Generator, seeds: int, images: int, mean: float = 0.6) -> Any:
    """Which images [k,n] are found: some are hard for all seeds, some seeds are better than others."""
    hard, good = rng.normal(0, 0.15, images), rng.normal(0, 0.08, (seeds, 1))
    return rng.random((seeds, images)) < np.clip(mean + hard + good, 0, 1)


def resamples(found: Any) -> list[Resampled]:
    return resample([training(one) for one in found])


def test_nothing_and_one_seed() -> None:
    with pytest.raises(DataError, match="no evaluation of any seed"):
        over_seeds([])
    (one,) = resamples(np.arange(60)[None] % 3 > 0)
    alone = over_seeds([one], "AR100")
    assert alone.by_seed == (alone.number,)
    assert math.isnan(alone.spread)
    assert alone.interval == one.interval("AR100")
    assert alone.variance.more_seeds(0.01) is None
    with pytest.raises(DataError, match="one seed of either; paired_difference"):
        seeded_difference([one], [one])


def test_the_variance_of_a_share_is_the_closed_form() -> None:
    # The number is the mean over seeds and images of 0 and 1. Resampling images: the variance over images of their mean
    # over seeds, over n. Seeds: the variance of their shares with k - 1 as divisor, over k.
    found = table(np.random.default_rng(1), 4, 200)
    own = over_seeds(resamples(found), "AR100")
    shares = found.mean(axis=1)
    assert own.by_seed == pytest.approx(tuple(shares))
    assert own.number == pytest.approx(found.mean())
    assert own.spread == pytest.approx(np.std(shares, ddof=1))
    of_images = found.mean(axis=0).var(ddof=1) / 200
    of_seeds = shares.var(ddof=1) / 4
    assert own.variance.whole == pytest.approx(of_images + of_seeds, rel=0.05)
    freedom = (of_images + of_seeds) ** 2 / (of_images**2 / 199 + of_seeds**2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(of_images + of_seeds)
    assert own.interval is not None
    assert [own.interval.low, own.interval.high] == pytest.approx([own.number - half, own.number + half], abs=0.005)


def test_two_level_resamples_have_that_variance() -> None:
    found = table(np.random.default_rng(2), 3, 150)
    values = np.stack([one.resamples("AR100") for one in resamples(found)])
    own = SeedValues(tuple(found.mean(axis=1)), values)
    whole = found.mean(axis=0).var() / 150 + found.mean(axis=1).var(ddof=1) / 3
    drawn = own.two_level(0)
    assert drawn.var() == pytest.approx(whole, rel=0.1)
    assert drawn.mean() == pytest.approx(found.mean(), abs=0.003)
    assert np.corrcoef(drawn - own.by_resample, own.two_level(1) - own.by_resample)[0, 1] == pytest.approx(0, abs=0.1)


def test_a_difference_of_recipes() -> None:
    rng = np.random.default_rng(3)
    found = [table(rng, 3, 120, 0.6), table(rng, 2, 120, 0.4)]
    all_of_them = resamples(np.concatenate(found))
    pair = seeded_difference(all_of_them[:3], all_of_them[3:], "AR100")
    one, other = found
    assert pair.difference == pytest.approx(one.mean() - other.mean())
    of_images = (one.mean(axis=0) - other.mean(axis=0)).var(ddof=1) / 120  # the same images for both
    of_seeds = one.mean(axis=1).var(ddof=1) / 3 + other.mean(axis=1).var(ddof=1) / 2
    assert pair.deviation == pytest.approx(math.sqrt(of_images + of_seeds), rel=0.05)
    assert 0.5 < pair.better < 1
    swapped = seeded_difference(all_of_them[3:], all_of_them[:3], "AR100")
    assert swapped.difference == -pair.difference
    assert swapped.better == pytest.approx(1 - pair.better, abs=0.05)
    assert pair.interval is not None
    assert swapped.interval is not None
    assert (swapped.interval.low, swapped.interval.high) == pytest.approx((-pair.interval.high, -pair.interval.low))


def test_equal_seeds_add_nothing_and_equal_recipes_are_not_settled() -> None:
    found = np.arange(100) % 4 > 0
    same = resamples(np.stack([found] * 6))
    pair = seeded_difference(same[:3], same[3:], "AR100")
    assert (pair.difference, pair.better, pair.deviation, pair.settled) == (0, 0.5, 0, False)
    assert (pair.more_images, pair.more_seeds) == (None, None)
    own = over_seeds(same[:3], "AR100")
    assert own.variance.whole == pytest.approx(0.75 * 0.25 / 99, rel=0.1)


def test_what_cannot_be_compared() -> None:
    one, other = training(np.ones(30)), training(np.ones(31))
    with pytest.raises(DataError, match="not resampled alike"):
        over_seeds([*resample([one]), *resample([other])])
    with pytest.raises(SettingError, match="APs has no value"):
        over_seeds(resample([one, one]), "APs")
    few = resamples(np.ones((4, 5)))
    assert over_seeds(few[:2], "AR100").interval is None
    assert seeded_difference(few[:2], few[2:], "AR100").variance is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_cover_the_recipe_in_95_percent(seeds: int) -> None:
    """Of two equal recipes: images vary for all seeds alike, seeds for all images, and both together."""
    rng = np.random.default_rng(seeds)
    covered, images = [], 60
    for _ in range(1500):
        of_images = rng.normal(0, 0.3, (2, 1, images)) + rng.normal(0, 0.3, images)
        cells = of_images + rng.normal(0, 0.05, (2, seeds, 1)) + rng.normal(0, 0.3, (2, seeds, images))
        whole = [SeedValues(tuple(own.mean(axis=1)), own.mean(axis=1)[:, None]) for own in cells]
        gap = cells[0].mean(axis=0) - cells[1].mean(axis=0)
        variance_of_seeds = (*whole[0].seed_variance, *whole[1].seed_variance)
        variance = Variance(gap.var() / images, Support((images,)), images, variance_of_seeds)
        covered.append(abs(whole[0].number - whole[1].number) <= variance.half_width())
    assert 0.94 <= np.mean(covered) <= 0.995
