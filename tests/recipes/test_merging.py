"""The five rules by which a recipe and its parent are merged, one by one, on plain values without components."""

from __future__ import annotations

from typing import Any

import pytest

from detzoo.errors import RecipeError
from detzoo.recipes.merge import Layer, Merged, parse_override
from detzoo.schema.yaml_source import parse, show_key

PARENT = """\
num_classes: 20
classes: voc
summary: the parent
paper: {title: P, url: u}
weights: [{name: w}]
reported: [{value: 1}]
profile: paper
head:
  type: ssd
  anchors: {type: priors, sizes: [1, 2], clip: true}
  scales: {s8: 1.0, s16: 2.0}
train:
  clip_norm: 10
  transforms:
    - {type: flip, p: 0.5}
    - {type: crop, p: 0.3, area: 0.1}
"""


def merged(*texts: str, overrides: tuple[str, ...] = ()) -> Merged:
    """Merge files ``a.yaml``, ``b.yaml``, ... and overrides."""
    result = Merged()
    for i, text in enumerate(texts):
        if i:
            result.inherit()
        document = parse(text, f"{'abc'[i]}.yaml")
        result.add(Layer(document.value, document.marks, document.file))
    for override in overrides:
        result.override(*parse_override(override))
    return result


def origins(result: Merged) -> dict[str, str]:
    """Path -> file and line."""
    return {show_key(key): str(mark) for key, mark in result.marks.items()}


def test_rule_1_root_first_then_the_file_then_overrides_left_to_right() -> None:
    result = merged("a: 1\nb: 1\nc: 1\nd: 1", "b: 2\nc: 2\nd: 2", "c: 3\nd: 3", overrides=("d=4", "d=5"))

    assert result.value == {"a": 1, "b": 2, "c": 3, "d": 5}
    assert origins(result) == {"": "a.yaml:1", "a": "a.yaml:1", "b": "b.yaml:1", "c": "c.yaml:1", "d": "--set d"}


def test_rule_2_a_mapping_with_type_replaces_the_component_whole() -> None:
    result = merged(PARENT, "head: {type: fcos, scales: {s8: 3.0}}")

    assert result.value["head"] == {"type": "fcos", "scales": {"s8": 3.0}}
    assert result.dropped == ["b.yaml:1: head is replaced; dropped: anchors"]
    assert "head.anchors.sizes[0]" not in origins(result)
    assert origins(result)["head.type"] == "b.yaml:1"


def test_rule_2_the_same_type_written_again_also_replaces() -> None:
    result = merged(PARENT, "head:\n  anchors: {type: priors, sizes: [5]}")

    assert result.value["head"]["anchors"] == {"type": "priors", "sizes": [5]}
    assert result.dropped == ["b.yaml:2: head.anchors is replaced; dropped: clip"]


def test_rule_2_a_mapping_without_type_edits_key_by_key_at_any_depth() -> None:
    result = merged(PARENT, "head:\n  anchors:\n    clip: false\n  scales: {s32: 4.0}")

    assert result.value["head"] == {
        "type": "ssd",
        "anchors": {"type": "priors", "sizes": [1, 2], "clip": False},
        "scales": {"s8": 1.0, "s16": 2.0, "s32": 4.0},
    }
    assert result.dropped == []
    found = origins(result)
    assert found["head.anchors.clip"] == "b.yaml:3"
    assert found["head.anchors.sizes"] == "a.yaml:10"
    assert found["head.anchors"] == "a.yaml:10"  # edited, not replaced
    assert found["head.scales.s32"] == "b.yaml:4"


def test_rule_3_a_list_replaces_the_list() -> None:
    result = merged(PARENT, "train:\n  transforms:\n    - {type: flip}")

    assert result.value["train"] == {"clip_norm": 10, "transforms": [{"type": "flip"}]}
    assert "train.transforms[1].area" not in origins(result)


def test_rule_3_null_and_scalars_replace() -> None:
    result = merged(PARENT, "head: null\ntrain: {clip_norm: null}")

    assert result.value["head"] is None
    assert result.value["train"]["clip_norm"] is None
    assert result.dropped == ["b.yaml:1: head is replaced; dropped: anchors, scales"]


def test_rule_3_an_empty_mapping_changes_nothing() -> None:
    assert merged(PARENT, "head: {}").value["head"] == merged(PARENT).value["head"]


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("head.anchors.clip=no", ("head", "anchors", "clip"), "no"),
        ("head.anchors.sizes=[3, 1e-3]", ("head", "anchors", "sizes"), [3, 0.001]),
        ("head.anchors.sizes[1]=7", ("head", "anchors", "sizes"), [1, 7]),
        ("train.transforms[1].p=0.9", ("train", "transforms", 1), {"type": "crop", "p": 0.9, "area": 0.1}),
        ("train.transforms[0].type=blur", ("train", "transforms", 0), {"type": "blur"}),
        ("head.anchors.type=grid", ("head", "anchors"), {"type": "grid"}),
        ("head.scales.s8=3", ("head", "scales"), {"s8": 3, "s16": 2.0}),
        ("train.ema.decay=0.9", ("train", "ema"), {"decay": 0.9}),
        ("summary=a=b", ("summary",), "a=b"),
    ],
)
def test_rule_3_set_edits_one_place(override: str, path: tuple[str | int, ...], value: Any) -> None:
    before, after = merged(PARENT), merged(PARENT, overrides=(override,))

    found: Any = after.value
    for key in path:
        found = found[key]
    assert found == value
    top = path[0]
    assert {k: v for k, v in after.value.items() if k != top} == {k: v for k, v in before.value.items() if k != top}
    written = override.partition("=")[0]
    assert origins(after)[written] == f"--set {written}"


def test_rule_3_set_does_not_change_what_it_was_given() -> None:
    document = parse(PARENT, "a.yaml")
    result = Merged()
    result.add(Layer(document.value, document.marks, "a.yaml"))
    result.override(*parse_override("train.transforms[1].p=0.9"))
    result.override(*parse_override("head.anchors.clip=false"))

    assert document.value == parse(PARENT, "a.yaml").value


def test_rule_3_set_with_a_mapping_edits_it_key_by_key() -> None:
    result = merged(PARENT, overrides=("train.transforms[0]={p: 0.1}",))

    assert result.value["train"]["transforms"][0] == {"type": "flip", "p": 0.1}
    assert origins(result)["train.transforms[0].p"] == "--set train.transforms[0]"
    assert origins(result)["train.transforms[0].type"] == "a.yaml:15"


@pytest.mark.parametrize("override", ["train.transforms[2].p=1", "head.anchors.sizes[-1]=1", "head[0]=1", "a[0].b=1"])
def test_rule_3_set_refuses_elements_that_do_not_exist(override: str) -> None:
    with pytest.raises(RecipeError, match=r"^--set "):
        merged(PARENT, overrides=(override,))


def test_rule_4_some_keys_are_never_inherited() -> None:
    result = merged(PARENT, "num_classes: 20")

    assert set(result.value) == {"num_classes", "classes", "profile", "head", "train"}
    assert not [path for path in origins(result) if path.startswith(("reported", "weights", "summary", "paper"))]


def test_rule_4_the_child_s_own_are_kept() -> None:
    result = merged(PARENT, "summary: the child\nweights: [{name: mine}]")

    assert result.value["summary"] == "the child"
    assert result.value["weights"] == [{"name": "mine"}]
    assert origins(result)["summary"] == "b.yaml:1"


def test_rule_5_swapping_a_component_inside_keeps_the_values_around_it() -> None:
    text = "postprocess: {type: detections, top_k: 200, suppress: {type: nms, iou: 0.45}}"

    result = merged(text, "postprocess: {suppress: {type: soft_nms, sigma: 0.5}}")

    assert result.value["postprocess"] == {
        "type": "detections",
        "top_k": 200,
        "suppress": {"type": "soft_nms", "sigma": 0.5},
    }
    assert result.dropped == ["b.yaml:1: postprocess.suppress is replaced; dropped: iou"]


def test_another_number_of_classes_drops_the_inherited_names() -> None:
    result = merged(PARENT, "num_classes: 3")

    assert result.value["classes"] is None
    assert result.dropped == ["b.yaml:1: num_classes is 3; dropped: the 20 inherited classes"]
    assert origins(result)["classes"] == "b.yaml:1"


@pytest.mark.parametrize(
    "child", ["num_classes: 20", "num_classes: 2\nclasses: [a, b]", "num_classes: 2\nclasses: voc"]
)
def test_names_that_fit_or_are_written_beside_the_number_stay(child: str) -> None:
    result = merged(PARENT, child)

    assert result.value["classes"] == (["a", "b"] if "[" in child else "voc")
    assert result.dropped == []
