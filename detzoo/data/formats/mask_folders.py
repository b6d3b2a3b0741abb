"""One folder per image, one mask PNG per instance (the Data Science Bowl's layout) -> index.

``<root>/<id>/images/<id>.png`` and ``<root>/<id>/masks/*.png``; boxes are those of the masks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.index import Index, IndexBuilder
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import encode_file, read_mask_values
from detzoo.runtime.foreign_files import files_in, is_folder, lines_of, read_text
from detzoo.runtime.images import SUFFIXES, read_header


def find_mask_root(folder: Path) -> Path | None:
    """The folder whose subfolders hold ``images`` and ``masks``, at ``folder`` or one level below."""
    below = [path for path in sorted(folder.iterdir()) if is_folder(path)] if is_folder(folder) else []
    for root in (folder, *below):
        first = next((path for path in root.iterdir() if is_folder(path)), None)
        if first is not None and is_folder(first / "images") and is_folder(first / "masks"):
            return root
    return None


def read_mask_folders(root: Path, listed: Path | None, problems: Problems) -> Index:
    """Read one split.

    Args:
        root: holds one folder per image.
        listed: text file with the folder names of the split; all of them by default.
        problems: gets every defect.
    """
    builder = IndexBuilder()
    folders = {path.name: path for path in sorted(root.iterdir()) if is_folder(path)}
    if listed is not None:
        names = [text.strip() for text in lines_of(read_text(listed, what="list"))]
        for line, name in enumerate(names, start=1):
            if name and name not in folders:
                problems.error("missing-image", listed, line, f"no folder called {name} in {root}; left out")
        folders = {name: folders[name] for name in names if name in folders}
    for folder in folders.values():
        _read_folder(folder, builder, problems)
    return builder.build()


def _read_folder(folder: Path, builder: IndexBuilder, problems: Problems) -> None:
    inside = folder / "images"
    found = [path for path in files_in(inside) if path.suffix.lower() in SUFFIXES] if is_folder(inside) else []
    if len(found) != 1:
        problems.error("missing-image", inside, None, f"one image is needed, {len(found)} are there; left out")
        return
    try:
        size = read_header(found[0]).size
    except DataError as error:
        problems.error("bad-image", found[0], None, f"{str(error).removeprefix(f'{found[0]}: ')}; left out")
        return
    builder.image(str(found[0]), size)
    covered = np.zeros(size, np.int64)
    inside = folder / "masks"
    masks = [path for path in files_in(inside) if path.suffix.lower() in SUFFIXES] if is_folder(inside) else []
    for path in masks:
        _read_mask(path, size, covered, builder, problems)
    if not masks:
        problems.info("no-objects", folder, None, "no objects")
    overlap = int((covered > 1).sum())
    if overlap:
        problems.warning(
            "overlapping-masks", folder / "masks", None, f"{overlap} px belong to more than one mask; kept"
        )


def _read_mask(
    path: Path, size: tuple[int, int], covered: np.ndarray[tuple[int, int], np.dtype[np.int64]], builder: IndexBuilder,
    problems: Problems,
) -> None:  # fmt: skip
    try:
        mask = read_mask_values(path) != 0
    except DataError as error:
        problems.error("bad-mask", path, None, f"{str(error).removeprefix(f'{path}: ')}; left out")
        return
    if mask.shape != size:
        problems.error(
            "bad-mask",
            path,
            None,
            f"{mask.shape[1]} x {mask.shape[0]} px on an image of {size[1]} x {size[0]} px; left out",
        )
        return
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        problems.error("zero-box", path, None, "the mask is empty; left out")
        return
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    if min(box[2] - box[0], box[3] - box[1]) <= 1:
        problems.warning(
            "thin-mask",
            path,
            None,
            f"the mask is {box[2] - box[0]:g} x {box[3] - box[1]:g} px (zero by max - min); kept",
        )
    covered += mask
    builder.box(box, 0, area=float(mask.sum()), mask=encode_file(str(path)))
