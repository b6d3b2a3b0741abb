"""Numbers under other choices of images: against pycocotools, on data sets in which the drawn images really lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from detzoo.errors import DataError, SettingError
from detzoo.evaluation import resampling
from detzoo.evaluation.resampling import Values, drawn, resampled, unit_numbers, values_of
from detzoo.evaluation.results import Evaluation, evaluate_detections
from detzoo.evaluation.voc_map import VocProtocol
from detzoo.evaluation.weighted_precision import Draws
from tests.evaluation.federated_cases import case as federated_case
from tests.evaluation.generated_cases import case

Truth = dict[str, Any]
Rows = list[dict[str, Any]]


def under(evaluation: Evaluation, times: Any, *, exact: bool = True) -> Values:
    """Its numbers with each image counted so many times."""
    (found,) = values_of([evaluation.matches], Draws(np.asarray(times, dtype=float), exact=exact))
    return found


def numbers(values: Values, at: int = 0) -> dict[str, float]:
    """All of one resample, those of classes as ``class: name``."""
    flat = {name: float(value[at]) for name, value in values.metrics.items()}
    flat |= {f"{own}: {k}": float(v[at]) for own, of_class in values.per_class.items() for k, v in of_class.items()}
    return flat


def counted(evaluation: Evaluation) -> dict[str, float]:
    """The same of pycocotools and VOC."""
    flat = dict(evaluation.metrics)
    for own, of_class in evaluation.per_class.items():
        flat |= {f"{own}: {k}": v for k, v in of_class.items() if k not in {"ground_truths", "detections"}}
    return flat


def square(image: int, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "bbox": [0.0, 0.0, 50.0, 50.0], **more}


def squares(found: dict[int, list[float]], images: int) -> Evaluation:
    """One object in each image from 1; ``found`` has the scores of detections on it."""
    truth = {
        "images": [{"id": n, "height": 90, "width": 90} for n in range(1, images + 1)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [square(n, id=n, area=2500.0, iscrowd=0) for n in range(1, images + 1)],
    }
    return evaluate_detections([square(image, score=s) for image, scores in found.items() for s in scores], truth)


def copied(truth: Truth, found: Rows, times: dict[int, int]) -> tuple[Truth, Rows]:
    """A data set in which each image lies as often as it was drawn, under ids of its own in the same order."""
    ids = {image: [100 * image + copy for copy in range(number)] for image, number in times.items()}

    def rows(of: Any, key: str) -> Iterator[dict[str, Any]]:
        return (row | {key: new} for row in of for new in ids[row[key]])

    more = {"images": list(rows(truth["images"], "id")), "annotations": list(rows(truth["annotations"], "image_id"))}
    return truth | more, list(rows(found, "image_id"))


def test_no_detections_and_no_objects() -> None:
    nothing = squares({}, 3)
    assert under(nothing, np.ones((3, 1))).metrics["AP"].tolist() == [0.0]
    assert under(nothing, np.zeros((3, 1))).metrics["voc10_AP50"].tolist() == pytest.approx([math.nan], nan_ok=True)
    empty: Truth = {"images": [{"id": 1, "height": 9, "width": 9}], "categories": [], "annotations": []}
    assert under(evaluate_detections([], empty), np.ones((1, 2))).per_class == {}
    without_images = evaluate_detections([], empty | {"images": [], "categories": [{"id": 1, "name": "cat"}]})
    (values,) = resampled([without_images.matches], resamples=3)
    assert np.isnan(values.metrics["AP"]).tolist() == [True, True, True]


def test_every_image_once_is_the_evaluation_itself() -> None:
    for seed in range(8):
        truth, found, _ = case(seed)
        for limit, protocol in ((None, None), (150, VocProtocol(recall_steps="float", inclusive=False)))[
            : 1 + seed % 2
        ]:
            evaluation = evaluate_detections(found, truth, max_detections=limit, voc=protocol)
            own = counted(evaluation)
            again = numbers(under(evaluation, np.ones((len(truth["images"]), 1))))
            assert own == pytest.approx({name: again[name] for name in own}, abs=1e-12, rel=0, nan_ok=True), seed


def test_an_image_drawn_twice_counts_as_one_that_lies_twice() -> None:
    looked_at: set[str] = set()
    for seed in range(20):
        truth, found, features = case(seed)
        if features & {
            "tied scores",
            "over 100",
        }:  # among equal scores of one image pycocotools takes the order of the file
            continue
        images = sorted(image["id"] for image in truth["images"])
        draws = np.random.default_rng(seed).integers(0, 4, (len(images), 2))
        draws[0] += draws.sum(axis=0) == 0
        resamples = under(evaluate_detections(found, truth), draws)
        for n, times in enumerate(draws.T):
            more, rows = copied(truth, found, dict(zip(images, times.tolist(), strict=True)))
            own = counted(evaluate_detections(rows, more))
            again = numbers(resamples, n)
            assert own == pytest.approx({name: again[name] for name in own}, abs=1e-12, rel=0, nan_ok=True), seed
        looked_at |= features
    assert looked_at >= {"crowd", "ignore", "empty images", "absent class", "masks"}


def test_lvis_numbers() -> None:
    for seed in range(2):
        truth, found = federated_case(seed)[:2]
        evaluation = evaluate_detections(found, truth)
        own, again = counted(evaluation), numbers(under(evaluation, np.ones((len(truth["images"]), 1))))
        assert own == pytest.approx({name: again[name] for name in own}, abs=1e-12, rel=0, nan_ok=True), seed


def test_a_recall_that_pycocotools_rounds_away() -> None:
    # 7 of 10 found: recalls 0, .01, ... .70 are 71 points, but pycocotools compares with 70 * .01 > .7.
    evaluation = squares({n: [0.9] for n in range(1, 8)}, 10)
    assert evaluation.metrics["AP"] == pytest.approx(70 / 101)
    assert under(evaluation, np.ones((10, 1))).metrics["AP"][0] == pytest.approx(70 / 101)
    # The first image three times: 9 of 12, 75 points and that of 0.
    assert under(evaluation, [[3]] + [[1]] * 9).metrics["AP"][0] == pytest.approx(76 / 101)


def test_float32_is_right_to_six_digits() -> None:
    for seed in (0, 3):
        truth, found, _ = case(seed)
        evaluation = evaluate_detections(found, truth)
        times = np.random.default_rng(seed).integers(0, 4, (len(truth["images"]), 20))
        exact, fast = under(evaluation, times), under(evaluation, times, exact=False)
        for name, values in exact.metrics.items():
            assert fast.metrics[name] == pytest.approx(values, abs=1e-6, nan_ok=True)


def test_more_objects_than_float32_serves() -> None:
    # 20,000 draws of two images: one object of 5,000 is missed.
    evaluation = squares({1: [0.9]}, 2)
    fast = under(evaluation, [[17_499.0, 17_500.0], [7_501.0, 7_500.0]], exact=False).metrics["AP"]
    # 69.996 % and exactly 70 %, which pycocotools misses: 70 points each.
    assert fast == pytest.approx([70 / 101, 70 / 101], rel=1e-12)


def test_the_other_engine_gives_the_same_matches() -> None:
    pytest.importorskip("faster_coco_eval")
    truth, found, _ = case(3)
    times = np.random.default_rng(3).integers(0, 3, (len(truth["images"]), 5))
    slow, fast = (under(evaluate_detections(found, truth, engine=own), times) for own in ("pycocotools", "faster"))
    for name, values in slow.metrics.items():
        assert fast.metrics[name] == pytest.approx(values, nan_ok=True, abs=0)


def test_equal_images_give_equal_numbers() -> None:
    evaluation = squares({n: [0.9, 0.5] for n in range(1, 13)}, 12)
    (values,) = resampled([evaluation.matches], resamples=40)
    for name in ("AP", "AP50", "AR1", "AR100", "voc07_AP50", "voc10_AP50"):
        assert np.ptp(values.metrics[name]) == 0
        assert values.metrics[name][0] == pytest.approx(evaluation.metrics[name], abs=1e-6)


def test_detectors_see_the_same_resamples_and_seeds_change_them() -> None:
    one = squares({n: [n / 20] for n in range(1, 12)}, 20)
    again, other = resampled([one.matches, one.matches], resamples=30)
    assert again.metrics["AP"].tolist() == other.metrics["AP"].tolist()
    (alone,), (moved,) = resampled([one.matches], resamples=30), resampled([one.matches], resamples=30, seed=1)
    assert alone.metrics["AP"].tolist() == again.metrics["AP"].tolist()
    assert alone.metrics["AP"].tolist() != moved.metrics["AP"].tolist()


def test_blocks_draw_what_one_block_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = next(drawn(np.arange(5), 9, 2)).times
    monkeypatch.setattr(resampling, "VALUES_IN_MEMORY", 20)
    blocks = [draws.times for draws in drawn(np.arange(5), 9, 2)]
    assert [block.shape[1] for block in blocks] == [4, 4, 1]
    assert np.concatenate(blocks, axis=1).tolist() == whole.tolist()
    assert set(whole.sum(axis=0)) == {5.0}


def test_groups_are_drawn_as_a_whole() -> None:
    units = unit_numbers([4, 7, 9, 12], {4: "b", 7: "a", 9: "b", 12: "a", 99: "c"})
    assert units.tolist() == [0, 1, 0, 1]
    times = next(drawn(units, 50, 0)).times
    assert times[0].tolist() == times[2].tolist()
    assert times[1].tolist() == times[3].tolist()
    assert set((times[0] + times[1]).tolist()) == {2.0}
    assert len(set(times[0].tolist())) == 3


def test_what_cannot_be_resampled() -> None:
    one, other = squares({1: [0.5]}, 3), squares({1: [0.5]}, 4)
    with pytest.raises(DataError, match="different images cannot be compared: 3 in one, 4 in another"):
        resampled([one.matches, other.matches])
    with pytest.raises(DataError, match=r"2 of 3 images have no group \(the first: 2\)"):
        resampled([one.matches], groups={1: "a"})
    with pytest.raises(SettingError, match="resamples is 0; it must be 1 or more"):
        resampled([one.matches], resamples=0)
    assert resampled([]) == []
