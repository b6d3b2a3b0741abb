"""docs/weights.md: under which terms the published weights of the recipes stand, from the manifests' own words.

    python benchmarks/weight_licences.py    # writes the page

An entry's ``licence`` reads ``LICENCE (PUBLISHER); trained on DATA``. The page can only show licences that ``TERMS``
knows, so that nobody lists weights without saying what they may be used for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe

PAGE: Final = Path(__file__).parents[1] / "docs" / "weights.md"
TERMS: Final[Mapping[str, str]] = {
    "Apache-2.0": "yes; keep the licence and its notices, say what you changed",
    "BSD-3-Clause": "yes; keep the copyright notice",
    "MIT": "yes; keep the copyright notice",
    "darknet's YOLO licence": "yes; public domain",
}
"""Licence -> whether the files may be used in a product, and what that asks for."""
_FORM: Final = re.compile(r"(?P<licence>[^;(]+?)(?: \((?P<publisher>[^)]+)\))?; trained on (?P<data>.+)")
_HEAD: Final = """<!-- Written by benchmarks/weight_licences.py; edit that. -->

# Which weights may one use in a product

The licence of every published file that a recipe can load, as its manifest states it. detzoo itself is Apache-2.0, and
so are its plugins; a detector that you train from scratch on your own images is yours. What follows is no legal advice:
a file's licence is its publisher's to give, and the photographs that a network has seen have licences of their own:
where the last column says "for research only", a product is a question for a lawyer.

| licence | in a product | files |
|---|---|---:|
"""
_TAIL: Final = """
Weights that a backbone starts from (`backbone.weights`, ImageNet or DINOv2) are not in the table, because no recipe can
detect with them alone: torchvision's are BSD-3-Clause, timm's say so themselves, DINOv2's are Apache-2.0.

## Named, and not listed

- RF-DETR XLarge and 2XLarge: Roboflow's Platform Model License 1.0, and an account with Roboflow.
- DEIMv2 with DINOv3 (S, M, L, X): DINOv3's licence restricts uses and has to be passed on.
- YOLOv5 and later of Ultralytics: AGPL-3.0, whose terms reach the program around the network.
"""


@dataclass(frozen=True)
class Entry:
    """One published file.

    Args:
        recipe: that loads it.
        name: of the entry in the recipe.
        licence: one of ``TERMS``.
        publisher: or an empty string.
        data: what it was trained on, and what is said of that.
    """

    recipe: str
    name: str
    licence: str
    publisher: str
    data: str


def entries() -> Iterator[Entry]:
    """All of the installed plugins' recipes, in the order of ``detzoo list``.

    Raises:
        ValueError: an entry whose licence has another form, or is not one of ``TERMS``.
    """
    for recipe in get_registry().detectors():
        for weights in load_recipe(recipe).values.get("weights") or []:
            yield entry_of(recipe, weights)


def entry_of(recipe: str, weights: Mapping[str, Any]) -> Entry:
    """What a ``weights:`` entry says of its licence."""
    said = str(weights["licence"])
    found = _FORM.fullmatch(said)
    licence = "" if found is None else found["licence"]
    publisher = "" if found is None or found["publisher"] is None else found["publisher"]
    if licence == "darknet's YOLO licence":  # "(public domain)" says what it is, not whose
        publisher = "darknet"
    if found is None or licence not in TERMS:
        raise ValueError(
            f'{recipe}: weights "{weights["name"]}": licence "{said}" is not "LICENCE (PUBLISHER); trained on DATA" '
            f"with one of: {', '.join(TERMS)}"
        )
    return Entry(recipe, str(weights["name"]), licence, publisher, found["data"])


def page() -> str:
    """The page's text."""
    found = list(entries())
    counts = [(licence, terms, sum(one.licence == licence for one in found)) for licence, terms in TERMS.items()]
    text = _HEAD + "".join(f"| {licence} | {terms} | {count} |\n" for licence, terms, count in counts if count)
    for licence in TERMS:
        rows = [one for one in found if one.licence == licence]
        if rows:
            text += f"\n## {licence}\n\n| recipe | weights | published by | trained on |\n|---|---|---|---|\n"
            text += "".join(f"| `{one.recipe}` | {one.name} | {one.publisher or '-'} | {one.data} |\n" for one in rows)
    return text + _TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
