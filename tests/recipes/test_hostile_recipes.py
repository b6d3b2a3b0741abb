"""Recipes and overrides that no one would write by hand: a message of bounded length, in time that grows linearly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from detzoo.errors import DetzooError, RecipeError
from detzoo.recipes.recipe import load_recipe

HEAD = "api: 1\ndetectors:\n  x:\n    extends: {parent}\n"
MANY = 4000


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A whole recipe that needs no plugin beyond the core's own components."""
    path = tmp_path_factory.mktemp("parent") / "parent.yaml"
    path.write_text("api: 1\ndetectors:\n  one:\n    architecture: one_stage\n    num_classes: 2\n")
    return str(path)


@pytest.mark.parametrize(
    "override",
    [
        "a[" + "9" * 5000 + "].b=1",
        "train.transforms[99999999999].p=1",
        "train.transforms[²].p=1",
        "train.transforms[-1].p=1",
        ".".join("a" * 1000) + "=1",
        "." * 1000 + "=1",
        "x={type: \x85t}",
        "x=\x00",
        "x\x1b[31m=1",
        "\x00=1",
        "x={a: \ud800}",
        "num_classes=" + "9" * 5000,
        "num_classes=²",
        "num_classes=1e400",
        "a=" + "[" * 5000,
        "a" * 100_000 + ".b",
        "=",
        "",
    ],
)
def test_an_override_is_rejected_with_a_message(override: str, parent: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(parent, [override])
    assert len(str(caught.value)) < 5000
    assert "\x1b" not in str(caught.value)


FILES: dict[str, str] = {
    "unknown keys": HEAD + "".join(f"    k{i}: {i}\n" for i in range(MANY)),
    "unknown keys with lists": HEAD + "    train:\n" + "".join(f"      k{i}: [1, 2]\n" for i in range(MANY)),
    "unknown transforms": HEAD + "    train:\n      transforms: [" + ", ".join(["{type: x}"] * MANY) + "]\n",
    "unknown keys of a file": "api: 1\n" + "".join(f"k{i}: 1\n" for i in range(MANY)) + "detectors: {x: {}}\n",
    "a chain": "api: 1\ndetectors:\n" + "".join(f"  x{i}: {{extends: x{i + 1}}}\n" for i in range(MANY)),
    "no architecture": "api: 1\ndetectors:\n  x:\n" + "".join(f"    k{i}: {i}\n" for i in range(MANY)),
    "many detectors": "api: 1\ndetectors:\n" + "".join(f"  x{i}: {{}}\n" for i in range(MANY)),
}


@pytest.mark.parametrize("case", FILES)
def test_thousands_of_mistakes_are_told_in_a_short_message_and_time(case: str, parent: str, tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(FILES[case].replace("{parent}", parent))
    start = time.process_time()
    with pytest.raises(RecipeError) as caught:
        load_recipe(f"{path}#x0" if case == "a chain" else path)
    assert time.process_time() - start < 5  # quadratic: 11 and more
    assert len(str(caught.value)) < 20_000


def test_the_rest_is_counted(parent: str, tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(FILES["unknown keys"].replace("{parent}", parent))
    with pytest.raises(RecipeError, match=r"3,980 more keys of the recipe are unknown"):
        load_recipe(path)


@pytest.mark.parametrize("target", ["a" * 5000 + ".yaml", "a/" * 3000 + "x.yaml", "a\0.yaml", "a" * 5000, "#"])
def test_a_path_that_cannot_be(target: str) -> None:
    with pytest.raises(DetzooError):
        load_recipe(target)
