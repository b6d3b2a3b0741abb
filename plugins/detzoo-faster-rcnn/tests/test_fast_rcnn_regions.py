"""Every command makes or reads the regions of its images: train, predict, evaluate, bench, compare."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

import detzoo
from detzoo.benchmark import TimingOptions, benchmark
from detzoo.cli import app
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.data import open_dataset
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import DetzooError, RecipeError
from detzoo.interfaces import Proposer
from detzoo.plugins.manager import GROUP
from detzoo.plugins.registry import Registry
from detzoo.prediction.proposal_file import ProposalsError, image_key, write_proposals
from detzoo.proposals.evaluate import Plan as Evaluation
from detzoo.proposals.evaluate import evaluate_proposals
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.drawing import write_image
from detzoo.training import train
from detzoo.weights.checkpoint import save_model

NAME = "fastrcnn_mobilenet_v2"
DATA = "shapes:train=4,val=3"
SMALL: dict[str, Any] = {
    "backbone.weights": None,
    "input.size": [96, 96],
    "proposals.proposer.count": 30,
    "box.head.fc": [16],
    "box.head.roi_pool.output": [3, 3],
    "box.postprocess.score_threshold": 0.0,
    "train.batch": 2,
}
CLASSES = list(open_dataset(DATA, "train").classes)


def built(**changes: Any) -> TwoStage:
    torch.manual_seed(0)
    own = {**SMALL, "num_classes": 5, "classes": CLASSES, **changes}
    if "proposals.proposer" in own:
        own.pop("proposals.proposer.count")
    detector = detzoo.build(NAME, overrides=own, weights=None)
    assert isinstance(detector, TwoStage)
    return detector


class Counting(Proposer):
    """Regions of another proposer; how often it was asked, and for which images."""

    def __init__(self, real: Proposer) -> None:
        self.real, self.asked = real, 0

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.asked += 1
        return self.real(image)


def counted() -> tuple[TwoStage, Counting]:
    detector = built()
    assert detector.proposer is not None
    detector.proposer = Counting(detector.proposer)
    return detector, detector.proposer


def image(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)


def test_predict_asks_once_an_image() -> None:
    detector, proposer = counted()
    found = detector.predict([image(0), image(1)[:50]], channels="rgb")
    assert proposer.asked == 2
    assert [one.size for one in found] == [(60, 80), (50, 80)]
    assert all(len(one) > 0 for one in found)


def test_training_asks_once_an_image_however_many_epochs(tmp_path: Path) -> None:
    detector, proposer = counted()
    data = open_dataset(DATA, "train")
    train(detector, data, tmp_path / "run", device="cpu", workers=0, epochs=3, progress=False)
    assert proposer.asked == 2 * 4  # the loader that measures, and the one that trains


def test_evaluate_equals_predict() -> None:
    detector, proposer = counted()
    val = open_dataset(DATA, "val")
    result = detzoo.evaluate(detector, val, progress=False)
    assert proposer.asked == 3
    with torch.random.fork_rng():
        alone = [detector.predict([val.sample(i).image], channels="rgb")[0] for i in range(3)]
    for position, image_id in enumerate(val.image_ids):
        scores = sorted(row["score"] for row in result.detections if row["image_id"] == image_id)
        np.testing.assert_allclose(scores, sorted(alone[position].scores.tolist()), atol=1e-5)


def test_bench_times_the_regions_on_their_own() -> None:
    detector, proposer = counted()
    result = benchmark(detector, TimingOptions(batch=2, size=(40, 50), iterations=5, warmup=1, device="cpu"))
    assert set(result.latency_ms) == {"proposals", "without_proposals", "pre", "forward", "post", "total"}
    mean = {phase: values["mean"] for phase, values in result.latency_ms.items()}
    assert mean["total"] == pytest.approx(mean["proposals"] + mean["without_proposals"], rel=1e-6)
    assert all(value > 0 for value in mean.values())
    assert result.protocol["timed"].endswith("the regions of the image are")
    assert proposer.asked >= 2 * 6


def test_compare_and_the_command_line(tmp_path: Path) -> None:
    train(built(), open_dataset(DATA, "train"), tmp_path / "run", device="cpu", workers=0, steps=1, progress=False)
    plan = ComparisonPlan(
        targets=[str(tmp_path / "run")],
        data=DATA,
        out=tmp_path / "c",
        split="val",
        device="cpu",
        iterations=5,
        largest_batch=1,
    )
    comparison = compare(plan)
    assert comparison.failures == {}
    (entry,) = comparison.entries
    assert entry.benchmark["latency_ms"]["proposals"]["p50"] > 0
    write_image(tmp_path / "p.png", image())
    for words in (
        ["predict", str(tmp_path / "run"), str(tmp_path / "p.png"), "--out", str(tmp_path / "d")],
        ["eval", str(tmp_path / "run"), "--data", DATA, "--split", "val", "--out", str(tmp_path / "e")],
        ["bench", str(tmp_path / "run"), "--device", "cpu", "--iterations", "5"],
    ):
        out = CliRunner().invoke(app, words)
        assert out.exit_code == 0, out.output
    assert (tmp_path / "d" / "detections.json").is_file()
    assert "proposals" in out.output  # a column of its own


# ------------------------------------------------------------------------------------------------ a file of proposals


def written(path: Path, images: list[NDArray[np.uint8]]) -> Path:
    """Boxes of every image from Python, as docs/two-stage.md shows."""
    made = built().proposer
    assert made is not None
    regions = {image_key(image): made(image) for image in images}
    write_proposals(path, regions, method="uniform", parameters={"count": 30})
    return path


def from_file(path: Path | None) -> TwoStage:
    proposer = {"type": "precomputed", "path": None if path is None else str(path)}
    return built(**{"proposals.proposer": proposer})


def images_of(split: str) -> list[NDArray[np.uint8]]:
    data = open_dataset(DATA, split)
    return [data.sample(i).image for i in range(len(data))]


def test_a_file_serves_training_evaluation_and_prediction(tmp_path: Path) -> None:
    path = written(tmp_path / "p.safetensors", [*images_of("train"), *images_of("val")])
    detector, same = from_file(path), built()
    data, val = open_dataset(DATA, "train"), open_dataset(DATA, "val")
    for one, out in ((detector, "file"), (same, "made")):
        train(one, data, tmp_path / out, val=val, device="cpu", workers=0, steps=2, progress=False)
    a, b = detector.state_dict(), same.state_dict()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []  # the file holds what was made
    again = detzoo.load(tmp_path / "file")
    (found,) = again.predict([images_of("val")[0]], channels="rgb")
    assert len(found) > 0


def test_an_image_that_is_not_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "p.safetensors", images_of("train"))
    write_image(tmp_path / "other.png", image())
    message = (
        f"{path} holds no proposals for this image of 80 x 60 px: it knows 4 images (uniform), by their decoded "
        "pixels. For images that are in no dataset, name the method itself: --set proposals.proposer.type=uniform. "
        "`detzoo proposals make` with the method and parameters of the file adds those of other data, here and with "
        "the same image library; another file is named with --set proposals.proposer.path=FILE (in Python: overrides)"
    )
    with pytest.raises(ProposalsError) as caught:
        from_file(path).predict([str(tmp_path / "other.png")])
    assert str(caught.value) == f"{tmp_path / 'other.png'}: {message}"
    with pytest.raises(ProposalsError) as caught:
        from_file(path).predict([image()], channels="rgb")
    assert str(caught.value) == message
    with pytest.raises(ProposalsError, match="holds no proposals for this image"):  # no image is left out for it
        detzoo.evaluate(from_file(path), open_dataset(DATA, "val"), progress=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_without_a_file_stops_with_the_message(tmp_path: Path, workers: int) -> None:
    data = open_dataset(DATA, "train")
    with pytest.raises(ProposalsError, match="looks at proposals from a file, and none is named"):
        train(from_file(None), data, tmp_path / "run", device="cpu", workers=workers, steps=1, progress=False)


def test_the_papers_recipes_want_a_file() -> None:
    small = {"box.head.fc": [8, 8], "box.head.pretrained": None}
    with pytest.raises(ProposalsError) as caught:
        detzoo.build("fastrcnn_caffenet_voc", overrides=small, weights=None).predict([image()], channels="rgb")
    assert str(caught.value) == (
        "this detector looks at proposals from a file, and none is named: write one with `detzoo proposals "
        "make --method METHOD --data DATA --out FILE`, and name it with --set proposals.proposer.path=FILE; to try the "
        "detector without: --set proposals.proposer.type=uniform (in Python: overrides)"
    )


def test_selective_search_says_what_to_install() -> None:
    alone = Registry(point for point in entry_points(group=GROUP) if point.name == "faster_rcnn")
    with pytest.raises(RecipeError) as caught:
        load_recipe("fastrcnn_vgg16_voc", ["proposals.proposer.type=selective_search"], registry=alone)
    assert str(caught.value) == (
        "--set proposals.proposer.type: detectors.fastrcnn_vgg16_voc.proposals.proposer.type: "
        'proposer "selective_search" is not installed; provided by detzoo-rcnn: pip install detzoo-rcnn; installed: '
        "gaussian, precomputed, sliding_window, uniform"
    )


def test_drawing_priors_of_regions_is_refused() -> None:
    from detzoo.inspection.matches import draw_priors

    with pytest.raises(DetzooError) as caught:
        draw_priors(built())
    assert str(caught.value) == f"{NAME} is no one-stage detector: its candidates depend on the image"


def test_the_advice_to_try_it_without_a_file_works() -> None:
    small = {"box.head.fc": [8, 8], "box.head.pretrained": None, "input.min_size": 64, "input.max_size": 100}
    changes = {**small, "proposals.proposer.type": "uniform", "proposals.top_k": 10}
    detector = detzoo.build("fastrcnn_vgg16_voc", overrides=changes, weights=None)
    assert len(detector.predict([image()], channels="rgb")[0]) > 0


# ------------------------------------------------------------------------------------------------ fed by each method


def test_every_method_feeds_the_same_detector(tmp_path: Path) -> None:
    save_model(built(), tmp_path / "fast.safetensors")
    targets, run = ("uniform:count=30", "gaussian:count=30"), str(tmp_path / "fast.safetensors")
    plan = Evaluation(targets, DATA, tmp_path / "out", split="val", repeat=0, detector=run, device="cpu", workers=0)
    results = evaluate_proposals(plan)
    alone = detzoo.evaluate(built(), open_dataset(DATA, "val"), progress=False)  # whose proposer is the first method
    assert results["methods"][0]["AP"] == pytest.approx(alone.metrics["AP"], abs=1e-12)
    written = [tmp_path / "out" / "methods" / folder for folder in sorted((tmp_path / "out" / "methods").iterdir())]
    found = [json.loads((folder / "detector" / "detections.json").read_text()) for folder in written]
    assert found[0] != found[1]


def test_a_detector_that_finds_its_own_regions_cannot_be_fed(tmp_path: Path) -> None:
    small = {"backbone.weights": None, "box.head.fc": [8]}
    own = detzoo.build("fasterrcnn_mobilenet_v2_fpn", num_classes=2, overrides=small, weights=None)
    path = tmp_path / "faster.safetensors"
    save_model(own, path)
    with pytest.raises(DetzooError) as caught:
        evaluate_proposals(Evaluation(("uniform",), DATA, tmp_path / "out", detector=str(path)))
    assert str(caught.value) == (
        f"{path} finds its regions itself; --detector takes a run of a detector with regions from the image "
        "(proposals: {type: image_level, ...}), such as a Fast R-CNN"
    )
    assert not (tmp_path / "out").exists()
