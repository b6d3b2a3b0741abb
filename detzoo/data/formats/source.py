"""A dataset that has been found but not read, and the reading of its splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from detzoo.data.checking.problems import Problems
from detzoo.data.dataset import Dataset, IndexedDataset
from detzoo.data.formats.class_lists import check_class_names
from detzoo.data.formats.index import Index, join_indexes
from detzoo.data.formats.values import as_flag, shown
from detzoo.data.formats.voc import Coordinates
from detzoo.data.groups import group_names
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_folder, is_there
from detzoo.runtime.near_names import nearest_path
from detzoo.schema.describing import unknown

Format: TypeAlias = Literal["voc", "coco", "yolo", "masks", "labelme", "via", "cvat", "openimages", "shapes"]
DatasetT = TypeVar("DatasetT", bound=Dataset)


@dataclass(frozen=True)
class Part:
    """The files of a split, or of one of several sources that make a split.

    Args:
        root: folder of the source (VOC, masks).
        listed: text file with the names in it (VOC image set, masks).
        annotations: COCO JSON, or the file (labelme: folder) of an annotation tool.
        images: folder of the images (COCO, YOLO, VOC), or a list of them (YOLO).
        labels: folder of the label files (YOLO).
        only: list of the images that belong to the split; all by default.
        subset: what the file calls the split that its images belong to (CVAT); all of them by default.
    """

    root: Path | None = None
    listed: Path | None = None
    annotations: Path | None = None
    images: Path | None = None
    labels: Path | None = None
    only: Path | None = None
    subset: str | None = None


@dataclass(frozen=True)
class DataSource:
    """A dataset and its splits.

    Args:
        place: what the user named, for messages.
        name: for tables.
        format: how its files are read.
        root: its folder.
        splits: the parts of each split.
        classes: given names, or None for all that are found.
        names: YOLO: name by the number in the files.
        coordinates: VOC: see ``detzoo.data.formats.voc``.
        download: where to get it.
        options: of ``shapes`` and of Ultralytics' data.yaml.
        notes: what was guessed, or passed over, when it was found.
        groups: which image belongs to which group, see ``detzoo.data.groups``; None: each stands for itself.
        groups_base: what the path of a table of groups is relative to.
    """

    place: str
    name: str
    format: Format
    root: Path
    splits: Mapping[str, tuple[Part, ...]]
    classes: tuple[str, ...] | None = None
    names: dict[int, str] = field(default_factory=dict)
    coordinates: Coordinates = "subtract_min"
    download: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    groups: Any = None
    groups_base: Path | None = None

    def with_groups(self, data: DatasetT) -> DatasetT:
        """A split with its images in groups, where there are any."""
        if self.groups is None:
            return data
        base = self.groups_base or self.root
        return data.grouped(group_names(self.groups, data.paths, base=base, place=self.place))


def read_source(
    source: DataSource, splits: tuple[str, ...], problems: Problems, *, lines: bool = False, quiet: bool = False
) -> IndexedDataset:
    """Read some splits of a source as one dataset.

    Raises:
        DataError: a file is missing or unusable, or nothing is left.
    """
    parts = list(dict.fromkeys(part for split in splits for part in source.splits[split]))
    for note in source.notes:
        problems.warning("guess", source.place, None, note)
    _check_files(source, parts)
    readers = {"voc": _read_voc, "coco": _read_coco, "yolo": _read_yolo, "masks": _read_masks}
    indexes, classes, ids = readers.get(source.format, _read_tool)(source, parts, problems, lines)
    if any(part.only is not None for part in parts):
        from detzoo.data.formats.derived import restrict

        indexes = restrict(parts, indexes, source.root, problems)
    index = join_indexes(indexes) if len(indexes) > 1 else indexes[0]
    name = "+".join(splits)
    if len(index) == 0:
        first = next((str(problem) for problem in problems.found if problem.severity == "error"), "no image was found")
        raise DataError(f"{source.place}: the split {name} has no usable image; {first}")
    if not classes:
        raise DataError(f"{source.place}: no annotated object, and no list of classes: add `classes:` to a data.yaml")
    check_class_names(source.place, classes)
    return source.with_groups(
        IndexedDataset(
            name=source.name,
            split=name,
            classes=classes,
            category_ids=ids,
            index=index,
            problems=problems.found,
            quiet=quiet,
        )
    )


_Read: TypeAlias = tuple[list[Index], tuple[str, ...], tuple[int, ...]]


def _check_files(source: DataSource, parts: list[Part]) -> None:
    for part in parts:
        for path in (part.root, part.listed, part.annotations, part.images, part.labels, part.only):
            if path is not None and not is_there(path):
                more = f"\n{source.download.strip()}" if source.download else ""
                hint = nearest_path(path)
                raise DataError(f"{source.place}: {path} is not there{f'; {hint}' if hint else ''}{more}")


def _read_voc(source: DataSource, parts: list[Part], problems: Problems, _: bool) -> _Read:
    from detzoo.data.formats.voc import discover_classes, read_voc

    everywhere = {part.root: None for split in source.splits.values() for part in split if part.root is not None}
    classes = source.classes or discover_classes([root for root in everywhere if is_folder(root)])
    indexes = [
        read_voc(part.root, part.listed, problems, classes=classes, coordinates=source.coordinates, images=part.images)
        for part in parts
        if part.root is not None
    ]
    return indexes, classes, tuple(range(1, len(classes) + 1))


def _read_coco(source: DataSource, parts: list[Part], problems: Problems, lines: bool) -> _Read:
    from detzoo.data.formats.coco import read_coco

    found: list[tuple[Index, tuple[str, ...], tuple[int, ...]]] = []
    for part in parts:
        assert part.annotations is not None
        found.append(read_coco(part.annotations, part.images, problems, classes=source.classes, lines=lines))
    first = found[0]
    for part, (_, classes, ids) in zip(parts, found, strict=True):
        if (classes, ids) != first[1:]:
            raise DataError(
                f"{source.place}: {part.annotations} has other categories than {parts[0].annotations}; "
                "name the common ones with `classes:` in a data.yaml"
            )
    return [index for index, _, _ in found], first[1], first[2]


def _read_yolo(source: DataSource, parts: list[Part], problems: Problems, _: bool) -> _Read:
    from detzoo.data.formats.yolo import read_yolo
    from detzoo.data.formats.yolo_labels import find_labels, label_folder

    classes = source.classes or tuple(source.names[number] for number in sorted(source.names))
    number_of = {name: number for number, name in source.names.items()}
    missing = [name for name in classes if name not in number_of]
    if missing:
        raise DataError(f"{source.place}: {unknown('class', missing[0], number_of)}")
    label_of = {number_of[name]: label for label, name in enumerate(classes)}
    indexes = []
    for part in parts:
        assert part.images is not None
        labels = part.labels or find_labels(part.images, source.root) or label_folder(part.images)
        indexes.append(
            read_yolo(
                part.images,
                labels,
                problems,
                classes=source.names,
                label_of=label_of,
                skip_unlabelled=_flag(source, "skip_if_label_file_missing"),
                kpt_shape=source.options.get("kpt_shape"),
                task=source.options.get("task"),
                root=source.root,
            )
        )
    return indexes, classes, tuple(number_of[name] for name in classes)


def _flag(source: DataSource, key: str) -> bool:
    flag = as_flag(source.options.get(key))
    if flag is None:
        raise DataError(f"{source.place}: {key} must be true or false, not {shown(source.options[key])}")
    return flag


def _read_tool(source: DataSource, parts: list[Part], problems: Problems, lines: bool) -> _Read:
    from detzoo.data.formats.tool_layouts import read_tool_parts

    return read_tool_parts(source, parts, problems, lines)


def _read_masks(source: DataSource, parts: list[Part], problems: Problems, _: bool) -> _Read:
    from detzoo.data.formats.mask_folders import read_mask_folders

    classes = source.classes or ("object",)
    if len(classes) != 1:
        raise DataError(f"{source.place}: mask folders say nothing about classes: give one name, not {len(classes)}")
    indexes = [read_mask_folders(part.root, part.listed, problems) for part in parts if part.root is not None]
    return indexes, classes, (1,)
