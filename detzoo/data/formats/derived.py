"""A data.yaml that divides another dataset: ``source:`` names it, and each split lists images of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.index import Index, select_images
from detzoo.data.formats.source import DataSource, Part
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_there, lines_of, read_text
from detzoo.schema.describing import unknown

KEYS: Final = ("source", "name", "groups", "splits")


def derived_source(path: Path, content: dict[str, Any], describe: Callable[[Path], DataSource]) -> DataSource:
    """The source of a data.yaml with ``source:``.

    Args:
        path: of the file.
        content: what is in it.
        describe: finds what stands at a path.

    Raises:
        DataError: a key or value means nothing, or the dataset is not there.
    """
    unknown = [key for key in content if key not in KEYS]
    if unknown:
        raise DataError(f"{path}: unknown key {unknown[0]!r}; next to `source:` a data.yaml has {', '.join(KEYS[1:])}")
    stated = content["source"]
    if not isinstance(stated, str) or not is_there(place := path.parent / stated):
        raise DataError(f"{path}: source must be the path of a dataset, relative to this file; {stated!r} is not there")
    if place.resolve() == path.resolve():
        raise DataError(f"{path}: source is this file itself")
    source = describe(place)
    splits = content.get("splits")
    if not isinstance(splits, dict) or not splits:
        raise DataError(f"{path}: splits must be a mapping of names, as `train: {{of: all, only: train.txt}}`")
    return dataclasses.replace(
        source,
        place=str(path),
        name=str(content.get("name", source.name)),
        splits={str(name): _parts(path, str(name), value, source) for name, value in splits.items()},
    )


def _parts(path: Path, name: str, value: Any, source: DataSource) -> tuple[Part, ...]:
    if not isinstance(value, dict) or not set(value) <= {"of", "only"} or "of" not in value:
        raise DataError(f"{path}: split {name}: write {{of: SPLIT, only: LIST}}, not {value!r}")
    names = value["of"] if isinstance(value["of"], list) else [value["of"]]
    strange = [of for of in names if of not in source.splits]
    if strange:
        raise DataError(f"{path}: split {name}: {unknown('split', str(strange[0]), source.splits)}")
    only = None
    if "only" in value:
        if not isinstance(value["only"], str):
            raise DataError(f"{path}: split {name}: only must be the path of a list, not {value['only']!r}")
        only = path.parent / value["only"]
    return tuple(dataclasses.replace(part, only=only) for of in names for part in source.splits[of])


def listed_as(image: str, root: Path) -> str:
    """How a list calls an image: its path below the dataset's folder, or the whole path where it lies elsewhere."""
    path = Path(image)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.resolve().as_posix()


def restrict(parts: list[Part], indexes: list[Index], root: Path, problems: Problems) -> list[Index]:
    """The indexes with only the images that each part's list names; a line that names none is reported."""
    names: dict[Path, dict[str, int]] = {}
    for only in dict.fromkeys(part.only for part in parts if part.only is not None):
        lines = enumerate(lines_of(read_text(only, what="list of images")), start=1)
        names[only] = {text.strip(): line for line, text in lines if text.strip()}
    found: dict[Path, set[str]] = {only: set() for only in names}
    restricted = []
    for part, index in zip(parts, indexes, strict=True):
        if part.only is None:
            restricted.append(index)
            continue
        called = [listed_as(index.path(at), root) for at in range(len(index))]
        restricted.append(select_images(index, [at for at, name in enumerate(called) if name in names[part.only]]))
        found[part.only] |= set(called)
    for only, line_of in names.items():
        for name, line in line_of.items():
            if name not in found[only]:
                problems.error("missing-image", only, line, f"the dataset has no image {name}; left out")
    return restricted
