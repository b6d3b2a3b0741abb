"""Finding out what a path holds: which format, which splits. Nothing is guessed silently: no match is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

import yaml

from detzoo.data.formats.mask_folders import find_mask_root
from detzoo.data.formats.paths import image_files
from detzoo.data.formats.source import DataSource, Format, Part
from detzoo.data.formats.voc import Coordinates, find_roots, image_sets
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import read_text

_KEYS = ("format", "name", "path", "classes", "coordinates", "download", "splits")
_YOLO_SPLITS = ("train", "val", "test")
_ULTRALYTICS_KEYS = {"skip_if_label_file_missing"}
_PART_KEYS = {
    "voc": ("path", "set", "annotations", "images", "list"),
    "coco": ("annotations", "images"),
    "yolo": ("images", "labels"),
    "masks": ("path", "list"),
}


def describe(path: Path, *, root: Path | None = None) -> DataSource:
    """The source at an existing path.

    Args:
        path: file or folder.
        root: what ``path:`` of a data.yaml is relative to; the file's own folder by default.

    Raises:
        DataError: the path holds nothing that can be read.
    """
    if path.is_file():
        if path.suffix.lower() == ".json":
            part = Part(annotations=path)
            return DataSource(str(path), path.stem, "coco", path.parent, {_split_name(path): (part,)})
        if path.suffix.lower() in (".yaml", ".yml"):
            return _from_yaml(path, root or path.parent)
        raise DataError(f"{path}: a dataset is a folder, a data.yaml or a COCO json")
    for name in ("data.yaml", "dataset.yaml", "config.yaml"):
        if (path / name).is_file():
            return _from_yaml(path / name, path)
    source = _coco_folder(path) or _voc_folder(path) or _yolo_folder(path) or _mask_folder(path)
    if source is None:
        raise DataError(
            f"{path}: no dataset found here; looked for data.yaml, annotations/*.json (COCO), xml files with images "
            "(VOC), labels/ next to images/ (YOLO), and <id>/images with <id>/masks"
        )
    return source


def _split_name(path: Path) -> str:
    """``train`` for instances_train2017.json, else the whole stem."""
    stem = path.stem.removeprefix("instances_")
    short = stem.rstrip("0123456789").rstrip("_-")
    return short if short in ("train", "val", "test", "minival", "trainval") else stem


def _coco_folder(folder: Path) -> DataSource | None:
    for place in (folder / "annotations", folder):
        files = [path for path in sorted(place.glob("*.json")) if not path.stem.startswith(("panoptic", "captions"))]
        if not files:
            continue
        named = {_split_name(path): path for path in files}
        if len(named) < len(files):  # train2014 next to train2017: the full names tell them apart
            named = {path.stem.removeprefix("instances_"): path for path in files}
        splits = {name: (Part(annotations=path),) for name, path in named.items()}
        return DataSource(str(folder), folder.resolve().name, "coco", folder, splits)
    return None


def _voc_folder(folder: Path) -> DataSource | None:
    roots = find_roots(folder)
    if not roots and (folder / "images").is_dir():
        roots = find_roots(folder / "images")
    if not roots:
        return None
    splits: dict[str, tuple[Part, ...]] = {}
    for root in roots:
        for name, listed in image_sets(root).items():
            splits[name] = (*splits.get(name, ()), Part(root=root, listed=listed))
    if not splits and len(roots) > 1:
        splits = {root.name: (Part(root=root),) for root in roots}
    if not splits:
        splits = {"all": (Part(root=roots[0]),)}
    return DataSource(str(folder), folder.resolve().name, "voc", folder, splits)


def _yolo_folder(folder: Path) -> DataSource | None:
    images, labels = folder / "images", folder / "labels"
    if not images.is_dir() or not labels.is_dir():
        return None
    lists = [folder / "classes.txt", labels / "classes.txt", folder / "obj.names"]
    listed = next((path for path in lists if path.is_file()), None)
    if listed is None:
        raise DataError(
            f"{folder}: YOLO labels without class names: "
            "add a data.yaml with `names:`, or a classes.txt with one name per line"
        )
    lines = read_text(listed, what="list of class names").splitlines()
    names = dict(enumerate(text.strip() for text in lines if text.strip()))
    below = [path.name for path in sorted(images.iterdir()) if path.is_dir()]
    parts = {name: (Part(images=images / name, labels=labels / name),) for name in below}
    if not parts or image_files(images):
        parts = {"all": (Part(images=images, labels=labels),)}
    return DataSource(str(folder), folder.resolve().name, "yolo", folder, parts, names=names)


def _mask_folder(folder: Path) -> DataSource | None:
    root = find_mask_root(folder)
    if root is None:
        return None
    lists = {path.stem: path for place in {folder, root} for path in sorted(place.glob("*.txt"))}
    ids = {path.name for path in root.iterdir()}
    splits = {}
    for name, path in sorted(lists.items()):
        first = next((text.strip() for text in _lines_of(path) if text.strip()), "")
        if first in ids:
            splits[name] = (Part(root=root, listed=path),)
    return DataSource(str(folder), folder.resolve().name, "masks", folder, splits or {"all": (Part(root=root),)})


def _lines_of(path: Path) -> list[str]:
    try:
        return read_text(path, what="list").splitlines()
    except DataError:  # a text file that is no list of ours
        return []


def _from_yaml(path: Path, base: Path) -> DataSource:
    content = load_yaml(path)
    if "names" in content and "splits" not in content:
        return _ultralytics(path, content)
    unknown = [key for key in content if key not in _KEYS and content.get("format") != "shapes"]
    if unknown:
        raise DataError(f"{path}: unknown key {unknown[0]!r}; a data.yaml has {', '.join(_KEYS)}")
    root = _inside(path, base, content.get("path", "."))
    if content.get("format") == "shapes":
        options = {key: value for key, value in content.items() if key not in _KEYS}
        return DataSource(str(path), "shapes", "shapes", root, {name: () for name in _YOLO_SPLITS}, options=options)
    kind = content.get("format")
    guessed = None
    if (kind is None or "splits" not in content) and root.is_dir():
        guessed = _coco_folder(root) or _voc_folder(root) or _yolo_folder(root) or _mask_folder(root)
        kind = kind or (guessed.format if guessed else None)
    if kind not in get_args(Format):
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
        classes=_classes(path, content.get("classes")),
        names=_names(path, content["names"]) if "names" in content else dict(enumerate(content.get("classes") or [])),
        coordinates=_coordinates(path, content.get("coordinates", "subtract_min")),
        download=str(content.get("download", "")),
    )


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping with text keys."""
    try:
        content = yaml.safe_load(read_text(path, what="data.yaml"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DataError(f"{path}: a data.yaml holds keys and values, as `format: voc`")
    return content


def _inside(path: Path, base: Path, value: Any) -> Path:
    if not isinstance(value, str):
        raise DataError(f"{path}: a path must be text, not {value!r}")
    return base / Path(value).expanduser()


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
                raise DataError(f"{path}: split {name}: no split is called {value!r}; there are {', '.join(content)}")
            return parts(value, content[value], (*asked, value))
        return (_part(path, name, value, root, kind),)

    for name, value in content.items():
        done[str(name)] = parts(str(name), value, (str(name),))
    return done


def _part(path: Path, name: str, value: Any, root: Path, kind: Format) -> Part:
    allowed = _PART_KEYS[kind]
    if not isinstance(value, dict) or not set(value) <= set(allowed):
        raise DataError(f"{path}: split {name}: format {kind} takes {', '.join(allowed)}, not {value!r}")
    place = {key: _inside(path, root, entry) for key, entry in value.items() if key != "set"}
    if kind == "coco":
        if "annotations" not in place:
            raise DataError(f"{path}: split {name}: `annotations` is missing: the JSON file")
        return Part(annotations=place["annotations"], images=place.get("images"))
    if kind == "yolo":
        if "images" not in place:
            raise DataError(f"{path}: split {name}: `images` is missing: the folder of the images")
        return Part(images=place["images"], labels=place.get("labels"))
    if kind == "masks":
        return Part(root=place.get("path", root), listed=place.get("list"))
    voc = place.get("path", root)
    listed = voc / "ImageSets" / "Main" / f"{value['set']}.txt" if "set" in value else place.get("list")
    return Part(root=place.get("annotations", voc), listed=listed, images=place.get("images"))


def _names(path: Path, value: Any) -> dict[int, str]:
    entries = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path}: names must be a list of class names, or number: name, not {value!r}")
    if not all(isinstance(number, int) and isinstance(name, str) for number, name in entries.items()):
        raise DataError(f"{path}: names must be a list of class names, or number: name, not {value!r}")
    if len(set(entries.values())) != len(entries):
        raise DataError(f"{path}: two classes in names have the same name")
    return dict(entries)


def _ultralytics(path: Path, content: dict[str, Any]) -> DataSource:
    """An Ultralytics data.yaml: ``path``, ``train``, ``val``, ``test``, ``names``."""
    root = _inside(path, path.parent, content.get("path", "."))
    if not root.is_dir():
        root = path.parent  # its default is relative to a folder of Ultralytics' own
    splits = {}
    for name in _YOLO_SPLITS:
        value = content.get(name)
        if value:
            entries = value if isinstance(value, list) else [value]
            splits[name] = tuple(_ultralytics_part(path, root, entry) for entry in entries)
    if not splits:
        raise DataError(f"{path}: names, but none of train, val, test: where are the images?")
    names, options = _names(path, content["names"]), {key: content[key] for key in _ULTRALYTICS_KEYS & content.keys()}
    return DataSource(str(path), root.resolve().name, "yolo", root, splits, names=names, options=options)


def _ultralytics_part(path: Path, root: Path, entry: Any) -> Part:
    from detzoo.data.formats.yolo import label_folder

    images = _inside(path, root, entry)
    labels = label_folder(images)
    if not images.exists():
        # images shared by several label sets lie one level up, next to the folders with the labels
        above = _inside(path, root.resolve().parent, entry)
        images = above if above.exists() else images
    return Part(images=images, labels=labels if labels.is_dir() else None)
