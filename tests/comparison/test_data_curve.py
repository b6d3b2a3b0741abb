"""AP over the number of training images: from the folders of a comparison to table, page and drawings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detzoo.comparison.candidates import Candidate, candidates_of
from detzoo.comparison.data_curve import DataCurves, data_curves
from detzoo.comparison.data_curve_drawings import data_figure, data_section
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.plots import save
from detzoo.comparison.run_comparison import compare
from detzoo.training.options import TrainOptions
from tests.comparison.test_trained_comparison import NAMES, TARGETS
from tests.experiments.processes import DATA

NOISE = np.random.default_rng(3).standard_normal(200) * 0.002


def plan_of(out: Path, **changes: Any) -> ComparisonPlan:
    given: dict[str, Any] = {"train": True, "training": TrainOptions(steps=1), "seeds": 2, "fractions": (0.25, 0.5, 1)}
    return ComparisonPlan(targets=TARGETS[:1], data=DATA, out=out, **given | changes)


def written(plan: ComparisonPlan, groups: list[int] | None = None) -> list[Candidate]:
    """Folders as a comparison leaves them: AP 0.7 - 0.8 n^-0.5, one seed .2 AP above, the other below."""
    candidates = candidates_of(plan)
    for one in candidates:
        images = round(one.fraction * 100)
        ap = 0.7 - 0.8 * images**-0.5 + (0.002 if one.seed == 1 else -0.002)
        drawn = {"images": "x", "resamples": 200, "seed": 0, "groups": groups or [50], "drawn": "images", "number": 60}
        fact = drawn | {"AP": ap, "values": (ap + NOISE).tolist()}
        folder = plan.out / "detectors" / one.name
        folder.mkdir(parents=True)
        (folder / "analysis.json").write_text(json.dumps({"resampled": fact}))
        weights = {"weights": {"trained_on": {"images": images}}}
        (folder / "results.json").write_text(json.dumps({"model": weights}))
    return candidates


@pytest.fixture
def curves(tmp_path: Path) -> DataCurves:
    plan = plan_of(tmp_path)
    found = data_curves(plan, written(plan), "shapes test")
    assert found is not None
    return found


def test_no_parts_no_curve(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, fractions=())
    assert data_curves(plan, written(plan), "shapes test") is None
    assert data_curves(plan_of(tmp_path), [], "shapes test") is None


def test_a_row_per_number_of_images(curves: DataCurves) -> None:
    rows = curves.table.rows
    assert [(row["name"], row["images"], row["fraction"], row["seeds"]) for row in rows] == [
        (NAMES[0], 25, 0.25, 2), (NAMES[0], 50, 0.5, 2), (NAMES[0], 100, 1, 2)
    ]  # fmt: skip
    assert [row["AP"] for row in rows] == pytest.approx([0.54, 0.7 - 0.8 / 50**0.5, 0.62])
    assert rows[0]["spread"] == pytest.approx(0.004 / 2**0.5)
    assert rows[0]["AP_low"] < 0.54 < rows[0]["AP_high"]


def test_what_twice_as_many_would_give(curves: DataCurves) -> None:
    """0.8 x (1/10 - 1/sqrt(200)) = .0234."""
    gain = curves.curves[0].gains[1]
    assert gain.more == 100
    assert gain.expected == pytest.approx(0.0234, abs=0.0005)
    assert curves.words == [f"{NAMES[0]}: {gain.words()}"]
    assert "100 more images are expected to give +2.3 AP (" in curves.table.notes[0]
    assert "as many optimiser steps" in curves.table.markdown()
    content = json.loads(curves.json())
    assert content["curves"][0]["fit"] == {
        "a": pytest.approx(0.7, abs=0.01), "b": pytest.approx(0.8, abs=0.05), "c": pytest.approx(0.5, abs=0.03)
    }  # fmt: skip
    assert content["curves"][0]["band"]["images"][-1] == 200
    assert [gain["more"] for gain in content["curves"][0]["gains"]] == [50, 100]
    assert len(content["rows"]) == 3


def test_parts_without_a_class_are_named(curves: DataCurves, tmp_path: Path) -> None:
    """DATA has four training images, of which one has not all five shapes."""
    assert any(note.startswith("0.25 of train, 1 images, has no box of: ") for note in curves.table.notes)


def test_what_cannot_be_said(tmp_path: Path) -> None:
    two = plan_of(tmp_path / "two", fractions=(0.5, 1))
    found = data_curves(two, written(two), "shapes test")
    assert found is not None
    assert "cannot be said from these points: a power law needs 3 numbers of images" in found.words[0]
    assert json.loads(found.json())["curves"][0]["fit"] is None
    one = plan_of(tmp_path / "one", seeds=None)
    found = data_curves(one, written(one), "shapes test")
    assert found is not None
    assert "one seed does not tell" in found.words[0]
    assert found.table.absent[0]["spread"] == "one seed"
    few = plan_of(tmp_path / "few")
    found = data_curves(few, written(few, [3]), "shapes test")
    assert found is not None
    assert "too few test images" in found.words[0]
    assert "AP_low" not in found.table.rows[0]
    for curves in (found,):
        save(data_figure(curves), tmp_path / "few.png")
        assert len(data_section(curves).plots[0].variants[""]["data"]) == 1  # marks alone


def test_a_training_that_failed_is_no_point(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    found = data_curves(plan, [one for one in written(plan) if one.fraction != 0.5 or one.seed == 0], "shapes test")
    assert found is not None
    assert [row["seeds"] for row in found.table.rows] == [2, 1, 2]


def test_drawings(curves: DataCurves, tmp_path: Path) -> None:
    assert save(data_figure(curves), tmp_path / "c.png").stat().st_size > 1000
    section = data_section(curves)
    low, high, fit, marks = section.plots[0].variants[""]["data"]
    assert high["fillcolor"] == "rgba(0,114,178,0.18)"
    assert fit["y"][0] == pytest.approx(54, abs=0.5)
    assert marks["y"] == pytest.approx([54, 58.69, 62], abs=0.01)
    assert low["y"][0] < fit["y"][0] < high["y"][0]
    assert "100 more images are expected to give" in section.note


@pytest.mark.slow
def test_trained_on_parts(tmp_path: Path) -> None:
    plan = ComparisonPlan(
        targets=TARGETS[:1], data="shapes:size=64,train=8,val=2,test=12", out=tmp_path / "c", train=True,
        training=TrainOptions(steps=2), fractions=(0.25, 0.5, 1), overrides=["train.batch=2", "input.size=[64, 64]"],
        device="cpu", iterations=1, largest_batch=1, workers=0, examples=1,
    )  # fmt: skip
    done = compare(plan)
    assert [entry.name for entry in done.entries] == NAMES[:1]  # parts are not ranked
    assert done.curves is not None
    assert [row["images"] for row in done.curves.table.rows] == [2, 4, 8]
    assert tmp_path / "c" / "training_images.json" in done.files
    page = (tmp_path / "c" / "index.html").read_text()
    assert "Training images" in page
    assert "cannot be said from these points" in page
    said: list[str] = []
    compare(plan, said.append)
    names = [f"{NAMES[0]}-part0.25", f"{NAMES[0]}-part0.5", NAMES[0]]
    assert [line for line in said if not line.startswith("warning")] == [f"{name}: already done" for name in names]
