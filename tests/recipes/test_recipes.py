"""Recipes as a whole: found, merged, checked, filled, written and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from detzoo.errors import RecipeError
from detzoo.plugins.registry import Registry
from detzoo.recipes.recipe import Recipe, load_recipe, recipe_from_values
from detzoo.recipes.text import as_json, difference, with_origins

pytestmark = pytest.mark.usefixtures("toy_registry")

MANIFEST = Path(__file__).parents[1] / "toy_zoo" / "toy_zoo" / "registry.yaml"


def line_of(text: str) -> str:
    """``file:line`` of the first line of the toy manifest that holds ``text``."""
    lines = MANIFEST.read_text().splitlines()
    return f"{MANIFEST}:{next(i for i, line in enumerate(lines, 1) if text in line)}"


def written(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    """A recipe file."""
    path = tmp_path / name
    path.write_text("api: 1\ndetectors:\n" + text)
    return path


def test_defaults_of_every_level_are_filled_in() -> None:
    values = load_recipe("toy_detector").values

    assert values["profile"] == "modern"
    assert values["head"]["scoring"] == "softmax"
    assert values["head"]["init"] == {"std": 0.01, "bias": -1.0}
    assert values["head"]["anchors"] == {
        "type": "toy_anchors",
        "sizes": [16.0, 32.5],
        "strides": None,
        "offset": [0.5, 0.5],
    }
    assert values["backbone"] == {
        "type": "toy_backbone",
        "levels": ["s8", "s16"],
        "channels": 12,
        "weights": None,
        "freeze": False,
    }
    assert values["train"]["optimizer"]["groups"] == {"backbone.*": 0.1}
    assert values["train"]["transforms"][1] == {"type": "toy_noise", "strength": 2, "only": [0], "active": [0.0, 1.0]}
    assert values["reported"][0]["verified"] is True


def test_whole_numbers_become_floats_where_a_float_is_meant() -> None:
    values = load_recipe("toy_detector").values

    assert isinstance(values["head"]["init"]["bias"], float)
    assert [type(size) for size in values["head"]["anchors"]["sizes"]] == [float, float]
    assert isinstance(values["train"]["batch"], int)


@pytest.mark.parametrize("target", ["toy_detector", "toy_child", "toy/toy_child"])
def test_a_recipe_written_out_reads_back_the_same(target: str, tmp_path: Path) -> None:
    recipe = load_recipe(target)
    path = tmp_path / "mine.yaml"
    path.write_text(recipe.to_yaml())

    again = load_recipe(path)

    assert again.values == recipe.values
    assert again.title == recipe.title == target.rpartition("/")[2]
    assert difference(recipe, again) == "no difference"
    assert json.loads(as_json(again)) == recipe.values


def test_words_that_yaml_1_1_takes_for_others_survive_the_round_trip(tmp_path: Path) -> None:
    path = written(tmp_path, "  mine: {extends: toy_detector, classes: ['no', '1e-3', 0o17x, on], num_classes: 4}\n")
    recipe = load_recipe(path)
    path.write_text(recipe.to_yaml())

    assert load_recipe(path).values["classes"] == ["no", "1e-3", "0o17x", "on"]
    assert yaml.safe_load(recipe.to_yaml())["detectors"]["mine"]["classes"] == ["no", "1e-3", "0o17x", "on"]


def test_small_floats_survive_the_round_trip(tmp_path: Path) -> None:
    recipe = load_recipe("toy_detector", ["train.optimizer.lr=1e-5", "train.optimizer.eps=1e-16"])
    path = tmp_path / "mine.yaml"
    path.write_text(recipe.to_yaml())

    assert load_recipe(path).values["train"]["optimizer"]["lr"] == 1e-5


def test_resolved_values_load_without_the_plugin_s_recipe() -> None:
    recipe = load_recipe("toy_child")

    again = recipe_from_values("runs/toys", recipe.values)

    assert again.values == recipe.values
    assert again.title == "toys"
    assert again.origin(("head", "scoring")) == "runs/toys"


def test_stored_values_that_are_too_deep_are_told_with_the_file() -> None:
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]

    with pytest.raises(RecipeError, match=r"^runs/toys: lists and mappings are nested more than 32 deep$"):
        recipe_from_values("runs/toys", load_recipe("toy_child").values | {"head": deep})


def test_extends_finds_a_sibling_a_file_and_the_zoo(tmp_path: Path) -> None:
    written(tmp_path, "  base: {extends: toy_detector, num_classes: 5}\n  other: {extends: toy_child}\n", "base.yaml")
    path = written(
        tmp_path,
        "  mine: {extends: middle, train: {batch: 7}}\n"
        "  middle: {extends: 'base.yaml#base', train: {batch: 6, ema: 0.9}}\n",
    )

    recipe = load_recipe(f"{path}#mine")

    assert recipe.values["num_classes"] == 5
    assert recipe.values["train"]["batch"] == 7
    assert recipe.values["train"]["ema"] == 0.9
    assert recipe.chain == ("toy/toy_detector", f"{tmp_path}/base.yaml#base", f"{path}#middle", f"{path}#mine")


def test_a_sibling_hides_a_recipe_of_the_zoo(tmp_path: Path) -> None:
    path = written(tmp_path, "  mine: {extends: toy_child}\n  toy_child: {extends: toy_detector, num_classes: 9}\n")

    assert load_recipe(f"{path}#mine").values["num_classes"] == 9


def test_a_key_may_be_written_short_where_no_other_ends_so() -> None:
    short = load_recipe("toy_detector", ["lr=0.25"])
    assert short.values["train"]["optimizer"]["lr"] == 0.25
    assert recipe_from_values("again", short.values, {"lr": 0.5}).values["train"]["optimizer"]["lr"] == 0.5
    with pytest.raises(RecipeError, match=r"--set type: this recipe has \d+ keys that end so: .*in full"):
        load_recipe("toy_detector", ["type=fpn"])
    with pytest.raises(RecipeError, match="lrr"):
        load_recipe("toy_detector", ["lrr=1"])


def test_overrides_as_a_mapping_and_as_text_are_the_same() -> None:
    mapping = {"loss.box": {"type": "giou"}, "train.batch": 9, "train.transforms[0].strength": 3}
    texts = ["loss.box.type=giou", "train.batch=9", "train.transforms[0].strength=3"]

    assert load_recipe("toy_detector", mapping).values == load_recipe("toy_detector", texts).values


def test_why_shows_where_each_value_came_from(tmp_path: Path) -> None:
    path = written(tmp_path, "  mine:\n    extends: toy_child\n    loss:\n      box: {type: giou}\n")

    text = with_origins(load_recipe(path, ["train.batch=8"]))

    origins = {line.split()[0]: line.rsplit("  ", 1)[1].strip() for line in text.splitlines()[1:-2]}
    assert text.splitlines()[0] == f"layers: {path}#mine <- toy/toy_child <- toy/toy_detector"
    assert origins["loss.box.type"] == f"{path}:6"
    assert origins["loss.class_weight"] == "default"
    assert origins["train.batch"] == "--set train.batch"
    assert origins["train.epochs"] == line_of("epochs: 2")
    assert origins["train.schedule.name"] == "default"
    assert origins["num_classes"] == line_of("num_classes: 3")
    assert origins["backbone.levels"] == "default"
    assert origins["summary"] == "default"  # the parent's is not inherited
    assert text.splitlines()[-1] == f"dropped: {path}:6: loss.box is replaced; dropped: beta"


def test_why_lists_every_value(toy_registry: Registry) -> None:
    recipe = load_recipe("toy_detector")

    paths = [line.split()[0] for line in with_origins(recipe).splitlines()[1:]]

    assert len(paths) == len(set(paths))
    for slot in ("architecture", "input.size", "backbone.type", "head.anchors.sizes", "train.transforms[1].only"):
        assert slot in paths


def test_diff_names_changed_added_and_lost_keys() -> None:
    lines = difference(load_recipe("toy_detector"), load_recipe("toy_child", ["loss.box.type=giou"])).splitlines()

    assert "num_classes: 2 -> 3" in lines
    assert 'loss.box.type: "smooth_l1" -> "giou"' in lines
    assert "loss.box.beta: 0.5 -> -" in lines
    assert 'classes: ["circle", "square"] -> null' in lines
    assert not [line for line in lines if line.startswith(("head", "backbone", "train"))]


def test_diff_sees_a_change_behind_the_sixtieth_character() -> None:
    long = "x" * 80
    pair = [Recipe("a", {"summary": long + "a"}), Recipe("b", {"summary": long + "b"})]

    assert difference(*pair).startswith("summary: ")


def test_what_a_child_replaces_is_told_line_by_line(tmp_path: Path) -> None:
    """A file of one's own changes backbone, loss and suppression, a line each, and the number of classes."""
    path = written(
        tmp_path,
        "  cells:\n"
        "    extends: toy_detector\n"
        "    num_classes: 3\n"
        "    backbone: {type: squeezenet1_1, levels: [s8, s16]}\n"
        "    loss: {box: {type: giou}, box_weight: 2.0}\n"
        "    postprocess: {suppress: {type: soft_nms, sigma: 0.5}}\n",
    )

    recipe = load_recipe(f"{path}#cells")

    assert recipe.values["classes"] is None
    assert recipe.values["postprocess"]["score_threshold"] == 0.02
    assert sorted(line.removeprefix(f"{path}:") for line in recipe.dropped) == [
        "5: num_classes is 3; dropped: the 2 inherited classes",
        "6: backbone is replaced; dropped: channels",
        "7: loss.box is replaced; dropped: beta",
        "8: postprocess.suppress is replaced; dropped: iou",
    ]
