"""``detzoo data split``: train, val and test of one dataset, as lists next to a data.yaml; no file of it is touched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import yaml
from numpy.typing import NDArray

from detzoo.data.checking.near_duplicates import groups_of, near_pairs, thumbnail
from detzoo.data.dataset import Dataset
from detzoo.data.formats.derived import listed_as
from detzoo.data.formats.opening import find_source, open_dataset
from detzoo.data.formats.values import shown
from detzoo.data.formats.writing import check_new, whole_or_not
from detzoo.data.stratify import deal_out
from detzoo.errors import DataError
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_there, lines_of
from detzoo.runtime.images import decode_image, read_bytes

DEFAULT_SHARES: Final = "train=0.8,val=0.1,test=0.1"


@dataclass(frozen=True)
class Division:
    """What ``split_dataset`` did.

    Args:
        description: the data.yaml.
        counts: images and boxes of each class, by split.
        together: images that are nearly the same as another one, or of its group, and were kept with it.
        unreadable: images that cannot be read and are in no split.
    """

    description: Path
    counts: dict[str, tuple[int, dict[str, int]]]
    together: int
    unreadable: tuple[str, ...]


def parse_shares(text: str) -> dict[str, float]:
    """``train=0.8,val=0.2`` as numbers; parts of a hundred (80, 20) are understood too.

    Raises:
        DataError: no shares, or they do not add up to 1 or 100.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if not name or not 0 < share <= 100 or name in shares or set(name) & set('/\\:*?"<>|+') or name[0] == ".":
            raise DataError(f"the shares are written as {DEFAULT_SHARES}, each split once; cannot read {part!r}")
        shares[name] = share
    total = sum(shares.values())
    whole = next((whole for whole in (1.0, 100.0) if abs(total - whole) < 1e-6 * whole), None)
    if whole is None:
        raise DataError(f"the shares {text} add up to {total:g}, not to 1 (or 100)")
    return {name: share / whole for name, share in shares.items()}


def split_dataset(
    spec: str | Path,
    out: Path,
    shares: Mapping[str, float],
    *,
    split: str | None = None,
    seed: int = 0,
    progress: Callable[[Iterable[str], int], Iterable[str]] | None = None,
) -> Division:
    """Divide a dataset and write the lists.

    Images of equal bytes, that show nearly the same, or of one group stay in one split.

    Args:
        spec: path of the dataset.
        out: folder for ``data.yaml`` and a list for each split; new or empty.
        shares: of each new split.
        split: of the dataset that is divided; the only one by default. The others stay as they are.
        seed: another one divides otherwise.
        progress: wraps the walk over the images.

    Raises:
        DataError: ``out`` is not empty, the dataset has no files, or a split would be empty.
    """
    check_new(out)
    if not is_there(Path(spec)):
        raise DataError(f"{spec}: no such path: `data split` divides datasets on the disk")
    source = find_source(spec)
    data = open_dataset(spec, split)
    of = [split] if split in source.splits else (split or "").split("+") if split else list(source.splits)
    others = [name for name in source.splits if name not in of]
    doubled = [name for name in others if name in shares]
    if doubled:
        joined = "+".join([*of, *doubled])
        raise DataError(f"{spec}: there is a split {doubled[0]!r} already; divide both (--split {joined})")
    readable, groups, unreadable = _groups(data, progress)
    index = data.annotations()
    boxes = np.stack([_counts(data, position) for position in readable])
    dealt = deal_out(groups, boxes, list(shares.values()), seed=seed)
    empty = [name for at, name in enumerate(shares) if not (dealt == at).any()]
    if empty:
        raise DataError(f"{spec}: {len(readable)} images in {max(groups) + 1} groups: none is left for {empty[0]}")
    described: dict[str, dict[str, object]] = {name: {"of": of, "only": f"{name}.txt"} for name in shares}
    described |= {name: {"of": name} for name in others}
    content = {"source": os.path.relpath(spec, out), "name": source.name, "splits": described}
    with whole_or_not(out):
        out.mkdir(parents=True, exist_ok=True)
        for at, name in enumerate(shares):
            chosen = [readable[row] for row in np.flatnonzero(dealt == at)]
            lines = [_line(index.path(position), source.root) for position in chosen]
            write_text(out / f"{name}.txt", "".join(f"{line}\n" for line in lines))
        write_text(out / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    counts = {
        name: (int((dealt == at).sum()), dict(zip(data.classes, boxes[dealt == at].sum(axis=0).tolist(), strict=True)))
        for at, name in enumerate(shares)
    }
    return Division(out / "data.yaml", counts, len(groups) - len(set(groups)), tuple(unreadable))


def _line(image: str, root: Path) -> str:
    """An image's line in a list.

    Raises:
        DataError: no line can hold its name.
    """
    name = listed_as(image, root)
    if lines_of(name) != [name.strip()] or name.encode(errors="replace").decode() != name:
        text = "a line break, blanks at its ends, or bytes that are no UTF-8"
        raise DataError(f"{shown(image, 200)}: no list can hold this name ({text}): rename the file")
    return name


def _counts(data: Dataset, position: int) -> NDArray[np.int64]:
    index = data.annotations()
    return np.bincount(index.labels[index.rows(position)], minlength=len(data.classes)).astype(np.int64)


def _groups(
    data: Dataset, progress: Callable[[Iterable[str], int], Iterable[str]] | None
) -> tuple[list[int], list[int], list[str]]:
    """Positions of the images that can be read, the group of each, and what is wrong with the others."""
    readable: list[int] = []
    small: list[NDArray[np.uint8]] = []
    digests: dict[bytes, int] = {}
    members: dict[str, int] = {}
    same: list[tuple[int, int]] = []
    unreadable: list[str] = []
    paths = data.paths
    for position, path in enumerate(progress(paths, len(paths)) if progress else paths):
        try:
            content = read_bytes(Path(path))
            small.append(thumbnail(decode_image(content, path)))
        except DataError as error:
            unreadable.append(str(error))
            continue
        digest = hashlib.sha1(content, usedforsecurity=False).digest()
        same.append((digests.setdefault(digest, len(readable)), len(readable)))
        if data.groups is not None:
            same.append((members.setdefault(data.groups[position], len(readable)), len(readable)))
        readable.append(position)
    if not readable:
        raise DataError(f"{data.name} {data.split}: no image can be read: {unreadable[0] if unreadable else 'none'}")
    return readable, groups_of(len(readable), [*same, *near_pairs(small)]), unreadable
