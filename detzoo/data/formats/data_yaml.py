"""A data.yaml: detzoo's own (see ``opening``), or Ultralytics'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast, get_args

from detzoo.data.formats.class_lists import listed_names
from detzoo.data.formats.folder_layouts import find_layout
from detzoo.data.formats.source import DataSource, Format, Part
from detzoo.data.formats.split_names import role_of
from detzoo.data.formats.ultralytics_yaml import class_names, inside, ultralytics
from detzoo.data.formats.voc import Coordinates
from detzoo.data.formats.yaml_mapping import load_yaml
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_folder
from detzoo.schema.describing import unknown

KEYS: Final = ("format", "name", "path", "classes", "coordinates", "download", "groups", "splits")
_SHAPES_SPLITS: Final = ("train", "val", "test")
PART_KEYS: Final = {
    "voc": ("path", "set", "annotations", "images", "list"),
    "coco": ("annotations", "images"),
    "yolo": ("images", "labels"),
    "masks": ("path", "list"),
    **dict.fromkeys(("labelme", "via", "openimages"), ("annotations", "images")),
    "cvat": ("annotations", "images", "subset"),
}


def source_of_yaml(path: Path, base: Path) -> DataSource:
    """The source that a YAML file describes.

    Args:
        path: of the file.
        base: what its ``path`` is relative to.

    Raises:
        DataError: a key or value means nothing.
    """
    content = load_yaml(path)
    if content.keys() & {"names", "nc"} and "splits" not in content and content.get("format", "yolo") == "yolo":
        return ultralytics(path, content)
    unknown = [key for key in content if key not in KEYS and content.get("format") != "shapes"]
    if "splits" not in content and (parts := [key for key in unknown if role_of(key) is not None]):
        raise DataError(
            f"{path}: `names` is missing: where {parts[0]!r} is a key of its own, as in a YOLO data.yaml, there must "
            "be class names in the order of their numbers too, as `names: [cat, dog]`, or their number, as `nc: 2`"
        )
    if unknown and not (unknown == ["names"] and content.get("format") == "yolo"):
        raise DataError(f"{path}: unknown key {unknown[0]!r}; a data.yaml has {', '.join(KEYS)}")
    root = inside(path, base, content.get("path", "."))
    if content.get("format") == "shapes":
        options = {key: value for key, value in content.items() if key not in KEYS}
        return DataSource(str(path), "shapes", "shapes", root, {name: () for name in _SHAPES_SPLITS}, options=options)
    kind = content.get("format")
    if kind is not None and kind not in get_args(Format):
        raise DataError(f"{path}: format must be one of {', '.join(get_args(Format))}, not {kind!r}")
    classes = _classes(path, content.get("classes"))
    guessed = None
    if (kind is None or "splits" not in content) and is_folder(root):
        guessed = find_layout(root, kind, classes=classes or ())
    kind = kind or (guessed.format if guessed else None)
    if kind is None:
        raise DataError(f"{path}: format must be one of {', '.join(get_args(Format))}, not {kind!r}")
    splits = _splits(path, content.get("splits"), root, cast("Format", kind)) or (guessed.splits if guessed else {})
    if not splits:
        raise DataError(f"{path}: no splits: write `splits:` with at least one, as `train: {{...}}`")
    return DataSource(
        place=str(path),
        name=str(content.get("name", path.stem)),
        format=cast("Format", kind),
        root=root,
        splits=splits,
        classes=classes,
        names=_numbered(path, content, root, kind, classes or ()),
        coordinates=_coordinates(path, content.get("coordinates", "subtract_min")),
        download=str(content.get("download", "")),
        notes=guessed.notes if guessed else (),
    )


def _numbered(path: Path, content: dict[str, Any], root: Path, kind: str, classes: Sequence[str]) -> dict[int, str]:
    """YOLO's class names by number: ``classes`` chooses among those that a file lists, or else stands for one."""
    if "names" in content:
        return class_names(path, content["names"])
    return (listed_names(root) if kind == "yolo" else {}) or dict(enumerate(classes))


def describes_data(path: Path) -> bool:
    """Whether a YAML file of any name is a description of data, by what is in it."""
    try:
        content = load_yaml(path)
    except DataError:
        return False
    named = isinstance(content.get("names"), list | dict) or isinstance(content.get("nc"), int)
    if named and any(isinstance(content[key], str | list) for key in content if role_of(key) is not None):
        return True
    described = content.get("format") in get_args(Format) or isinstance(content.get("splits"), dict)
    return described and (content.keys() <= {*KEYS, "names"} or content.get("format") == "shapes")


def _classes(path: Path, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise DataError(f"{path}: classes must be a list of names, not {value!r}")
    if len(set(value)) != len(value):
        raise DataError(f"{path}: classes names {next(n for n in value if value.count(n) > 1)!r} twice")
    return tuple(value)


def _coordinates(path: Path, value: Any) -> Coordinates:
    if value not in get_args(Coordinates):
        raise DataError(f"{path}: coordinates must be one of {', '.join(get_args(Coordinates))}, not {value!r}")
    return cast("Coordinates", value)


def _splits(path: Path, content: Any, root: Path, kind: Format) -> dict[str, tuple[Part, ...]]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DataError(f"{path}: splits must be a mapping of names, as `train: {{set: train}}`")
    done: dict[str, tuple[Part, ...]] = {}

    def parts(name: str, value: Any, asked: tuple[str, ...]) -> tuple[Part, ...]:
        if isinstance(value, list):
            return tuple(part for entry in value for part in parts(name, entry, asked))
        if isinstance(value, str):
            if value in asked:
                raise DataError(f"{path}: split {name}: the union contains itself: {' -> '.join((*asked, value))}")
            if value not in content:
                raise DataError(f"{path}: split {name}: {unknown('split', value, map(str, content))}")
            return parts(value, content[value], (*asked, value))
        return (_part(path, name, value, root, kind),)

    for name, value in content.items():
        done[str(name)] = parts(str(name), value, (str(name),))
    return done


def _part(path: Path, name: str, value: Any, root: Path, kind: Format) -> Part:
    allowed = PART_KEYS[kind]
    if not isinstance(value, dict) or not set(value) <= set(allowed):
        raise DataError(f"{path}: split {name}: format {kind} takes {', '.join(allowed)}, not {value!r}")
    place = {key: inside(path, root, entry) for key, entry in value.items() if key not in ("set", "subset")}
    if allowed[:2] == ("annotations", "images"):
        if "annotations" not in place:
            what = "the JSON file" if kind == "coco" else "the file of annotations, or their folder"
            raise DataError(f"{path}: split {name}: `annotations` is missing: {what}")
        subset = value.get("subset")
        if not isinstance(subset, str | None):
            raise DataError(f"{path}: split {name}: subset must be the name of one of CVAT's subsets, not {subset!r}")
        return Part(annotations=place["annotations"], images=place.get("images"), subset=subset)
    if kind == "yolo":
        if "images" not in place:
            raise DataError(f"{path}: split {name}: `images` is missing: the folder of the images")
        return Part(images=place["images"], labels=place.get("labels"))
    if kind == "masks":
        return Part(root=place.get("path", root), listed=place.get("list"))
    voc = place.get("path", root)
    listed = voc / "ImageSets" / "Main" / f"{value['set']}.txt" if "set" in value else place.get("list")
    return Part(root=place.get("annotations", voc), listed=listed, images=place.get("images"))
