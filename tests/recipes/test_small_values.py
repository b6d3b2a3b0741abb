"""Recipes made quick to try, by the small values of manifests."""

from __future__ import annotations

import pytest

from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe
from detzoo.recipes.small_values import small_overrides, small_values


def test_a_component_without_small_values_stays() -> None:
    assert small_values("neck", "identity") == {}


def test_by_short_name_and_by_whole_id() -> None:
    assert small_values("backbone", "nasnet") == small_values("backbone", "core/nasnet") == {"filters": 4}


def test_every_small_value_is_a_parameter_of_its_component() -> None:
    registry = get_registry()
    count = 0
    for record in registry.plugins.usable():
        for key, values in record.manifest.conformance.small.items() if record.manifest else ():
            kind, _, name = key.partition("/")
            fields = registry.schema(registry.find(kind, f"{record.name}/{name}")).fields
            assert set(values) <= set(fields), key
            count += 1
    assert count >= 3


def test_the_overrides_reach_every_place_of_a_recipe() -> None:
    pytest.importorskip("detzoo_rcnn")
    before = load_recipe("rcnn_mobilenet_v2").values
    overrides = small_overrides(before)
    assert overrides == ["proposals.top_k=20", "proposals.training_top_k=20", "sampler.size=16"]
    after = load_recipe("rcnn_mobilenet_v2", overrides).values
    assert (before["proposals"]["top_k"], after["proposals"]["top_k"]) == (500, 20)
