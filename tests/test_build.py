"""``detzoo.build`` and ``detzoo.load``: weights, classes, and what travels in a checkpoint."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import detzoo
from detzoo.builder import build_component
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.errors import MachineError, RecipeError, WeightsError
from detzoo.recipes.class_names import class_names
from detzoo.weights.checkpoint import save_model
from detzoo.weights.sources import file_sha256

SMALL = "ssd_ultralight_face_slim"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a web server on this machine offers it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _recipe_with_weights(tmp_path: Path, url: str, sha256: str) -> Path:
    entry = f"{{name: mine, url: '{url}', sha256: '{sha256}', source: detzoo, licence: MIT}}"
    path = tmp_path / "mine.yaml"
    path.write_text(f"api: 1\ndetectors:\n  faces:\n    extends: {SMALL}\n    weights: [{entry}]\n")
    return path


def test_published_weights_are_fetched_checked_and_loaded(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETZOO_CACHE", str(tmp_path / "cache"))
    folder, address = served
    source = detzoo.build(SMALL, weights=None)
    torch.save(source.state_dict(), folder / "faces.pth")
    sha256 = file_sha256(folder / "faces.pth")
    recipe = _recipe_with_weights(tmp_path, f"{address}/faces.pth", sha256)
    loaded = detzoo.build(recipe, weights="published").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in source.state_dict().items())
    wrong = _recipe_with_weights(tmp_path, f"{address}/faces.pth", "0" * 64)
    with pytest.raises(WeightsError, match="0000"):
        detzoo.build(wrong, weights="published")


def test_weights_that_do_not_exist_are_named_with_those_that_do(tmp_path: Path) -> None:
    recipe = _recipe_with_weights(tmp_path, "http://127.0.0.1:9/x.pth", "0" * 8)
    with pytest.raises(WeightsError) as error:
        detzoo.build(recipe, weights="mini")
    assert str(error.value) == (
        f'{recipe}: the weights "mini" are neither a file or run nor published; published for this recipe: mine '
        '(did you mean "mine"?). Also allowed: "backbone" (its pretrained backbone), None (untrained)'
    )


def test_published_weights_of_a_recipe_without_any_are_told(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"api: 1\ndetectors:\n  mine: {{extends: {SMALL}}}\n")  # published weights are not inherited
    with pytest.raises(WeightsError) as error:
        detzoo.build(recipe, weights="pretrained")
    assert 'the weights "pretrained"' in str(error.value)
    assert "published for this recipe: none. Also allowed" in str(error.value)


def test_an_override_is_told_as_it_was_written() -> None:
    with pytest.raises(RecipeError, match=r'^overrides\["train.optimizer.nope"\]: '):
        detzoo.build(SMALL, overrides={"train.optimizer.nope": 1}, weights=None)
    with pytest.raises(RecipeError, match=r"^--set train\.optimizer\.nope: "):
        detzoo.build(SMALL, overrides=["train.optimizer.nope=1"], weights=None)
    with pytest.raises(RecipeError, match=r'^overrides\["train\.\.lr"\]: cannot be read as a path'):
        detzoo.build(SMALL, overrides={"train..lr": 1}, weights=None)


def test_a_checkpoint_gives_back_classes_recipe_and_weights(tmp_path: Path) -> None:
    detector = detzoo.build(SMALL, classes=["cat", "dog"], overrides={"postprocess.keep": 7}, weights=None)
    save_model(detector, tmp_path / "model.safetensors")
    loaded = detzoo.load(tmp_path / "model.safetensors")
    assert loaded.classes == ("cat", "dog")
    assert loaded.recipe.values == detector.recipe.values
    assert loaded.recipe.values["postprocess"]["keep"] == 7
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in detector.state_dict().items())


def test_other_classes_drop_published_weights_and_reported_results() -> None:
    own = detzoo.build(SMALL, weights=None).recipe.values
    other = detzoo.build(SMALL, num_classes=3, weights=None).recipe.values
    assert own["reported"]
    assert own["weights"]
    assert (other["reported"], other["weights"], other["classes"]) == ([], [], None)


def test_weights_for_other_classes_are_fine_tuned_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    donor = detzoo.build(SMALL, num_classes=2, weights=None)
    path = tmp_path / "two.safetensors"
    save_model(donor, path)
    mine = detzoo.build(SMALL, num_classes=5, weights=str(path))
    kept, fresh = donor.state_dict(), mine.state_dict()
    afresh = {name for name in kept if kept[name].shape != fresh[name].shape}
    layers = ("0.1", "1.1", "2.1", "3")
    assert afresh == {f"head.classification.{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert all(torch.equal(kept[name], fresh[name]) for name in set(kept) - afresh)
    assert caplog.messages == [
        f"{path} is for 2 classes: {', '.join(name for name in fresh if name in afresh)} start afresh for 5"
    ]


def test_published_weights_are_fine_tuned_from_too(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DETZOO_CACHE", str(tmp_path / "cache"))
    folder, address = served
    source = detzoo.build(SMALL, weights=None)
    torch.save(source.state_dict(), folder / "faces.pth")
    recipe = _recipe_with_weights(tmp_path, f"{address}/faces.pth", file_sha256(folder / "faces.pth"))
    mine = detzoo.build(recipe, classes=["cat", "dog", "bird"], weights="published")
    assert all(torch.equal(v, mine.state_dict()[k]) for k, v in source.state_dict().items() if "backbone" in k)
    assert caplog.messages[0].startswith("mine is for 1 classes: head.")
    renamed = detzoo.build(recipe, classes=["cat"], weights="published")
    assert all(torch.equal(value, renamed.state_dict()[key]) for key, value in source.state_dict().items())


def test_weights_of_another_detector_are_refused_with_the_names(tmp_path: Path) -> None:
    save_model(detzoo.build(SMALL, weights=None), tmp_path / "faces.safetensors")
    with pytest.raises(
        WeightsError, match=r"does not fit .*: .* missing: .*; .* unknown: .*; is num_classes the same\?"
    ):
        detzoo.build("ssd_ultralight_face_rfb", weights=str(tmp_path / "faces.safetensors"))
    with pytest.raises(
        WeightsError, match=r"even but for the layers .* number of classes \(1 there, 3 here\): .* missing: "
    ):
        detzoo.build("ssd_ultralight_face_rfb", num_classes=3, weights=str(tmp_path / "faces.safetensors"))


def test_sets_of_class_names() -> None:
    coco90 = class_names("coco90", 90)
    assert coco90[0] == "person"
    assert coco90[11] is None  # category 12, "street sign", was never annotated
    assert coco90[89] == "toothbrush"
    assert sum(name is not None for name in coco90) == 80
    assert class_names("coco91", 91) == (None, *coco90)
    assert class_names("voc", 20)[19] == "tvmonitor"
    assert class_names(None, 2) == (None, None)
    with pytest.raises(RecipeError, match=r"num_classes is 3, but classes names 20 \(voc\); make them equal"):
        class_names("voc", 3)


def test_settings_of_a_trained_run_can_be_changed(tmp_path: Path) -> None:
    detector = detzoo.build(SMALL, weights=None)
    save_model(detector, tmp_path / "model.safetensors")

    changed = detzoo.load(tmp_path / "model.safetensors", ["postprocess.suppress.type=soft_nms", "postprocess.keep=7"])

    assert changed.recipe.values["postprocess"]["suppress"]["type"] == "soft_nms"
    assert isinstance(changed.postprocess, PerClassDetections)
    assert changed.postprocess.settings.keep == 7
    for name, value in changed.state_dict().items():
        assert torch.equal(value, detector.state_dict()[name])


def test_settings_that_a_trained_run_cannot_take(tmp_path: Path) -> None:
    place = tmp_path / "model.safetensors"
    detector = detzoo.build(SMALL, weights=None)
    save_model(detector, place)

    with pytest.raises(RecipeError) as wrong:
        detzoo.load(place, ["postprocess.kep=7"])
    with pytest.raises(RecipeError) as classes:
        detzoo.load(place, {"num_classes": 5})
    with pytest.raises(WeightsError) as unfit:
        detzoo.load(place, {"head.anchors.sizes[0]": [10.0, 16.0]})

    assert str(wrong.value).startswith(
        "--set postprocess.kep: detectors.model.safetensors.postprocess.kep: unknown key"
    )
    told = 'overrides["num_classes"]: a trained detector keeps its classes; train again for other ones'
    assert str(classes.value) == told
    assert str(unfit.value).endswith(
        "is num_classes the same? What is set for a trained run must leave its weights as they are"
    )


def test_active_is_a_key_of_every_transform_and_a_field_of_what_is_built() -> None:
    wanted = [{"type": "flip", "active": [0.0, 0.9]}, {"type": "mosaic"}]
    detector = detzoo.build(SMALL, overrides={"train.transforms": wanted}, weights=None)
    flip, mosaic = detector.train_plan.transforms
    assert (flip.active, mosaic.active) == ((0.0, 0.9), (0.0, 1.0))
    assert mosaic.size == detector.input.size  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ([0.9, 0.9], "active: from 0.9 up to 0.9 is nothing; write [begin, end], as [0.0, 0.9]"),
        ([0.0, 1.5], "train.transforms[0].active[1]: found 1.5; expected a number >= 0 and <= 1"),
        (0.9, "train.transforms[0].active: found 0.9; expected a list of 2"),
    ],
)
def test_a_share_of_the_training_that_is_none_is_rejected(share: object, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        detzoo.build(SMALL, overrides={"train.transforms": [{"type": "flip", "active": share}]}, weights=None)
    assert message in str(caught.value)


@pytest.mark.parametrize("filters", [4 * 10**17, 999_999_999_999_999_999], ids=["bytes", "count"])
def test_a_size_that_no_memory_has_is_told_with_its_place(filters: int) -> None:
    with pytest.raises((RecipeError, MachineError), match=r"a size is too large|not enough memory"):
        build_component("backbone", {"type": "darknet", "layers": [f"conv {filters} 3/2 -> s2"]})


def test_one_class_is_a_list_of_one_name() -> None:
    with pytest.raises(RecipeError, match=r'give a list of names: \["cat"\]'):
        detzoo.build(SMALL, classes="cat", weights=None)


def test_two_numbers_of_classes() -> None:
    with pytest.raises(RecipeError, match="2 classes are given, and num_classes=3"):
        detzoo.build(SMALL, classes=["a", "b"], num_classes=3)


@pytest.mark.parametrize(
    ("overrides", "key", "found"),
    [
        (["classes=[x, y]", "num_classes=2"], "classes", r"\['x', 'y'\]"),
        (["num_classes=7"], "num_classes", "7"),
        ({"num_classes": 3, "classes": ["a", "b", "c"]}, "classes", r"\['a', 'b', 'c'\]"),
    ],
)
def test_an_override_of_the_classes_is_not_replaced_in_silence(overrides: Any, key: str, found: str) -> None:
    told = rf"^(--set {key}|overrides\[.{key}.\]): found {found}, but the data have 2 classes: a, b; leave it out"
    with pytest.raises(RecipeError, match=told):
        detzoo.build(SMALL, classes=["a", "b"], overrides=overrides, weights=None)


@pytest.mark.parametrize("overrides", [["classes=[a, b]", "num_classes=2"], ["num_classes=2"]])
def test_an_override_of_the_same_classes_is_fine(overrides: list[str]) -> None:
    assert detzoo.build(SMALL, classes=["a", "b"], overrides=overrides, weights=None).classes == ("a", "b")
