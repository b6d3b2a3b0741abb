r"""``open_dataset``: from what a user names (a folder, a JSON file, a data.yaml, ``shapes``) to a Dataset.

A data.yaml of detzoo::

    format: voc                     # voc, coco, yolo, masks or shapes; guessed where it is left out
    name: bccd                      # for tables
    path: BCCD                      # relative to this file
    classes: [RBC, WBC, Platelets]  # all that are found, by default
    coordinates: subtract_min       # voc only: how 1-based boxes become continuous
    download: ...                   # text: where to get it, shown when files are absent
    splits:
      train: {set: train}           # voc: ImageSets/Main/train.txt; or {path: folder}; or folders of their own:
      more: {annotations: Annotations/DET/val, images: Data/DET/val, list: ImageSets/DET/val.txt}    # voc, all optional
      val: {annotations: annotations/instances_val2017.json, images: val2017}     # coco
      test: {images: images/test, labels: labels/test}                            # yolo
      dev: {list: val.txt}          # masks: folder names, one per line
      trainval: [train, val]        # a union: names of splits, or entries like the above
    groups: '(.+)_\d+'              # frames of one video: see detzoo.data.groups
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detzoo.data.checking.problems import Problems
from detzoo.data.dataset import Dataset
from detzoo.data.formats.json_file import JSON_BYTES
from detzoo.data.formats.sniff import describe
from detzoo.data.formats.source import DataSource, read_source
from detzoo.data.formats.split_names import with_role
from detzoo.data.shapes import COUNTS, ShapesDataset
from detzoo.errors import DataError, UnknownSplitError
from detzoo.runtime.foreign_files import check_ordinary, is_folder, is_ordinary, is_there
from detzoo.runtime.near_names import nearest, nearest_path
from detzoo.runtime.whole_numbers import whole_number
from detzoo.schema.describing import unknown

READY = Path(__file__).with_name("ready")


def open_dataset(spec: str | Path, split: str | None = None, *, lines: bool = False, quiet: bool = False) -> Dataset:
    """Open a split of a dataset.

    Args:
        spec: ``shapes`` (or ``shapes:size=160,train=64,seed=1``), the name of a ready one (``voc2007``, ``voc2012``,
            ``voc0712``, ``coco2017``), a data.yaml (detzoo's or Ultralytics'), a COCO JSON, or a folder in VOC,
            YOLO, COCO or one-mask-per-PNG layout.
        split: its name; ``train+val`` joins two. Not needed where there is only one.
        lines: find the line of each defect in JSON files as well.
        quiet: do not announce what was left out.

    Raises:
        DataError: nothing readable is there; the message says what was looked for.
    """
    text = str(spec)
    if text == "shapes" or text.startswith("shapes:"):
        return _open_shapes(text, split)
    source = find_source(spec)
    if source.format == "shapes":
        return source.with_groups(_shapes_from(source, split))
    return read_source(source, _choose(source, split), Problems(), lines=lines, quiet=quiet)


def list_splits(spec: str | Path) -> tuple[str, ...]:
    """Names of the splits of a dataset; see ``open_dataset`` for ``spec``."""
    text = str(spec)
    if text == "shapes" or text.startswith("shapes:"):
        return tuple(COUNTS)
    return tuple(find_source(spec).splits)


def find_source(spec: str | Path) -> DataSource:
    """What stands at ``spec``: its format, root and splits; no annotation is read yet."""
    path = Path(spec).expanduser()
    ready = READY / f"{spec}.yaml"
    if not is_there(path) and isinstance(spec, str) and is_ordinary(ready):
        return _ready(ready, spec)
    if not is_there(path):
        ready_made = sorted(file.stem for file in READY.glob("*.yaml"))
        hint = _nearby(path, ready_made)
        raise DataError(
            f"{spec}: no such dataset{hint}: give `shapes`, a data.yaml, a COCO json, a folder in VOC, YOLO or COCO "
            f"layout, or one of {', '.join(ready_made)}"
        )
    if not is_folder(path):
        check_ordinary(path, limit=JSON_BYTES, what="dataset")
    return describe(path)


def _nearby(path: Path, ready_made: Sequence[str]) -> str:
    """`` (did you mean "my_data"?)``: data near the given path, else the names of ready-made sets."""
    found = nearest_path(path, lambda one: one.suffix in (".json", ".yaml", ".yml") or is_folder(one))
    found = found or nearest(str(path), [*ready_made, "shapes"])
    return f" ({found})" if found else ""


def _ready(path: Path, name: str) -> DataSource:
    """A packaged data.yaml; its files are looked for under ./data and then $DETZOO_DATA."""
    import os

    places = [Path("data"), *([Path(os.environ["DETZOO_DATA"])] if os.environ.get("DETZOO_DATA") else [])]
    for place in places:
        source = describe(path, root=place)
        if is_folder(source.root):
            return source
    source = describe(path, root=places[-1])
    looked = " and ".join(str(describe(path, root=place).root) for place in places)
    raise DataError(
        f"{name}: its files are not here; looked in {looked} (set DETZOO_DATA to the folder that holds them).\n"
        f"{source.download.strip()}"
    )


def _choose(source: DataSource, split: str | None) -> tuple[str, ...]:
    """Names of the splits asked for."""
    known = ", ".join(source.splits)
    if split is None:
        if len(source.splits) == 1:
            return tuple(source.splits)
        raise DataError(f"{source.place}: choose a split with --split: {known}")
    names = (split,) if split in source.splits else tuple(part.strip() for part in split.split("+"))
    for name in names:
        if name not in source.splits:
            raise UnknownSplitError(f"{source.place}: {unknown('split', name, source.splits)}")
    parts = [part for name in names for part in source.splits[name]]
    if any(part in parts[:at] for at, part in enumerate(parts)):
        raise DataError(f"{source.place}: the split {split} holds the same images twice; name each part once")
    return names


def _open_shapes(text: str, split: str | None) -> ShapesDataset:
    options: dict[str, int] = {}
    for part in text.removeprefix("shapes").removeprefix(":").split(","):
        key, _, value = part.partition("=")
        if not part:
            continue
        if key not in ("size", "seed", *COUNTS) or (number := whole_number(value, digits=19)) is None:
            raise DataError(f"{text}: cannot read {part!r}; write shapes:size=160,train=64,val=16,test=16,seed=0")
        options[key] = number
    return _shapes(options, split)


def _shapes_from(source: DataSource, split: str | None) -> ShapesDataset:
    options = {key: value for key, value in source.options.items() if key in ("size", "seed", *COUNTS)}
    bad = [key for key, value in options.items() if not isinstance(value, int)]
    if bad:
        raise DataError(f"{source.place}: {bad[0]} must be a whole number, not {options[bad[0]]!r}")
    return _shapes(options, split)


def _shapes(options: Mapping[str, Any], split: str | None) -> ShapesDataset:
    name = split or "train"
    return ShapesDataset(
        split=name, count=options.get(name), size=options.get("size", 192), seed=options.get("seed", 0)
    )


def evaluation_split(data: str, split: str | None) -> str | None:
    """The split to evaluate on: the given one, else that of testing, else of validation, whatever they are called.

    None leaves it to the dataset.
    """
    if split is not None:
        return split
    there = list_splits(data)
    return next(iter((*with_role(there, "test"), *with_role(there, "val"))), None)
