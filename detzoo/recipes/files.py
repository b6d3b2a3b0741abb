"""Finding the layers of a recipe: in a file of one's own, or in the manifests of the zoo, parents first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detzoo.errors import RecipeError
from detzoo.plugins.registry import Registry
from detzoo.recipes.merge import Layer
from detzoo.schema.describing import first_of, shown, unknown
from detzoo.schema.yaml_source import Document, read, show_key

_LONGEST_CHAIN: Final = 100


@dataclass(frozen=True)
class _Source:
    """A file with recipes, and how its recipes are called in messages: ``mine.yaml#cells``, ``ssd/ssd300``."""

    document: Document
    prefix: str
    folder: Path

    def layer(self, name: str) -> Layer:
        detectors = self.document.value["detectors"]
        key = ("detectors", name)
        mark, value = self.document.marks[key], detectors[name]
        if not isinstance(value, dict):
            raise RecipeError(f"{mark}: {show_key(key)}: found {shown(value)}; expected a mapping of the recipe's keys")
        marks = {k[2:]: m for k, m in self.document.marks.items() if k[:2] == key}
        return Layer(value, marks, self.prefix + name)


def layers_of(target: str, registry: Registry) -> list[Layer]:
    """The layers of a recipe, root first.

    Args:
        target: a name from ``detzoo list``, ``mine.yaml``, or ``mine.yaml#cells``.
        registry: where names are looked up.

    Raises:
        RecipeError: a layer cannot be found or read, or the chain comes back to itself.
    """
    layers: list[Layer] = []
    source: _Source | None = None
    name, where = target, ""
    while True:
        try:
            source, inner = _find(name, source, registry)
            layer = source.layer(inner)
        except RecipeError as error:
            raise RecipeError(f"{where}{error}") from None
        seen = [known.label for known in reversed(layers)]
        if layer.label in seen:
            cycle = " -> ".join([*seen[seen.index(layer.label) :], layer.label])
            raise RecipeError(f"{where}a cycle: {cycle}; one of them must not extend another")
        layers.insert(0, layer)
        if len(layers) > _LONGEST_CHAIN:
            raise RecipeError(f"{where}more than {_LONGEST_CHAIN} recipes extend one another; write some of them out")
        if "extends" not in layer.value:
            return layers
        parent = layer.value["extends"]
        where = f"{layer.marks[('extends',)]}: {show_key(('detectors', inner, 'extends'))}: "
        if not isinstance(parent, str) or not parent:
            raise RecipeError(f"{where}found {shown(parent)}; expected the name of one recipe")
        name = parent


def _find(name: str, beside: _Source | None, registry: Registry) -> tuple[_Source, str]:
    """Where a recipe is written, and under which name: beside the current one, in a file, or in the zoo."""
    if beside is not None and name in beside.document.value["detectors"]:
        return beside, name
    file, hash_sign, inner = name.partition("#")
    if hash_sign or file.endswith((".yaml", ".yml")):
        path = (beside.folder if beside else Path()) / file
        source = _Source(_read(path), f"{path}#", path.parent)
        return source, _choose(source.document, inner)
    try:
        record, short = registry.locate(name, None if beside is None else registry.writer(beside.document.file))
    except RecipeError as error:
        if beside is None or beside.prefix.endswith("/"):
            raise
        siblings = list(beside.document.value["detectors"])
        also = f"; in this file: {', '.join(siblings)}" if len(siblings) > 1 else ""
        raise RecipeError(f"{error}{also}") from None
    assert record.manifest is not None
    document = record.manifest.document
    return _Source(document, f"{record.name}/", Path(document.file).parent), short


def _read(path: Path) -> Document:
    document = read(path)
    value = document.value
    if value is None:
        raise RecipeError(f"{path}: is empty; {_EXPECTED}")
    if not isinstance(value, dict):
        raise RecipeError(f"{document.marks[()]}: found {_noun(value)}; {_EXPECTED}")
    problems = [
        f"{document.marks[(key,)]}: {key}: {unknown('key of a recipe file', key, ['api', 'detectors'])}"
        for key in value
        if key not in ("api", "detectors")
    ]
    if "api" not in value:
        problems.append(f'{path}:1: missing key "api"; write `api: 1`')
    elif value["api"] != 1 or isinstance(value["api"], bool):
        newer = "; a later api needs a newer detzoo" if isinstance(value["api"], int) and value["api"] > 1 else ""
        problems.append(f"{document.marks[('api',)]}: api: found {shown(value['api'])}; expected 1{newer}")
    detectors = value.get("detectors")
    if "detectors" not in value:
        problems.append(f'{path}:1: missing key "detectors"; expected a mapping of names to recipes')
    elif not isinstance(detectors, dict) or not detectors:
        mark = document.marks[("detectors",)]
        problems.append(f"{mark}: detectors: found {shown(detectors)}; expected a mapping of names to recipes")
    if problems:
        raise RecipeError(first_of(problems))
    return document


_EXPECTED = "expected a mapping with `api: 1` and `detectors:`, each a name with its recipe; `detzoo show` prints one"


def _noun(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else shown(value)


def _choose(document: Document, name: str) -> str:
    names = list(document.value["detectors"])
    if name and name not in names:
        raise RecipeError(f"{document.file}: {unknown('detector', name, names)}")
    if not name and len(names) > 1:
        choices = " or ".join(f"{document.file}#{one}" for one in names[:20]) + (" or ..." if len(names) > 20 else "")
        raise RecipeError(f"{document.file}: holds {len(names)} detectors; choose one: {choices}")
    return name or names[0]
