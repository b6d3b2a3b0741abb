"""Two detectors, class by class, on numbers made by hand."""

from __future__ import annotations

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from detzoo.comparison.class_differences import FILE, Difference, difference_figures, differences, drawn
from detzoo.comparison.ties import RESAMPLED
from detzoo.evaluation.intervals import Interval
from tests.comparison.result_folders import Compared

COIN = np.random.default_rng(0).normal(0, 0.01, 2000).astype(np.float32)


def test_no_class_and_no_detector() -> None:
    nothing = np.zeros((0, 5), np.float32)
    assert differences(({}, {}), (nothing, nothing)) == []
    assert difference_figures([]) == ([], {})


def test_the_same_images_decide() -> None:
    # both vary together: the difference of cats does not vary at all, that of dogs by 1 point
    values = np.stack([0.5 + COIN * 9, 0.6 + COIN * 9 + COIN[::-1]]), np.stack([0.6 + COIN * 9, 0.45 + COIN * 9])
    facts = {"dog": [0.5, 60], "cat": [0.6, 60]}, {"cat": [0.45, 60], "dog": [0.6, 60]}
    found = differences(facts, (values[0], values[1]))
    # the second's rows are in another order: dog .5 - .45 and cat .6 - .6 of the resamples
    assert [one.name for one in found] == ["cat", "dog"]
    swapped = differences(facts, (values[0], values[1][::-1]))
    dog = next(one for one in swapped if one.name == "dog")
    assert dog.gap == pytest.approx(-0.1)
    assert dog.interval is not None
    assert [dog.interval.low, dog.interval.high] == pytest.approx([-0.1, -0.1], abs=1e-6)
    assert dog.is_apart
    cat = next(one for one in swapped if one.name == "cat")
    assert cat.interval is not None
    # Student's t of 59 degrees of freedom, widened by 60 / 59
    width = 2 * 2.001 * 0.01 * np.sqrt(60 / 59)
    assert cat.interval.high - cat.interval.low == pytest.approx(width, rel=0.06)


def test_few_images_have_no_interval() -> None:
    values = np.stack([COIN + 0.9]), np.stack([COIN + 0.1])
    (one,) = differences(({"rare": [0.9, 4]}, {"rare": [0.1, 4]}), values)
    assert (one.interval, one.is_apart) == (None, False)
    assert differences(({"rare": [None, 0]}, {"rare": [0.1, 4]}), values) == []
    assert differences(({"rare": [0.9, 4]}, {}), values) == []


def test_a_drawing_says_what_is_told_apart() -> None:
    gaps = [
        Difference("<cat>", 60, 0.1, Interval(0.05, 0.2, 0.95)),
        Difference("dog", 60, 0.01, Interval(-0.02, 0.03, 0.95)),
        Difference("rare", 4, -0.5, None),
    ]
    spec = drawn(gaps, "a", "b<")
    apart, same, few = spec["data"]
    assert (apart["y"], same["y"], few["y"]) == (["&lt;cat&gt;"], ["dog"], ["rare"])
    assert (apart["x"], apart["error_x"]["array"], apart["error_x"]["arrayminus"]) == ([10], [10], [5])
    assert few["marker"]["symbol"] == "circle-open"
    assert apart["text"] == ["&lt;cat&gt;: +10.0 (5.0 to 20.0); objects in 60"]
    assert spec["layout"]["yaxis"]["categoryarray"] == ["rare", "dog", "&lt;cat&gt;"]
    go.Figure(spec)


def test_of_a_comparison(compared: Compared) -> None:
    entries = compared.done.entries
    names, figures = difference_figures(entries)
    assert set(names) == {"good", "fast", "elsewhere", "theirs"}  # `numbers` has no detections
    assert len(figures) == 4 * 3
    one = next(entry for entry in entries if entry.name == "good")
    values = np.load(one.folder / FILE, allow_pickle=False)
    analysis = json.loads((one.folder / "analysis.json").read_text())[RESAMPLED]
    assert values.shape == (len(analysis["classes"]), analysis["resamples"])
    # the mean over classes of each resample is the AP of it
    mean = np.nanmean(values, axis=0)
    assert mean[:50] == pytest.approx(np.array(analysis["values"][:50], dtype=float), abs=1e-5)
